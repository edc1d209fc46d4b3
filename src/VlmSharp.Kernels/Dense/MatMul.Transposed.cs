using System.Runtime.CompilerServices;

namespace VlmSharp.Kernels;

public static unsafe partial class MatMul
{
    internal delegate void TransposedSignature(in TransposedCall call);

    internal static readonly KernelTable<TransposedSignature> TransposedVariants = new(
        "matmul_transposed",
        ("avx512dot", Bf16DotKernels.Supported, new TransposedSignature(Avx512DotTransposed)),
        ("avx512", InstructionSets.Avx512, new TransposedSignature(DriveTransposed<Avx512Kernels<F32Weights>>)),
        ("avx2", InstructionSets.Avx2, new TransposedSignature(DriveTransposed<Avx2Kernels<F32Weights>>)),
        ("portable", true, new TransposedSignature(DriveTransposed<PortableKernels<F32Weights>>))
    );

    /// <summary>y[o, i] = sum over t of a[t, o] * b[t, i], plus the old y[o, i] when accumulating: what rows of results hand back to a matrix of weights.</summary>
    /// <remarks>
    /// The kernels of <see cref="Apply"/>, over both factors packed for this one product. Sums are f32, each output taking its products
    /// in ascending t: no bit depends on the number of threads.
    /// </remarks>
    /// <param name="a">[depth, rows]</param>
    /// <param name="aStride">Elements from one row of a to the next, at least <paramref name="rows"/>.</param>
    /// <param name="b">[depth, columns]</param>
    /// <param name="bStride">Elements from one row of b to the next, at least <paramref name="columns"/>.</param>
    /// <param name="y">[rows, columns]; must not share elements with a and b.</param>
    /// <param name="yStride">Elements from one row of y to the next, at least <paramref name="columns"/>.</param>
    /// <param name="depth">Products in a sum; 0 is allowed.</param>
    /// <param name="rows">Rows of y.</param>
    /// <param name="columns">Columns of y.</param>
    /// <param name="pool">Threads to share the work.</param>
    /// <param name="accumulate">Add to y instead of overwriting it.</param>
    /// <param name="mayRound">Lets a variant that is faster so round a and b to bf16 first; their products come in pairs then.</param>
    /// <exception cref="ArgumentException">A span is too short for the sizes given, or a stride smaller than a row.</exception>
    public static void ApplyTransposed(
        ReadOnlySpan<float> a,
        int aStride,
        ReadOnlySpan<float> b,
        int bStride,
        Span<float> y,
        int yStride,
        int depth,
        int rows,
        int columns,
        WorkerPool pool,
        bool accumulate = false,
        bool mayRound = false
    )
    {
        ArgumentNullException.ThrowIfNull(pool);
        ArgumentOutOfRangeException.ThrowIfNegative(depth);
        ArgumentOutOfRangeException.ThrowIfNegative(rows);
        ArgumentOutOfRangeException.ThrowIfNegative(columns);
        CheckRows(nameof(a), a.Length, aStride, rows, depth);
        CheckRows(nameof(b), b.Length, bStride, columns, depth);
        CheckRows(nameof(y), y.Length, yStride, columns, rows);
        TransposedVariants.Active(
            new TransposedCall
            {
                A = a,
                AStride = aStride,
                B = b,
                BStride = bStride,
                Y = y,
                YStride = yStride,
                Depth = depth,
                Rows = rows,
                Columns = columns,
                Pool = pool,
                Accumulate = accumulate,
                MayRound = mayRound,
            }
        );
    }

    /// <summary>The checked arguments of <see cref="ApplyTransposed"/>.</summary>
    internal readonly ref struct TransposedCall
    {
        public required ReadOnlySpan<float> A { get; init; }
        public required int AStride { get; init; }
        public required ReadOnlySpan<float> B { get; init; }
        public required int BStride { get; init; }
        public required Span<float> Y { get; init; }
        public required int YStride { get; init; }
        public required int Depth { get; init; }
        public required int Rows { get; init; }
        public required int Columns { get; init; }
        public required WorkerPool Pool { get; init; }
        public required bool Accumulate { get; init; }
        public required bool MayRound { get; init; }
    }

    static void DriveTransposed<TKernels>(in TransposedCall call)
        where TKernels : struct, IPanelKernels
    {
        if (call.Rows == 0 || call.Columns == 0)
        {
            return;
        }

        // b becomes panels as PackedMatrix has them: a row of 32 values is copied as it stands.
        int panelCount = (call.Columns + PanelRows - 1) / PanelRows;
        long panelFloats = (long)call.Depth * PanelRows;
        AlignedBuffer panels = call.Pool.Rent(panelCount * panelFloats * sizeof(float));
        try
        {
            fixed (float* a = call.A)
            fixed (float* b = call.B)
            fixed (float* y = call.Y)
            {
                var pack = new PackPanels(
                    b,
                    call.BStride,
                    call.Depth,
                    call.Columns,
                    (float*)panels.Pointer,
                    panelCount
                );
                call.Pool.Run(panelCount * pack.Blocks, ref pack);
                var product = new Product<TKernels>
                {
                    Kernels = default,
                    X = a,
                    XStride = call.AStride,
                    Transposed = true,
                    Steps = new Steps(call.Depth, 1, ColumnBytes, DepthBlock, ColumnBytes),
                    Panels = panels.Pointer,
                    PanelBytes = (nint)(panelFloats * sizeof(float)),
                    PanelCount = panelCount,
                    Outputs = call.Columns,
                    Bias = null,
                    Y = y,
                    YStride = call.YStride,
                    Accumulate = call.Accumulate,
                    Pool = call.Pool,
                };
                product.Run(call.Rows);
            }
        }
        finally
        {
            call.Pool.Return(panels);
        }
    }

    /// <summary>[depth, columns] to panels [depth, 32], the last one filled up with zeros.</summary>
    readonly struct PackPanels(float* from, nint stride, int depth, int columns, float* panels, int panelCount)
        : IParallelBody
    {
        const int RowsPerBlock = 512;

        public int Blocks => (depth + RowsPerBlock - 1) / RowsPerBlock;

        // All panels of some rows: they are read once.
        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        public void Run(int part, int worker)
        {
            (int block, int panel) = Math.DivRem(part, panelCount);
            int width = Math.Min(PanelRows, columns - (panel * PanelRows));
            int end = Math.Min(depth, (block + 1) * RowsPerBlock);
            float* to = panels + ((nint)panel * depth * PanelRows);
            for (int row = block * RowsPerBlock; row < end; row++)
            {
                float* source = from + (row * stride) + (panel * PanelRows);
                float* target = to + ((nint)row * PanelRows);
                if (width == PanelRows)
                {
                    Unsafe.CopyBlockUnaligned(target, source, PanelRows * sizeof(float));
                }
                else
                {
                    new ReadOnlySpan<float>(source, width).CopyTo(new Span<float>(target, width));
                    new Span<float>(target + width, PanelRows - width).Clear();
                }
            }
        }
    }

    /// <summary>[columns, rows] to [rows, columns].</summary>
    readonly struct TurnRows(float* from, nint stride, int columns, float* to, int rows) : IParallelBody
    {
        public const int ColumnsPerPart = 256;

        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        public void Run(int part, int worker)
        {
            int end = Math.Min(columns, (part + 1) * ColumnsPerPart);
            for (int row = 0; row < rows; row++)
            {
                for (int column = part * ColumnsPerPart; column < end; column++)
                {
                    to[((nint)row * columns) + column] = from[(column * stride) + row];
                }
            }
        }
    }
}
