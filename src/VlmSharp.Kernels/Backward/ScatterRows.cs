using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace VlmSharp.Kernels;

/// <summary>table[indices[r, j]] += weights[r, j] * rows[r]: what a look-up hands back to its table.</summary>
/// <remarks>Rows are added in their order, each thread taking columns of its own: no bit depends on the threads. Rows that nothing names are left alone.</remarks>
public static unsafe class ScatterRows
{
    const int ColumnsPerPart = 64;

    /// <summary>Adds every row to those it was made of.</summary>
    /// <param name="rows">[count of indices / <paramref name="count"/>, width]</param>
    /// <param name="stride">Elements from one row to the next, at least <paramref name="width"/>.</param>
    /// <param name="indices">[rows, count]: each in [0, tableRows).</param>
    /// <param name="weights">[rows, count], or empty for ones.</param>
    /// <param name="count">Rows of the table that each row was made of, at least 1.</param>
    /// <param name="table">[tableRows, width], added to; must not share elements with the rows.</param>
    /// <param name="tableStride">Elements from one row of the table to the next.</param>
    /// <param name="tableRows">Rows of the table.</param>
    /// <param name="width">Elements per row.</param>
    /// <param name="pool">Shares the columns when there are enough.</param>
    /// <exception cref="ArgumentException">A span is too short, rows of it overlap, or an index is not in the table.</exception>
    public static void Apply(
        ReadOnlySpan<float> rows,
        int stride,
        ReadOnlySpan<int> indices,
        ReadOnlySpan<float> weights,
        int count,
        Span<float> table,
        int tableStride,
        int tableRows,
        int width,
        WorkerPool pool
    )
    {
        ArgumentNullException.ThrowIfNull(pool);
        ArgumentOutOfRangeException.ThrowIfLessThan(count, 1);
        int rowCount = indices.Length / count;
        RowMatrix.CheckVector(indices.Length, rowCount * count);
        RowMatrix.Check(rows.Length, stride, rowCount, width);
        RowMatrix.Check(table.Length, tableStride, tableRows, width);
        if (!weights.IsEmpty)
        {
            RowMatrix.CheckVector(weights.Length, indices.Length);
        }

        foreach (int index in indices)
        {
            if ((uint)index >= (uint)tableRows)
            {
                throw new ArgumentException($"indices: row {index} of a table of {tableRows}");
            }
        }

        fixed (float* from = rows)
        fixed (int* indexStart = indices)
        fixed (float* weightStart = weights)
        fixed (float* to = table)
        {
            var body = new Body
            {
                From = from,
                Stride = stride,
                Indices = indexStart,
                Weights = weights.IsEmpty ? null : weightStart,
                IndexCount = indices.Length,
                Count = count,
                Table = to,
                TableStride = tableStride,
                Width = width,
            };
            pool.Run((width + ColumnsPerPart - 1) / ColumnsPerPart, ref body);
        }
    }

    struct Body : IParallelBody
    {
        internal float* From;
        internal nint Stride;
        internal int* Indices;
        internal float* Weights;
        internal int IndexCount;
        internal int Count;
        internal float* Table;
        internal nint TableStride;
        internal int Width;

        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        public readonly void Run(int part, int worker)
        {
            int first = part * ColumnsPerPart;
            int width = Math.Min(ColumnsPerPart, Width - first);
            for (int n = 0; n < IndexCount; n++)
            {
                float weight = Weights is null ? 1 : Weights[n];
                float* from = From + (n / Count * Stride) + first;
                float* to = Table + (Indices[n] * TableStride) + first;
                Vector256<float> factor = Vector256.Create(weight);
                int i = 0;
                for (; i <= width - 8; i += 8)
                {
                    Vector256.FusedMultiplyAdd(Vector256.Load(from + i), factor, Vector256.Load(to + i)).Store(to + i);
                }

                for (; i < width; i++)
                {
                    to[i] += weight * from[i];
                }
            }
        }
    }
}
