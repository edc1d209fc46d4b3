using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace VlmSharp.Kernels;

public static unsafe partial class WeightedRows
{
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    static void Avx2(float* table, nint stride, int* indices, float* weights, int count, float* y, int width)
    {
        int i = 0;
        for (; i <= width - 8; i += 8)
        {
            Vector256<float> sum = Vector256.Create(weights[0]) * Vector256.Load(table + (indices[0] * stride) + i);
            for (int j = 1; j < count; j++)
            {
                sum += Vector256.Create(weights[j]) * Vector256.Load(table + (indices[j] * stride) + i);
            }

            sum.Store(y + i);
        }

        if (i < width)
        {
            Vector256<float> mask = Masks.First256(width - i);
            Vector256<float> sum = Vector256.Create(weights[0]) * Avx.MaskLoad(table + (indices[0] * stride) + i, mask);
            for (int j = 1; j < count; j++)
            {
                sum += Vector256.Create(weights[j]) * Avx.MaskLoad(table + (indices[j] * stride) + i, mask);
            }

            Avx.MaskStore(y + i, mask, sum);
        }
    }
}
