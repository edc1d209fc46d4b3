using VlmSharp.Kernels;
using VlmSharp.Testing;
using Xunit;

namespace VlmSharp.Tests.Kernels;

/// <summary>Values: what attention computes.</summary>
public sealed class AttentionTests : IDisposable
{
    readonly WorkerPool pool = new(2);

    public static TheoryData<Way> Ways => [.. Way.All];

    public static TheoryData<Way, int> HeadSizes =>
        [
            .. Way.All.SelectMany(
                _ => new[] { 1, 2, 12, 15, 16, 17, 24, 33, 40, 64, 72, 80, 96, 128, 200 },
                (v, d) => (v, d)
            ),
        ];

    public void Dispose() => pool.Dispose();

    [Theory, MemberData(nameof(HeadSizes))]
    public void Matches_double_precision_for_every_head_size(Way way, int headDim)
    {
        (int, int)[] lengths = [(1, 1), (31, 31), (3, 70), (15, 64), (40, 300)];
        Check(new AttentionCase(3, 1, headDim, lengths), way);
        Check(new AttentionCase(2, 2, headDim, lengths) { Causal = false }, way);
    }

    [Theory, MemberData(nameof(Ways))]
    public void Matches_double_precision_for_every_number_of_keys(Way way)
    {
        // 258 sequences in one batch: 0 to 257 keys, and each time as many of the last of them queried as a tile has rows, or fewer.
        (int, int)[] lengths = [.. Enumerable.Range(0, 258).Select(n => (Math.Min(n, 1 + (n * 7 % 15)), n))];
        Check(new AttentionCase(1, 1, 24, lengths), way);
        Check(new AttentionCase(2, 1, 12, lengths) { Causal = false }, way);
    }

    [Theory, MemberData(nameof(Ways))]
    public void Matches_double_precision_for_every_number_of_queries(Way way)
    {
        (int, int)[] lengths = [.. Enumerable.Range(0, 130).Select(n => (n, n + (n % 5)))];
        Check(new AttentionCase(1, 1, 16, lengths), way);
        Check(new AttentionCase(1, 1, 16, lengths) { Causal = false }, way);
    }

    [Theory, MemberData(nameof(Ways))]
    public void Matches_double_precision_for_every_grouping_of_heads(Way way)
    {
        foreach (
            (int heads, int kvHeads) in new[] { (1, 1), (5, 5), (12, 2), (28, 4), (7, 1), (16, 16), (130, 1), (30, 2) }
        )
        {
            Check(new AttentionCase(heads, kvHeads, 20, [(9, 40), (1, 90), (33, 33)]), way);
        }
    }

    [Theory, MemberData(nameof(Ways))]
    public void Matches_double_precision_over_many_blocks_of_keys(Way way)
    {
        Check(new AttentionCase(4, 2, 40, [(300, 900)]), way);
        Check(new AttentionCase(2, 2, 80, [(300, 300), (1, 1030)]) { Causal = false }, way);
    }

    [Theory, MemberData(nameof(Ways))]
    public void A_query_before_the_first_key_gets_zeros(Way way)
    {
        var c = new AttentionCase(2, 1, 24, [(5, 3), (4, 0), (20, 1)]);
        float[] y = c.Run(way, pool);
        Assert.All(y[..(2 * 48)], v => Assert.Equal(0, v));
        Check(c, way);
        Check(new AttentionCase(2, 1, 24, [(5, 3), (4, 0), (0, 0), (0, 7)]) { Causal = false }, way);
    }

    [Theory, MemberData(nameof(Ways))]
    public void Large_scores_do_not_overflow(Way way)
    {
        // Scores of some thousands: without subtracting the maximum every exponential would overflow, and the winner takes all.
        var c = new AttentionCase(2, 2, 24, [(40, 700)]) { Scale = 1000 };
        Assert.All(c.Run(way, pool), v => Assert.True(float.IsFinite(v)));
        Check(c, way, way.Rounds ? 0.5 : 2e-3); // scores of 5e4 in f32 are 4e-3 apart: weights of close runners-up are that uncertain

        // A score near the largest number, then a small one in a later block, and the reverse.
        foreach (int at in new[] { 0, 300 })
        {
            var extreme = new AttentionCase(1, 1, 1, [(1, 301)]) { Scale = 1 };
            extreme.Q[0] = 1;
            extreme.Keys[0].AsSpan().Fill(-2e38f);
            extreme.Keys[0][at] = 2e38f;
            float winner = StoredNumbers.Of(way.Storage, extreme.Values[0], 1)[at];
            Assert.Equal([way.Rounds ? StoredNumbers.Bf16(winner) : winner], extreme.Run(way, pool));
        }
    }

    [Theory, MemberData(nameof(Ways))]
    public void Equal_scores_average_the_values(Way way)
    {
        var c = new AttentionCase(1, 1, 16, [(1, 777)]);
        c.Q.AsSpan().Clear();
        Check(c, way);
    }

    [Theory, MemberData(nameof(Ways))]
    public void NaN_in_a_query_or_in_a_key_it_sees_is_NaN_for_that_query_and_head(Way way)
    {
        const int D = 24;
        var query = new AttentionCase(3, 1, D, [(20, 300)]);
        float[] clean = query.Run(way, pool);
        query.Q[(((7 * 3) + 1) * D) + 5] = float.NaN;
        float[] y = query.Run(way, pool);
        int head = ((7 * 3) + 1) * D;
        Assert.All(y[head..(head + D)], v => Assert.True(float.IsNaN(v)));
        Near.SameBits(clean.AsSpan(0, head), y.AsSpan(0, head));
        Near.SameBits(clean.AsSpan(head + D), y.AsSpan(head + D));

        // Query 7 stands at 287 and is the first to see key 287.
        var key = new AttentionCase(3, 1, D, [(20, 300)]);
        key.Keys[0][(287 * D) + 3] = float.NaN;
        y = key.Run(way, pool);
        Near.SameBits(clean.AsSpan(0, 7 * 3 * D), y.AsSpan(0, 7 * 3 * D));
        Assert.All(y[(7 * 3 * D)..], v => Assert.True(float.IsNaN(v)));
    }

    [Theory, MemberData(nameof(Ways))]
    public void NaN_or_infinity_in_a_value_reaches_its_channel_in_the_queries_that_see_it(Way way)
    {
        const int D = 24;
        foreach (float bad in new[] { float.NaN, float.PositiveInfinity })
        {
            var c = new AttentionCase(1, 1, D, [(20, 300)]);
            float[] clean = c.Run(way, pool);
            c.Values[0][(287 * D) + 18] = bad;
            float[] y = c.Run(way, pool);
            for (int i = 0; i < y.Length; i++)
            {
                // With q8 all channels of a factor become NaN.
                bool q8 = way.Storage == KvStorage.Q8;
                bool reached = i / D >= 7 && (q8 || i % D == 18);
                Assert.Equal(
                    !reached ? clean[i]
                        : q8 ? float.NaN
                        : bad,
                    y[i]
                );
            }
        }
    }

    [Theory, MemberData(nameof(Ways))]
    public void A_score_of_minus_infinity_has_no_weight_and_one_of_plus_infinity_is_NaN(Way way)
    {
        const int D = 16;
        var c = new AttentionCase(1, 1, D, [(1, 600)]);
        c.Q.AsSpan().Fill(1);
        for (int key = 0; key < 300; key++)
        {
            c.Keys[0][key * D] = float.NegativeInfinity; // the whole first block and some of the second
        }

        if (way.Storage != KvStorage.Q8) // where the whole group is NaN
        {
            Check(c, way);
        }

        c.Keys[0][400 * D] = float.PositiveInfinity;
        Assert.All(c.Run(way, pool), v => Assert.True(float.IsNaN(v)));
    }

    void Check(AttentionCase c, Way way, double? tolerance = null) =>
        Near.RelativeToLargest(
            tolerance ?? way.Tolerance,
            c.Expected(way.Storage),
            c.Run(way, pool, gap: 3),
            $"{way} {c.Heads}/{c.Layout} causal {c.Causal}"
        );
}
