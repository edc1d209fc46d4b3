using System.Text;
using System.Text.RegularExpressions;
using VlmSharp.Text;
using Xunit;

namespace VlmSharp.Tests.Text;

public sealed class PieceSplitterTests
{
    const string Qwen2 =
        @"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

    const string Gpt2 = @"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";

    static List<string> Split(SplitPattern pattern, string text)
    {
        List<string> pieces = [];
        for (int start = 0; start < text.Length; )
        {
            int end = PieceSplitter.Next(pattern, text, start);
            pieces.Add(text[start..end]);
            start = end;
        }

        return pieces;
    }

    [Theory]
    [InlineData(Qwen2)]
    [InlineData(Gpt2)]
    public void The_scanner_cuts_where_the_expression_does(string expression)
    {
        SplitPattern pattern = PieceSplitter.Recognise(expression)!.Value;
        var regex = new Regex(expression, RegexOptions.CultureInvariant, TimeSpan.FromSeconds(10));
        string[] parts =
        [
            "a",
            "Z",
            "é",
            "中",
            "\u0301",
            "1",
            "٣",
            "½",
            " ",
            "  ",
            "\t",
            "\u00a0",
            "\u3000",
            "\r",
            "\n",
            "\r\n",
            "'",
            "'s",
            "'S",
            "'re",
            "'LL",
            "'l",
            ".",
            "!",
            "€",
            "\u200b",
            "\0",
        ];
        var random = new Random(1);
        for (int round = 0; round < 20_000; round++)
        {
            var text = new StringBuilder();
            for (int n = random.Next(1, 14); n > 0; n--)
            {
                text.Append(parts[random.Next(parts.Length)]);
            }

            Assert.Equal(regex.Matches(text.ToString()).Select(m => m.Value), Split(pattern, text.ToString()));
        }
    }

    [Fact]
    public void The_long_s_is_a_contraction_only_where_case_is_folded()
    {
        Assert.Equal(["x", "'ſ", "y"], Split(SplitPattern.Qwen2, "x'ſy"));
        Assert.Equal(["x", "'", "ſy"], Split(SplitPattern.Gpt2, "x'ſy"));
    }

    [Fact]
    public void Characters_beyond_the_basic_plane_have_their_own_class()
    {
        // A letter, a digit, an emoji.
        Assert.Equal(
            ["\U00020000\U00020001", "\U0001D7D8", "\U0001F600\U0001F600"],
            Split(SplitPattern.Qwen2, "\U00020000\U00020001\U0001D7D8\U0001F600\U0001F600")
        );
    }

    [Fact]
    public void An_unknown_expression_is_not_recognised() => Assert.Null(PieceSplitter.Recognise(Qwen2 + "|x"));
}
