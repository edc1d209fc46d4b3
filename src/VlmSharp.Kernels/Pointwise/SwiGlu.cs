using System.Runtime.Intrinsics;

namespace VlmSharp.Kernels;

/// <summary>y[r, i] = silu(gate[r, i]) * up[r, i] with silu(x) = x / (1 + e^-x): the gated MLP of Llama and its descendants.</summary>
/// <remarks>
/// Relative error at most 3e-7 while the sigmoid is a normal number, and at most 1e-36 * |up| in absolute terms below. Follows
/// the formula at the ends: silu(+infinity) = +infinity, silu(-infinity) = NaN, NaN stays NaN.
/// </remarks>
public static class SwiGlu
{
    internal static readonly KernelTable<ElementwiseKernel> Variants = Elementwise.Table<Operator>("swiglu");

    /// <summary>y = silu(gate) * up.</summary>
    /// <param name="gate">[rows, width]</param>
    /// <param name="gateStride">Elements from one row of gate to the next, at least <paramref name="width"/>.</param>
    /// <param name="up">[rows, width]</param>
    /// <param name="upStride">Elements from one row of up to the next.</param>
    /// <param name="y">[rows, width]; may be gate or up itself.</param>
    /// <param name="yStride">Elements from one row of y to the next.</param>
    /// <param name="rows">Number of rows; 0 is allowed.</param>
    /// <param name="width">Elements per row.</param>
    /// <param name="pool">Shares the rows when there are enough.</param>
    /// <exception cref="ArgumentException">A span is too short, or rows of it overlap.</exception>
    public static void Apply(
        ReadOnlySpan<float> gate,
        int gateStride,
        ReadOnlySpan<float> up,
        int upStride,
        Span<float> y,
        int yStride,
        int rows,
        int width,
        WorkerPool pool
    ) => Elementwise.Apply(Variants.Active, gate, gateStride, up, upStride, y, yStride, rows, width, pool);

    readonly struct Operator : IElementwiseOperator
    {
        public static Vector512<float> Apply(Vector512<float> gate, Vector512<float> up) =>
            gate * VectorMath.Sigmoid(gate) * up;

        public static Vector256<float> Apply(Vector256<float> gate, Vector256<float> up) =>
            gate * VectorMath.Sigmoid(gate) * up;

        public static float Apply(float gate, float up) => gate * VectorMath.Sigmoid(gate) * up;
    }
}
