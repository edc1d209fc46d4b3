using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace VlmSharp.Kernels;

/// <summary>sums[i] += the sum over rows of x[r, i]: what a bias gets back.</summary>
/// <remarks>f32, in pieces of rows that are added in their order: no bit depends on the threads.</remarks>
public static unsafe class ColumnSums
{
    /// <summary>Adds every row.</summary>
    /// <param name="x">[rows, width]</param>
    /// <param name="stride">Elements from one row to the next, at least the width.</param>
    /// <param name="rows">Number of rows; 0 is allowed.</param>
    /// <param name="sums">[width], added to.</param>
    /// <param name="pool">Shares the rows when there are enough.</param>
    /// <exception cref="ArgumentException">A span is too short, or rows of it overlap.</exception>
    public static void Add(ReadOnlySpan<float> x, int stride, int rows, Span<float> sums, WorkerPool pool)
    {
        RowMatrix.Check(x.Length, stride, rows, sums.Length);
        fixed (float* start = x)
        {
            RowSums.Run(new Body(start, stride, sums.Length), rows, sums.Length, sums, [], sums.Length, pool);
        }
    }

    readonly struct Body(float* x, nint stride, int width) : IRowSumBody
    {
        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        public void Run(nint row, float* sums, float* _)
        {
            float* from = x + (row * stride);
            int i = 0;
            for (; i <= width - 8; i += 8)
            {
                (Vector256.Load(sums + i) + Vector256.Load(from + i)).Store(sums + i);
            }

            for (; i < width; i++)
            {
                sums[i] += from[i];
            }
        }
    }
}
