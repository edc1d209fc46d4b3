using VlmSharp.Documents;
using VlmSharp.Generation;
using VlmSharp.Grounding;
using VlmSharp.Media.Documents;
using VlmSharp.Media.Images;

namespace VlmSharp.Tests.Documents;

/// <summary>Pages and answers without a file and a model.</summary>
static class Pages
{
    internal static readonly ParsePrompt Html = new(null, "qwenvl html", PageSyntax.Html);
    internal static readonly ParsePrompt Markdown = new(null, "qwenvl markdown", PageSyntax.Markdown);

    /// <summary>A page of 500 x 1000 points as a blank picture of 250 x 500 pixels.</summary>
    internal static PageImage Blank(int number = 1) =>
        new(new(number, 500, 1000), new RgbImage(250, 500, new byte[3 * 250 * 500]), 36);

    /// <summary>Reads an answer of Qwen3-VL about that page: its thousandths are half points across and points down.</summary>
    internal static ParsedPage Read(
        string answer,
        ParsePrompt? prompt = null,
        FinishReason finish = FinishReason.Stop,
        int number = 1
    ) =>
        new DocumentParser(
            (_, _, _) => throw new NotSupportedException(),
            GroundingDialect.Qwen3VL,
            prompt ?? Html
        ).Read(Blank(number), new(answer, finish, 256, 512));

    internal static string Write(DocumentFormat format, params IEnumerable<ParsedPage> pages) =>
        Write(format, new DocumentSource("a <b>.pdf", "dir/a <b>.pdf", IsPdf: true), pages);

    internal static string Write(DocumentFormat format, DocumentSource source, params IEnumerable<ParsedPage> pages)
    {
        using MemoryStream output = new();
        using (DocumentWriter writer = DocumentWriter.Create(format, output, source))
        {
            foreach (ParsedPage page in pages)
            {
                writer.Write(page);
            }
        }

        return System.Text.Encoding.UTF8.GetString(output.ToArray());
    }

    /// <summary>What an answer becomes in Markdown, without the line that names the page.</summary>
    internal static string ToMarkdown(string answer, ParsePrompt? prompt = null) =>
        Write(DocumentFormat.Markdown, Read(answer, prompt)).Replace("<!-- page 1 -->\n\n", "").TrimEnd('\n');

    /// <summary>Every box on a page, of elements and of what is in them.</summary>
    internal static IEnumerable<PageBox> Boxes(IEnumerable<DocumentElement> elements) =>
        elements
            .SelectMany(e =>
                (PageBox?[])
                    [
                        e.Box,
                        .. e.Items.SelectMany(i => Boxes(i.Nested).Select(b => (PageBox?)b).Prepend(i.Box)),
                        .. e.Table?.Rows.SelectMany(row => row.Select(cell => cell.Box)) ?? [],
                    ]
            )
            .OfType<PageBox>();
}
