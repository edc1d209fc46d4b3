using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace VlmSharp.Kernels;

public static unsafe partial class WeightedRows
{
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    static void Avx512(float* table, nint stride, int* indices, float* weights, int count, float* y, int width)
    {
        int i = 0;
        for (; i <= width - 16; i += 16)
        {
            Vector512<float> sum = Vector512.Create(weights[0]) * Vector512.Load(table + (indices[0] * stride) + i);
            for (int j = 1; j < count; j++)
            {
                sum += Vector512.Create(weights[j]) * Vector512.Load(table + (indices[j] * stride) + i);
            }

            sum.Store(y + i);
        }

        if (i < width)
        {
            Vector512<float> mask = Masks.First512(width - i);
            Vector512<float> sum =
                Vector512.Create(weights[0])
                * Avx512F.MaskLoad(table + (indices[0] * stride) + i, mask, Vector512<float>.Zero);
            for (int j = 1; j < count; j++)
            {
                sum +=
                    Vector512.Create(weights[j])
                    * Avx512F.MaskLoad(table + (indices[j] * stride) + i, mask, Vector512<float>.Zero);
            }

            Avx512F.MaskStore(y + i, mask, sum);
        }
    }
}
