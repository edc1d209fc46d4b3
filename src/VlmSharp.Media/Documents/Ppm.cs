using VlmSharp.Media.Images;

namespace VlmSharp.Media.Documents;

/// <summary>Binary PPM as pdftoppm writes it: <c>P6</c>, width, height, 255, pixels.</summary>
static class Ppm
{
    /// <summary>Reads one picture.</summary>
    /// <param name="stream">Read no further than the last pixel.</param>
    /// <param name="maxWidth">More is taken for a damaged header.</param>
    /// <param name="maxHeight">More is taken for a damaged header.</param>
    /// <returns>Null where there is no picture, or no whole one.</returns>
    internal static RgbImage? Read(Stream stream, long maxWidth, long maxHeight)
    {
        if (
            stream.ReadByte() != 'P'
            || stream.ReadByte() != '6'
            || Number(stream, eatBlank: true) is not { } width
            || Number(stream) is not { } height
            || Number(stream) is not 255
            || width < 1
            || height < 1
            || width > maxWidth
            || height > maxHeight
        )
        {
            return null;
        }

        byte[] pixels = GC.AllocateUninitializedArray<byte>(checked(3 * width * height));
        return stream.ReadAtLeast(pixels, pixels.Length, throwOnEndOfStream: false) == pixels.Length
            ? new RgbImage(width, height, pixels)
            : null;
    }

    /// <summary>A number and the one blank that ends it.</summary>
    static int? Number(Stream stream, bool eatBlank = false)
    {
        if (eatBlank && stream.ReadByte() is not (' ' or '\n'))
        {
            return null;
        }

        int number = 0;
        for (int digits = 0; ; digits++)
        {
            int c = stream.ReadByte();
            if (c is ' ' or '\n')
            {
                return digits > 0 ? number : null;
            }

            if (c is < '0' or > '9' || digits == 9)
            {
                return null;
            }

            number = 10 * number + (c - '0');
        }
    }
}
