using System.Globalization;
using VlmSharp.Chat;
using VlmSharp.Media.Documents;
using VlmSharp.Media.Images;
using VlmSharp.Models;
using VlmSharp.Vision;

namespace VlmSharp.Documents;

/// <summary>Documents as parts of a message.</summary>
public static class DocumentContent
{
    /// <summary>The pages as pictures, each announced (<c>Page 3:</c>), so that an answer can say where something stands.</summary>
    /// <remarks>A page is drawn with the pixels that the model will look at.</remarks>
    /// <param name="document">The file.</param>
    /// <param name="pages">Which pages.</param>
    /// <param name="processor">Of the model.</param>
    /// <param name="limits">Pixel limits for the model.</param>
    /// <param name="maxTokens">Of one page, about, unless the limits say how many pixels there may be.</param>
    /// <param name="cancellation">Ends the work.</param>
    /// <exception cref="MediaException">A page cannot be drawn, there is no such page, or a limit is reached.</exception>
    /// <exception cref="VisionException">A page cannot be brought to a size the model takes.</exception>
    public static IReadOnlyList<ChatContent> Parts(
        DocumentFile document,
        PageSelection pages,
        IMediaProcessor processor,
        PixelLimits limits = default,
        int maxTokens = int.MaxValue,
        CancellationToken cancellation = default
    )
    {
        ArgumentNullException.ThrowIfNull(document);
        List<ChatContent> parts = [];
        foreach (DocumentPage page in document.Pages(pages, cancellation))
        {
            (PageResolution resolution, PixelLimits own) = Fit(processor, page, limits, maxTokens: maxTokens);
            PageImage drawn = document.Draw(page, resolution, cancellation);
            parts.Add(new ChatText(string.Create(CultureInfo.InvariantCulture, $"Page {page.Number}:")));
            parts.Add(new ChatMedia(MediaSource.Image(drawn.Image, $"{document.Name}, page {page.Number}"), own));
        }

        return parts;
    }

    /// <summary>The resolution at which a page has the pixels that a model will look at, and no more.</summary>
    /// <param name="processor">Of the model.</param>
    /// <param name="page">The page.</param>
    /// <param name="limits">Pixel limits for the model.</param>
    /// <param name="dpi">No finer than this.</param>
    /// <param name="maxTokens">No more than about so many tokens, unless the limits say how many pixels there may be.</param>
    /// <exception cref="VisionException">The page cannot be brought to a size the model takes: it is named.</exception>
    public static (PageResolution Resolution, PixelLimits Limits) Fit(
        IMediaProcessor processor,
        DocumentPage page,
        PixelLimits limits = default,
        double dpi = PageResolution.Fine,
        int maxTokens = int.MaxValue
    )
    {
        ArgumentNullException.ThrowIfNull(processor);
        (long width, long height) = PageResolution.Size(page, dpi);
        // The plan depends on the shape and on whether there is more than enough; so a page as large as a field is shrunk here.
        double shrink = Math.Min(1, 30_000.0 / Math.Max(width, height));
        (int w, int h) = ((int)Math.Max(1, width * shrink), (int)Math.Max(1, height * shrink));
        MediaPlan plan = Plan();
        if (limits.MaxPixels is null && plan.Tokens > maxTokens)
        {
            long perToken = (long)plan.ResizedWidth * plan.ResizedHeight / plan.Tokens;
            limits = limits with { MaxPixels = Math.Max(maxTokens * perToken, limits.MinPixels ?? 0) };
            plan = Plan();
        }

        return (new(dpi, (long)plan.ResizedWidth * plan.ResizedHeight), limits);

        MediaPlan Plan()
        {
            try
            {
                return processor.Plan(new(MediaKind.Image, w, h), limits);
            }
            catch (VisionException e)
            {
                throw new VisionException($"page {page.Number}: {e.Message}");
            }
        }
    }
}
