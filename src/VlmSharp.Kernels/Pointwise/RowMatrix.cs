using System.Runtime.CompilerServices;

namespace VlmSharp.Kernels;

/// <summary>Work that goes over the rows of a matrix.</summary>
internal interface IRowBody
{
    /// <summary>Does one row. Called once for each row, on any thread, in any order.</summary>
    void Run(nint row);
}

/// <summary>Checks and splitting shared by the kernels that go over the rows of a strided matrix.</summary>
internal static class RowMatrix
{
    /// <summary>Elements that are worth a part of their own: some microseconds of work against a fraction of one for claiming it.</summary>
    const int PartElements = 8192;

    /// <summary>Does every row of a matrix, several rows a part.</summary>
    internal static void ForRows<TBody>(TBody body, int rows, int width, WorkerPool pool)
        where TBody : struct, IRowBody
    {
        if (rows == 0 || width == 0)
        {
            return;
        }

        var parts = new RowParts<TBody>
        {
            Body = body,
            Rows = rows,
            RowsPerPart = RowsPerPart(width),
        };
        pool.Run(Parts(rows, parts.RowsPerPart), ref parts);
    }

    /// <summary>How many rows of <paramref name="width"/> elements one part takes.</summary>
    internal static int RowsPerPart(int width) => Math.Max(1, PartElements / Math.Max(width, 1));

    /// <summary>How many parts <paramref name="rows"/> rows make.</summary>
    internal static int Parts(int rows, int rowsPerPart) => (int)(((long)rows + rowsPerPart - 1) / rowsPerPart);

    /// <summary>Throws unless a span of <paramref name="length"/> elements holds [rows, width] with this stride.</summary>
    internal static void Check(
        int length,
        int stride,
        int rows,
        int width,
        [CallerArgumentExpression(nameof(length))] string name = ""
    )
    {
        ArgumentOutOfRangeException.ThrowIfNegative(rows);
        ArgumentOutOfRangeException.ThrowIfNegative(width);
        if (stride < width)
        {
            throw new ArgumentException($"{name}: rows of {width} elements overlap at a stride of {stride}");
        }

        if (rows > 0 && ((rows - 1L) * stride) + width > length)
        {
            throw new ArgumentException(
                $"{name}: [{rows}, {width}] with stride {stride} needs {((rows - 1L) * stride) + width} elements, there are {length}"
            );
        }
    }

    /// <summary>Throws unless a span of <paramref name="length"/> elements holds one value for each of <paramref name="width"/> columns.</summary>
    internal static void CheckVector(int length, int width, [CallerArgumentExpression(nameof(length))] string name = "")
    {
        if (length != width)
        {
            throw new ArgumentException($"{name}: {length} elements for {width} columns");
        }
    }

    struct RowParts<TBody> : IParallelBody
        where TBody : struct, IRowBody
    {
        internal TBody Body;
        internal int Rows;
        internal int RowsPerPart;

        // Not readonly, so that the body is not copied for each row.
        public void Run(int part, int worker)
        {
            int first = part * RowsPerPart;
            int end = Math.Min(Rows, first + RowsPerPart);
            for (int row = first; row < end; row++)
            {
                Body.Run(row);
            }
        }
    }
}
