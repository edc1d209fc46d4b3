using VlmSharp.Datasets;
using VlmSharp.Grounding;
using VlmSharp.Text;

namespace VlmSharp.Evaluation;

/// <summary>An answer beside the one that was expected.</summary>
/// <param name="Name">Of the example.</param>
/// <param name="Task">Of the example.</param>
/// <param name="Expected">What the data says.</param>
/// <param name="Answer">What the model wrote.</param>
/// <param name="Right">Whether the two are equal, or every place was found and nothing else.</param>
/// <param name="Score">
/// Of texts 1 - edit distance / length of the longer one; of places the mean intersection over union of those that belong together, points counting 1
/// where they are found and 0 elsewhere.
/// </param>
public sealed record Judgement(string Name, string Task, string Expected, string Answer, bool Right, double Score)
{
    /// <summary>Boxes are found that have at least this intersection over union.</summary>
    public const double EnoughOverlap = 0.5;

    /// <summary>Points are found that are at most this share of the picture's diagonal away, or boxes with the point in them.</summary>
    public const double EnoughNearness = 0.05;

    /// <summary>Judges an answer.</summary>
    /// <param name="example">Its last turn is the answer that is expected.</param>
    /// <param name="answer">The model's.</param>
    /// <param name="dialect">How the model writes where things are.</param>
    /// <param name="frames">The pictures of the example.</param>
    public static Judgement Of(
        Example example,
        string answer,
        GroundingDialect dialect,
        IReadOnlyList<PictureFrame> frames
    )
    {
        IReadOnlyList<ExamplePart> parts = example.Messages[^1].Content;
        BoxPart[] places = [.. parts.OfType<BoxPart>()];
        if (places.Length == 0)
        {
            string expected = Plain(string.Concat(parts.Select(Text)));
            string given = Plain(answer);
            bool equal = given == expected;
            return new(example.Name, example.Task, expected, given, equal, EditDistance.Similarity(given, expected));
        }

        PictureFrame frame = frames[places[0].Image];
        IReadOnlyList<GroundedItem> items = GroundingParser.Parse(answer, dialect, frame).Items;
        double[] found = Match(places, items, frame);
        return new(
            example.Name,
            example.Task,
            string.Concat(parts.Select(Text)),
            answer,
            items.Count == places.Length && Array.TrueForAll(found, overlap => overlap >= EnoughOverlap),
            found.Average()
        );
    }

    static string Text(ExamplePart part) =>
        part switch
        {
            TextPart text => text.Text,
            ReferencePart reference => reference.Text,
            BoxPart box => $"[{string.Join(", ", box.Coordinates.Select(x => Math.Round(x)))}]",
            _ => "",
        };

    // Runs of white space are one space.
    static string Plain(string text) =>
        string.Join(' ', text.Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries));

    // Of each place how well the item that fits it best among those that are left covers it; best pairs first.
    static double[] Match(BoxPart[] places, IReadOnlyList<GroundedItem> items, PictureFrame frame)
    {
        double[] best = new double[places.Length];
        HashSet<int> open = [.. Enumerable.Range(0, places.Length)];
        HashSet<int> free = [.. Enumerable.Range(0, items.Count)];
        foreach (
            (int place, int item, double fit) in places
                .SelectMany((p, i) => items.Select((q, j) => (i, j, Fit: Fit(p.Coordinates, q, frame))))
                .OrderByDescending(pair => pair.Fit)
        )
        {
            if (open.Contains(place) && free.Contains(item))
            {
                best[place] = fit;
                open.Remove(place);
                free.Remove(item);
            }
        }

        return best;
    }

    static double Fit(IReadOnlyList<double> place, GroundedItem item, PictureFrame frame)
    {
        (double left, double right) = (item.Corners.Min(c => c.X), item.Corners.Max(c => c.X));
        (double top, double bottom) = (item.Corners.Min(c => c.Y), item.Corners.Max(c => c.Y));
        if (place.Count == 2)
        {
            (double x, double y) = (place[0], place[1]);
            bool inside = item.Kind != GroundedKind.Point && x >= left && x <= right && y >= top && y <= bottom;
            Region extent = frame.Extent(CoordinateSpace.OriginalPixels);
            double away = Math.Sqrt(Square(x - ((left + right) / 2)) + Square(y - ((top + bottom) / 2)));
            double most = EnoughNearness * Math.Sqrt(Square(extent.Width) + Square(extent.Height));
            return inside || away <= most ? 1 : 0;
        }

        double width = Math.Min(right, place[2]) - Math.Max(left, place[0]);
        double height = Math.Min(bottom, place[3]) - Math.Max(top, place[1]);
        double shared = Math.Max(0, width) * Math.Max(0, height);
        double area = (place[2] - place[0]) * (place[3] - place[1]);
        double all = ((right - left) * (bottom - top)) + area - shared;
        return all > 0 ? shared / all : 0;
    }

    static double Square(double x) => x * x;
}
