using VlmSharp.Media.Images.Vips;

namespace VlmSharp.Media.Images;

/// <summary>Writes pictures: drawings on them, caches, test pictures.</summary>
public static class ImageEncoder
{
    /// <summary>A PNG of 8-bit RGB; decoding it gives the same pixels.</summary>
    /// <param name="image">The picture.</param>
    /// <exception cref="MediaException">libvips is not on the machine.</exception>
    public static byte[] Png(RgbImage image) => Encode(image, "pngsave_buffer", "compression=6");

    /// <summary>A baseline JPEG, 4:2:0 up to quality 89 and 4:4:4 from 90 on.</summary>
    /// <param name="image">The picture, at most 65535 pixels wide and high.</param>
    /// <param name="quality">1 to 100.</param>
    /// <exception cref="MediaException">libvips is not on the machine, or the picture is too large for the format.</exception>
    public static byte[] Jpeg(RgbImage image, int quality = 90)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(quality, 1);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(quality, 100);
        return Encode(image, "jpegsave_buffer", $"Q={quality}");
    }

    static byte[] Encode(RgbImage image, string saver, string options)
    {
        ArgumentNullException.ThrowIfNull(image);
        using VipsImage vips = VipsImage.FromPixels(image.Pixels, image.Width, image.Height, bands: 3);
        return vips.Save(saver, options)
            ?? throw new MediaException(
                $"a picture of {image.Width} x {image.Height} pixels",
                $"cannot be written as {(saver.StartsWith("png", StringComparison.Ordinal) ? "PNG" : "JPEG")} (libvips: {VipsLibrary.TakeError()})"
            );
    }
}
