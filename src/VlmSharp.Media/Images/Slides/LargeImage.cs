namespace VlmSharp.Media.Images.Slides;

/// <summary>A picture that need not fit into memory: its size, its levels, and any part of it at any smaller scale.</summary>
/// <remarks>
/// <list type="bullet">
/// <item>TIFF and BigTIFF stored in tiles, with or without smaller levels: only the tiles that a part touches are decoded.</item>
/// <item>Slides of microscopes (SVS, NDPI, MRXS, SCN, ...) through OpenSlide: the same.</item>
/// <item>JPEG, PNG and TIFF in strips can only be decoded from their beginning: the first part that is read decodes the picture
/// once, row by row, into a temporary file of three bytes a pixel; memory stays small.</item>
/// <item>Progressive JPEG, interlaced PNG, WebP, GIF, HEIF and AVIF are decoded as a whole when they are opened, into memory and within
/// <see cref="ImageLimits.Default"/>: their decoders can do nothing else.</item>
/// </list>
/// Pixels are those of <see cref="ImageDecoder"/>: upright, alpha over white, no ICC profile applied. Reading a part takes the
/// memory of the part (stored at most four times as large for each direction, where levels shrink by four) and of a row of tiles.
/// <see cref="ReadRegion"/> may be called from several threads at once.
/// </remarks>
public sealed class LargeImage : IDisposable
{
    readonly LevelSource source;
    readonly LargeImageLimits limits;
    readonly Orientation orientation;

    LargeImage(LevelSource source, string name, LargeImageLimits limits)
    {
        this.source = source;
        this.limits = limits;
        Name = name;
        PyramidLevel full = source.Levels[0];
        orientation = new(source.Orientation, full.Width, full.Height);
        Levels =
        [
            .. source.Levels.Select(level =>
                source.Orientation >= 5
                    ? new PyramidLevel(level.Height, level.Width, level.DownsampleY, level.DownsampleX)
                    : level
            ),
        ];
    }

    /// <summary>Opens a picture; its header is read, pixels are not, but for formats that are decoded as a whole.</summary>
    /// <param name="path">The file; its extension does not matter, but for slides of several files (.mrxs). Must not change while it is open.</param>
    /// <param name="limits">What is accepted; <see cref="LargeImageLimits.Default"/> if null.</param>
    /// <exception cref="MediaException">Not a picture in one of the formats, over a limit, damaged, or a library is not on the machine.</exception>
    public static LargeImage Open(string path, LargeImageLimits? limits = null)
    {
        ArgumentException.ThrowIfNullOrEmpty(path);
        limits ??= LargeImageLimits.Default;
        return new(OpenSource(path, limits), path, limits);
    }

    /// <summary>The file.</summary>
    public string Name { get; }

    /// <summary>What the file is, for people.</summary>
    public string Format => source.Format;

    /// <summary>Pixels in a row, upright.</summary>
    public int Width => orientation.Width;

    /// <summary>Rows, upright.</summary>
    public int Height => orientation.Height;

    /// <summary>The full picture, then its smaller copies in the file, upright.</summary>
    public IReadOnlyList<PyramidLevel> Levels { get; }

    /// <summary>Micrometres between neighbouring pixels, where the file tells.</summary>
    /// <remarks>Of a TIFF that is no slide this is what its resolution says, which may be that of a printer.</remarks>
    public double? MicronsPerPixel => source.MicronsPerPixel;

    /// <summary>Whether a part can be decoded without what stands before it in the file.</summary>
    public bool HasRandomAccess => source.HasRandomAccess;

    /// <summary>Part of the picture at a smaller scale, or as it is.</summary>
    /// <remarks>Each pixel is the mean of the area it covers, of the smallest level that is not smaller than what is asked for.</remarks>
    /// <param name="x">Left edge, in pixels of the full picture; so are the next three.</param>
    /// <param name="y">Upper edge.</param>
    /// <param name="width">At least 1; the part lies within the picture.</param>
    /// <param name="height">At least 1.</param>
    /// <param name="targetWidth">Pixels in a row of the result, at most <paramref name="width"/>.</param>
    /// <param name="targetHeight">Rows of the result, at most <paramref name="height"/>.</param>
    /// <param name="cancellation">Looked at before each block that is decoded.</param>
    /// <exception cref="ArgumentOutOfRangeException">The part is not within the picture, or the result would be larger than it.</exception>
    /// <exception cref="MediaException">It cannot be decoded, or a limit is exceeded.</exception>
    public RgbImage ReadRegion(
        int x,
        int y,
        int width,
        int height,
        int targetWidth,
        int targetHeight,
        CancellationToken cancellation = default
    )
    {
        CheckSpan(x, width, Width, nameof(x), nameof(width));
        CheckSpan(y, height, Height, nameof(y), nameof(height));
        CheckTarget(targetWidth, width, nameof(targetWidth));
        CheckTarget(targetHeight, height, nameof(targetHeight));
        if ((long)targetWidth * targetHeight > limits.MaxRegionPixels)
        {
            throw new MediaException(
                Name,
                $"a part of {targetWidth} x {targetHeight} pixels was asked for, at most {limits.MaxRegionPixels} in all are read at once ({nameof(LargeImageLimits)}.{nameof(LargeImageLimits.MaxRegionPixels)})"
            );
        }

        (int storedX, int storedY, int storedWidth, int storedHeight) = orientation.Stored(x, y, width, height);
        (int w, int h) = orientation.Value >= 5 ? (targetHeight, targetWidth) : (targetWidth, targetHeight);
        byte[] stored = ReadStored(storedX, storedY, storedWidth, storedHeight, w, h, cancellation);
        if (orientation.IsUpright)
        {
            return new(targetWidth, targetHeight, stored);
        }

        byte[] upright = GC.AllocateUninitializedArray<byte>(stored.Length);
        new Orientation(orientation.Value, w, h).Place(stored, 0, upright);
        return new(targetWidth, targetHeight, upright);
    }

    /// <summary>The whole picture, no side longer than this.</summary>
    /// <param name="maxSide">In pixels; a smaller picture stays as it is.</param>
    /// <param name="cancellation">Looked at before each block that is decoded.</param>
    /// <exception cref="MediaException">As <see cref="ReadRegion"/>.</exception>
    public RgbImage ReadOverview(int maxSide, CancellationToken cancellation = default)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(maxSide, 1);
        double scale = Math.Min(1, maxSide / (double)Math.Max(Width, Height));
        return ReadRegion(
            0,
            0,
            Width,
            Height,
            Math.Max(1, (int)Math.Round(Width * scale)),
            Math.Max(1, (int)Math.Round(Height * scale)),
            cancellation
        );
    }

    /// <summary>Closes the file and frees what is kept of it.</summary>
    public void Dispose() => source.Dispose();

    byte[] ReadStored(
        int x,
        int y,
        int width,
        int height,
        int targetWidth,
        int targetHeight,
        CancellationToken cancellation
    )
    {
        // The last level that is not smaller than the result; rounding of its factor must not rule it out.
        (double scaleX, double scaleY) = ((double)width / targetWidth, (double)height / targetHeight);
        const double Rounding = 1 + 1e-3;
        int level = 0;
        for (int i = 1; i < source.Levels.Count; i++)
        {
            PyramidLevel candidate = source.Levels[i];
            if (
                candidate.DownsampleX <= scaleX * Rounding
                && candidate.DownsampleY <= scaleY * Rounding
                && candidate.DownsampleX > source.Levels[level].DownsampleX
            )
            {
                level = i;
            }
        }

        PyramidLevel from = source.Levels[level];
        (double left, double top) = (x / from.DownsampleX, y / from.DownsampleY);
        (double right, double bottom) = ((x + width) / from.DownsampleX, (y + height) / from.DownsampleY);
        int firstX = Math.Clamp((int)Math.Floor(left), 0, from.Width - 1);
        int firstY = Math.Clamp((int)Math.Floor(top), 0, from.Height - 1);
        int endX = Math.Clamp((int)Math.Ceiling(right), firstX + 1, from.Width);
        int endY = Math.Clamp((int)Math.Ceiling(bottom), firstY + 1, from.Height);
        limits.CheckDecoded(Name, endX - firstX, endY - firstY);

        using LevelReader reader = source.Open(level, cancellation);
        AreaAverage average = new(left, top, right - left, bottom - top, targetWidth, targetHeight);
        byte[] block = [];
        (int blockWidth, int blockHeight) = reader.Block;
        for (int blockY = firstY; blockY < endY; )
        {
            int nextY = (int)Math.Min(endY, (((long)blockY / blockHeight) + 1) * blockHeight);
            for (int blockX = firstX; blockX < endX; )
            {
                cancellation.ThrowIfCancellationRequested();
                int nextX = (int)Math.Min(endX, (((long)blockX / blockWidth) + 1) * blockWidth);
                int samples = checked(3 * (nextX - blockX) * (nextY - blockY));
                if (block.Length < samples)
                {
                    block = GC.AllocateUninitializedArray<byte>(samples);
                }

                Span<byte> rgb = block.AsSpan(0, samples);
                reader.Read(blockX, blockY, nextX - blockX, nextY - blockY, rgb);
                average.Add(rgb, blockX, blockY, nextX - blockX, nextY - blockY);
                blockX = nextX;
            }

            blockY = nextY;
        }

        return average.Finish(from.Width, from.Height);
    }

    static LevelSource OpenSource(string path, LargeImageLimits limits)
    {
        try
        {
            using FileStream file = new(path, FileMode.Open, FileAccess.Read, FileShare.Read);
            byte[] head = new byte[512];
            head = head[..file.ReadAtLeast(head, head.Length, throwOnEndOfStream: false)];
            ImageFormat? format = null;
            MediaException? unknown = null;
            try
            {
                format = ImageFormat.Of(head, path);
            }
            catch (MediaException e)
            {
                unknown = e;
            }

            // An index of MIRAX is a JPEG; everything else that OpenSlide reads is a TIFF or nothing we know.
            bool maybeSlide =
                format is null
                || format == ImageFormat.Tiff
                || path.EndsWith(".mrxs", StringComparison.OrdinalIgnoreCase);
            if (
                maybeSlide
                && OpenSlideLibrary.IsInstalled
                && OpenSlideLibrary.DetectVendor(path) is { } vendor and not "generic-tiff"
            )
            {
                return new OpenSlideSource(path, vendor, limits);
            }

            if (format is null)
            {
                throw OpenSlideLibrary.IsInstalled
                    ? unknown!
                    : new MediaException(path, $"{unknown!.Message[(path.Length + 2)..]}; {OpenSlideLibrary.Install}");
            }

            if (format == ImageFormat.Tiff)
            {
                IReadOnlyList<TiffDirectory> chain = TiffDirectory.ReadAll(file, path);
                return chain[0].IsTiled
                    ? new TiledTiffSource(path, chain, limits)
                    : new SpooledSource(path, format, limits);
            }

            // Byte 28 of a PNG, in its first chunk, says whether rows come interlaced.
            bool whole =
                format != ImageFormat.Jpeg && !(format == ImageFormat.Png && head.Length > 28 && head[28] == 0);
            if (!whole)
            {
                SpooledSource spooled = new(path, format, limits);
                if (!spooled.IsMultiScan)
                {
                    return spooled;
                }

                spooled.Dispose();
            }

            return new WholeSource(ImageDecoder.DecodeFile(path), format.Name);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or NotSupportedException)
        {
            throw new MediaException(path, $"the file cannot be read: {e.Message}", e);
        }
    }

    void CheckSpan(int start, int size, int full, string startName, string sizeName)
    {
        if (size < 1 || size > full)
        {
            throw new ArgumentOutOfRangeException(sizeName, size, $"{Name} has {full} pixels in this direction");
        }

        if (start < 0 || start > full - size)
        {
            throw new ArgumentOutOfRangeException(
                startName,
                start,
                $"{size} pixels from here are not within {Name}, which has {full} in this direction"
            );
        }
    }

    static void CheckTarget(int target, int size, string name)
    {
        if (target < 1 || target > size)
        {
            throw new ArgumentOutOfRangeException(name, target, $"expected 1 .. {size}: parts are never enlarged");
        }
    }
}
