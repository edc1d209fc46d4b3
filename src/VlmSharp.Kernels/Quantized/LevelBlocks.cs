using System.Buffers.Binary;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;

namespace VlmSharp.Kernels.Quantized;

/// <summary>Blocks of 4-bit numbers that name one of sixteen levels, spaced unevenly: floats of 4 bits, and the IQ4 types.</summary>
static class LevelBlocks
{
    /// <summary>Levels of the IQ4 types: denser towards 0, not symmetric.</summary>
    public static ReadOnlySpan<sbyte> UnevenLevels =>
        [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

    /// <summary>The levels of the IQ4 types, 128 larger.</summary>
    public static unsafe byte* UnsignedLevels => (byte*)Unsafe.AsPointer(ref MemoryMarshal.GetReference(Raised));

    // Data of the assembly, which stays where it is.
    static ReadOnlySpan<byte> Raised => [1, 24, 45, 63, 79, 93, 106, 118, 129, 141, 153, 166, 181, 197, 217, 241];

    /// <summary>Replaces codes by <see cref="UnsignedLevels"/>.</summary>
    /// <param name="codes">Below 16.</param>
    /// <param name="count">A multiple of 16.</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static unsafe void Look(byte* codes, int count)
    {
        Vector128<byte> levels = Vector128.Load(UnsignedLevels);
        for (int i = 0; i < count; i += Vector128<byte>.Count)
        {
            Vector128.ShuffleNative(levels, Vector128.Load(codes + i)).Store(codes + i);
        }
    }

    /// <summary>Twice the values of a float with one bit of fraction and two of exponent.</summary>
    static ReadOnlySpan<sbyte> DoubledE2M1 => [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12];

    /// <summary>Scale, 16 bytes; the lower bits of all bytes come first.</summary>
    public static void IQ4_NL(ReadOnlySpan<byte> blocks, Span<float> values)
    {
        for (; !values.IsEmpty; blocks = blocks[18..], values = values[32..])
        {
            Pairs(blocks.Slice(2, 16), UnevenLevels, PlainNumbers.Half(blocks), values);
        }
    }

    /// <summary>Scale, two upper bits of 8 scales, four lower bits of them, 128 bytes.</summary>
    public static void IQ4_XS(ReadOnlySpan<byte> blocks, Span<float> values)
    {
        for (; !values.IsEmpty; blocks = blocks[136..], values = values[256..])
        {
            float scale = PlainNumbers.Half(blocks);
            int upper = BinaryPrimitives.ReadUInt16LittleEndian(blocks[2..]);
            for (int group = 0; group < 8; group++)
            {
                int low = (blocks[4 + (group / 2)] >> (group % 2 * 4)) & 15;
                int high = (upper >> (2 * group)) & 3;
                float d = scale * ((low | high << 4) - 32);
                Pairs(blocks.Slice(8 + (16 * group), 16), UnevenLevels, d, values[(32 * group)..]);
            }
        }
    }

    /// <summary>An exponent, 16 bytes.</summary>
    public static void MXFP4(ReadOnlySpan<byte> blocks, Span<float> values)
    {
        for (; !values.IsEmpty; blocks = blocks[17..], values = values[32..])
        {
            // Half of 2^(exponent - 127), as the levels are doubled; the two smallest are subnormal.
            int exponent = blocks[0];
            int bits = exponent < 2 ? 0x0020_0000 << exponent : (exponent - 1) << 23;
            Pairs(blocks.Slice(1, 16), DoubledE2M1, BitConverter.Int32BitsToSingle(bits), values);
        }
    }

    /// <summary>Four scales for 16 values each, 32 bytes.</summary>
    public static void NVFP4(ReadOnlySpan<byte> blocks, Span<float> values)
    {
        for (; !values.IsEmpty; blocks = blocks[36..], values = values[64..])
        {
            for (int group = 0; group < 4; group++)
            {
                Pairs(blocks.Slice(4 + (8 * group), 8), DoubledE2M1, HalfE4M3(blocks[group]), values[(16 * group)..]);
            }
        }
    }

    // The levels named by the lower bits of all bytes, then those of the upper ones.
    static void Pairs(ReadOnlySpan<byte> bytes, ReadOnlySpan<sbyte> levels, float scale, Span<float> values)
    {
        for (int i = 0; i < bytes.Length; i++)
        {
            values[i] = scale * levels[bytes[i] & 15];
            values[i + bytes.Length] = scale * levels[bytes[i] >> 4];
        }
    }

    // Half of an unsigned float with four bits of exponent and three of fraction. Its sign bit is not used, NaN counts as 0.
    static float HalfE4M3(byte code)
    {
        int exponent = (code >> 3) & 15;
        int fraction = code & 7;
        return (code & 127) == 127 ? 0
            : exponent == 0 ? fraction * (1f / 1024)
            : BitConverter.Int32BitsToSingle((exponent + 119) << 23 | fraction << 20);
    }
}
