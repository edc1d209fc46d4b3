using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace VlmSharp.Kernels;

/// <summary>What <see cref="LayerNorm"/> hands back: the gradients of its input, weight and bias.</summary>
/// <remarks>
/// With h = (x - mean) * r, r = 1 / sqrt(variance + epsilon) and g = dy * weight: dx = r * (g - mean(g) - h * mean(g * h)),
/// dWeight = sum over rows of dy * h, dBias = sum over rows of dy. The mean is corrected by the mean of what is left, so that a
/// row of equal numbers has the variance zero. Sums are f32 as in <see cref="RmsNormBackward"/>.
/// </remarks>
public static unsafe class LayerNormBackward
{
    /// <summary>Adds the gradients to dWeight and dBias, and writes or adds that of x.</summary>
    /// <param name="x">[rows, width]: what was normalised.</param>
    /// <param name="xStride">Elements from one row of x to the next.</param>
    /// <param name="weight">[width]</param>
    /// <param name="dy">[rows, width]</param>
    /// <param name="dyStride">Elements from one row of dy to the next.</param>
    /// <param name="dx">[rows, width]; empty where nobody wants it.</param>
    /// <param name="dxStride">Elements from one row of dx to the next.</param>
    /// <param name="accumulate">Add to dx instead of overwriting it.</param>
    /// <param name="dWeight">[width], added to; empty where nobody wants it.</param>
    /// <param name="dBias">[width], added to; empty where nobody wants it.</param>
    /// <param name="rows">Number of rows; 0 is allowed.</param>
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
        Span<float> dBias,
        int rows,
        float epsilon,
        WorkerPool pool
    )
    {
        int width = weight.Length;
        RowMatrix.Check(x.Length, xStride, rows, width);
        RowMatrix.Check(dy.Length, dyStride, rows, width);
        if (!dx.IsEmpty)
        {
            RowMatrix.Check(dx.Length, dxStride, rows, width);
        }

        fixed (float* xStart = x)
        fixed (float* weightStart = weight)
        fixed (float* dyStart = dy)
        fixed (float* dxStart = dx)
        {
            var body = new Body
            {
                X = xStart,
                Weight = weightStart,
                Dy = dyStart,
                Dx = dx.IsEmpty ? null : dxStart,
                XStride = xStride,
                DyStride = dyStride,
                DxStride = dxStride,
                Width = width,
                Epsilon = epsilon,
                Accumulate = accumulate,
            };
            RowSums.Run(body, rows, width, dWeight, dBias, width, pool);
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
        internal int Width;
        internal float Epsilon;
        internal bool Accumulate;

        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        public readonly void Run(nint row, float* dWeight, float* dBias)
        {
            float* x = X + (row * XStride);
            float* dy = Dy + (row * DyStride);
            float* dx = Dx is null ? null : Dx + (row * DxStride);
            int width = Width;
            float mean = MeanAbove(x, 0, width);
            mean += MeanAbove(x, mean, width);

            Vector256<float> means = Vector256.Create(mean);
            Vector256<float> squares = default;
            Vector256<float> sums = default;
            Vector256<float> products = default;
            int i = 0;
            for (; i <= width - 8; i += 8)
            {
                Vector256<float> above = Vector256.Load(x + i) - means;
                Vector256<float> g = Vector256.Load(dy + i) * Vector256.Load(Weight + i);
                squares = Vector256.FusedMultiplyAdd(above, above, squares);
                sums += g;
                products = Vector256.FusedMultiplyAdd(g, above, products);
            }

            float square = Vector256.Sum(squares);
            float sum = Vector256.Sum(sums);
            float product = Vector256.Sum(products);
            for (; i < width; i++)
            {
                float above = x[i] - mean;
                float g = dy[i] * Weight[i];
                square += above * above;
                sum += g;
                product += g * above;
            }

            float r = 1 / MathF.Sqrt((square / width) + Epsilon);
            float meanG = sum / width;
            float pull = r * r * product / width;
            Vector256<float> rs = Vector256.Create(r);
            Vector256<float> meanGs = Vector256.Create(meanG);
            Vector256<float> pulls = Vector256.Create(-pull);
            for (i = 0; i <= width - 8; i += 8)
            {
                Vector256<float> above = Vector256.Load(x + i) - means;
                Vector256<float> d = Vector256.Load(dy + i);
                if (dx is not null)
                {
                    Vector256<float> g = (d * Vector256.Load(Weight + i)) - meanGs;
                    Vector256<float> result = rs * Vector256.FusedMultiplyAdd(above, pulls, g);
                    (Accumulate ? Vector256.Load(dx + i) + result : result).Store(dx + i);
                }

                if (dWeight is not null)
                {
                    Vector256.FusedMultiplyAdd(d, above * rs, Vector256.Load(dWeight + i)).Store(dWeight + i);
                }

                if (dBias is not null)
                {
                    (Vector256.Load(dBias + i) + d).Store(dBias + i);
                }
            }

            for (; i < width; i++)
            {
                float above = x[i] - mean;
                float d = dy[i];
                if (dx is not null)
                {
                    float result = r * ((d * Weight[i]) - meanG - (above * pull));
                    dx[i] = Accumulate ? dx[i] + result : result;
                }

                if (dWeight is not null)
                {
                    dWeight[i] += d * (above * r);
                }

                if (dBias is not null)
                {
                    dBias[i] += d;
                }
            }
        }

        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        static float MeanAbove(float* x, float level, int width)
        {
            Vector256<float> levels = Vector256.Create(level);
            Vector256<float> sums = default;
            int i = 0;
            for (; i <= width - 8; i += 8)
            {
                sums += Vector256.Load(x + i) - levels;
            }

            float sum = Vector256.Sum(sums);
            for (; i < width; i++)
            {
                sum += x[i] - level;
            }

            return sum / width;
        }
    }
}
