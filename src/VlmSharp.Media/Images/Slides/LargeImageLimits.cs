namespace VlmSharp.Media.Images.Slides;

/// <summary>What <see cref="LargeImage"/> accepts from people one does not know.</summary>
/// <param name="MaxPixels">Width times height of a picture whose parts can be read alone.</param>
/// <param name="MaxSpooledPixels">Width times height of one that has to be decoded from its beginning: three bytes of temporary disk space each.</param>
/// <param name="MaxStoredTilePixels">Width times height of a tile as the file stores it: the least that can be decoded.</param>
/// <param name="MaxRegionPixels">Width times height of what one call returns.</param>
/// <param name="MaxDecodedPixels">Stored pixels that one call decodes at most: a file without smaller levels makes an overview expensive.</param>
public sealed record LargeImageLimits(
    long MaxPixels,
    long MaxSpooledPixels,
    long MaxStoredTilePixels,
    long MaxRegionPixels,
    long MaxDecodedPixels
)
{
    /// <summary>
    /// 2^40 pixels (a million by a million), 2^31 that go through the disk (6.4 GB), stored tiles of 4096 x 4096, regions of
    /// 8192 x 8192 (201 MB), 2^33 decoded in one call (some minutes).
    /// </summary>
    public static LargeImageLimits Default { get; } = new(1L << 40, 1L << 31, 1L << 24, 1L << 26, 1L << 33);

    internal void CheckSize(string name, long width, long height)
    {
        if (width < 1 || height < 1 || width > int.MaxValue || height > int.MaxValue || width > MaxPixels / height)
        {
            throw new MediaException(
                name,
                $"{width} x {height} pixels, at least 1 and at most {MaxPixels} in all are accepted ({nameof(LargeImageLimits)}.{nameof(MaxPixels)})"
            );
        }
    }

    internal void CheckSpool(string name, string format, long width, long height)
    {
        if (width > MaxSpooledPixels / height)
        {
            throw new MediaException(
                name,
                $"{width} x {height} pixels in a {format} that can only be decoded as a whole, at most {MaxSpooledPixels} in all are accepted ({nameof(LargeImageLimits)}.{nameof(MaxSpooledPixels)}); convert it to a tiled TIFF with smaller levels: vips tiffsave IN OUT.tif --tile --pyramid --bigtiff --compression jpeg"
            );
        }
    }

    internal void CheckStoredTile(string name, long width, long height)
    {
        if (width < 1 || height < 1 || width > MaxStoredTilePixels / height)
        {
            throw new MediaException(
                name,
                $"tiles of {width} x {height} pixels, at least 1 and at most {MaxStoredTilePixels} in all are accepted ({nameof(LargeImageLimits)}.{nameof(MaxStoredTilePixels)})"
            );
        }
    }

    internal void CheckDecoded(string name, long width, long height)
    {
        if (width > MaxDecodedPixels / height)
        {
            throw new MediaException(
                name,
                $"{width} x {height} stored pixels have to be decoded for this part, at most {MaxDecodedPixels} are accepted ({nameof(LargeImageLimits)}.{nameof(MaxDecodedPixels)}); the file has no smaller level that would do: convert it to a pyramidal TIFF"
            );
        }
    }
}
