using VlmSharp.Generation;
using VlmSharp.Testing;
using Xunit;

namespace VlmSharp.Tests.Generation;

public class SamplerTests
{
    const int Vocabulary = 151_936;

    [Fact]
    public void Greedy_takes_the_best_and_the_lowest_of_equal_ids()
    {
        Sampler sampler = new(new SamplingOptions(), [], 5);
        Assert.Equal(2, sampler.Next([0, 1, 3, 3, -1]));
        Assert.Equal(0, sampler.Next([7, 1, 3, 3, -1]));
        Assert.Equal([2, 0], sampler.Answer.ToArray());
    }

    [Fact]
    public void Greedy_with_a_penalty_counts_what_was_answered_before()
    {
        Sampler sampler = new(new SamplingOptions { FrequencyPenalty = 1 }, [1, 1, 1], 3);
        float[] logits = [2, 2.5f, 0];

        // 2.5, 2, 0; then 1.5, 2, 0; 1.5, 1, 0; 0.5, 1, 0; 0.5, 0, 0; -0.5, 0, 0. The prompt's tokens do not count.
        Assert.Equal([1, 0, 1, 0, 1, 0], Enumerable.Range(0, 6).Select(_ => sampler.Next(logits)));
        Assert.Equal([2, 2.5f, 0], logits);
    }

    [Fact]
    public void A_temperature_too_small_to_divide_by_is_greedy()
    {
        Sampler sampler = new(new SamplingOptions { Temperature = 1e-40 }, [], 3);
        Assert.Equal(1, sampler.Next([1, 1.0001f, 0]));
    }

    [Theory]
    [InlineData(0)]
    [InlineData(0.7)]
    public void Logits_that_are_not_numbers_are_reported_with_their_place(double temperature)
    {
        Sampler sampler = new(new SamplingOptions { Temperature = temperature }, [], 3000);
        float[] logits = new float[3000];
        logits[1234] = logits[2999] = float.NaN;
        ArgumentException error = Assert.Throws<ArgumentException>(() => sampler.Next(logits));
        Assert.Contains("2 of 3000 logits are NaN, the first at token 1234", error.Message);
    }

    [Fact]
    public void A_nan_at_any_place_is_noticed()
    {
        for (int length = 1; length < 50; length++)
        {
            for (int at = 0; at < length; at++)
            {
                float[] logits = new float[length];
                logits[at] = float.NaN;
                Assert.Throws<ArgumentException>(() => ScoreMath.ArgMax(logits));
            }
        }
    }

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    public void When_every_token_is_removed_that_is_said(double temperature)
    {
        SamplingOptions options = new() { Temperature = temperature, SuppressTokens = [0, 1, 2] };
        Assert.Contains(
            "No token is left",
            Assert.Throws<InvalidOperationException>(() => new Sampler(options, [], 3).Next([1, 2, 3])).Message
        );
        Sampler unrestricted = new(new SamplingOptions { Temperature = temperature }, [], 2);
        Assert.Throws<InvalidOperationException>(() =>
            unrestricted.Next([float.NegativeInfinity, float.NegativeInfinity])
        );
    }

    [Fact]
    public void Logits_of_another_vocabulary_are_refused_with_both_sizes()
    {
        Sampler sampler = new(new SamplingOptions(), [], 10);
        Assert.Contains(
            "There are 9 logits for a vocabulary of 10 tokens.",
            Assert.Throws<ArgumentException>(() => sampler.Next(new float[9])).Message
        );
    }

    [Fact]
    public void Infinite_logits_share_the_choice()
    {
        Sampler sampler = new(new SamplingOptions { Temperature = 1, Seed = 5 }, [], 4);
        float[] logits = [1, float.PositiveInfinity, 3, float.PositiveInfinity];
        int[] counts = new int[4];
        for (int i = 0; i < 200; i++)
        {
            counts[sampler.Next(logits)]++;
        }

        Assert.Equal(0, counts[0] + counts[2]);
        Assert.InRange(counts[1], 60, 140);
    }

    [Fact]
    public void A_seed_repeats_an_answer_and_another_seed_does_not()
    {
        int[] Answer(ulong seed)
        {
            Sampler sampler = new(
                new SamplingOptions
                {
                    Temperature = 1,
                    TopP = 0.95,
                    Seed = seed,
                },
                [],
                500
            );
            return [.. Enumerable.Range(0, 50).Select(step => sampler.Next(Logits(500, step)))];
        }

        Assert.Equal(Answer(7), Answer(7));
        Assert.NotEqual(Answer(7), Answer(8));
    }

    [Fact]
    public void The_tokens_of_a_seed_stay_what_they_are()
    {
        // Written down from this implementation: a change of the stream or of the order of choice is a break for users.
        Sampler sampler = new(new SamplingOptions { Temperature = 1, Seed = 42 }, [], 8);
        float[] logits = [0, 0, 0, 0, 0, 0, 0, 0];
        ulong[] bits = [1546998764402558742, 6990951692964543102, 12544586762248559009, 17057574109182124193];

        // Of eight equal tokens the first three bits of the stream choose.
        Assert.Equal(bits.Select(b => (int)(b >> 61)), bits.Select(_ => sampler.Next(logits)));
    }

    [Theory]
    [InlineData(0UL, 11091344671253066420UL, 13793997310169335082UL)]
    [InlineData(42UL, 1546998764402558742UL, 6990951692964543102UL)]
    [InlineData(ulong.MaxValue, 10328197420357168392UL, 14156678507024973869UL)]
    public void The_random_source_is_xoshiro256_starstar_seeded_by_splitmix64(ulong seed, ulong first, ulong second)
    {
        SamplerRandom random = new(seed);
        Assert.Equal(first, random.NextBits());
        Assert.Equal(second, random.NextBits());
    }

    [Fact]
    public void Samplers_that_share_buffers_answer_as_they_do_alone()
    {
        SamplingOptions options = new()
        {
            Temperature = 0.8,
            TopK = 40,
            TopP = 0.9,
            RepetitionPenalty = 1.1,
            Seed = 3,
        };
        Sampler alone = new(options, [1, 2], 2000);
        SamplerScratch scratch = new(2000);
        Sampler shared = new(options, [1, 2], 2000, null, scratch);
        Sampler other = new(options with { Seed = 4 }, [5], 2000, null, scratch);
        for (int step = 0; step < 50; step++)
        {
            float[] logits = Logits(2000, step);
            other.Next(Logits(2000, 1000 + step));
            Assert.Equal(alone.Next(logits), shared.Next(logits));
        }
    }

    public static TheoryData<SamplingOptions> Distributions() =>
        [
            new SamplingOptions { Temperature = 1 },
            new SamplingOptions { Temperature = 1.7 },
            new SamplingOptions { Temperature = 1, TopK = 5 },
            new SamplingOptions { Temperature = 0.8, TopP = 0.7 },
            new SamplingOptions { Temperature = 1, MinP = 0.2 },
        ];

    [Theory]
    [MemberData(nameof(Distributions))]
    public void Tokens_come_as_often_as_their_probability_says(SamplingOptions options)
    {
        const int Tokens = 600;
        const int Draws = 40_000;
        float[] logits = Logits(Tokens, 9);
        float[] scores = [.. logits];
        new LogitsPipeline(options, 0, Tokens, new SamplerRandom(1)).Process(
            scores,
            new History([]),
            new SamplerScratch(Tokens)
        );
        float[] probabilities = new float[Tokens];
        ScoreMath.Probabilities(scores, probabilities);

        Sampler sampler = new(options with { Seed = 11 }, [], Tokens);
        int[] counts = new int[Tokens];
        for (int i = 0; i < Draws; i++)
        {
            counts[sampler.Next(logits)]++;
        }

        // Chi-square over the tokens expected at least five times; the others in one bin.
        double statistic = 0;
        int bins = 0;
        double rareExpected = 0;
        int rare = 0;
        for (int i = 0; i < Tokens; i++)
        {
            double expected = probabilities[i] * (double)Draws;
            Assert.True(probabilities[i] > 0 || counts[i] == 0, $"token {i} was removed and chosen");
            if (expected < 5)
            {
                (rareExpected, rare) = (rareExpected + expected, rare + counts[i]);
                continue;
            }

            statistic += (counts[i] - expected) * (counts[i] - expected) / expected;
            bins++;
        }

        if (rareExpected > 5)
        {
            statistic += (rare - rareExpected) * (rare - rareExpected) / rareExpected;
            bins++;
        }

        // Mean bins - 1, variance 2 (bins - 1): four deviations.
        Assert.InRange(statistic, 0, bins - 1 + 4 * Math.Sqrt(2 * (bins - 1)));
    }

    [Fact]
    public void Truncations_of_a_large_vocabulary_keep_what_sorting_keeps()
    {
        foreach (int shape in new[] { 1, 2, 3 })
        {
            float[] logits = Logits(Vocabulary, shape);
            double max = logits.Max();
            double[] p = [.. logits.Select(logit => Math.Exp(logit - max))];
            double total = p.Sum();
            int[] order = [.. Enumerable.Range(0, Vocabulary).OrderByDescending(i => logits[i])];

            foreach (int k in new[] { 1, 20, 50, 1000 })
            {
                Assert.Equal(
                    logits.Count(logit => logit >= logits[order[k - 1]]),
                    Kept(logits, new SamplingOptions { Temperature = 1, TopK = k })
                );
            }

            foreach (double topP in new[] { 0.1, 0.8, 0.95, 0.999 })
            {
                double sum = 0;
                int expected = order.TakeWhile(i => (sum += p[i] / total) - p[i] / total < topP).Count();
                int kept = Kept(logits, new SamplingOptions { Temperature = 1, TopP = topP });

                // A sum in f32 may put the border some tokens of the tail apart.
                Assert.InRange(kept, expected - 1 - expected / 500, expected + 1 + expected / 500);
            }
        }

        static int Kept(float[] logits, SamplingOptions options)
        {
            float[] scores = [.. logits];
            new LogitsPipeline(options, 0, Vocabulary, new SamplerRandom(1)).Process(
                scores,
                new History([]),
                new SamplerScratch(Vocabulary)
            );
            return scores.Count(score => !float.IsNegativeInfinity(score));
        }
    }

    [Fact]
    public void Top_choices_are_excluded_as_often_as_asked()
    {
        SamplingOptions options = new()
        {
            Temperature = 1,
            XtcThreshold = 0.1,
            XtcProbability = 0.25,
            Seed = 2,
        };
        Sampler sampler = new(options, [], 3);

        // Token 0 has nearly everything, but token 1 is above the threshold: with XTC token 0 cannot come.
        int zero = Enumerable.Range(0, 4000).Count(_ => sampler.Next([3, 1.2f, -20]) == 0);
        double share = Math.Exp(3) / (Math.Exp(3) + Math.Exp(1.2)) * 0.75;
        Assert.InRange(zero, 4000 * share - 120, 4000 * share + 120);
    }

    [Fact]
    public void A_constraint_sees_the_history_and_decides_before_truncation()
    {
        Sampler sampler = new(new SamplingOptions { Temperature = 1, TopK = 1 }, [9, 9], 10, [new OnlySuccessor()]);
        Assert.Equal([0, 1, 2, 3], Enumerable.Range(0, 4).Select(_ => sampler.Next([5, 4, 3, 2, 1, 0, -1, -2, -3, 9])));
    }

    [Theory]
    [MemberData(nameof(SteadySteps))]
    public void A_step_allocates_nothing_after_warm_up(SamplingOptions options)
    {
        int[] prompt = [.. Enumerable.Range(0, 300)];
        Sampler sampler = new(options, prompt, Vocabulary);
        float[][] logits = [Logits(Vocabulary, 1), Logits(Vocabulary, 2)];
        for (int i = 0; i < 4; i++)
        {
            sampler.Next(logits[i % 2]);
        }

        int step = 0;
        Assert.Equal(0, Allocations.InSteadyState(() => sampler.Next(logits[step++ % 2]), times: 20));
    }

    public static TheoryData<SamplingOptions> SteadySteps() =>
        [
            new SamplingOptions(),
            new SamplingOptions { LogProbs = 5, RepetitionPenalty = 1.05 },
            new SamplingOptions
            {
                Temperature = 0.7,
                TopK = 20,
                TopP = 0.8,
                RepetitionPenalty = 1.05,
                Seed = 1,
            },
            new SamplingOptions { Temperature = 1, TopP = 0.99 },
            new SamplingOptions
            {
                Temperature = 1.2,
                MinP = 0.05,
                PresencePenalty = 1,
                FrequencyPenalty = 0.2,
                NoRepeatNGramSize = 3,
                EndTokens = [5],
                MinNewTokens = 100,
                TypicalP = 0.9,
                EtaCutoff = 1e-4,
                TopH = 0.9,
                TopA = 0.01,
                TailFree = 0.98,
                TopNSigma = 3,
                SmoothingFactor = 0.2,
                XtcProbability = 0.5,
                DryMultiplier = 0.8,
                BadWords =
                [
                    [1, 2],
                ],
                LogProbs = 20,
            },
        ];

    [Fact]
    public void Log_probabilities_are_of_the_raw_logits_whatever_was_chosen()
    {
        Sampler sampler = new(new SamplingOptions { LogProbs = 2, SuppressTokens = [0] }, [], 4);
        sampler.Next([2, 1, 0.5f, -3]);
        StepLogProbs step = sampler.LastLogProbs;
        double normaliser = Math.Log(Math.Exp(2) + Math.Exp(1) + Math.Exp(0.5) + Math.Exp(-3));
        Assert.Equal(1, step.Chosen.Token);
        Assert.Equal(1 - normaliser, step.Chosen.LogProb, 1e-6);
        Assert.Equal(2, step.Rank);
        Assert.Equal([0, 1], step.Top.ToArray().Select(entry => entry.Token));
        Assert.Equal(2 - normaliser, step.Top[0].LogProb, 1e-6);
    }

    [Fact]
    public void Without_the_option_there_are_no_log_probabilities()
    {
        Sampler sampler = new(new SamplingOptions(), [], 2);
        sampler.Next([1, 2]);
        Assert.Contains(
            "SamplingOptions.LogProbs",
            Assert.Throws<InvalidOperationException>(() => sampler.LastLogProbs.Rank).Message
        );
    }

    /// <summary>Normal noise with a few good tokens, as a model's logits look; whole numbers for every third seed, so that many are equal.</summary>
    static float[] Logits(int vocabulary, int seed)
    {
        Random random = new(seed);
        float[] logits = new float[vocabulary];
        for (int i = 0; i < vocabulary; i++)
        {
            double noise =
                Math.Sqrt(-2 * Math.Log(1 - random.NextDouble())) * Math.Cos(2 * Math.PI * random.NextDouble());
            logits[i] = (float)(2 * noise + (random.Next(vocabulary) < 40 ? 8 : 0));
            logits[i] = seed % 3 == 0 ? MathF.Round(logits[i]) : logits[i];
        }

        return logits;
    }

    sealed class OnlySuccessor : ILogitsProcessor
    {
        public void Process(Span<float> scores, History history)
        {
            int allowed = history.Answer.IsEmpty ? 0 : history.Answer[^1] + 1;
            float score = scores[allowed];
            scores.Fill(float.NegativeInfinity);
            scores[allowed] = score;
        }
    }
}
