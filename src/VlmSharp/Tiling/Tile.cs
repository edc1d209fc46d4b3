using VlmSharp.Grounding;
using VlmSharp.Media.Images;
using VlmSharp.Media.Images.Slides;

namespace VlmSharp.Tiling;

/// <summary>A rectangle of whole pixels of a picture.</summary>
/// <param name="X">Left edge.</param>
/// <param name="Y">Upper edge.</param>
/// <param name="Width">At least 1.</param>
/// <param name="Height">At least 1.</param>
public readonly record struct PixelArea(int X, int Y, int Width, int Height)
{
    /// <summary>The column behind the last.</summary>
    public int Right => X + Width;

    /// <summary>The row behind the last.</summary>
    public int Bottom => Y + Height;

    /// <summary>What both cover; null where they do not overlap.</summary>
    public PixelArea? Common(PixelArea other)
    {
        (int x, int y) = (Math.Max(X, other.X), Math.Max(Y, other.Y));
        (int width, int height) = (Math.Min(Right, other.Right) - x, Math.Min(Bottom, other.Bottom) - y);
        return width > 0 && height > 0 ? new(x, y, width, height) : null;
    }
}

/// <summary>Part of a picture as a model gets to see it.</summary>
/// <param name="Row">Of the grid of tiles, from 0.</param>
/// <param name="Column">Of the grid of tiles, from 0.</param>
/// <param name="Area">Where it is on the picture.</param>
/// <param name="Width">Pixels in a row of the tile, at most the area's.</param>
/// <param name="Height">Rows of the tile, at most the area's.</param>
public sealed record Tile(int Row, int Column, PixelArea Area, int Width, int Height)
{
    /// <summary>From pixels of the tile to pixels of the picture.</summary>
    public Mapping ToPicture => new(new(0, 0, Width, Height), new(Area.X, Area.Y, Area.Width, Area.Height));

    /// <summary>Which tile it is, for people and models: "row 2, column 3: x 1024-2048, y 0-1024".</summary>
    public string Position => $"row {Row + 1}, column {Column + 1}: x {Area.X}-{Area.Right}, y {Area.Y}-{Area.Bottom}";

    /// <summary>Reads its pixels.</summary>
    /// <param name="image">The picture.</param>
    /// <param name="cancellation">Ends the reading.</param>
    /// <exception cref="MediaException">They cannot be decoded.</exception>
    public RgbImage Read(LargeImage image, CancellationToken cancellation = default) =>
        image.ReadRegion(Area.X, Area.Y, Area.Width, Area.Height, Width, Height, cancellation);
}
