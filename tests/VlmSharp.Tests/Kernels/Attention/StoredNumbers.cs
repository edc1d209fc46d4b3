using VlmSharp.Kernels;

namespace VlmSharp.Tests.Kernels;

/// <summary>What each storage keeps of a number, by its definition.</summary>
static class StoredNumbers
{
    /// <summary>Keys or values as they are after being stored; heads of <paramref name="headDim"/> follow each other.</summary>
    internal static float[] Of(KvStorage storage, float[] values, int headDim) =>
        storage switch
        {
            KvStorage.F32 => values,
            KvStorage.BF16 => Array.ConvertAll(values, Bf16),
            _ =>
            [
                .. values
                    .Chunk(headDim)
                    .SelectMany(head => head.Chunk(32))
                    .SelectMany(group =>
                    {
                        float factor = Factor(group);
                        return group.Select(x => factor > 0 ? MathF.Round(x / factor) * factor : 0 * factor);
                    }),
            ],
        };

    /// <summary>To the nearest number whose lower 16 bits are zero, ties to even.</summary>
    internal static float Bf16(float x)
    {
        if (!float.IsFinite(x))
        {
            return x;
        }

        float below = BitConverter.UInt32BitsToSingle(BitConverter.SingleToUInt32Bits(x) & 0xFFFF0000); // towards zero
        float above = BitConverter.UInt32BitsToSingle(BitConverter.SingleToUInt32Bits(below) + 0x10000);
        double aboveNumber = float.IsInfinity(above) ? Math.CopySign(Math.Pow(2, 128), x) : above;
        double toBelow = Math.Abs((double)x - below);
        double toAbove = Math.Abs(aboveNumber - x);
        bool even = (BitConverter.SingleToUInt32Bits(below) & 0x10000) == 0;
        return toBelow < toAbove || (toBelow == toAbove && even) ? below : above;
    }

    /// <summary>The smallest bf16 that is not below a 127th of the largest.</summary>
    internal static float Factor(IEnumerable<float> group)
    {
        float exact = group.Max(Math.Abs) / 127;
        if (!group.All(float.IsFinite))
        {
            return float.NaN;
        }

        float nearest = Bf16(exact);
        return nearest >= exact
            ? nearest
            : BitConverter.UInt32BitsToSingle(BitConverter.SingleToUInt32Bits(nearest) + 0x10000);
    }
}
