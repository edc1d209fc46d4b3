namespace VlmSharp.Kernels;

/// <summary>One row of LayerNorm; y may be x.</summary>
internal unsafe delegate void LayerNormKernel(float* x, float* weight, float* bias, float* y, int width, float epsilon);

/// <summary>y[r, i] = (x[r, i] - mean) / sqrt(variance + epsilon) * weight[i] + bias[i], with the biased variance of the row.</summary>
/// <remarks>
/// Two passes in f32, the second of which also measures by how much the rounded mean is off and corrects for it: a row far from
/// zero loses only what f32 lost when it was stored. Error at most 1e-6 of the largest normalised value for widths up to 16384.
/// NaN or infinity anywhere in a row makes the row NaN; other rows never matter.
/// </remarks>
public static unsafe partial class LayerNorm
{
    internal static readonly KernelTable<LayerNormKernel> Variants = new(
        "layer_norm",
        ("avx512", InstructionSets.Avx512, Avx512),
        ("avx2", InstructionSets.Avx2, Avx2),
        ("portable", true, Portable)
    );

    /// <summary>Normalises every row.</summary>
    /// <param name="x">[rows, width]</param>
    /// <param name="xStride">Elements from one row of x to the next, at least <paramref name="width"/>.</param>
    /// <param name="weight">[width]</param>
    /// <param name="bias">[width]</param>
    /// <param name="y">[rows, width]; may be x itself.</param>
    /// <param name="yStride">Elements from one row of y to the next.</param>
    /// <param name="rows">Number of rows; 0 is allowed.</param>
    /// <param name="width">Elements per row.</param>
    /// <param name="epsilon">Added to the variance.</param>
    /// <param name="pool">Shares the rows when there are enough.</param>
    /// <exception cref="ArgumentException">A span is too short, rows of it overlap, or weight or bias have another width.</exception>
    public static void Apply(
        ReadOnlySpan<float> x,
        int xStride,
        ReadOnlySpan<float> weight,
        ReadOnlySpan<float> bias,
        Span<float> y,
        int yStride,
        int rows,
        int width,
        float epsilon,
        WorkerPool pool
    ) => Apply(Variants.Active, x, xStride, weight, bias, y, yStride, rows, width, epsilon, pool);

    internal static void Apply(
        LayerNormKernel kernel,
        ReadOnlySpan<float> x,
        int xStride,
        ReadOnlySpan<float> weight,
        ReadOnlySpan<float> bias,
        Span<float> y,
        int yStride,
        int rows,
        int width,
        float epsilon,
        WorkerPool pool
    )
    {
        RowMatrix.Check(x.Length, xStride, rows, width);
        RowMatrix.Check(y.Length, yStride, rows, width);
        RowMatrix.CheckVector(weight.Length, width);
        RowMatrix.CheckVector(bias.Length, width);
        fixed (float* xStart = x)
        fixed (float* weightStart = weight)
        fixed (float* biasStart = bias)
        fixed (float* yStart = y)
        {
            var body = new Body
            {
                Kernel = kernel,
                X = xStart,
                Weight = weightStart,
                Bias = biasStart,
                Y = yStart,
                XStride = xStride,
                YStride = yStride,
                Width = width,
                Epsilon = epsilon,
            };
            RowMatrix.ForRows(body, rows, width, pool);
        }
    }

    static void Portable(float* x, float* weight, float* bias, float* y, int width, float epsilon)
    {
        double sum = 0;
        for (int i = 0; i < width; i++)
        {
            sum += x[i];
        }

        double mean = sum / width;
        double squares = 0;
        for (int i = 0; i < width; i++)
        {
            squares += (x[i] - mean) * (x[i] - mean);
        }

        double factor = 1 / Math.Sqrt((squares / width) + epsilon);
        for (int i = 0; i < width; i++)
        {
            y[i] = (float)(((x[i] - mean) * factor * weight[i]) + bias[i]);
        }
    }

    struct Body : IRowBody
    {
        internal LayerNormKernel Kernel;
        internal float* X;
        internal float* Weight;
        internal float* Bias;
        internal float* Y;
        internal int XStride;
        internal int YStride;
        internal int Width;
        internal float Epsilon;

        public readonly void Run(nint row) =>
            Kernel(X + (row * XStride), Weight, Bias, Y + (row * YStride), Width, Epsilon);
    }
}
