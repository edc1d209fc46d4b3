using VlmSharp.Media.Images;

namespace VlmSharp.Tiling;

/// <summary>When a tile shows nothing worth a question: white glass, black border, empty paper.</summary>
/// <remarks>
/// A tile is background if nearly all its pixels are near its own median colour, whatever that is. The default lets through
/// anything of 32 x 32 pixels in a tile of 1024 x 1024.
/// </remarks>
/// <param name="Tolerance">A pixel is near if red, green and blue each differ by at most this many levels of 255.</param>
/// <param name="MaxOther">Share of the pixels that may not be near.</param>
public sealed record BackgroundRule(int Tolerance = 16, double MaxOther = 0.001)
{
    /// <summary>Whether a tile is background.</summary>
    public bool IsBackground(RgbImage tile)
    {
        ArgumentNullException.ThrowIfNull(tile);
        ReadOnlySpan<byte> pixels = tile.Pixels;
        int count = pixels.Length / 3;
        Span<int> histograms = stackalloc int[3 * 256];
        for (int i = 0; i < pixels.Length; i += 3)
        {
            histograms[pixels[i]]++;
            histograms[256 + pixels[i + 1]]++;
            histograms[512 + pixels[i + 2]]++;
        }

        int red = Median(histograms[..256], count);
        int green = Median(histograms[256..512], count);
        int blue = Median(histograms[512..], count);
        int other = 0;
        for (int i = 0; i < pixels.Length; i += 3)
        {
            bool near =
                Math.Abs(pixels[i] - red) <= Tolerance
                && Math.Abs(pixels[i + 1] - green) <= Tolerance
                && Math.Abs(pixels[i + 2] - blue) <= Tolerance;
            other += near ? 0 : 1;
        }

        return other <= MaxOther * count;
    }

    static int Median(ReadOnlySpan<int> histogram, int count)
    {
        int below = 0;
        for (int value = 0; ; value++)
        {
            below += histogram[value];
            if (2L * below >= count)
            {
                return value;
            }
        }
    }
}
