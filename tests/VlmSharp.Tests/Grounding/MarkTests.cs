using VlmSharp.Grounding;
using VlmSharp.Media.Images;
using Xunit;

namespace VlmSharp.Tests.Grounding;

public sealed class MarkTests
{
    static readonly Colour Red = Colour.Numbered(0);

    [Theory]
    [InlineData("circle 120,80,40", MarkKind.Circle, "120 80 40", null)]
    [InlineData("box 1,2,3.5,4", MarkKind.Box, "1 2 3.5 4", null)]
    [InlineData("Arrow 1, 2, -3, 4", MarkKind.Arrow, "1 2 -3 4", null)]
    [InlineData("  point 5,6  A ", MarkKind.Point, "5 6", "A")]
    [InlineData("box 1,2,3,4 the red dog", MarkKind.Box, "1 2 3 4", "the red dog")]
    [InlineData("text 5,6,look, here", MarkKind.Text, "5 6", "look, here")]
    [InlineData("text 5,6, stop red", MarkKind.Text, "5 6", "stop red")]
    public void A_mark_is_its_kind_its_numbers_and_a_label(string text, MarkKind kind, string numbers, string? label)
    {
        Mark mark = Mark.Parse(text);
        Assert.Equal((kind, label, Red), (mark.Kind, mark.Label, mark.Colour));
        Assert.Equal(numbers.Split(' ').Select(double.Parse), mark.Numbers);
    }

    [Theory]
    [InlineData("point 5,6 blue", 0, 110, 230, null)]
    [InlineData("point 5,6 BLUE B 2", 0, 110, 230, "B 2")]
    [InlineData("point 5,6 #0a0B0c", 10, 11, 12, null)]
    [InlineData("point 5,6 #0a0b0 x", 230, 25, 75, "#0a0b0 x")]
    [InlineData("text 5,6,see #1 #0a0b0c", 10, 11, 12, "see #1")]
    public void A_colour_may_follow(string text, byte red, byte green, byte blue, string? label)
    {
        Mark mark = Mark.Parse(text);
        Assert.Equal((new Colour(red, green, blue), label), (mark.Colour, mark.Label));
    }

    [Theory]
    [InlineData("", "circle x,y,radius")]
    [InlineData("square 1,2,3,4", "box x1,y1,x2,y2")]
    [InlineData("circle", "number 1 is missing")]
    [InlineData("circle 120,80", "circle x,y,radius\" with 3 numbers; number 2 is \"80\"")]
    [InlineData("circle 120,80,40,5", "number 3 is \"40,5\"")]
    [InlineData("circle 120,eighty,40", "number 2 is \"eighty\"")]
    [InlineData("circle 1,1,0", "radius")]
    [InlineData("circle 1,1,-5", "radius")]
    [InlineData("point NaN,1", "number 1 is \"NaN\"")]
    [InlineData("point 1e300,1", "1000000 pixels")]
    [InlineData("text 1,2", "number 2 is \"2\"")]
    [InlineData("text 1,2,", "no words")]
    public void What_is_no_mark_is_named_with_what_was_expected(string text, string expected)
    {
        FormatException error = Assert.Throws<FormatException>(() => Mark.Parse(text));
        Assert.Contains($"mark \"{text}\"", error.Message, StringComparison.Ordinal);
        Assert.Contains(expected, error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Marks_are_drawn_on_a_copy_where_they_were_put()
    {
        RgbImage image = OverlayTests.Grey(320, 240);
        RgbImage drawn = Marks.Draw(
            image,
            [
                Mark.Parse("circle 60,60,40"),
                Mark.Parse("box 150,20,250,100 blue"),
                Mark.Parse("arrow 20,200,120,200 green"),
                Mark.Parse("point 300,200 #010203"),
                Mark.Parse("text 200,200,hi #040506"),
            ]
        );
        Assert.Equal(0, OverlayTests.Changed(image));
        Assert.Equal(Red, OverlayTests.At(drawn, 100, 60));
        Assert.Equal(new Colour(128, 128, 128), OverlayTests.At(drawn, 60, 60));
        Assert.Equal(new Colour(0, 110, 230), OverlayTests.At(drawn, 150, 60));
        Assert.Equal(new Colour(60, 180, 75), OverlayTests.At(drawn, 50, 200));
        Assert.Equal(new Colour(60, 180, 75), OverlayTests.At(drawn, 116, 200));
        Assert.Equal(new Colour(128, 128, 128), OverlayTests.At(drawn, 123, 200));
        Assert.Equal(new Colour(1, 2, 3), OverlayTests.At(drawn, 300, 200));
        Assert.Equal(new Colour(4, 5, 6), OverlayTests.At(drawn, 200, 200));
    }

    [Fact]
    public void A_mark_wholly_outside_is_refused_by_name()
    {
        ArgumentException error = Assert.Throws<ArgumentException>(() =>
            Marks.Draw(OverlayTests.Grey(64, 48), [Mark.Parse("point 5,5"), Mark.Parse("box 100,5,120,9 red")])
        );
        Assert.Contains("box 100,5,120,9 red", error.Message, StringComparison.Ordinal);
        Assert.Contains("64 x 48", error.Message, StringComparison.Ordinal);
        Assert.True(OverlayTests.Changed(Marks.Draw(OverlayTests.Grey(64, 48), [Mark.Parse("circle -10,20,15")])) > 0);
    }

    [Theory]
    [InlineData("arrow 5,5,5,5")]
    [InlineData("box 5,5,5,5 A")]
    [InlineData("circle 0,0,1000000")]
    public void Degenerate_marks_do_no_harm(string text) =>
        Assert.Equal(16, Marks.Draw(OverlayTests.Grey(16, 12), [Mark.Parse(text)]).Width);
}
