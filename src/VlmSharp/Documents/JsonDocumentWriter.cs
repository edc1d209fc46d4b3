using System.Text.Encodings.Web;
using System.Text.Json;

namespace VlmSharp.Documents;

/// <summary>JSON: <c>{"file": .., "pages": [{"page": 1, "width": .., "height": .., "image": {..}, "elements": [..], "warnings": [..]}]}</c>.</summary>
/// <remarks>
/// An element has <c>id</c>, <c>type</c>, <c>text</c>, <c>bbox</c> (left, top, right, bottom in points) and <c>bbox_pixels</c> (the same
/// in pixels of the page's picture), and by its type <c>level</c>, <c>items</c>, <c>first_number</c>, <c>rows</c>, <c>notation</c>;
/// <c>truncated</c>, <c>continues</c> and <c>continued_by</c> where they apply.
/// </remarks>
sealed class JsonDocumentWriter : DocumentWriter
{
    readonly Utf8JsonWriter json;

    internal JsonDocumentWriter(Stream output, DocumentSource source)
        : base(source)
    {
        json = new(output, new() { Indented = true, Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping });
        json.WriteStartObject();
        json.WriteString("file", source.Name);
        json.WriteStartArray("pages");
    }

    public override void Write(ParsedPage page)
    {
        json.WriteStartObject();
        json.WriteNumber("page", page.Number);
        json.WriteNumber("width", Math.Round(page.Width, 3));
        json.WriteNumber("height", Math.Round(page.Height, 3));
        json.WriteStartObject("image");
        json.WriteNumber("width", page.ImageWidth);
        json.WriteNumber("height", page.ImageHeight);
        json.WriteNumber("dpi", page.Dpi);
        json.WriteEndObject();
        json.WriteStartArray("elements");
        foreach (DocumentElement element in page.Elements)
        {
            Element(element, page);
        }

        json.WriteEndArray();
        json.WriteStartArray("warnings");
        foreach (string warning in page.Warnings)
        {
            json.WriteStringValue(warning);
        }

        json.WriteEndArray();
        json.WriteEndObject();
        json.Flush();
    }

    public override void Dispose()
    {
        json.WriteEndArray();
        json.WriteEndObject();
        json.Dispose();
    }

    void Element(DocumentElement element, ParsedPage page)
    {
        json.WriteStartObject();
        Optional("id", element.Id);
        json.WriteString("type", PageOverlay.Name(element.Kind));
        if (element.Kind == ElementKind.Heading)
        {
            json.WriteNumber("level", element.Level);
        }

        if (element.Kind is not (ElementKind.List or ElementKind.Table))
        {
            json.WriteString("text", TextRuns.Plain(element.Text));
        }

        Optional("notation", element.Notation);
        Box(element.Box, page);
        if (element.Kind == ElementKind.List)
        {
            if (element.FirstNumber is { } first)
            {
                json.WriteNumber("first_number", first);
            }

            Items(element.Items, page);
        }

        if (element.Table is { } table)
        {
            Table(table, page);
        }

        if (element.IsTruncated)
        {
            json.WriteBoolean("truncated", true);
        }

        Optional("continues", element.Continues);
        Optional("continued_by", element.ContinuedBy);
        json.WriteEndObject();
    }

    void Items(IReadOnlyList<ListItem> items, ParsedPage page)
    {
        json.WriteStartArray("items");
        foreach (ListItem item in items)
        {
            json.WriteStartObject();
            json.WriteString("text", TextRuns.Plain(item.Text));
            Box(item.Box, page);
            if (item.Nested.Count > 0)
            {
                json.WriteStartArray("elements");
                foreach (DocumentElement nested in item.Nested)
                {
                    Element(nested, page);
                }

                json.WriteEndArray();
            }

            json.WriteEndObject();
        }

        json.WriteEndArray();
    }

    void Table(Table table, ParsedPage page)
    {
        if (table.Caption.Count > 0)
        {
            json.WriteString("caption", TextRuns.Plain(table.Caption));
        }

        json.WriteStartArray("rows");
        foreach (IReadOnlyList<TableCell> row in table.Rows)
        {
            json.WriteStartArray();
            foreach (TableCell cell in row)
            {
                json.WriteStartObject();
                json.WriteString("text", TextRuns.Plain(cell.Text));
                if (cell.IsHeader)
                {
                    json.WriteBoolean("header", true);
                }

                if (cell.RowSpan > 1)
                {
                    json.WriteNumber("row_span", cell.RowSpan);
                }

                if (cell.ColumnSpan > 1)
                {
                    json.WriteNumber("column_span", cell.ColumnSpan);
                }

                Box(cell.Box, page);
                json.WriteEndObject();
            }

            json.WriteEndArray();
        }

        json.WriteEndArray();
    }

    void Optional(string name, string? value)
    {
        if (!string.IsNullOrEmpty(value))
        {
            json.WriteString(name, value);
        }
    }

    void Box(PageBox? box, ParsedPage page)
    {
        if (box is { } points)
        {
            Numbers("bbox", points);
            Numbers("bbox_pixels", points.Scale(page.Dpi / Media.Documents.PageResolution.PointsPerInch));
        }
    }

    void Numbers(string name, PageBox box)
    {
        json.WriteStartArray(name);
        foreach (double number in (ReadOnlySpan<double>)[box.Left, box.Top, box.Right, box.Bottom])
        {
            json.WriteNumberValue(Math.Round(number, 2));
        }

        json.WriteEndArray();
    }
}
