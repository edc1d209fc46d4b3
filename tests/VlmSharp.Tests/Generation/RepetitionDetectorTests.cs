using System.Text;
using System.Text.RegularExpressions;
using VlmSharp.Generation;
using VlmSharp.Testing;
using Xunit;

namespace VlmSharp.Tests.Generation;

public partial class RepetitionDetectorTests
{
    [Fact]
    public void A_cycle_of_every_period_is_found_at_its_limit_and_not_before()
    {
        RepetitionLimits limits = new RepetitionLimits();
        for (int period = 1; period <= limits.MaxPeriod; period++)
        {
            RepetitionDetector detector = new(limits);
            for (int i = 0; i < 50; i++)
            {
                Assert.False(detector.Push(10_000 + i));
            }

            int needed = Math.Max(limits.Rounds * period, limits.Tokens);
            for (int i = 1; i <= needed; i++)
            {
                Assert.Equal(i == needed, detector.Push(i % period));
            }

            Assert.Equal(period, detector.Period);
        }
    }

    [Fact]
    public void A_cycle_longer_than_the_longest_period_is_not_found()
    {
        RepetitionDetector detector = new(
            new RepetitionLimits
            {
                MaxPeriod = 20,
                Rounds = 2,
                Tokens = 2,
            }
        );
        for (int i = 0; i < 1000; i++)
        {
            Assert.False(detector.Push(i % 21));
        }
    }

    [Fact]
    public void A_token_out_of_line_in_every_round_is_no_cycle()
    {
        RepetitionDetector detector = new(new RepetitionLimits());
        for (int i = 0; i < 5000; i++)
        {
            Assert.False(detector.Push(i % 40 == 0 ? 1000 + i : i % 40));
        }
    }

    [Fact]
    public void A_cycle_counts_from_its_first_token_after_an_interruption()
    {
        RepetitionDetector detector = new(
            new RepetitionLimits
            {
                MaxPeriod = 8,
                Rounds = 3,
                Tokens = 6,
            }
        );
        int[] tokens = [1, 2, 1, 2, 9, 1, 2, 1, 2, 1, 2];
        Assert.Equal(
            [false, false, false, false, false, false, false, false, false, false, true],
            tokens.Select(detector.Push)
        );
        Assert.Equal(2, detector.Period);
    }

    [Theory]
    [InlineData("The sign says stop. ")]
    [InlineData("the ")]
    [InlineData("\n| 12 | 7 |")]
    [InlineData("and the red car, and the blue car, and the man beside the red car, who looks at the blue car, ")]
    public void A_sentence_without_end_is_endless(string sentence)
    {
        string answer = "The picture shows a street. " + string.Concat(Enumerable.Repeat(sentence, 300));
        Assert.True(IsEndless(answer));
    }

    public static TheoryData<string, string> LegitimateTexts() =>
        new()
        {
            { "rule of dashes", new string('-', 250) },
            { "header of a table with 40 columns", "|" + string.Concat(Enumerable.Repeat(" --- |", 40)) + "\n" },
            { "table of numbers", Lines(60, i => $"| {i} | {i * 37 % 101} | {i * i % 13} | yes |") },
            { "table with empty cells", Lines(30, i => $"| {i + 1} |  |  |  |  |  | 0 |") },
            {
                "html table with empty cells",
                Lines(20, i => $"<tr><td>{i}</td>" + string.Concat(Enumerable.Repeat("<td></td>", 6)) + "</tr>")
            },
            { "matrix of zeros", Lines(8, _ => "[" + string.Join(", ", Enumerable.Repeat("0", 8)) + "],") },
            { "numbered list", Lines(100, i => $"{i + 1}. A person walking") },
            {
                "json of equal objects",
                Lines(40, i => $"  {{ \"id\": {i}, \"label\": \"car\", \"box\": [0, 0, {i}, 10] }},")
            },
            { "closing braces", Lines(12, i => new string(' ', 4 * (12 - i)) + "}") },
            { "switch", Lines(60, i => $"        case {i}: return {i + 1};") },
            { "refrain", string.Concat(Enumerable.Repeat("Row, row, row your boat, gently down the stream.\n", 4)) },
            { "laughter", string.Concat(Enumerable.Repeat("ha ", 60)) },
            {
                "dotted contents",
                Lines(30, i => $"Chapter {i} " + string.Concat(Enumerable.Repeat(". ", 40)) + (i * 7))
            },
        };

    [Theory]
    [MemberData(nameof(LegitimateTexts))]
    public void A_text_that_repeats_with_reason_is_not_endless(string kind, string answer)
    {
        Assert.False(IsEndless(answer), kind);
    }

    [Fact]
    public void Limits_out_of_range_are_refused_by_name()
    {
        ArgumentException error = Assert.Throws<ArgumentOutOfRangeException>(() => new RepetitionLimits { Rounds = 1 });
        Assert.Contains("Rounds of the repetition limits is 1; it must be from 2 to 1000000.", error.Message);
        Assert.Throws<ArgumentOutOfRangeException>(() => new RepetitionLimits() with { MaxPeriod = 0 });
    }

    [Fact]
    public void A_token_costs_no_memory()
    {
        RepetitionDetector detector = new(new RepetitionLimits());
        detector.Push(1);
        int token = 0;
        Assert.Equal(0, Allocations.InSteadyState(() => detector.Push(token++ % 3), times: 2000));
    }

    static bool IsEndless(string answer)
    {
        // Words with the blank before them, single digits, and marks each, as the tokenizers of these models divide.
        RepetitionDetector detector = new(new RepetitionLimits());
        Dictionary<string, int> ids = [];
        return Tokens()
            .Matches(answer)
            .Any(token =>
            {
                ids.TryAdd(token.Value, ids.Count);
                return detector.Push(ids[token.Value]);
            });
    }

    static string Lines(int count, Func<int, string> line)
    {
        StringBuilder text = new();
        for (int i = 0; i < count; i++)
        {
            text.Append(line(i)).Append('\n');
        }

        return text.ToString();
    }

    [GeneratedRegex(@" ?\p{L}+|\d| ?[^\s\p{L}\d]|\s+")]
    private static partial Regex Tokens();
}
