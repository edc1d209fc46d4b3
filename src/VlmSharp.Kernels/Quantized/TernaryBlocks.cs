namespace VlmSharp.Kernels.Quantized;

/// <summary>Blocks of 256 values of -1, 0 and 1 with one scale.</summary>
static class TernaryBlocks
{
    const int Size = 256;

    /// <summary>48 bytes of five values each, 4 bytes of four, the scale.</summary>
    /// <remarks>
    /// A byte is a fraction of 256 whose digits to base 3 are the values: multiplying by a power of 3 brings one before the point, the
    /// others fall off at the top of the byte.
    /// </remarks>
    public static void TQ1(ReadOnlySpan<byte> blocks, Span<float> values)
    {
        for (; !values.IsEmpty; blocks = blocks[54..], values = values[Size..])
        {
            float scale = PlainNumbers.Half(blocks[52..]);
            Digits(blocks[..32], 5, scale, values);
            Digits(blocks.Slice(32, 16), 5, scale, values[160..]);
            Digits(blocks.Slice(48, 4), 4, scale, values[240..]);
        }
    }

    /// <summary>64 bytes of four values each, the scale.</summary>
    public static void TQ2(ReadOnlySpan<byte> blocks, Span<float> values)
    {
        for (; !values.IsEmpty; blocks = blocks[66..], values = values[Size..])
        {
            float scale = PlainNumbers.Half(blocks[64..]);
            for (int i = 0; i < Size; i++)
            {
                // 128 values share 32 bytes, 32 of them the same two bits of each.
                int value = (blocks[(i / 128 * 32) + (i % 32)] >> (i / 32 % 4 * 2)) & 3;
                values[i] = scale * (value - 1);
            }
        }
    }

    // The first digits of all bytes, then the second ones.
    static void Digits(ReadOnlySpan<byte> bytes, int digits, float scale, Span<float> values)
    {
        int power = 1;
        for (int digit = 0; digit < digits; digit++, power *= 3)
        {
            for (int i = 0; i < bytes.Length; i++)
            {
                int rest = (bytes[i] * power) & 255;
                values[(digit * bytes.Length) + i] = scale * (((rest * 3) >> 8) - 1);
            }
        }
    }
}
