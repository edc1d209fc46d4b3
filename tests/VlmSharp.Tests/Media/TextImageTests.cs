using VlmSharp.Media.Images;
using Xunit;

namespace VlmSharp.Tests.Media;

public sealed class TextImageTests
{
    [Fact]
    public void Text_is_as_large_as_asked_and_touches_its_edges()
    {
        TextImage text = TextImage.Render("Hg", 40)!;
        Assert.InRange(text.Height, 30, 60);
        Assert.InRange(text.Width, 35, 80);
        Assert.Equal(text.Width * text.Height, text.Coverage.Length);
        Assert.Contains((byte)255, text.Coverage.ToArray());
        Assert.Contains((byte)0, text.Coverage.ToArray());
    }

    [Theory]
    [InlineData("<b>a</b>")]
    [InlineData("a & b")]
    [InlineData("<span size='999999'>x</span>")]
    [InlineData("&lt;")]
    [InlineData("</markup>")]
    [InlineData("\ud800 half")]
    [InlineData("nul\0 and \u001b escape")]
    [InlineData("\"'")]
    public void Text_is_no_markup(string untrusted)
    {
        TextImage text = TextImage.Render(untrusted, 20)!;
        Assert.InRange(text.Height, 3, 60);
        Assert.InRange(text.Width, 3, 20 * untrusted.Length);
    }

    [Fact]
    public void Markup_is_shown_letter_by_letter() =>
        Assert.True(TextImage.Render("<b>i</b>", 20)!.Width > 3 * TextImage.Render("i", 20)!.Width);

    [Fact]
    public void Line_breaks_are_blanks() =>
        Assert.Equal(TextImage.Render("a b", 20)!.Coverage, TextImage.Render("a\nb\n", 20)!.Coverage);

    [Theory]
    [InlineData("")]
    [InlineData(" \n ")]
    [InlineData("\u200b")]
    public void Nothing_visible_is_no_picture(string blank) => Assert.Null(TextImage.Render(blank, 20));

    [Fact]
    public void Long_text_is_cut_to_the_width_or_to_the_longest_line()
    {
        string endless = new('m', 100_000);
        Assert.InRange(TextImage.Render(endless, 10, 300)!.Width, 200, 300);
        Assert.InRange(TextImage.Render(endless, 10)!.Width, 1000, 10 * (TextImage.MaxCharacters + 1));
        Assert.Null(TextImage.Render(endless, 10, 3));
        Assert.Null(TextImage.Render(endless, 10, -5));
    }
}
