using System.Runtime.Intrinsics;

namespace VlmSharp.Kernels;

/// <summary>y[r, i] = x[r, i] * (1 + tanh(sqrt(2 / pi) * (x[r, i] + 0.044715 * x[r, i]^3))) / 2: the approximate GELU, <c>gelu_pytorch_tanh</c>.</summary>
/// <remarks>
/// Computed as x * sigmoid(2 z) with z the argument of the tangent, which does not cancel for negative x. Relative error at most
/// 3e-7, and |2 z| * 2.4e-7 more for negative x because z is rounded; at most 1e-36 in absolute terms where the sigmoid
/// underflows. Follows the formula at the ends: +infinity gives +infinity, -infinity gives NaN, NaN stays NaN.
/// </remarks>
public static class GeluTanh
{
    internal static readonly KernelTable<ElementwiseKernel> Variants = Elementwise.Table<Operator>("gelu_tanh");

    /// <summary>y = gelu_tanh(x).</summary>
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
        // 2 sqrt(2 / pi), and 0.044715 times that.
        const float Linear = 1.5957691216057308f;
        const float Cubic = 0.071354816272600288f;

        public static Vector512<float> Apply(Vector512<float> x, Vector512<float> _) =>
            x
            * VectorMath.Sigmoid(
                x * Vector512.FusedMultiplyAdd(x * x, Vector512.Create(Cubic), Vector512.Create(Linear))
            );

        public static Vector256<float> Apply(Vector256<float> x, Vector256<float> _) =>
            x
            * VectorMath.Sigmoid(
                x * Vector256.FusedMultiplyAdd(x * x, Vector256.Create(Cubic), Vector256.Create(Linear))
            );

        public static float Apply(float x, float _) => x * VectorMath.Sigmoid(x * ((x * x * Cubic) + Linear));
    }
}
