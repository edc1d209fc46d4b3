using VlmSharp.Media.Images;

namespace VlmSharp.Media.Documents;

/// <summary>A file of pages: PDF, or a picture in one of the formats of <see cref="ImageDecoder"/>, of which TIFF and HEIF may have several pages.</summary>
/// <remarks>What it is is told from the content. Pages are drawn one at a time, so memory does not grow with their number.</remarks>
public abstract class DocumentFile
{
    private protected DocumentFile(string name, DocumentLimits limits) => (Name, Limits) = (name, limits);

    /// <summary>Opens a document.</summary>
    /// <param name="path">The file; errors call it by this path.</param>
    /// <param name="limits">What is accepted; <see cref="DocumentLimits.Default"/> if null.</param>
    /// <param name="password">Of an encrypted PDF. Other users of the machine may see it in the list of processes.</param>
    /// <param name="cancellation">Ends the work.</param>
    /// <exception cref="MediaException">Not a document, damaged, encrypted, over a limit, or a program it takes is not on the machine.</exception>
    public static DocumentFile Open(
        string path,
        DocumentLimits? limits = null,
        string? password = null,
        CancellationToken cancellation = default
    )
    {
        ArgumentNullException.ThrowIfNull(path);
        limits ??= DocumentLimits.Default;
        try
        {
            if (Directory.Exists(path))
            {
                throw new MediaException(path, "is a directory, expected a PDF or a picture");
            }

            using FileStream file = new(path, FileMode.Open, FileAccess.Read, FileShare.Read, bufferSize: 0);
            limits.CheckBytes(path, file.Length);
            // Readers accept the mark anywhere in the first kilobyte.
            byte[] head = new byte[Math.Min(1024, file.Length)];
            file.ReadExactly(head);
            if (head.AsSpan().IndexOf("%PDF-"u8) >= 0)
            {
                return new PdfDocument(path, limits, password, cancellation);
            }

            byte[] bytes = new byte[file.Length];
            head.CopyTo(bytes, 0);
            file.ReadExactly(bytes.AsSpan(head.Length));
            return new PictureDocument(path, bytes, limits);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or NotSupportedException)
        {
            throw new MediaException(path, $"the file cannot be read: {e.Message}", e);
        }
    }

    /// <summary>What errors call it.</summary>
    public string Name { get; }

    /// <summary>How many pages it has, at least 1.</summary>
    public int PageCount { get; private protected init; }

    /// <summary>Whether pages can be drawn at any resolution; those of pictures have the pixels they have.</summary>
    public abstract bool IsScalable { get; }

    private protected DocumentLimits Limits { get; }

    /// <summary>Sizes of some pages.</summary>
    /// <param name="selection">Which ones.</param>
    /// <param name="cancellation">Ends the work.</param>
    /// <exception cref="MediaException">The document has no such page, or they are more than is accepted.</exception>
    public IReadOnlyList<DocumentPage> Pages(PageSelection selection, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(selection);
        IReadOnlyList<int> numbers;
        try
        {
            numbers = selection.Of(PageCount);
        }
        catch (FormatException e)
        {
            throw new MediaException(Name, e.Message, e);
        }

        Limits.CheckPages(Name, numbers.Count);
        return Describe(numbers, cancellation);
    }

    /// <summary>Draws a page.</summary>
    /// <param name="page">One of <see cref="Pages"/>.</param>
    /// <param name="resolution">How finely, where <see cref="IsScalable"/>.</param>
    /// <param name="cancellation">Ends the work.</param>
    /// <exception cref="MediaException">The page is damaged or goes over a limit.</exception>
    public abstract PageImage Draw(
        DocumentPage page,
        PageResolution resolution,
        CancellationToken cancellation = default
    );

    /// <summary>The words that the file itself says stand on a page, in reading order; none in pictures and scans.</summary>
    /// <param name="page">One of <see cref="Pages"/>.</param>
    /// <param name="cancellation">Ends the work.</param>
    /// <exception cref="MediaException">The page is damaged or goes over a limit.</exception>
    public abstract IReadOnlyList<PageWord> Words(DocumentPage page, CancellationToken cancellation = default);

    private protected abstract IReadOnlyList<DocumentPage> Describe(
        IReadOnlyList<int> numbers,
        CancellationToken cancellation
    );

    private protected string PageName(DocumentPage page) => PageCount > 1 ? $"{Name}, page {page.Number}" : Name;
}

/// <summary>A picture, or several in one file.</summary>
sealed class PictureDocument : DocumentFile
{
    readonly byte[] bytes;

    internal PictureDocument(string path, byte[] bytes, DocumentLimits limits)
        : base(path, limits)
    {
        this.bytes = bytes;
        ImageInfo info = ImageDecoder.ReadInfo(bytes, path);
        // The frames of an animation are no pages.
        PageCount = info.Format is "TIFF" or "HEIF" ? info.Frames : 1;
    }

    public override bool IsScalable => false;

    public override PageImage Draw(
        DocumentPage page,
        PageResolution resolution,
        CancellationToken cancellation = default
    )
    {
        cancellation.ThrowIfCancellationRequested();
        RgbImage image =
            PageCount > 1
                ? ImageDecoder.DecodePage(bytes, Name, page.Number, Limits.ForPictures)
                : ImageDecoder.Decode(bytes, Name, Limits.ForPictures);
        return new(page, image, PageResolution.PointsPerInch);
    }

    public override IReadOnlyList<PageWord> Words(DocumentPage page, CancellationToken cancellation = default) => [];

    private protected override IReadOnlyList<DocumentPage> Describe(
        IReadOnlyList<int> numbers,
        CancellationToken cancellation
    ) =>
        [
            .. numbers.Select(number =>
            {
                ImageInfo info =
                    PageCount > 1 ? ImageDecoder.ReadPageInfo(bytes, Name, number) : ImageDecoder.ReadInfo(bytes, Name);
                return new DocumentPage(number, info.Width, info.Height);
            }),
        ];
}
