namespace VlmSharp.Kernels.Quantized;

/// <summary>Turns blocks of big-endian files around: numbers of several bytes within them are reversed, single bytes stay.</summary>
public static class BlockFields
{
    /// <summary>Reverses the numbers of whole blocks in place.</summary>
    /// <param name="type">How they are stored.</param>
    /// <param name="blocks">Whole blocks.</param>
    public static void Reverse(GgmlType type, Span<byte> blocks)
    {
        (int first, int count, int size) = Fields(type);
        for (int bytes = type.BlockBytes(); !blocks.IsEmpty; blocks = blocks[bytes..])
        {
            for (int i = 0; i < count; i++)
            {
                blocks.Slice(first + (i * size), size).Reverse();
            }

            if (type == GgmlType.Q8_K)
            {
                for (int i = 260; i < bytes; i += 2)
                {
                    blocks.Slice(i, 2).Reverse();
                }
            }
        }
    }

    /// <summary>Where a block's numbers of several bytes begin, how many there are and how long they are.</summary>
    static (int First, int Count, int Size) Fields(GgmlType type) =>
        type switch
        {
            GgmlType.I8 or GgmlType.MXFP4 or GgmlType.NVFP4 => (0, 0, 1),
            GgmlType.F16 or GgmlType.BF16 or GgmlType.I16 => (0, 1, 2),
            GgmlType.F32 or GgmlType.I32 or GgmlType.Q8_K => (0, 1, 4),
            GgmlType.F64 or GgmlType.I64 => (0, 1, 8),
            GgmlType.Q4_0 or GgmlType.Q5_0 or GgmlType.Q8_0 or GgmlType.IQ4_NL => (0, 1, 2),
            GgmlType.Q4_1 or GgmlType.Q5_1 or GgmlType.Q8_1 => (0, 2, 2),
            GgmlType.Q4_K or GgmlType.Q5_K or GgmlType.IQ4_XS => (0, 2, 2),
            GgmlType.Q2_K => (80, 2, 2),
            GgmlType.Q3_K => (108, 1, 2),
            GgmlType.Q6_K => (208, 1, 2),
            GgmlType.TQ1_0 => (52, 1, 2),
            GgmlType.TQ2_0 => (64, 1, 2),
            _ => throw new NotSupportedException($"Blocks of {type} are not turned around."),
        };
}
