using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace VlmSharp.Kernels;

public static unsafe partial class RmsNorm
{
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    static void Avx512(float* x, float* weight, float* y, int width, float epsilon)
    {
        int whole = width & ~15;
        Vector512<float> tail = Masks.First512(width - whole);

        // Four chains hide the latency of the multiply-add.
        Vector512<float> s0 = Vector512<float>.Zero;
        Vector512<float> s1 = Vector512<float>.Zero;
        Vector512<float> s2 = Vector512<float>.Zero;
        Vector512<float> s3 = Vector512<float>.Zero;
        int i = 0;
        for (; i <= width - 64; i += 64)
        {
            Vector512<float> v0 = Vector512.Load(x + i);
            Vector512<float> v1 = Vector512.Load(x + i + 16);
            Vector512<float> v2 = Vector512.Load(x + i + 32);
            Vector512<float> v3 = Vector512.Load(x + i + 48);
            s0 = Avx512F.FusedMultiplyAdd(v0, v0, s0);
            s1 = Avx512F.FusedMultiplyAdd(v1, v1, s1);
            s2 = Avx512F.FusedMultiplyAdd(v2, v2, s2);
            s3 = Avx512F.FusedMultiplyAdd(v3, v3, s3);
        }

        for (; i < whole; i += 16)
        {
            Vector512<float> v = Vector512.Load(x + i);
            s0 = Avx512F.FusedMultiplyAdd(v, v, s0);
        }

        if (i < width)
        {
            Vector512<float> v = Avx512F.MaskLoad(x + i, tail, Vector512<float>.Zero);
            s1 = Avx512F.FusedMultiplyAdd(v, v, s1);
        }

        float squares = Vector512.Sum(s0 + s1 + (s2 + s3));
        Vector512<float> factor = Vector512.Create(1 / MathF.Sqrt((squares / width) + epsilon));
        for (i = 0; i < whole; i += 16)
        {
            (Vector512.Load(x + i) * factor * Vector512.Load(weight + i)).Store(y + i);
        }

        if (i < width)
        {
            Vector512<float> v = Avx512F.MaskLoad(x + i, tail, Vector512<float>.Zero);
            Vector512<float> w = Avx512F.MaskLoad(weight + i, tail, Vector512<float>.Zero);
            Avx512F.MaskStore(y + i, tail, v * factor * w);
        }
    }
}
