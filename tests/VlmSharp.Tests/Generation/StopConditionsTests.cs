using VlmSharp.Generation;
using Xunit;

namespace VlmSharp.Tests.Generation;

public class StopConditionsTests
{
    [Fact]
    public void An_end_token_stops_also_at_the_limit()
    {
        StopConditions conditions = new(new SamplingOptions { EndTokens = [7, 8], MaxNewTokens = 3 }, promptLength: 10);
        Assert.Null(conditions.Push(1));
        Assert.Null(conditions.Push(2));
        Assert.Equal(FinishReason.Stop, conditions.Push(8));
    }

    [Theory]
    [InlineData(3, null, 3)]
    [InlineData(null, 14, 4)]
    [InlineData(3, 14, 3)]
    [InlineData(5, 14, 4)]
    [InlineData(null, 8, 1)]
    public void The_nearer_limit_ends_the_answer(int? maxNewTokens, int? maxLength, int expected)
    {
        StopConditions conditions = new(
            new SamplingOptions { MaxNewTokens = maxNewTokens, MaxLength = maxLength },
            promptLength: 10
        );
        for (int i = 1; i < expected; i++)
        {
            Assert.Null(conditions.Push(i));
        }

        Assert.Equal(FinishReason.Length, conditions.Push(expected));
    }

    [Fact]
    public void An_endless_cycle_has_a_reason_of_its_own_unless_it_is_switched_off()
    {
        SamplingOptions options = new()
        {
            Repetition = new RepetitionLimits
            {
                MaxPeriod = 4,
                Rounds = 3,
                Tokens = 6,
            },
        };
        StopConditions conditions = new(options, promptLength: 0);
        FinishReason?[] reasons = [.. new[] { 1, 2, 1, 2, 1, 2 }.Select(conditions.Push)];
        Assert.All(reasons[..5], reason => Assert.Null(reason));
        Assert.Equal(FinishReason.Repetition, reasons[5]);

        StopConditions patient = new(options with { Repetition = null }, promptLength: 0);
        Assert.All(Enumerable.Repeat(1, 2000), token => Assert.Null(patient.Push(token)));
    }
}
