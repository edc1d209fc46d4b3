using System.Buffers.Binary;

namespace VlmSharp.Formats.Quantized;

/// <summary>Takes 32-bit words apart into integers of 4 or 8 bits, the lowest bits first.</summary>
static class PackedBits
{
    /// <summary>The eight 4-bit integers of a word as the eight bytes of a longer one.</summary>
    public static ulong Spread(uint word)
    {
        ulong bits = word;
        bits = (bits | (bits << 16)) & 0x0000FFFF_0000FFFF;
        bits = (bits | (bits << 8)) & 0x00FF00FF_00FF00FF;
        return (bits | (bits << 4)) & 0x0F0F0F0F_0F0F0F0F;
    }

    /// <summary>Writes the integers of one word.</summary>
    /// <param name="word">The word.</param>
    /// <param name="bits">4 or 8.</param>
    /// <param name="integers">[32 / bits], or as many as are wanted.</param>
    public static void Write(uint word, int bits, Span<byte> integers)
    {
        int count = 32 / bits;
        if (bits == 4 && integers.Length >= count)
        {
            BinaryPrimitives.WriteUInt64LittleEndian(integers, Spread(word));
            return;
        }

        for (int i = 0; i < Math.Min(count, integers.Length); i++)
        {
            integers[i] = Integer(word, bits, i);
        }
    }

    /// <summary>One of the integers of a word.</summary>
    public static byte Integer(uint word, int bits, int index) => (byte)((word >> (index * bits)) & ((1u << bits) - 1));
}
