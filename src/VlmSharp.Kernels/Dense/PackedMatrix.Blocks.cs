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
        if (Blocks?.FileType is not { } type)
        {
            throw new InvalidOperationException($"a matrix of {Storage} has no blocks of GGUF files");
        }

        CheckRows(firstRow, rowCount, pool);
        int rowBlocks = Columns / Blocks.Columns;
        CheckSize(rowCount, source, (long)rowCount * rowBlocks * type.BlockBytes(), $"values in blocks of {type}");
        if (source.IsEmpty)
        {
            return;
        }

        fixed (byte* first = source)
        {
            var body = new BlocksBody(this, first, type.BlockBytes(), firstRow, firstRow + rowCount, null, null);
            RunPanels(firstRow, rowCount, pool, ref body);
        }

        GC.KeepAlive(this);
    }

    /// <summary>Whether scales are f16 values, as matrices of groups store them.</summary>
    public static bool HoldsScales(ReadOnlySpan<float> scales)
    {
        foreach (float scale in scales)
        {
            if ((float)(Half)scale != scale)
            {
                return false;
            }
        }

        return true;
    }

    /// <summary>Stores rows of integers with a scale and a zero point for each group of columns: value = (code - zero) * scale, rounded to f32.</summary>
    /// <param name="firstRow">First row to store; a matrix may be filled in pieces, in any order.</param>
    /// <param name="rowCount">Number of rows.</param>
    /// <param name="codes">[rowCount, columns], each at most 15 where they have 4 bits.</param>
    /// <param name="scales">[rowCount, groups], see <see cref="HoldsScales"/>.</param>
    /// <param name="zeros">[rowCount, groups], such as 8 or 128 everywhere where codes are symmetric.</param>
    /// <param name="pool">Threads to share the work.</param>
    /// <exception cref="InvalidOperationException">The matrix holds no groups.</exception>
    /// <exception cref="ArgumentException">A span has another size than the rows, a code too many bits, or a scale would be rounded.</exception>
    public void PackGroups(
        int firstRow,
        int rowCount,
        ReadOnlySpan<byte> codes,
        ReadOnlySpan<float> scales,
        ReadOnlySpan<byte> zeros,
        WorkerPool pool
    )
    {
        if (Blocks is not GroupPanelBlocks groups)
        {
            throw new InvalidOperationException($"a matrix of {Storage} has no groups");
        }

        CheckRows(firstRow, rowCount, pool);
        CheckSize(rowCount, codes, (long)rowCount * Columns, "codes");
        long count = (long)rowCount * (Columns / groups.Columns);
        if (scales.Length != count || zeros.Length != count)
        {
            throw new ArgumentException(
                $"{rowCount} rows have {count} groups, there are {scales.Length} scales and {zeros.Length} zero points",
                nameof(scales)
            );
        }

        if (codes.ContainsAnyExceptInRange((byte)0, (byte)groups.MostCode))
        {
            throw new ArgumentException($"a code of {Storage} is above {groups.MostCode}", nameof(codes));
        }

        if (!HoldsScales(scales))
        {
            throw new ArgumentException("a scale is no f16 value", nameof(scales));
        }

        if (codes.IsEmpty)
        {
            return;
        }

        fixed (byte* first = codes)
        fixed (float* firstScale = scales)
        fixed (byte* firstZero = zeros)
        {
            var body = new BlocksBody(
                this,
                first,
                groups.Columns,
                firstRow,
                firstRow + rowCount,
                firstScale,
                firstZero
            );
            RunPanels(firstRow, rowCount, pool, ref body);
        }

        GC.KeepAlive(this);
    }

    readonly struct BlocksBody(
        PackedMatrix matrix,
        byte* source,
        int blockBytes,
        int firstRow,
        int endRow,
        float* scales,
        byte* zeros
    ) : IParallelBody
    {
        [MethodImpl(MethodImplOptions.AggressiveOptimization)] // loading packs each matrix once: there is no later call
        public void Run(int part, int worker)
        {
            PanelBlocks blocks = matrix.Blocks!;
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
                    if (scales is not null)
                    {
                        ((GroupPanelBlocks)blocks).PackScale((Half)scales[index], zeros[index], to, row % PanelRows);
                    }
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
