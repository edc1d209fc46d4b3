using VlmSharp.Grounding;

namespace VlmSharp.Documents;

/// <summary>Where a model's numbers are on a page, and what had to be mended.</summary>
/// <param name="toPoints">From the space of the model's numbers to points of the page.</param>
/// <param name="width">Of the page, in points.</param>
/// <param name="height">Of the page, in points.</param>
sealed class PageFrame(Mapping toPoints, double width, double height)
{
    readonly List<string> warnings = [];
    int malformed;
    int outside;
    string? example;

    /// <summary>Adds a warning, each once.</summary>
    internal void Warn(string warning)
    {
        if (!warnings.Contains(warning))
        {
            warnings.Add(warning);
        }
    }

    /// <summary>All warnings so far; boxes are counted, not listed.</summary>
    internal IReadOnlyList<string> Warnings =>
        [
            .. warnings,
            .. malformed > 0
                ? [$"boxes that cannot be read were left out: {malformed}, such as '{example}'"]
                : (string[])[],
            .. outside > 0 ? [$"boxes that reach beyond the page were cut: {outside}"] : (string[])[],
        ];

    /// <summary>Reads <c>x1 y1 x2 y2</c>, with blanks or commas between; of a polygon the box around it.</summary>
    /// <returns>In points on the page; null where it cannot be read, and counted.</returns>
    internal PageBox? Box(string text, bool polygon = false)
    {
        string[] parts = text.Split([' ', ',', '\t', '\n', '(', ')', '[', ']'], StringSplitOptions.RemoveEmptyEntries);
        double[] numbers = new double[parts.Length];
        bool read = polygon ? parts.Length >= 6 && parts.Length % 2 == 0 : parts.Length == 4;
        for (int i = 0; read && i < parts.Length; i++)
        {
            double? number = Decimals.Read(parts[i]);
            read = number is > -1e9 and < 1e9;
            numbers[i] = number ?? 0;
        }

        if (!read)
        {
            malformed++;
            example ??= text.Length <= 40 ? text : text[..40] + "...";
            return null;
        }

        double[] points = toPoints.Apply(numbers);
        PageBox box = new(double.MaxValue, double.MaxValue, double.MinValue, double.MinValue);
        for (int i = 0; i < points.Length; i += 2)
        {
            box = box.Union(new(points[i], points[i + 1], points[i], points[i + 1]));
        }

        PageBox clipped = new(
            Math.Clamp(box.Left, 0, width),
            Math.Clamp(box.Top, 0, height),
            Math.Clamp(box.Right, 0, width),
            Math.Clamp(box.Bottom, 0, height)
        );
        // The last row and column of a page's picture may reach over its edge by a part of a pixel.
        double tolerance =
            1.5 * Math.Max(toPoints.To.Width / toPoints.From.Width, toPoints.To.Height / toPoints.From.Height);
        if (
            box.Left < -tolerance
            || box.Top < -tolerance
            || box.Right > width + tolerance
            || box.Bottom > height + tolerance
        )
        {
            outside++;
        }

        return clipped;
    }
}
