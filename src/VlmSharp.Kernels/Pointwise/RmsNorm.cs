namespace VlmSharp.Kernels;

/// <summary>One row of RMSNorm; y may be x.</summary>
internal unsafe delegate void RmsNormKernel(float* x, float* weight, float* y, int width, float epsilon);

/// <summary>y[r, i] = x[r, i] / sqrt(mean(x[r]^2) + epsilon) * weight[i] (Zhang and Sennrich, arXiv 1910.07467).</summary>
/// <remarks>
/// Squares are summed in f32 in many partial sums: relative error at most 1e-6 for widths up to 16384 and |x| whose squares
/// stay in the range of f32. NaN or infinity anywhere in a row makes NaN at least where it stands; other rows never matter.
/// </remarks>
public static unsafe partial class RmsNorm
{
    internal static readonly KernelTable<RmsNormKernel> Variants = new(
        "rms_norm",
        ("avx512", InstructionSets.Avx512, Avx512),
        ("avx2", InstructionSets.Avx2, Avx2),
        ("portable", true, Portable)
    );

    /// <summary>Normalises every row.</summary>
    /// <param name="x">[rows, width]</param>
    /// <param name="xStride">Elements from one row of x to the next, at least <paramref name="width"/>.</param>
    /// <param name="weight">[width]</param>
    /// <param name="y">[rows, width]; may be x itself.</param>
    /// <param name="yStride">Elements from one row of y to the next.</param>
    /// <param name="rows">Number of rows; 0 is allowed. A head of every token is a row too: rows = tokens * heads.</param>
    /// <param name="width">Elements per row.</param>
    /// <param name="epsilon">Added to the mean square.</param>
    /// <param name="pool">Shares the rows when there are enough.</param>
    /// <exception cref="ArgumentException">A span is too short, rows of it overlap, or weight has another width.</exception>
    public static void Apply(
        ReadOnlySpan<float> x,
        int xStride,
        ReadOnlySpan<float> weight,
        Span<float> y,
        int yStride,
        int rows,
        int width,
        float epsilon,
        WorkerPool pool
    ) => Apply(Variants.Active, x, xStride, weight, y, yStride, rows, heads: 1, width, epsilon, pool);

    /// <summary>Normalises every head of every row on its own: the query and key norms of Qwen3 and others.</summary>
    /// <param name="x">[rows, heads, headDim]; within a row the heads are contiguous.</param>
    /// <param name="xStride">Elements from one row of x to the next, at least heads * headDim.</param>
    /// <param name="weight">[headDim]; all heads share it.</param>
    /// <param name="y">[rows, heads, headDim]; may be x itself.</param>
    /// <param name="yStride">Elements from one row of y to the next.</param>
    /// <param name="rows">Number of rows; 0 is allowed.</param>
    /// <param name="heads">Heads per row.</param>
    /// <param name="epsilon">Added to the mean square.</param>
    /// <param name="pool">Shares the rows when there are enough.</param>
    /// <exception cref="ArgumentException">A span is too short, or rows of it overlap.</exception>
    public static void ApplyToHeads(
        ReadOnlySpan<float> x,
        int xStride,
        ReadOnlySpan<float> weight,
        Span<float> y,
        int yStride,
        int rows,
        int heads,
        float epsilon,
        WorkerPool pool
    ) => Apply(Variants.Active, x, xStride, weight, y, yStride, rows, heads, weight.Length, epsilon, pool);

    internal static void Apply(
        RmsNormKernel kernel,
        ReadOnlySpan<float> x,
        int xStride,
        ReadOnlySpan<float> weight,
        Span<float> y,
        int yStride,
        int rows,
        int heads,
        int width,
        float epsilon,
        WorkerPool pool
    )
    {
        int rowWidth = checked(heads * width);
        RowMatrix.Check(x.Length, xStride, rows, rowWidth);
        RowMatrix.Check(y.Length, yStride, rows, rowWidth);
        RowMatrix.CheckVector(weight.Length, width);
        fixed (float* xStart = x)
        fixed (float* weightStart = weight)
        fixed (float* yStart = y)
        {
            var body = new Body
            {
                Kernel = kernel,
                X = xStart,
                Weight = weightStart,
                Y = yStart,
                XStride = xStride,
                YStride = yStride,
                Heads = heads,
                Width = width,
                Epsilon = epsilon,
            };
            RowMatrix.ForRows(body, rows, rowWidth, pool);
        }
    }

    static void Portable(float* x, float* weight, float* y, int width, float epsilon)
    {
        double squares = 0;
        for (int i = 0; i < width; i++)
        {
            squares += (double)x[i] * x[i];
        }

        float factor = (float)(1 / Math.Sqrt((squares / width) + epsilon));
        for (int i = 0; i < width; i++)
        {
            y[i] = x[i] * factor * weight[i];
        }
    }

    struct Body : IRowBody
    {
        internal RmsNormKernel Kernel;
        internal float* X;
        internal float* Weight;
        internal float* Y;
        internal int XStride;
        internal int YStride;
        internal int Heads;
        internal int Width;
        internal float Epsilon;

        public readonly void Run(nint row)
        {
            for (nint head = 0; head < Heads; head++)
            {
                nint at = head * Width;
                Kernel(X + (row * XStride) + at, Weight, Y + (row * YStride) + at, Width, Epsilon);
            }
        }
    }
}
