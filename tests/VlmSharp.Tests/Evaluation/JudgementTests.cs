using VlmSharp.Datasets;
using VlmSharp.Evaluation;
using VlmSharp.Grounding;
using Xunit;

namespace VlmSharp.Tests.Evaluation;

/// <summary>When an answer counts as right.</summary>
public sealed class JudgementTests
{
    // 1000 x 1000 pixels: the thousandths of Qwen2-VL are pixels.
    static readonly PictureFrame Frame = new(1000, 1000, 1008, 1008, 0);

    [Theory]
    [InlineData("red circle", "red circle", true, 1)]
    [InlineData("red circle", " red\n circle ", true, 1)]
    [InlineData("red circle", "Red circle", false, 0.9)]
    [InlineData("4", "5", false, 0)]
    [InlineData("word", "sword", false, 0.8)]
    [InlineData("word", "", false, 0)]
    public void Texts_are_compared_whole(string expected, string answer, bool right, double score)
    {
        Judgement judgement = Judge(answer, new TextPart(expected));
        Assert.Equal((right, expected), (judgement.Right, judgement.Expected));
        Assert.Equal(score, judgement.Score, 1e-9);
    }

    [Theory]
    [InlineData("<|box_start|>(100,100),(200,200)<|box_end|>", true, 1)]
    [InlineData("<|object_ref_start|>a dog<|object_ref_end|><|box_start|>(100,100),(200,150)<|box_end|>", true, 0.5)]
    [InlineData("<|box_start|>(100,100),(200,149)<|box_end|>", false, 0.49)]
    [InlineData("<|box_start|>(300,300),(400,400)<|box_end|>", false, 0)]
    [InlineData("no boxes", false, 0)]
    [InlineData("<|box_start|>(100,100),(200,200)<|box_end|><|box_start|>(1,1),(2,2)<|box_end|>", false, 1)] // one too many
    public void A_box_is_found_from_an_overlap_of_a_half(string answer, bool right, double score)
    {
        Judgement judgement = Judge(answer, new ReferencePart("dog"), new BoxPart([100, 100, 200, 200]));
        Assert.Equal(right, judgement.Right);
        Assert.Equal(score, judgement.Score, 1e-9);
        Assert.Equal("dog[100, 100, 200, 200]", judgement.Expected);
    }

    [Fact]
    public void Boxes_are_matched_in_any_order_and_each_once()
    {
        BoxPart[] two = [new([0, 0, 100, 100]), new([500, 500, 600, 600])];
        const string first = "<|box_start|>(0,0),(100,100)<|box_end|>";
        const string second = "<|box_start|>(500,500),(600,600)<|box_end|>";
        Assert.True(Judge(second + first, two).Right);
        Judgement twice = Judge(first + first, two);
        Assert.False(twice.Right);
        Assert.Equal(0.5, twice.Score, 1e-9);
    }

    [Theory]
    [InlineData("<|box_start|>(500,520)<|box_end|>", true)]
    [InlineData("<|box_start|>(500,580)<|box_end|>", false)]
    [InlineData("<|box_start|>(100,400),(950,600)<|box_end|>", true)] // a box around it
    public void A_point_is_found_near_it_or_by_a_box_around_it(string answer, bool right) =>
        Assert.Equal(right, Judge(answer, new BoxPart([500, 500])).Right);

    [Fact]
    public void Tasks_are_counted_one_by_one()
    {
        Judgement[] judgements =
        [
            new("1", "read", "a", "a", true, 1),
            new("2", "count", "2", "3", false, 0),
            new("3", "read", "ab", "ac", false, 0.5),
        ];
        Assert.Equal([new TaskScore("count", 1, 0, 0), new TaskScore("read", 2, 1, 0.75)], TaskScore.Table(judgements));
        Assert.Equal(0.5, TaskScore.Table(judgements)[1].Accuracy);
    }

    static Judgement Judge(string answer, params ExamplePart[] expected) =>
        Judgement.Of(
            new Example("x", [new("user", [new TextPart("?")]), new("assistant", expected)]),
            answer,
            GroundingDialect.Qwen2VL,
            [Frame]
        );
}
