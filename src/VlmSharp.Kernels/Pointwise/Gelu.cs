using System.Runtime.Intrinsics;

namespace VlmSharp.Kernels;

/// <summary>y[r, i] = x[r, i] * (1 + erf(x[r, i] / sqrt 2)) / 2: the exact GELU.</summary>
/// <remarks>
/// Relative error at most 7e-7 (3e-7 for x &gt;= -5), also for negative x where the textbook formula cancels; at most 1e-36 in absolute terms where
/// the result leaves the normal range. Follows the formula at the ends: +infinity gives +infinity, -infinity gives NaN, NaN
/// stays NaN.
/// </remarks>
public static class Gelu
{
    internal static readonly KernelTable<ElementwiseKernel> Variants = Elementwise.Table<Operator>("gelu");

    /// <summary>y = gelu(x).</summary>
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
    ) => Elementwise.Apply(Variants.Active, x, xStride, x, xStride, y, yStride, rows, width, pool);

    readonly struct Operator : IElementwiseOperator
    {
        public static Vector512<float> Apply(Vector512<float> x, Vector512<float> _) => x * VectorMath.NormalCdf(x);

        public static Vector256<float> Apply(Vector256<float> x, Vector256<float> _) => x * VectorMath.NormalCdf(x);

        public static float Apply(float x, float _) => x * VectorMath.NormalCdf(x);
    }
}
