using System.Globalization;
using System.Runtime.ExceptionServices;
using System.Text.RegularExpressions;
using VlmSharp.Generation;
using VlmSharp.Grounding;
using VlmSharp.Media.Documents;
using VlmSharp.Media.Images;
using VlmSharp.Text;

namespace VlmSharp.Documents;

/// <summary>What a model answered about a page.</summary>
/// <param name="Text">The whole answer.</param>
/// <param name="Finish">Why it ended.</param>
/// <param name="ResizedWidth">Pixels of the page's picture as the model saw it.</param>
/// <param name="ResizedHeight">Pixels of the page's picture as the model saw it.</param>
public sealed record PageAnswer(string Text, FinishReason Finish, int ResizedWidth, int ResizedHeight);

/// <summary>Asks a model about one page, and about nothing else: pages do not see each other.</summary>
/// <param name="page">Its picture.</param>
/// <param name="prompt">The question.</param>
/// <param name="cancellation">Ends the answer; what there is of it is returned.</param>
public delegate PageAnswer AskAboutPage(PageImage page, ParsePrompt prompt, CancellationToken cancellation);

/// <summary>Documents to elements with places: draws each page, has a model write it down, reads and checks what it wrote.</summary>
/// <remarks>A page's picture is let go before the next is drawn, so memory does not grow with the number of pages.</remarks>
/// <param name="ask">The model.</param>
/// <param name="dialect">How it writes places; null if it writes none.</param>
/// <param name="prompt">What it is asked.</param>
public sealed partial class DocumentParser(AskAboutPage ask, GroundingDialect? dialect, ParsePrompt prompt)
{
    // A paragraph of a number in this part of a page, at its top or bottom, is the page's number.
    const double Margin = 0.1;

    /// <summary>Parses pages one after the other.</summary>
    /// <remarks>A page is returned when the next one has been read, and so knows what goes on there.</remarks>
    /// <param name="document">The file.</param>
    /// <param name="pages">Which pages.</param>
    /// <param name="resolution">How finely a page is drawn.</param>
    /// <param name="onPage">Gets each page with its picture, before the next one is drawn.</param>
    /// <param name="cancellation">Ends the work; the page that is being read is returned as far as it came.</param>
    /// <exception cref="MediaException">A page cannot be drawn, there is no such page, or a limit is reached.</exception>
    public IEnumerable<ParsedPage> Parse(
        DocumentFile document,
        PageSelection pages,
        Func<DocumentPage, PageResolution> resolution,
        Action<PageImage, ParsedPage>? onPage = null,
        CancellationToken cancellation = default
    )
    {
        ArgumentNullException.ThrowIfNull(document);
        ArgumentNullException.ThrowIfNull(resolution);
        ParsedPage? previous = null;
        foreach (DocumentPage page in document.Pages(pages, cancellation))
        {
            ParsedPage parsed;
            bool last = false;
            ExceptionDispatchInfo? failure = null;
            try
            {
                (parsed, last) = ParsePage(document, page, resolution(page), onPage, cancellation);
            }
            catch (Exception e) when (previous is not null)
            {
                // The page before has been read and is not to be lost.
                (failure, parsed) = (ExceptionDispatchInfo.Capture(e), previous);
            }

            if (failure is not null)
            {
                yield return parsed;
                failure.Throw();
            }

            if (previous is not null)
            {
                (previous, parsed) = PageBreaks.Join(previous, parsed);
                yield return previous;
            }

            previous = parsed;
            if (last)
            {
                break;
            }
        }

        if (previous is not null)
        {
            yield return previous;
        }
    }

    (ParsedPage Page, bool Last) ParsePage(
        DocumentFile document,
        DocumentPage page,
        PageResolution resolution,
        Action<PageImage, ParsedPage>? onPage,
        CancellationToken cancellation
    )
    {
        PageImage drawn = document.Draw(page, resolution, cancellation);
        PageAnswer answer = ask(drawn, prompt, cancellation);
        ParsedPage parsed = Read(drawn, answer);
        onPage?.Invoke(drawn, parsed);
        return (parsed, answer.Finish == FinishReason.Cancelled);
    }

    /// <summary>Reads an answer; never fails.</summary>
    /// <param name="image">The page it is about.</param>
    /// <param name="answer">What the model wrote; nobody vouches for it.</param>
    public ParsedPage Read(PageImage image, PageAnswer answer)
    {
        ArgumentNullException.ThrowIfNull(image);
        ArgumentNullException.ThrowIfNull(answer);
        (int width, int height) = (image.Image.Width, image.Image.Height);
        PictureFrame picture = new(width, height, answer.ResizedWidth, answer.ResizedHeight);
        CoordinateSpace space = dialect?.Space() ?? CoordinateSpace.Thousandths;
        Mapping toPoints = picture
            .Map(space, CoordinateSpace.OriginalPixels)
            .Then(new(new(0, 0, width, height), new(0, 0, image.ToPoints(width), image.ToPoints(height))));
        PageFrame frame = new(toPoints, image.Page.Width, image.Page.Height);

        IReadOnlyList<DocumentElement> elements = [];
        bool truncated = false;
        // What a model thought before it answered is no part of the answer.
        int start = Thoughts.AnswerStart(answer.Text);
        if (start < 0)
        {
            frame.Warn("the model thought about the page and never came to an answer");
        }
        else
        {
            (elements, truncated) = Read(answer.Text, start, frame);
            if (elements.Count == 0)
            {
                frame.Warn("nothing could be read in the answer");
            }
        }

        string? ended = answer.Finish switch
        {
            FinishReason.Length => "the answer was cut off at the limit on tokens (--max-tokens)",
            FinishReason.Repetition => "the answer repeated itself endlessly and was cut off",
            FinishReason.Cancelled => "the answer was cancelled",
            _ => truncated ? "the answer ends inside of an element" : null,
        };
        if (ended is not null)
        {
            frame.Warn($"{ended}; what was complete is kept");
        }

        return new(
            image.Page.Number,
            image.Page.Width,
            image.Page.Height,
            width,
            height,
            image.Dpi,
            [.. elements.Select((element, i) => Finish(element, i, image.Page))],
            frame.Warnings
        );
    }

    (IReadOnlyList<DocumentElement> Elements, bool Truncated) Read(string text, int start, PageFrame frame)
    {
        if (prompt.Syntax == PageSyntax.Html)
        {
            if (QwenVLHtml.Parse(text, start).Root.Descendants.Any())
            {
                HtmlPageReader html = new(frame);
                return (html.Read(text, start), html.IsTruncated);
            }

            frame.Warn("the answer is no HTML, it was read as Markdown");
        }

        MarkdownPageReader markdown = new(frame);
        return (markdown.Read(text, start), markdown.IsTruncated);
    }

    static DocumentElement Finish(DocumentElement element, int index, DocumentPage page)
    {
        string id = string.Create(CultureInfo.InvariantCulture, $"p{page.Number}-e{index + 1}");
        bool number =
            element is { Kind: ElementKind.Paragraph, Box: { } box }
            && (box.Top > (1 - Margin) * page.Height || box.Bottom < Margin * page.Height)
            && TextRuns.Plain(element.Text) is { Length: < 30 } text
            && PageNumber().IsMatch(text);
        return element with { Id = id, Kind = number ? ElementKind.PageNumber : element.Kind };
    }

    [GeneratedRegex(
        @"^[^\p{L}\p{N}]*(?:page\s*)?[0-9]{1,4}(?:\s*(?:/|of)\s*[0-9]{1,4})?[^\p{L}\p{N}]*$",
        RegexOptions.IgnoreCase | RegexOptions.CultureInvariant,
        matchTimeoutMilliseconds: 1000
    )]
    private static partial Regex PageNumber();
}
