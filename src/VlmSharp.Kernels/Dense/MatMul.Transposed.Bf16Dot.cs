using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace VlmSharp.Kernels;

public static unsafe partial class MatMul
{
    /// <summary>Whether products that may round to bf16 do so with the variants in use.</summary>
    public static bool RoundsToBF16 =>
        Bf16DotKernels.Supported && Variants.ActiveName == "avx512dot" && TransposedVariants.ActiveName == "avx512dot";

    static void Avx512DotTransposed(in TransposedCall call)
    {
        if (!call.MayRound)
        {
            DriveTransposed<Avx512Kernels<F32Weights>>(call);
            return;
        }

        if (call.Rows == 0 || call.Columns == 0)
        {
            return;
        }

        // A pair is two values of a column, one below the other: the order in which dot products take what they sum over.
        int pairs = (call.Depth + 1) / 2;
        int panelCount = (call.Columns + PanelRows - 1) / PanelRows;
        long panelWords = (long)pairs * PanelRows;
        long words = (long)pairs * call.Rows;
        AlignedBuffer rounded = call.Pool.Rent(((panelCount * panelWords) + words) * sizeof(uint));
        try
        {
            uint* panels = (uint*)rounded.Pointer;
            uint* turned = panels + (panelCount * panelWords); // [pairs, rows]
            fixed (float* a = call.A)
            fixed (float* b = call.B)
            fixed (float* y = call.Y)
            {
                int blocks = (pairs + RoundPairs.PairsPerPart - 1) / RoundPairs.PairsPerPart;
                RoundPairs left = new(a, call.AStride, call.Depth, call.Rows, turned, call.Rows, 0);
                RoundPairs right = new(b, call.BStride, call.Depth, call.Columns, panels, PanelRows, (nint)panelWords);
                call.Pool.Run(blocks, ref left);
                call.Pool.Run(blocks, ref right);
                var product = new Product<Bf16DotKernels>
                {
                    Kernels = default,
                    X = (float*)turned,
                    XStride = call.Rows,
                    Transposed = true,
                    Steps = new Steps(pairs, 1, ColumnBytes, DepthBlock, ColumnBytes),
                    Panels = (byte*)panels,
                    PanelBytes = (nint)(panelWords * sizeof(uint)),
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
            call.Pool.Return(rounded);
        }
    }

    /// <summary>[depth, width] to words of two rows, rounded to bf16: [pairs, width], or panels [pairs, 32] filled up with zeros.</summary>
    /// <param name="from">[depth, width]</param>
    /// <param name="stride">Elements from one row to the next.</param>
    /// <param name="depth">Rows; beside an odd last one there are zeros.</param>
    /// <param name="width">Columns.</param>
    /// <param name="to">Where the words go.</param>
    /// <param name="piece">Columns that stand side by side there.</param>
    /// <param name="next">Words from one such piece to the next.</param>
    readonly struct RoundPairs(float* from, nint stride, int depth, int width, uint* to, int piece, nint next)
        : IParallelBody
    {
        public const int PairsPerPart = 64;

        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        public void Run(int part, int worker)
        {
            int end = Math.Min((depth + 1) / 2, (part + 1) * PairsPerPart);
            for (int column = 0; column < width; column += piece)
            {
                int count = Math.Min(piece, width - column);
                uint* start = to + (column / piece * next);
                for (int pair = part * PairsPerPart; pair < end; pair++)
                {
                    float* low = from + (2 * pair * stride) + column;
                    float* high = (2 * pair) + 1 < depth ? low + stride : null;
                    uint* words = start + ((nint)pair * piece);
                    Round(low, high, words, count);
                    new Span<uint>(words + count, piece - count).Clear();
                }
            }
        }

        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        static void Round(float* low, float* high, uint* words, int count)
        {
            int i = 0;
            for (; i <= count - 16; i += 16)
            {
                Vector512<float> above = high is null ? Vector512<float>.Zero : Vector512.Load(high + i);
                Bf16.Pair(Bf16.RoundUpper(Vector512.Load(low + i)), Bf16.RoundUpper(above)).Store(words + i);
            }

            for (; i < count; i++)
            {
                uint above = high is null ? 0u : Bf16.Round(high[i]);
                words[i] = Bf16.Round(low[i]) | (above << 16);
            }
        }
    }
}
