using VlmSharp.Media.Images;

namespace VlmSharp.Media.Documents;

/// <summary>What is accepted of documents from people one does not know.</summary>
/// <param name="MaxBytes">Size of the file.</param>
/// <param name="MaxPages">Pages that may be asked for at once; how many the file has does not matter.</param>
/// <param name="MaxPagePixels">Width times height of the picture of one page; three bytes of memory each.</param>
/// <param name="TimePerPage">For drawing or reading one page, on the clock.</param>
public sealed record DocumentLimits(long MaxBytes, int MaxPages, long MaxPagePixels, TimeSpan TimePerPage)
{
    /// <summary>256 MiB, 1000 pages of 2^26 pixels (201 MB of memory, one at a time), a minute each.</summary>
    public static DocumentLimits Default { get; } = new(1L << 28, 1000, 1L << 26, TimeSpan.FromMinutes(1));

    internal ImageLimits ForPictures => ImageLimits.Default with { MaxBytes = MaxBytes, MaxPixels = MaxPagePixels };

    internal void CheckBytes(string name, long bytes)
    {
        if (bytes > MaxBytes)
        {
            throw new MediaException(
                name,
                $"{bytes} bytes, at most {MaxBytes} are accepted ({nameof(DocumentLimits)}.{nameof(MaxBytes)})"
            );
        }
    }

    internal void CheckPages(string name, int pages)
    {
        if (pages > MaxPages)
        {
            throw new MediaException(
                name,
                $"{pages} pages are asked for, at most {MaxPages} at once are accepted ({nameof(DocumentLimits)}.{nameof(MaxPages)}); ask for fewer, such as 1-{MaxPages}"
            );
        }
    }

    internal void CheckPixels(string name, long width, long height)
    {
        // The pixels go into one array, three bytes each, whatever the limits say.
        long max = Math.Min(MaxPagePixels, Array.MaxLength / 3);
        if (width > max || height > max || width * height > max)
        {
            throw new MediaException(
                name,
                $"its picture would have {width} x {height} pixels, at most {max} in all are accepted ({nameof(DocumentLimits)}.{nameof(MaxPagePixels)}); choose a lower resolution"
            );
        }
    }
}
