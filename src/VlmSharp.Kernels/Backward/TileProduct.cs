using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace VlmSharp.Kernels;

/// <summary>Three small matrices: C[i, j] = sum over k of A[i, k] * B[k, j], added to the old C when accumulating.</summary>
internal readonly unsafe struct TileOperands
{
    internal float* A { get; init; }
    internal nint ARow { get; init; } // elements from row to row
    internal nint AColumn { get; init; } // elements from column to column: a transposed matrix is one with the two exchanged
    internal float* B { get; init; } // columns side by side
    internal nint BRow { get; init; }
    internal float* C { get; init; } // columns side by side
    internal nint CRow { get; init; }
    internal int Rows { get; init; }
    internal int Columns { get; init; }
    internal int Depth { get; init; }
    internal bool Accumulate { get; init; }
}

/// <summary>Computes a <see cref="TileOperands"/>.</summary>
internal unsafe delegate void TileProductKernel(in TileOperands tile);

/// <summary>Products of matrices that lie in the caches as they are: nothing is packed. For blocks of attention.</summary>
/// <remarks>Every element takes its products in ascending k, by fused multiply-add; where it stands in C changes nothing.</remarks>
internal static unsafe partial class TileProduct
{
    internal static readonly KernelTable<TileProductKernel> Variants = new(
        "tile_product",
        ("avx512", InstructionSets.Avx512, Avx512),
        ("portable", true, Portable)
    );

    // Vectors of 256 bits, which the compiler has without instructions for them too.
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    static void Portable(in TileOperands t)
    {
        for (int row = 0; row < t.Rows; row++)
        {
            float* c = t.C + (row * t.CRow);
            int column = 0;
            for (; column <= t.Columns - 32; column += 32)
            {
                float* a = t.A + (row * t.ARow);
                float* b = t.B + column;
                Vector256<float> s0 = default;
                Vector256<float> s1 = default;
                Vector256<float> s2 = default;
                Vector256<float> s3 = default;
                for (int k = 0; k < t.Depth; k++, a += t.AColumn, b += t.BRow)
                {
                    Vector256<float> x = Vector256.Create(*a);
                    s0 = Vector256.FusedMultiplyAdd(x, Vector256.Load(b), s0);
                    s1 = Vector256.FusedMultiplyAdd(x, Vector256.Load(b + 8), s1);
                    s2 = Vector256.FusedMultiplyAdd(x, Vector256.Load(b + 16), s2);
                    s3 = Vector256.FusedMultiplyAdd(x, Vector256.Load(b + 24), s3);
                }

                Add(c + column, s0, t.Accumulate);
                Add(c + column + 8, s1, t.Accumulate);
                Add(c + column + 16, s2, t.Accumulate);
                Add(c + column + 24, s3, t.Accumulate);
            }

            for (; column <= t.Columns - 8; column += 8)
            {
                float* a = t.A + (row * t.ARow);
                float* b = t.B + column;
                Vector256<float> s = default;
                for (int k = 0; k < t.Depth; k++, a += t.AColumn, b += t.BRow)
                {
                    s = Vector256.FusedMultiplyAdd(Vector256.Create(*a), Vector256.Load(b), s);
                }

                Add(c + column, s, t.Accumulate);
            }

            for (; column < t.Columns; column++)
            {
                float* a = t.A + (row * t.ARow);
                float* b = t.B + column;
                float s = 0;
                for (int k = 0; k < t.Depth; k++, a += t.AColumn, b += t.BRow)
                {
                    s = MathF.FusedMultiplyAdd(*a, *b, s);
                }

                c[column] = t.Accumulate ? c[column] + s : s;
            }
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static void Add(float* c, Vector256<float> sum, bool accumulate) =>
        (accumulate ? Vector256.Load(c) + sum : sum).Store(c);
}
