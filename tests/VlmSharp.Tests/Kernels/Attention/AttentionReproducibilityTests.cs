using VlmSharp.Kernels;
using VlmSharp.Testing;
using Xunit;

namespace VlmSharp.Tests.Kernels;

/// <summary>Bits: a query's result depends on that query and the keys it sees, and on nothing else.</summary>
public sealed class AttentionReproducibilityTests : IDisposable
{
    readonly WorkerPool pool = new(2);

    public static TheoryData<string> Variants => [.. Attention.Variants.SupportedNames];

    public static TheoryData<string, int, int, int> Shapes =>
        [
            .. Variants.SelectMany(
                _ => new[] { (6, 1, 40), (3, 3, 80), (12, 2, 128), (7, 1, 12) },
                (v, s) => (v.Data, s.Item1, s.Item2, s.Item3)
            ),
        ];

    public void Dispose() => pool.Dispose();

    [Theory, MemberData(nameof(Shapes))]
    public void A_prefill_in_chunks_and_token_by_token_gives_the_bits_of_a_whole_one(
        string variant,
        int heads,
        int kvHeads,
        int headDim
    )
    {
        const int Length = 275; // beyond one block of keys
        var c = new AttentionCase(heads, kvHeads, headDim, [(Length, Length)]);
        float[] whole = c.Run(variant, pool);
        foreach (
            int[] cuts in new[]
            {
                new[] { 128, 256, Length },
                [1, 14, 100, 255, 257, Length],
                [.. Enumerable.Range(1, Length)],
            }
        )
        {
            var y = new List<float>();
            int from = 0;
            foreach (int to in cuts)
            {
                y.AddRange(c.Run(variant, pool, c.Queries(0, from, to - from), [(0, to - from, to)]));
                from = to;
            }

            Near.SameBits(whole, y.ToArray(), $"{cuts.Length} chunks");
        }
    }

    [Theory, MemberData(nameof(Shapes))]
    public void Some_queries_of_full_attention_get_the_bits_they_get_among_all(
        string variant,
        int heads,
        int kvHeads,
        int headDim
    )
    {
        var c = new AttentionCase(heads, kvHeads, headDim, [(150, 290)]) { Causal = false };
        float[] whole = c.Run(variant, pool);
        int width = heads * headDim;
        foreach ((int first, int count) in new[] { (0, 1), (13, 5), (100, 50) })
        {
            float[] some = c.Run(variant, pool, c.Queries(0, first, count), [(0, count, 290)]);
            Near.SameBits(whole.AsSpan(first * width, count * width), some);
        }
    }

    [Theory, MemberData(nameof(Shapes))]
    public void A_sequence_in_a_batch_gets_the_bits_it_gets_alone(string variant, int heads, int kvHeads, int headDim)
    {
        (int Queries, int Keys)[] lengths = [(1, 260), (40, 40), (0, 5), (1, 1), (17, 300), (3, 64)];
        foreach (bool causal in new[] { true, false })
        {
            var c = new AttentionCase(heads, kvHeads, headDim, lengths) { Causal = causal };
            float[] together = c.Run(variant, pool);
            var alone = new List<float>();
            for (int s = lengths.Length - 1; s >= 0; s--)
            {
                (int queries, int keys) = lengths[s];
                alone.InsertRange(0, c.Run(variant, pool, c.Queries(s, 0, queries), [(s, queries, keys)], shuffle: s));
            }

            Near.SameBits(together, alone.ToArray());
        }
    }

    [Theory, MemberData(nameof(Variants))]
    public void Threads_strides_and_the_order_of_pages_change_no_bit(string variant)
    {
        var c = new AttentionCase(4, 2, 72, [(200, 400), (1, 333)]);
        float[] expected = c.Run(variant, pool);
        foreach (int threads in new[] { 1, 3 })
        {
            using var other = new WorkerPool(threads);
            Near.SameBits(expected, c.Run(variant, other, gap: 5, shuffle: threads));
        }
    }

    [Theory, MemberData(nameof(Variants))]
    public void Keys_behind_a_query_change_no_bit_whatever_they_are(string variant)
    {
        // Queries 0 to 29 at positions 250 to 279; from 260 on, all keys and values become garbage.
        var c = new AttentionCase(2, 1, 40, [(30, 280)]);
        float[] expected = c.Run(variant, pool);
        foreach (float garbage in new[] { float.NaN, float.PositiveInfinity, float.MaxValue })
        {
            c.Keys[0].AsSpan(260 * 40).Fill(garbage);
            c.Values[0].AsSpan(260 * 40).Fill(garbage);
            Near.SameBits(expected.AsSpan(0, 10 * 80), c.Run(variant, pool).AsSpan(0, 10 * 80));
        }
    }

    [Theory, MemberData(nameof(Variants))]
    public void The_output_may_be_the_input_and_other_rows_are_left_alone(string variant)
    {
        var c = new AttentionCase(4, 2, 24, [(150, 150)]);
        float[] expected = c.Run(variant, pool);
        float[] pages = new float[3 * c.Layout.PageFloats];
        int[] slots = [.. Enumerable.Range(0, 150)];
        KeyValueStore.Write(c.Keys[0], 48, c.Values[0], 48, 150, c.Layout, pages, slots, pool);
        float[] x = [.. Enumerable.Repeat(7f, 96), .. c.Q, .. Enumerable.Repeat(7f, 96)];
        Attention.Apply(
            Attention.Variants.Supported.Single(v => v.Name == variant).Run,
            x,
            96,
            4,
            c.Layout,
            pages,
            [0, 1, 2],
            [new(1, 150, 150, 0)],
            true,
            c.Scale,
            x,
            96,
            pool
        );
        Near.SameBits([.. Enumerable.Repeat(7f, 96), .. expected, .. Enumerable.Repeat(7f, 96)], x);
    }
}
