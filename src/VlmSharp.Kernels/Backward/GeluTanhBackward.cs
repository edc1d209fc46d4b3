using System.Runtime.Intrinsics;

namespace VlmSharp.Kernels;

/// <summary>What <see cref="GeluTanh"/> hands back: dx[r, i] = dy[r, i] * f'(x[r, i]) with f' = s + x s (1 - s) z', s = sigmoid(z), z = 2 sqrt(2 / pi) (x + 0.044715 x^3).</summary>
/// <remarks>f32; about 1e-6 of |dy| from the exact result.</remarks>
public static class GeluTanhBackward
{
    internal static readonly KernelTable<ElementwiseKernel> Variants = Elementwise.Table<Operator>(
        "gelu_tanh_backward"
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
        // 2 sqrt(2 / pi), and 0.044715 times that.
        const float Linear = 1.5957691216057308f;
        const float Cubic = 0.071354816272600288f;

        public static Vector512<float> Apply(Vector512<float> dy, Vector512<float> x)
        {
            Vector512<float> square = x * x;
            Vector512<float> slope = Vector512.FusedMultiplyAdd(
                square,
                Vector512.Create(3 * Cubic),
                Vector512.Create(Linear)
            );
            Vector512<float> s = VectorMath.Sigmoid(
                x * Vector512.FusedMultiplyAdd(square, Vector512.Create(Cubic), Vector512.Create(Linear))
            );
            return dy * Vector512.FusedMultiplyAdd(x * s * (Vector512<float>.One - s), slope, s);
        }

        public static Vector256<float> Apply(Vector256<float> dy, Vector256<float> x)
        {
            Vector256<float> square = x * x;
            Vector256<float> slope = Vector256.FusedMultiplyAdd(
                square,
                Vector256.Create(3 * Cubic),
                Vector256.Create(Linear)
            );
            Vector256<float> s = VectorMath.Sigmoid(
                x * Vector256.FusedMultiplyAdd(square, Vector256.Create(Cubic), Vector256.Create(Linear))
            );
            return dy * Vector256.FusedMultiplyAdd(x * s * (Vector256<float>.One - s), slope, s);
        }

        public static float Apply(float dy, float x)
        {
            float square = x * x;
            float s = VectorMath.Sigmoid(x * ((square * Cubic) + Linear));
            return dy * (s + (x * s * (1 - s) * ((3 * Cubic * square) + Linear)));
        }
    }
}
