using VlmSharp.Datasets;
using VlmSharp.Formats;
using VlmSharp.Grounding;
using VlmSharp.Media.Images;

namespace VlmSharp.Training.Synthesis.Generators;

/// <summary>Parts of programs: buttons, boxes to tick, fields; where to click, where they are, what state they have.</summary>
sealed class UiGenerator : IGenerator
{
    static readonly string[] Questions = ["click", "locate", "state", "field"];

    static readonly string[] Buttons =
    [
        "OK",
        "Cancel",
        "Save",
        "Open",
        "Close",
        "Next",
        "Back",
        "Send",
        "Delete",
        "Edit",
        "Help",
        "Print",
        "Search",
        "Apply",
        "Login",
        "Add",
    ];

    static readonly string[] Boxes =
    [
        "Updates",
        "Sound",
        "Email",
        "Wifi",
        "Dark mode",
        "Sync",
        "Backup",
        "Alerts",
        "Cookies",
        "News",
        "Camera",
        "Maps",
    ];

    static readonly string[] Fields = ["Name", "City", "User", "Code", "Phone", "Title", "Note", "Street"];

    readonly (int Low, int High) count;
    readonly (int Low, int High) size;
    readonly (string Item, double Weight)[] ask;

    public UiGenerator(JsonObjectReader json)
    {
        json.AllowOnly("kind", "weight", "count", "size", "ask");
        count = json.Range("count", 1, 10, (2, 5));
        size = json.Range("size", 6, 60, (11, 16));
        ask = json.Weights("ask", Questions, [.. Questions.Select(question => (question, 1.0))]);
    }

    /// <param name="Kind">button, box or field.</param>
    /// <param name="Label">What it is called.</param>
    /// <param name="Target">Where to click.</param>
    /// <param name="Text">What a field holds.</param>
    /// <param name="IsTicked">Whether a box is.</param>
    sealed record Part(string Kind, string Label, Box Target, string Text, bool IsTicked);

    public Draft? Make(Scene scene)
    {
        CounterRandom random = scene.Random;
        string wanted = random.Pick(ask);
        int number = random.Int(count.Low, count.High);
        (Colour paper, Colour ink) = scene.PickColours();
        scene.PaintPaper(paper);
        FontFace face = scene.Font("O");
        double pixels = random.Number(size.Low, size.High);
        List<string> unused = [.. Buttons, .. Boxes, .. Fields];
        List<Part> parts = [];
        double row = 1.9 * pixels;
        double y = random.Number(2, Math.Max(3, 0.35 * scene.Painting.Height));
        double x = random.Number(3, 10);
        while (parts.Count < number && y + row < scene.Painting.Height)
        {
            string label = random.Pick(unused);
            if (Draw(scene, label, x, y, row, face, pixels, paper, ink) is { } part)
            {
                unused.Remove(label);
                parts.Add(part);
                x = part.Target.With(new(x, y, x, y)).X2 + random.Number(6, 14);
                if (part.Kind != "button")
                {
                    (x, y) = (random.Number(3, 10), y + row + random.Number(3, 9));
                }
            }
            else
            {
                (x, y) = (random.Number(3, 10), y + row + random.Number(3, 9));
            }
        }

        Part[] possible =
        [
            .. parts.Where(part => wanted is "click" or "locate" || part.Kind == (wanted == "state" ? "box" : "field")),
        ];
        if (possible.Length == 0)
        {
            return null;
        }

        Part one = random.Pick(possible);
        return wanted switch
        {
            "click" => new("click", scene.Ask("click", one.Label), [new ReferencePart(one.Label), one.Target.Point()]),
            "locate" => new(
                "locate-control",
                scene.Ask($"locate-{one.Kind}", one.Label),
                [new ReferencePart(one.Label), one.Target.Part()]
            ),
            "state" => new("state", scene.Ask("state", one.Label), scene.YesNo(one.IsTicked)),
            _ => new("field", scene.Ask("field", one.Label), one.Text),
        };
    }

    // Null where it does not fit into the row.
    static Part? Draw(
        Scene scene,
        string label,
        double x,
        double y,
        double row,
        FontFace face,
        double pixels,
        Colour paper,
        Colour ink
    )
    {
        CounterRandom random = scene.Random;
        Painting painting = scene.Painting;
        Lettering letters = scene.Letters(label, face, pixels);
        double middle = y + (row / 2);
        double end = x + letters.Ink.Width;
        double most = painting.Width - 3;
        if (Buttons.Contains(label))
        {
            Box box = new(Math.Floor(x), Math.Floor(y), Math.Ceiling(end + pixels), Math.Floor(y + row));
            if (box.X2 > most)
            {
                return null;
            }

            bool filled = random.Chance(0.5);
            painting.Fill(ink, box);
            painting.Fill(filled ? ink : paper, box.Grown(-1));
            painting.LayAt(letters, box.Middle, filled ? paper : ink);
            return new("button", label, box, "", false);
        }

        if (Boxes.Contains(label))
        {
            double side = Math.Round(1.05 * pixels);
            Box box = new(
                Math.Floor(x),
                Math.Floor(middle - (side / 2)),
                Math.Floor(x) + side,
                Math.Floor(middle - (side / 2)) + side
            );
            if (end + side + 6 > most)
            {
                return null;
            }

            bool ticked = random.Chance(0.5);
            painting.Frame(ink, box, 1.4);
            if (ticked)
            {
                PointXY low = new(box.X1 + (0.42 * side), box.Y1 + (0.75 * side));
                painting.Line(ink, new(box.X1 + (0.2 * side), box.Y1 + (0.5 * side)), low, 0.14 * side);
                painting.Line(ink, low, new(box.X1 + (0.8 * side), box.Y1 + (0.25 * side)), 0.14 * side);
            }

            painting.LayLeft(letters, box.X2 + 6, middle, ink);
            return new("box", label, box, "", ticked);
        }

        string text = TextContent.Make("word", (2, 6), TextContent.Alphabet, ["title"], random);
        Lettering content = scene.Letters(text, face, pixels);
        Box field = new(
            Math.Floor(end + 8),
            Math.Floor(y),
            Math.Ceiling(end + 8 + content.Ink.Width + (1.5 * pixels)),
            Math.Floor(y + row)
        );
        if (field.X2 > most)
        {
            return null;
        }

        painting.LayLeft(letters, x, middle, ink);
        painting.Frame(ink, field, 1.2);
        painting.LayLeft(content, field.X1 + (0.5 * pixels), middle, ink);
        return new("field", label, field, text, false);
    }
}
