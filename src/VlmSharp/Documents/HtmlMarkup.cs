using System.Globalization;
using System.Text;

namespace VlmSharp.Documents;

/// <summary>Words and tables as HTML.</summary>
static class HtmlMarkup
{
    static readonly (TextStyle Style, string Tag)[] Tags =
    [
        (TextStyle.Bold, "b"),
        (TextStyle.Italic, "i"),
        (TextStyle.Underline, "u"),
        (TextStyle.Strike, "s"),
        (TextStyle.Subscript, "sub"),
        (TextStyle.Superscript, "sup"),
        (TextStyle.Code, "code"),
    ];

    /// <summary>Text for between tags or in quotes; characters that HTML does not allow are left out.</summary>
    internal static string Escape(string text)
    {
        StringBuilder escaped = new(text.Length);
        for (int i = 0; i < text.Length; i++)
        {
            char c = text[i];
            if (char.IsSurrogate(c))
            {
                if (i + 1 < text.Length && char.IsSurrogatePair(c, text[i + 1]))
                {
                    escaped.Append(c).Append(text[++i]);
                }

                continue;
            }

            _ = c switch
            {
                '&' => escaped.Append("&amp;"),
                '<' => escaped.Append("&lt;"),
                '>' => escaped.Append("&gt;"),
                '"' => escaped.Append("&quot;"),
                '\'' => escaped.Append("&#39;"),
                '\n' or '\t' => escaped.Append(c),
                _ => char.IsControl(c) || c is '\uFFFE' or '\uFFFF' ? escaped : escaped.Append(c),
            };
        }

        return escaped.ToString();
    }

    internal static string Words(IReadOnlyList<TextRun> runs)
    {
        StringBuilder html = new();
        foreach (TextRun run in runs)
        {
            string text = Escape(run.Text).Replace("\n", "<br>\n");
            text = run.Style.HasFlag(TextStyle.Math) ? $"<span class=\"formula\">${text}$</span>" : text;
            foreach ((TextStyle style, string tag) in Tags)
            {
                if (run.Style.HasFlag(style))
                {
                    text = $"<{tag}>{text}</{tag}>";
                }
            }

            html.Append(
                Links.Safe(run.Link) is { } link
                    ? $"<a href=\"{Escape(link)}\" rel=\"noopener noreferrer nofollow\">{text}</a>"
                    : text
            );
        }

        return html.ToString();
    }

    /// <summary>The rows of a table and its caption, with the tags around them.</summary>
    /// <param name="table">The table.</param>
    /// <param name="attributes">Of the table's tag, each with a blank before it.</param>
    /// <param name="box">A cell's box as an attribute, or nothing.</param>
    internal static string Table(Table table, string attributes, Func<PageBox?, string> box)
    {
        StringBuilder html = new($"<table{attributes}>\n");
        if (table.Caption.Count > 0)
        {
            html.Append("<caption>").Append(Words(table.Caption)).Append("</caption>\n");
        }

        foreach (IReadOnlyList<TableCell> row in table.Rows)
        {
            html.Append("<tr>");
            foreach (TableCell cell in row)
            {
                string tag = cell.IsHeader ? "th" : "td";
                html.Append('<')
                    .Append(tag)
                    .Append(Span("rowspan", cell.RowSpan))
                    .Append(Span("colspan", cell.ColumnSpan));
                html.Append(box(cell.Box)).Append('>').Append(Words(cell.Text)).Append("</").Append(tag).Append('>');
            }

            html.Append("</tr>\n");
        }

        return html.Append("</table>").ToString();

        static string Span(string name, int span) =>
            span > 1 ? string.Create(CultureInfo.InvariantCulture, $" {name}=\"{span}\"") : "";
    }
}
