using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace VlmSharp.Kernels;

public static unsafe partial class LayerNorm
{
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    static void Avx2(float* x, float* weight, float* bias, float* y, int width, float epsilon)
    {
        int whole = width & ~7;
        Vector256<float> tail = Masks.First256(width - whole);

        Vector256<float> s0 = Vector256<float>.Zero;
        Vector256<float> s1 = Vector256<float>.Zero;
        int i = 0;
        for (; i <= width - 16; i += 16)
        {
            s0 += Vector256.Load(x + i);
            s1 += Vector256.Load(x + i + 8);
        }

        for (; i < whole; i += 8)
        {
            s0 += Vector256.Load(x + i);
        }

        if (i < width)
        {
            s1 += Avx.MaskLoad(x + i, tail);
        }

        Vector256<float> mean = Vector256.Create(Vector256.Sum(s0 + s1) / width);

        // As in the 512-bit form: r sums deviations, q their squares.
        Vector256<float> r0 = Vector256<float>.Zero;
        Vector256<float> r1 = Vector256<float>.Zero;
        Vector256<float> q0 = Vector256<float>.Zero;
        Vector256<float> q1 = Vector256<float>.Zero;
        for (i = 0; i <= width - 16; i += 16)
        {
            Vector256<float> d0 = Vector256.Load(x + i) - mean;
            Vector256<float> d1 = Vector256.Load(x + i + 8) - mean;
            r0 += d0;
            r1 += d1;
            q0 = Fma.MultiplyAdd(d0, d0, q0);
            q1 = Fma.MultiplyAdd(d1, d1, q1);
        }

        for (; i < whole; i += 8)
        {
            Vector256<float> d = Vector256.Load(x + i) - mean;
            r0 += d;
            q0 = Fma.MultiplyAdd(d, d, q0);
        }

        if (i < width)
        {
            Vector256<float> d = Vector256.ConditionalSelect(tail, Avx.MaskLoad(x + i, tail), mean) - mean;
            r1 += d;
            q1 = Fma.MultiplyAdd(d, d, q1);
        }

        float rest = Vector256.Sum(r0 + r1) / width;
        float variance = (Vector256.Sum(q0 + q1) / width) - (rest * rest);
        Vector256<float> correction = Vector256.Create(rest);
        Vector256<float> factor = Vector256.Create(1 / MathF.Sqrt(MathF.Max(variance, 0) + epsilon));
        for (i = 0; i < whole; i += 8)
        {
            Vector256<float> d = Vector256.Load(x + i) - mean - correction;
            Fma.MultiplyAdd(d * factor, Vector256.Load(weight + i), Vector256.Load(bias + i)).Store(y + i);
        }

        if (i < width)
        {
            Vector256<float> d = Avx.MaskLoad(x + i, tail) - mean - correction;
            Avx.MaskStore(
                y + i,
                tail,
                Fma.MultiplyAdd(d * factor, Avx.MaskLoad(weight + i, tail), Avx.MaskLoad(bias + i, tail))
            );
        }
    }
}
