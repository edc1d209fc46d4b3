using VlmSharp.Grounding;
using Xunit;

namespace VlmSharp.Tests.Grounding;

public sealed class QwenVLHtmlTests
{
    [Fact]
    public void A_document_becomes_its_elements_with_attributes_text_and_places()
    {
        const string text =
            "```html\n<html><body>\n<h2 data-bbox=\"1 2 3 4\">A &amp; B</h2>\n<div class='music sheet' DATA-BBOX=5><IMG src=a.png/></div></body></html>\n```";
        HtmlDocument document = QwenVLHtml.Parse(text);
        Assert.Null(document.UnfinishedTag);
        HtmlElement[] elements = [.. document.Root.Descendants];
        Assert.Equal(["html", "body", "h2", "div", "img"], elements.Select(e => e.Name));
        Assert.All(elements, e => Assert.True(e.IsClosed));

        HtmlElement heading = elements[2];
        Assert.Equal("<h2 data-bbox=\"1 2 3 4\">A &amp; B</h2>", heading.Range.Of(text));
        Assert.Equal("A & B", heading.InnerText);
        Assert.Equal("1 2 3 4", heading.Attribute("data-bbox")!.Value);
        Assert.Equal("1 2 3 4", heading.Attribute("data-bbox")!.ValueRange.Of(text));
        Assert.Equal("A &amp; B", heading.Children[0].Range.Of(text));
        Assert.Same(elements[1], heading.Parent);

        Assert.True(elements[3].HasClass("music") && elements[3].HasClass("sheet") && !elements[3].HasClass("shee"));
        Assert.Equal("5", elements[3].Attribute("data-bbox")!.Value);
        Assert.Equal("a.png/", elements[4].Attribute("src")!.Value);
        Assert.Null(elements[4].Attribute("alt"));
    }

    // The expected trees are BeautifulSoup's: BeautifulSoup(text, "html.parser"), written with brackets, each text stripped.
    [Theory]
    [InlineData("<p>a<p>b</p>c</p>", "p(a p(b) c)")]
    [InlineData("<li>a<li>b", "li(a li(b))")]
    [InlineData("<b>a</i>c</b>", "b(a c)")]
    [InlineData("<div><p>a<b>b</div>c", "div(p(a b(b))) c")]
    [InlineData("<table><tr><td>1<td>2</table>x", "table(tr(td(1 td(2)))) x")]
    [InlineData("a < b and <3 </ >", "a < b and <3")]
    [InlineData("a<br>b<br/>c", "a br() b br() c")]
    [InlineData("<p/>a</p>b", "p() a b")]
    [InlineData("<img>a</img><b>b</b>", "img() a b(b)")]
    [InlineData("a<!-- <p>x</p> -->b", "a b")]
    [InlineData("<!DOCTYPE html><?xml?><p>a</p>", "p(a)")]
    [InlineData("<p>1 &lt; 2 &#65;&#x42; &unknown</p>", "p(1 < 2 AB &unknown)")]
    [InlineData("<script>if (a<b) '<p>'</script>c", "script(if (a<b) '<p>') c")]
    [InlineData("<P><Q>a</q></P>", "p(q(a))")]
    [InlineData("<p  a = 'b>c' d>e</p>", "p(e)")]
    public void Trees_are_those_of_the_published_reader(string text, string expected) =>
        Assert.Equal(expected, Show(QwenVLHtml.Parse(text).Root));

    [Fact]
    public void Text_of_scripts_and_ruby_stands_apart()
    {
        HtmlElement p = QwenVLHtml
            .Parse("<p>a <script>b</script><ruby>c<rt>d</rt></ruby> e </p>")
            .Root.Descendants.First();
        Assert.Equal("ace", p.StrippedText);
        Assert.Equal("d", p.Descendants.Single(e => e.Name == "rt").StrippedText);
    }

    [Theory]
    [InlineData("<p>a</p><p data-bbox=\"1 2", 8)]
    [InlineData("<p>a</p><p", 8)]
    [InlineData("<p>a</p", 4)]
    [InlineData("a<!-- b", 1)]
    public void A_text_that_ends_inside_a_tag_says_where(string text, int tag) =>
        Assert.Equal(tag, QwenVLHtml.Parse(text).UnfinishedTag);

    [Fact]
    public void What_the_end_of_the_text_closes_is_not_closed()
    {
        HtmlElement[] elements = [.. QwenVLHtml.Parse("<html><p>a<b>c</p>d").Root.Descendants];
        Assert.Equal([false, true, true], elements.Select(e => e.IsClosed));
        Assert.Equal(new TextRange(0, 19), elements[0].Range);
        Assert.Equal(new TextRange(6, 18), elements[1].Range);
    }

    [Fact]
    public void A_quote_that_is_never_closed_does_not_swallow_the_rest()
    {
        HtmlElement[] elements = [.. QwenVLHtml.Parse("<p data-bbox=\"1>a</p><b>c</b>").Root.Descendants];
        Assert.Equal(["p", "b"], elements.Select(e => e.Name));
        Assert.Equal("a", elements[0].InnerText);
    }

    [Fact]
    public void Reading_may_start_anywhere_and_counts_from_the_beginning()
    {
        const string text = "<p>x</think><b>c</b>";
        HtmlElement only = Assert.Single(QwenVLHtml.Parse(text, 12).Root.Descendants);
        Assert.Equal("<b>c</b>", only.Range.Of(text));
    }

    [Theory]
    [InlineData("<p>")]
    [InlineData("<p data-bbox=\"1 2 3 4\">a")]
    [InlineData("<p a=\"")]
    [InlineData("<p a='")]
    [InlineData("</p>")]
    [InlineData("<!--")]
    [InlineData("<")]
    [InlineData("<a b=c ")]
    [InlineData("<script>")]
    [InlineData("<p></q>")]
    [InlineData("&amp")]
    public void Endless_repetition_is_read_in_linear_time(string part)
    {
        // A quadratic reader takes minutes here.
        HtmlDocument document = QwenVLHtml.Parse(string.Concat(Enumerable.Repeat(part, 2_000_000 / part.Length)));
        Assert.True(document.Root.Descendants.All(e => e.Parent is not null));
    }

    [Fact]
    public void Elements_nested_too_deep_lie_side_by_side()
    {
        string text =
            string.Concat(Enumerable.Repeat("<p>", 1000)) + "x" + string.Concat(Enumerable.Repeat("</p>", 1000)) + "y";
        HtmlDocument document = QwenVLHtml.Parse(text);
        Assert.Equal(1000, document.Root.Descendants.Count());
        Assert.Equal("y", Assert.IsType<HtmlText>(document.Root.Children[^1]).Text);
        Assert.Equal(
            QwenVLHtml.MaxDepth,
            document.Root.Descendants.Max(e =>
            {
                int depth = 0;
                for (HtmlElement? at = e.Parent; at is not null; at = at.Parent)
                {
                    depth++;
                }

                return depth;
            })
        );
    }

    static string Show(HtmlElement element) =>
        string.Join(
            ' ',
            element
                .Children.Select(child =>
                    child is HtmlElement inner ? $"{inner.Name}({Show(inner)})" : ((HtmlText)child).Text.Trim()
                )
                .Where(part => part.Length > 0)
        );
}
