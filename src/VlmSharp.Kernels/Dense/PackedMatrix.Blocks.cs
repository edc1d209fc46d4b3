using System.Runtime.CompilerServices;
using VlmSharp.Kernels.Quantized;

namespace VlmSharp.Kernels;

public sealed unsafe partial class PackedMatrix
{
    /// <summary>Stores rows [<paramref name="firstRow"/>, <paramref name="firstRow"/> + <paramref name="rowCount"/>) of blocks, as a GGUF file has them.</summary>
    /// <param name="firstRow">First row to store; a matrix may be filled in pieces, in any order.</param>
    /// <param name="rowCount">Number of rows.</param>
    /// <param name="source">The rows' blocks, row by row, little endian, at any address; of the type whose <see cref="WeightFormats.Format(GgmlType)"/> is <see cref="Storage"/>.</param>
    /// <param name="pool">Threads to share the work.</param>
    /// <exception cref="InvalidOperationException">The matrix holds no such blocks.</exception>
    /// <exception cref="ArgumentException">The source has another size than the rows.</exception>
    public void PackBlocks(int firstRow, int rowCount, ReadOnlySpan<byte> source, WorkerPool pool)
    {
        if (blocks?.FileType is not { } type)
        {
            throw new InvalidOperationException($"a matrix of {Storage} has no blocks of GGUF files");
        }

        CheckRows(firstRow, rowCount, pool);
        int rowBlocks = Columns / blocks.Columns;
        CheckSize(rowCount, source, (long)rowCount * rowBlocks * type.BlockBytes(), $"values in blocks of {type}");
        if (source.IsEmpty)
        {
            return;
        }

        fixed (byte* first = source)
        {
            var body = new BlocksBody(this, first, type.BlockBytes(), firstRow, firstRow + rowCount);
            pool.Run((firstRow + rowCount - 1) / PanelRows - firstRow / PanelRows + 1, ref body);
        }

        GC.KeepAlive(this);
    }

    readonly struct BlocksBody(PackedMatrix matrix, byte* source, int blockBytes, int firstRow, int endRow)
        : IParallelBody
    {
        // One part is one panel, so that two threads never write into the same one.
        [MethodImpl(MethodImplOptions.AggressiveOptimization)] // loading packs each matrix once: there is no later call
        public void Run(int part, int worker)
        {
            PanelBlocks blocks = matrix.blocks!;
            int panel = firstRow / PanelRows + part;
            int start = Math.Max(firstRow, panel * PanelRows);
            int end = Math.Min(endRow, panel * PanelRows + PanelRows);
            int count = matrix.Columns / blocks.Columns;
            byte* to = matrix.Panels + panel * matrix.PanelBytes;
            // All rows of a block before the next one: the block stays in the first-level cache.
            for (int block = 0; block < count; block++, to += blocks.PanelBytes)
            {
                for (int row = start; row < end; row++)
                {
                    long index = (long)(row - firstRow) * count + block;
                    blocks.Pack(source + index * blockBytes, to, row % PanelRows);
                }
            }
        }
    }

    [SkipLocalsInit]
    static void UnpackRow(PanelBlocks blocks, byte* panel, int row, Span<float> values)
    {
        byte* squares = stackalloc byte[blocks.Squares * Square.Bytes];
        for (int column = 0; column < values.Length; column++)
        {
            int inBlock = column % blocks.Columns;
            if (inBlock == 0)
            {
                blocks.Expand(panel + column / blocks.Columns * blocks.PanelBytes, squares);
            }

            byte* square = squares + inBlock / Square.Columns * Square.Bytes;
            values[column] = Square.Value(square, blocks, row, inBlock % Square.Columns);
        }
    }
}
