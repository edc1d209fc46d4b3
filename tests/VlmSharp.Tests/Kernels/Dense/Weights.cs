using System.Runtime.InteropServices;
using VlmSharp.Kernels;
using VlmSharp.Testing;

namespace VlmSharp.Tests.Kernels.Dense;

/// <summary>Random weights in one storage type: packed, and as the f32 values that the stored bits stand for.</summary>
sealed class Weights
{
    public Weights(int outputs, int columns, ElementType storage, WorkerPool pool, bool specials = false)
    {
        Outputs = outputs;
        Columns = columns;
        Storage = storage;
        int count = outputs * columns;
        float[] raw = specials ? Numbers.WithSpecials(count + 1, count, every: 200) : Numbers.Varied(count + 1, count);
        Source = Bytes(raw, storage);
        Values =
            storage == ElementType.F32
                ? raw
                : [.. MemoryMarshal.Cast<byte, ushort>(Source).ToArray().Select(b => Value(b, storage))];
        Packed = new PackedMatrix(outputs, columns, storage);
        Packed.PackRows(0, outputs, Source, storage, pool);
    }

    public int Outputs { get; }
    public int Columns { get; }
    public ElementType Storage { get; }

    /// <summary>[outputs, columns] as in a file.</summary>
    public byte[] Source { get; }

    /// <summary>[outputs, columns]</summary>
    public float[] Values { get; }

    public PackedMatrix Packed { get; }

    /// <summary>What 16 stored bits stand for, by the definition of the formats.</summary>
    public static float Value(ushort bits, ElementType type)
    {
        (int exponentBits, int mantissaBits) = type == ElementType.BF16 ? (8, 7) : (5, 10);
        int sign = bits >> 15;
        int exponent = bits >> mantissaBits & ((1 << exponentBits) - 1);
        int mantissa = bits & ((1 << mantissaBits) - 1);
        int bias = (1 << (exponentBits - 1)) - 1;
        double fraction = mantissa / (double)(1 << mantissaBits);
        double value =
            exponent == (1 << exponentBits) - 1 ? (mantissa == 0 ? double.PositiveInfinity : double.NaN)
            : exponent == 0 ? fraction * Math.Pow(2, 1 - bias)
            : (1 + fraction) * Math.Pow(2, exponent - bias);
        return (float)(sign == 1 ? -value : value);
    }

    // Rounding does not matter here: the values are read back from the bits.
    static byte[] Bytes(float[] values, ElementType storage) =>
        storage switch
        {
            ElementType.F32 => MemoryMarshal.AsBytes(values.AsSpan()).ToArray(),
            ElementType.F16 => MemoryMarshal.AsBytes(values.Select(v => (Half)v).ToArray().AsSpan()).ToArray(),
            _ => MemoryMarshal
                .AsBytes(values.Select(v => (ushort)(BitConverter.SingleToUInt32Bits(v) >> 16)).ToArray().AsSpan())
                .ToArray(),
        };
}
