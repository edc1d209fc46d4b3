using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace VlmSharp.Kernels;

/// <summary>What <see cref="WeightedRows"/> hands back where no two results share a row of the table: the results of a token's experts.</summary>
/// <remarks>dWeights[r, j] = sum over i of dy[r, i] * table[indices[r, j], i]; then that row of the table becomes weights[r, j] * dy[r].</remarks>
public static unsafe class WeightedRowsBackward
{
    /// <summary>Computes both gradients; that of the table takes its place.</summary>
    /// <param name="dy">[rows, width]</param>
    /// <param name="dyStride">Elements from one row of dy to the next, at least <paramref name="width"/>.</param>
    /// <param name="indices">[rows, count]: each in [0, tableRows), none twice.</param>
    /// <param name="weights">[rows, count]</param>
    /// <param name="dWeights">[rows, count]</param>
    /// <param name="count">Rows of the table that each result adds up, at least 1.</param>
    /// <param name="table">[tableRows, width]: the rows; afterwards their gradients.</param>
    /// <param name="tableStride">Elements from one row of the table to the next.</param>
    /// <param name="tableRows">Rows of the table.</param>
    /// <param name="rows">Number of results; 0 is allowed.</param>
    /// <param name="width">Elements per row.</param>
    /// <param name="pool">Shares the rows when there are enough.</param>
    /// <exception cref="ArgumentException">A span is too short, rows of it overlap, or an index is not in the table.</exception>
    public static void Apply(
        ReadOnlySpan<float> dy,
        int dyStride,
        ReadOnlySpan<int> indices,
        ReadOnlySpan<float> weights,
        Span<float> dWeights,
        int count,
        Span<float> table,
        int tableStride,
        int tableRows,
        int rows,
        int width,
        WorkerPool pool
    )
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(count, 1);
        RowMatrix.Check(dy.Length, dyStride, rows, width);
        RowMatrix.Check(table.Length, tableStride, tableRows, width);
        RowMatrix.CheckVector(indices.Length, checked(rows * count));
        RowMatrix.CheckVector(weights.Length, rows * count);
        RowMatrix.CheckVector(dWeights.Length, rows * count);
        foreach (int index in indices)
        {
            if ((uint)index >= (uint)tableRows)
            {
                throw new ArgumentException($"indices: row {index} of a table of {tableRows}");
            }
        }

        fixed (float* dyStart = dy)
        fixed (int* indexStart = indices)
        fixed (float* weightStart = weights)
        fixed (float* dWeightStart = dWeights)
        fixed (float* tableStart = table)
        {
            var body = new Body
            {
                Dy = dyStart,
                DyStride = dyStride,
                Indices = indexStart,
                Weights = weightStart,
                DWeights = dWeightStart,
                Count = count,
                Table = tableStart,
                TableStride = tableStride,
                Width = width,
            };
            RowMatrix.ForRows(body, rows, checked(width * count), pool);
        }
    }

    struct Body : IRowBody
    {
        internal float* Dy;
        internal nint DyStride;
        internal int* Indices;
        internal float* Weights;
        internal float* DWeights;
        internal int Count;
        internal float* Table;
        internal nint TableStride;
        internal int Width;

        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        public readonly void Run(nint row)
        {
            float* dy = Dy + (row * DyStride);
            for (nint n = row * Count; n < (row + 1) * Count; n++)
            {
                float* at = Table + (Indices[n] * TableStride);
                Vector256<float> factor = Vector256.Create(Weights[n]);
                Vector256<float> products = default;
                int i = 0;
                for (; i <= Width - 8; i += 8)
                {
                    Vector256<float> d = Vector256.Load(dy + i);
                    products = Vector256.FusedMultiplyAdd(d, Vector256.Load(at + i), products);
                    (d * factor).Store(at + i);
                }

                float sum = Vector256.Sum(products);
                for (; i < Width; i++)
                {
                    sum += dy[i] * at[i];
                    at[i] = dy[i] * Weights[n];
                }

                DWeights[n] = sum;
            }
        }
    }
}
