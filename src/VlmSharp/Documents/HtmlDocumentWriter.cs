using System.Globalization;
using System.Text;

namespace VlmSharp.Documents;

/// <summary>HTML with a section for each page and boxes in points.</summary>
sealed class HtmlDocumentWriter : DocumentWriter
{
    readonly StreamWriter output;

    internal HtmlDocumentWriter(StreamWriter output, DocumentSource source)
        : base(source)
    {
        this.output = output;
        // The policy is a second lock: nothing that is written here runs or loads anything.
        output.Write(
            $$"""
            <!DOCTYPE html>
            <html>
            <head>
            <meta charset="utf-8">
            <meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
            <title>{{HtmlMarkup.Escape(source.Name)}}</title>
            <style>table { border-collapse: collapse } td, th { border: 1px solid; padding: 0.2em 0.5em }</style>
            </head>
            <body>

            """.ReplaceLineEndings("\n")
        );
    }

    public override void Write(ParsedPage page)
    {
        output.Write(
            string.Create(
                CultureInfo.InvariantCulture,
                $"<section id=\"page-{page.Number}\" class=\"page\" data-page=\"{page.Number}\" data-width=\"{page.Width:0.###}\" data-height=\"{page.Height:0.###}\">\n"
            )
        );
        foreach (DocumentElement element in page.Elements)
        {
            output.Write(Element(element, page.Number));
            output.Write('\n');
        }

        output.Write("</section>\n");
        output.Flush();
    }

    public override void Dispose()
    {
        output.Write("</body>\n</html>\n");
        output.Dispose();
    }

    string Element(DocumentElement element, int page)
    {
        StringBuilder attributes = new();
        Add("id", element.Id);
        attributes.Append(Box(element.Box));
        Add("data-continues", element.Continues);
        Add("data-continued-by", element.ContinuedBy);
        Add("data-truncated", element.IsTruncated ? "true" : null);
        string words = HtmlMarkup.Words(element.Text);
        switch (element.Kind)
        {
            case ElementKind.Heading:
                int level = Math.Clamp(element.Level, 1, 6);
                return $"<h{level}{attributes}>{words}</h{level}>";
            case ElementKind.List:
                return List(element, attributes.ToString(), page);
            case ElementKind.Table:
                return HtmlMarkup.Table(element.Table!, attributes.ToString(), Box);
            case ElementKind.Image:
            case ElementKind.Chart:
                string table = element.Table is { } numbers ? HtmlMarkup.Table(numbers, "", Box) + "\n" : "";
                string name = element.Kind == ElementKind.Image ? "image" : "chart";
                string shown =
                    words.Length > 0 ? words
                    : name == "image" ? "Image"
                    : "Chart";
                string caption = Source.LinkTo(page, element.Box) is { } link
                    ? $"<a href=\"{HtmlMarkup.Escape(link)}\">{shown}</a>"
                    : shown;
                // A link may not stand within a link.
                caption = element.Text.Any(run => run.Link is not null) ? words : caption;
                return $"<figure class=\"{name}\"{attributes}>\n{table}<figcaption>{caption}</figcaption>\n</figure>";
            case ElementKind.Formula:
                return $"<div class=\"formula\"{attributes}>$${words}$$</div>";
            case ElementKind.MusicSheet:
            case ElementKind.ChemicalFormula:
                Add("data-notation", element.Notation);
                string kind = element.Kind == ElementKind.MusicSheet ? "music sheet" : "chemical formula";
                return $"<pre class=\"{kind}\"{attributes}>{HtmlMarkup.Escape(TextRuns.Plain(element.Text))}</pre>";
            case ElementKind.Code:
                return $"<pre class=\"code\"{attributes}>{HtmlMarkup.Escape(TextRuns.Plain(element.Text))}</pre>";
            case ElementKind.Header:
                return $"<p class=\"header\"{attributes}>{words}</p>";
            case ElementKind.Footer:
                return $"<p class=\"footer\"{attributes}>{words}</p>";
            case ElementKind.PageNumber:
                return $"<p class=\"page-number\"{attributes}>{words}</p>";
            default:
                return $"<p{attributes}>{words}</p>";
        }

        void Add(string attribute, string? value)
        {
            if (!string.IsNullOrEmpty(value))
            {
                attributes.Append(' ').Append(attribute).Append("=\"").Append(HtmlMarkup.Escape(value)).Append('"');
            }
        }
    }

    string List(DocumentElement list, string attributes, int page)
    {
        string tag = list.FirstNumber is null ? "ul" : "ol";
        string start = list.FirstNumber is > 1 or 0
            ? string.Create(CultureInfo.InvariantCulture, $" start=\"{list.FirstNumber}\"")
            : "";
        StringBuilder html = new($"<{tag}{start}{attributes}>\n");
        foreach (ListItem item in list.Items)
        {
            html.Append("<li").Append(Box(item.Box)).Append('>').Append(HtmlMarkup.Words(item.Text));
            foreach (DocumentElement nested in item.Nested)
            {
                html.Append('\n').Append(Element(nested, page));
            }

            html.Append("</li>\n");
        }

        return html.Append("</").Append(tag).Append('>').ToString();
    }

    static string Box(PageBox? box) =>
        box is { } b
            ? string.Create(
                CultureInfo.InvariantCulture,
                $" data-bbox=\"{b.Left:0.##} {b.Top:0.##} {b.Right:0.##} {b.Bottom:0.##}\""
            )
            : "";
}
