using System.Globalization;
using VlmSharp.Grounding;

namespace VlmSharp.Documents;

/// <summary>QwenVL HTML to elements. Only what is known is taken over; scripts, styles, addresses of pictures and handlers are nowhere.</summary>
/// <remarks>
/// The format is that of the technical report of Qwen2.5-VL (arXiv 2502.13923, section 2.2): paragraphs, headings, lists and tables
/// with <c>data-bbox</c>, and <c>div</c> of a class for pictures, charts, formulas, notes and molecules. The reader also takes ordinary HTML.
/// </remarks>
sealed class HtmlPageReader(PageFrame frame)
{
    // Their content is no text of the page.
    static readonly HashSet<string> Invisible =
    [
        "style",
        "head",
        "title",
        "meta",
        "link",
        "template",
        "colgroup",
        "col",
    ];

    // Left out with all they hold.
    static readonly HashSet<string> Forbidden = ["script", "iframe", "object", "embed", "noscript", "svg", "canvas"];

    static readonly Dictionary<string, TextStyle> Styles = new()
    {
        ["b"] = TextStyle.Bold,
        ["strong"] = TextStyle.Bold,
        ["i"] = TextStyle.Italic,
        ["em"] = TextStyle.Italic,
        ["cite"] = TextStyle.Italic,
        ["var"] = TextStyle.Italic,
        ["u"] = TextStyle.Underline,
        ["ins"] = TextStyle.Underline,
        ["s"] = TextStyle.Strike,
        ["del"] = TextStyle.Strike,
        ["strike"] = TextStyle.Strike,
        ["sub"] = TextStyle.Subscript,
        ["sup"] = TextStyle.Superscript,
        ["code"] = TextStyle.Code,
        ["kbd"] = TextStyle.Code,
        ["samp"] = TextStyle.Code,
        ["tt"] = TextStyle.Code,
    };

    static readonly HashSet<string> PlainInline =
    [
        "a",
        "span",
        "font",
        "small",
        "big",
        "mark",
        "label",
        "abbr",
        "time",
        "q",
        "bdo",
        "bdi",
        "wbr",
        "button",
        "ruby",
        "rb",
        "rt",
        "rp",
        "input",
        "select",
        "option",
        "textarea",
    ];

    static readonly HashSet<string> Containers =
    [
        "html",
        "body",
        "div",
        "section",
        "article",
        "main",
        "nav",
        "aside",
        "form",
        "fieldset",
        "center",
        "dl",
        "thead",
        "tbody",
        "tfoot",
    ];

    static readonly HashSet<string> Paragraphs =
    [
        "p",
        "blockquote",
        "address",
        "dt",
        "dd",
        "figcaption",
        "caption",
        "legend",
        "summary",
        "details",
        "li",
        "tr",
        "td",
        "th",
    ];

    // Of div and figure; two-word classes first, since their words may be classes as well.
    static readonly (string Class, ElementKind Kind)[] Classes =
    [
        ("music sheet", ElementKind.MusicSheet),
        ("chemical formula", ElementKind.ChemicalFormula),
        ("formula", ElementKind.Formula),
        ("formula.machine_printed", ElementKind.Formula),
        ("formula.handwritten", ElementKind.Formula),
        ("equation", ElementKind.Formula),
        ("chart", ElementKind.Chart),
        ("image", ElementKind.Image),
        ("figure", ElementKind.Image),
        ("header", ElementKind.Header),
        ("footer", ElementKind.Footer),
        ("page-number", ElementKind.PageNumber),
    ];

    readonly List<DocumentElement> elements = [];
    readonly SortedSet<string> unknown = new(StringComparer.Ordinal);

    /// <summary>Whether the text ends inside of an element.</summary>
    internal bool IsTruncated { get; private set; }

    /// <summary>Reads an answer.</summary>
    /// <param name="text">HTML, fenced or not.</param>
    /// <param name="start">Where it begins in the text.</param>
    internal IReadOnlyList<DocumentElement> Read(string text, int start)
    {
        HtmlDocument document = QwenVLHtml.Parse(text, start);
        HtmlElement root =
            document.Root.Descendants.FirstOrDefault(e => e.Name == "body")
            ?? document.Root.Descendants.FirstOrDefault(e => e.Name == "html")
            ?? document.Root;
        // An answer may well do without the last end tags, but not those of what it tells.
        IsTruncated =
            document.UnfinishedTag is not null
            || document.Root.Descendants.Any(e => !e.IsClosed && e.Name is not ("html" or "body"));
        Flow(root, elements, atTop: root == document.Root);
        if (unknown.Count > 0)
        {
            frame.Warn($"elements that are not known were left out, their text was kept: {string.Join(", ", unknown)}");
        }

        return elements;
    }

    /// <summary>Reads what follows one another: elements, and paragraphs of whatever lies between them.</summary>
    /// <param name="parent">Whose children are read.</param>
    /// <param name="into">Where they go.</param>
    /// <param name="atTop">Whether fences of code around the HTML are no text.</param>
    void Flow(HtmlElement parent, List<DocumentElement> into, bool atTop = false)
    {
        List<TextRun> loose = [];
        foreach (HtmlNode node in parent.Children)
        {
            if (node is HtmlText text)
            {
                loose.Add(new(atTop ? WithoutFences(text.Text) : text.Text));
            }
            else if (node is HtmlElement element)
            {
                if (IsInline(element))
                {
                    Inline(element, loose, TextStyle.None, null, into);
                }
                else
                {
                    AddParagraph(loose, into);
                    Block(element, into);
                }
            }
        }

        AddParagraph(loose, into);
    }

    static string WithoutFences(string text) =>
        string.Join(
            '\n',
            text.Split('\n').Where(line => !line.TrimStart().StartsWith("```", StringComparison.Ordinal))
        );

    static bool IsInline(HtmlElement element) =>
        element.Name == "br" || Styles.ContainsKey(element.Name) || PlainInline.Contains(element.Name);

    static void AddParagraph(List<TextRun> loose, List<DocumentElement> into)
    {
        IReadOnlyList<TextRun> text = Finish(loose);
        loose.Clear();
        if (text.Count > 0)
        {
            into.Add(new(ElementKind.Paragraph) { Text = text });
        }
    }

    /// <summary>Collected text with its formulas told apart.</summary>
    static IReadOnlyList<TextRun> Finish(IEnumerable<TextRun> runs) =>
        TextRuns.Collapse(
            runs.SelectMany(run => TextRuns.IsVerbatim(run) ? [run] : TextRuns.SplitMath(run.Text, run.Style, run.Link))
        );

    void Block(HtmlElement element, List<DocumentElement> into)
    {
        string name = element.Name;
        if (Invisible.Contains(name) || name == "hr")
        {
            return;
        }

        if (Forbidden.Contains(name))
        {
            frame.Warn($"an element <{name}> was left out with all it holds");
            return;
        }

        if (name is ['h', >= '1' and <= '6'])
        {
            AddWords(new(ElementKind.Heading) { Level = name[1] - '0' }, element, into);
        }
        else if (name is "ul" or "ol")
        {
            Add(ReadList(element), element, into);
        }
        else if (name is "table")
        {
            Add(new(ElementKind.Table) { Table = ReadTable(element) }, element, into);
        }
        else if (name is "pre")
        {
            string code = element.InnerText.Trim('\n', '\r');
            Add(new(ElementKind.Code) { Text = [new(code, TextStyle.Code)] }, element, into);
        }
        else if (KindOf(element) is { } kind)
        {
            if (kind is ElementKind.Header or ElementKind.Footer or ElementKind.PageNumber)
            {
                AddWords(new(kind), element, into);
            }
            else
            {
                Add(ReadSpecial(element, kind), element, into);
            }
        }
        else if (Paragraphs.Contains(name) || HoldsTextOnly(element))
        {
            if (!Paragraphs.Contains(name) && !Containers.Contains(name))
            {
                unknown.Add($"<{Shown(name)}>");
            }

            AddWords(new(ElementKind.Paragraph), element, into);
        }
        else
        {
            if (!Containers.Contains(name))
            {
                unknown.Add($"<{Shown(name)}>");
            }

            int first = into.Count;
            Flow(element, into);
            if (into.Count == first + 1 && into[first].Box is null)
            {
                // A frame around one thing is that thing's box.
                into[first] = into[first] with
                {
                    Box = Box(element),
                };
            }
        }
    }

    static string Shown(string name) => name.Length <= 20 ? name : name[..20] + "...";

    static bool HoldsTextOnly(HtmlElement element) =>
        element.Name is not ("html" or "body")
        && element.Children.All(child => child is HtmlText || (child is HtmlElement e && IsInline(e)));

    static ElementKind? KindOf(HtmlElement element)
    {
        foreach ((string words, ElementKind kind) in Classes)
        {
            if (words.Split(' ').All(element.HasClass))
            {
                return kind;
            }
        }

        return element.Name switch
        {
            "img" or "figure" => ElementKind.Image,
            "header" => ElementKind.Header,
            "footer" => ElementKind.Footer,
            _ => null,
        };
    }

    void Add(DocumentElement element, HtmlElement from, List<DocumentElement> into)
    {
        bool empty =
            element.Text.Count == 0
            && element.Items.Count == 0
            && element.Table is null or { Rows.Count: 0, Caption.Count: 0 };
        if (empty && element.Kind is not (ElementKind.Image or ElementKind.Chart))
        {
            return;
        }

        PageBox? box = Box(from);
        if (empty && box is null)
        {
            return; // a picture counts by its place alone
        }

        into.Add(element with { Box = box, IsTruncated = !from.IsClosed });
    }

    /// <summary>Adds an element of words; pictures and the like that stand between them follow it.</summary>
    void AddWords(DocumentElement element, HtmlElement from, List<DocumentElement> into)
    {
        List<TextRun> runs = [];
        List<DocumentElement> inside = [];
        foreach (HtmlNode child in from.Children)
        {
            InlineNode(child, runs, TextStyle.None, null, inside);
        }

        Add(element with { Text = Finish(runs) }, from, into);
        into.AddRange(inside);
    }

    void InlineNode(HtmlNode node, List<TextRun> runs, TextStyle style, string? link, List<DocumentElement> inside)
    {
        if (node is HtmlText text)
        {
            runs.Add(new(text.Text.Replace(TextRuns.LineBreak, ' '), style, link));
        }
        else if (node is HtmlElement element)
        {
            Inline(element, runs, style, link, inside);
        }
    }

    void Inline(HtmlElement element, List<TextRun> runs, TextStyle style, string? link, List<DocumentElement> inside)
    {
        string name = element.Name;
        if (name == "br")
        {
            runs.Add(new(TextRuns.LineBreak.ToString(), style, link));
            return;
        }

        if (Invisible.Contains(name))
        {
            return;
        }

        bool inline = IsInline(element);
        if (
            !inline
            && (
                name is "img" or "table" or "ul" or "ol" or "pre"
                || Forbidden.Contains(name)
                || KindOf(element) is not null
            )
        )
        {
            Block(element, inside);
            return;
        }

        // Paragraphs inside of words: a line of their own.
        bool ownLine = !inline && runs.Count > 0 && !TextRuns.IsBlank(runs);
        if (ownLine)
        {
            runs.Add(new(TextRuns.LineBreak.ToString()));
        }

        if (!inline && !Paragraphs.Contains(name) && !Containers.Contains(name) && name is not ['h', >= '1' and <= '6'])
        {
            unknown.Add($"<{Shown(name)}>");
        }

        style |= Styles.GetValueOrDefault(name);
        link = name == "a" ? Links.Safe(element.Attribute("href")?.Value) ?? link : link;
        foreach (HtmlNode child in element.Children)
        {
            InlineNode(child, runs, style, link, inside);
        }
    }

    DocumentElement ReadList(HtmlElement list)
    {
        List<ListItem> items = [];
        foreach (HtmlElement child in list.Children.OfType<HtmlElement>())
        {
            List<DocumentElement> nested = [];
            if (child.Name is "ul" or "ol" && items.Count > 0)
            {
                // A list beside the points belongs to the point before it.
                Block(child, nested);
                items[^1] = items[^1] with { Nested = [.. items[^1].Nested, .. nested] };
                continue;
            }

            List<TextRun> runs = [];
            InlineNode(child, runs, TextStyle.None, null, nested);
            IReadOnlyList<TextRun> text = Finish(runs);
            if (text.Count > 0 || nested.Count > 0)
            {
                items.Add(new(text, nested, Box(child)));
            }
        }

        int first = int.TryParse(
            list.Attribute("start")?.Value,
            NumberStyles.AllowLeadingSign,
            CultureInfo.InvariantCulture,
            out int number
        )
            ? Math.Clamp(number, 0, 999_999_999)
            : 1;
        return new(ElementKind.List) { Items = items, FirstNumber = list.Name == "ol" ? first : null };
    }

    Table ReadTable(HtmlElement table)
    {
        List<IReadOnlyList<TableCell>> rows = [];
        List<TextRun> caption = [];
        List<DocumentElement> apart = []; // cells hold words only
        Rows(table, inHead: false);
        return new(rows, Finish(caption));

        void Rows(HtmlElement parent, bool inHead)
        {
            foreach (HtmlElement child in parent.Children.OfType<HtmlElement>())
            {
                if (child.Name is "thead" or "tbody" or "tfoot")
                {
                    Rows(child, child.Name == "thead");
                }
                else if (child.Name == "caption")
                {
                    InlineNode(child, caption, TextStyle.None, null, apart);
                }
                else if (child.Name == "tr")
                {
                    if (!child.IsClosed && rows.Count > 0)
                    {
                        continue; // the answer ends in this row: its cells would stand for more than they are
                    }

                    TableCell[] cells =
                    [
                        .. child
                            .Children.OfType<HtmlElement>()
                            .Where(e => e.Name is "td" or "th")
                            .Select(e => Cell(e, inHead)),
                    ];
                    if (cells.Length > 0)
                    {
                        rows.Add(cells);
                    }
                }
            }
        }

        TableCell Cell(HtmlElement cell, bool inHead)
        {
            List<TextRun> runs = [];
            foreach (HtmlNode child in cell.Children)
            {
                InlineNode(child, runs, TextStyle.None, null, apart);
            }

            foreach (DocumentElement inside in apart)
            {
                runs.Add(new(TextRuns.LineBreak.ToString()));
                runs.AddRange(Flatten(inside));
            }

            apart.Clear();
            return new(Finish(runs), inHead || cell.Name == "th", Span("rowspan"), Span("colspan"), Box(cell));

            int Span(string attribute) =>
                int.TryParse(
                    cell.Attribute(attribute)?.Value,
                    NumberStyles.None,
                    CultureInfo.InvariantCulture,
                    out int span
                )
                    ? Math.Clamp(span, 1, Table.MaxSpan)
                    : 1;
        }
    }

    /// <summary>The words of an element, each part on its line.</summary>
    static IEnumerable<TextRun> Flatten(DocumentElement element)
    {
        TextRun lineBreak = new(TextRuns.LineBreak.ToString());
        IEnumerable<TextRun> words = element.Text.Select(Open);
        foreach (ListItem item in element.Items)
        {
            words = words.Append(lineBreak).Concat(item.Text.Select(Open)).Concat(item.Nested.SelectMany(Flatten));
        }

        foreach (IReadOnlyList<TableCell> row in element.Table?.Rows ?? [])
        {
            words = words.Append(lineBreak);
            words = words.Concat(row.SelectMany(cell => cell.Text.Select(Open).Append(new TextRun(" "))));
        }

        return words;

        static TextRun Open(TextRun run) => run with { Text = run.Text.Replace('\n', TextRuns.LineBreak) };
    }

    /// <summary>Pictures, charts, formulas, notes, molecules.</summary>
    DocumentElement ReadSpecial(HtmlElement element, ElementKind kind)
    {
        if (kind is ElementKind.Formula or ElementKind.MusicSheet or ElementKind.ChemicalFormula)
        {
            string source = TextRuns.Latex(element.InnerText);
            return new(kind)
            {
                Text = source.Length > 0 ? [new(source)] : [],
                Notation = element.Attribute("format")?.Value,
            };
        }

        List<TextRun> caption = [];
        List<DocumentElement> inside = [];
        foreach (HtmlNode child in element.Children)
        {
            // The picture inside of its frame carries the same box.
            if (child is not HtmlElement { Name: "img" })
            {
                InlineNode(child, caption, TextStyle.None, null, inside);
            }
        }

        if (caption.Count == 0 && (element.Attribute("alt") ?? Picture(element)?.Attribute("alt")) is { } alt)
        {
            caption.Add(new(alt.Value));
        }

        Table? table = inside.FirstOrDefault(e => e.Table is not null)?.Table;
        foreach (DocumentElement other in inside.Where(e => e.Table is null || e.Table != table))
        {
            caption.Add(new(TextRuns.LineBreak.ToString()));
            caption.AddRange(Flatten(other));
        }

        return new(kind) { Text = Finish(caption), Table = table };
    }

    static HtmlElement? Picture(HtmlElement element) => element.Descendants.FirstOrDefault(e => e.Name == "img");

    PageBox? Box(HtmlElement element)
    {
        // A picture may carry its box instead of its frame.
        HtmlAttribute? box = element.Attribute("data-bbox") ?? element.Attribute("data-polygon");
        if (box is null && KindOf(element) is ElementKind.Image or ElementKind.Chart or ElementKind.Formula)
        {
            box = Picture(element)?.Attribute("data-bbox");
        }

        return box is null ? null : frame.Box(box.Value, polygon: box.Name == "data-polygon");
    }
}
