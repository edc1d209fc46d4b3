using VlmSharp.Documents;
using Xunit;

namespace VlmSharp.Tests.Documents;

public sealed class PageBreaksTests
{
    static ParsedPage[] Join(params string[] answers)
    {
        List<ParsedPage> pages = [.. answers.Select((answer, i) => Pages.Read(answer, number: i + 1))];
        for (int i = 1; i < pages.Count; i++)
        {
            (pages[i - 1], pages[i]) = PageBreaks.Join(pages[i - 1], pages[i]);
        }

        return [.. pages];
    }

    [Fact]
    public void A_paragraph_that_three_pages_share_is_one_again()
    {
        ParsedPage[] pages = Join(
            "<p>first.</p><p>It <b>goes</b></p><p data-bbox='400 980 600 990'>1</p>",
            "<header>Report</header><p>on and on, well-</p><footer>x</footer>",
            "<p>known to end.</p><p>last</p>"
        );
        Assert.Equal("p2-e2", pages[0].Elements[1].ContinuedBy);
        Assert.Equal(("p1-e2", "p3-e1"), (pages[1].Elements[1].Continues, pages[1].Elements[1].ContinuedBy));
        Assert.Equal("p2-e2", pages[2].Elements[0].Continues);
        Assert.Equal(
            "<!-- page 1 -->\n\nfirst.\n\nIt **goes** on and on, well-known to end.\n\n<!-- page 3 -->\n\nlast\n\n",
            Pages.Write(DocumentFormat.Markdown, pages)
        );
        string html = Pages.Write(DocumentFormat.Html, pages);
        Assert.Contains("<p id=\"p2-e2\" data-continues=\"p1-e2\" data-continued-by=\"p3-e1\">", html);
        Assert.Contains("\"continued_by\": \"p2-e2\"", Pages.Write(DocumentFormat.Json, pages));
    }

    [Theory]
    [InlineData("<p>It ends.</p>", "<p>then</p>")]
    [InlineData("<p>It goes</p>", "<p>On</p>")]
    [InlineData("<p>It goes</p>", "<h1>on</h1>")]
    [InlineData("<p>It goes</p><img data-bbox='1 2 3 4'>", "<p>on</p>")]
    [InlineData("<p>It goes", "<p>on</p>")]
    [InlineData("<table><tr><td>1</td><td>2</td></tr></table>", "<table><tr><td>3</td></tr></table>")]
    [InlineData("<table><tr><td>1</td></tr></table>", "<table><tr><td>3</td></tr></table>")]
    [InlineData(
        "<table data-bbox='100 500 900 900'><tr><td>1</td></tr></table>",
        "<table data-bbox='100 0 500 90'><tr><td>3</td></tr></table>"
    )]
    [InlineData(
        "<table data-bbox='100 500 900 900'><tr><td>1</td></tr></table>",
        "<table data-bbox='100 0 900 90'><tr><th>3</th></tr></table>"
    )]
    [InlineData("", "<p>on</p>")]
    public void What_may_as_well_be_two_stays_two(string first, string second) =>
        Assert.All(Join(first, second).SelectMany(p => p.Elements), e => Assert.Null(e.Continues ?? e.ContinuedBy));

    [Fact]
    public void Pages_that_do_not_follow_one_another_are_not_joined()
    {
        (_, ParsedPage next) = PageBreaks.Join(Pages.Read("<p>It goes</p>"), Pages.Read("<p>on</p>", number: 3));
        Assert.Null(next.Elements[0].Continues);
    }

    [Theory]
    [InlineData(
        "<table><tr><th>A</th></tr><tr><td>1</td></tr></table>",
        "<table><tr><th>A</th></tr><tr><td>2</td></tr></table>"
    )]
    [InlineData(
        "<table data-bbox='100 500 900 900'><tr><td>A</td></tr><tr><td>1</td></tr></table>",
        "<table data-bbox='101 0 905 90'><tr><td>2</td></tr></table>"
    )]
    public void A_table_goes_on_with_the_same_head_or_between_the_same_edges(string first, string second) =>
        Assert.Equal(
            "<!-- page 1 -->\n\n| A |\n| --- |\n| 1 |\n| 2 |\n\n<!-- page 2 -->\n\n",
            Pages.Write(DocumentFormat.Markdown, Join(first, second))
        );

    [Fact]
    public void A_document_that_ends_early_keeps_what_was_to_go_on()
    {
        ParsedPage first = Join("<p>It goes</p>", "<p>on</p>")[0];
        Assert.Equal("<!-- page 1 -->\n\nIt goes\n\n", Pages.Write(DocumentFormat.Markdown, first));
    }
}
