using VlmSharp.Media.Images.Vips;

namespace VlmSharp.Media.Images.Slides;

/// <summary>A TIFF whose pictures are stored in tiles, read tile by tile through libvips.</summary>
/// <remarks>
/// Levels are the smaller copies in the file: further pages marked as such, or directories below the first. Pages that are
/// pictures of their own are none. A level is opened anew for each region, so that the tiles libvips keeps for it (two rows of
/// them at most) go when the region is read.
/// </remarks>
internal sealed class TiledTiffSource : LevelSource
{
    // A level in strips is decoded as a whole, so it must be small: the last ones of some writers are.
    const long MaxUntiledPixels = 1 << 22;

    readonly string path;
    readonly string[] options;
    readonly TiffDirectory[] directories;

    internal TiledTiffSource(string path, IReadOnlyList<TiffDirectory> chain, LargeImageLimits limits)
    {
        this.path = path;
        TiffDirectory full = chain[0];
        limits.CheckSize(path, full.Width, full.Height);
        (int width, int height) = ((int)full.Width, (int)full.Height);
        List<(TiffDirectory Directory, string Option)> found = [(full, "page=0")];
        IEnumerable<(TiffDirectory Directory, string Option)> others =
        [
            .. chain.Skip(1).Select((d, i) => (d, $"page={i + 1}")).Where(d => d.d.Kind == 1),
            .. full.Children.Select((d, i) => (d, $"page=0,subifd={i}")),
        ];
        foreach ((TiffDirectory directory, string option) in others.OrderByDescending(o => o.Directory.Width))
        {
            bool smaller =
                directory.Width is > 0 and <= int.MaxValue
                && directory.Height is > 0 and <= int.MaxValue
                && directory.Width < found[^1].Directory.Width
                && PyramidLevel.IsSmallerCopy((int)directory.Width, (int)directory.Height, width, height);
            if (smaller && (directory.IsTiled || directory.Width * directory.Height <= MaxUntiledPixels))
            {
                found.Add((directory, option));
            }
        }

        foreach ((TiffDirectory directory, _) in found.Where(f => f.Directory.IsTiled))
        {
            limits.CheckStoredTile(path, directory.TileWidth, directory.TileHeight);
        }

        directories = [.. found.Select(f => f.Directory)];
        options = [.. found.Select(f => f.Option)];
        Levels = [.. directories.Select(d => PyramidLevel.Of((int)d.Width, (int)d.Height, width, height))];
        // Says now whether there is a rule for these pixels.
        Open(0, default).Dispose();
    }

    internal override string Format => "TIFF";

    internal override IReadOnlyList<PyramidLevel> Levels { get; }

    internal override int Orientation => directories[0].Orientation;

    internal override double? MicronsPerPixel => directories[0].MicronsPerPixel;

    internal override bool HasRandomAccess => true;

    internal override LevelReader Open(int level, CancellationToken cancellation)
    {
        VipsImage image =
            VipsImage.OpenFile("tiffload_source", path, $"{options[level]},fail_on=error")
            ?? throw Damaged("has a header that cannot be read");
        if ((image.Width, image.Height) != (Levels[level].Width, Levels[level].Height))
        {
            using (image)
            {
                throw Damaged(
                    $"holds {image.Width} x {image.Height} pixels where {Levels[level].Width} x {Levels[level].Height} were announced"
                );
            }
        }

        return new Reader(this, image, directories[level]);
    }

    MediaException Damaged(string what) => new(path, $"this TIFF {what} (libvips: {VipsLibrary.TakeError()})");

    sealed class Reader : LevelReader
    {
        // Whole tiles, about this many pixels a side: few calls, little memory.
        const int Side = 1024;

        readonly TiledTiffSource owner;
        readonly VipsImage image;
        readonly VipsRows rows;
        readonly PixelConverter converter;

        internal Reader(TiledTiffSource owner, VipsImage image, TiffDirectory directory)
        {
            this.owner = owner;
            this.image = image;
            rows = new VipsRows(image);
            try
            {
                converter = PixelConverter.For(image, owner.path);
            }
            catch
            {
                Dispose();
                throw;
            }

            Block = directory.IsTiled
                ? (Multiple((int)directory.TileWidth), Multiple((int)directory.TileHeight))
                : (Side, Side);
        }

        internal override (int Width, int Height) Block { get; }

        static int Multiple(int tile) => tile * Math.Max(1, Side / tile);

        internal override void Read(int x, int y, int width, int height, Span<byte> rgb)
        {
            if (!rows.TryRead(x, y, width, height, out ReadOnlySpan<byte> samples))
            {
                throw owner.Damaged($"cannot be decoded at x {x} to {x + width}, y {y} to {y + height}");
            }

            converter.Convert(samples, rgb);
        }

        public override void Dispose()
        {
            rows.Dispose();
            image.Dispose();
            base.Dispose();
        }
    }
}
