using VlmSharp.Kernels;
using VlmSharp.Kernels.Quantized;

namespace VlmSharp.Formats;

/// <summary>Packs the rows of tensors to blocks on all threads, some rows at a time: as many as stay in the caches.</summary>
/// <remarks>One tensor after the other; its memory is kept for the next one.</remarks>
sealed class RowEncoder(WorkerPool pool)
{
    const int PartValues = 1 << 16;
    const int PartsPerThread = 8;
    const int MostBytes = 1 << 28;

    readonly float[][] values = [.. Enumerable.Range(0, pool.Threads).Select(_ => Array.Empty<float>())];
    byte[] blocks = [];

    /// <summary>Packs all rows, and hands them on in order.</summary>
    /// <param name="name">The tensor's name, for messages.</param>
    /// <param name="source">Its rows.</param>
    /// <param name="columns">Width of what is packed as one row: divides a row of the source.</param>
    /// <param name="type">What to pack them to.</param>
    /// <param name="importance">[matrices * <paramref name="columns"/>]: of each column, for each of the matrices that are stacked; or empty.</param>
    /// <param name="take">Told the first row and the number of rows, with their blocks, which are overwritten afterwards.</param>
    /// <exception cref="CheckpointException">A value cannot be stored in this type, or rows are far longer than any model's.</exception>
    public void Encode(
        string name,
        IRowSource source,
        int columns,
        GgmlType type,
        float[] importance,
        Action<int, int, ReadOnlySpan<byte>> take
    )
    {
        long rowBytes = (long)source.Columns / type.BlockValues() * type.BlockBytes();
        if (Math.Max(rowBytes, source.Columns * (long)sizeof(float)) > MostBytes)
        {
            throw new CheckpointException(name, $"has rows of {source.Columns} values, far longer than any model's");
        }

        int rowsOfPart = Math.Max(1, PartValues / source.Columns);
        int rowsAtOnce = (int)Math.Min((long)rowsOfPart * PartsPerThread * pool.Threads, MostBytes / rowBytes);
        rowsAtOnce = Math.Max(1, Math.Min(rowsAtOnce, source.Rows));
        if (blocks.Length < rowsAtOnce * rowBytes)
        {
            blocks = GC.AllocateUninitializedArray<byte>((int)(rowsAtOnce * rowBytes));
        }

        for (int i = 0; i < values.Length; i++)
        {
            int needed = rowsOfPart * source.Columns;
            values[i] = values[i].Length < needed ? GC.AllocateUninitializedArray<float>(needed) : values[i];
        }

        for (int row = 0; row < source.Rows; row += rowsAtOnce)
        {
            int rows = Math.Min(rowsAtOnce, source.Rows - row);
            var body = new Body(this, name, source, columns, type, importance, row, rows, rowsOfPart, (int)rowBytes);
            pool.Run((rows + rowsOfPart - 1) / rowsOfPart, ref body);
            take(row, rows, blocks.AsSpan(0, rows * (int)rowBytes));
        }
    }

    readonly struct Body(
        RowEncoder owner,
        string name,
        IRowSource source,
        int columns,
        GgmlType type,
        float[] importance,
        int first,
        int count,
        int rowsOfPart,
        int rowBytes
    ) : IParallelBody
    {
        public void Run(int part, int worker)
        {
            int row = part * rowsOfPart;
            int rows = Math.Min(rowsOfPart, count - row);
            Span<float> read = owner.values[worker].AsSpan(0, rows * source.Columns);
            source.Read(first + row, rows, read);
            Check(read, first + row);
            int matrixRows = importance.Length > 0 ? source.Rows / (importance.Length / columns) : 1;
            for (int i = 0; i < rows; i++)
            {
                ReadOnlySpan<float> weights =
                    importance.Length > 0
                        ? importance.AsSpan((first + row + i) / matrixRows * columns, columns)
                        : default;
                Span<byte> packed = owner.blocks.AsSpan((row + i) * rowBytes, rowBytes);
                Quantize.Rows(type, read.Slice(i * source.Columns, source.Columns), columns, packed, weights);
            }
        }

        // One value that is not finite would take its whole block with it.
        void Check(ReadOnlySpan<float> read, int firstRow)
        {
            if (type is GgmlType.F32 or GgmlType.BF16)
            {
                return;
            }

            float most = type == GgmlType.F16 ? 65504 : float.MaxValue;
            for (int i = 0; i < read.Length; i++)
            {
                if (!(MathF.Abs(read[i]) <= most))
                {
                    throw new CheckpointException(
                        name,
                        $"value {i % source.Columns} of row {firstRow + (i / source.Columns)} is {read[i]}, which {type} cannot hold; take f32 or bf16"
                    );
                }
            }
        }
    }
}
