namespace VlmSharp.Kernels;

/// <summary>y[r, o] = sum over i of x[r, i] * w[o, i], plus bias[o], plus the old y[r, o] when accumulating.</summary>
/// <remarks>
/// <para>
/// Weights are used as they are stored and widened in registers; sums are f32. Each output has one accumulator that takes its
/// products in ascending i, by fused multiply-add in the AVX variants; the bias and then the old y are added to the finished sum.
/// Hence the bits of a row of y depend on that row of x alone: not on the other rows or their number, not on the number of
/// threads, not on how a prompt is cut into pieces. Variants may differ from each other in the last bits.
/// </para>
/// <para>The error of an output is at most (columns + 3) * 2^-24 * (sum of |x * w| + |bias| + |old y|).</para>
/// </remarks>
public static unsafe partial class MatMul
{
    internal delegate void Signature(in Call call);

    internal static readonly KernelTable<Signature> Variants = new(
        "matmul",
        ("avx512dot", Bf16DotKernels.Supported || Int8DotKernels.Supported, Avx512Dot),
        ("avx512", InstructionSets.Avx512, Avx512),
        ("avx2", InstructionSets.Avx2, Avx2),
        ("portable", true, Portable)
    );

    /// <summary>Multiplies <paramref name="rows"/> rows of x by the transposed weights.</summary>
    /// <param name="x">[rows, w.Columns]; row r starts at r * <paramref name="xStride"/>.</param>
    /// <param name="xStride">Elements from one row of x to the next, at least w.Columns.</param>
    /// <param name="w">[outputs, inputs]</param>
    /// <param name="bias">[w.Rows], or empty for none</param>
    /// <param name="y">[rows, w.Rows]; row r starts at r * <paramref name="yStride"/>. Elements between rows are left alone. Must not share elements with x.</param>
    /// <param name="yStride">Elements from one row of y to the next, at least w.Rows.</param>
    /// <param name="rows">0 is allowed.</param>
    /// <param name="pool">Threads to share the work.</param>
    /// <param name="accumulate">Add to y instead of overwriting it.</param>
    /// <param name="mayRound">
    /// Lets a variant that is faster so round x first: to bf16 where weights are bf16, as the published models do when they run in it; to
    /// bytes, with a scale for each 32 columns, where weights are blocks of integers (each value is then off by at most half of
    /// 1/127 of the largest beside it). Rounding does not depend on the other rows either. A row that is rounded to bytes and
    /// holds a NaN or an infinity has the result NaN everywhere.
    /// </param>
    /// <exception cref="ArgumentException">A span is too short for the sizes given, or a stride smaller than a row.</exception>
    public static void Apply(
        ReadOnlySpan<float> x,
        int xStride,
        PackedMatrix w,
        ReadOnlySpan<float> bias,
        Span<float> y,
        int yStride,
        int rows,
        WorkerPool pool,
        bool accumulate = false,
        bool mayRound = false
    )
    {
        ArgumentNullException.ThrowIfNull(w);
        ArgumentNullException.ThrowIfNull(pool);
        ArgumentOutOfRangeException.ThrowIfNegative(rows);
        CheckRows(nameof(x), x.Length, xStride, w.Columns, rows);
        CheckRows(nameof(y), y.Length, yStride, w.Rows, rows);
        if (!bias.IsEmpty && bias.Length != w.Rows)
        {
            throw new ArgumentException($"the bias has {bias.Length} values for {w.Rows} outputs", nameof(bias));
        }

        Variants.Active(
            new Call
            {
                X = x,
                XStride = xStride,
                W = w,
                Bias = bias,
                Y = y,
                YStride = yStride,
                Rows = rows,
                Pool = pool,
                Accumulate = accumulate,
                MayRound = mayRound,
            }
        );
    }

    /// <summary>The checked arguments of <see cref="Apply"/>.</summary>
    internal readonly ref struct Call
    {
        public required ReadOnlySpan<float> X { get; init; }
        public required int XStride { get; init; }
        public required PackedMatrix W { get; init; }
        public required ReadOnlySpan<float> Bias { get; init; }
        public required Span<float> Y { get; init; }
        public required int YStride { get; init; }
        public required int Rows { get; init; }
        public required WorkerPool Pool { get; init; }
        public required bool Accumulate { get; init; }
        public required bool MayRound { get; init; }
    }

    static void CheckRows(string name, int length, int stride, int width, int rows)
    {
        if (stride < width)
        {
            throw new ArgumentException($"a stride of {stride} is smaller than a row of {width}", name);
        }

        if (rows > 0 && length < (rows - 1L) * stride + width)
        {
            throw new ArgumentException(
                $"{rows} rows of {width} with stride {stride} need {(rows - 1L) * stride + width} elements, there are {length}",
                name
            );
        }
    }
}
