using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace VlmSharp.Kernels;

/// <summary>How the values of a panel are stored and widened to f32; all conversions are exact.</summary>
/// <remarks>
/// Whatever the format, a column has an address, and the value of row r of the panel is the upper part of the 32-bit word at
/// that address + 4 * r. Two columns of 16-bit values share their words: the address of the lower one is two bytes before them.
/// Low is a vector of rows r, r + 1, ..., High one of rows r + 16, r + 17, ..., both from the address of the column + 4 * r.
/// </remarks>
internal unsafe interface IWeightFormat
{
    /// <summary>Bytes from the start of a panel to the address of a column.</summary>
    static abstract nint Offset(nint column);

    /// <summary>Whether widening is so dear that a tile of many rows should find the values widened.</summary>
    static abstract bool WidenFirst { get; }

    /// <summary>The value of one row of the panel.</summary>
    static abstract float One(byte* column, int row);

    static abstract Vector512<float> Low512(byte* column);

    static abstract Vector512<float> High512(byte* column);

    static abstract Vector256<float> Low256(byte* column);

    static abstract Vector256<float> High256(byte* column);
}

/// <summary>Rows 0 to 31 as they are.</summary>
internal readonly unsafe struct F32Weights : IWeightFormat
{
    public static bool WidenFirst => false;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static nint Offset(nint column) => column * 128;

    public static float One(byte* column, int row) => ((float*)column)[row];

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> Low512(byte* column) => Vector512.Load((float*)column);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> High512(byte* column) => Vector512.Load((float*)(column + 64));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> Low256(byte* column) => Vector256.Load((float*)column);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> High256(byte* column) => Vector256.Load((float*)(column + 64));
}

/// <summary>Words of columns 2j (low half) and 2j + 1 (high half): a bf16 is the upper half of an f32.</summary>
internal readonly unsafe struct BF16Weights : IWeightFormat
{
    const uint Kept = 0xFFFF0000;

    public static bool WidenFirst => false;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static nint Offset(nint column) => PairOffset(column);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static nint PairOffset(nint column) => ((column >> 1) * 128) + ((column & 1) * 2) - 2;

    public static float One(byte* column, int row) => Widen.BF16(((ushort*)column)[(row * 2) + 1]);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> Low512(byte* column) =>
        Avx512F.And(Vector512.Load((uint*)column), Vector512.Create(Kept)).AsSingle();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> High512(byte* column) => Low512(column + 64);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> Low256(byte* column) =>
        System.Runtime.Intrinsics.X86.Avx2.And(Vector256.Load((uint*)column), Vector256.Create(Kept)).AsSingle();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> High256(byte* column) => Low256(column + 64);
}

/// <summary>Words of columns 2j (low half) and 2j + 1 (high half), IEEE binary16.</summary>
/// <remarks>
/// .NET has no F16C instructions. Sign, exponent and mantissa are moved to their places in an f32, whose exponent bias is larger
/// by 112: one multiplication by 2^112 puts that right, for subnormals too. Exponent 31 stands for infinity and NaN; it comes out as
/// 2^16 or more, which no finite value reaches, and gets the exponent 255.
/// </remarks>
internal readonly unsafe struct F16Weights : IWeightFormat
{
    const uint Kept = 0x8FFF_E000; // sign, 5 bits of exponent, 10 of mantissa
    const float Rebias = 5.192296858534828e33f; // 2^112

    public static bool WidenFirst => true;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static nint Offset(nint column) => BF16Weights.PairOffset(column);

    public static float One(byte* column, int row) => Widen.F16(((ushort*)column)[(row * 2) + 1]);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> Low512(byte* column) => FromMoved(Vector512.Load((int*)column) >> 3);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> High512(byte* column) => Low512(column + 64);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> Low256(byte* column) => FromMoved(Vector256.Load((int*)column) >> 3);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> High256(byte* column) => Low256(column + 64);

    // bits: the sign-extended half, shifted left by 13; what lies below and between is noise
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static Vector512<float> FromMoved(Vector512<int> bits)
    {
        Vector512<float> value = (bits.AsUInt32() & Vector512.Create(Kept)).AsSingle() * Vector512.Create(Rebias);
        Vector512<float> special = Vector512.GreaterThanOrEqual(Vector512.Abs(value), Vector512.Create(65536f));
        return Vector512.ConditionalSelect(special, value | Vector512.Create(float.PositiveInfinity), value);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static Vector256<float> FromMoved(Vector256<int> bits)
    {
        Vector256<float> value = (bits.AsUInt32() & Vector256.Create(Kept)).AsSingle() * Vector256.Create(Rebias);
        Vector256<float> special = Vector256.GreaterThanOrEqual(Vector256.Abs(value), Vector256.Create(65536f));
        return Vector256.ConditionalSelect(special, value | Vector256.Create(float.PositiveInfinity), value);
    }
}
