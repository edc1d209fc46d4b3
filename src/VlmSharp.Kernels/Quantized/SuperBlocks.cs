using System.Buffers.Binary;

namespace VlmSharp.Kernels.Quantized;

/// <summary>Blocks of 256 integers whose scales are small integers too, with a scale of their own: the types that end in K.</summary>
static class SuperBlocks
{
    const int Size = 256;

    /// <summary>16 bytes of scales (lower bits) and least values (upper bits), 64 bytes, the scales of both.</summary>
    public static void Q2(ReadOnlySpan<byte> blocks, Span<float> values)
    {
        for (; !values.IsEmpty; blocks = blocks[84..], values = values[Size..])
        {
            float scale = PlainNumbers.Half(blocks[80..]);
            float least = PlainNumbers.Half(blocks[82..]);
            for (int group = 0; group < 16; group++)
            {
                float d = scale * (blocks[group] & 15);
                float m = least * (blocks[group] >> 4);
                // 128 values share 32 bytes, 32 of them the same two bits of each.
                int bytes = 16 + (group / 8 * 32) + (group % 2 * 16);
                int shift = group / 2 % 4 * 2;
                for (int i = 0; i < 16; i++)
                {
                    values[(16 * group) + i] = (d * ((blocks[bytes + i] >> shift) & 3)) - m;
                }
            }
        }
    }

    /// <summary>32 bytes of third bits, 64 bytes of lower bits, 12 bytes with 16 scales, their scale.</summary>
    public static void Q3(ReadOnlySpan<byte> blocks, Span<float> values)
    {
        for (; !values.IsEmpty; blocks = blocks[110..], values = values[Size..])
        {
            float scale = PlainNumbers.Half(blocks[108..]);
            ReadOnlySpan<byte> scales = blocks.Slice(96, 12);
            for (int group = 0; group < 16; group++)
            {
                int low = (scales[group % 8] >> (group / 8 * 4)) & 15;
                int high = (scales[8 + (group % 4)] >> (group / 4 * 2)) & 3;
                float d = scale * ((low | high << 4) - 32);
                int bytes = 32 + (group / 8 * 32) + (group % 2 * 16);
                int shift = group / 2 % 4 * 2;
                for (int i = 0; i < 16; i++)
                {
                    // The third bit says that 4 is not subtracted.
                    int third = (blocks[(group % 2 * 16) + i] >> (group / 2)) & 1;
                    values[(16 * group) + i] = d * (((blocks[bytes + i] >> shift) & 3) - 4 + (4 * third));
                }
            }
        }
    }

    /// <summary>Scales of scales and least values, 12 bytes with 8 of each, 128 bytes.</summary>
    public static void Q4(ReadOnlySpan<byte> blocks, Span<float> values)
    {
        for (; !values.IsEmpty; blocks = blocks[144..], values = values[Size..])
        {
            for (int group = 0; group < 8; group++)
            {
                (float d, float m) = ScaleAndLeast(blocks, group);
                ReadOnlySpan<byte> bytes = blocks.Slice(16 + (group / 2 * 32), 32);
                int shift = group % 2 * 4;
                for (int i = 0; i < 32; i++)
                {
                    values[(32 * group) + i] = (d * ((bytes[i] >> shift) & 15)) - m;
                }
            }
        }
    }

    /// <summary>As Q4, with 32 bytes of fifth bits before the others.</summary>
    public static void Q5(ReadOnlySpan<byte> blocks, Span<float> values)
    {
        for (; !values.IsEmpty; blocks = blocks[176..], values = values[Size..])
        {
            ReadOnlySpan<byte> fifth = blocks.Slice(16, 32);
            for (int group = 0; group < 8; group++)
            {
                (float d, float m) = ScaleAndLeast(blocks, group);
                ReadOnlySpan<byte> bytes = blocks.Slice(48 + (group / 2 * 32), 32);
                int shift = group % 2 * 4;
                for (int i = 0; i < 32; i++)
                {
                    int value = ((bytes[i] >> shift) & 15) | ((fifth[i] >> group) & 1) << 4;
                    values[(32 * group) + i] = (d * value) - m;
                }
            }
        }
    }

    /// <summary>128 bytes of lower bits, 64 bytes of upper ones, 16 signed scales, their scale.</summary>
    public static void Q6(ReadOnlySpan<byte> blocks, Span<float> values)
    {
        for (; !values.IsEmpty; blocks = blocks[210..], values = values[Size..])
        {
            float scale = PlainNumbers.Half(blocks[208..]);
            for (int group = 0; group < 8; group++)
            {
                // 128 values share 64 bytes of lower and 32 of upper bits.
                ReadOnlySpan<byte> low = blocks.Slice((group / 4 * 64) + (group % 2 * 32), 32);
                ReadOnlySpan<byte> high = blocks.Slice(128 + (group / 4 * 32), 32);
                int lowShift = group / 2 % 2 * 4;
                int highShift = group % 4 * 2;
                for (int i = 0; i < 32; i++)
                {
                    float d = scale * (sbyte)blocks[192 + (2 * group) + (i / 16)];
                    int value = ((low[i] >> lowShift) & 15) | ((high[i] >> highShift) & 3) << 4;
                    values[(32 * group) + i] = d * (value - 32);
                }
            }
        }
    }

    /// <summary>A scale in f32, 256 signed bytes, sums that are not needed here.</summary>
    public static void Q8(ReadOnlySpan<byte> blocks, Span<float> values)
    {
        for (; !values.IsEmpty; blocks = blocks[292..], values = values[Size..])
        {
            float scale = BinaryPrimitives.ReadSingleLittleEndian(blocks);
            for (int i = 0; i < Size; i++)
            {
                values[i] = scale * (sbyte)blocks[4 + i];
            }
        }
    }

    static (float Scale, float Least) ScaleAndLeast(ReadOnlySpan<byte> block, int group)
    {
        (int d, int m) = Six(block, group);
        return (PlainNumbers.Half(block) * d, PlainNumbers.Half(block[2..]) * m);
    }

    /// <summary>Scale and least value of 32 values in a block of Q4_K or Q5_K, 6 bits each.</summary>
    public static (int Scale, int Least) Six(ReadOnlySpan<byte> block, int group)
    {
        // The first four of both in bytes 0-7; of the others the lower bits in bytes 8-11, the upper ones above the first four.
        ReadOnlySpan<byte> packed = block.Slice(4, 12);
        int place = group % 4;
        return group < 4
            ? (packed[place] & 63, packed[4 + place] & 63)
            : (
                (packed[8 + place] & 15) | (packed[place] >> 6 << 4),
                (packed[8 + place] >> 4) | (packed[4 + place] >> 6 << 4)
            );
    }
}
