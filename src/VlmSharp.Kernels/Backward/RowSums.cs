using System.Runtime.CompilerServices;

namespace VlmSharp.Kernels;

/// <summary>Work on the rows of a matrix that also adds up something over all of them.</summary>
internal unsafe interface IRowSumBody
{
    /// <summary>Does one row and adds its share to the sums of its piece, which are null where nobody wants them.</summary>
    void Run(nint row, float* first, float* second);
}

/// <summary>Sums over rows that do not depend on the threads: fixed pieces of rows, added in their order.</summary>
internal static unsafe class RowSums
{
    /// <summary>Does every row and adds the sums of all of them to <paramref name="first"/> and <paramref name="second"/>.</summary>
    /// <param name="body">What is done.</param>
    /// <param name="rows">Rows.</param>
    /// <param name="rowWidth">Elements of a row: how much work it is.</param>
    /// <param name="first">[width], or empty where it is not wanted.</param>
    /// <param name="second">[width], or empty.</param>
    /// <param name="width">Elements of a sum.</param>
    /// <param name="pool">Threads.</param>
    internal static void Run<TBody>(
        TBody body,
        int rows,
        int rowWidth,
        Span<float> first,
        Span<float> second,
        int width,
        WorkerPool pool
    )
        where TBody : struct, IRowSumBody
    {
        if (!first.IsEmpty)
        {
            RowMatrix.CheckVector(first.Length, width);
        }

        if (!second.IsEmpty)
        {
            RowMatrix.CheckVector(second.Length, width);
        }

        if (rows == 0 || rowWidth == 0)
        {
            return;
        }

        int rowsPerPart = RowMatrix.RowsPerPart(rowWidth);
        int count = RowMatrix.Parts(rows, rowsPerPart);
        AlignedBuffer buffer = pool.Rent(2L * count * width * sizeof(float));
        try
        {
            var parts = new Parts<TBody>
            {
                Body = body,
                Rows = rows,
                RowsPerPart = rowsPerPart,
                Width = width,
                First = first.IsEmpty ? null : (float*)buffer.Pointer,
                Second = second.IsEmpty ? null : (float*)buffer.Pointer + ((nint)count * width),
            };
            pool.Run(count, ref parts);
            AddUp(parts.First, count, first);
            AddUp(parts.Second, count, second);
        }
        finally
        {
            pool.Return(buffer);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    static void AddUp(float* sums, int count, Span<float> total)
    {
        for (int part = 0; part < count && !total.IsEmpty; part++, sums += total.Length)
        {
            for (int i = 0; i < total.Length; i++)
            {
                total[i] += sums[i];
            }
        }
    }

    struct Parts<TBody> : IParallelBody
        where TBody : struct, IRowSumBody
    {
        internal TBody Body;
        internal int Rows;
        internal int RowsPerPart;
        internal int Width;
        internal float* First; // [parts, width]
        internal float* Second;

        // Not readonly, so that the body is not copied for each row.
        public void Run(int part, int worker)
        {
            float* first = Zeros(First, part);
            float* second = Zeros(Second, part);
            int end = Math.Min(Rows, (part + 1) * RowsPerPart);
            for (int row = part * RowsPerPart; row < end; row++)
            {
                Body.Run(row, first, second);
            }
        }

        readonly float* Zeros(float* sums, int part)
        {
            if (sums is null)
            {
                return null;
            }

            sums += (nint)part * Width;
            new Span<float>(sums, Width).Clear();
            return sums;
        }
    }
}
