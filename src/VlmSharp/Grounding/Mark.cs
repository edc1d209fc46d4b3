using VlmSharp.Media.Images;

namespace VlmSharp.Grounding;

/// <summary>What a mark is.</summary>
public enum MarkKind
{
    /// <summary>x, y, radius.</summary>
    Circle,

    /// <summary>x, y, x, y of two opposite corners.</summary>
    Box,

    /// <summary>x, y of the tail, x, y of the tip.</summary>
    Arrow,

    /// <summary>x, y.</summary>
    Point,

    /// <summary>x, y of the upper left corner, then words.</summary>
    Text,
}

/// <summary>Something drawn on a picture before a model sees it, so that a question can be about it.</summary>
/// <param name="Kind">What it is.</param>
/// <param name="Numbers">In original pixels, as <see cref="MarkKind"/> lists them.</param>
/// <param name="Colour">Of the lines.</param>
/// <param name="Label">Words beside it; of a text the text. Null where there are none.</param>
/// <param name="Written">How it was written, for errors.</param>
public sealed record Mark(MarkKind Kind, IReadOnlyList<double> Numbers, Colour Colour, string? Label, string Written)
{
    /// <summary>Positions beyond this are refused: no picture is so large.</summary>
    public const double MaxPosition = 1_000_000;

    static readonly (string Name, MarkKind Kind, int Numbers, string Form)[] Forms =
    [
        ("circle", MarkKind.Circle, 3, "circle x,y,radius"),
        ("box", MarkKind.Box, 4, "box x1,y1,x2,y2"),
        ("arrow", MarkKind.Arrow, 4, "arrow x1,y1,x2,y2"),
        ("point", MarkKind.Point, 2, "point x,y"),
        ("text", MarkKind.Text, 2, "text x,y,words"),
    ];

    /// <summary>Reads a mark.</summary>
    /// <remarks>
    /// <c>circle 120,80,40</c>, <c>box 10,20,300,200 blue</c>, <c>arrow 0,0,50,50 #00ff00 here</c>, <c>point 5,6 A</c>,
    /// <c>text 10,10,any words</c>: positions in pixels of the upright original, then a colour, then a label, both optional. All
    /// that follows the position of a text is the text, except <c>#rrggbb</c> at its end. The colour is red where none is given.
    /// </remarks>
    /// <param name="text">One mark.</param>
    /// <exception cref="FormatException">It is none; the message says what was expected.</exception>
    public static Mark Parse(string text)
    {
        ArgumentNullException.ThrowIfNull(text);
        string[] parts = text.Trim().Split(' ', 2, StringSplitOptions.TrimEntries);
        (string name, MarkKind kind, int count, string form) = Array.Find(
            Forms,
            f => f.Name.Equals(parts[0], StringComparison.OrdinalIgnoreCase)
        );
        if (name is null)
        {
            throw new FormatException(
                $"mark \"{text}\": a mark is one of {string.Join(", ", Forms.Select(f => $"\"{f.Form}\""))}, each with a colour and a label behind it if wanted"
            );
        }

        string rest = parts.Length > 1 ? parts[1] : "";
        double[] numbers = new double[count];
        for (int i = 0; i < count; i++)
        {
            // A number ends with a comma; the last one of other marks than text ends with a blank or the end.
            bool last = i == count - 1 && kind != MarkKind.Text;
            int end = last ? rest.IndexOf(' ') : rest.IndexOf(',');
            string word = end < 0 ? rest : rest[..end];
            if ((end < 0 && !last) || Decimals.Read(word.AsSpan().Trim()) is not { } number)
            {
                throw new FormatException(
                    $"mark \"{text}\": expected \"{form}\" with {count} numbers; number {i + 1} is {(word.Length > 0 ? $"\"{word}\"" : "missing")}"
                );
            }

            if (Math.Abs(number) > MaxPosition)
            {
                throw new FormatException(
                    $"mark \"{text}\": {word} is not a position in a picture, which is at most {MaxPosition:0} pixels wide and high"
                );
            }

            numbers[i] = number;
            rest = end < 0 ? "" : rest[(end + 1)..].TrimStart();
        }

        if (kind == MarkKind.Circle && !(numbers[2] > 0))
        {
            throw new FormatException($"mark \"{text}\": the radius of a circle is above 0, not {numbers[2]}");
        }

        (Colour colour, string label) = kind == MarkKind.Text ? SplitText(rest) : SplitLabel(rest);
        return kind == MarkKind.Text && label.Length == 0
            ? throw new FormatException($"mark \"{text}\": expected \"{form}\"; there are no words")
            : new(kind, numbers, colour, label.Length > 0 ? label : null, text);
    }

    static (Colour Colour, string Label) SplitLabel(string rest)
    {
        string[] words = rest.Split(' ', 2, StringSplitOptions.TrimEntries);
        return Colour.TryParse(words[0], out Colour colour)
            ? (colour, words.Length > 1 ? words[1] : "")
            : (Colour.Numbered(0), rest.Trim());
    }

    static (Colour Colour, string Label) SplitText(string rest)
    {
        int last = rest.TrimEnd().LastIndexOf(' ') + 1;
        string word = rest[last..].Trim();
        return word.StartsWith('#') && Colour.TryParse(word, out Colour colour)
            ? (colour, rest[..last].Trim())
            : (Colour.Numbered(0), rest.Trim());
    }
}

/// <summary>Draws marks on pictures.</summary>
public static class Marks
{
    /// <summary>Draws marks on a copy of a picture.</summary>
    /// <param name="image">The picture, upright; not changed.</param>
    /// <param name="marks">Later ones over earlier ones; labels over everything.</param>
    /// <exception cref="ArgumentException">A mark has no part inside the picture; it is named.</exception>
    /// <exception cref="MediaException">libvips is not on the machine, or cannot set text.</exception>
    public static RgbImage Draw(RgbImage image, IReadOnlyList<Mark> marks)
    {
        ArgumentNullException.ThrowIfNull(image);
        ArgumentNullException.ThrowIfNull(marks);
        Canvas canvas = new(image);
        double width = 2 * canvas.LineWidth; // to be noticed, not to show an edge exactly
        List<(Region Box, Mark Mark)> labels = [];
        foreach (Mark mark in marks)
        {
            Region box = Bounds(mark, width);
            if (box.X >= image.Width || box.Y >= image.Height || box.X + box.Width <= 0 || box.Y + box.Height <= 0)
            {
                throw new ArgumentException(
                    $"mark \"{mark.Written}\" lies outside the picture of {image.Width} x {image.Height} pixels",
                    nameof(marks)
                );
            }

            DrawShape(canvas, mark, width);
            if (mark.Label is not null)
            {
                labels.Add((box, mark));
            }
        }

        Plates plates = new(canvas);
        foreach ((Region box, Mark mark) in labels)
        {
            if (mark.Kind == MarkKind.Text)
            {
                plates.AddAt(new(box.X, box.Y), mark.Label!, mark.Colour);
            }
            else
            {
                plates.AddTo(box, mark.Label!, mark.Colour);
            }
        }

        return canvas.ToImage();
    }

    static void DrawShape(Canvas canvas, Mark mark, double width)
    {
        IReadOnlyList<double> n = mark.Numbers;
        switch (mark.Kind)
        {
            case MarkKind.Circle:
                canvas.StrokeCircle(new(n[0], n[1]), n[2], width, mark.Colour);
                break;
            case MarkKind.Box:
                canvas.StrokeRectangle(
                    new(Math.Min(n[0], n[2]), Math.Min(n[1], n[3]), Math.Abs(n[2] - n[0]), Math.Abs(n[3] - n[1])),
                    width,
                    mark.Colour
                );
                break;
            case MarkKind.Arrow:
                DrawArrow(canvas, new(n[0], n[1]), new(n[2], n[3]), width, mark.Colour);
                break;
            case MarkKind.Point:
                canvas.FillDisc(new(n[0], n[1]), width, mark.Colour);
                break;
        }
    }

    static void DrawArrow(Canvas canvas, PointXY tail, PointXY tip, double width, Colour colour)
    {
        (double dx, double dy) = (tip.X - tail.X, tip.Y - tail.Y);
        double length = Math.Sqrt((dx * dx) + (dy * dy));
        if (length <= 0)
        {
            canvas.FillDisc(tip, width, colour);
            return;
        }

        (dx, dy) = (dx / length, dy / length);
        double head = Math.Min(5 * width, length);
        PointXY neck = new(tip.X - (dx * head), tip.Y - (dy * head));
        canvas.Line(tail, neck, width, colour);
        double half = head / 2;
        canvas.FillTriangle(
            tip,
            new(neck.X - (dy * half), neck.Y + (dx * half)),
            new(neck.X + (dy * half), neck.Y - (dx * half)),
            colour
        );
    }

    static Region Bounds(Mark mark, double width)
    {
        IReadOnlyList<double> n = mark.Numbers;
        double room = mark.Kind switch
        {
            MarkKind.Circle => n[2] + (width / 2),
            MarkKind.Box => width / 2,
            MarkKind.Arrow or MarkKind.Point => width,
            _ => 0,
        };
        (double endX, double endY) = mark.Kind is MarkKind.Box or MarkKind.Arrow ? (n[2], n[3]) : (n[0], n[1]);
        return new(
            Math.Min(n[0], endX) - room,
            Math.Min(n[1], endY) - room,
            Math.Abs(endX - n[0]) + (2 * room),
            Math.Abs(endY - n[1]) + (2 * room)
        );
    }
}
