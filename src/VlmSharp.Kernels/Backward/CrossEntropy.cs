using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace VlmSharp.Kernels;

/// <summary>One row: returns its loss; the logits become their gradient.</summary>
internal unsafe delegate double CrossEntropyKernel(float* logits, int width, int label, double smoothing, double scale);

/// <summary>Softmax cross-entropy of rows of logits with labels, and its gradient.</summary>
/// <remarks>
/// The loss of a row is (1 - e) * -log p[label] + e / V * sum over v of -log p[v], with the smoothing e and p = softmax(logits); its
/// gradient is p - (1 - e) * [v = label] - e / V. Rows of a negative label have neither. Exponentials are f32; a row's sums are
/// kept in double precision.
/// </remarks>
public static unsafe class CrossEntropy
{
    /// <summary>The label of a row that counts for nothing, as PyTorch has it; so does any other negative one.</summary>
    public const int Ignored = -100;

    internal static readonly KernelTable<CrossEntropyKernel> Variants = new(
        "cross_entropy",
        ("avx2", InstructionSets.Avx2, Avx2),
        ("portable", true, Portable)
    );

    /// <summary>The sum of the rows' losses; the logits become the gradient of <paramref name="scale"/> times that.</summary>
    /// <param name="logits">[rows, width]; overwritten.</param>
    /// <param name="stride">Elements from one row to the next, at least <paramref name="width"/>.</param>
    /// <param name="labels">[rows]: each below <paramref name="width"/>, negative for a row that counts for nothing.</param>
    /// <param name="width">Size of the vocabulary.</param>
    /// <param name="scale">Factor of the gradient: 1 / labels for a mean.</param>
    /// <param name="pool">Shares the rows when there are enough.</param>
    /// <param name="smoothing">Share of every label that is spread over all.</param>
    /// <param name="rowLosses">[rows]: the loss of each; or empty.</param>
    /// <exception cref="ArgumentException">A span is too short, rows of it overlap, or a label is not in the vocabulary.</exception>
    public static double Apply(
        Span<float> logits,
        int stride,
        ReadOnlySpan<int> labels,
        int width,
        double scale,
        WorkerPool pool,
        double smoothing = 0,
        Span<double> rowLosses = default
    ) => Apply(Variants.Active, logits, stride, labels, width, scale, pool, smoothing, rowLosses);

    internal static double Apply(
        CrossEntropyKernel kernel,
        Span<float> logits,
        int stride,
        ReadOnlySpan<int> labels,
        int width,
        double scale,
        WorkerPool pool,
        double smoothing = 0,
        Span<double> rowLosses = default
    )
    {
        RowMatrix.Check(logits.Length, stride, labels.Length, width);
        foreach (int label in labels)
        {
            if (label >= width)
            {
                throw new ArgumentException($"labels: {label} in a vocabulary of {width}");
            }
        }

        AlignedBuffer losses = pool.Rent(labels.Length * sizeof(double));
        try
        {
            fixed (float* start = logits)
            fixed (int* labelStart = labels)
            {
                var body = new Body
                {
                    Kernel = kernel,
                    Logits = start,
                    Stride = stride,
                    Labels = labelStart,
                    Width = width,
                    Smoothing = smoothing,
                    Scale = scale,
                    Losses = (double*)losses.Pointer,
                };
                RowMatrix.ForRows(body, labels.Length, width, pool);
                double sum = 0;
                for (int row = 0; row < labels.Length; row++)
                {
                    sum += body.Losses[row];
                }

                if (!rowLosses.IsEmpty)
                {
                    new ReadOnlySpan<double>(body.Losses, labels.Length).CopyTo(rowLosses);
                }

                return sum;
            }
        }
        finally
        {
            pool.Return(losses);
        }
    }

    struct Body : IRowBody
    {
        internal CrossEntropyKernel Kernel;
        internal float* Logits;
        internal nint Stride;
        internal int* Labels;
        internal int Width;
        internal double Smoothing;
        internal double Scale;
        internal double* Losses;

        public readonly void Run(nint row)
        {
            float* logits = Logits + (row * Stride);
            int label = Labels[row];
            if (label < 0)
            {
                new Span<float>(logits, Width).Clear();
                Losses[row] = 0;
                return;
            }

            Losses[row] = Kernel(logits, Width, label, Smoothing, Scale);
        }
    }

    static double Portable(float* logits, int width, int label, double smoothing, double scale)
    {
        double max = double.NegativeInfinity;
        double all = 0;
        for (int i = 0; i < width; i++)
        {
            max = Math.Max(max, logits[i]);
            all += logits[i];
        }

        double sum = 0;
        for (int i = 0; i < width; i++)
        {
            sum += Math.Exp(logits[i] - max);
        }

        double logSum = max + Math.Log(sum);
        double loss = Loss(logSum, logits[label], all, width, smoothing);
        double spread = smoothing / width;
        for (int i = 0; i < width; i++)
        {
            double target = spread + (i == label ? 1 - smoothing : 0);
            logits[i] = (float)(scale * (Math.Exp(logits[i] - logSum) - target));
        }

        return loss;
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    static double Avx2(float* logits, int width, int label, double smoothing, double scale)
    {
        if (width < 8)
        {
            return Portable(logits, width, label, smoothing, scale);
        }

        Vector256<float> most = Vector256.Load(logits);
        Vector256<double> total = default;
        int i = 0;
        for (; i <= width - 8; i += 8)
        {
            Vector256<float> x = Vector256.Load(logits + i);
            most = Vector256.Max(most, x);
            (Vector256<double> low, Vector256<double> high) = Vector256.Widen(x);
            total += low + high;
        }

        double all = Vector256.Sum(total);
        float max = most[0];
        for (int lane = 1; lane < 8; lane++)
        {
            max = Math.Max(max, most[lane]);
        }

        for (; i < width; i++)
        {
            max = Math.Max(max, logits[i]);
            all += logits[i];
        }

        float chosen = logits[label];
        Vector256<float> top = Vector256.Create(max);
        Vector256<double> sums = default;
        for (i = 0; i <= width - 8; i += 8)
        {
            Vector256<float> e = VectorMath.Exp(Vector256.Load(logits + i) - top);
            e.Store(logits + i);
            (Vector256<double> low, Vector256<double> high) = Vector256.Widen(e);
            sums += low + high;
        }

        double sum = Vector256.Sum(sums);
        for (; i < width; i++)
        {
            logits[i] = (float)Math.Exp((double)logits[i] - max);
            sum += logits[i];
        }

        float factor = (float)(scale / sum);
        float spread = (float)(scale * smoothing / width);
        Vector256<float> factors = Vector256.Create(factor);
        Vector256<float> spreads = Vector256.Create(-spread);
        double likely = scale * (((double)logits[label] / sum) - (1 - smoothing) - (smoothing / width));
        for (i = 0; i <= width - 8; i += 8)
        {
            Vector256.FusedMultiplyAdd(Vector256.Load(logits + i), factors, spreads).Store(logits + i);
        }

        for (; i < width; i++)
        {
            logits[i] = (logits[i] * factor) - spread;
        }

        logits[label] = (float)likely;
        return Loss(max + Math.Log(sum), chosen, all, width, smoothing);
    }

    static double Loss(double logSum, double chosen, double all, int width, double smoothing) =>
        smoothing == 0
            ? logSum - chosen
            : ((1 - smoothing) * (logSum - chosen)) + (smoothing * (logSum - (all / width)));
}
