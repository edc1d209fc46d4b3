namespace VlmSharp.Kernels;

/// <summary>All heads of one token; pairs (i, i + half) of each are turned by the angle i.</summary>
internal unsafe delegate void RopeKernel(float* x, float* cos, float* sin, int heads, int headDim);

/// <summary>Rotary position embedding in the half-split form of GPT-NeoX: the pair (x[i], x[i + headDim/2]) is turned by angle i.</summary>
/// <remarks>
/// y1 = x1 * cos - x2 * sin, y2 = x2 * cos + x1 * sin (Su et al., arXiv 2104.09864; which angle belongs to which position is the caller's).
/// At most one rounding more than the exact expression; NaN and infinity reach only their own pair.
/// </remarks>
public static unsafe partial class Rope
{
    internal static readonly KernelTable<RopeKernel> Variants = new(
        "rope",
        ("avx512", InstructionSets.Avx512, Avx512),
        ("avx2", InstructionSets.Avx2, Avx2),
        ("portable", true, Portable)
    );

    /// <summary>Turns every head of every row in place.</summary>
    /// <param name="x">[rows, heads, headDim]; within a row the heads are contiguous.</param>
    /// <param name="xStride">Elements from one row of x to the next, at least heads * headDim.</param>
    /// <param name="rows">Number of tokens; 0 is allowed.</param>
    /// <param name="heads">Heads per token.</param>
    /// <param name="headDim">Elements per head, even.</param>
    /// <param name="cos">[rows, headDim / 2], contiguous; all heads of a row share it.</param>
    /// <param name="sin">[rows, headDim / 2], contiguous.</param>
    /// <param name="pool">Shares the rows when there are enough.</param>
    /// <exception cref="ArgumentException">headDim is odd, a span is too short, or rows of x overlap.</exception>
    public static void Apply(
        Span<float> x,
        int xStride,
        int rows,
        int heads,
        int headDim,
        ReadOnlySpan<float> cos,
        ReadOnlySpan<float> sin,
        WorkerPool pool
    ) => Apply(Variants.Active, x, xStride, rows, heads, headDim, cos, sin, pool);

    internal static void Apply(
        RopeKernel kernel,
        Span<float> x,
        int xStride,
        int rows,
        int heads,
        int headDim,
        ReadOnlySpan<float> cos,
        ReadOnlySpan<float> sin,
        WorkerPool pool
    )
    {
        if (headDim % 2 != 0)
        {
            throw new ArgumentException($"headDim: {headDim} is odd; elements are turned in pairs");
        }

        int width = checked(heads * headDim);
        int half = headDim / 2;
        RowMatrix.Check(x.Length, xStride, rows, width);
        RowMatrix.Check(cos.Length, half, rows, half);
        RowMatrix.Check(sin.Length, half, rows, half);
        fixed (float* xStart = x)
        fixed (float* cosStart = cos)
        fixed (float* sinStart = sin)
        {
            var body = new Body
            {
                Kernel = kernel,
                X = xStart,
                Cos = cosStart,
                Sin = sinStart,
                XStride = xStride,
                Heads = heads,
                HeadDim = headDim,
            };
            RowMatrix.ForRows(body, rows, width, pool);
        }
    }

    static void Portable(float* x, float* cos, float* sin, int heads, int headDim)
    {
        int half = headDim / 2;
        for (int h = 0; h < heads; h++, x += headDim)
        {
            for (int i = 0; i < half; i++)
            {
                float x1 = x[i];
                float x2 = x[i + half];
                x[i] = (x1 * cos[i]) - (x2 * sin[i]);
                x[i + half] = (x2 * cos[i]) + (x1 * sin[i]);
            }
        }
    }

    struct Body : IRowBody
    {
        internal RopeKernel Kernel;
        internal float* X;
        internal float* Cos;
        internal float* Sin;
        internal int XStride;
        internal int Heads;
        internal int HeadDim;

        public readonly void Run(nint row) =>
            Kernel(X + (row * XStride), Cos + (row * (HeadDim / 2)), Sin + (row * (HeadDim / 2)), Heads, HeadDim);
    }
}
