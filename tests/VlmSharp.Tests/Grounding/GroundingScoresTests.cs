using VlmSharp.Chat;
using VlmSharp.Engine;
using VlmSharp.Generation;
using VlmSharp.Grounding;
using VlmSharp.Tests.Text;
using Xunit;

namespace VlmSharp.Tests.Grounding;

public sealed class GroundingScoresTests
{
    static readonly PictureFrame Frame = new(1000, 1000, 1000, 1000);

    [Fact]
    public void A_score_is_the_geometric_mean_of_the_tokens_that_spell_the_coordinates()
    {
        const string text = "<ref>a</ref><box>(1,2),(3,4)</box><box>(5,6)</box>";
        // One token for each character; that of "4" is unlikely, and tags do not count.
        TokenSpan[] tokens =
        [
            .. text.Select(
                (c, i) =>
                    new TokenSpan(
                        new(i, i + 1),
                        c == '4' ? Math.Log(0.5)
                            : char.IsAsciiLetter(c) ? -9
                            : 0
                    )
            ),
        ];
        GroundingResult result = GroundingScores.Attach(
            GroundingParser.Parse(text, GroundingDialect.QwenVL, Frame),
            tokens
        );
        Assert.Equal(Math.Pow(0.5, 1.0 / "1,2),(3,4".Length), result.Items[0].Score!.Value, 1e-12);
        Assert.Equal(1, result.Items[1].Score);
    }

    [Fact]
    public void Items_without_known_tokens_have_no_score()
    {
        const string text = "<box>(1,2)</box><box>(5,6)</box>";
        GroundingResult read = GroundingParser.Parse(text, GroundingDialect.QwenVL, Frame);
        Assert.All(GroundingScores.Attach(read, []).Items, item => Assert.Null(item.Score));
        GroundingResult half = GroundingScores.Attach(read, [new(new(0, 16), -1)]);
        Assert.Equal([Math.Exp(-1), null], half.Items.Select(item => item.Score));
    }

    [Fact]
    public void Tokens_of_an_answer_know_their_characters_even_where_they_end_inside_one()
    {
        const string text = "[{\"bbox_2d\": [1, 22, 3, 4], \"label\": \"猫🐈\"}]";
        List<int> ids = [];
        TokenizerRows.Tiny.Encode(text, ids);
        AnswerLogProbs[] tokens = [.. ids.Select(id => new AnswerLogProbs(new TokenLogProb(id, -0.25), 1, []))];
        IReadOnlyList<TokenSpan> spans = AnswerGrounding.Spans(TokenizerRows.Tiny, tokens);
        Assert.Equal(tokens.Length, spans.Count);
        Assert.Equal(0, spans[0].Range.Start);
        Assert.Equal(text.Length, spans[^1].Range.End);
        for (int i = 1; i < spans.Count; i++)
        {
            Assert.True(spans[i].Range.Length > 0);
            Assert.True(spans[i].Range.Start == spans[i - 1].Range.End || spans[i].Range == spans[i - 1].Range);
        }

        GroundingResult result = GroundingParser.Parse(text, GroundingDialect.Qwen25VL, Frame);
        Assert.Equal(Math.Exp(-0.25), GroundingScores.Attach(result, spans).Items.Single().Score!.Value, 1e-12);
    }
}
