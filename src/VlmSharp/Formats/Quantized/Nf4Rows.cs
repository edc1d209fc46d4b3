using System.Runtime.CompilerServices;

namespace VlmSharp.Formats.Quantized;

/// <summary>A layer as bitsandbytes stores it in NF4: indices of 4 bits into a table of 16 values, a scale for each block of the flattened weight.</summary>
/// <remarks>
/// The first of two values stands in the high half of a byte. With double quantisation scales are bytes themselves: indices into a table of
/// 256 values, a scale for each of their blocks, and one offset. Sources: arXiv 2305.14314, bitsandbytes 0.50.2.
/// </remarks>
sealed class Nf4Rows : IRowSource
{
    readonly StoredTensor tensor; // two values a byte
    readonly float[] values; // [16]
    readonly float[] blockScales; // one for each block
    readonly int blockSize;

    Nf4Rows(StoredTensor weight, int rows, int columns, float[] table, float[] scales, int block, long stored)
    {
        (tensor, values, blockScales, blockSize) = (weight, table, scales, block);
        (Rows, Columns, StoredCount) = (rows, columns, stored);
    }

    /// <summary>What stands behind the name of a layer so stored, for the settings of its blocks.</summary>
    public const string State = ".weight.quant_state.bitsandbytes__nf4";

    /// <inheritdoc/>
    public int Rows { get; }

    /// <inheritdoc/>
    public int Columns { get; }

    /// <inheritdoc/>
    public long StoredCount { get; }

    /// <summary>Takes <c>weight</c> and what begins with <c>weight.</c> of a layer.</summary>
    /// <exception cref="CheckpointException">One is missing, of another type or of another shape than these sizes imply.</exception>
    public static Nf4Rows Open(Checkpoint checkpoint, string name, int rows, int columns)
    {
        TensorInfo info = checkpoint.Info($"{name}{State}");
        StoredTensor state = checkpoint.Stored(info.Name, SafetensorsType.U8, "a JSON object as text", [.. info.Shape]);
        JsonObjectReader json = JsonObjectReader.Parse($"{info.File}: tensor {Quote.Name(info.Name)}", state.Bytes);
        json.Require("quant_type", "nf4");
        int[] shape = json.Ints("shape", 8);
        if (!shape.AsSpan().SequenceEqual([rows, columns]))
        {
            throw json.Error("shape", $"is {TensorInfo.Text(shape)}, config.json asks for [{rows}, {columns}]");
        }

        int block = json.Int("blocksize", 1, 1 << 20);
        long weights = (long)rows * columns;
        long bytes = (weights + 1) / 2;
        int blocks = checked((int)((weights + block - 1) / block));
        StoredTensor weight = checkpoint.Stored(
            $"{name}.weight",
            SafetensorsType.U8,
            $"two of {rows} x {columns} values a byte",
            checked((int)bytes),
            1
        );
        float[] table = checkpoint.Get($"{name}.weight.quant_map", 16).ToArray();
        string absmax = $"{name}.weight.absmax";
        long count = info.Count + weight.Info.Count + table.Length + blocks;
        if (!checkpoint.Contains($"{name}.weight.nested_absmax"))
        {
            return new Nf4Rows(weight, rows, columns, table, checkpoint.Get(absmax, blocks).ToArray(), block, count);
        }

        StoredTensor indices = checkpoint.Stored(absmax, SafetensorsType.U8, "one of each block", blocks);
        int nestedBlock = json.Int("nested_blocksize", 1, 1 << 20);
        float offset = (float)json.Number("nested_offset", float.MinValue, float.MaxValue);
        float[] nestedTable = checkpoint.Get($"{name}.weight.nested_quant_map", 256).ToArray();
        int nestedBlocks = (int)((blocks + (long)nestedBlock - 1) / nestedBlock);
        float[] nested = checkpoint.Get($"{name}.weight.nested_absmax", nestedBlocks).ToArray();
        float[] scales = new float[blocks];
        ReadOnlySpan<byte> index = indices.Bytes;
        for (int i = 0; i < blocks; i++)
        {
            scales[i] = (nestedTable[index[i]] * nested[i / nestedBlock]) + offset;
        }

        return new Nf4Rows(weight, rows, columns, table, scales, block, count + nestedTable.Length + nested.Length);
    }

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)] // each layer is decoded once: there is no later call
    public void Read(int first, int count, Span<float> destination)
    {
        ReadOnlySpan<byte> stored = tensor.Bytes;
        long start = (long)first * Columns;
        for (int i = 0; i < count * Columns; i++)
        {
            long at = start + i;
            int pair = stored[(int)(at / 2)];
            int index = at % 2 == 0 ? pair >> 4 : pair & 15;
            destination[i] = values[index] * blockScales[at / blockSize];
        }
    }
}
