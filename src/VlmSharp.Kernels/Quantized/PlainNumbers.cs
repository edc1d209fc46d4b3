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

    public static void ToF32(ReadOnlySpan<float> values, Span<byte> target) =>
        MemoryMarshal.AsBytes(values).CopyTo(target);

    public static void ToF16(ReadOnlySpan<float> values, Span<byte> target)
    {
        Span<Half> halves = MemoryMarshal.Cast<byte, Half>(target);
        for (int i = 0; i < values.Length; i++)
        {
            halves[i] = (Half)values[i];
        }
    }

    /// <summary>Rounds to the nearest, halves to even; NaN stays NaN.</summary>
    public static void ToBF16(ReadOnlySpan<float> values, Span<byte> target)
    {
        Span<ushort> upper = MemoryMarshal.Cast<byte, ushort>(target);
        for (int i = 0; i < values.Length; i++)
        {
            uint bits = BitConverter.SingleToUInt32Bits(values[i]);
            uint rounded = bits + 0x7FFF + ((bits >> 16) & 1);
            upper[i] = (ushort)((float.IsNaN(values[i]) ? bits | 1 << 22 : rounded) >> 16);
        }
    }

    /// <summary>Writes the nearest half.</summary>
    public static void WriteHalf(Span<byte> target, float value) =>
        BinaryPrimitives.WriteHalfLittleEndian(target, (Half)value);

    /// <summary>The half at the start of some bytes.</summary>
    public static float Half(ReadOnlySpan<byte> source) => (float)BinaryPrimitives.ReadHalfLittleEndian(source);
}
