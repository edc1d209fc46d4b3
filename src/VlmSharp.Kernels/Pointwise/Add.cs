using System.Runtime.Intrinsics;

namespace VlmSharp.Kernels;

/// <summary>y[r, i] = a[r, i] + b[r, i], rounded once.</summary>
public static class Add
{
    internal static readonly KernelTable<ElementwiseKernel> Variants = Elementwise.Table<Operator>("add");

    /// <summary>y = a + b.</summary>
    /// <param name="a">[rows, width]</param>
    /// <param name="aStride">Elements from one row of a to the next, at least <paramref name="width"/>.</param>
    /// <param name="b">[rows, width]</param>
    /// <param name="bStride">Elements from one row of b to the next.</param>
    /// <param name="y">[rows, width]; may be a or b itself.</param>
    /// <param name="yStride">Elements from one row of y to the next.</param>
    /// <param name="rows">Number of rows; 0 is allowed.</param>
    /// <param name="width">Elements per row.</param>
    /// <param name="pool">Shares the rows when there are enough.</param>
    /// <exception cref="ArgumentException">A span is too short, or rows of it overlap.</exception>
    public static void Apply(
        ReadOnlySpan<float> a,
        int aStride,
        ReadOnlySpan<float> b,
        int bStride,
        Span<float> y,
        int yStride,
        int rows,
        int width,
        WorkerPool pool
    ) => Elementwise.Apply(Variants.Active, a, aStride, b, bStride, y, yStride, rows, width, pool);

    readonly struct Operator : IElementwiseOperator
    {
        public static Vector512<float> Apply(Vector512<float> a, Vector512<float> b) => a + b;

        public static Vector256<float> Apply(Vector256<float> a, Vector256<float> b) => a + b;

        public static float Apply(float a, float b) => a + b;
    }
}
