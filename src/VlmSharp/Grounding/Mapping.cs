namespace VlmSharp.Grounding;

/// <summary>A position; which unit and origin it has is said by what it comes from.</summary>
public readonly record struct PointXY(double X, double Y);

/// <summary>A rectangle. Negative sizes turn an axis around: the y axis of PDF pages points up.</summary>
/// <param name="X">The edge where coordinates begin.</param>
/// <param name="Y">The edge where coordinates begin.</param>
/// <param name="Width">Not 0.</param>
/// <param name="Height">Not 0.</param>
public readonly record struct Region(double X, double Y, double Width, double Height);

/// <summary>Carries points from one coordinate system to another: scaled and moved along each axis, never turned.</summary>
/// <remarks>
/// Kept as two views of the same rectangle, not as factors: x' = (x - from.X) / from.Width * to.Width + to.X. So an edge goes to
/// the edge exactly, the inverse is the same pair the other way round, and the published formulas (x / 1000 * width) come out
/// operation by operation. Mappings compose: a picture may be a tile of a slide that is a page of a document.
/// </remarks>
/// <param name="From">The rectangle in the system of what goes in.</param>
/// <param name="To">The same rectangle in the system of what comes out.</param>
public readonly record struct Mapping(Region From, Region To)
{
    /// <summary>The way back.</summary>
    public Mapping Inverse => new(To, From);

    /// <summary>A position in the other system; not clipped.</summary>
    public PointXY Apply(PointXY point) =>
        new(((point.X - From.X) / From.Width * To.Width) + To.X, ((point.Y - From.Y) / From.Height * To.Height) + To.Y);

    /// <summary>A rectangle in the other system.</summary>
    public Region Apply(Region region)
    {
        PointXY first = Apply(new PointXY(region.X, region.Y));
        PointXY last = Apply(new PointXY(region.X + region.Width, region.Y + region.Height));
        return new(first.X, first.Y, last.X - first.X, last.Y - first.Y);
    }

    /// <summary>x, y, x, y, ... in the other system.</summary>
    public double[] Apply(ReadOnlySpan<double> coordinates)
    {
        if (coordinates.Length % 2 != 0)
        {
            throw new ArgumentException($"{coordinates.Length} numbers are not pairs of x and y", nameof(coordinates));
        }

        double[] mapped = new double[coordinates.Length];
        for (int i = 0; i < mapped.Length; i += 2)
        {
            (mapped[i], mapped[i + 1]) = Apply(new PointXY(coordinates[i], coordinates[i + 1]));
        }

        return mapped;
    }

    /// <summary>First this mapping, then another.</summary>
    public Mapping Then(Mapping next) => new(From, next.Apply(To));

    /// <summary>Both views of the rectangle.</summary>
    public override string ToString() => $"{From} -> {To}";
}
