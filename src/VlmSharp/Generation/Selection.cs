namespace VlmSharp.Generation;

/// <summary>Selection without sorting a vocabulary: radix selection on the bits of the values, 11, 11 and 10 at a time.</summary>
/// <remarks>Three passes at most, whatever the values are; -0 and 0 are equal, NaN is not expected.</remarks>
static class Selection
{
    const int Buckets = 1 << 11;

    static (int Shift, uint Mask)[] Digits { get; } = [(21, Buckets - 1), (10, Buckets - 1), (0, (1 << 10) - 1)];

    /// <summary>Bits whose unsigned order is the order of the values.</summary>
    static uint Ordered(float value)
    {
        uint bits = BitConverter.SingleToUInt32Bits(value + 0f);
        return (int)bits < 0 ? ~bits : bits | 0x8000_0000;
    }

    static float Value(uint ordered) =>
        BitConverter.UInt32BitsToSingle((int)ordered < 0 ? ordered & 0x7FFF_FFFF : ~ordered);

    /// <summary>A number that sorts ascending by falling value, then by rising index.</summary>
    public static ulong DescendingKey(float value, int index) => ((ulong)~Ordered(value) << 32) | (uint)index;

    /// <summary>The index in a <see cref="DescendingKey"/>.</summary>
    public static int IndexOf(ulong key) => (int)(uint)key;

    /// <summary>The k-th largest value, equal ones counted each.</summary>
    /// <param name="values">[n]</param>
    /// <param name="k">in [1, n]</param>
    /// <param name="scratch">[n], overwritten</param>
    public static float KthLargest(ReadOnlySpan<float> values, int k, Span<float> scratch)
    {
        // Each of the k largest block maxima is a value, so the k-th of them bounds the answer from below. With k well below the number of
        // blocks few values are above the bound, and two vector passes replace the histogram of everything.
        const int Block = 256;
        int blocks = values.Length / Block;
        if (blocks < 4 || k > blocks / 4)
        {
            return RadixKthLargest(values, k);
        }

        for (int i = 0; i < blocks; i++)
        {
            scratch[i] = ScoreMath.Max(values.Slice(i * Block, Block));
        }

        float bound = RadixKthLargest(scratch[..blocks], k);
        int count = ScoreMath.Gather(values, bound, scratch);
        return RadixKthLargest(scratch[..count], k);
    }

    static float RadixKthLargest(ReadOnlySpan<float> values, int k)
    {
        Span<int> counts = stackalloc int[Buckets];
        uint prefix = 0;
        uint known = 0;
        foreach ((int shift, uint mask) in Digits)
        {
            counts.Clear();
            foreach (float value in values)
            {
                uint bits = Ordered(value);
                if ((bits & known) == prefix)
                {
                    counts[(int)((bits >> shift) & mask)]++;
                }
            }

            int digit = (int)mask;
            for (; counts[digit] < k; digit--)
            {
                k -= counts[digit];
            }

            prefix |= (uint)digit << shift;
            known |= mask << shift;
        }

        return Value(prefix);
    }

    /// <summary>
    /// Walks the keys in rising order, adding up their weights, and returns the first at which the sum is above the limit; sums are compared
    /// in f32, as the references' cumulative sums are.
    /// </summary>
    /// <param name="keys">[n]</param>
    /// <param name="weights">[n], not negative</param>
    /// <param name="sum">The sum before the first key; on return, the sum before the key that was found.</param>
    /// <param name="limit">What must be exceeded.</param>
    /// <returns>Positive infinity when all weights together do not exceed the limit, or the crossing key itself is positive infinity.</returns>
    public static float FirstAbove(ReadOnlySpan<float> keys, ReadOnlySpan<float> weights, ref double sum, float limit)
    {
        Span<double> masses = stackalloc double[Buckets];
        uint prefix = 0;
        uint known = 0;
        foreach ((int shift, uint mask) in Digits)
        {
            masses.Clear();
            for (int i = 0; i < keys.Length; i++)
            {
                uint bits = Ordered(keys[i]);
                if ((bits & known) == prefix)
                {
                    masses[(int)((bits >> shift) & mask)] += weights[i];
                }
            }

            int digit = 0;
            int last = -1;
            for (; digit <= mask; digit++)
            {
                if (masses[digit] > 0)
                {
                    if ((float)(sum + masses[digit]) > limit)
                    {
                        break;
                    }

                    last = digit;
                    sum += masses[digit];
                }
            }

            if (digit > mask)
            {
                // At the first digit nothing crosses. Later the digits' sums, added in another order, can fall short of their bucket's by a
                // rounding: the last of them crosses.
                if (known == 0)
                {
                    return float.PositiveInfinity;
                }

                digit = last;
                sum -= masses[digit];
            }

            prefix |= (uint)digit << shift;
            known |= mask << shift;
        }

        return Value(prefix);
    }
}
