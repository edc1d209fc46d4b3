using VlmSharp.Media.Images.Vips;

namespace VlmSharp.Media.Images;

/// <summary>Untrusted bytes to upright 8-bit RGB pixels: JPEG, PNG, WebP, GIF, TIFF, HEIF, AVIF, through libvips.</summary>
/// <remarks>
/// <list type="bullet">
/// <item>The format is told from the content; only the loaders of these formats can run, and they read memory, never files.</item>
/// <item>The EXIF orientation is applied first: width, height and everything drawn or pointed at later refer to the upright picture.</item>
/// <item>Alpha is laid over white, with the arithmetic of qwen-vl-utils. Unlike there, this also holds for grey and palette pictures.
/// The colours without it are kept beside, for models that drop it.</item>
/// <item>Grey, palette and CMYK become RGB as in Pillow's <c>convert("RGB")</c>; 16-bit samples keep their high byte.</item>
/// <item>ICC profiles are not applied; samples are taken as sRGB, as the reference does.</item>
/// <item>Of an animation or a multi-page file <see cref="Decode"/> reads the first frame (of HEIF the primary picture).
/// Animated PNG counts as its still picture.</item>
/// <item>A file that is cut off is an error, unless <c>acceptTruncated</c> is set: then rows that are missing are white
/// (in JPEG grey or coarse, as far as the decoder gets), if there is at least a part; WebP, HEIF, AVIF and interlaced PNG have no parts.</item>
/// </list>
/// All members may be called from several threads at once; a call decodes in its own thread.
/// </remarks>
public static class ImageDecoder
{
    /// <summary>Reads the header; nothing is decoded, and no limit applies.</summary>
    /// <param name="bytes">The file.</param>
    /// <param name="name">What errors call it.</param>
    /// <exception cref="MediaException">Not a picture in one of the formats, or one whose pixels could not be turned into RGB.</exception>
    public static ImageInfo ReadInfo(byte[] bytes, string name)
    {
        ArgumentNullException.ThrowIfNull(bytes);
        Source source = new(bytes, name, ImageFormat.Of(bytes, name));
        return Describe(source, "", partial: source.Format.CanBePartial);
    }

    /// <summary>Reads the header of a file.</summary>
    /// <exception cref="MediaException">As <see cref="ReadInfo"/>, or the file cannot be read.</exception>
    public static ImageInfo ReadFileInfo(string path) => ReadInfo(ReadFile(path, ImageLimits.Default), path);

    /// <summary>Reads the header of one page of a TIFF or HEIF that has several.</summary>
    /// <param name="bytes">The file.</param>
    /// <param name="name">What errors call it.</param>
    /// <param name="page">Which one, counted from 1.</param>
    /// <exception cref="MediaException">As <see cref="ReadInfo"/>, or there is no such page.</exception>
    public static ImageInfo ReadPageInfo(byte[] bytes, string name, int page)
    {
        Source source = PageOf(bytes, name, page);
        return Describe(source, PageOption(page), partial: false);
    }

    static ImageInfo Describe(Source source, string page, bool partial)
    {
        using VipsImage header = source.Open(page, partial);
        Orientation orientation = new(header.Orientation, header.Width, header.Height);
        return new(
            source.Format.Name,
            orientation.Width,
            orientation.Height,
            orientation.Value,
            Frames(header),
            PixelConverter.For(header, source.Name).Alpha
        );
    }

    /// <summary>Decodes one page of a TIFF or HEIF that has several; the others cost nothing.</summary>
    /// <param name="bytes">The file.</param>
    /// <param name="name">What errors call it.</param>
    /// <param name="page">Which one, counted from 1.</param>
    /// <param name="limits">What is accepted; <see cref="ImageLimits.Default"/> if null.</param>
    /// <exception cref="MediaException">As <see cref="Decode"/>, or there is no such page.</exception>
    public static RgbImage DecodePage(byte[] bytes, string name, int page, ImageLimits? limits = null)
    {
        limits ??= ImageLimits.Default;
        limits.CheckBytes(name, bytes.LongLength);
        return DecodePage(PageOf(bytes, name, page), PageOption(page), limits, partial: false);
    }

    static Source PageOf(byte[] bytes, string name, int page)
    {
        ArgumentNullException.ThrowIfNull(bytes);
        ArgumentOutOfRangeException.ThrowIfLessThan(page, 1);
        return new Source(bytes, name, ImageFormat.Of(bytes, name)).Page(page - 1);
    }

    static string PageOption(int page) => $"page={page - 1}";

    /// <summary>Decodes a picture, or the first frame of several.</summary>
    /// <param name="bytes">The file.</param>
    /// <param name="name">What errors call it.</param>
    /// <param name="limits">What is accepted; <see cref="ImageLimits.Default"/> if null.</param>
    /// <param name="acceptTruncated">Take what is there of a file that is cut off or damaged.</param>
    /// <exception cref="MediaException">Not a picture in one of the formats, over a limit, damaged, or libvips is not on the machine.</exception>
    public static RgbImage Decode(byte[] bytes, string name, ImageLimits? limits = null, bool acceptTruncated = false)
    {
        ArgumentNullException.ThrowIfNull(bytes);
        limits ??= ImageLimits.Default;
        limits.CheckBytes(name, bytes.LongLength);
        Source source = new(bytes, name, ImageFormat.Of(bytes, name));
        return source.Try(partial => DecodePage(source, "", limits, partial), acceptTruncated);
    }

    /// <summary>Decodes the picture in a file; its extension does not matter.</summary>
    /// <param name="path">The file; errors call it by this path.</param>
    /// <param name="limits">What is accepted; <see cref="ImageLimits.Default"/> if null.</param>
    /// <param name="acceptTruncated">Take what is there of a file that is cut off or damaged.</param>
    /// <exception cref="MediaException">As <see cref="Decode"/>, or the file cannot be read.</exception>
    public static RgbImage DecodeFile(string path, ImageLimits? limits = null, bool acceptTruncated = false) =>
        Decode(ReadFile(path, limits ?? ImageLimits.Default), path, limits, acceptTruncated);

    /// <summary>Decodes every frame of a GIF or WebP, composed to full pictures, or every page of a TIFF or HEIF.</summary>
    /// <param name="bytes">The file; a still picture gives one frame.</param>
    /// <param name="name">What errors call it.</param>
    /// <param name="limits">What is accepted; <see cref="ImageLimits.Default"/> if null. All frames are checked together before the first is decoded.</param>
    /// <param name="acceptTruncated">Take the frames that are there of a file that is cut off or damaged.</param>
    /// <exception cref="MediaException">As <see cref="Decode"/>.</exception>
    public static AnimatedImage DecodeFrames(
        byte[] bytes,
        string name,
        ImageLimits? limits = null,
        bool acceptTruncated = false
    )
    {
        ArgumentNullException.ThrowIfNull(bytes);
        limits ??= ImageLimits.Default;
        limits.CheckBytes(name, bytes.LongLength);
        Source source = new(bytes, name, ImageFormat.Of(bytes, name));
        return source.Try(
            partial =>
                source.Format.IsAnimation
                    ? DecodeAnimation(source, limits, partial)
                    : DecodePages(source, limits, partial),
            acceptTruncated
        );
    }

    /// <summary>Decodes the pictures of a directory as the frames of a video.</summary>
    /// <remarks>
    /// The order is that of the file names, with runs of digits compared as numbers: 2.png comes before 10.png, and 001.png,
    /// 002.png, ... as they are. Names that begin with a dot and subdirectories are passed over; every other file must be a
    /// picture, and all must have one size, because a frame left out in silence would shift the time of those behind it.
    /// </remarks>
    /// <param name="directory">Its path.</param>
    /// <param name="limits">What is accepted; <see cref="ImageLimits.Default"/> if null.</param>
    /// <exception cref="MediaException">No files, too many, or one that is no picture or has another size; the file is named.</exception>
    public static IReadOnlyList<RgbImage> DecodeFrameDirectory(string directory, ImageLimits? limits = null)
    {
        ArgumentNullException.ThrowIfNull(directory);
        limits ??= ImageLimits.Default;
        string[] files = ListFrames(directory);
        limits.CheckFrameCount(directory, files.Length);

        List<RgbImage> frames = new(files.Length);
        ImageInfo? first = null;
        foreach (string file in files)
        {
            byte[] bytes = ReadFile(file, limits);
            ImageInfo info = ReadInfo(bytes, file);
            if (first is null)
            {
                first = info;
                limits.CheckFrame(file, info.Width, info.Height);
                limits.CheckTotal(directory, files.Length, (long)info.Width * info.Height * files.Length);
            }

            if ((info.Width, info.Height) != (first.Width, first.Height))
            {
                throw new MediaException(
                    file,
                    $"{info.Width} x {info.Height} pixels, the first frame, {Path.GetFileName(files[0])}, has {first.Width} x {first.Height}; the frames of a video have one size"
                );
            }

            frames.Add(Decode(bytes, file, limits));
        }

        return frames;
    }

    static string[] ListFrames(string directory)
    {
        try
        {
            string[] files =
            [
                .. Directory
                    .EnumerateFiles(directory)
                    .Where(file => !Path.GetFileName(file).StartsWith('.'))
                    .Order(NaturalOrder.Instance),
            ];
            return files.Length > 0
                ? files
                : throw new MediaException(directory, "the directory has no files, at least one frame is needed");
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new MediaException(directory, $"the directory cannot be listed: {e.Message}", e);
        }
    }

    static byte[] ReadFile(string path, ImageLimits limits)
    {
        ArgumentNullException.ThrowIfNull(path);
        try
        {
            using FileStream file = new(path, FileMode.Open, FileAccess.Read, FileShare.Read, bufferSize: 0);
            long length = file.Length;
            limits.CheckBytes(path, length);
            byte[] bytes = GC.AllocateUninitializedArray<byte>(checked((int)length));
            int read = file.ReadAtLeast(bytes, bytes.Length, throwOnEndOfStream: false);
            return read == bytes.Length ? bytes : bytes[..read];
        }
        catch (Exception e)
            when (e is IOException or UnauthorizedAccessException or NotSupportedException or OverflowException)
        {
            throw new MediaException(path, $"the file cannot be read: {e.Message}", e);
        }
    }

    /// <summary>One picture of a file.</summary>
    /// <param name="source">The file.</param>
    /// <param name="page">Which one, as an option of the loader: empty for the first, or <c>page=2</c>.</param>
    /// <param name="limits">What is accepted.</param>
    /// <param name="partial">Whether missing rows are filled.</param>
    static RgbImage DecodePage(Source source, string page, ImageLimits limits, bool partial)
    {
        using VipsImage image = source.Open(page, partial);
        limits.CheckFrame(source.Name, image.Width, image.Height);
        source.CheckScans(image);
        using VipsRows rows = new(image);
        return DecodeRows(source, image, rows, 0, image.Height, partial, out _);
    }

    static AnimatedImage DecodeAnimation(Source source, ImageLimits limits, bool partial)
    {
        using VipsImage first = source.Open("", partial);
        (int width, int height, int count) = (first.Width, first.Height, Frames(first));
        limits.CheckFrame(source.Name, width, height);
        limits.CheckFrameCount(source.Name, count);
        limits.CheckTotal(source.Name, count, (long)width * height * count);
        // libnsgif stops counting behind this many, in silence.
        const int MaxGifFrames = 4096;
        if (source.Format == ImageFormat.Gif && count > MaxGifFrames)
        {
            throw new MediaException(
                source.Name,
                $"more than {MaxGifFrames} frames, which is all that is read of a GIF"
            );
        }

        // A GIF that is cut off opens with fewer frames than it had.
        if (!partial && Container.DescribeMissingEnd(source.Format, source.Bytes) is not null)
        {
            throw source.Damaged($"has only {count} frames");
        }

        // libvips lays the frames one below the other; they are taken off one by one.
        using VipsImage all = source.Open(count > 1 ? "n=-1" : "", partial);
        if (all.Width != width || all.Height != (long)height * count)
        {
            throw new MediaException(
                source.Name,
                $"{count} frames of {width} x {height} pixels were announced, {all.Width} x {all.Height} pixels are there in all"
            );
        }

        List<RgbImage> frames = new(count);
        using VipsRows rows = new(all);
        for (int i = 0; i < count; i++)
        {
            try
            {
                frames.Add(DecodeRows(source, all, rows, i * height, height, partial, out bool whole));
                if (!whole)
                {
                    break;
                }
            }
            catch (MediaException) when (partial && i > 0)
            {
                break;
            }
        }

        int[] delays = all.GetInts("delay");
        return new(
            frames,
            [.. frames.Select((_, i) => TimeSpan.FromMilliseconds(i < delays.Length ? Math.Max(0, delays[i]) : 0))],
            Math.Max(0, all.GetInt("loop") ?? 1)
        );
    }

    static AnimatedImage DecodePages(Source source, ImageLimits limits, bool partial)
    {
        int count;
        using (VipsImage first = source.Open("", partial))
        {
            count = Frames(first);
            limits.CheckFrameCount(source.Name, count);
        }

        long total = 0;
        Source[] pages = [.. Enumerable.Range(0, count).Select(i => count is 1 ? source : source.Page(i))];
        for (int i = 0; i < count; i++)
        {
            using VipsImage page = pages[i].Open(Option(i), partial);
            limits.CheckFrame(pages[i].Name, page.Width, page.Height);
            total += (long)page.Width * page.Height;
            limits.CheckTotal(source.Name, count, total);
        }

        return new(
            [.. pages.Select((page, i) => DecodePage(page, Option(i), limits, partial))],
            new TimeSpan[count],
            LoopCount: 1
        );

        // The loaders of formats with one picture know no pages.
        string Option(int index) => count > 1 ? PageOption(index + 1) : "";
    }

    /// <summary>Decodes rows of a file into a picture of their own, upright.</summary>
    static RgbImage DecodeRows(
        Source source,
        VipsImage image,
        VipsRows rows,
        int top,
        int height,
        bool partial,
        out bool whole
    )
    {
        // About this much is decoded, converted and put in its place at a time: it stays in the second-level cache.
        const int StripBytes = 512 * 1024;
        // Decoders work in bands of 8 or 16 rows.
        const int Band = 16;

        PixelConverter converter = PixelConverter.For(image, source.Name);
        int width = image.Width;
        long fit = StripBytes / ((long)width * converter.Stride);
        // When parts are to be saved, the smallest strips lose the fewest rows.
        int strip =
            fit < Band ? (int)Math.Max(1, fit)
            : partial ? Band
            : (int)Math.Min(height, fit / Band * Band);

        Orientation orientation = new(image.Orientation, width, height);
        byte[] pixels = NewPixels();
        byte[]? withoutAlpha = converter.Alpha ? NewPixels() : null;
        byte[] converted = orientation.IsUpright ? [] : GC.AllocateUninitializedArray<byte>(3 * width * strip);
        whole = true;
        for (int y = 0; y < height; y += strip)
        {
            int count = Math.Min(strip, height - y);
            if (!rows.TryRead(top + y, count, out ReadOnlySpan<byte> samples))
            {
                if (!partial || y is 0)
                {
                    throw source.Damaged($"of {width} x {height} pixels, decoding stops after row {y}");
                }

                whole = false;
                break;
            }

            Convert(converter, samples, y, count, pixels);
            if (withoutAlpha is not null)
            {
                Convert(converter with { DropsAlpha = true }, samples, y, count, withoutAlpha);
            }
        }

        return withoutAlpha is null
            ? new(orientation.Width, orientation.Height, pixels)
            : new(orientation.Width, orientation.Height, pixels, withoutAlpha);

        byte[] NewPixels()
        {
            byte[] array = GC.AllocateUninitializedArray<byte>(checked(3 * width * height));
            if (partial)
            {
                array.AsSpan().Fill(255);
            }

            return array;
        }

        void Convert(PixelConverter to, ReadOnlySpan<byte> samples, int y, int count, byte[] target)
        {
            if (orientation.IsUpright)
            {
                to.Convert(samples, target.AsSpan(3 * width * y, 3 * width * count));
                return;
            }

            Span<byte> rgb = converted.AsSpan(0, 3 * width * count);
            to.Convert(samples, rgb);
            orientation.Place(rgb, y, target);
        }
    }

    // The field itself, because vips_image_get_n_pages says 1 where there are 10,000 or more.
    static int Frames(VipsImage header) => Math.Max(1, header.GetInt("n-pages") ?? 1);

    /// <summary>A file and what errors call it.</summary>
    sealed record Source(byte[] Bytes, string Name, ImageFormat Format)
    {
        internal Source Page(int index) => this with { Name = $"{Name}, page {index + 1}" };

        /// <summary>Runs strictly; if that fails and parts are welcome, once more with missing rows filled.</summary>
        internal T Try<T>(Func<bool, T> decode, bool acceptTruncated)
        {
            try
            {
                return decode(false);
            }
            catch (MediaException) when (acceptTruncated && Format.CanBePartial)
            {
                return decode(true);
            }
        }

        /// <summary>Reads a header.</summary>
        /// <param name="page">Options of the loader that choose a page.</param>
        /// <param name="partial">Whether a file that is cut off is opened all the same.</param>
        internal VipsImage Open(string page, bool partial)
        {
            // libjpeg and libnsgif fill what is missing. What libpng and libtiff leave is no picture, so they stay strict and
            // the rows they cannot read are filled here. Since 8.18 a TIFF that is cut off is an "error".
            string failOn =
                Format == ImageFormat.Tiff ? "error"
                : partial && (Format == ImageFormat.Jpeg || Format == ImageFormat.Gif) ? "none"
                : "truncated";
            string options = $"access=sequential,fail_on={failOn}{(page.Length > 0 ? "," : "")}{page}";
            return VipsImage.Open(Format.Loader, Bytes, options) ?? throw Damaged("has a header that cannot be read");
        }

        internal void CheckScans(VipsImage image)
        {
            if (image.GetInt("jpeg-multiscan") is not null and not 0)
            {
                int scans = Container.WalkJpeg(Bytes).Scans;
                if (scans > Container.MaxJpegScans)
                {
                    throw new MediaException(
                        Name,
                        $"{scans} progressive scans, at most {Container.MaxJpegScans} are accepted; save the picture anew"
                    );
                }
            }
        }

        internal MediaException Damaged(string what)
        {
            string said = VipsLibrary.TakeError();
            string? end = Container.DescribeMissingEnd(Format, Bytes);
            string reason = end is null ? "" : $": the file is cut off, {end}";
            string help =
                Format.CanBePartial && end is not null
                    ? "; send the whole file, or accept what is there (acceptTruncated)"
                    : "";
            return new(Name, $"this {Format.Name} {what}{reason} (libvips: {said}){help}");
        }
    }
}
