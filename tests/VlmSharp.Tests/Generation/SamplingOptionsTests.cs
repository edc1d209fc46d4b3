using VlmSharp.Formats;
using VlmSharp.Generation;
using Xunit;

namespace VlmSharp.Tests.Generation;

public class SamplingOptionsTests
{
    public static TheoryData<Func<SamplingOptions>, string> OutOfRange() =>
        new()
        {
            {
                () =>
                    new SamplingOptions { Temperature = -0.5 },
                "Temperature is -0.5; it must be a finite number of at least 0."
            },
            {
                () =>
                    new SamplingOptions { Temperature = double.NaN },
                "Temperature is NaN; it must be a finite number of at least 0."
            },
            {
                () =>
                    new SamplingOptions { TopK = -1 },
                "TopK is -1; it must be at least 0."
            },
            {
                () =>
                    new SamplingOptions { TopP = 1.2 },
                "TopP is 1.2; it must be from 0 to 1."
            },
            {
                () =>
                    new SamplingOptions { MinP = double.NaN },
                "MinP is NaN; it must be from 0 to 1."
            },
            {
                () =>
                    new SamplingOptions { RepetitionPenalty = 0 },
                "RepetitionPenalty is 0; it must be a finite number above 0."
            },
            {
                () =>
                    new SamplingOptions { PresencePenalty = double.PositiveInfinity },
                "PresencePenalty is Infinity; it must be a finite number."
            },
            {
                () =>
                    new SamplingOptions { MaxNewTokens = 0 },
                "MaxNewTokens is 0; it must be at least 1."
            },
            {
                () =>
                    new SamplingOptions { LogProbs = -1 },
                "LogProbs is -1; it must be at least 0."
            },
            {
                () =>
                    new SamplingOptions { ExponentialDecay = new ExponentialDecay(3, 0) },
                "ExponentialDecay.Factor is 0; it must be a finite number above 0."
            },
            { () => new SamplingOptions() with { TailFree = 2 }, "TailFree is 2; it must be from 0 to 1." },
        };

    [Theory]
    [MemberData(nameof(OutOfRange))]
    public void A_value_out_of_range_names_option_value_and_range(Func<SamplingOptions> create, string message) =>
        Assert.StartsWith(message, Assert.ThrowsAny<ArgumentException>(create).Message);

    public static TheoryData<SamplingOptions, string> NotOfTheVocabulary() =>
        new()
        {
            {
                new SamplingOptions { LogitBias = new Dictionary<int, double> { [10] = 1 } },
                "LogitBias names token 10; the vocabulary has the ids 0 to 9."
            },
            {
                new SamplingOptions { SuppressTokens = [3, -1] },
                "SuppressTokens names token -1"
            },
            {
                new SamplingOptions
                {
                    BadWords =
                    [
                        [1, 2],
                        [],
                    ],
                },
                "BadWords has a sequence without tokens"
            },
            {
                new SamplingOptions { SequenceBias = [new SequenceBias([1], double.NaN)] },
                "SequenceBias has the bias NaN"
            },
            {
                new SamplingOptions { ForcedEndToken = 12, MaxNewTokens = 3 },
                "ForcedEndToken names token 12"
            },
            {
                new SamplingOptions { LogProbs = 11 },
                "LogProbs is 11; the vocabulary has 10 tokens."
            },
        };

    [Theory]
    [MemberData(nameof(NotOfTheVocabulary))]
    public void An_id_the_vocabulary_does_not_have_is_refused_when_the_sampler_is_made(
        SamplingOptions options,
        string message
    ) => Assert.StartsWith(message, Assert.Throws<ArgumentException>(() => new Sampler(options, [], 10)).Message);

    [Fact]
    public void End_tokens_and_prompt_ids_beyond_the_vocabulary_are_passed_over()
    {
        SamplingOptions options = new()
        {
            EndTokens = [2, 500],
            MinNewTokens = 1,
            RepetitionPenalty = 2,
            FrequencyPenalty = 1,
            EncoderRepetitionPenalty = 2,
            NoRepeatNGramSize = 1,
            ExponentialDecay = new ExponentialDecay(0, 2),
            DryMultiplier = 1,
        };
        Assert.Equal(1, new Sampler(options, [-200, 32_000], 3).Next([0, 1, 5]));
    }

    [Fact]
    public void A_checkpoint_that_recommends_sampling_gets_its_values_and_nothing_else()
    {
        GenerationConfig config = new([7, 8], DoSample: true, 0.01, 1, 0.001, null, 1.05, 64);
        SamplingOptions options = SamplingOptions.From(config);
        Assert.Equal(
            (0.01, 1, 0.001, 0.0, 1.05),
            (options.Temperature, options.TopK, options.TopP, options.MinP, options.RepetitionPenalty)
        );
        Assert.Equal([7, 8], options.EndTokens);
        Assert.Equal(64, options.MaxNewTokens);

        SamplingOptions silent = SamplingOptions.From(
            new GenerationConfig([], DoSample: true, null, null, null, null, null, null)
        );
        Assert.Equal((1.0, 0, 1.0), (silent.Temperature, silent.TopK, silent.TopP));
        Assert.Equal(0, SamplingOptions.From(config with { DoSample = false }).Temperature);
    }

    [Fact]
    public void Nothing_is_on_by_default()
    {
        LogitsPipeline pipeline = new(new SamplingOptions { Temperature = 1 }, 5, 100, new SamplerRandom(1));
        Assert.Empty(pipeline.Processors);
        Assert.Empty(pipeline.Warpers);
        Assert.True(new LogitsPipeline(new SamplingOptions(), 5, 100, new SamplerRandom(1)).IsGreedy);
    }

    [Fact]
    public void The_two_published_orders_differ_in_the_place_of_min_p()
    {
        SamplingOptions options = new()
        {
            Temperature = 0.5,
            TopK = 5,
            TopP = 0.9,
            MinP = 0.1,
        };
        Assert.Equal(
            [typeof(TemperatureWarper), typeof(TopKWarper), typeof(TopPWarper), typeof(MinPWarper)],
            Warpers(options with { Order = SamplingOrder.Transformers })
        );
        Assert.Equal(
            [typeof(TemperatureWarper), typeof(MinPWarper), typeof(TopKWarper), typeof(TopPWarper)],
            Warpers(options with { Order = SamplingOrder.Vllm })
        );

        static IEnumerable<Type> Warpers(SamplingOptions options) =>
            new LogitsPipeline(options, 0, 100, new SamplerRandom(1)).Warpers.Select(warper => warper.GetType());
    }
}
