using VlmSharp.Media.Images;

namespace VlmSharp.Media.Documents;

/// <summary>A page as readers see it: cropped and turned.</summary>
/// <param name="Number">Counted from 1.</param>
/// <param name="Width">In points (1/72 inch), from left to right of the turned page.</param>
/// <param name="Height">In points, from top to bottom of the turned page.</param>
/// <remarks>The page of a picture has one point for each pixel: what files say about their resolution is mostly made up.</remarks>
public sealed record DocumentPage(int Number, double Width, double Height);

/// <summary>A page drawn. Its left upper corner is that of the page; pixels are square.</summary>
/// <param name="Page">The page.</param>
/// <param name="Image">Its pixels.</param>
/// <param name="Dpi">Pixels for each 72 points, exactly; the last row and column may reach over the page's edge.</param>
public sealed record PageImage(DocumentPage Page, RgbImage Image, double Dpi)
{
    /// <summary>A length or coordinate in pixels of <see cref="Image"/>, in points.</summary>
    public double ToPoints(double pixels) => pixels * PageResolution.PointsPerInch / Dpi;

    /// <summary>A length or coordinate in points, in pixels of <see cref="Image"/>.</summary>
    public double ToPixels(double points) => points * Dpi / PageResolution.PointsPerInch;
}

/// <summary>A word of a page's own text.</summary>
/// <param name="Text">As the file says it.</param>
/// <param name="Left">In points of the page as readers see it, from its left edge.</param>
/// <param name="Top">In points, from its upper edge.</param>
/// <param name="Right">In points.</param>
/// <param name="Bottom">In points.</param>
public sealed record PageWord(string Text, double Left, double Top, double Right, double Bottom);
