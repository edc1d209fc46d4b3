using VlmSharp.Kernels.Quantized;

namespace VlmSharp.Kernels;

/// <summary>Packing 8-bit floats.</summary>
public sealed unsafe partial class PackedMatrix
{
    /// <summary>Stores rows of 8-bit floats with a scale for each row and 128 columns: value = float * scale, rounded to f32.</summary>
    /// <param name="firstRow">First row to store; a matrix may be filled in pieces, in any order.</param>
    /// <param name="rowCount">Number of rows.</param>
    /// <param name="codes">[rowCount, columns], e4m3fn.</param>
    /// <param name="scales">[rowCount, columns / 128]</param>
    /// <param name="pool">Threads to share the work.</param>
    /// <exception cref="InvalidOperationException">The matrix holds something else.</exception>
    /// <exception cref="ArgumentException">A span has another size than the rows.</exception>
    public void PackFloat8(
        int firstRow,
        int rowCount,
        ReadOnlySpan<byte> codes,
        ReadOnlySpan<float> scales,
        WorkerPool pool
    )
    {
        if (Storage != WeightFormat.F8)
        {
            throw new InvalidOperationException($"a matrix of {Storage} has no 8-bit floats");
        }

        CheckRows(firstRow, rowCount, pool);
        CheckSize(rowCount, codes, (long)rowCount * Columns, "8-bit floats");
        if (scales.Length != (long)rowCount * (Columns / Float8.Columns))
        {
            throw new ArgumentException(
                $"{rowCount} rows of {Columns} columns have {(long)rowCount * (Columns / Float8.Columns)} scales, not {scales.Length}",
                nameof(scales)
            );
        }

        if (codes.IsEmpty)
        {
            return;
        }

        fixed (byte* first = codes)
        fixed (float* firstScale = scales)
        {
            var body = new Float8Body(this, first, firstScale, firstRow, firstRow + rowCount);
            RunPanels(firstRow, rowCount, pool, ref body);
        }

        GC.KeepAlive(this);
    }

    readonly struct Float8Body(PackedMatrix matrix, byte* codes, float* scales, int firstRow, int endRow)
        : IParallelBody
    {
        public void Run(int part, int worker)
        {
            int panel = (firstRow / PanelRows) + part;
            int start = Math.Max(firstRow, panel * PanelRows);
            int end = Math.Min(endRow, (panel * PanelRows) + PanelRows);
            int blocks = matrix.Columns / Float8.Columns;
            byte* to = matrix.Panels + (panel * matrix.PanelBytes);
            // All rows of a block before the next one: the block stays in the first-level cache.
            for (int block = 0; block < blocks; block++, to += Float8.PanelBytes)
            {
                for (int row = start; row < end; row++)
                {
                    long at = ((long)(row - firstRow) * blocks) + block;
                    Float8.Pack(codes + (at * Float8.Columns), scales[at], to, row % PanelRows);
                }
            }
        }
    }
}
