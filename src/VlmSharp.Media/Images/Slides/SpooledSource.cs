using VlmSharp.Media.Images.Vips;

namespace VlmSharp.Media.Images.Slides;

/// <summary>A JPEG, a PNG or a TIFF in strips: decoded once from its beginning, some rows at a time, into a temporary file.</summary>
/// <remarks>The file has no name that others could open where the system allows that, and is gone when this is disposed or the process ends.</remarks>
internal sealed class SpooledSource : LevelSource
{
    // About this much is decoded at a time.
    const int StripBytes = 4 << 20;

    readonly string path;
    readonly ImageFormat format;
    readonly Lock gate = new();
    FileStream? spool;

    internal SpooledSource(string path, ImageFormat format, LargeImageLimits limits)
    {
        this.path = path;
        this.format = format;
        using VipsImage image = OpenImage();
        limits.CheckSize(path, image.Width, image.Height);
        limits.CheckSpool(path, format.Name, image.Width, image.Height);
        PixelConverter.For(image, path);
        Orientation = image.Orientation;
        IsMultiScan = image.GetInt("jpeg-multiscan") is not null and not 0;
        Levels = [new(image.Width, image.Height, 1, 1)];
    }

    internal override string Format => format.Name;

    internal override IReadOnlyList<PyramidLevel> Levels { get; }

    internal override int Orientation { get; }

    internal override bool HasRandomAccess => false;

    /// <summary>A JPEG that comes in several scans: its decoder keeps all of them in memory.</summary>
    internal bool IsMultiScan { get; }

    internal override LevelReader Open(int level, CancellationToken cancellation)
    {
        lock (gate)
        {
            spool ??= Decode(cancellation);
            return new Reader(spool, Levels[0].Width, path);
        }
    }

    VipsImage OpenImage() =>
        VipsImage.OpenFile(
            format.Loader.Replace("_buffer", "_source", StringComparison.Ordinal),
            path,
            $"access=sequential,fail_on={(format == ImageFormat.Tiff ? "error" : "truncated")}"
        )
        ?? throw new MediaException(
            path,
            $"this {format.Name} has a header that cannot be read (libvips: {VipsLibrary.TakeError()})"
        );

    FileStream Decode(CancellationToken cancellation)
    {
        using VipsImage image = OpenImage();
        using VipsRows rows = new(image);
        PixelConverter converter = PixelConverter.For(image, path);
        (int width, int height) = (image.Width, image.Height);
        int strip = (int)Math.Clamp(StripBytes / ((long)width * converter.Stride), 1, height);
        byte[] rgb = GC.AllocateUninitializedArray<byte>(checked(3 * width * strip));
        FileStream file = CreateTemporary();
        try
        {
            for (int y = 0; y < height; y += strip)
            {
                cancellation.ThrowIfCancellationRequested();
                int count = Math.Min(strip, height - y);
                if (!rows.TryRead(y, count, out ReadOnlySpan<byte> samples))
                {
                    throw new MediaException(
                        path,
                        $"this {format.Name} is damaged or cut off: of {width} x {height} pixels, decoding stops after row {y} (libvips: {VipsLibrary.TakeError()}); send the whole file"
                    );
                }

                Span<byte> part = rgb.AsSpan(0, 3 * width * count);
                converter.Convert(samples, part);
                file.Write(part);
            }

            file.Flush();
            return file;
        }
        catch (IOException e)
        {
            file.Dispose();
            throw new MediaException(
                path,
                $"decoding it takes {3L * width * height} bytes of temporary disk space in {Path.GetTempPath()}: {e.Message}",
                e
            );
        }
        catch
        {
            file.Dispose();
            throw;
        }
    }

    static FileStream CreateTemporary()
    {
        string name = Path.Combine(Path.GetTempPath(), $"vlm-{Guid.NewGuid():n}.rgb");
        FileStreamOptions options = new()
        {
            Mode = FileMode.CreateNew,
            Access = FileAccess.ReadWrite,
            Share = FileShare.Delete,
            Options = FileOptions.DeleteOnClose,
            BufferSize = 0,
        };
        if (OperatingSystem.IsWindows())
        {
            return new(name, options);
        }

        options.UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite;
        FileStream file = new(name, options);
        // An open file lives on without a name, and goes with the process however that ends.
        File.Delete(name);
        return file;
    }

    public override void Dispose()
    {
        spool?.Dispose();
        base.Dispose();
    }

    sealed class Reader(FileStream file, int rowWidth, string path) : LevelReader
    {
        internal override (int Width, int Height) Block => (int.MaxValue, Math.Max(1, StripBytes / 3 / rowWidth));

        internal override void Read(int x, int y, int width, int height, Span<byte> rgb)
        {
            for (int row = 0; row < height; row++)
            {
                Span<byte> part = rgb.Slice(3 * width * row, 3 * width);
                long at = 3 * (((long)(y + row) * rowWidth) + x);
                while (part.Length > 0)
                {
                    int read = RandomAccess.Read(file.SafeFileHandle, part, at);
                    if (read == 0)
                    {
                        throw new MediaException(path, "the temporary file with its pixels has become shorter");
                    }

                    at += read;
                    part = part[read..];
                }
            }
        }
    }
}

/// <summary>A picture in memory: formats whose decoders make the whole picture at once anyway.</summary>
internal sealed class WholeSource(RgbImage image, string format) : LevelSource
{
    internal override string Format => format;

    internal override IReadOnlyList<PyramidLevel> Levels { get; } = [new(image.Width, image.Height, 1, 1)];

    internal override bool HasRandomAccess => false;

    internal override LevelReader Open(int level, CancellationToken cancellation) => new Reader(image);

    sealed class Reader(RgbImage image) : LevelReader
    {
        internal override (int Width, int Height) Block => (int.MaxValue, 64);

        internal override void Read(int x, int y, int width, int height, Span<byte> rgb)
        {
            for (int row = 0; row < height; row++)
            {
                image.Pixels.Slice(3 * (((y + row) * image.Width) + x), 3 * width).CopyTo(rgb[(3 * width * row)..]);
            }
        }
    }
}
