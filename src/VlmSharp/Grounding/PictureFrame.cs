namespace VlmSharp.Grounding;

/// <summary>What the numbers of a position count.</summary>
public enum CoordinateSpace
{
    /// <summary>Pixels of the picture as it was given, turned upright.</summary>
    OriginalPixels,

    /// <summary>Pixels of the picture as the model saw it: Qwen2.5-VL.</summary>
    ResizedPixels,

    /// <summary>Thousandths of width and height; 1000 is the far edge, 999 is not: Qwen-VL, Qwen2-VL, Qwen3-VL.</summary>
    Thousandths,
}

/// <summary>A picture's coordinate systems: what is needed to say where on it a model points.</summary>
/// <remarks>
/// Original means upright: <see cref="Media.Images.ImageDecoder"/> applies the EXIF orientation before anything else. Positions are
/// real numbers with 0 at the left or upper edge and the size at the other; the middle of the first pixel is at 0.5. For a part of
/// something bigger compose with a mapping of one's own: <c>frame.Map(Thousandths, OriginalPixels).Then(new(tile, placeOnSlide))</c>.
/// </remarks>
public sealed record PictureFrame
{
    /// <summary>The coordinate systems of a picture.</summary>
    /// <param name="originalWidth">Pixels, upright.</param>
    /// <param name="originalHeight">Pixels, upright.</param>
    /// <param name="resizedWidth">Pixels as the model saw it.</param>
    /// <param name="resizedHeight">Pixels as the model saw it.</param>
    /// <param name="picture">Which picture of the conversation, from 0.</param>
    /// <exception cref="ArgumentOutOfRangeException">A size below 1.</exception>
    public PictureFrame(int originalWidth, int originalHeight, int resizedWidth, int resizedHeight, int picture = 0)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(originalWidth, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(originalHeight, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(resizedWidth, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(resizedHeight, 1);
        ArgumentOutOfRangeException.ThrowIfNegative(picture);
        OriginalWidth = originalWidth;
        OriginalHeight = originalHeight;
        ResizedWidth = resizedWidth;
        ResizedHeight = resizedHeight;
        Picture = picture;
    }

    /// <summary>Pixels, upright.</summary>
    public int OriginalWidth { get; }

    /// <summary>Pixels, upright.</summary>
    public int OriginalHeight { get; }

    /// <summary>Pixels as the model saw it.</summary>
    public int ResizedWidth { get; }

    /// <summary>Pixels as the model saw it.</summary>
    public int ResizedHeight { get; }

    /// <summary>Which picture of the conversation, from 0.</summary>
    public int Picture { get; }

    /// <summary>The whole picture in a space.</summary>
    public Region Extent(CoordinateSpace space) =>
        space switch
        {
            CoordinateSpace.OriginalPixels => new(0, 0, OriginalWidth, OriginalHeight),
            CoordinateSpace.ResizedPixels => new(0, 0, ResizedWidth, ResizedHeight),
            CoordinateSpace.Thousandths => new(0, 0, 1000, 1000),
            _ => throw new ArgumentOutOfRangeException(nameof(space), space, "no such space"),
        };

    /// <summary>The mapping from one space to another; the other way round is its inverse.</summary>
    public Mapping Map(CoordinateSpace from, CoordinateSpace to) => new(Extent(from), Extent(to));

    /// <summary>How far, in original pixels along each axis, a position is off at most when its coordinates are rounded to integers of a space.</summary>
    /// <remarks>Half a unit: 2 pixels for thousandths of a picture 4000 wide, less than a third of one for a picture 640 wide.</remarks>
    public PointXY RoundingError(CoordinateSpace space)
    {
        Region units = Extent(space);
        return new(OriginalWidth / units.Width / 2, OriginalHeight / units.Height / 2);
    }

    /// <summary>The nearest position on the picture.</summary>
    /// <param name="point">In original pixels.</param>
    public PointXY Clip(PointXY point) =>
        // + 0.0 makes zero of minus zero.
        new(Math.Clamp(point.X, 0, OriginalWidth) + 0.0, Math.Clamp(point.Y, 0, OriginalHeight) + 0.0);
}
