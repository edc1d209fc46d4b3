using VlmSharp.Documents;
using VlmSharp.Generation;
using Xunit;

namespace VlmSharp.Tests.Documents;

public sealed class MarkdownPageReaderTests
{
    static ParsedPage Read(string markdown) => Pages.Read(markdown, Pages.Markdown);

    [Fact]
    public void Every_element_of_Markdown_is_read()
    {
        ParsedPage page = Read(
            """
            # Title

            Some *words* and **more** `code` $x_1$
            over two lines.

            3. three
               - deep
            4. four

            | A | B |
            | --- | --- |
            | 1 | 2 |

            $$
            a \\ b
            $$

            ```python
            if x:
              y
            ```

            ![a dog](dog.png)
            """
        );
        Assert.Empty(page.Warnings);
        Assert.Equal(
            [
                ElementKind.Heading,
                ElementKind.Paragraph,
                ElementKind.List,
                ElementKind.Table,
                ElementKind.Formula,
                ElementKind.Code,
                ElementKind.Image,
            ],
            page.Elements.Select(e => e.Kind)
        );
        Assert.Equal("Some words and more code $x_1$ over two lines.", TextRuns.Plain(page.Elements[1].Text));
        Assert.Equal(3, page.Elements[2].FirstNumber);
        Assert.Equal("deep", TextRuns.Plain(page.Elements[2].Items[0].Nested[0].Items[0].Text));
        Assert.True(page.Elements[3].Table!.Rows[0][0].IsHeader);
        Assert.Equal(@"a \\ b", TextRuns.Plain(page.Elements[4].Text));
        Assert.Equal(("python", "if x:\n  y"), (page.Elements[5].Notation, TextRuns.Plain(page.Elements[5].Text)));
        Assert.Equal("a dog", TextRuns.Plain(page.Elements[6].Text));
    }

    [Fact]
    public void Comments_of_Qwen3_VL_say_where_pictures_and_tables_are()
    {
        ParsedPage page = Read(
            """
            ```markdown
            ## Results
            <!-- Image (100, 200, 300, 400) -->
            Some words <!-- nobody sees this --> here.
            <!-- Table (100, 500, 900, 600) -->
            \begin{tabular}{|l|c|}
            \hline
            Year & Total \\ \hline
            2024 & 5 \% \\
            \end{tabular}
            <!-- Table (100, 700, 900, 800) -->
            <table><tr><td>x</td></tr></table>
            <!-- Table (100, 900, 900, 950) -->

            | A |
            | - |
            | 1 |
            ```
            """
        );
        Assert.Empty(page.Warnings);
        Assert.Equal(
            [
                (ElementKind.Heading, null),
                (ElementKind.Image, new PageBox(50, 200, 150, 400)),
                (ElementKind.Paragraph, null),
                (ElementKind.Table, new PageBox(50, 500, 450, 600)),
                (ElementKind.Table, new PageBox(50, 700, 450, 800)),
                (ElementKind.Table, (PageBox?)new PageBox(50, 900, 450, 950)),
            ],
            page.Elements.Select(e => (e.Kind, e.Box))
        );
        Assert.Equal("Some words here.", TextRuns.Plain(page.Elements[2].Text));
        Assert.Equal("5 %", TextRuns.Plain(page.Elements[3].Table!.Rows[1][1].Text));
    }

    [Theory]
    [InlineData(@"\begin{tabular}{cc} a & b \\ c & d \end{tabular}", "a,b|c,d")]
    [InlineData(@"\begin{tabular*}{\textwidth}[t]{@{}l{3em}r@{}} a & b \end{tabular*}", "a,b")]
    [InlineData(
        @"\begin{tabular}{c}\toprule \cmidrule(lr){1-2} a\&b \\[2pt] \midrule \{c\} \\ \bottomrule \end{tabular}",
        "a&b|{c}"
    )]
    [InlineData(@"\begin{tabular}{cc}\multicolumn{2}{c}{\textbf{a}} \\ b & {c & d} \end{tabular}", "a^1x2,|b,c & d")]
    [InlineData(@"\begin{tabular}{cc}\multirow{2}{*}{a} & b \\ & c \end{tabular}", "a^2x1,b|c")]
    [InlineData(
        @"\begin{tabular}{c}\multicolumn{2}{c}{\multirow{2}{*}{a}} & b \\ \multicolumn{2}{c}{} & c \end{tabular}",
        "a^2x2,b|c"
    )]
    [InlineData(@"\begin{tabular}{c} $x & y$ \end{tabular}", "$x,y$")]
    [InlineData(@"\begin{tabular}{c} $\alpha$ \unknown{z} \end{tabular}", @"$\alpha$ \unknownz")]
    [InlineData(
        @"\begin{table}\caption{Two \textit{things}}\begin{tabular}{c} a \end{tabular}\end{table}",
        "Two things:a"
    )]
    [InlineData(@"\begin{longtable}{c} a \\ \endhead b \\ \end{longtable}", "a|b")]
    public void LaTeX_tables_are_read(string latex, string expected)
    {
        Table table = Assert.Single(Read(latex).Elements).Table!;
        string caption = table.Caption.Count > 0 ? TextRuns.Plain(table.Caption) + ":" : "";
        Assert.Equal(
            expected.Replace("a^1x2,", "a^1x2"),
            caption
                + string.Join(
                    '|',
                    table.Rows.Select(row =>
                        string.Join(
                            ',',
                            row.Select(cell =>
                                TextRuns.Plain(cell.Text)
                                + (cell.RowSpan > 1 || cell.ColumnSpan > 1 ? $"^{cell.RowSpan}x{cell.ColumnSpan}" : "")
                            )
                        )
                    )
                )
        );
    }

    [Theory]
    [InlineData(@"# A" + "\n" + @"\begin{tabular}{cc} a & b \\ c & d", "a,b")]
    [InlineData("# A\n<table><tr><td>a</td></tr><tr><td>b", "a")]
    public void Of_a_table_that_is_cut_off_the_complete_rows_are_kept(string markdown, string expected)
    {
        ParsedPage page = Pages.Read(markdown, Pages.Markdown, FinishReason.Length);
        Assert.Equal(
            expected,
            string.Join(
                '|',
                page.Elements[1].Table!.Rows.Select(r => string.Join(',', r.Select(c => TextRuns.Plain(c.Text))))
            )
        );
        Assert.True(page.Elements[1].IsTruncated);
        Assert.Contains("limit on tokens", page.Warnings[0]);
    }

    [Fact]
    public void HTML_besides_tables_is_text() =>
        Assert.Equal(
            "<b onclick=\"x\">bold</b> & <script>alert(1)</script>",
            TextRuns.Plain(Assert.Single(Read("<b onclick=\"x\">bold</b> & <script>alert(1)</script>").Elements).Text)
        );

    [Fact]
    public void Text_made_to_confuse_readers_is_read_and_written_all_the_same()
    {
        foreach (
            string piece in (string[])
                [
                    "> ",
                    "[",
                    "*a ",
                    "$",
                    @"\(",
                    @"\[",
                    "|a",
                    "<!--",
                    @"\begin{tabular}{c}",
                    "<table>",
                    "{",
                    @"\textbf{",
                    "- ",
                    "`",
                    "<div><p>",
                    "<!-- Table (1, 2, 3, 4) -->",
                ]
        )
        {
            string text = string.Concat(Enumerable.Repeat(piece, 1500));
            foreach (ParsePrompt prompt in (ParsePrompt[])[Pages.Markdown, Pages.Html])
            {
                ParsedPage page = Pages.Read(text, prompt);
                foreach (DocumentFormat format in Enum.GetValues<DocumentFormat>())
                {
                    Pages.Write(format, page);
                }
            }
        }
    }

    [Fact]
    public void An_answer_that_is_no_HTML_is_read_as_Markdown()
    {
        ParsedPage page = Pages.Read("# Title\n\nwords");
        Assert.Equal([ElementKind.Heading, ElementKind.Paragraph], page.Elements.Select(e => e.Kind));
        Assert.Equal(["the answer is no HTML, it was read as Markdown"], page.Warnings);
        Assert.Equal(["nothing could be read in the answer"], Read("  ").Warnings);
    }
}
