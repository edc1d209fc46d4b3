namespace VlmSharp.Kernels.Quantized;

/// <summary>Packs rows of f32 to blocks of GGUF types; the inverse of <see cref="Dequantize"/>, as far as a type has one.</summary>
/// <remarks>
/// <para>Without importance, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, F16 and BF16 are rounded as the format's reference does, to the same bytes. The other types, and
/// those of four and five bits with importance, get the scales (and least values) that a search found to have the smallest squared
/// error: see <see cref="ScaleSearch"/>. Without importance every column counts the same: of the weightings that were measured
/// (uniform, |x| + rms, x^2) it has the smallest error.</para>
/// <para>A row's blocks depend on nothing else than the row and the importance, and have the same bytes on every machine. Values have to be finite;
/// others give blocks without meaning. Nothing is allocated.</para>
/// </remarks>
public static class Quantize
{
    /// <summary>Whether rows can be packed to this type.</summary>
    public static bool Supports(GgmlType type) =>
        type
            is GgmlType.F32
                or GgmlType.F16
                or GgmlType.BF16
                or GgmlType.Q4_0
                or GgmlType.Q4_1
                or GgmlType.Q5_0
                or GgmlType.Q5_1
                or GgmlType.Q8_0
                or GgmlType.Q4_K
                or GgmlType.Q5_K
                or GgmlType.Q6_K
                or GgmlType.IQ4_NL;

    /// <summary>Packs whole rows.</summary>
    /// <param name="type">A type that <see cref="Supports"/> knows.</param>
    /// <param name="rows">[n, <paramref name="columns"/>], row-major.</param>
    /// <param name="columns">A multiple of the type's <see cref="GgmlTypes.BlockValues"/>.</param>
    /// <param name="blocks">Receives the blocks, little endian; without alignment.</param>
    /// <param name="importance">[<paramref name="columns"/>]: what a squared error in each column counts, 0 or more; empty where all count the same.</param>
    /// <exception cref="ArgumentException">Lengths do not belong to each other, or rows end within a block.</exception>
    /// <exception cref="NotSupportedException">Nothing is packed to this type.</exception>
    public static void Rows(
        GgmlType type,
        ReadOnlySpan<float> rows,
        int columns,
        Span<byte> blocks,
        ReadOnlySpan<float> importance = default
    )
    {
        if (!Supports(type))
        {
            throw new NotSupportedException($"Nothing is packed to {type}.");
        }

        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(columns);
        int values = type.BlockValues();
        if (columns % values != 0 || rows.Length % columns != 0)
        {
            throw new ArgumentException(
                $"{rows.Length} values are not whole rows of {columns}, or these are not whole blocks of {values} ({type}).",
                nameof(columns)
            );
        }

        int rowBytes = columns / values * type.BlockBytes();
        if (blocks.Length != (long)rows.Length / columns * rowBytes)
        {
            throw new ArgumentException(
                $"{rows.Length} values of {type} are not {blocks.Length} bytes.",
                nameof(blocks)
            );
        }

        if (!importance.IsEmpty && importance.Length != columns)
        {
            throw new ArgumentException($"{importance.Length} numbers for {columns} columns.", nameof(importance));
        }

        for (; !rows.IsEmpty; rows = rows[columns..], blocks = blocks[rowBytes..])
        {
            Row(type, rows[..columns], blocks[..rowBytes], importance);
        }
    }

    static void Row(GgmlType type, ReadOnlySpan<float> row, Span<byte> blocks, ReadOnlySpan<float> importance)
    {
        switch (type)
        {
            case GgmlType.F32:
                PlainNumbers.ToF32(row, blocks);
                break;
            case GgmlType.F16:
                PlainNumbers.ToF16(row, blocks);
                break;
            case GgmlType.BF16:
                PlainNumbers.ToBF16(row, blocks);
                break;
            case GgmlType.Q8_0:
                RoundedBlocks.Q8_0(row, blocks);
                break;
            case GgmlType.Q4_0 when importance.IsEmpty:
                RoundedBlocks.Q4_0(row, blocks);
                break;
            case GgmlType.Q4_1 when importance.IsEmpty:
                RoundedBlocks.Q4_1(row, blocks);
                break;
            case GgmlType.Q5_0 when importance.IsEmpty:
                RoundedBlocks.Q5_0(row, blocks);
                break;
            case GgmlType.Q5_1 when importance.IsEmpty:
                RoundedBlocks.Q5_1(row, blocks);
                break;
            case GgmlType.Q6_K:
                SearchedSuperBlocks.Q6(row, blocks, importance);
                break;
            case GgmlType.Q4_K or GgmlType.Q5_K:
                SearchedSuperBlocks.Q4OrQ5(type, row, blocks, importance);
                break;
            default:
                SearchedShortBlocks.Row(type, row, blocks, importance);
                break;
        }
    }
}
