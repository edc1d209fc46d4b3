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

    GptqRows(
        StoredTensor weight,
        int bits,
        int rows,
        int columns,
        int groups,
        float[] scales,
        float[] zeros,
        int[] groupOf,
        long stored
    )
        : base(rows, columns, groups, scales, zeros, groupOf, stored) => (packed, this.bits) = (weight, bits);

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
        float[] stored = checkpoint.Get($"{name}.scales", groups, rows).ToArray();
        float[] scales = new float[stored.Length];
        float[] zeros = new float[stored.Length];
        ReadOnlySpan<uint> words = zeroWords.Words;
        for (int g = 0; g < groups; g++)
        {
            for (int o = 0; o < rows; o++)
            {
                scales[(o * groups) + g] = stored[(g * rows) + o];
                uint word = words[((g * rows) + o) / perWord];
                zeros[(o * groups) + g] = PackedBits.Integer(word, how.Bits, o % perWord) + how.ZeroOffset;
            }
        }

        long count = weight.Info.Count + zeroWords.Info.Count + stored.Length;
        int[] groupOf = [.. Enumerable.Range(0, columns).Select(i => i / group)];
        if (checkpoint.Contains($"{name}.g_idx"))
        {
            groupOf = GroupIndex.Read(
                checkpoint.Stored($"{name}.g_idx", SafetensorsType.I32, "the group of every input", columns),
                groups
            );
            count += columns;
        }

        return new GptqRows(weight, how.Bits, rows, columns, groups, scales, zeros, groupOf, count);
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
