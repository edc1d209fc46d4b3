using VlmSharp.Kernels;
using VlmSharp.Testing;
using Xunit;

namespace VlmSharp.Tests.Kernels.Backward;

public sealed unsafe class AttentionBackwardTests : IDisposable
{
    readonly WorkerPool pool = new(2);

    public static TheoryData<string> Products => [.. TileProduct.Variants.SupportedNames];

    public void Dispose() => pool.Dispose();

    [Theory, MemberData(nameof(Products))]
    public void Tiles_are_products_of_matrices_of_any_shape(string variant)
    {
        TileProductKernel kernel = TileProduct.Variants.Supported.Single(v => v.Name == variant).Run;
        foreach (int rows in new[] { 1, 7, 8, 9, 17 })
        {
            foreach (int columns in new[] { 1, 8, 15, 16, 17, 31, 32, 33, 50, 64 })
            {
                foreach (int depth in new[] { 0, 1, 5, 33 })
                {
                    foreach (bool turned in new[] { false, true })
                    {
                        Tile(kernel, rows, columns, depth, turned);
                    }
                }
            }
        }
    }

    static void Tile(TileProductKernel kernel, int rows, int columns, int depth, bool turned)
    {
        (int aRows, int aColumns) = turned ? (depth, rows) : (rows, depth);
        float[] aValues = Differences.Normal(rows, aRows * aColumns);
        float[] bValues = Differences.Normal(columns, depth * columns);
        using Strided a = new(aRows, aColumns, aColumns + 2, (r, i) => aValues[(r * aColumns) + i]);
        using Strided b = new(depth, columns, columns + 3, (r, i) => bValues[(r * columns) + i]);
        using Strided c = new(rows, columns, columns + 1, (_, _) => 1, guardBefore: depth % 2 == 0);
        double[] expected = new double[rows * columns];
        for (int i = 0; i < rows; i++)
        {
            for (int j = 0; j < columns; j++)
            {
                for (int k = 0; k < depth; k++)
                {
                    float x = turned ? aValues[(k * rows) + i] : aValues[(i * depth) + k];
                    expected[(i * columns) + j] += (double)x * bValues[(k * columns) + j];
                }
            }
        }

        fixed (float* aStart = a.Span)
        fixed (float* bStart = b.Span)
        fixed (float* cStart = c.Span)
        {
            foreach (bool accumulate in new[] { false, true })
            {
                kernel(
                    new TileOperands
                    {
                        A = aStart,
                        ARow = turned ? 1 : a.Stride,
                        AColumn = turned ? a.Stride : 1,
                        B = bStart,
                        BRow = b.Stride,
                        C = cStart,
                        CRow = c.Stride,
                        Rows = rows,
                        Columns = columns,
                        Depth = depth,
                        Accumulate = accumulate,
                    }
                );
                Differences.Near(
                    [.. expected.Select(e => accumulate ? 2 * e : e)],
                    c.ToArray(),
                    $"{rows} x {columns} x {depth}"
                );
            }
        }
    }

    static double Attention(
        double[] q,
        double[] k,
        double[] v,
        double[] dy,
        PackedSequence[] sequences,
        (int Heads, int KvHeads, int Dim) shape,
        bool causal,
        double scale
    )
    {
        (int heads, int kvHeads, int dim) = shape;
        double total = 0;
        foreach (PackedSequence s in sequences)
        {
            for (int i = 0; i < s.QueryCount; i++)
            {
                for (int h = 0; h < heads; h++)
                {
                    int seen = causal ? s.KeyCount - s.QueryCount + i + 1 : s.KeyCount;
                    int at = (((s.QueryStart + i) * heads) + h) * dim;
                    double[] weights = new double[Math.Max(seen, 0)];
                    for (int j = 0; j < weights.Length; j++)
                    {
                        int key = (((s.KeyStart + j) * kvHeads) + (h / (heads / kvHeads))) * dim;
                        weights[j] = Math.Exp(scale * Enumerable.Range(0, dim).Sum(c => q[at + c] * k[key + c]));
                    }

                    double sum = weights.Sum();
                    for (int j = 0; j < weights.Length; j++)
                    {
                        int key = (((s.KeyStart + j) * kvHeads) + (h / (heads / kvHeads))) * dim;
                        total += weights[j] / sum * Enumerable.Range(0, dim).Sum(c => dy[at + c] * v[key + c]);
                    }
                }
            }
        }

        return total;
    }

    [Theory]
    [InlineData(true, 4, 2, 5)]
    [InlineData(false, 3, 3, 12)]
    [InlineData(true, 2, 1, 33)]
    [InlineData(false, 4, 1, 8)]
    public void Attention_hands_back_what_differences_say(bool causal, int heads, int kvHeads, int dim)
    {
        PackedSequence[] sequences = causal
            ? [new(0, 5, 0, 5), new(5, 1, 5, 1), new(6, 0, 6, 0), new(6, 3, 6, 7)]
            : [new(0, 5, 0, 3), new(5, 2, 3, 0), new(7, 2, 3, 9)];
        int queries = sequences.Sum(s => s.QueryCount);
        int keys = sequences.Sum(s => s.KeyCount);
        int width = heads * dim;
        int kvWidth = kvHeads * dim;
        float scale = (float)(1 / Math.Sqrt(dim));
        float[] qs = Differences.Normal(1, queries * width);
        float[] ks = Differences.Normal(2, keys * kvWidth);
        float[] vs = Differences.Normal(3, keys * kvWidth);
        float[] dys = Differences.Normal(4, queries * width);
        using Strided q = new(queries, width, width + 1, (r, i) => qs[(r * width) + i]);
        using Strided k = new(keys, kvWidth, kvWidth + 2, (r, i) => ks[(r * kvWidth) + i]);
        using Strided v = new(keys, kvWidth, kvWidth, (r, i) => vs[(r * kvWidth) + i], guardBefore: true);
        using Strided dy = new(queries, width, width, (r, i) => dys[(r * width) + i], guardBefore: true);
        using Strided dq = new(queries, width, width + 3, (_, _) => 1);
        using Strided dk = new(keys, kvWidth, kvWidth, (_, _) => 1);
        using Strided dv = new(keys, kvWidth, kvWidth + 1, (_, _) => 1);
        AttentionBackward.Apply(
            q.Span,
            q.Stride,
            k.Span,
            k.Stride,
            v.Span,
            v.Stride,
            dy.Span,
            dy.Stride,
            dq.Span,
            dq.Stride,
            dk.Span,
            dk.Stride,
            dv.Span,
            dv.Stride,
            heads,
            kvHeads,
            dim,
            sequences,
            causal,
            scale,
            pool
        );
        (double[] qd, double[] kd, double[] vd, double[] gd) = (
            Differences.Doubles(qs),
            Differences.Doubles(ks),
            Differences.Doubles(vs),
            Differences.Doubles(dys)
        );
        (int, int, int) shape = (heads, kvHeads, dim);
        Check(Differences.Of(p => Attention(p, kd, vd, gd, sequences, shape, causal, scale), qs), dq, "dq");
        Check(Differences.Of(p => Attention(qd, p, vd, gd, sequences, shape, causal, scale), ks), dk, "dk");
        Check(Differences.Of(p => Attention(qd, kd, p, gd, sequences, shape, causal, scale), vs), dv, "dv");

        static void Check(double[] expected, Strided actual, string what) =>
            Differences.Near([.. expected.Select(e => e + 1)], actual.ToArray(), what);
    }

    [Fact]
    public void A_long_sequence_in_blocks_of_rows_equals_its_own_gradient_with_other_company()
    {
        const int Dim = 16;
        const int Length = 700;
        float[] q = Differences.Normal(1, Length * Dim);
        float[] dy = Differences.Normal(2, Length * Dim);
        float[] alone = new float[Length * Dim];
        float[] packed = new float[2 * Length * Dim];
        float[] twice = [.. q, .. q];
        Run(q, dy, alone, [new(0, Length, 0, Length)]);
        Run(twice, [.. dy, .. dy], packed, [new(0, Length, 0, Length), new(Length, Length, Length, Length)]);
        Near.SameBits(alone, packed.AsSpan(Length * Dim));

        void Run(float[] x, float[] grads, float[] to, PackedSequence[] sequences)
        {
            AttentionBackward.Apply(
                x,
                Dim,
                x,
                Dim,
                x,
                Dim,
                grads,
                Dim,
                to,
                Dim,
                new float[x.Length],
                Dim,
                new float[x.Length],
                Dim,
                1,
                1,
                Dim,
                sequences,
                causal: true,
                0.25f,
                pool
            );
        }
    }

    [Theory]
    [InlineData(true, 1030, 1030)]
    [InlineData(true, 600, 1100)]
    [InlineData(false, 1030, 40)]
    public void The_pieces_of_a_long_sequence_add_up_and_depend_on_no_thread(bool causal, int queries, int keys)
    {
        const int Dim = 8;
        const int Heads = 2; // of one key/value head
        const int Before = 3; // rows of a short sequence
        PackedSequence[] sequences = [new(0, Before, 0, Before), new(Before, queries, Before, keys)];
        float[] q = Differences.Normal(1, (Before + queries) * Heads * Dim);
        float[] k = Differences.Normal(2, (Before + keys) * Dim);
        float[] v = Differences.Normal(3, (Before + keys) * Dim);
        float[] dy = Differences.Normal(4, (Before + queries) * Heads * Dim);
        (float[] dq, float[] dk, float[] dv) = Run(pool);
        using WorkerPool single = new(1);
        (float[] dq1, float[] dk1, float[] dv1) = Run(single);
        Near.SameBits(dq1, dq);
        Near.SameBits(dk1, dk);
        Near.SameBits(dv1, dv);
        double[] dqExpected = new double[q.Length];
        double[] dkExpected = new double[k.Length];
        double[] dvExpected = new double[v.Length];
        foreach (PackedSequence s in sequences)
        {
            for (int row = 0; row < s.QueryCount * Heads; row++)
            {
                int at = ((s.QueryStart * Heads) + row) * Dim;
                int seen = causal ? s.KeyCount - s.QueryCount + (row / Heads) + 1 : s.KeyCount;
                double[] p =
                [
                    .. Enumerable.Range(0, seen).Select(j => Math.Exp(0.3f * Dot(q, at, k, (s.KeyStart + j) * Dim))),
                ];
                double[] dp = [.. Enumerable.Range(0, seen).Select(j => Dot(dy, at, v, (s.KeyStart + j) * Dim))];
                double sum = p.Sum();
                double mean = p.Zip(dp, (x, y) => x / sum * y).Sum();
                for (int j = 0; j < seen; j++)
                {
                    int key = (s.KeyStart + j) * Dim;
                    double share = p[j] / sum;
                    double ds = share * (dp[j] - mean) * 0.3f;
                    for (int c = 0; c < Dim; c++)
                    {
                        dqExpected[at + c] += ds * k[key + c];
                        dkExpected[key + c] += ds * q[at + c];
                        dvExpected[key + c] += share * dy[at + c];
                    }
                }
            }
        }

        Near.RelativeToLargest(1e-5, dqExpected, dq, "dq");
        Near.RelativeToLargest(1e-5, dkExpected, dk, "dk");
        Near.RelativeToLargest(1e-5, dvExpected, dv, "dv");

        (float[], float[], float[]) Run(WorkerPool threads)
        {
            float[] toQ = new float[q.Length];
            float[] toK = new float[k.Length];
            float[] toV = new float[v.Length];
            AttentionBackward.Apply(
                q,
                Heads * Dim,
                k,
                Dim,
                v,
                Dim,
                dy,
                Heads * Dim,
                toQ,
                Heads * Dim,
                toK,
                Dim,
                toV,
                Dim,
                Heads,
                1,
                Dim,
                sequences,
                causal,
                0.3f,
                threads
            );
            return (toQ, toK, toV);
        }
    }

    static double Dot(float[] a, int aStart, float[] b, int bStart)
    {
        double sum = 0;
        for (int c = 0; c < 8; c++)
        {
            sum += (double)a[aStart + c] * b[bStart + c];
        }

        return sum;
    }
}
