using System.Runtime.Intrinsics;

namespace VlmSharp.Kernels;

/// <summary>y[r, i] += x[r, i]: residual connections.</summary>
public static class Add
{
    internal static readonly KernelTable<ElementwiseKernel> Variants = Elementwise.Table<Operator>("add");

    /// <summary>Adds x to y, one IEEE addition per element.</summary>
    /// <param name="x">[rows, width]</param>
    /// <param name="xStride">Elements from one row of x to the next, at least <paramref name="width"/>.</param>
    /// <param name="y">[rows, width]; may be x itself.</param>
    /// <param name="yStride">Elements from one row of y to the next.</param>
    /// <param name="rows">Number of rows; 0 is allowed.</param>
    /// <param name="width">Elements per row.</param>
    /// <param name="pool">Shares the rows when there are enough.</param>
    /// <exception cref="ArgumentException">A span is too short, or rows of it overlap.</exception>
    public static void Apply(
        ReadOnlySpan<float> x,
        int xStride,
        Span<float> y,
        int yStride,
        int rows,
        int width,
        WorkerPool pool
    ) => Apply(Variants.Active, x, xStride, y, yStride, rows, width, pool);

    internal static void Apply(
        ElementwiseKernel kernel,
        ReadOnlySpan<float> x,
        int xStride,
        Span<float> y,
        int yStride,
        int rows,
        int width,
        WorkerPool pool
    )
    {
        RowMatrix.Check(x.Length, xStride, rows, width);
        RowMatrix.Check(y.Length, yStride, rows, width);
        Elementwise.Apply(kernel, x, xStride, y, yStride, y, yStride, rows, width, pool);
    }

    readonly struct Operator : IElementwiseOperator
    {
        public static Vector512<float> Apply(Vector512<float> a, Vector512<float> b) => a + b;

        public static Vector256<float> Apply(Vector256<float> a, Vector256<float> b) => a + b;

        public static float Apply(float a, float b) => a + b;
    }
}
