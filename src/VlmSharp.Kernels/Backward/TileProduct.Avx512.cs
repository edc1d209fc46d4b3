using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace VlmSharp.Kernels;

internal static unsafe partial class TileProduct
{
    // Eight rows of two vectors: 16 accumulators hide the latency of the multiply-add. Sums are locals, see MatMul.
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    static void Avx512(in TileOperands t)
    {
        for (int column = 0; column < t.Columns; column += 32)
        {
            int width = Math.Min(32, t.Columns - column);
            Vector512<float> low = Masks.First512(width);
            Vector512<float> high = Masks.First512(width - 16);
            int row = 0;
            for (; row <= t.Rows - 8; row += 8)
            {
                if (width > 16)
                {
                    Wide(t, row, column, low, high);
                }
                else
                {
                    Narrow(t, row, column, low);
                }
            }

            for (; row < t.Rows; row++)
            {
                Single(t, row, column, low, high);
            }
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    static void Wide(in TileOperands t, int row, int column, Vector512<float> low, Vector512<float> high)
    {
        float* a = t.A + (row * t.ARow);
        float* b = t.B + column;
        float* c = t.C + (row * t.CRow) + column;
        nint next = t.ARow;
        Vector512<float> s0 = Vector512<float>.Zero;
        Vector512<float> t0 = Vector512<float>.Zero;
        Vector512<float> s1 = Vector512<float>.Zero;
        Vector512<float> t1 = Vector512<float>.Zero;
        Vector512<float> s2 = Vector512<float>.Zero;
        Vector512<float> t2 = Vector512<float>.Zero;
        Vector512<float> s3 = Vector512<float>.Zero;
        Vector512<float> t3 = Vector512<float>.Zero;
        Vector512<float> s4 = Vector512<float>.Zero;
        Vector512<float> t4 = Vector512<float>.Zero;
        Vector512<float> s5 = Vector512<float>.Zero;
        Vector512<float> t5 = Vector512<float>.Zero;
        Vector512<float> s6 = Vector512<float>.Zero;
        Vector512<float> t6 = Vector512<float>.Zero;
        Vector512<float> s7 = Vector512<float>.Zero;
        Vector512<float> t7 = Vector512<float>.Zero;
        for (int k = 0; k < t.Depth; k++, a += t.AColumn, b += t.BRow)
        {
            Vector512<float> bLow = Avx512F.MaskLoad(b, low, Vector512<float>.Zero);
            Vector512<float> bHigh = Avx512F.MaskLoad(b + 16, high, Vector512<float>.Zero);
            float* x = a;
            Vector512<float> a0 = Vector512.Create(*x);
            s0 = Avx512F.FusedMultiplyAdd(a0, bLow, s0);
            t0 = Avx512F.FusedMultiplyAdd(a0, bHigh, t0);
            x += next;
            Vector512<float> a1 = Vector512.Create(*x);
            s1 = Avx512F.FusedMultiplyAdd(a1, bLow, s1);
            t1 = Avx512F.FusedMultiplyAdd(a1, bHigh, t1);
            x += next;
            Vector512<float> a2 = Vector512.Create(*x);
            s2 = Avx512F.FusedMultiplyAdd(a2, bLow, s2);
            t2 = Avx512F.FusedMultiplyAdd(a2, bHigh, t2);
            x += next;
            Vector512<float> a3 = Vector512.Create(*x);
            s3 = Avx512F.FusedMultiplyAdd(a3, bLow, s3);
            t3 = Avx512F.FusedMultiplyAdd(a3, bHigh, t3);
            x += next;
            Vector512<float> a4 = Vector512.Create(*x);
            s4 = Avx512F.FusedMultiplyAdd(a4, bLow, s4);
            t4 = Avx512F.FusedMultiplyAdd(a4, bHigh, t4);
            x += next;
            Vector512<float> a5 = Vector512.Create(*x);
            s5 = Avx512F.FusedMultiplyAdd(a5, bLow, s5);
            t5 = Avx512F.FusedMultiplyAdd(a5, bHigh, t5);
            x += next;
            Vector512<float> a6 = Vector512.Create(*x);
            s6 = Avx512F.FusedMultiplyAdd(a6, bLow, s6);
            t6 = Avx512F.FusedMultiplyAdd(a6, bHigh, t6);
            x += next;
            Vector512<float> a7 = Vector512.Create(*x);
            s7 = Avx512F.FusedMultiplyAdd(a7, bLow, s7);
            t7 = Avx512F.FusedMultiplyAdd(a7, bHigh, t7);
        }

        Add(c, low, s0, t.Accumulate);
        Add(c + 16, high, t0, t.Accumulate);
        c += t.CRow;
        Add(c, low, s1, t.Accumulate);
        Add(c + 16, high, t1, t.Accumulate);
        c += t.CRow;
        Add(c, low, s2, t.Accumulate);
        Add(c + 16, high, t2, t.Accumulate);
        c += t.CRow;
        Add(c, low, s3, t.Accumulate);
        Add(c + 16, high, t3, t.Accumulate);
        c += t.CRow;
        Add(c, low, s4, t.Accumulate);
        Add(c + 16, high, t4, t.Accumulate);
        c += t.CRow;
        Add(c, low, s5, t.Accumulate);
        Add(c + 16, high, t5, t.Accumulate);
        c += t.CRow;
        Add(c, low, s6, t.Accumulate);
        Add(c + 16, high, t6, t.Accumulate);
        c += t.CRow;
        Add(c, low, s7, t.Accumulate);
        Add(c + 16, high, t7, t.Accumulate);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    static void Narrow(in TileOperands t, int row, int column, Vector512<float> low)
    {
        float* a = t.A + (row * t.ARow);
        float* b = t.B + column;
        float* c = t.C + (row * t.CRow) + column;
        nint next = t.ARow;
        Vector512<float> s0 = Vector512<float>.Zero;
        Vector512<float> s1 = Vector512<float>.Zero;
        Vector512<float> s2 = Vector512<float>.Zero;
        Vector512<float> s3 = Vector512<float>.Zero;
        Vector512<float> s4 = Vector512<float>.Zero;
        Vector512<float> s5 = Vector512<float>.Zero;
        Vector512<float> s6 = Vector512<float>.Zero;
        Vector512<float> s7 = Vector512<float>.Zero;
        for (int k = 0; k < t.Depth; k++, a += t.AColumn, b += t.BRow)
        {
            Vector512<float> bLow = Avx512F.MaskLoad(b, low, Vector512<float>.Zero);
            float* x = a;
            Vector512<float> a0 = Vector512.Create(*x);
            s0 = Avx512F.FusedMultiplyAdd(a0, bLow, s0);
            x += next;
            Vector512<float> a1 = Vector512.Create(*x);
            s1 = Avx512F.FusedMultiplyAdd(a1, bLow, s1);
            x += next;
            Vector512<float> a2 = Vector512.Create(*x);
            s2 = Avx512F.FusedMultiplyAdd(a2, bLow, s2);
            x += next;
            Vector512<float> a3 = Vector512.Create(*x);
            s3 = Avx512F.FusedMultiplyAdd(a3, bLow, s3);
            x += next;
            Vector512<float> a4 = Vector512.Create(*x);
            s4 = Avx512F.FusedMultiplyAdd(a4, bLow, s4);
            x += next;
            Vector512<float> a5 = Vector512.Create(*x);
            s5 = Avx512F.FusedMultiplyAdd(a5, bLow, s5);
            x += next;
            Vector512<float> a6 = Vector512.Create(*x);
            s6 = Avx512F.FusedMultiplyAdd(a6, bLow, s6);
            x += next;
            Vector512<float> a7 = Vector512.Create(*x);
            s7 = Avx512F.FusedMultiplyAdd(a7, bLow, s7);
        }

        Add(c, low, s0, t.Accumulate);
        c += t.CRow;
        Add(c, low, s1, t.Accumulate);
        c += t.CRow;
        Add(c, low, s2, t.Accumulate);
        c += t.CRow;
        Add(c, low, s3, t.Accumulate);
        c += t.CRow;
        Add(c, low, s4, t.Accumulate);
        c += t.CRow;
        Add(c, low, s5, t.Accumulate);
        c += t.CRow;
        Add(c, low, s6, t.Accumulate);
        c += t.CRow;
        Add(c, low, s7, t.Accumulate);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    static void Single(in TileOperands t, int row, int column, Vector512<float> low, Vector512<float> high)
    {
        float* a = t.A + (row * t.ARow);
        float* b = t.B + column;
        Vector512<float> s = Vector512<float>.Zero;
        Vector512<float> u = Vector512<float>.Zero;
        for (int k = 0; k < t.Depth; k++, a += t.AColumn, b += t.BRow)
        {
            Vector512<float> x = Vector512.Create(*a);
            s = Avx512F.FusedMultiplyAdd(x, Avx512F.MaskLoad(b, low, Vector512<float>.Zero), s);
            u = Avx512F.FusedMultiplyAdd(x, Avx512F.MaskLoad(b + 16, high, Vector512<float>.Zero), u);
        }

        float* c = t.C + (row * t.CRow) + column;
        Add(c, low, s, t.Accumulate);
        Add(c + 16, high, u, t.Accumulate);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static void Add(float* c, Vector512<float> mask, Vector512<float> sum, bool accumulate)
    {
        if (accumulate)
        {
            sum += Avx512F.MaskLoad(c, mask, Vector512<float>.Zero);
        }

        Avx512F.MaskStore(c, mask, sum);
    }
}
