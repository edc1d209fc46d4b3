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
    public static void WidenBytes(byte* bytes, byte* to)
    {
        Vector256<byte> all = Vector256.Load(bytes);
        Half(Vector256.WidenLower(all), (float*)to);
        Half(Vector256.WidenUpper(all), (float*)to + 16);

        static void Half(Vector256<ushort> numbers, float* to)
        {
            Vector256.ConvertToSingle(Vector256.WidenLower(numbers).AsInt32()).Store(to);
            Vector256.ConvertToSingle(Vector256.WidenUpper(numbers).AsInt32()).Store(to + 8);
        }
    }

    /// <summary>f16 of 32 rows to f32.</summary>
    public static void Widen(byte* halves, byte* to)
    {
        for (int row = 0; row < PanelRows; row += Vector256<ushort>.Count)
        {
            Vector256<ushort> bits = Vector256.Load((ushort*)halves + row);
            F16Weights.FromUpper(Vector256.WidenLower(bits) << 16).Store((float*)to + row);
            F16Weights.FromUpper(Vector256.WidenUpper(bits) << 16).Store((float*)to + row + 8);
        }
    }
}
