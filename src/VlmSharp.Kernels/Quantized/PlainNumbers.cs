using System.Buffers.Binary;
using System.Runtime.InteropServices;

namespace VlmSharp.Kernels.Quantized;

/// <summary>Numbers that stand alone, to f32: halves widen exactly, longer ones are rounded to the nearest.</summary>
static class PlainNumbers
{
    public static void F32(ReadOnlySpan<byte> source, Span<float> values) =>
        source.CopyTo(MemoryMarshal.AsBytes(values));

    public static void F16(ReadOnlySpan<byte> source, Span<float> values)
    {
        for (int i = 0; i < values.Length; i++)
        {
            values[i] = Half(source[(2 * i)..]);
        }
    }

    public static void BF16(ReadOnlySpan<byte> source, Span<float> values)
    {
        for (int i = 0; i < values.Length; i++)
        {
            values[i] = BitConverter.Int32BitsToSingle(BinaryPrimitives.ReadInt16LittleEndian(source[(2 * i)..]) << 16);
        }
    }

    public static void F64(ReadOnlySpan<byte> source, Span<float> values)
    {
        for (int i = 0; i < values.Length; i++)
        {
            values[i] = (float)BinaryPrimitives.ReadDoubleLittleEndian(source[(8 * i)..]);
        }
    }

    /// <param name="source">Two's complement.</param>
    /// <param name="values">Their values.</param>
    /// <param name="size">Bytes of an integer: 1, 2, 4 or 8.</param>
    public static void Integers(ReadOnlySpan<byte> source, Span<float> values, int size)
    {
        for (int i = 0; i < values.Length; i++)
        {
            ReadOnlySpan<byte> number = source.Slice(i * size, size);
            values[i] = size switch
            {
                1 => (sbyte)number[0],
                2 => BinaryPrimitives.ReadInt16LittleEndian(number),
                4 => BinaryPrimitives.ReadInt32LittleEndian(number),
                _ => BinaryPrimitives.ReadInt64LittleEndian(number),
            };
        }
    }

    /// <summary>The half at the start of some bytes.</summary>
    public static float Half(ReadOnlySpan<byte> source) => (float)BinaryPrimitives.ReadHalfLittleEndian(source);
}
