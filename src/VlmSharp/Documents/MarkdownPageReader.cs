using System.Globalization;
using System.Text;
using Markdig;
using Markdig.Extensions.Mathematics;
using Markdig.Extensions.Tables;
using Markdig.Syntax;
using Markdig.Syntax.Inlines;
using MarkdigTable = Markdig.Extensions.Tables.Table;
using MarkdigTableCell = Markdig.Extensions.Tables.TableCell;
using MarkdigTableRow = Markdig.Extensions.Tables.TableRow;

namespace VlmSharp.Documents;

/// <summary>Markdown to elements: that of ordinary models, and Qwen3-VL's, in which comments say where pictures and tables are.</summary>
/// <remarks>
/// <c>&lt;!-- Image (x1, y1, x2, y2) --&gt;</c> is a picture; <c>&lt;!-- Table (x1, y1, x2, y2) --&gt;</c> stands before a table, which
/// is LaTeX (<c>\begin{tabular}</c>), HTML or Markdown. HTML besides tables is text.
/// </remarks>
sealed class MarkdownPageReader(PageFrame frame)
{
    static readonly MarkdownPipeline Pipeline = new MarkdownPipelineBuilder()
        .DisableHtml()
        .UsePipeTables()
        .UseEmphasisExtras()
        .UseMathematics()
        .Build();

    readonly List<DocumentElement> elements = [];
    PageBox? tableBox;

    /// <summary>Whether the text ends inside of a table, comment or fence.</summary>
    internal bool IsTruncated { get; private set; }

    /// <summary>Reads an answer.</summary>
    /// <param name="text">Markdown, fenced or not.</param>
    /// <param name="start">Where it begins in the text.</param>
    internal IReadOnlyList<DocumentElement> Read(string text, int start)
    {
        string body = WithoutFence(text[start..].Replace("\r\n", "\n"));
        StringBuilder markdown = new();
        for (int at = 0; at < body.Length; )
        {
            (int found, string? open, string? close) = Next(body, at);
            markdown.Append(body, at, found - at);
            if (open is null)
            {
                break;
            }

            int end = body.IndexOf(close!, found + open.Length, StringComparison.OrdinalIgnoreCase);
            IsTruncated |= end < 0;
            string part = end < 0 ? body[found..] : body[found..(end + close!.Length)];
            at = found + part.Length;
            if (open == "<!--")
            {
                if (end >= 0 && !Comment(part))
                {
                    continue; // nobody sees it
                }

                AddMarkdown(markdown);
                if (end >= 0)
                {
                    Place(part);
                }
            }
            else
            {
                AddMarkdown(markdown);
                AddTable(part, open, whole: end >= 0);
            }
        }

        AddMarkdown(markdown);
        return elements;
    }

    /// <summary>The next comment or table that Markdown itself has no form for.</summary>
    static (int At, string? Open, string? Close) Next(string text, int from)
    {
        (int, string?, string?) first = (text.Length, null, null);
        foreach (
            (string open, string close) in (ReadOnlySpan<(string, string)>)
                [
                    ("<!--", "-->"),
                    (@"\begin{table}", @"\end{table}"),
                    (@"\begin{table*}", @"\end{table*}"),
                    (@"\begin{tabular}", @"\end{tabular}"),
                    (@"\begin{tabular*}", @"\end{tabular*}"),
                    (@"\begin{longtable}", @"\end{longtable}"),
                    ("<table", "</table>"),
                ]
        )
        {
            int at = text.IndexOf(
                open,
                from,
                Math.Min(first.Item1 + open.Length, text.Length) - from,
                StringComparison.OrdinalIgnoreCase
            );
            if (at >= 0 && at < first.Item1)
            {
                first = (at, open, close);
            }
        }

        return first;
    }

    /// <summary>An answer may be fenced as a whole.</summary>
    string WithoutFence(string text)
    {
        string trimmed = text.Trim();
        int line = trimmed.IndexOf('\n');
        if (line < 0 || trimmed[..line].TrimEnd() is not ("```markdown" or "```md" or "```"))
        {
            return text;
        }

        bool closed = trimmed.EndsWith("\n```", StringComparison.Ordinal);
        IsTruncated |= !closed;
        return closed ? trimmed[(line + 1)..^4] : trimmed[(line + 1)..];
    }

    static bool Comment(string part) => Named(part, "Image") || Named(part, "Table");

    static bool Named(string comment, string name) =>
        comment.AsSpan(4).TrimStart().StartsWith(name, StringComparison.OrdinalIgnoreCase)
        && comment.Contains('(')
        && comment.Contains(')');

    void Place(string comment)
    {
        PageBox? box = frame.Box(comment[(comment.IndexOf('(') + 1)..comment.LastIndexOf(')')]);
        if (Named(comment, "Table"))
        {
            tableBox = box;
        }
        else if (box is not null)
        {
            elements.Add(new(ElementKind.Image) { Box = box });
        }
    }

    void AddTable(string part, string open, bool whole)
    {
        if (open == "<table")
        {
            HtmlPageReader reader = new(frame);
            foreach (DocumentElement element in reader.Read(part, 0))
            {
                elements.Add(element with { Box = element.Box ?? tableBox });
            }
        }
        else if (LatexTable.Read(part, whole) is { Rows.Count: > 0 } table)
        {
            elements.Add(
                new(ElementKind.Table)
                {
                    Table = table,
                    Box = tableBox,
                    IsTruncated = !whole,
                }
            );
        }

        tableBox = null;
    }

    void AddMarkdown(StringBuilder markdown)
    {
        string text = markdown.ToString();
        markdown.Clear();
        if (string.IsNullOrWhiteSpace(text))
        {
            return;
        }

        MarkdownDocument document;
        try
        {
            document = Markdown.Parse(text, Pipeline);
        }
        catch (ArgumentException)
        {
            // Markdig's answer to what is nested without end.
            frame.Warn("the Markdown is nested too deeply, its words were kept as they are");
            elements.Add(new(ElementKind.Paragraph) { Text = TextRuns.Collapse([new(text)]) });
            return;
        }

        foreach (Block block in document)
        {
            Add(block, elements);
        }
    }

    void Add(Block block, List<DocumentElement> into)
    {
        switch (block)
        {
            case HeadingBlock heading:
                AddWords(new(ElementKind.Heading) { Level = heading.Level }, heading.Inline, into);
                break;
            case MathBlock math:
                AddSource(ElementKind.Formula, math.Lines.ToString(), null, into);
                break;
            case FencedCodeBlock fenced:
                AddSource(ElementKind.Code, fenced.Lines.ToString(), fenced.Info, into);
                break;
            case CodeBlock code:
                // What a page indents is text; Markdown's code of four blanks is not what a model means by it.
                into.Add(new(ElementKind.Paragraph) { Text = TextRuns.Collapse([new(code.Lines.ToString())]) });
                break;
            case ListBlock list:
                AddList(list, into);
                break;
            case MarkdigTable table:
                AddPipeTable(table, into);
                break;
            case ParagraphBlock paragraph:
                AddWords(new(ElementKind.Paragraph), paragraph.Inline, into);
                break;
            case ContainerBlock container:
                foreach (Block child in container)
                {
                    Add(child, into);
                }

                break;
            case LeafBlock { Inline: { } inline }:
                AddWords(new(ElementKind.Paragraph), inline, into);
                break;
            default:
                break; // rules and definitions of links show nothing
        }
    }

    static void AddSource(ElementKind kind, string source, string? notation, List<DocumentElement> into)
    {
        string text = kind == ElementKind.Formula ? TextRuns.Latex(source) : source.Trim('\n');
        if (text.Length > 0)
        {
            into.Add(
                new(kind)
                {
                    Text = [new(text, kind == ElementKind.Code ? TextStyle.Code : TextStyle.None)],
                    Notation = string.IsNullOrEmpty(notation) ? null : notation,
                }
            );
        }
    }

    static void AddWords(DocumentElement element, ContainerInline? inline, List<DocumentElement> into)
    {
        List<TextRun> runs = [];
        List<DocumentElement> inside = [];
        Words(inline, runs, TextStyle.None, null, inside);
        IReadOnlyList<TextRun> text = TextRuns.Collapse(runs);
        // A paragraph that is one formula is a formula.
        if (text is [{ Style: TextStyle.Math } only] && inline?.FirstChild is MathInline { DelimiterCount: 2 })
        {
            into.Add(new(ElementKind.Formula) { Text = [new(only.Text)] });
        }
        else if (text.Count > 0)
        {
            into.Add(element with { Text = text });
        }

        into.AddRange(inside);
    }

    static void Words(
        ContainerInline? container,
        List<TextRun> runs,
        TextStyle style,
        string? link,
        List<DocumentElement> inside
    )
    {
        foreach (Inline inline in container ?? Enumerable.Empty<Inline>())
        {
            switch (inline)
            {
                case LiteralInline literal:
                    foreach (TextRun run in TextRuns.SplitMath(literal.Content.ToString(), style, link))
                    {
                        runs.Add(run with { Text = run.Text.Replace(TextRuns.LineBreak, ' ') });
                    }

                    break;
                case CodeInline code:
                    runs.Add(new(code.Content, style | TextStyle.Code, link));
                    break;
                case MathInline math:
                    runs.Add(new(math.Content.ToString().Trim(), style | TextStyle.Math, link));
                    break;
                case LineBreakInline { IsHard: true }:
                    runs.Add(new(TextRuns.LineBreak.ToString(), style, link));
                    break;
                case LineBreakInline:
                    runs.Add(new(" ", style, link));
                    break;
                case HtmlEntityInline entity:
                    runs.Add(new(entity.Transcoded.ToString(), style, link));
                    break;
                case AutolinkInline autolink:
                    runs.Add(new(autolink.Url, style, Links.Safe(autolink.Url)));
                    break;
                case LinkInline { IsImage: true } image:
                    List<TextRun> caption = [];
                    Words(image, caption, TextStyle.None, null, inside);
                    inside.Add(new(ElementKind.Image) { Text = TextRuns.Collapse(caption) });
                    break;
                case LinkInline target:
                    Words(target, runs, style, Links.Safe(target.Url) ?? link, inside);
                    break;
                case EmphasisInline emphasis:
                    Words(emphasis, runs, style | Style(emphasis), link, inside);
                    break;
                case ContainerInline other:
                    Words(other, runs, style, link, inside);
                    break;
                default:
                    break;
            }
        }
    }

    static TextStyle Style(EmphasisInline emphasis) =>
        (emphasis.DelimiterChar, emphasis.DelimiterCount) switch
        {
            ('~', 1) => TextStyle.Subscript,
            ('~', _) => TextStyle.Strike,
            ('^', _) => TextStyle.Superscript,
            ('+', _) => TextStyle.Underline,
            (_, 2) => TextStyle.Bold,
            _ => TextStyle.Italic,
        };

    void AddList(ListBlock list, List<DocumentElement> into)
    {
        List<ListItem> items = [];
        foreach (ListItemBlock item in list.OfType<ListItemBlock>())
        {
            List<DocumentElement> parts = [];
            foreach (Block child in item)
            {
                Add(child, parts);
            }

            bool begins = parts is [{ Kind: ElementKind.Paragraph }, ..];
            items.Add(new(begins ? parts[0].Text : [], begins ? parts[1..] : parts));
        }

        int? first = list.IsOrdered
            ? int.TryParse(list.OrderedStart, NumberStyles.None, CultureInfo.InvariantCulture, out int n)
                ? n
                : 1
            : null;
        into.Add(new(ElementKind.List) { Items = items, FirstNumber = first });
    }

    void AddPipeTable(MarkdigTable table, List<DocumentElement> into)
    {
        List<IReadOnlyList<TableCell>> rows = [];
        List<DocumentElement> inside = [];
        foreach (MarkdigTableRow row in table.OfType<MarkdigTableRow>())
        {
            rows.Add([
                .. row.OfType<MarkdigTableCell>()
                    .Select(cell =>
                    {
                        List<TextRun> runs = [];
                        foreach (LeafBlock leaf in cell.OfType<LeafBlock>())
                        {
                            Words(leaf.Inline, runs, TextStyle.None, null, inside);
                        }

                        return new TableCell(TextRuns.Collapse(runs), row.IsHeader);
                    }),
            ]);
        }

        into.Add(new(ElementKind.Table) { Table = new(rows, []), Box = tableBox });
        tableBox = null;
        into.AddRange(inside);
    }
}
