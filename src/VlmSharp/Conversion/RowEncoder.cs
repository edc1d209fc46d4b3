using VlmSharp.Formats;
using VlmSharp.Kernels;
using VlmSharp.Kernels.Quantized;

namespace VlmSharp.Conversion;

/// <summary>Packs the rows of one tensor after the other on all threads and writes them in order.</summary>
sealed class RowEncoder(WorkerPool pool)
{
    const int PartValues = 1 << 16;
    const int PartsPerThread = 8;

    readonly float[][] values = [.. Enumerable.Range(0, pool.Threads).Select(_ => Array.Empty<float>())];
    byte[] blocks = [];

    /// <summary>Packs all rows.</summary>
    /// <param name="name">The tensor's name, for messages.</param>
    /// <param name="source">Its rows.</param>
    /// <param name="columns">Width of what is packed as one row: divides a row of the source.</param>
    /// <param name="type">What to pack them to.</param>
    /// <param name="importance">[matrices * <paramref name="columns"/>]: of each column, for each of the matrices that are stacked; or empty.</param>
    /// <param name="target">Receives the blocks.</param>
    /// <exception cref="CheckpointException">A value cannot be stored in this type.</exception>
    public void Write(string name, IRowSource source, int columns, GgmlType type, float[] importance, Stream target)
    {
        int rowBytes = checked(source.Columns / type.BlockValues() * type.BlockBytes());
        int rowsOfPart = Math.Clamp(PartValues / source.Columns, 1, source.Rows);
        int rowsAtOnce = checked((int)Math.Min(source.Rows, (long)rowsOfPart * PartsPerThread * pool.Threads));
        if (blocks.Length < (long)rowsAtOnce * rowBytes)
        {
            blocks = GC.AllocateUninitializedArray<byte>(checked(rowsAtOnce * rowBytes));
        }

        for (int i = 0; i < values.Length; i++)
        {
            int needed = checked(rowsOfPart * source.Columns);
            values[i] = values[i].Length < needed ? GC.AllocateUninitializedArray<float>(needed) : values[i];
        }

        for (int row = 0; row < source.Rows; row += rowsAtOnce)
        {
            int rows = Math.Min(rowsAtOnce, source.Rows - row);
            var body = new Body(this, name, source, columns, type, importance, row, rows, rowsOfPart, rowBytes);
            pool.Run((rows + rowsOfPart - 1) / rowsOfPart, ref body);
            target.Write(blocks, 0, rows * rowBytes);
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
