using System.Text.Json;
using System.Text.RegularExpressions;
using Markdig;
using VlmSharp.Documents;
using VlmSharp.Grounding;
using Xunit;

namespace VlmSharp.Tests.Documents;

public sealed class DocumentWriterTests
{
    const string Everything = """
        <h2 data-bbox="100 10 900 50">Title</h2><p>a <b>b</b> <a href="https://x.org/a?b=1&amp;c">c</a> $x&lt;y$</p>
        <ol><li>one<ul><li>deep</li></ul></li><li>two</li></ol>
        <table data-bbox="100 210 900 300"><tr><th>A</th><th>B|C</th></tr><tr><td>1</td><td>2<br>3</td></tr></table>
        <table><tr><td colspan="2">wide</td></tr><tr><td>1</td><td>2</td></tr></table>
        <div class="formula">$$\frac{a}{b}$$</div>
        <div class="image" data-bbox="100 500 300 600"><img/><p>A dog</p></div>
        <div class="chart"><table><tr><td>x</td></tr></table></div>
        <div class="chemical formula" format="smile"><div>CCO</div></div>
        <pre>a ``` b</pre><footer>bottom</footer>
        """;

    [Fact]
    public void Markdown_has_a_form_for_every_element()
    {
        Assert.Equal(
            """
            ## Title

            a **b** [c](<https://x.org/a?b=1&c>) $x\lt y$

            1. one
               - deep
            2. two

            | A | B\|C |
            | --- | --- |
            | 1 | 2<br>3 |

            <table>
            <tr><td colspan="2">wide</td></tr>
            <tr><td>1</td><td>2</td></tr>
            </table>

            $$
            \frac{a}{b}
            $$

            [Image](<dir/a%20%3Cb%3E.pdf#page=1&viewrect=50,500,100,100>): A dog

            [Chart](<dir/a%20%3Cb%3E.pdf#page=1>)

            | x |
            | --- |

            ```smile
            CCO
            ```

            ````
            a ``` b
            ````
            """.ReplaceLineEndings("\n"),
            Pages.ToMarkdown(Everything)
        );
    }

    [Fact]
    public void Html_has_a_section_for_each_page_and_boxes_in_points()
    {
        string html = Pages.Write(DocumentFormat.Html, Pages.Read(Everything), Pages.Read("<p>next</p>", number: 2));
        Assert.Contains("<title>a &lt;b&gt;.pdf</title>", html);
        Assert.Contains(
            """<section id="page-2" class="page" data-page="2" data-width="500" data-height="1000">""",
            html
        );
        Assert.Contains("""<h2 id="p1-e1" data-bbox="50 10 450 50">Title</h2>""", html);
        Assert.Contains("""<p id="p2-e1">next</p>""", html);
        Assert.Contains("""<td colspan="2">wide</td>""", html);
        Assert.Contains("""<span class="formula">$x&lt;y$</span>""", html);
        HtmlDocument tree = QwenVLHtml.Parse(html);
        string[] ids = [.. tree.Root.Descendants.Select(e => e.Attribute("id")?.Value).OfType<string>()];
        Assert.Equal(ids.Distinct(), ids);
        Assert.All(tree.Root.Descendants, e => Assert.True(e.IsClosed, e.Name));
    }

    [Fact]
    public void Json_has_pages_elements_and_boxes_in_points_and_pixels()
    {
        string text = Pages.Write(
            DocumentFormat.Json,
            Pages.Read(Everything),
            Pages.Read("<p data-bbox='1'>x", number: 2)
        );
        JsonElement json = JsonDocument.Parse(text).RootElement;
        Assert.Equal("a <b>.pdf", json.GetProperty("file").GetString());
        JsonElement page = json.GetProperty("pages")[0];
        Assert.Equal((500, 1000), (page.GetProperty("width").GetInt32(), page.GetProperty("height").GetInt32()));
        Assert.Equal(36, page.GetProperty("image").GetProperty("dpi").GetDouble());
        JsonElement title = page.GetProperty("elements")[0];
        Assert.Equal("heading", title.GetProperty("type").GetString());
        Assert.Equal("[50,10,450,50]", Compact(title.GetProperty("bbox")));
        Assert.Equal("[25,5,225,25]", Compact(title.GetProperty("bbox_pixels")));
        Assert.Equal("a b c $x<y$", page.GetProperty("elements")[1].GetProperty("text").GetString());
        JsonElement table = page.GetProperty("elements")[3];
        Assert.Equal("B|C", table.GetProperty("rows")[0][1].GetProperty("text").GetString());
        Assert.True(table.GetProperty("rows")[0][1].GetProperty("header").GetBoolean());
        JsonElement second = json.GetProperty("pages")[1];
        Assert.True(second.GetProperty("elements")[0].GetProperty("truncated").GetBoolean());
        Assert.Equal(2, second.GetProperty("warnings").GetArrayLength());
    }

    static string Compact(JsonElement json) => Regex.Replace(json.GetRawText(), @"\s", "");

    public static readonly TheoryData<string> Hostile =
    [
        "<script>alert(1)</script>",
        "<p onclick=\"alert(1)\" style=\"background:url(http://x)\">a</p>",
        "<img src=\"http://x/track.png\" onerror=\"alert(1)\" data-bbox=\"1 2 30 40\">",
        "<a href=\"javascript:alert(1)\">a</a><a href=\" JaVaScRiPt:alert(1)\">b</a><a href=\"data:text/html,x\">c</a>",
        "<a href='https://x.org/\"onmouseover=\"alert(1)'>a</a><a href='https://x.org/>)<script>'>b</a>",
        "<p>&lt;script&gt;alert(1)&lt;/script&gt; &lt;img src=x onerror=alert(1)&gt;</p>",
        "<div class=\"formula\">$$ <script>alert(1)</script> $$ &lt;img src=x&gt; $$</div>",
        "<p>$a &lt;script&gt;alert(1)&lt;/script&gt;$ `</p><p>` &lt;script&gt;</p>",
        "<pre>```\n&lt;script&gt;alert(1)&lt;/script&gt;</pre>",
        "<code>` &lt;script&gt;alert(1)&lt;/script&gt; `</code>",
        "<table><tr><td>&lt;script&gt;|x</td><td>`a|b` &lt;img src=x&gt;</td></tr><tr><td><code>&lt;b&gt;|</code></td></tr></table>",
        "<table><caption>&lt;script&gt;</caption><tr><td colspan='2'>&lt;script&gt;\n\n&lt;img src=x&gt;</td></tr></table>",
        "<iframe src=\"http://x\"></iframe><object data=\"http://x\"></object><svg onload=alert(1)></svg><p>a</p>",
        "<p>[a](javascript:alert(1)) ![b](http://x/y.png) &lt;http://x&gt; &amp;lt;script&amp;gt;</p>",
        "<p>-->&lt;script&gt;alert(1)&lt;/script&gt;&lt;!--</p>",
        "<div class=\"chemical formula\" format=\"x\n</code><script>\">a</div>",
        "<h1>a\n&lt;script&gt;</h1><p>a<br>&lt;script&gt;<br># b<br>===</p><li>&lt;script&gt;</li>",
        "<link rel=stylesheet href=http://x><meta http-equiv=refresh content='0;url=http://x'><base href=http://x><p>a</p>",
        "<p>\0\u0001\u001b[31m\ud800 a</p>",
    ];

    [Theory]
    [MemberData(nameof(Hostile))]
    public void Nothing_that_a_model_wrote_runs_or_loads_anything(string answer)
    {
        foreach (ParsePrompt prompt in (ParsePrompt[])[Pages.Html, Pages.Markdown])
        {
            ParsedPage page = Pages.Read(answer, prompt);
            AssertHarmless(Pages.Write(DocumentFormat.Html, page));
            // With every extension, and HTML let through.
            MarkdownPipeline pipeline = new MarkdownPipelineBuilder().UseAdvancedExtensions().Build();
            AssertHarmless(Markdown.ToHtml(Pages.Write(DocumentFormat.Markdown, page), pipeline));
            AssertHarmless(Markdown.ToHtml(Pages.Write(DocumentFormat.Markdown, page)));
            JsonDocument.Parse(Pages.Write(DocumentFormat.Json, page));
        }
    }

    static void AssertHarmless(string html)
    {
        string[] allowed =
        [
            .. "html head meta title style body section p h1 h2 h3 h4 h5 h6 ul ol li table caption thead tbody tr td th figure figcaption div span pre".Split(
                ' '
            ),
            .. "code b i u s sub sup a br strong em del hr colgroup col blockquote".Split(' '),
        ];
        string[] attributes = ["id", "class", "data-bbox", "colspan", "rowspan", "start", "rel", "href", "charset"];
        Assert.DoesNotMatch(@"[\0-\x08\x0b-\x1f]", html);
        foreach (HtmlElement element in QwenVLHtml.Parse(html).Root.Descendants)
        {
            Assert.Contains(element.Name, allowed);
            foreach (HtmlAttribute attribute in element.Attributes)
            {
                bool policy = element.Name == "meta" && attribute.Name is "http-equiv" or "content";
                bool data = attribute.Name.StartsWith("data-", StringComparison.Ordinal);
                bool width = element.Name is "col" or "th" or "td" && attribute.Name == "style"; // Markdig's own
                Assert.True(
                    policy || data || width || attributes.Contains(attribute.Name),
                    $"{element.Name} {attribute.Name}"
                );
                if (attribute.Name == "href")
                {
                    Assert.Matches(@"^(https?://|mailto:|dir/a%20|#)", attribute.Value);
                }

                if (policy && attribute.Name == "content")
                {
                    Assert.StartsWith("default-src 'none'", attribute.Value);
                }
            }
        }
    }

    [Fact]
    public void Any_words_come_out_as_the_same_words()
    {
        const string signs = "ab1 <>&\"'`*_[]()#+-.!|~$\\{}=:^%@\né漢😀;,lt;gt/";
        System.Text.Rune[] alphabet = [.. signs.EnumerateRunes()];
        Random random = new(3);
        MarkdownPipeline pipeline = new MarkdownPipelineBuilder()
            .UsePipeTables()
            .UseEmphasisExtras(
                Markdig.Extensions.EmphasisExtras.EmphasisExtraOptions.Strikethrough
                    | Markdig.Extensions.EmphasisExtras.EmphasisExtraOptions.Subscript
                    | Markdig.Extensions.EmphasisExtras.EmphasisExtraOptions.Superscript
            )
            .UseMathematics()
            .Build();
        for (int i = 0; i < 3000; i++)
        {
            string text = string.Concat(
                Enumerable.Range(0, random.Next(1, 14)).Select(_ => alphabet[random.Next(alphabet.Length)].ToString())
            );
            IReadOnlyList<TextRun> runs = TextRuns.Collapse([new(text.Replace('\n', TextRuns.LineBreak))]);
            string expected = Flat(TextRuns.Plain(runs));
            Assert.Equal(expected, Flat(QwenVLHtml.Parse(HtmlMarkup.Words(runs)).Root.InnerText));

            string markdown = MarkdownMarkup.Words(runs);
            Assert.Equal((expected, text), (Flat(Rendered(markdown, pipeline)), text));
            string cell = MarkdownMarkup.Table(
                new(
                    [
                        [new TableCell([new("head")])],
                        [new TableCell(runs)],
                    ],
                    []
                )
            );
            Assert.Equal(("head" + expected, text), (Flat(Rendered(cell, pipeline)), text));
        }

        static string Rendered(string markdown, MarkdownPipeline pipeline) =>
            QwenVLHtml.Parse(Markdown.ToHtml(markdown, pipeline)).Root.InnerText;

        static string Flat(string text) => Regex.Replace(text, @"\s", "");
    }

    [Fact]
    public void A_picture_is_linked_by_its_place_in_pixels()
    {
        ParsedPage page = Pages.Read("<img alt='x' data-bbox='100 500 300 600'>");
        Assert.Contains(
            "[Image](<scan.png#xywh=50,500,100,100>): x",
            Pages.Write(DocumentFormat.Markdown, new DocumentSource("scan.png", "scan.png"), page)
        );
        Assert.Contains(
            "<figcaption><a href=\"scan.png#xywh=50,500,100,100\">x</a></figcaption>",
            Pages.Write(DocumentFormat.Html, new DocumentSource("scan.png", "scan.png"), page)
        );
        Assert.Contains("\nImage: x\n", Pages.Write(DocumentFormat.Markdown, new DocumentSource("scan.png"), page));
    }
}
