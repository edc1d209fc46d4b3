using System.Text.Json;
using VlmSharp.Documents;
using VlmSharp.Generation;
using VlmSharp.Grounding;
using VlmSharp.Media.Documents;
using VlmSharp.Media.Images;
using VlmSharp.Testing;
using Xunit;

namespace VlmSharp.Tests.Documents;

public sealed class HtmlPageReaderTests
{
    static string Words(DocumentElement element) => TextRuns.Plain(element.Text);

    [Fact]
    public void Every_element_of_the_format_is_read_with_its_box_in_points()
    {
        ParsedPage page = Pages.Read(
            """
            ```html
            <html><body>
            <h2 data-bbox="100 10 900 50">Technical <b>Report</b></h2>
             <p data-bbox="100 60 900 100"> a&lt;b
              &amp; c<br>d </p>
            <ol start="3" data-bbox="100 110 900 200"><li data-bbox="100 110 900 150">one</li><li>two<ul><li>deep</li></ul></li></ol>
            <style>table1 style</style><table data-bbox="100 210 900 300" class="table1"><caption>Sales</caption>
            <thead><tr><th rowspan="2">Year</th><th>Total</th></tr></thead><tr><td data-bbox="100 250 500 300">1,000</td></tr></table>
            <div class="chart" data-bbox="100 310 900 400"><img data-bbox="100 310 900 400"/><table><tr><td>5</td></tr></table></div>
            <div class="formula" data-bbox="100 410 900 450"><img data-bbox="100 410 900 450"/><div>$$x^2 < y$$</div></div>
            <div class="image caption" data-bbox="100 460 900 500"><img data-bbox="100 460 900 500"/><p>A dog</p></div>
            <div class="image" data-bbox="100 505 900 510"><img data-bbox="100 505 900 510"/></div>
            <div class="music sheet" format="abc notation" data-bbox="100 520 900 560"><img/><div>X:1
            K:C</div></div>
            <div class="chemical formula" format="smile" data-bbox="100 570 900 600"><img/><div>CCO</div></div>
            <pre data-bbox="100 610 900 650">if x:
              y</pre>
            </body></html>
            ```
            """
        );
        Assert.Empty(page.Warnings);
        Assert.Equal(
            [
                ElementKind.Heading,
                ElementKind.Paragraph,
                ElementKind.List,
                ElementKind.Table,
                ElementKind.Chart,
                ElementKind.Formula,
                ElementKind.Image,
                ElementKind.Image,
                ElementKind.MusicSheet,
                ElementKind.ChemicalFormula,
                ElementKind.Code,
            ],
            page.Elements.Select(e => e.Kind)
        );
        Assert.Equal(Enumerable.Range(1, 11).Select(i => $"p1-e{i}"), page.Elements.Select(e => e.Id));
        Assert.Equal(new PageBox(50, 10, 450, 50), page.Elements[0].Box);
        Assert.Equal((2, "Technical Report"), (page.Elements[0].Level, Words(page.Elements[0])));
        Assert.Equal([new("Technical "), new TextRun("Report", TextStyle.Bold)], page.Elements[0].Text);
        Assert.Equal("a<b & c\nd", Words(page.Elements[1]));

        DocumentElement list = page.Elements[2];
        Assert.Equal((3, 2), (list.FirstNumber, list.Items.Count));
        Assert.Equal(new PageBox(50, 110, 450, 150), list.Items[0].Box);
        Assert.Equal("deep", TextRuns.Plain(Assert.Single(Assert.Single(list.Items[1].Nested).Items).Text));

        Table table = page.Elements[3].Table!;
        Assert.Equal("Sales", TextRuns.Plain(table.Caption));
        Assert.Equal((2, true, 2), (table.Rows[0][0].RowSpan, table.Rows[0][1].IsHeader, table.Columns));
        Assert.Equal(new PageBox(50, 250, 250, 300), table.Rows[1][0].Box);

        Assert.Equal("5", TextRuns.Plain(page.Elements[4].Table!.Rows[0][0].Text));
        Assert.Equal("x^2 < y", Words(page.Elements[5]));
        Assert.Equal("A dog", Words(page.Elements[6]));
        Assert.Equal(("X:1\nK:C", "abc notation"), (Words(page.Elements[8]), page.Elements[8].Notation));
        Assert.Equal("CCO", Words(page.Elements[9]));
        Assert.Equal("if x:\n  y", Words(page.Elements[10]));
    }

    [Theory]
    [InlineData("<p>Costs $x^2$ or \\(y\\), not $5 and $6.</p>", "x^2,y")]
    [InlineData("<p>a $$z$$ b \\[w\\] c \\$n\\$ <code>$v$</code></p>", "z,w")]
    [InlineData("<p>$ a$ $b $ $5-$10 $</p>", "")]
    public void Formulas_between_words_are_told_from_money(string html, string formulas)
    {
        DocumentElement element = Assert.Single(Pages.Read(html).Elements);
        Assert.Equal(
            formulas,
            string.Join(',', element.Text.Where(r => r.Style.HasFlag(TextStyle.Math)).Select(r => r.Text))
        );
    }

    [Fact]
    public void Ordinary_HTML_is_read_for_what_it_says()
    {
        ParsedPage page = Pages.Read(
            """
            Here it is: <!DOCTYPE html><html><head><title>T</title><style>p {}</style></head><body>
            <header>Top</header><main><section><div>one <i>two</i></div>three<blockquote>four</blockquote>
            <p>five <img alt="dog" data-bbox="0 0 100 100"> six</p></section></main>
            <div data-bbox="100 100 200 200"><table><tr><td><ul><li>a</li><li>b</li></ul></td></tr></table></div>
            <footer>Bottom</footer></body></html> Anything else?
            """
        );
        Assert.Equal(
            "Header:Top Paragraph:one two Paragraph:three Paragraph:four Paragraph:five six Image:dog Table: Footer:Bottom",
            string.Join(' ', page.Elements.Select(e => $"{e.Kind}:{Words(e)}"))
        );
        Assert.Equal("a\nb", TextRuns.Plain(page.Elements[6].Table!.Rows[0][0].Text));
        Assert.Equal(new PageBox(50, 100, 100, 200), page.Elements[6].Box); // that of the frame around it
        Assert.Empty(page.Warnings);
    }

    [Fact]
    public void What_was_mended_or_left_out_is_said()
    {
        ParsedPage page = Pages.Read(
            """
            <p data-bbox="1 2 3">one</p><p data-bbox="a b c d">two</p><p data-bbox="900 900 100 1200">three</p>
            <blink>four</blink><script>alert(1)</script><p data-polygon="0 0 100 50 0 100">five</p>
            """
        );
        Assert.Equal(["one", "two", "three", "four", "five"], page.Elements.Select(Words));
        Assert.Equal(
            [null, null, new(50, 900, 450, 1000), null, new PageBox(0, 0, 50, 100)],
            page.Elements.Select(e => e.Box)
        );
        Assert.Equal(
            [
                "an element <script> was left out with all it holds",
                "elements that are not known were left out, their text was kept: <blink>",
                "boxes that cannot be read were left out: 2, such as '1 2 3'",
                "boxes that reach beyond the page were cut: 1",
            ],
            page.Warnings
        );
    }

    [Theory]
    [InlineData("<h1>A</h1><p data-bbox=\"1 2", "A", false)]
    [InlineData("<h1>A</h1><p>words that", "A|words that", true)]
    [InlineData("<h1>A</h1><table><tr><td>1</td></tr><tr><td>2</td><td>3", "A|[1]", true)]
    [InlineData("<h1>A</h1><ul><li>1</li><li>2", "A|(1)(2)", true)]
    [InlineData("<h1>A</h1><!-- a comment that never", "A", false)]
    [InlineData("```html\n<html><body><h1>A</h1", "A", true)]
    public void What_was_complete_in_an_answer_that_is_cut_off_is_kept(string html, string expected, bool flagged)
    {
        foreach (FinishReason finish in (FinishReason[])[FinishReason.Stop, FinishReason.Length])
        {
            ParsedPage page = Pages.Read(html, finish: finish);
            Assert.Equal(
                expected,
                string.Join(
                    '|',
                    page.Elements.Select(e =>
                        Words(e)
                        + string.Concat(e.Items.Select(i => $"({TextRuns.Plain(i.Text)})"))
                        + string.Concat(
                            e.Table?.Rows.Select(r => $"[{string.Join(',', r.Select(c => TextRuns.Plain(c.Text)))}]")
                                ?? []
                        )
                    )
                )
            );
            Assert.Equal(flagged, page.Elements[^1].IsTruncated);
            Assert.Contains(finish == FinishReason.Stop ? "ends inside of" : "limit on tokens", page.Warnings[^1]);
            Assert.EndsWith("what was complete is kept", page.Warnings[^1]);
        }
    }

    [Fact]
    public void An_answer_without_its_last_end_tags_is_whole_if_all_it_tells_is()
    {
        Assert.Empty(Pages.Read("<html><body><p>A</p>").Warnings);
        Assert.Empty(Pages.Read("<ul><li>one<li>two</ul>").Warnings);
    }

    [Fact]
    public void Thoughts_are_no_part_of_the_page()
    {
        Assert.Equal("B", Words(Assert.Single(Pages.Read("<think>maybe <p>A</p></think><p>B</p>").Elements)));
        ParsedPage endless = Pages.Read("<think>maybe <p>A</p>", finish: FinishReason.Length);
        Assert.Empty(endless.Elements);
        Assert.Contains("never came to an answer", endless.Warnings[0]);
    }

    [Theory]
    [InlineData("- 7 -", "40 960 60 990", ElementKind.PageNumber)]
    [InlineData("Page 7 of 12", "40 10 60 30", ElementKind.PageNumber)]
    [InlineData("7", "40 500 60 530", ElementKind.Paragraph)]
    [InlineData("Figure 7", "40 960 60 990", ElementKind.Paragraph)]
    public void A_number_alone_in_the_margin_is_the_page_s(string text, string box, ElementKind expected) =>
        Assert.Equal(expected, Pages.Read($"<p data-bbox=\"{box}\">{text}</p>").Elements[0].Kind);

    [Fact]
    public void Boxes_are_those_of_the_golden_cases()
    {
        int cases = 0;
        foreach (string line in File.ReadLines(Goldens.Local("grounding/cases.jsonl")))
        {
            JsonElement golden = JsonDocument.Parse(line).RootElement;
            string text = golden.GetProperty("text").GetString()!;
            string generation = golden.GetProperty("generation").GetString()!;
            if (!text.Contains("data-bbox") && !text.Contains("data-polygon"))
            {
                continue;
            }

            int[] original = [.. golden.GetProperty("original").EnumerateArray().Select(e => e.GetInt32())];
            int[] resized = [.. golden.GetProperty("resized").EnumerateArray().Select(e => e.GetInt32())];
            // As many points as pixels: the golden numbers are pixels.
            PageImage image = new(
                new(1, original[0], original[1]),
                new RgbImage(original[0], original[1], new byte[3 * original[0] * original[1]]),
                72
            );
            GroundingDialect dialect = generation == "qwen3-vl" ? GroundingDialect.Qwen3VL : GroundingDialect.Qwen25VL;
            DocumentParser parser = new((_, _, _) => throw new NotSupportedException(), dialect, Pages.Html);
            ParsedPage page = parser.Read(image, new(text, FinishReason.Stop, resized[0], resized[1]));
            PageBox[] boxes = [.. Pages.Boxes(page.Elements)];
            foreach (JsonElement item in golden.GetProperty("expected").EnumerateArray())
            {
                double[] at = [.. item.GetProperty("coordinates").EnumerateArray().Select(e => e.GetDouble())];
                double[] x = [.. at.Where((_, i) => i % 2 == 0)];
                double[] y = [.. at.Where((_, i) => i % 2 == 1)];
                PageBox expected = new(x.Min(), y.Min(), x.Max(), y.Max());
                Assert.Contains(boxes, box => Distance(box, expected) < 1e-6);
            }

            string? error = golden.GetProperty("error").GetString();
            string warnings = string.Join('\n', page.Warnings);
            Assert.Equal(error == "malformed", warnings.Contains("cannot be read"));
            Assert.Equal(error == "truncated", warnings.Contains("ends inside"));
            cases++;
        }

        Assert.InRange(cases, 20, 100);
    }

    static double Distance(PageBox a, PageBox b) =>
        ((double[])[a.Left - b.Left, a.Top - b.Top, a.Right - b.Right, a.Bottom - b.Bottom]).Max(Math.Abs);
}
