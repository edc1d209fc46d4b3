using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace VlmSharp.Kernels.Quantized;

/// <summary>32 rows times 32 columns of unpacked codes and their scales: what every format of blocks becomes for loops over many rows.</summary>
/// <remarks>
/// 1024 bytes of codes [8 quads of columns][32 rows][4 columns], then f32[32] scales, then f32[32] that depend on the
/// <see cref="Scaling"/>: the scales of the last 16 columns, least values, or zero points.
/// </remarks>
internal static unsafe class Square
{
    public const int Columns = 32;
    public const int Quads = Columns / 4;
    public const int QuadBytes = PanelRows * 4;
    public const int ScalesAt = Quads * QuadBytes;
    public const int SecondAt = ScalesAt + (PanelRows * sizeof(float));
    public const int Bytes = SecondAt + (PanelRows * sizeof(float));

    const int PanelRows = PackedMatrix.PanelRows;

    /// <summary>The values of a square.</summary>
    /// <param name="square">Expanded.</param>
    /// <param name="blocks">Its format.</param>
    /// <param name="values">[32 columns, 32 rows]</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Values(byte* square, PanelBlocks blocks, float* values)
    {
        Scaling scaling = blocks.Scaling;
        Vector256<int> offset = Vector256.Create(blocks.Offset);
        Vector256<uint> mask = Vector256.Create(0xFFu);
        for (int row = 0; row < PanelRows; row += Vector256<float>.Count)
        {
            Vector256<float> scale = Vector256.Load((float*)(square + ScalesAt) + row);
            Vector256<float> second = Vector256.Load((float*)(square + SecondAt) + row);
            float* to = values + row;
            for (int quad = 0; quad < Quads; quad++)
            {
                Vector256<uint> codes = Vector256.Load((uint*)(square + (quad * QuadBytes)) + row);
                scale = scaling == Scaling.OffsetOfHalves && quad == Quads / 2 ? second : scale;
                for (int i = 0; i < 4; i++, to += PanelRows, codes >>= 8)
                {
                    Vector256<float> code = Vector256.ConvertToSingle((codes & mask).AsInt32() - offset);
                    Vector256<float> value = scaling switch
                    {
                        Scaling.Least => (code * scale) - second,
                        Scaling.ZeroPoint => (code - second) * scale,
                        _ => code * scale,
                    };
                    value.Store(to);
                }
            }
        }
    }

    /// <summary>The value of one row and column of a square.</summary>
    public static float Value(byte* square, PanelBlocks blocks, int row, int column)
    {
        float* scales = (float*)(square + ScalesAt);
        float* second = (float*)(square + SecondAt);
        int code = square[(column / 4 * QuadBytes) + (row * 4) + (column % 4)] - blocks.Offset;
        return blocks.Scaling switch
        {
            Scaling.Least => (scales[row] * code) - second[row],
            Scaling.ZeroPoint => scales[row] * (code - second[row]),
            Scaling.OffsetOfHalves when column >= Columns / 2 => second[row] * code,
            _ => scales[row] * code,
        };
    }

    /// <summary>Bytes of 32 rows to f32.</summary>
    public static void WidenBytes(byte* bytes, float* to)
    {
        Vector256<byte> all = Vector256.Load(bytes);
        Half(Vector256.WidenLower(all), to);
        Half(Vector256.WidenUpper(all), to + 16);

        static void Half(Vector256<ushort> numbers, float* to)
        {
            Vector256.ConvertToSingle(Vector256.WidenLower(numbers).AsInt32()).Store(to);
            Vector256.ConvertToSingle(Vector256.WidenUpper(numbers).AsInt32()).Store(to + 8);
        }
    }

    /// <summary>f16 of 32 rows to f32.</summary>
    /// <remarks>Scales of scales are often subnormal, which multiplications are slow with: none is done, unlike in <see cref="F16Weights"/>.</remarks>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Widen(byte* halves, float* to)
    {
        for (int row = 0; row < PanelRows; row += Vector128<ushort>.Count)
        {
            Vector128<ushort> bits = Vector128.Load((ushort*)halves + row);
            Vector256<int> wide = Vector256.Create(Vector128.WidenLower(bits), Vector128.WidenUpper(bits)).AsInt32();
            Vector256<int> magnitude = (wide & Vector256.Create(0x7FFF)) << 13;
            Vector256<int> sign = (wide & Vector256.Create(0x8000)) << 16;
            Vector256<int> rebias = Vector256.Create(112 << 23);
            Vector256<int> special = Vector256.GreaterThan(magnitude, Vector256.Create(0x0F7F_FFFF)) & rebias;
            Vector256<int> normal = magnitude + rebias + special;
            Vector256<int> least = Vector256.Create(113 << 23); // 2^-14, below which numbers are subnormal
            Vector256<int> small = ((magnitude + least).AsSingle() - least.AsSingle()).AsInt32();
            Vector256<int> subnormal = Vector256.LessThan(magnitude, Vector256.Create(1 << 23));
            Vector256<int> value = Vector256.ConditionalSelect(subnormal, small, normal) | sign;
            value.AsSingle().Store(to + row);
        }
    }
}
