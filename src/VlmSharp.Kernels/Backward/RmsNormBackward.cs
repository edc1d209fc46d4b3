using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace VlmSharp.Kernels;

/// <summary>What <see cref="RmsNorm"/> hands back: the gradients of its input and of its weight.</summary>
/// <remarks>
/// With r = 1 / sqrt(mean(x^2) + epsilon) and g = dy * weight: dx = r * (g - x * r^2 * mean(g * x)), dWeight = sum over rows of
/// dy * x * r. Sums are f32 in eight partial sums; those over rows are made for fixed pieces of rows and added in their order,
/// so no bit depends on the threads. Written with vectors of 256 bits that the compiler also has without instructions for them.
/// </remarks>
public static unsafe class RmsNormBackward
{
    /// <summary>Adds the gradients to dx and dWeight.</summary>
    /// <param name="x">[rows, heads * width]: what was normalised.</param>
    /// <param name="xStride">Elements from one row of x to the next.</param>
    /// <param name="weight">[width]; all heads share it.</param>
    /// <param name="dy">[rows, heads * width]</param>
    /// <param name="dyStride">Elements from one row of dy to the next.</param>
    /// <param name="dx">[rows, heads * width], added to; empty where nobody wants it. May be dy when <paramref name="accumulate"/> is off.</param>
    /// <param name="dxStride">Elements from one row of dx to the next.</param>
    /// <param name="accumulate">Add to dx instead of overwriting it.</param>
    /// <param name="dWeight">[width], added to; empty where nobody wants it.</param>
    /// <param name="rows">Number of rows; 0 is allowed.</param>
    /// <param name="heads">Heads per row, each normalised on its own.</param>
    /// <param name="epsilon">As in the forward pass.</param>
    /// <param name="pool">Shares the rows when there are enough.</param>
    /// <exception cref="ArgumentException">A span is too short, or rows of it overlap.</exception>
    public static void Apply(
        ReadOnlySpan<float> x,
        int xStride,
        ReadOnlySpan<float> weight,
        ReadOnlySpan<float> dy,
        int dyStride,
        Span<float> dx,
        int dxStride,
        bool accumulate,
        Span<float> dWeight,
        int rows,
        int heads,
        float epsilon,
        WorkerPool pool
    )
    {
        int width = weight.Length;
        int rowWidth = checked(heads * width);
        RowMatrix.Check(x.Length, xStride, rows, rowWidth);
        RowMatrix.Check(dy.Length, dyStride, rows, rowWidth);
        fixed (float* xStart = x)
        fixed (float* weightStart = weight)
        fixed (float* dyStart = dy)
        fixed (float* dxStart = dx)
        {
            if (!dx.IsEmpty)
            {
                RowMatrix.Check(dx.Length, dxStride, rows, rowWidth);
            }

            var body = new Body
            {
                X = xStart,
                Weight = weightStart,
                Dy = dyStart,
                Dx = dx.IsEmpty ? null : dxStart,
                XStride = xStride,
                DyStride = dyStride,
                DxStride = dxStride,
                Heads = heads,
                Width = width,
                Epsilon = epsilon,
                Accumulate = accumulate,
            };
            RowSums.Run(body, rows, rowWidth, dWeight, [], width, pool);
        }
    }

    struct Body : IRowSumBody
    {
        internal float* X;
        internal float* Weight;
        internal float* Dy;
        internal float* Dx;
        internal nint XStride;
        internal nint DyStride;
        internal nint DxStride;
        internal int Heads;
        internal int Width;
        internal float Epsilon;
        internal bool Accumulate;

        public readonly void Run(nint row, float* dWeight, float* _)
        {
            for (nint at = 0; at < (nint)Heads * Width; at += Width)
            {
                float* dx = Dx is null ? null : Dx + (row * DxStride) + at;
                Row(
                    X + (row * XStride) + at,
                    Weight,
                    Dy + (row * DyStride) + at,
                    dx,
                    dWeight,
                    Width,
                    Epsilon,
                    Accumulate
                );
            }
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    static void Row(
        float* x,
        float* weight,
        float* dy,
        float* dx,
        float* dWeight,
        int width,
        float epsilon,
        bool accumulate
    )
    {
        Vector256<float> squares = default;
        Vector256<float> products = default;
        int i = 0;
        for (; i <= width - 8; i += 8)
        {
            Vector256<float> v = Vector256.Load(x + i);
            squares = Vector256.FusedMultiplyAdd(v, v, squares);
            products = Vector256.FusedMultiplyAdd(v, Vector256.Load(dy + i) * Vector256.Load(weight + i), products);
        }

        float square = Vector256.Sum(squares);
        float product = Vector256.Sum(products);
        for (; i < width; i++)
        {
            square += x[i] * x[i];
            product += x[i] * (dy[i] * weight[i]);
        }

        float r = 1 / MathF.Sqrt((square / width) + epsilon);
        if (dWeight is not null)
        {
            Vector256<float> factor = Vector256.Create(r);
            for (i = 0; i <= width - 8; i += 8)
            {
                Vector256<float> share = Vector256.Load(dy + i) * factor;
                Vector256
                    .FusedMultiplyAdd(share, Vector256.Load(x + i), Vector256.Load(dWeight + i))
                    .Store(dWeight + i);
            }

            for (; i < width; i++)
            {
                dWeight[i] += dy[i] * r * x[i];
            }
        }

        if (dx is null)
        {
            return;
        }

        float pull = r * r * product / width;
        Vector256<float> pulls = Vector256.Create(-pull);
        Vector256<float> rs = Vector256.Create(r);
        for (i = 0; i <= width - 8; i += 8)
        {
            Vector256<float> g = Vector256.Load(dy + i) * Vector256.Load(weight + i);
            Vector256<float> result = rs * Vector256.FusedMultiplyAdd(Vector256.Load(x + i), pulls, g);
            (accumulate ? Vector256.Load(dx + i) + result : result).Store(dx + i);
        }

        for (; i < width; i++)
        {
            float result = r * ((dy[i] * weight[i]) - (x[i] * pull));
            dx[i] = accumulate ? dx[i] + result : result;
        }
    }
}
