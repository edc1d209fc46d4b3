using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace VlmSharp.Kernels;

/// <summary>One row of <see cref="SwiGluBackward"/>; the results may stand where gate and up do.</summary>
internal unsafe delegate void SwiGluBackwardKernel(float* gate, float* up, float* dy, float* dGate, float* dUp, int n);

/// <summary>What <see cref="SwiGlu"/> hands back: dGate = dy * up * (s + gate s (1 - s)), dUp = dy * gate * s, with s = sigmoid(gate).</summary>
/// <remarks>f32; about 1e-6 of |dy * up| and |dy * gate| from the exact results.</remarks>
public static unsafe class SwiGluBackward
{
    internal static readonly KernelTable<SwiGluBackwardKernel> Variants = new(
        "swiglu_backward",
        ("avx512", InstructionSets.Avx512, Avx512),
        ("avx2", InstructionSets.Avx2, Avx2),
        ("portable", true, Portable)
    );

    /// <summary>Computes both gradients.</summary>
    /// <param name="gateUp">[rows, 2 * width]: the gate in the first half of a row, up in the second.</param>
    /// <param name="gateUpStride">Elements from one row to the next, at least 2 * <paramref name="width"/>.</param>
    /// <param name="dy">[rows, width]</param>
    /// <param name="dyStride">Elements from one row of dy to the next.</param>
    /// <param name="dGateUp">[rows, 2 * width]; may be gateUp itself.</param>
    /// <param name="dGateUpStride">Elements from one row to the next.</param>
    /// <param name="rows">Number of rows; 0 is allowed.</param>
    /// <param name="width">Elements of a result's row.</param>
    /// <param name="pool">Shares the rows when there are enough.</param>
    /// <exception cref="ArgumentException">A span is too short, or rows of it overlap.</exception>
    public static void Apply(
        ReadOnlySpan<float> gateUp,
        int gateUpStride,
        ReadOnlySpan<float> dy,
        int dyStride,
        Span<float> dGateUp,
        int dGateUpStride,
        int rows,
        int width,
        WorkerPool pool
    ) => Apply(Variants.Active, gateUp, gateUpStride, dy, dyStride, dGateUp, dGateUpStride, rows, width, pool);

    internal static void Apply(
        SwiGluBackwardKernel kernel,
        ReadOnlySpan<float> gateUp,
        int gateUpStride,
        ReadOnlySpan<float> dy,
        int dyStride,
        Span<float> dGateUp,
        int dGateUpStride,
        int rows,
        int width,
        WorkerPool pool
    )
    {
        RowMatrix.Check(gateUp.Length, gateUpStride, rows, checked(2 * width));
        RowMatrix.Check(dy.Length, dyStride, rows, width);
        RowMatrix.Check(dGateUp.Length, dGateUpStride, rows, 2 * width);
        fixed (float* gateStart = gateUp)
        fixed (float* dyStart = dy)
        fixed (float* dGateStart = dGateUp)
        {
            var body = new Body
            {
                Kernel = kernel,
                Gate = gateStart,
                Dy = dyStart,
                DGate = dGateStart,
                GateStride = gateUpStride,
                DyStride = dyStride,
                DGateStride = dGateUpStride,
                Width = width,
            };
            RowMatrix.ForRows(body, rows, width, pool);
        }
    }

    static void Portable(float* gate, float* up, float* dy, float* dGate, float* dUp, int n)
    {
        for (int i = 0; i < n; i++)
        {
            float s = VectorMath.Sigmoid(gate[i]);
            float g = gate[i];
            float d = dy[i];
            dGate[i] = d * up[i] * (s + (g * s * (1 - s)));
            dUp[i] = d * g * s;
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    static void Avx512(float* gate, float* up, float* dy, float* dGate, float* dUp, int n)
    {
        for (int i = 0; i < n; i += 16)
        {
            Vector512<float> mask = Masks.First512(n - i);
            Vector512<float> zero = Vector512<float>.Zero;
            Vector512<float> g = Avx512F.MaskLoad(gate + i, mask, zero);
            Vector512<float> d = Avx512F.MaskLoad(dy + i, mask, zero);
            Vector512<float> u = Avx512F.MaskLoad(up + i, mask, zero);
            Vector512<float> s = VectorMath.Sigmoid(g);
            Vector512<float> slope = Avx512F.FusedMultiplyAdd(g * s, Vector512<float>.One - s, s);
            Avx512F.MaskStore(dGate + i, mask, d * u * slope);
            Avx512F.MaskStore(dUp + i, mask, d * g * s);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    static void Avx2(float* gate, float* up, float* dy, float* dGate, float* dUp, int n)
    {
        for (int i = 0; i < n; i += 8)
        {
            Vector256<float> mask = Masks.First256(n - i);
            Vector256<float> g = Avx.MaskLoad(gate + i, mask);
            Vector256<float> d = Avx.MaskLoad(dy + i, mask);
            Vector256<float> u = Avx.MaskLoad(up + i, mask);
            Vector256<float> s = VectorMath.Sigmoid(g);
            Vector256<float> slope = Fma.MultiplyAdd(g * s, Vector256<float>.One - s, s);
            Avx.MaskStore(dGate + i, mask, d * u * slope);
            Avx.MaskStore(dUp + i, mask, d * g * s);
        }
    }

    struct Body : IRowBody
    {
        internal SwiGluBackwardKernel Kernel;
        internal float* Gate;
        internal float* Dy;
        internal float* DGate;
        internal nint GateStride;
        internal nint DyStride;
        internal nint DGateStride;
        internal int Width;

        public readonly void Run(nint row)
        {
            float* gate = Gate + (row * GateStride);
            float* dGate = DGate + (row * DGateStride);
            Kernel(gate, gate + Width, Dy + (row * DyStride), dGate, dGate + Width, Width);
        }
    }
}
