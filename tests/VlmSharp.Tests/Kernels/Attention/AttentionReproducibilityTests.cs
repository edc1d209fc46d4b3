using VlmSharp.Kernels;
using VlmSharp.Testing;
using Xunit;

namespace VlmSharp.Tests.Kernels;

/// <summary>Bits: a query's result depends on that query and the keys it sees, and on nothing else.</summary>
public sealed class AttentionReproducibilityTests : IDisposable
{
    readonly WorkerPool pool = new(2);

    public static TheoryData<Way> Ways => [.. Way.All];

    public static TheoryData<Way, int, int, int> Shapes =>
        [
            .. Way.All.SelectMany(
                _ => new[] { (6, 1, 40), (3, 3, 80), (12, 2, 128), (7, 1, 12) },
                (v, s) => (v, s.Item1, s.Item2, s.Item3)
            ),
        ];

    public void Dispose() => pool.Dispose();

    [Theory, MemberData(nameof(Shapes))]
    public void A_prefill_in_chunks_and_token_by_token_gives_the_bits_of_a_whole_one(
        Way way,
        int heads,
        int kvHeads,
        int headDim
    )
    {
        const int Length = 275; // beyond one block of keys
        var c = new AttentionCase(heads, kvHeads, headDim, [(Length, Length)]);
        float[] whole = c.Run(way, pool);
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
                y.AddRange(c.Run(way, pool, c.Queries(0, from, to - from), [(0, to - from, to)]));
                from = to;
            }

            Near.SameBits(whole, y.ToArray(), $"{cuts.Length} chunks");
        }
    }

    [Theory, MemberData(nameof(Shapes))]
    public void Some_queries_of_full_attention_get_the_bits_they_get_among_all(
        Way way,
        int heads,
        int kvHeads,
        int headDim
    )
    {
        var c = new AttentionCase(heads, kvHeads, headDim, [(150, 290)]) { Causal = false };
        float[] whole = c.Run(way, pool);
        int width = heads * headDim;
        foreach ((int first, int count) in new[] { (0, 1), (13, 5), (100, 50) })
        {
            float[] some = c.Run(way, pool, c.Queries(0, first, count), [(0, count, 290)]);
            Near.SameBits(whole.AsSpan(first * width, count * width), some);
        }
    }

    [Theory, MemberData(nameof(Shapes))]
    public void A_sequence_in_a_batch_gets_the_bits_it_gets_alone(Way way, int heads, int kvHeads, int headDim)
    {
        (int Queries, int Keys)[] lengths = [(1, 260), (40, 40), (0, 5), (1, 1), (17, 300), (3, 64)];
        foreach (bool causal in new[] { true, false })
        {
            var c = new AttentionCase(heads, kvHeads, headDim, lengths) { Causal = causal };
            float[] together = c.Run(way, pool);
            var alone = new List<float>();
            for (int s = lengths.Length - 1; s >= 0; s--)
            {
                (int queries, int keys) = lengths[s];
                alone.InsertRange(0, c.Run(way, pool, c.Queries(s, 0, queries), [(s, queries, keys)], shuffle: s));
            }

            Near.SameBits(together, alone.ToArray());
        }
    }

    [Theory, MemberData(nameof(Ways))]
    public void Threads_strides_and_the_order_of_pages_change_no_bit(Way way)
    {
        var c = new AttentionCase(4, 2, 72, [(200, 400), (1, 333)]);
        float[] expected = c.Run(way, pool);
        foreach (int threads in new[] { 1, 3 })
        {
            using var other = new WorkerPool(threads);
            Near.SameBits(expected, c.Run(way, other, gap: 5, shuffle: threads));
        }
    }

    [Theory, MemberData(nameof(Ways))]
    public void Blocks_of_keys_computed_side_by_side_give_the_bits_of_one_after_the_other(Way way)
    {
        // Fewer pieces than threads, several blocks each, enough work to share.
        foreach ((int Queries, int Keys)[] lengths in new[] { new[] { (1, 1100) }, [(3, 900)], [(20, 515), (1, 1)] })
        {
            foreach (bool causal in new[] { true, false })
            {
                var c = new AttentionCase(6, 1, 48, lengths) { Causal = causal };
                using var one = new WorkerPool(1);
                float[] expected = c.Run(way, one);
                foreach (int threads in new[] { 2, 3, 5 })
                {
                    using var other = new WorkerPool(threads);
                    Near.SameBits(expected, c.Run(way, other), $"{threads} threads");
                }
            }
        }
    }

    [Theory, MemberData(nameof(Ways))]
    public void Keys_behind_a_query_change_no_bit_whatever_they_are(Way way)
    {
        // Queries 0 to 29 at positions 250 to 279; from 260 on, all keys and values become garbage.
        var c = new AttentionCase(2, 1, 40, [(30, 280)]);
        float[] expected = c.Run(way, pool);
        foreach (float garbage in new[] { float.NaN, float.PositiveInfinity, float.MaxValue })
        {
            c.Keys[0].AsSpan(260 * 40).Fill(garbage);
            c.Values[0].AsSpan(260 * 40).Fill(garbage);
            Near.SameBits(expected.AsSpan(0, 10 * 80), c.Run(way, pool).AsSpan(0, 10 * 80));
        }
    }

    [Theory, MemberData(nameof(Ways))]
    public void The_output_may_be_the_input_and_other_rows_are_left_alone(Way way)
    {
        var c = new AttentionCase(4, 2, 24, [(150, 150)]);
        float[] expected = c.Run(way, pool);
        KvLayout layout = c.Layout with { Storage = way.Storage };
        byte[] pages = new byte[3 * layout.PageBytes];
        int[] slots = [.. Enumerable.Range(0, 150)];
        KeyValueStore.Write(way.Writer, c.Keys[0], 48, c.Values[0], 48, 150, layout, pages, slots, pool);
        float[] x = [.. Enumerable.Repeat(7f, 96), .. c.Q, .. Enumerable.Repeat(7f, 96)];
        Attention.Apply(
            way.Kernel,
            x,
            96,
            4,
            layout,
            pages,
            [0, 1, 2],
            [new(1, 150, 150, 0)],
            true,
            c.Scale,
            x,
            96,
            pool,
            way.MayRound
        );
        Near.SameBits([.. Enumerable.Repeat(7f, 96), .. expected, .. Enumerable.Repeat(7f, 96)], x);
    }
}
