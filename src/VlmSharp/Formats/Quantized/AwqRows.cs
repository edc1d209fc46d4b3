using System.Runtime.CompilerServices;

namespace VlmSharp.Formats.Quantized;

/// <summary>A layer as AutoAWQ's <c>gemm</c> stores it: 4-bit integers, eight neighbouring outputs in a word.</summary>
sealed class AwqRows : GroupedRows
{
    const int PerWord = 8;

    // Nibble of a word that holds output 8c + j: the outputs stand there in the order 0 2 4 6 1 3 5 7.
    static readonly int[] NibbleOf = [0, 4, 1, 5, 2, 6, 3, 7];

    readonly StoredTensor packed; // [columns, rows / 8]

    AwqRows(StoredTensor packed, Groups groups)
        : base(groups) => this.packed = packed;

    /// <summary>Takes <c>qweight</c>, <c>qzeros</c> and <c>scales</c> of a layer.</summary>
    /// <exception cref="CheckpointException">One is missing, of another type or of another shape than these sizes imply.</exception>
    public static AwqRows Open(Checkpoint checkpoint, Quantization how, string name, int rows, int columns)
    {
        int group = how.GroupSize < 0 ? columns : how.GroupSize;
        if (rows % PerWord != 0 || columns % group != 0)
        {
            throw new CheckpointException(
                checkpoint.Info($"{name}.qweight").File,
                $"tensor {Quote.Name($"{name}.qweight")} stands for {rows} outputs and {columns} inputs; AWQ packs 8 outputs into a word and {group} inputs into a group"
            );
        }

        int groups = columns / group;
        string why = $"{rows} outputs and {columns} inputs as AWQ packs them, in groups of {group}";
        StoredTensor weight = checkpoint.Stored($"{name}.qweight", SafetensorsType.I32, why, columns, rows / PerWord);
        StoredTensor zeroWords = checkpoint.Stored($"{name}.qzeros", SafetensorsType.I32, why, groups, rows / PerWord);
        float[] scales = checkpoint.Get($"{name}.scales", groups, rows).ToArray();
        float[] zeros = new float[scales.Length];
        ReadOnlySpan<uint> words = zeroWords.Words;
        for (int i = 0; i < zeros.Length; i++)
        {
            zeros[i] = PackedBits.Integer(words[i / PerWord], 4, NibbleOf[i % PerWord]);
        }

        return new AwqRows(
            weight,
            new Groups(rows, columns, groups)
            {
                Bits = 4,
                Scales = ByRow(scales, groups),
                Zeros = ByRow(zeros, groups),
                Of = InOrder(columns, group),
                StoredCount = weight.Info.Count + zeroWords.Info.Count + scales.Length,
            }
        );
    }

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)] // each layer is decoded once: there is no later call
    protected override void Unpack(int first, int count, Span<byte> quants)
    {
        ReadOnlySpan<uint> words = packed.Words;
        ReadOnlySpan<int> nibbleOf = NibbleOf;
        int wordsAcross = Rows / PerWord;
        int endWord = (first + count + PerWord - 1) / PerWord;
        for (int c = first / PerWord; c < endWord; c++)
        {
            int start = Math.Max(first, c * PerWord) - (c * PerWord);
            int end = Math.Min(first + count, (c + 1) * PerWord) - (c * PerWord);
            Span<byte> column = quants[(((c * PerWord) + start - first) * Columns)..];
            for (int i = 0; i < Columns; i++)
            {
                ulong nibbles = PackedBits.Spread(words[(i * wordsAcross) + c]);
                int at = i;
                for (int j = start; j < end; j++, at += Columns)
                {
                    column[at] = (byte)(nibbles >> (8 * nibbleOf[j]));
                }
            }
        }
    }
}
