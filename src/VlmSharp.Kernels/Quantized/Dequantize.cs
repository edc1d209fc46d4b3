namespace VlmSharp.Kernels.Quantized;

/// <summary>Unpacks tensors of any GGUF type to f32.</summary>
/// <remarks>
/// Every product and sum is rounded to f32 in the order of the format's reference code, nothing is fused: results have its bits.
/// Nothing is allocated.
/// </remarks>
public static class Dequantize
{
    /// <summary>Unpacks whole blocks.</summary>
    /// <param name="type">How they are stored.</param>
    /// <param name="blocks">Little endian, without alignment.</param>
    /// <param name="values">As many values as the blocks hold.</param>
    /// <exception cref="ArgumentException">The lengths do not belong to each other, or end within a block.</exception>
    /// <exception cref="NotSupportedException">The type's values stand in a code book: IQ1_*, IQ2_* and IQ3_*.</exception>
    public static void Apply(GgmlType type, ReadOnlySpan<byte> blocks, Span<float> values)
    {
        int blockValues = type.BlockValues();
        if (values.Length % blockValues != 0 || blocks.Length != (long)values.Length / blockValues * type.BlockBytes())
        {
            throw new ArgumentException(
                $"{values.Length} values of {type} are not {blocks.Length} bytes.",
                nameof(blocks)
            );
        }

        switch (type)
        {
            case GgmlType.F32:
                PlainNumbers.F32(blocks, values);
                break;
            case GgmlType.F16:
                PlainNumbers.F16(blocks, values);
                break;
            case GgmlType.BF16:
                PlainNumbers.BF16(blocks, values);
                break;
            case GgmlType.F64:
                PlainNumbers.F64(blocks, values);
                break;
            case GgmlType.I8 or GgmlType.I16 or GgmlType.I32 or GgmlType.I64:
                PlainNumbers.Integers(blocks, values, type.BlockBytes());
                break;
            case GgmlType.Q4_0:
                ShortBlocks.Q4_0(blocks, values);
                break;
            case GgmlType.Q4_1:
                ShortBlocks.Q4_1(blocks, values);
                break;
            case GgmlType.Q5_0:
                ShortBlocks.Q5_0(blocks, values);
                break;
            case GgmlType.Q5_1:
                ShortBlocks.Q5_1(blocks, values);
                break;
            case GgmlType.Q8_0:
                ShortBlocks.Q8(blocks, values, type.BlockBytes(), first: 2);
                break;
            case GgmlType.Q8_1:
                ShortBlocks.Q8(blocks, values, type.BlockBytes(), first: 4);
                break;
            case GgmlType.Q2_K:
                SuperBlocks.Q2(blocks, values);
                break;
            case GgmlType.Q3_K:
                SuperBlocks.Q3(blocks, values);
                break;
            case GgmlType.Q4_K:
                SuperBlocks.Q4(blocks, values);
                break;
            case GgmlType.Q5_K:
                SuperBlocks.Q5(blocks, values);
                break;
            case GgmlType.Q6_K:
                SuperBlocks.Q6(blocks, values);
                break;
            case GgmlType.Q8_K:
                SuperBlocks.Q8(blocks, values);
                break;
            case GgmlType.TQ1_0:
                TernaryBlocks.TQ1(blocks, values);
                break;
            case GgmlType.TQ2_0:
                TernaryBlocks.TQ2(blocks, values);
                break;
            case GgmlType.IQ4_NL:
                LevelBlocks.IQ4_NL(blocks, values);
                break;
            case GgmlType.IQ4_XS:
                LevelBlocks.IQ4_XS(blocks, values);
                break;
            case GgmlType.MXFP4:
                LevelBlocks.MXFP4(blocks, values);
                break;
            case GgmlType.NVFP4:
                LevelBlocks.NVFP4(blocks, values);
                break;
            default:
                throw new NotSupportedException(
                    "its code book is not part of this build; take a file of another type, such as Q4_K_M or IQ4_XS"
                );
        }
    }
}
