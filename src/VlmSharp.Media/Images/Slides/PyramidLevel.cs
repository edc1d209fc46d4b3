namespace VlmSharp.Media.Images.Slides;

/// <summary>A picture as it is stored at one size.</summary>
/// <param name="Width">Pixels in a row.</param>
/// <param name="Height">Rows.</param>
/// <param name="DownsampleX">Pixels of the full picture to one of this level; 1 for the full picture itself.</param>
/// <param name="DownsampleY">The same for rows.</param>
public readonly record struct PyramidLevel(int Width, int Height, double DownsampleX, double DownsampleY)
{
    /// <summary>A level whose factor the file does not say.</summary>
    /// <remarks>
    /// Writers halve sizes and drop or add the odd pixel, so the factor is the whole number that gives both sizes rounded up or
    /// down; where there is none, the sizes' ratios.
    /// </remarks>
    internal static PyramidLevel Of(int width, int height, int fullWidth, int fullHeight)
    {
        double factor = Math.Round(Math.Max((double)fullWidth / width, (double)fullHeight / height));
        for (double k = Math.Max(1, factor - 1); k <= factor + 1; k++)
        {
            if (Gives(fullWidth, k, width) && Gives(fullHeight, k, height))
            {
                return new(width, height, k, k);
            }
        }

        return new(width, height, (double)fullWidth / width, (double)fullHeight / height);

        static bool Gives(int full, double factor, int size) => Math.Abs((full / factor) - size) < 1;
    }

    /// <summary>Whether a picture of this size can be a smaller copy of another: sides shrunk alike but for rounding.</summary>
    internal static bool IsSmallerCopy(int width, int height, int fullWidth, int fullHeight) =>
        width < fullWidth
        && height <= fullHeight
        // Repeated rounding loses up to two pixels of a side.
        && Math.Abs(width - ((double)fullWidth * height / fullHeight)) <= 2 + (2.0 * fullWidth / fullHeight);
}
