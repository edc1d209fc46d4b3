using System.Runtime.Intrinsics;

namespace VlmSharp.Kernels;

/// <summary>What <see cref="QuickGelu"/> hands back: dx[r, i] = dy[r, i] * f'(x[r, i]) with f' = s + 1.702 x s (1 - s), s = sigmoid(1.702 x).</summary>
/// <remarks>f32; about 1e-6 of |dy| from the exact result.</remarks>
public static class QuickGeluBackward
{
    internal static readonly KernelTable<ElementwiseKernel> Variants = Elementwise.Table<Operator>(
        "quick_gelu_backward"
    );

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
        const float Factor = 1.702f;

        public static Vector512<float> Apply(Vector512<float> dy, Vector512<float> x)
        {
            Vector512<float> z = x * Vector512.Create(Factor);
            Vector512<float> s = VectorMath.Sigmoid(z);
            return dy * Vector512.FusedMultiplyAdd(z * s, Vector512<float>.One - s, s);
        }

        public static Vector256<float> Apply(Vector256<float> dy, Vector256<float> x)
        {
            Vector256<float> z = x * Vector256.Create(Factor);
            Vector256<float> s = VectorMath.Sigmoid(z);
            return dy * Vector256.FusedMultiplyAdd(z * s, Vector256<float>.One - s, s);
        }

        public static float Apply(float dy, float x)
        {
            float z = x * Factor;
            float s = VectorMath.Sigmoid(z);
            return dy * (s + (z * s * (1 - s)));
        }
    }
}
