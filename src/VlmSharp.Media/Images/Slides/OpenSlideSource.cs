using System.Globalization;

namespace VlmSharp.Media.Images.Slides;

/// <summary>A whole slide in a microscope vendor's format, read through OpenSlide; its own cache is at most 32 MiB.</summary>
/// <remarks>What a scanner left out is transparent, and laid over white.</remarks>
internal sealed class OpenSlideSource : LevelSource
{
    readonly string path;
    readonly string vendor;
    nint slide;

    internal OpenSlideSource(string path, string vendor, LargeImageLimits limits)
    {
        this.path = path;
        this.vendor = vendor;
        slide = OpenSlideLibrary.Open(path);
        try
        {
            if (slide == 0)
            {
                throw new MediaException(path, $"this {Format} is damaged: OpenSlide cannot open it");
            }

            ThrowIfFailed("has a header that cannot be read");
            List<PyramidLevel> levels = [];
            for (int i = 0; i < Math.Min(OpenSlideLibrary.LevelCount(slide), 64); i++)
            {
                (long width, long height, double downsample) = OpenSlideLibrary.Level(slide, i);
                limits.CheckSize(path, width, height);
                if (Number($"openslide.level[{i}].tile-width") is { } tileWidth)
                {
                    limits.CheckStoredTile(
                        path,
                        (long)tileWidth,
                        (long)(Number($"openslide.level[{i}].tile-height") ?? tileWidth)
                    );
                }

                levels.Add(new((int)width, (int)height, downsample, downsample));
            }

            Levels = levels;
            ThrowIfFailed("has levels that cannot be read");
            MicronsPerPixel = Number("openslide.mpp-x") is > 0 and var microns ? microns : null;
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    internal override string Format => $"slide ({vendor})";

    internal override IReadOnlyList<PyramidLevel> Levels { get; } = [];

    internal override double? MicronsPerPixel { get; }

    internal override bool HasRandomAccess => true;

    internal override LevelReader Open(int level, CancellationToken cancellation) => new Reader(this, level);

    public override void Dispose()
    {
        if (slide != 0)
        {
            OpenSlideLibrary.Close(slide);
            slide = 0;
        }

        base.Dispose();
    }

    double? Number(string property) =>
        double.TryParse(
            OpenSlideLibrary.Property(slide, property),
            NumberStyles.Float,
            CultureInfo.InvariantCulture,
            out double number
        ) && double.IsFinite(number)
            ? number
            : null;

    void ThrowIfFailed(string what)
    {
        if (OpenSlideLibrary.Error(slide) is { } error)
        {
            string line = string.Concat(error.Select(c => char.IsControl(c) ? ' ' : c));
            throw new MediaException(path, $"this {Format} {what} (OpenSlide: {line})");
        }
    }

    sealed class Reader(OpenSlideSource owner, int level) : LevelReader
    {
        uint[] pixels = [];

        internal override (int Width, int Height) Block => (1024, 1024);

        internal override void Read(int x, int y, int width, int height, Span<byte> rgb)
        {
            int count = width * height;
            if (pixels.Length < count)
            {
                pixels = GC.AllocateUninitializedArray<uint>(count);
            }

            PyramidLevel at = owner.Levels[level];
            OpenSlideLibrary.ReadRegion(
                owner.slide,
                pixels,
                (long)Math.Round(x * at.DownsampleX),
                (long)Math.Round(y * at.DownsampleY),
                level,
                width,
                height
            );
            owner.ThrowIfFailed($"cannot be decoded at x {x} to {x + width}, y {y} to {y + height} of level {level}");
            for (int i = 0; i < count; i++)
            {
                uint pixel = pixels[i];
                // Colours are multiplied by alpha already: what is missing to opaque is white.
                uint white = 255 - (pixel >> 24);
                rgb[3 * i] = (byte)(((pixel >> 16) & 255) + white);
                rgb[(3 * i) + 1] = (byte)(((pixel >> 8) & 255) + white);
                rgb[(3 * i) + 2] = (byte)((pixel & 255) + white);
            }
        }
    }
}
