using System.Globalization;
using VlmSharp.Formats;
using VlmSharp.Grounding;
using VlmSharp.Media.Images;

namespace VlmSharp.Training.Synthesis.Generators;

/// <summary>Forms with names and values, and receipts with prices and a total.</summary>
sealed class FormGenerator : IGenerator
{
    static readonly string[] Kinds = ["form", "receipt"];

    static readonly (string Field, string Content)[] Fields =
    [
        ("Name", "name"),
        ("Date", "date"),
        ("Time", "time"),
        ("Phone", "phone"),
        ("Code", "code"),
        ("Amount", "price"),
        ("Room", "digits"),
        ("Order", "code"),
        ("Item", "word"),
        ("Rate", "percent"),
        ("Seat", "code"),
        ("City", "word"),
    ];

    readonly string[] kinds;
    readonly (int Low, int High) lines;
    readonly (int Low, int High) size;

    public FormGenerator(JsonObjectReader json)
    {
        json.AllowOnly("kind", "weight", "forms", "lines", "size");
        kinds = json.Choices("forms", Kinds, Kinds);
        lines = json.Range("lines", 1, 12, (2, 4));
        size = json.Range("size", 6, 100, (11, 20));
    }

    public Draft? Make(Scene scene)
    {
        CounterRandom random = scene.Random;
        bool receipt = random.Pick(kinds) == "receipt";
        int count = random.Int(lines.Low, lines.High);
        List<(string Key, string Value)> rows = receipt ? Receipt(random, count) : Form(random, count);
        Colour ink = scene.PaintPaper();
        if (!Draw(scene, rows, receipt, ink))
        {
            return null;
        }

        int asked = random.Int(0, rows.Count - 1);
        (string key, string value) = rows[asked];
        return receipt && asked == rows.Count - 1 ? new("receipt-total", scene.Ask("receipt-total"), value)
            : receipt ? new("receipt-price", scene.Ask("receipt-price", key), value)
            : new("form-value", scene.Ask("form-value", key), value);
    }

    static List<(string, string)> Form(CounterRandom random, int count)
    {
        (string Field, string Content)[] fields = [.. Fields];
        random.Shuffle(fields);
        return
        [
            .. fields
                .Take(count)
                .Select(field =>
                    (
                        field.Field,
                        field.Content == "name"
                            ? random.Pick(WordLists.Names)
                            : TextContent.Make(field.Content, (2, 5), TextContent.Alphabet, ["title"], random)
                    )
                ),
        ];
    }

    static List<(string, string)> Receipt(CounterRandom random, int count)
    {
        string[] goods = [.. WordLists.Goods];
        random.Shuffle(goods);
        string sign = random.Pick((string[])["", "$", "€"]);
        int[] cents = [.. Enumerable.Range(0, count).Select(_ => random.Int(20, 1999))];
        return [.. goods.Take(count).Select((item, i) => (item, Money(cents[i]))), ("Total", Money(cents.Sum()))];

        string Money(int amount) => sign + (amount / 100m).ToString("0.00", CultureInfo.InvariantCulture);
    }

    bool Draw(Scene scene, List<(string Key, string Value)> rows, bool receipt, Colour ink)
    {
        CounterRandom random = scene.Random;
        Painting painting = scene.Painting;
        FontFace face = scene.Font("0");
        string colon = !receipt && random.Chance(0.7) ? ":" : "";
        double pixels = Math.Min(random.Number(size.Low, size.High), (painting.Height - 8) / (1.3 * rows.Count));
        for (int attempt = 0; attempt < 3 && pixels >= size.Low; attempt++)
        {
            Lettering[] keys = [.. rows.Select(row => scene.Letters(row.Key + colon, face, pixels))];
            Lettering[] values = [.. rows.Select(row => scene.Letters(row.Value, face, pixels))];
            double gap = 0.6 * pixels;
            double keyWidth = keys.Max(letters => letters.Ink.Width);
            double width = keyWidth + gap + values.Max(letters => letters.Ink.Width);
            if (width > painting.Width - 8)
            {
                pixels *= 0.97 * (painting.Width - 8) / width;
                continue;
            }

            double height = (painting.Height - 8.0) / rows.Count;
            height = random.Number(1.3 * pixels, Math.Min(height, 2.2 * pixels));
            double left = random.Number(4, painting.Width - 4 - width);
            double top = random.Number(4, painting.Height - 4 - (height * rows.Count));
            // Values at the right edge, below each other, or right behind their keys.
            int align = receipt ? 0 : random.Int(0, 2);
            for (int i = 0; i < rows.Count; i++)
            {
                double y = top + ((i + 0.5) * height);
                painting.LayLeft(keys[i], left, y, ink);
                double x = align switch
                {
                    0 => left + width - values[i].Ink.Width,
                    1 => left + keyWidth + gap,
                    _ => left + keys[i].Ink.Width + gap,
                };
                painting.LayLeft(values[i], x, y, ink);
            }

            if (receipt)
            {
                double y = top + ((rows.Count - 1) * height);
                painting.Fill(ink, new Box(left, y - 0.5, left + width, y + 0.5));
            }

            return true;
        }

        return false;
    }
}
