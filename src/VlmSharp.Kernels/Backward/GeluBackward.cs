using System.Runtime.Intrinsics;

namespace VlmSharp.Kernels;

/// <summary>What <see cref="Gelu"/> hands back: dx[r, i] = dy[r, i] * f'(x[r, i]) with f' = c + x d, c the standard normal distribution function, d = e^(-x^2 / 2) / sqrt(2 pi) its density.</summary>
/// <remarks>f32; about 1e-6 of |dy| from the exact result.</remarks>
public static class GeluBackward
{
    internal static readonly KernelTable<ElementwiseKernel> Variants = Elementwise.Table<Operator>("gelu_backward");

    /// <summary>dx = dy * f'(x).</summary>
    /// <param name="dy">[rows, width]</param>
    /// <param name="dyStride">Elements from one row of dy to the next, at least <paramref name="width"/>.</param>
    /// <param name="x">[rows, width]: the operand of the forward pass.</param>
    /// <param name="xStride">Elements from one row of x to the next.</param>
    /// <param name="dx">[rows, width]; may be dy or x itself.</param>
    /// <param name="dxStride">Elements from one row of dx to the next.</param>
    /// <param name="rows">Number of rows; 0 is allowed.</param>
    /// <param name="width">Elements per row.</param>
    /// <param name="pool">Shares the rows when there are enough.</param>
    /// <exception cref="ArgumentException">A span is too short, or rows of it overlap.</exception>
    public static void Apply(
        ReadOnlySpan<float> dy,
        int dyStride,
        ReadOnlySpan<float> x,
        int xStride,
        Span<float> dx,
        int dxStride,
        int rows,
        int width,
        WorkerPool pool
    ) => Elementwise.Apply(Variants.Active, dy, dyStride, x, xStride, dx, dxStride, rows, width, pool);

    readonly struct Operator : IElementwiseOperator
    {
        const float Peak = 0.3989422804014327f; // 1 / sqrt(2 pi)

        public static Vector512<float> Apply(Vector512<float> dy, Vector512<float> x)
        {
            Vector512<float> density = VectorMath.Exp(x * x * Vector512.Create(-0.5f)) * Vector512.Create(Peak);
            return dy * Vector512.FusedMultiplyAdd(x, density, VectorMath.NormalCdf(x));
        }

        public static Vector256<float> Apply(Vector256<float> dy, Vector256<float> x)
        {
            Vector256<float> density = VectorMath.Exp(x * x * Vector256.Create(-0.5f)) * Vector256.Create(Peak);
            return dy * Vector256.FusedMultiplyAdd(x, density, VectorMath.NormalCdf(x));
        }

        public static float Apply(float dy, float x)
        {
            float density = (float)Math.Exp(-0.5 * x * x) * Peak;
            return dy * (VectorMath.NormalCdf(x) + (x * density));
        }
    }
}
