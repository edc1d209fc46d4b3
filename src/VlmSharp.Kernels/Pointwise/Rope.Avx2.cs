using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace VlmSharp.Kernels;

public static unsafe partial class Rope
{
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    static void Avx2(float* x, float* cos, float* sin, int heads, int headDim)
    {
        int half = headDim / 2;
        for (int i = 0; i < half; i += 8)
        {
            Vector256<float> mask = Masks.First256(half - i);
            Vector256<float> c = Avx.MaskLoad(cos + i, mask);
            Vector256<float> s = Avx.MaskLoad(sin + i, mask);
            float* first = x + i;
            for (int h = 0; h < heads; h++, first += headDim)
            {
                Vector256<float> x1 = Avx.MaskLoad(first, mask);
                Vector256<float> x2 = Avx.MaskLoad(first + half, mask);
                Avx.MaskStore(first, mask, Fma.MultiplySubtract(x1, c, x2 * s));
                Avx.MaskStore(first + half, mask, Fma.MultiplyAdd(x2, c, x1 * s));
            }
        }
    }
}
