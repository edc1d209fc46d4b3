using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace VlmSharp.Kernels;

public static unsafe partial class LayerNorm
{
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    static void Avx512(float* x, float* weight, float* bias, float* y, int width, float epsilon)
    {
        int whole = width & ~15;
        Vector512<float> tail = Masks.First512(width - whole);

        Vector512<float> s0 = Vector512<float>.Zero;
        Vector512<float> s1 = Vector512<float>.Zero;
        int i = 0;
        for (; i <= width - 32; i += 32)
        {
            s0 += Vector512.Load(x + i);
            s1 += Vector512.Load(x + i + 16);
        }

        for (; i < whole; i += 16)
        {
            s0 += Vector512.Load(x + i);
        }

        if (i < width)
        {
            s1 += Avx512F.MaskLoad(x + i, tail, Vector512<float>.Zero);
        }

        Vector512<float> mean = Vector512.Create(Vector512.Sum(s0 + s1) / width);

        // r: sums of the deviations, zero but for the rounding of the mean; q: sums of their squares.
        Vector512<float> r0 = Vector512<float>.Zero;
        Vector512<float> r1 = Vector512<float>.Zero;
        Vector512<float> q0 = Vector512<float>.Zero;
        Vector512<float> q1 = Vector512<float>.Zero;
        for (i = 0; i <= width - 32; i += 32)
        {
            Vector512<float> d0 = Vector512.Load(x + i) - mean;
            Vector512<float> d1 = Vector512.Load(x + i + 16) - mean;
            r0 += d0;
            r1 += d1;
            q0 = Avx512F.FusedMultiplyAdd(d0, d0, q0);
            q1 = Avx512F.FusedMultiplyAdd(d1, d1, q1);
        }

        for (; i < whole; i += 16)
        {
            Vector512<float> d = Vector512.Load(x + i) - mean;
            r0 += d;
            q0 = Avx512F.FusedMultiplyAdd(d, d, q0);
        }

        if (i < width)
        {
            // Lanes that do not exist read the mean, so that their deviation is zero.
            Vector512<float> d = Avx512F.MaskLoad(x + i, tail, mean) - mean;
            r1 += d;
            q1 = Avx512F.FusedMultiplyAdd(d, d, q1);
        }

        float rest = Vector512.Sum(r0 + r1) / width;
        float variance = (Vector512.Sum(q0 + q1) / width) - (rest * rest);
        Vector512<float> correction = Vector512.Create(rest);
        Vector512<float> factor = Vector512.Create(1 / MathF.Sqrt(MathF.Max(variance, 0) + epsilon));
        for (i = 0; i < whole; i += 16)
        {
            Vector512<float> d = Vector512.Load(x + i) - mean - correction;
            Avx512F.FusedMultiplyAdd(d * factor, Vector512.Load(weight + i), Vector512.Load(bias + i)).Store(y + i);
        }

        if (i < width)
        {
            Vector512<float> d = Avx512F.MaskLoad(x + i, tail, mean) - mean - correction;
            Vector512<float> w = Avx512F.MaskLoad(weight + i, tail, Vector512<float>.Zero);
            Vector512<float> b = Avx512F.MaskLoad(bias + i, tail, Vector512<float>.Zero);
            Avx512F.MaskStore(y + i, tail, Avx512F.FusedMultiplyAdd(d * factor, w, b));
        }
    }
}
