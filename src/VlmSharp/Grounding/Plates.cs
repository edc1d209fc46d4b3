using VlmSharp.Media.Images;

namespace VlmSharp.Grounding;

/// <summary>Puts labels on a picture: letters on a plate of their own, inside the picture, and where possible not on another one.</summary>
/// <param name="canvas">Drawn on.</param>
sealed class Plates(Canvas canvas)
{
    // More than this are not kept apart; nobody could read them anyway.
    const int MaxApart = 1000;

    readonly List<Region> taken = [];
    readonly Dictionary<string, TextImage?> set = [];

    /// <summary>Font size that suits the picture, in pixels.</summary>
    int FontSize => (int)Math.Clamp(Math.Round(Math.Min(canvas.Width, canvas.Height) / 30.0), 11, 200);

    int Padding => Math.Max(2, FontSize / 4);

    /// <summary>Draws a label at a box: above it if there is room, else inside, below or beside it.</summary>
    /// <param name="box">What is labelled; of a point its disc.</param>
    /// <param name="label">Untrusted. Nothing is drawn where it is blank, or the picture too small for a letter.</param>
    /// <param name="colour">Of the plate; the letters stand out from it.</param>
    internal void AddTo(Region box, string label, Colour colour)
    {
        if (Set(label) is not { } text)
        {
            return;
        }

        (int width, int height) = Size(text);
        (double x, double y)[] places =
        [
            (box.X, box.Y - height),
            (box.X, box.Y),
            (box.X, box.Y + box.Height),
            (box.X + box.Width, box.Y),
            (box.X - width, box.Y),
            (box.X + box.Width - width, box.Y + box.Height - height),
        ];
        Region[] plates = [.. places.Skip(box.Y < height ? 1 : 0).Select(p => Place(text, p.x, p.y))];
        int free = Array.FindIndex(plates, plate => !taken.Exists(other => Overlap(plate, other)));
        Draw(text, plates[Math.Max(0, free)], colour);
    }

    /// <summary>Draws a label with its upper left corner at a position, or as near as the picture allows.</summary>
    /// <param name="corner">In pixels.</param>
    /// <param name="label">As <see cref="AddTo"/>.</param>
    /// <param name="colour">As <see cref="AddTo"/>.</param>
    internal void AddAt(PointXY corner, string label, Colour colour)
    {
        if (Set(label) is { } text)
        {
            Draw(text, Place(text, corner.X, corner.Y), colour);
        }
    }

    TextImage? Set(string label)
    {
        if (!set.TryGetValue(label, out TextImage? text))
        {
            text = TextImage.Render(label, FontSize, canvas.Width - (2 * Padding));
            set[label] = text = text is not null && Size(text).Height <= canvas.Height ? text : null;
        }

        return text;
    }

    (int Width, int Height) Size(TextImage text) => (text.Width + (2 * Padding), text.Height + (2 * Padding));

    Region Place(TextImage text, double x, double y)
    {
        (int width, int height) = Size(text);
        return new(
            Math.Clamp(Math.Round(x), 0, canvas.Width - width),
            Math.Clamp(Math.Round(y), 0, canvas.Height - height),
            width,
            height
        );
    }

    void Draw(TextImage text, Region plate, Colour colour)
    {
        if (taken.Count < MaxApart)
        {
            taken.Add(plate);
        }

        canvas.FillRectangle(plate, colour);
        canvas.Text(text, (int)plate.X + Padding, (int)plate.Y + Padding, colour.Contrast);
    }

    static bool Overlap(Region a, Region b) =>
        a.X < b.X + b.Width && b.X < a.X + a.Width && a.Y < b.Y + b.Height && b.Y < a.Y + a.Height;
}
