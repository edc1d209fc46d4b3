using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace VlmSharp.Formats.Quantized;

/// <summary>A layer as compressed-tensors' <c>pack-quantized</c> stores it: integers of 4 or 8 bits, inputs of one output in whole words.</summary>
/// <remarks>Integers and zero points are stored with 2^(bits - 1) added; where there is no zero point that is the integer for 0.</remarks>
sealed class PackedRows : GroupedRows
{
    readonly StoredTensor packed; // [rows, ceil(columns * bits / 32)]
    readonly int bits;

    PackedRows(StoredTensor packed, int bits, Groups groups)
        : base(groups) => (this.packed, this.bits) = (packed, bits);

    /// <summary>Takes <c>weight_packed</c>, <c>weight_scale</c>, <c>weight_shape</c> and, where they are there, <c>weight_zero_point</c> and <c>weight_g_idx</c>.</summary>
    /// <exception cref="CheckpointException">One is missing, of another type or of another shape than these sizes imply.</exception>
    public static PackedRows Open(Checkpoint checkpoint, Quantization how, string name, int rows, int columns)
    {
        int perWord = 32 / how.Bits;
        int group = how.GroupSize < 0 ? columns : how.GroupSize;
        int groups = (columns + group - 1) / group;
        string why = $"{rows} outputs and {columns} inputs of {how.Bits} bits in whole words, in groups of {group}";
        StoredTensor shape = checkpoint.Stored($"{name}.weight_shape", SafetensorsType.I64, "outputs and inputs", 2);
        ReadOnlySpan<long> sizes = MemoryMarshal.Cast<byte, long>(shape.Bytes);
        if (sizes[0] != rows || sizes[1] != columns)
        {
            throw shape.Error($"says [{sizes[0]}, {sizes[1]}], config.json asks for [{rows}, {columns}]");
        }

        StoredTensor weight = checkpoint.Stored(
            $"{name}.weight_packed",
            SafetensorsType.I32,
            why,
            rows,
            (columns + perWord - 1) / perWord
        );
        float[] scales = checkpoint.Get($"{name}.weight_scale", rows, groups).ToArray();
        long count = shape.Info.Count + weight.Info.Count + scales.Length;
        float[] zeros = new float[scales.Length];
        if (how.Symmetric)
        {
            Array.Fill(zeros, 1 << (how.Bits - 1));
        }
        else
        {
            StoredTensor zeroWords = checkpoint.Stored(
                $"{name}.weight_zero_point",
                SafetensorsType.I32,
                why,
                (rows + perWord - 1) / perWord,
                groups
            );
            ReadOnlySpan<uint> words = zeroWords.Words;
            for (int i = 0; i < zeros.Length; i++)
            {
                (int row, int g) = (i / groups, i % groups);
                zeros[i] = PackedBits.Integer(words[(row / perWord * groups) + g], how.Bits, row % perWord);
            }

            count += zeroWords.Info.Count;
        }

        int[] groupOf = InOrder(columns, group);
        if (checkpoint.Contains($"{name}.weight_g_idx"))
        {
            StoredTensor index = checkpoint.Stored(
                $"{name}.weight_g_idx",
                SafetensorsType.I32,
                "the group of every input",
                columns
            );
            count += columns;
            // All of them -1 is how the format says that the inputs are in order.
            groupOf = index.Words.ContainsAnyExcept(uint.MaxValue) ? GroupIndex.Read(index, groups) : groupOf;
        }

        return new PackedRows(
            weight,
            how.Bits,
            new Groups(rows, columns, groups)
            {
                Bits = how.Bits,
                Scales = scales,
                Zeros = zeros,
                Of = groupOf,
                StoredCount = count,
            }
        );
    }

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)] // each layer is decoded once: there is no later call
    protected override void Unpack(int first, int count, Span<byte> quants)
    {
        int perWord = 32 / bits;
        int wordsAcross = (Columns + perWord - 1) / perWord;
        ReadOnlySpan<uint> words = packed.Words.Slice(first * wordsAcross, count * wordsAcross);
        for (int row = 0; row < count; row++)
        {
            Span<byte> integers = quants.Slice(row * Columns, Columns);
            for (int w = 0; w < wordsAcross; w++)
            {
                PackedBits.Write(words[(row * wordsAcross) + w], bits, integers[(w * perWord)..]);
            }
        }
    }
}
