using System.Globalization;
using System.Text;

namespace VlmSharp.Documents;

/// <summary>Markdown. Parts that a page break cut are whole again; what belongs to a page only, such as its number, is left out.</summary>
sealed class MarkdownDocumentWriter(StreamWriter output, DocumentSource source) : DocumentWriter(source)
{
    DocumentElement? pending; // goes on on the next page
    int pendingPage;

    public override void Write(ParsedPage page)
    {
        bool announced = false;
        foreach (DocumentElement element in page.Elements.Where(e => !e.IsFurniture))
        {
            DocumentElement whole = element;
            if (pending is not null && element.Continues is not null)
            {
                whole = PageBreaks.Merge(pending, element) with { ContinuedBy = element.ContinuedBy };
                pending = null;
            }
            else
            {
                WritePending();
                Announce();
                pendingPage = page.Number;
            }

            if (whole.ContinuedBy is not null)
            {
                pending = whole;
            }
            else
            {
                WriteBlock(Block(whole, pendingPage));
            }
        }

        Announce();
        output.Flush();

        void Announce()
        {
            // Not in the middle of what goes on across the break.
            if (!announced && pending is null)
            {
                WriteBlock(string.Create(CultureInfo.InvariantCulture, $"<!-- page {page.Number} -->"));
                announced = true;
            }
        }
    }

    public override void Dispose()
    {
        WritePending();
        output.Dispose();
    }

    void WritePending()
    {
        if (pending is not null)
        {
            WriteBlock(Block(pending, pendingPage));
            pending = null;
        }
    }

    void WriteBlock(string block)
    {
        output.Write(block);
        output.Write("\n\n");
    }

    string Block(DocumentElement element, int page)
    {
        string text = TextRuns.Plain(element.Text);
        switch (element.Kind)
        {
            case ElementKind.Heading:
                // A title is one line.
                string title = MarkdownMarkup.Words([
                    .. element.Text.Select(r => r with { Text = r.Text.Replace('\n', ' ') }),
                ]);
                return $"{new string('#', Math.Clamp(element.Level, 1, 6))} {title}";
            case ElementKind.List:
                return List(element, page);
            case ElementKind.Table:
                return MarkdownMarkup.Table(element.Table!);
            case ElementKind.Image:
            case ElementKind.Chart:
                string name = element.Kind == ElementKind.Image ? "Image" : "Chart";
                string link = Source.LinkTo(page, element.Box) is { } address
                    ? MarkdownMarkup.Link(name, address)
                    : name;
                string caption = element.Text.Count > 0 ? $"{link}: {MarkdownMarkup.Words(element.Text)}" : link;
                return element.Table is { } table ? $"{caption}\n\n{MarkdownMarkup.Table(table)}" : caption;
            case ElementKind.Formula:
                return $"$$\n{MarkdownMarkup.Math(text)}\n$$";
            case ElementKind.MusicSheet:
            case ElementKind.ChemicalFormula:
                return MarkdownMarkup.Fenced(text, element.Notation?.Split(' ')[0]);
            case ElementKind.Code:
                return MarkdownMarkup.Fenced(text, element.Notation);
            default:
                return MarkdownMarkup.Words(element.Text);
        }
    }

    string List(DocumentElement list, int page)
    {
        StringBuilder markdown = new();
        int number = list.FirstNumber ?? 0;
        foreach (ListItem item in list.Items)
        {
            string mark = list.FirstNumber is null
                ? "- "
                : string.Create(CultureInfo.InvariantCulture, $"{number++}. ");
            string indent = new(' ', mark.Length);
            markdown.Append(mark).Append(MarkdownMarkup.Words(item.Text).Replace("\n", "\n" + indent)).Append('\n');
            foreach (DocumentElement nested in item.Nested)
            {
                string block = Block(nested, page);
                // Other blocks than lists need an empty line, or they would be part of the words before them.
                markdown.Append(nested.Kind == ElementKind.List ? "" : "\n");
                markdown.Append(indent).Append(block.Replace("\n", "\n" + indent)).Append('\n');
            }
        }

        return markdown.ToString().TrimEnd('\n');
    }
}
