using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace VlmSharp.Kernels;

/// <summary>One update of AdamW (Loshchilov and Hutter, arXiv 1711.05101) as PyTorch computes it, and the norm that clips its gradients.</summary>
public static unsafe class AdamW
{
    const int PartElements = 1 << 16;

    /// <summary>What is the same for all elements of a tensor in one step.</summary>
    /// <param name="Rate">Learning rate.</param>
    /// <param name="Beta1">Share of the old first moment that is kept.</param>
    /// <param name="Beta2">Share of the old second moment that is kept.</param>
    /// <param name="Epsilon">Added to the root of the corrected second moment.</param>
    /// <param name="Decay">Weights lose rate * decay of themselves, apart from the gradient.</param>
    /// <param name="Step">Updates so far, this one included: from 1.</param>
    /// <param name="GradientScale">Gradients count this many times: below 1 where they are clipped.</param>
    public readonly record struct Settings(
        double Rate,
        double Beta1,
        double Beta2,
        double Epsilon,
        double Decay,
        int Step,
        double GradientScale = 1
    );

    /// <summary>
    /// m = beta1 m + (1 - beta1) g, v = beta2 v + (1 - beta2) g^2, w = w (1 - rate decay) - rate / (1 - beta1^t) m /
    /// (sqrt(v / (1 - beta2^t)) + epsilon).
    /// </summary>
    /// <param name="values">[n], updated.</param>
    /// <param name="gradient">[n]</param>
    /// <param name="first">[n]: first moments, updated; zeros before the first step.</param>
    /// <param name="second">[n]: second moments, updated.</param>
    /// <param name="settings">Of this step.</param>
    /// <param name="pool">Shares the elements when there are enough.</param>
    /// <exception cref="ArgumentException">The lengths differ.</exception>
    public static void Update(
        Span<float> values,
        ReadOnlySpan<float> gradient,
        Span<float> first,
        Span<float> second,
        in Settings settings,
        WorkerPool pool
    )
    {
        ArgumentNullException.ThrowIfNull(pool);
        RowMatrix.CheckVector(gradient.Length, values.Length);
        RowMatrix.CheckVector(first.Length, values.Length);
        RowMatrix.CheckVector(second.Length, values.Length);
        fixed (float* w = values)
        fixed (float* g = gradient)
        fixed (float* m = first)
        fixed (float* v = second)
        {
            var body = new UpdateBody(w, g, m, v, values.Length, settings);
            pool.Run((values.Length + PartElements - 1) / PartElements, ref body);
        }
    }

    /// <summary>The sum of squares, in double precision; no bit depends on the threads.</summary>
    public static double SumOfSquares(ReadOnlySpan<float> values, WorkerPool pool)
    {
        ArgumentNullException.ThrowIfNull(pool);
        int parts = (values.Length + PartElements - 1) / PartElements;
        AlignedBuffer buffer = pool.Rent(parts * sizeof(double));
        try
        {
            fixed (float* start = values)
            {
                var body = new SquaresBody(start, values.Length, (double*)buffer.Pointer);
                pool.Run(parts, ref body);
            }

            double sum = 0;
            for (int part = 0; part < parts; part++)
            {
                sum += ((double*)buffer.Pointer)[part];
            }

            return sum;
        }
        finally
        {
            pool.Return(buffer);
        }
    }

    readonly struct SquaresBody(float* values, int length, double* sums) : IParallelBody
    {
        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        public void Run(int part, int worker)
        {
            int i = part * PartElements;
            int end = Math.Min(length, i + PartElements);
            Vector256<double> a = default;
            Vector256<double> b = default;
            for (; i <= end - 8; i += 8)
            {
                (Vector256<double> low, Vector256<double> high) = Vector256.Widen(Vector256.Load(values + i));
                a += low * low;
                b += high * high;
            }

            double sum = Vector256.Sum(a + b);
            for (; i < end; i++)
            {
                sum += (double)values[i] * values[i];
            }

            sums[part] = sum;
        }
    }

    readonly struct UpdateBody(float* w, float* g, float* m, float* v, int length, in Settings settings) : IParallelBody
    {
        readonly float scale = (float)settings.GradientScale;
        readonly float keep = (float)(1 - (settings.Rate * settings.Decay));
        readonly float beta1 = (float)settings.Beta1;
        readonly float rest1 = (float)(1 - settings.Beta1);
        readonly float beta2 = (float)settings.Beta2;
        readonly float rest2 = (float)(1 - settings.Beta2);
        readonly float epsilon = (float)settings.Epsilon;
        readonly float rate = (float)(settings.Rate / (1 - Math.Pow(settings.Beta1, settings.Step)));
        readonly float correct = (float)(1 / Math.Sqrt(1 - Math.Pow(settings.Beta2, settings.Step)));

        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        public void Run(int part, int worker)
        {
            int i = part * PartElements;
            int end = Math.Min(length, i + PartElements);
            for (; i <= end - 8; i += 8)
            {
                Vector256<float> gradient = Vector256.Load(g + i) * Vector256.Create(scale);
                Vector256<float> mean =
                    (Vector256.Load(m + i) * Vector256.Create(beta1)) + (gradient * Vector256.Create(rest1));
                Vector256<float> square =
                    (Vector256.Load(v + i) * Vector256.Create(beta2)) + (gradient * gradient * Vector256.Create(rest2));
                mean.Store(m + i);
                square.Store(v + i);
                Vector256<float> root =
                    (Vector256.Sqrt(square) * Vector256.Create(correct)) + Vector256.Create(epsilon);
                ((Vector256.Load(w + i) * Vector256.Create(keep)) - (Vector256.Create(rate) * (mean / root))).Store(
                    w + i
                );
            }

            for (; i < end; i++)
            {
                float gradient = g[i] * scale;
                m[i] = (m[i] * beta1) + (gradient * rest1);
                v[i] = (v[i] * beta2) + (gradient * gradient * rest2);
                w[i] = (w[i] * keep) - (rate * (m[i] / ((MathF.Sqrt(v[i]) * correct) + epsilon)));
            }
        }
    }
}
