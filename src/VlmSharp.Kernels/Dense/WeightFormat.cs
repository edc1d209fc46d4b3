using VlmSharp.Kernels.Quantized;

namespace VlmSharp.Kernels;

/// <summary>How a <see cref="PackedMatrix"/> stores weights: as plain numbers, or in blocks of columns of a row that share scales.</summary>
/// <remarks>
/// Blocks stay as small as the files have them; a value is what <see cref="Dequantize"/> says it is. Saved panels have the numbers of the members in them: new
/// ones come last.
/// </remarks>
public enum WeightFormat
{
    /// <summary>IEEE 754 binary32.</summary>
    F32,

    /// <summary>IEEE 754 binary16.</summary>
    F16,

    /// <summary>The upper half of a binary32.</summary>
    BF16,

    /// <summary>Blocks of <see cref="GgmlType.Q8_0"/>.</summary>
    Q8_0,

    /// <summary>Blocks of <see cref="GgmlType.Q4_0"/>.</summary>
    Q4_0,

    /// <summary>Blocks of <see cref="GgmlType.Q4_1"/>.</summary>
    Q4_1,

    /// <summary>Blocks of <see cref="GgmlType.Q5_0"/>.</summary>
    Q5_0,

    /// <summary>Blocks of <see cref="GgmlType.Q5_1"/>.</summary>
    Q5_1,

    /// <summary>Blocks of <see cref="GgmlType.IQ4_NL"/>.</summary>
    IQ4_NL,

    /// <summary>Blocks of <see cref="GgmlType.Q4_K"/>.</summary>
    Q4_K,

    /// <summary>Blocks of <see cref="GgmlType.Q5_K"/>.</summary>
    Q5_K,

    /// <summary>Blocks of <see cref="GgmlType.Q6_K"/>.</summary>
    Q6_K,

    /// <summary>Integers of 4 bits; 32 columns of a row share an f16 scale and an integer zero point.</summary>
    U4G32,

    /// <summary>As <see cref="U4G32"/>, in groups of 64.</summary>
    U4G64,

    /// <summary>As <see cref="U4G32"/>, in groups of 128.</summary>
    U4G128,

    /// <summary>Integers of 8 bits; 32 columns of a row share an f16 scale and an integer zero point.</summary>
    U8G32,

    /// <summary>As <see cref="U8G32"/>, in groups of 64.</summary>
    U8G64,

    /// <summary>As <see cref="U8G32"/>, in groups of 128.</summary>
    U8G128,

    /// <summary>8-bit floats (e4m3fn), with an f32 scale for each row and 128 columns.</summary>
    F8,
}

/// <summary>Facts about a <see cref="WeightFormat"/>.</summary>
public static class WeightFormats
{
    /// <summary>The format of plain numbers of this type.</summary>
    public static WeightFormat Format(this ElementType type) =>
        type switch
        {
            ElementType.F32 => WeightFormat.F32,
            ElementType.F16 => WeightFormat.F16,
            ElementType.BF16 => WeightFormat.BF16,
            _ => throw new ArgumentOutOfRangeException(nameof(type), type, "not an element type"),
        };

    /// <summary>The format that keeps blocks of this type as they are; null where there is none.</summary>
    public static WeightFormat? Format(this GgmlType type)
    {
        foreach (PanelBlocks blocks in PanelBlocks.All)
        {
            if (blocks.FileType == type)
            {
                return blocks.Format;
            }
        }

        return null;
    }

    /// <summary>The format of integers with a scale and a zero point for a group of columns; null where there is none.</summary>
    /// <param name="bits">Of an integer.</param>
    /// <param name="group">Columns of a group.</param>
    public static WeightFormat? Groups(int bits, int group) =>
        (bits, group) switch
        {
            (4, 32) => WeightFormat.U4G32,
            (4, 64) => WeightFormat.U4G64,
            (4, 128) => WeightFormat.U4G128,
            (8, 32) => WeightFormat.U8G32,
            (8, 64) => WeightFormat.U8G64,
            (8, 128) => WeightFormat.U8G128,
            _ => null,
        };

    /// <summary>Columns of a row that are stored together: the columns of a matrix are a multiple of it.</summary>
    public static int BlockColumns(this WeightFormat format) =>
        format == WeightFormat.F8 ? Float8.Columns : PanelBlocks.Of(format)?.Columns ?? 1;

    /// <summary>Bytes of one value that stands alone.</summary>
    internal static int ValueBytes(this WeightFormat format) =>
        format switch
        {
            WeightFormat.F32 => 4,
            WeightFormat.F16 or WeightFormat.BF16 => 2,
            _ => throw new ArgumentOutOfRangeException(nameof(format), format, "not a format of plain numbers"),
        };
}
