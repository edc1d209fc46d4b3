using VlmSharp.Datasets;
using VlmSharp.Formats;
using VlmSharp.Grounding;
using VlmSharp.Media.Images;

namespace VlmSharp.Training.Synthesis.Generators;

/// <summary>Text to be read or found: one line somewhere, or several one below the other.</summary>
sealed class TextGenerator : IGenerator
{
    // Free on every side of a line.
    const int Margin = 3;

    readonly string[] content;
    readonly (int, int) length;
    readonly string alphabet;
    readonly string[] cases;
    readonly (int Low, int High) size;
    readonly (int Low, int High) lines;
    readonly bool centred;
    readonly double angle;
    readonly (string Item, double Weight)[] ask;

    public TextGenerator(JsonObjectReader json)
    {
        json.AllowOnly(
            "kind",
            "weight",
            "content",
            "length",
            "alphabet",
            "case",
            "size",
            "lines",
            "place",
            "angle",
            "ask"
        );
        content = json.Choices("content", TextContent.Kinds, ["word"]);
        length = json.Range("length", 1, 100, (1, 10));
        alphabet = json.Text("alphabet", TextContent.Alphabet);
        cases = json.Choices("case", TextContent.Cases, ["lower"]);
        size = json.Range("size", 6, 500, (16, 40));
        lines = json.Range("lines", 1, 20, (1, 1));
        json.Require("place", "centre", "anywhere");
        centred = json.Text("place", "anywhere") == "centre";
        angle = json.Number("angle", 0, 45, 0);
        ask = json.Weights("ask", ["read", "line", "locate", "box"], [("read", 1)]);
        if (alphabet.Length == 0 || alphabet.Any(c => char.IsControl(c) || char.IsWhiteSpace(c) || char.IsSurrogate(c)))
        {
            throw json.Error("alphabet", "is empty or has characters that cannot be seen, expected visible characters");
        }
    }

    public Draft? Make(Scene scene)
    {
        CounterRandom random = scene.Random;
        Colour ink = scene.PaintPaper();
        int count = random.Int(lines.Low, lines.High);
        double band = (double)scene.Painting.Height / count;
        List<(string Kind, string Text, Box Ink)> drawn = [];
        for (int i = 0; i < count; i++)
        {
            string kind = random.Pick(content);
            string text = TextContent.Make(kind, length, alphabet, cases, random);
            if (drawn.Any(line => line.Text == text) || Set(scene, text, band) is not { } letters)
            {
                return null;
            }

            (double free, double below) = (scene.Painting.Width - letters.Ink.Width, band - letters.Ink.Height);
            double x = centred ? free / 2 : random.Number(Margin, free - Margin);
            double y = centred ? below / 2 : random.Number(Margin, below - Margin);
            PointXY middle = new(x + (letters.Ink.Width / 2), (i * band) + y + (letters.Ink.Height / 2));
            drawn.Add((kind, text, scene.Painting.LayAt(letters, middle, ink)));
        }

        (string wanted, int at) = (random.Pick(ask), random.Int(0, count - 1));
        (_, string answer, Box box) = drawn[at];
        return wanted switch
        {
            "locate" => new(
                "locate-text",
                scene.Ask("locate", scene.IsChinese ? $"“{answer}”" : $"\"{answer}\""),
                [new ReferencePart(answer), box.Part()]
            ),
            "box" => new("read-box", scene.Ask("read-box", box.Part()), answer),
            "line" when count > 1 => new("read-line", scene.Ask("read-line", $"{at + 1}"), answer),
            _ when count > 1 => new(
                "read-lines",
                scene.Ask("read-lines"),
                string.Join('\n', drawn.Select(line => line.Text))
            ),
            _ => new($"read-{drawn[0].Kind}", scene.Ask("read"), answer),
        };
    }

    // As large as the settings and the room allow; null where the smallest size is too wide.
    Lettering? Set(Scene scene, string text, double band)
    {
        FontFace face = scene.Font(text);
        double turn = angle == 0 ? 0 : scene.Random.Number(-angle, angle) * Math.PI / 180;
        (double width, double height) = (scene.Painting.Width - (2 * Margin) - 1, band - (2 * Margin) - 1);
        double pixels = scene.Random.Number(size.Low, size.High);
        for (int attempt = 0; attempt < 3; attempt++)
        {
            Lettering letters = scene.Letters(text, face, pixels, turn);
            double share = Math.Min(width / letters.Ink.Width, height / letters.Ink.Height);
            if (share >= 1)
            {
                return letters;
            }

            pixels *= 0.98 * share;
            if (pixels < size.Low)
            {
                return null;
            }
        }

        return null;
    }
}
