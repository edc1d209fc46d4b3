using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace VlmSharp.Kernels.Quantized;

/// <summary>8-bit floats (e4m3fn) in panels: blocks of 128 columns of 32 rows, f32[32] of scales and then [128][32] bytes.</summary>
/// <remarks>
/// 1 bit of sign, 4 of exponent with a bias of 7, 3 of mantissa; no infinity, and 0x7F and 0xFF are NaN (Micikevicius et al., arXiv
/// 2209.05433). A value is the float times the scale of its row, rounded once to f32.
/// </remarks>
static unsafe class Float8
{
    /// <summary>Columns of a block: those that published layers have a scale for, or a part of them.</summary>
    public const int Columns = 128;

    /// <summary>Bytes of a block of all rows of a panel.</summary>
    public const int PanelBytes = ScaleBytes + (Columns * PanelRows);

    const int PanelRows = PackedMatrix.PanelRows;
    const int ScaleBytes = PanelRows * sizeof(float);
    const int NaN = 0x7F;

    // What e4m3 bits, shifted to where f32 has exponent and mantissa, are too small by: 2^(127 - 7).
    const float Bias = 1.329227995784916e36f;

    /// <summary>Puts 128 columns of a row in their places.</summary>
    public static void Pack(byte* codes, float scale, byte* block, int row)
    {
        ((float*)block)[row] = scale;
        block += ScaleBytes + row;
        for (int column = 0; column < Columns; column++)
        {
            block[column * PanelRows] = codes[column];
        }
    }

    /// <summary>The value of a row in a column of a block.</summary>
    public static float Value(byte* block, int row, int column) =>
        Widen(Vector256.CreateScalar((uint)block[ScaleBytes + (column * PanelRows) + row])).ToScalar()
        * ((float*)block)[row];

    /// <summary>A block as f32[128][32].</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Unpack(byte* block, float* values)
    {
        byte* codes = block + ScaleBytes;
        for (int row = 0; row < PanelRows; row += Vector256<float>.Count)
        {
            Vector256<float> scales = Vector256.Load((float*)block + row);
            for (int at = row; at < row + (Columns * PanelRows); at += PanelRows)
            {
                (Widen(Eight(codes + at)) * scales).Store(values + at);
            }
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static Vector256<uint> Eight(byte* codes)
    {
        if (Avx2.IsSupported)
        {
            return Avx2.ConvertToVector256Int32(codes).AsUInt32();
        }

        Vector128<ushort> words = Vector128.WidenLower(
            Vector128.CreateScalar(Unsafe.ReadUnaligned<ulong>(codes)).AsByte()
        );
        return Vector256.Create(Vector128.WidenLower(words), Vector128.WidenUpper(words));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static Vector256<float> Widen(Vector256<uint> code)
    {
        Vector256<uint> magnitude = code & Vector256.Create((uint)NaN);
        Vector256<uint> bits = (magnitude << 20) | ((code & Vector256.Create(0x80u)) << 24);
        return Vector256.ConditionalSelect(
            Vector256.Equals(magnitude, Vector256.Create((uint)NaN)).AsSingle(),
            Vector256.Create(float.NaN),
            bits.AsSingle() * Vector256.Create(Bias)
        );
    }
}
