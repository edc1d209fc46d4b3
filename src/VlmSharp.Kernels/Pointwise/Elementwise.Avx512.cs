using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace VlmSharp.Kernels;

internal static unsafe partial class Elementwise
{
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    static void Avx512<TOperator>(float* a, float* b, float* y, int length)
        where TOperator : struct, IElementwiseOperator
    {
        int i = 0;
        for (; i <= length - Vector512<float>.Count; i += Vector512<float>.Count)
        {
            TOperator.Apply(Vector512.Load(a + i), Vector512.Load(b + i)).Store(y + i);
        }

        if (i < length)
        {
            Vector512<float> mask = Masks.First512(length - i);
            Vector512<float> va = Avx512F.MaskLoad(a + i, mask, Vector512<float>.Zero);
            Vector512<float> vb = Avx512F.MaskLoad(b + i, mask, Vector512<float>.Zero);
            Avx512F.MaskStore(y + i, mask, TOperator.Apply(va, vb));
        }
    }
}
