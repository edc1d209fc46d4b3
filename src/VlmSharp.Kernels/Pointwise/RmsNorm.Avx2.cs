using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace VlmSharp.Kernels;

public static unsafe partial class RmsNorm
{
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    static void Avx2(float* x, float* weight, float* y, int width, float epsilon)
    {
        int whole = width & ~7;
        Vector256<float> tail = Masks.First256(width - whole);
        Vector256<float> s0 = Vector256<float>.Zero;
        Vector256<float> s1 = Vector256<float>.Zero;
        Vector256<float> s2 = Vector256<float>.Zero;
        Vector256<float> s3 = Vector256<float>.Zero;
        int i = 0;
        for (; i <= width - 32; i += 32)
        {
            Vector256<float> v0 = Vector256.Load(x + i);
            Vector256<float> v1 = Vector256.Load(x + i + 8);
            Vector256<float> v2 = Vector256.Load(x + i + 16);
            Vector256<float> v3 = Vector256.Load(x + i + 24);
            s0 = Fma.MultiplyAdd(v0, v0, s0);
            s1 = Fma.MultiplyAdd(v1, v1, s1);
            s2 = Fma.MultiplyAdd(v2, v2, s2);
            s3 = Fma.MultiplyAdd(v3, v3, s3);
        }

        for (; i < whole; i += 8)
        {
            Vector256<float> v = Vector256.Load(x + i);
            s0 = Fma.MultiplyAdd(v, v, s0);
        }

        if (i < width)
        {
            Vector256<float> v = Avx.MaskLoad(x + i, tail);
            s1 = Fma.MultiplyAdd(v, v, s1);
        }

        float squares = Vector256.Sum(s0 + s1 + (s2 + s3));
        Vector256<float> factor = Vector256.Create(1 / MathF.Sqrt((squares / width) + epsilon));
        for (i = 0; i < whole; i += 8)
        {
            (Vector256.Load(x + i) * factor * Vector256.Load(weight + i)).Store(y + i);
        }

        if (i < width)
        {
            Avx.MaskStore(y + i, tail, Avx.MaskLoad(x + i, tail) * factor * Avx.MaskLoad(weight + i, tail));
        }
    }
}
