using VlmSharp.Media.Documents;
using Xunit;

namespace VlmSharp.Tests.Media.Documents;

public sealed class PageSelectionTests
{
    [Theory]
    [InlineData("1-3,7", 9, "1,2,3,7")]
    [InlineData("7,1-3,2", 9, "1,2,3,7")]
    [InlineData(" 2 - 3 , 5", 9, "2,3,5")]
    [InlineData("8-", 9, "8,9")]
    [InlineData("-2", 9, "1,2")]
    [InlineData("9-9", 9, "9")]
    public void Pages_come_in_the_document_s_order_each_once(string text, int pages, string expected) =>
        Assert.Equal(expected, string.Join(',', PageSelection.Parse(text).Of(pages)));

    [Theory]
    [InlineData("")]
    [InlineData("1,,2")]
    [InlineData("-")]
    [InlineData("0")]
    [InlineData("3-1")]
    [InlineData("1-2-3")]
    [InlineData("one")]
    [InlineData("+1")]
    [InlineData("99999999999")]
    public void What_is_no_selection_is_quoted(string text)
    {
        FormatException e = Assert.Throws<FormatException>(() => PageSelection.Parse(text));
        Assert.Contains("is no selection of pages", e.Message);
    }

    [Theory]
    [InlineData("4", 3, "page 4 is asked for, there are 3")]
    [InlineData("2-2000000000", 3, "page 2000000000 is asked for, there are 3")]
    [InlineData("5-", 3, "page 5 is asked for, there are 3")]
    public void A_page_the_document_does_not_have_is_named(string text, int pages, string expected)
    {
        FormatException e = Assert.Throws<FormatException>(() => PageSelection.Parse(text).Of(pages));
        Assert.Equal(expected, e.Message);
    }

    [Fact]
    public void All_is_every_page() => Assert.Equal([1, 2, 3], PageSelection.All.Of(3));
}
