namespace VlmSharp.Grounding;

/// <summary>What an item is.</summary>
public enum GroundedKind
{
    /// <summary>x, y of the upper left corner, x, y of the lower right one.</summary>
    Box,

    /// <summary>x, y.</summary>
    Point,

    /// <summary>Four corners in the order they were given.</summary>
    Quad,

    /// <summary>Three corners or more in the order they were given.</summary>
    Polygon,
}

/// <summary>Something an answer points at.</summary>
/// <param name="Label">What it is called; null where no name was given.</param>
/// <param name="Kind">Its shape.</param>
/// <param name="Coordinates">x, y, x, y, ... in original pixels, on the picture.</param>
/// <param name="Range">Where in the answer it stands.</param>
/// <param name="CoordinateRange">Where in the answer its coordinates stand, from the first digit to the last.</param>
/// <param name="Score">The geometric mean probability of the tokens that spell the coordinates; null where it is not known.</param>
public sealed record GroundedItem(
    string? Label,
    GroundedKind Kind,
    IReadOnlyList<double> Coordinates,
    TextRange Range,
    TextRange CoordinateRange,
    double? Score = null
)
{
    /// <summary>Corners, or the point itself; of a box all four, clockwise from the upper left.</summary>
    public IReadOnlyList<PointXY> Corners =>
        Kind == GroundedKind.Box
            ?
            [
                new(Coordinates[0], Coordinates[1]),
                new(Coordinates[2], Coordinates[1]),
                new(Coordinates[2], Coordinates[3]),
                new(Coordinates[0], Coordinates[3]),
            ]
            :
            [
                .. Enumerable
                    .Range(0, Coordinates.Count / 2)
                    .Select(i => new PointXY(Coordinates[2 * i], Coordinates[(2 * i) + 1])),
            ];

    /// <summary>The same item in other coordinates: those of a slide, a page.</summary>
    public GroundedItem Through(Mapping mapping)
    {
        double[] mapped = mapping.Apply([.. Coordinates]);
        if (Kind == GroundedKind.Box)
        {
            GroundedItem.Order(mapped);
        }

        return this with
        {
            Coordinates = mapped,
        };
    }

    /// <summary>Puts the corners of a box in order.</summary>
    internal static void Order(Span<double> box)
    {
        (box[0], box[2]) = (Math.Min(box[0], box[2]), Math.Max(box[0], box[2]));
        (box[1], box[3]) = (Math.Min(box[1], box[3]), Math.Max(box[1], box[3]));
    }
}

/// <summary>Whether all that an answer points at could be read.</summary>
public enum GroundingError
{
    /// <summary>All was read; possibly there was nothing.</summary>
    None,

    /// <summary>The answer ends inside an item or list. What was complete before is there.</summary>
    Truncated,

    /// <summary>At least one item could not be read and was left out; the others are there.</summary>
    Malformed,
}

/// <summary>All that an answer points at.</summary>
/// <param name="Items">In the order of the text.</param>
/// <param name="Error">Whether something is missing; an answer that is both cut off and malformed counts as cut off.</param>
/// <param name="Frame">The picture.</param>
public sealed record GroundingResult(IReadOnlyList<GroundedItem> Items, GroundingError Error, PictureFrame Frame);
