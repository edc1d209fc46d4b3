using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace VlmSharp.Kernels;

internal static unsafe partial class Elementwise
{
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    static void Avx2<TOperator>(float* a, float* b, float* y, int length)
        where TOperator : struct, IElementwiseOperator
    {
        int i = 0;
        for (; i <= length - Vector256<float>.Count; i += Vector256<float>.Count)
        {
            TOperator.Apply(Vector256.Load(a + i), Vector256.Load(b + i)).Store(y + i);
        }

        if (i < length)
        {
            Vector256<float> mask = Masks.First256(length - i);
            Avx.MaskStore(y + i, mask, TOperator.Apply(Avx.MaskLoad(a + i, mask), Avx.MaskLoad(b + i, mask)));
        }
    }
}
