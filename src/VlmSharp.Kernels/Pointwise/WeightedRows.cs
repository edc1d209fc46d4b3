namespace VlmSharp.Kernels;

/// <summary>One result row: y = the weighted sum of <paramref name="count"/> rows of a table.</summary>
internal unsafe delegate void WeightedRowsKernel(
    float* table,
    nint stride,
    int* indices,
    float* weights,
    int count,
    float* y,
    int width
);

/// <summary>y[r] = sum over j of weights[r, j] * table[indices[r, j]]: bilinear look-ups, and what the experts of a token add up to.</summary>
/// <remarks>Products are rounded and then added in the order of j, in every variant: all give the same bits.</remarks>
public static unsafe partial class WeightedRows
{
    internal static readonly KernelTable<WeightedRowsKernel> Variants = new(
        "weighted_rows",
        ("avx512", InstructionSets.Avx512, Avx512),
        ("avx2", InstructionSets.Avx2, Avx2),
        ("portable", true, Portable)
    );

    /// <summary>Computes every row.</summary>
    /// <param name="table">[tableRows, width]</param>
    /// <param name="tableStride">Elements from one row of the table to the next, at least <paramref name="width"/>.</param>
    /// <param name="tableRows">Rows of the table.</param>
    /// <param name="indices">[rows, count]: each in [0, tableRows).</param>
    /// <param name="weights">[rows, count]</param>
    /// <param name="count">Rows of the table that each result adds up, at least 1.</param>
    /// <param name="y">[rows, width]; must not share elements with the table.</param>
    /// <param name="yStride">Elements from one row of y to the next.</param>
    /// <param name="rows">Number of results; 0 is allowed.</param>
    /// <param name="width">Elements per row.</param>
    /// <param name="pool">Shares the rows when there are enough.</param>
    /// <exception cref="ArgumentException">A span is too short, rows of it overlap, or an index is not in the table.</exception>
    public static void Apply(
        ReadOnlySpan<float> table,
        int tableStride,
        int tableRows,
        ReadOnlySpan<int> indices,
        ReadOnlySpan<float> weights,
        int count,
        Span<float> y,
        int yStride,
        int rows,
        int width,
        WorkerPool pool
    ) => Apply(Variants.Active, table, tableStride, tableRows, indices, weights, count, y, yStride, rows, width, pool);

    internal static void Apply(
        WeightedRowsKernel kernel,
        ReadOnlySpan<float> table,
        int tableStride,
        int tableRows,
        ReadOnlySpan<int> indices,
        ReadOnlySpan<float> weights,
        int count,
        Span<float> y,
        int yStride,
        int rows,
        int width,
        WorkerPool pool
    )
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(count, 1);
        RowMatrix.Check(table.Length, tableStride, tableRows, width);
        RowMatrix.Check(y.Length, yStride, rows, width);
        RowMatrix.CheckVector(indices.Length, checked(rows * count));
        RowMatrix.CheckVector(weights.Length, rows * count);
        foreach (int index in indices)
        {
            if ((uint)index >= (uint)tableRows)
            {
                throw new ArgumentException($"indices: row {index} of a table of {tableRows}");
            }
        }

        fixed (float* tableStart = table)
        fixed (int* indexStart = indices)
        fixed (float* weightStart = weights)
        fixed (float* yStart = y)
        {
            var body = new Body
            {
                Kernel = kernel,
                Table = tableStart,
                TableStride = tableStride,
                Indices = indexStart,
                Weights = weightStart,
                Count = count,
                Y = yStart,
                YStride = yStride,
                Width = width,
            };
            RowMatrix.ForRows(body, rows, width, pool);
        }
    }

    static void Portable(float* table, nint stride, int* indices, float* weights, int count, float* y, int width)
    {
        for (int i = 0; i < width; i++)
        {
            float sum = weights[0] * table[(indices[0] * stride) + i];
            for (int j = 1; j < count; j++)
            {
                sum += weights[j] * table[(indices[j] * stride) + i];
            }

            y[i] = sum;
        }
    }

    struct Body : IRowBody
    {
        internal WeightedRowsKernel Kernel;
        internal float* Table;
        internal nint TableStride;
        internal int* Indices;
        internal float* Weights;
        internal int Count;
        internal float* Y;
        internal int YStride;
        internal int Width;

        public readonly void Run(nint row) =>
            Kernel(
                Table,
                TableStride,
                Indices + (row * Count),
                Weights + (row * Count),
                Count,
                Y + (row * YStride),
                Width
            );
    }
}
