using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace VlmSharp.Kernels;

public static unsafe partial class Rope
{
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    static void Avx512(float* x, float* cos, float* sin, int heads, int headDim)
    {
        int half = headDim / 2;
        for (int i = 0; i < half; i += 16)
        {
            Vector512<float> mask = Masks.First512(half - i);
            Vector512<float> c = Avx512F.MaskLoad(cos + i, mask, Vector512<float>.Zero);
            Vector512<float> s = Avx512F.MaskLoad(sin + i, mask, Vector512<float>.Zero);
            float* first = x + i;
            for (int h = 0; h < heads; h++, first += headDim)
            {
                Vector512<float> x1 = Avx512F.MaskLoad(first, mask, Vector512<float>.Zero);
                Vector512<float> x2 = Avx512F.MaskLoad(first + half, mask, Vector512<float>.Zero);
                Avx512F.MaskStore(first, mask, Avx512F.FusedMultiplySubtract(x1, c, x2 * s));
                Avx512F.MaskStore(first + half, mask, Avx512F.FusedMultiplyAdd(x2, c, x1 * s));
            }
        }
    }
}
