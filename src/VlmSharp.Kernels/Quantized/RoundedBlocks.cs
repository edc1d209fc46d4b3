using System.Buffers.Binary;

namespace VlmSharp.Kernels.Quantized;

/// <summary>Packs blocks of 32 integers as the format's reference code does: the scale follows from the extremes, the rest is rounded.</summary>
/// <remarks>Products with the inverse scale are exact before half a step is added, as in the reference.</remarks>
static class RoundedBlocks
{
    const int Size = 32;

    /// <summary>The largest magnitude becomes 127; halves are rounded away from 0.</summary>
    public static void Q8_0(ReadOnlySpan<float> row, Span<byte> blocks)
    {
        for (; !row.IsEmpty; row = row[Size..], blocks = blocks[34..])
        {
            float largest = 0;
            for (int i = 0; i < Size; i++)
            {
                largest = MathF.Max(largest, MathF.Abs(row[i]));
            }

            float scale = largest / 127;
            float inverse = Inverse(scale);
            PlainNumbers.WriteHalf(blocks, scale);
            for (int i = 0; i < Size; i++)
            {
                float value = row[i] * inverse;
                float floor = MathF.Floor(MathF.Abs(value));
                float rounded = floor + MathF.Floor(2 * (MathF.Abs(value) - floor));
                blocks[2 + i] = (byte)(sbyte)MathF.CopySign(rounded, value);
            }
        }
    }

    /// <summary>The first value of the largest magnitude becomes -8.</summary>
    public static void Q4_0(ReadOnlySpan<float> row, Span<byte> blocks)
    {
        Span<byte> levels = stackalloc byte[Size];
        for (; !row.IsEmpty; row = row[Size..], blocks = blocks[18..])
        {
            PlainNumbers.WriteHalf(blocks, Signed(row[..Size], 8, levels));
            BlockBits.PackFour(levels, blocks.Slice(2, 16));
        }
    }

    /// <summary>The least value becomes 0, the largest 15.</summary>
    public static void Q4_1(ReadOnlySpan<float> row, Span<byte> blocks)
    {
        Span<byte> levels = stackalloc byte[Size];
        for (; !row.IsEmpty; row = row[Size..], blocks = blocks[20..])
        {
            (float scale, float least) = Unsigned(row[..Size], 15, levels);
            PlainNumbers.WriteHalf(blocks, scale);
            PlainNumbers.WriteHalf(blocks[2..], least);
            BlockBits.PackFour(levels, blocks.Slice(4, 16));
        }
    }

    /// <summary>The first value of the largest magnitude becomes -16.</summary>
    public static void Q5_0(ReadOnlySpan<float> row, Span<byte> blocks)
    {
        Span<byte> levels = stackalloc byte[Size];
        for (; !row.IsEmpty; row = row[Size..], blocks = blocks[22..])
        {
            PlainNumbers.WriteHalf(blocks, Signed(row[..Size], 16, levels));
            BlockBits.PackFive(levels, blocks.Slice(2, 20));
        }
    }

    /// <summary>The least value becomes 0, the largest 31.</summary>
    public static void Q5_1(ReadOnlySpan<float> row, Span<byte> blocks)
    {
        Span<byte> levels = stackalloc byte[Size];
        for (; !row.IsEmpty; row = row[Size..], blocks = blocks[24..])
        {
            (float scale, float least) = Unsigned(row[..Size], 31, levels);
            PlainNumbers.WriteHalf(blocks, scale);
            PlainNumbers.WriteHalf(blocks[2..], least);
            BlockBits.PackFive(levels, blocks.Slice(4, 20));
        }
    }

    static float Signed(ReadOnlySpan<float> values, int half, Span<byte> levels)
    {
        float extreme = values[0];
        foreach (float value in values)
        {
            extreme = MathF.Abs(value) > MathF.Abs(extreme) ? value : extreme;
        }

        float scale = extreme / -half;
        double inverse = Inverse(scale);
        for (int i = 0; i < levels.Length; i++)
        {
            int level = (int)(float)((values[i] * inverse) + (half + 0.5));
            levels[i] = (byte)Math.Clamp(level, 0, (2 * half) - 1);
        }

        return scale;
    }

    static (float Scale, float Least) Unsigned(ReadOnlySpan<float> values, int highest, Span<byte> levels)
    {
        float least = values[0];
        float most = values[0];
        foreach (float value in values)
        {
            least = MathF.Min(least, value);
            most = MathF.Max(most, value);
        }

        float scale = (most - least) / highest;
        float inverse = Inverse(scale);
        for (int i = 0; i < levels.Length; i++)
        {
            int level = (int)(((values[i] - least) * inverse) + 0.5f);
            levels[i] = (byte)Math.Clamp(level, 0, highest);
        }

        return (scale, least);
    }

    static float Inverse(float scale) => scale == 0 ? 0 : 1 / scale;
}

/// <summary>How blocks of 32 lay out the bits of their integers.</summary>
static class BlockBits
{
    /// <summary>Byte i holds level i in its lower and level i + 16 in its upper four bits.</summary>
    /// <param name="levels">[32], their lower four bits count.</param>
    /// <param name="bytes">[16]</param>
    public static void PackFour(ReadOnlySpan<byte> levels, Span<byte> bytes)
    {
        for (int i = 0; i < 16; i++)
        {
            bytes[i] = (byte)((levels[i] & 15) | levels[i + 16] << 4);
        }
    }

    /// <summary>Four bytes with the fifth bits, then as <see cref="PackFour"/>.</summary>
    /// <param name="levels">[32]</param>
    /// <param name="bytes">[20]</param>
    public static void PackFive(ReadOnlySpan<byte> levels, Span<byte> bytes)
    {
        uint fifth = 0;
        for (int i = 0; i < 32; i++)
        {
            fifth |= (uint)(levels[i] >> 4) << i;
        }

        BinaryPrimitives.WriteUInt32LittleEndian(bytes, fifth);
        PackFour(levels, bytes[4..]);
    }
}
