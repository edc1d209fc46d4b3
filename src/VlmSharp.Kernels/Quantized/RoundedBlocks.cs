using System.Buffers.Binary;
using System.Runtime.Intrinsics;
using static System.Runtime.Intrinsics.Vector256;

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
            Vector256<float> a = Create(row);
            Vector256<float> b = Create(row[8..]);
            Vector256<float> c = Create(row[16..]);
            Vector256<float> d = Create(row[24..]);
            Vector256<float> most = MaxNative(MaxNative(Abs(a), Abs(b)), MaxNative(Abs(c), Abs(d)));
            float scale = Largest(most) / 127;
            Vector256<float> inverse = Create(Inverse(scale));
            PlainNumbers.WriteHalf(blocks, scale);
            Vector256<short> ab = Narrow(Rounded(a * inverse), Rounded(b * inverse));
            Vector256<short> cd = Narrow(Rounded(c * inverse), Rounded(d * inverse));
            Narrow(ab, cd).AsByte().CopyTo(blocks[2..]);
        }

        // Halves away from 0, also where the value next to a half would be rounded to it.
        static Vector256<int> Rounded(Vector256<float> value)
        {
            Vector256<float> magnitude = Abs(value);
            Vector256<float> floor = Floor(magnitude);
            floor += Floor((magnitude - floor) + (magnitude - floor));
            return ConvertToInt32Native(CopySign(floor, value));
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
        Vector256<float> most = Vector256<float>.Zero;
        for (int i = 0; i < Size; i += Vector256<float>.Count)
        {
            most = MaxNative(most, Abs(Create(values[i..])));
        }

        // The first one of this magnitude decides the sign.
        float largest = Largest(most);
        float extreme = values[0];
        for (int i = 1; i < Size && MathF.Abs(extreme) < largest; i++)
        {
            extreme = values[i];
        }

        float scale = extreme / -half;
        Vector256<double> inverse = Create((double)Inverse(scale));
        Vector256<double> middle = Create(half + 0.5);
        Vector256<int> highest = Create((2 * half) - 1);
        for (int i = 0; i < Size; i += Vector256<float>.Count)
        {
            (Vector256<double> lower, Vector256<double> upper) = Widen(Create(values[i..]));
            // In double precision, and cut to single before it is cut to an integer.
            Vector256<float> level = Narrow((lower * inverse) + middle, (upper * inverse) + middle);
            Vector256<int> cut = Max(Min(ConvertToInt32Native(level), highest), Vector256<int>.Zero);
            Vector128<short> words = Vector128.Narrow(cut.GetLower(), cut.GetUpper());
            Vector64.Narrow(words.GetLower(), words.GetUpper()).AsByte().CopyTo(levels[i..]);
        }

        return scale;
    }

    static float Largest(Vector256<float> values)
    {
        Vector128<float> four = Vector128.MaxNative(values.GetLower(), values.GetUpper());
        return MathF.Max(MathF.Max(four[0], four[1]), MathF.Max(four[2], four[3]));
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
