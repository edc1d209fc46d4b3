using VlmSharp.Kernels;
using VlmSharp.Testing;
using Xunit;

namespace VlmSharp.Tests.Kernels.Backward;

/// <summary>Products for weights, look-ups, weighted rows, cross-entropy.</summary>
public sealed class SumsBackwardTests : IDisposable
{
    readonly WorkerPool pool = new(2);

    public static TheoryData<string> Products => [.. MatMul.TransposedVariants.SupportedNames];

    public static TheoryData<string> Entropies => [.. CrossEntropy.Variants.SupportedNames];

    public void Dispose() => pool.Dispose();

    [Theory, MemberData(nameof(Products))]
    public void Transposed_products_are_those_of_the_definition(string variant)
    {
        MatMul.TransposedSignature kernel = MatMul.TransposedVariants.Supported.Single(v => v.Name == variant).Run;
        foreach (int rows in new[] { 1, 13, 14, 15, 31, 300 })
        {
            foreach (int columns in new[] { 1, 31, 32, 33, 70 })
            {
                foreach (int depth in new[] { 0, 1, 5, 384, 401 })
                {
                    if (rows * columns * depth < 2_000_000)
                    {
                        Product(kernel, rows, columns, depth, mayRound: false);
                        Product(kernel, rows, columns, depth, mayRound: true);
                    }
                }
            }
        }
    }

    void Product(MatMul.TransposedSignature kernel, int rows, int columns, int depth, bool mayRound)
    {
        float[] aValues = Differences.Normal(rows, depth * rows);
        float[] bValues = Differences.Normal(columns, depth * columns);
        if (mayRound)
        {
            // What is rounded already must come out exactly: values that rounding changes are tested below.
            (aValues, bValues) = (Array.ConvertAll(aValues, Rounded), Array.ConvertAll(bValues, Rounded));
        }

        using Strided a = new(depth, rows, rows + 3, (r, i) => aValues[(r * rows) + i]);
        using Strided b = new(depth, columns, columns + 1, (r, i) => bValues[(r * columns) + i], guardBefore: true);
        using Strided y = new(rows, columns, columns + 2, (_, _) => 5);
        double[] expected = new double[rows * columns];
        for (int k = 0; k < depth; k++)
        {
            for (int i = 0; i < rows; i++)
            {
                for (int j = 0; j < columns; j++)
                {
                    expected[(i * columns) + j] += (double)aValues[(k * rows) + i] * bValues[(k * columns) + j];
                }
            }
        }

        foreach (bool accumulate in new[] { false, true })
        {
            kernel(
                new MatMul.TransposedCall
                {
                    A = a.Span,
                    AStride = a.Stride,
                    B = b.Span,
                    BStride = b.Stride,
                    Y = y.Span,
                    YStride = y.Stride,
                    Depth = depth,
                    Rows = rows,
                    Columns = columns,
                    Pool = pool,
                    Accumulate = accumulate,
                    MayRound = mayRound,
                }
            );
            Differences.Near(
                [.. expected.Select(e => accumulate ? 2 * e : e)],
                y.ToArray(),
                $"{rows} x {columns} x {depth}",
                1e-5
            );
        }
    }

    static float Rounded(float x) => BitConverter.UInt32BitsToSingle((uint)Bf16.Round(x) << 16);

    [Fact]
    public void A_transposed_product_that_may_round_rounds_to_the_nearest_and_depends_on_no_thread()
    {
        Assert.SkipUnless(MatMul.RoundsToBF16, "no products of bf16 here");
        const int Rows = 45;
        const int Columns = 50;
        const int Depth = 333;
        float[] a = Differences.Normal(1, Depth * Rows);
        float[] b = Differences.Normal(2, Depth * Columns);
        float[] rounded = Multiply(Array.ConvertAll(a, Rounded), Array.ConvertAll(b, Rounded), pool);
        Near.SameBits(rounded, Multiply(a, b, pool));
        using WorkerPool single = new(1);
        Near.SameBits(rounded, Multiply(a, b, single));

        float[] Multiply(float[] left, float[] right, WorkerPool threads)
        {
            float[] y = new float[Rows * Columns];
            MatMul.ApplyTransposed(
                left,
                Rows,
                right,
                Columns,
                y,
                Columns,
                Depth,
                Rows,
                Columns,
                threads,
                mayRound: true
            );
            return y;
        }
    }

    [Fact]
    public void Looked_up_rows_get_back_the_sum_of_all_their_uses()
    {
        foreach (int width in new[] { 1, 7, 8, 65, 130 })
        {
            float[] values = Differences.Normal(width, 4 * width);
            using Strided rows = new(4, width, width + 1, (r, i) => values[(r * width) + i], guardBefore: true);
            using Strided table = new(5, width, width + 2);
            ScatterRows.Apply(rows.Span, rows.Stride, [3, 1, 3, 3], [], 1, table.Span, table.Stride, 5, width, pool);
            float[] shares = [0.5f, 2, -1, 3, 0.25f, 1, 1, 7];
            ScatterRows.Apply(
                rows.Span,
                rows.Stride,
                [0, 1, 1, 4, 0, 0, 4, 1],
                shares,
                2,
                table.Span,
                table.Stride,
                5,
                width,
                pool
            );
            for (int i = 0; i < width; i++)
            {
                double[] r = [.. Enumerable.Range(0, 4).Select(n => (double)values[(n * width) + i])];
                double[] expected =
                [
                    (0.5 * r[0]) + (1.25 * r[2]),
                    r[1] + (2 * r[0]) - r[1] + (7 * r[3]),
                    0,
                    r[0] + r[2] + r[3],
                    (3 * r[1]) + r[3],
                ];
                for (int n = 0; n < 5; n++)
                {
                    Assert.Equal(expected[n], table.Row(n)[i], 1e-5);
                }
            }
        }

        Assert.Throws<ArgumentException>(() =>
            ScatterRows.Apply(new float[2], 2, [1], [], 1, new float[2], 2, 1, 2, pool)
        );
    }

    [Fact]
    public void Weighted_rows_hand_back_to_weights_and_rows()
    {
        foreach (int width in new[] { 1, 8, 21 })
        {
            float[] table = Differences.Normal(1, 6 * width);
            float[] dy = Differences.Normal(2, 3 * width);
            int[] places = [5, 0, 1, 3, 2, 4];
            float[] weights = [0.25f, 0.75f, 0.5f, 0.5f, 0.9f, 0.1f];
            float[] dWeights = new float[6];
            float[] dTable = [.. table];
            WeightedRowsBackward.Apply(dy, width, places, weights, dWeights, 2, dTable, width, 6, 3, width, pool);
            double Forward(double[] t, double[] w) =>
                Enumerable
                    .Range(0, 6)
                    .Sum(n =>
                        w[n] * Enumerable.Range(0, width).Sum(i => dy[(n / 2 * width) + i] * t[(places[n] * width) + i])
                    );

            Differences.Near(Differences.Of(p => Forward(p, Differences.Doubles(weights)), table), dTable, "table");
            Differences.Near(Differences.Of(p => Forward(Differences.Doubles(table), p), weights), dWeights, "weights");
        }
    }

    [Theory, MemberData(nameof(Entropies))]
    public void Cross_entropy_and_its_gradient_are_those_of_differences(string variant)
    {
        CrossEntropyKernel kernel = CrossEntropy.Variants.Supported.Single(v => v.Name == variant).Run;
        foreach (int width in new[] { 1, 2, 7, 8, 9, 33, 100 })
        {
            foreach (double smoothing in new[] { 0, 0.1 })
            {
                int[] labels = [0, -100, width - 1, width / 2];
                float[] values = Differences.Normal(width, labels.Length * width, scale: 3);
                using Strided logits = new(labels.Length, width, width + 1, (r, i) => values[(r * width) + i]);
                double loss = CrossEntropy.Apply(
                    kernel,
                    logits.Span,
                    logits.Stride,
                    labels,
                    width,
                    0.5,
                    pool,
                    smoothing
                );
                Assert.Equal(Forward(Differences.Doubles(values)), loss, 1e-6 * (1 + Math.Abs(loss)));
                Differences.Near(
                    [.. Differences.Of(Forward, values).Select(d => 0.5 * d)],
                    logits.ToArray(),
                    $"{width}"
                );

                double Forward(double[] x)
                {
                    double sum = 0;
                    for (int r = 0; r < labels.Length; r++)
                    {
                        if (labels[r] < 0)
                        {
                            continue;
                        }

                        double[] row = x[(r * width)..((r + 1) * width)];
                        double logSum = Math.Log(row.Sum(Math.Exp));
                        sum += (1 - smoothing) * (logSum - row[labels[r]]);
                        sum += smoothing * (logSum - row.Average());
                    }

                    return sum;
                }
            }
        }

        Assert.Throws<ArgumentException>(() => CrossEntropy.Apply(new float[2], 2, [2], 2, 1, pool));
    }
}
