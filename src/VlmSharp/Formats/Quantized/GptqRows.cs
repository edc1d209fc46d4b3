using System.Runtime.CompilerServices;

namespace VlmSharp.Formats.Quantized;

/// <summary>A layer as AutoGPTQ and gptqmodel store it: integers of 4 or 8 bits, neighbouring inputs of one output in a word.</summary>
/// <remarks>
/// <c>g_idx</c> tells the group of every input; it is there even where groups are in order. In version 1 the file holds zero points
/// minus one, and the largest one stored means one more than fits, as AutoGPTQ's <c>qlinear_cuda</c> reads it.
/// </remarks>
sealed class GptqRows : GroupedRows
{
    readonly StoredTensor packed; // [columns * bits / 32, rows]
    readonly int bits;

    GptqRows(StoredTensor packed, int bits, Groups groups)
        : base(groups) => (this.packed, this.bits) = (packed, bits);

    /// <summary>Takes <c>qweight</c>, <c>qzeros</c>, <c>scales</c> and, where it is there, <c>g_idx</c> of a layer.</summary>
    /// <exception cref="CheckpointException">One is missing, of another type or of another shape than these sizes imply.</exception>
    public static GptqRows Open(Checkpoint checkpoint, Quantization how, string name, int rows, int columns)
    {
        int perWord = 32 / how.Bits;
        int group = how.GroupSize < 0 ? columns : how.GroupSize;
        if (rows % perWord != 0 || columns % perWord != 0)
        {
            throw new CheckpointException(
                checkpoint.Info($"{name}.qweight").File,
                $"tensor {Quote.Name($"{name}.qweight")} stands for {rows} outputs and {columns} inputs; GPTQ packs {perWord} of each into a word"
            );
        }

        int groups = (columns + group - 1) / group;
        string why = $"{rows} outputs and {columns} inputs as GPTQ packs {how.Bits} bits, in groups of {group}";
        StoredTensor weight = checkpoint.Stored($"{name}.qweight", SafetensorsType.I32, why, columns / perWord, rows);
        StoredTensor zeroWords = checkpoint.Stored($"{name}.qzeros", SafetensorsType.I32, why, groups, rows / perWord);
        float[] scales = checkpoint.Get($"{name}.scales", groups, rows).ToArray();
        float[] zeros = new float[scales.Length];
        ReadOnlySpan<uint> words = zeroWords.Words;
        for (int i = 0; i < zeros.Length; i++)
        {
            zeros[i] = PackedBits.Integer(words[i / perWord], how.Bits, i % perWord) + how.ZeroOffset;
        }

        long count = weight.Info.Count + zeroWords.Info.Count + scales.Length;
        int[] groupOf = InOrder(columns, group);
        if (checkpoint.Contains($"{name}.g_idx"))
        {
            groupOf = GroupIndex.Read(
                checkpoint.Stored($"{name}.g_idx", SafetensorsType.I32, "the group of every input", columns),
                groups
            );
            count += columns;
        }

        return new GptqRows(
            weight,
            how.Bits,
            new Groups(rows, columns, groups)
            {
                Bits = how.Bits,
                Scales = ByRow(scales, groups),
                Zeros = ByRow(zeros, groups),
                Of = groupOf,
                StoredCount = count,
            }
        );
    }

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)] // each layer is decoded once: there is no later call
    protected override void Unpack(int first, int count, Span<byte> quants)
    {
        ReadOnlySpan<uint> words = packed.Words;
        int perWord = 32 / bits;
        for (int w = 0; w < Columns / perWord; w++)
        {
            ReadOnlySpan<uint> across = words.Slice((w * Rows) + first, count);
            for (int row = 0; row < count; row++)
            {
                PackedBits.Write(across[row], bits, quants.Slice((row * Columns) + (w * perWord), perWord));
            }
        }
    }
}
