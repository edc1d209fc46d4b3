namespace VlmSharp.Media.Images.Vips;

/// <summary>Reads the pixels of an image from top to bottom, some rows at a time, in the calling thread.</summary>
/// <remarks>
/// Loaders are opened for sequential access: rows are asked for in ascending order and once. The decoder therefore never holds
/// more than a few rows, except where the format needs the whole picture (interlaced PNG, progressive JPEG, WebP, HEIF).
/// </remarks>
internal sealed unsafe class VipsRows : IDisposable
{
    readonly VipsImage image;
    readonly int width;
    readonly nint region;
    byte* rows;

    internal VipsRows(VipsImage image)
    {
        this.image = image;
        width = image.Width;
        region = Native.vips_region_new(image);
    }

    /// <summary>The next rows: [count, width, bands] samples in the machine's byte order.</summary>
    /// <param name="top">The first row.</param>
    /// <param name="count">How many.</param>
    /// <param name="samples">Valid until the next call or until disposal.</param>
    /// <returns>False if they cannot be decoded; <see cref="VipsLibrary.TakeError"/> says why.</returns>
    internal bool TryRead(int top, int count, out ReadOnlySpan<byte> samples) =>
        TryRead(0, top, width, count, out samples);

    /// <summary>Part of some rows: [height, width, bands] samples in the machine's byte order. Any order where the image was opened for random access.</summary>
    /// <param name="left">The first column.</param>
    /// <param name="top">The first row.</param>
    /// <param name="width">Columns.</param>
    /// <param name="height">Rows.</param>
    /// <param name="samples">Valid until the next call or until disposal.</param>
    /// <returns>False if they cannot be decoded; <see cref="VipsLibrary.TakeError"/> says why.</returns>
    internal bool TryRead(int left, int top, int width, int height, out ReadOnlySpan<byte> samples)
    {
        Native.g_free(rows);
        rows = region == 0 ? null : Native.vips_region_fetch(region, left, top, width, height, out _);
        samples = default;
        if (rows is null)
        {
            return false;
        }

        int bytes = checked(width * height * image.Bands * (image.Format == VipsFormat.UInt8 ? 1 : 2));
        samples = new(rows, bytes);
        return true;
    }

    public void Dispose()
    {
        Native.g_free(rows);
        rows = null;
        if (region != 0)
        {
            Native.g_object_unref(region);
        }
    }
}
