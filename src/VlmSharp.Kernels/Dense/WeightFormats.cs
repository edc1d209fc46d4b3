using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace VlmSharp.Kernels;

/// <summary>How the 32 values of one column of a panel are stored and widened to f32; all conversions are exact.</summary>
/// <remarks>
/// Low is a vector of rows r, r + 1, ..., High one of rows r + 16, r + 17, ... of the panel, both from the address of the
/// column + 4 * r. Two loads of one address cost less than keeping the raw bits in a register that accumulators need.
/// </remarks>
internal unsafe interface IWeightFormat
{
    /// <summary>Bytes from one column of a panel to the next.</summary>
    static abstract int ColumnBytes { get; }

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
    public static int ColumnBytes => 128;

    public static bool WidenFirst => false;

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

/// <summary>Words of row r (low half) and row r + 16 (high half): a bf16 is the upper half of an f32.</summary>
internal readonly unsafe struct BF16Weights : IWeightFormat
{
    public static int ColumnBytes => 64;

    public static bool WidenFirst => false;

    public static float One(byte* column, int row) => Widen.BF16(((ushort*)column)[row % 16 * 2 + row / 16]);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> Low512(byte* column) =>
        Avx512F.ShiftLeftLogical(Vector512.Load((uint*)column), 16).AsSingle();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> High512(byte* column) =>
        Avx512F.And(Vector512.Load((uint*)column), Vector512.Create(0xFFFF0000)).AsSingle();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> Low256(byte* column) =>
        System.Runtime.Intrinsics.X86.Avx2.ShiftLeftLogical(Vector256.Load((uint*)column), 16).AsSingle();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> High256(byte* column) =>
        System.Runtime.Intrinsics.X86.Avx2.And(Vector256.Load((uint*)column), Vector256.Create(0xFFFF0000)).AsSingle();
}

/// <summary>Words of row r (low half) and row r + 16 (high half), IEEE binary16.</summary>
/// <remarks>
/// .NET has no F16C instructions. Sign, exponent and mantissa are moved to their places in an f32, whose exponent bias is larger
/// by 112: one multiplication by 2^112 puts that right, for subnormals too. Exponent 31 stands for infinity and NaN; it comes out as
/// 2^16 or more, which no finite value reaches, and gets the exponent 255.
/// </remarks>
internal readonly unsafe struct F16Weights : IWeightFormat
{
    const uint Kept = 0x8FFF_E000; // sign, 5 bits of exponent, 10 of mantissa
    const float Rebias = 5.192296858534828e33f; // 2^112

    public static int ColumnBytes => 64;

    public static bool WidenFirst => true;

    public static float One(byte* column, int row) => Widen.F16(((ushort*)column)[row % 16 * 2 + row / 16]);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> Low512(byte* column) => FromMoved(Vector512.Load((int*)column) << 16 >> 3);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> High512(byte* column) => FromMoved(Vector512.Load((int*)column) >> 3);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> Low256(byte* column) => FromMoved(Vector256.Load((int*)column) << 16 >> 3);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> High256(byte* column) => FromMoved(Vector256.Load((int*)column) >> 3);

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
