namespace VlmSharp.Media.Documents;

/// <summary>How finely a page is drawn: as wished, but with no more pixels than somebody will look at.</summary>
/// <param name="Dpi">Pixels per inch at most.</param>
/// <param name="MaxPixels">Pixels of the whole page at most.</param>
public readonly record struct PageResolution(double Dpi, long MaxPixels)
{
    /// <summary>The unit of a page's sizes.</summary>
    public const double PointsPerInch = 72;

    /// <summary>What scanners use for text; more shows no more of it.</summary>
    public const double Fine = 300;

    /// <summary>The resolution at which both limits hold.</summary>
    public double For(DocumentPage page)
    {
        ArgumentNullException.ThrowIfNull(page);
        double dpi = Math.Min(Dpi, PointsPerInch * Math.Sqrt(MaxPixels / (page.Width * page.Height)));
        (long width, long height) = Size(page, dpi);
        // Sides are rounded up to whole pixels, which matters for tiny budgets only.
        while (width * height > MaxPixels && width * height > 1)
        {
            dpi *= 0.999;
            (width, height) = Size(page, dpi);
        }

        return dpi;
    }

    /// <summary>Pixels of a page, each begun one counted.</summary>
    public static (long Width, long Height) Size(DocumentPage page, double dpi)
    {
        ArgumentNullException.ThrowIfNull(page);
        return (Side(page.Width), Side(page.Height));

        long Side(double points) => (long)Math.Clamp(Math.Ceiling(points * dpi / PointsPerInch), 1, int.MaxValue);
    }
}
