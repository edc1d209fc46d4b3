using System.Buffers.Binary;

namespace VlmSharp.Kernels.Quantized;

/// <summary>Blocks of 32 integers with one scale, and a least value where their type ends in 1.</summary>
/// <remarks>A byte holds value i in its lower and value i + 16 in its upper four bits.</remarks>
static class ShortBlocks
{
    const int Size = 32;
    const int Middle = Size / 2;

    /// <summary>Scale, 16 bytes.</summary>
    public static void Q4_0(ReadOnlySpan<byte> blocks, Span<float> values)
    {
        for (; !values.IsEmpty; blocks = blocks[18..], values = values[Size..])
        {
            float scale = PlainNumbers.Half(blocks);
            for (int i = 0; i < Middle; i++)
            {
                byte pair = blocks[2 + i];
                values[i] = scale * ((pair & 15) - 8);
                values[i + Middle] = scale * ((pair >> 4) - 8);
            }
        }
    }

    /// <summary>Scale, least value, 16 bytes.</summary>
    public static void Q4_1(ReadOnlySpan<byte> blocks, Span<float> values)
    {
        for (; !values.IsEmpty; blocks = blocks[20..], values = values[Size..])
        {
            float scale = PlainNumbers.Half(blocks);
            float least = PlainNumbers.Half(blocks[2..]);
            for (int i = 0; i < Middle; i++)
            {
                byte pair = blocks[4 + i];
                values[i] = (scale * (pair & 15)) + least;
                values[i + Middle] = (scale * (pair >> 4)) + least;
            }
        }
    }

    /// <summary>Scale, the fifth bits, 16 bytes.</summary>
    public static void Q5_0(ReadOnlySpan<byte> blocks, Span<float> values)
    {
        for (; !values.IsEmpty; blocks = blocks[22..], values = values[Size..])
        {
            float scale = PlainNumbers.Half(blocks);
            uint high = BinaryPrimitives.ReadUInt32LittleEndian(blocks[2..]);
            for (int i = 0; i < Middle; i++)
            {
                (int low, int upper) = Five(blocks[6 + i], high, i);
                values[i] = scale * (low - 16);
                values[i + Middle] = scale * (upper - 16);
            }
        }
    }

    /// <summary>Scale, least value, the fifth bits, 16 bytes.</summary>
    public static void Q5_1(ReadOnlySpan<byte> blocks, Span<float> values)
    {
        for (; !values.IsEmpty; blocks = blocks[24..], values = values[Size..])
        {
            float scale = PlainNumbers.Half(blocks);
            float least = PlainNumbers.Half(blocks[2..]);
            uint high = BinaryPrimitives.ReadUInt32LittleEndian(blocks[4..]);
            for (int i = 0; i < Middle; i++)
            {
                (int low, int upper) = Five(blocks[8 + i], high, i);
                values[i] = (scale * low) + least;
                values[i + Middle] = (scale * upper) + least;
            }
        }
    }

    /// <summary>Scale, 32 signed bytes; between them a sum that is not needed here, where there is one.</summary>
    public static void Q8(ReadOnlySpan<byte> blocks, Span<float> values, int blockBytes, int first)
    {
        for (; !values.IsEmpty; blocks = blocks[blockBytes..], values = values[Size..])
        {
            float scale = PlainNumbers.Half(blocks);
            for (int i = 0; i < Size; i++)
            {
                values[i] = scale * (sbyte)blocks[first + i];
            }
        }
    }

    static (int Low, int Upper) Five(byte pair, uint high, int i) =>
        ((pair & 15) | (int)((high >> i) & 1) << 4, (pair >> 4) | (int)((high >> (i + Middle)) & 1) << 4);
}
