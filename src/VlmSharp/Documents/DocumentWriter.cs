using System.Text;

namespace VlmSharp.Documents;

/// <summary>Writes parsed pages one after the other. What a model wrote is untrusted: only text, known elements and safe links come out.</summary>
public abstract class DocumentWriter : IDisposable
{
    private protected DocumentWriter(DocumentSource source) => Source = source;

    private protected DocumentSource Source { get; }

    /// <summary>A writer of a format.</summary>
    /// <param name="format">Which one.</param>
    /// <param name="output">Gets UTF-8; whole pages have been written after each <see cref="Write"/>. Stays open.</param>
    /// <param name="source">What the pages are of.</param>
    public static DocumentWriter Create(DocumentFormat format, Stream output, DocumentSource source)
    {
        ArgumentNullException.ThrowIfNull(output);
        ArgumentNullException.ThrowIfNull(source);
        return format switch
        {
            DocumentFormat.Html => new HtmlDocumentWriter(Text(), source),
            DocumentFormat.Markdown => new MarkdownDocumentWriter(Text(), source),
            DocumentFormat.Json => new JsonDocumentWriter(output, source),
            _ => throw new ArgumentOutOfRangeException(nameof(format), format, "no such format"),
        };

        StreamWriter Text() => new(output, new UTF8Encoding(false), leaveOpen: true) { NewLine = "\n" };
    }

    /// <summary>Writes a page; pages come in ascending order.</summary>
    public abstract void Write(ParsedPage page);

    /// <summary>Ends the document, also one that was not finished.</summary>
    public abstract void Dispose();
}

/// <summary>What pages are of.</summary>
/// <param name="Name">The file's name.</param>
/// <param name="Link">Where the file is, as an address relative to what is written; null for no links to it.</param>
/// <param name="IsPdf">Whether links name a page and a place on it, as viewers of PDF understand it.</param>
public sealed record DocumentSource(string Name, string? Link = null, bool IsPdf = false)
{
    /// <summary>The address of a place on a page; null if there is none.</summary>
    /// <remarks>PDF Open Parameters (<c>page</c>, <c>viewrect</c> in points), W3C Media Fragments (<c>xywh</c> in pixels, which are a picture's points).</remarks>
    internal string? LinkTo(int page, PageBox? box)
    {
        if (Link is null)
        {
            return null;
        }

        string place = box is { } b
            ? FormattableString.Invariant($"{b.Left:0.#},{b.Top:0.#},{b.Right - b.Left:0.#},{b.Bottom - b.Top:0.#}")
            : "";
        string fragment =
            IsPdf ? FormattableString.Invariant($"#page={page}") + (box is null ? "" : "&viewrect=" + place)
            : box is null ? ""
            : "#xywh=" + place;
        return string.Join('/', Link.Split('/').Select(Uri.EscapeDataString)) + fragment;
    }
}
