using VlmSharp.Kernels;
using VlmSharp.Testing;
using Xunit;

namespace VlmSharp.Tests.Kernels.Backward;

public sealed class NormBackwardTests
{
    const int Rows = 3;
    const float Epsilon = 1e-3f;

    public static TheoryData<int> Widths => [1, 2, 7, 8, 9, 16, 31, 33, 64, 100];

    static double RmsNorm(double[] x, double[] weight, double[] dy, int width)
    {
        double sum = 0;
        for (int at = 0; at < x.Length; at += width)
        {
            double mean = Enumerable.Range(at, width).Sum(i => x[i] * x[i]) / width;
            sum += Enumerable.Range(0, width).Sum(i => dy[at + i] * weight[i] * x[at + i] / Math.Sqrt(mean + Epsilon));
        }

        return sum;
    }

    static double LayerNorm(double[] x, double[] weight, double[] bias, double[] dy, int width)
    {
        double sum = 0;
        for (int at = 0; at < x.Length; at += width)
        {
            double mean = Enumerable.Range(at, width).Sum(i => x[i]) / width;
            double variance = Enumerable.Range(at, width).Sum(i => (x[i] - mean) * (x[i] - mean)) / width;
            double r = 1 / Math.Sqrt(variance + Epsilon);
            sum += Enumerable.Range(0, width).Sum(i => dy[at + i] * ((weight[i] * (x[at + i] - mean) * r) + bias[i]));
        }

        return sum;
    }

    // In rows of one or two numbers nearly all of dy * weight / deviation cancels.
    static double Terms(float[] x, float[] dy, float[] weight)
    {
        int width = weight.Length;
        double most = 0;
        for (int at = 0; at < x.Length; at += width)
        {
            double[] row = Differences.Doubles(x.AsSpan(at, width));
            double mean = row.Average();
            double variance = row.Average(v => (v - mean) * (v - mean));
            most = Math.Max(most, row.Max(Math.Abs) / Math.Sqrt(variance + Epsilon));
            most = Math.Max(most, 1 / Math.Sqrt(variance + Epsilon));
        }

        return most * dy.Max(Math.Abs) * weight.Max(Math.Abs);
    }

    [Theory, MemberData(nameof(Widths))]
    public void RmsNorm_hands_back_what_differences_say(int width)
    {
        using WorkerPool pool = new(2);
        foreach (int heads in new[] { 1, 3 })
        {
            int all = heads * width;
            float[] values = Differences.Normal(width, Rows * all);
            float[] grads = Differences.Normal(width + 1, Rows * all);
            float[] weight = Differences.Normal(width + 2, width);
            using Strided x = new(Rows, all, all + 3, (r, i) => values[(r * all) + i]);
            using Strided dy = new(Rows, all, all, (r, i) => grads[(r * all) + i], guardBefore: true);
            using Strided dx = new(Rows, all, all + 1, (_, _) => 1);
            float[] dWeight = new float[width];
            foreach (bool accumulate in new[] { false, true })
            {
                Array.Fill(dWeight, 2);
                RmsNormBackward.Apply(
                    x.Span,
                    x.Stride,
                    weight,
                    dy.Span,
                    dy.Stride,
                    dx.Span,
                    dx.Stride,
                    accumulate,
                    dWeight,
                    Rows,
                    heads,
                    Epsilon,
                    pool
                );
                double[] w = Differences.Doubles(weight);
                double[] g = Differences.Doubles(grads);
                double[] expected = Differences.Of(v => RmsNorm(v, w, g, width), values);
                Differences.Near(
                    [.. expected.Select(v => accumulate ? 2 * v : v)],
                    dx.ToArray(),
                    "dx",
                    terms: Terms(values, grads, weight)
                );
                double[] byWeight = Differences.Of(v => RmsNorm(Differences.Doubles(values), v, g, width), weight);
                Differences.Near([.. byWeight.Select(v => v + 2)], dWeight, "dWeight");
            }
        }
    }

    [Theory, MemberData(nameof(Widths))]
    public void LayerNorm_hands_back_what_differences_say(int width)
    {
        using WorkerPool pool = new(2);
        float[] values = Differences.Normal(width, Rows * width);
        float[] grads = Differences.Normal(width + 1, Rows * width);
        float[] weight = Differences.Normal(width + 2, width);
        float[] bias = Differences.Normal(width + 3, width);
        using Strided x = new(Rows, width, width + 3, (r, i) => values[(r * width) + i]);
        using Strided dy = new(Rows, width, width, (r, i) => grads[(r * width) + i], guardBefore: true);
        using Strided dx = new(Rows, width, width + 1);
        float[] dWeight = new float[width];
        float[] dBias = new float[width];
        foreach (bool accumulate in new[] { false, true })
        {
            dWeight.AsSpan().Clear();
            dBias.AsSpan().Clear();
            LayerNormBackward.Apply(
                x.Span,
                x.Stride,
                weight,
                dy.Span,
                dy.Stride,
                dx.Span,
                dx.Stride,
                accumulate,
                dWeight,
                dBias,
                Rows,
                Epsilon,
                pool
            );
            (double[] v, double[] w, double[] b, double[] g) = (
                Differences.Doubles(values),
                Differences.Doubles(weight),
                Differences.Doubles(bias),
                Differences.Doubles(grads)
            );
            double[] expected = Differences.Of(p => LayerNorm(p, w, b, g, width), values);
            Differences.Near(
                [.. expected.Select(e => accumulate ? 2 * e : e)],
                dx.ToArray(),
                "dx",
                terms: Terms(values, grads, weight)
            );
            Differences.Near(Differences.Of(p => LayerNorm(v, p, b, g, width), weight), dWeight, "dWeight");
            Differences.Near(Differences.Of(p => LayerNorm(v, w, p, g, width), bias), dBias, "dBias");
        }
    }

    [Fact]
    public void Sums_over_rows_do_not_depend_on_the_threads()
    {
        const int Width = 48;
        float[] x = Differences.Normal(1, 1000 * Width);
        float[] dy = Differences.Normal(2, 1000 * Width);
        float[] weight = Differences.Normal(3, Width);
        float[][] sums =
        [
            .. new[] { 1, 2, 3 }.Select(threads =>
            {
                using WorkerPool pool = new(threads);
                float[] sum = new float[2 * Width];
                RmsNormBackward.Apply(
                    x,
                    Width,
                    weight,
                    dy,
                    Width,
                    [],
                    0,
                    false,
                    sum.AsSpan(0, Width),
                    1000,
                    1,
                    1e-6f,
                    pool
                );
                ColumnSums.Add(x, Width, 1000, sum.AsSpan(Width), pool);
                return sum;
            }),
        ];
        Near.SameBits(sums[0], sums[1]);
        Near.SameBits(sums[0], sums[2]);
        double[] columns =
        [
            .. Enumerable.Range(0, Width).Select(i => Enumerable.Range(0, 1000).Sum(r => (double)x[(r * Width) + i])),
        ];
        Differences.Near(columns, sums[0].AsSpan(Width), "columns");
    }
}
