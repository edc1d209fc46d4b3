using System.Globalization;
using VlmSharp.Formats;
using VlmSharp.Grounding;
using VlmSharp.Media.Images;

namespace VlmSharp.Training.Synthesis.Generators;

/// <summary>Bars, lines and pies: their values, the largest and smallest, and how many.</summary>
sealed class ChartGenerator : IGenerator
{
    static readonly string[] Kinds = ["bar", "line", "pie"];

    // Short enough to stand under a narrow bar.
    static readonly string[][] Labels =
    [
        ["A", "B", "C", "D", "E", "F", "G"],
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul"],
        ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"],
        ["2019", "2020", "2021", "2022", "2023", "2024"],
    ];

    readonly string[] kinds;
    readonly (int Low, int High) count;

    public ChartGenerator(JsonObjectReader json)
    {
        json.AllowOnly("kind", "weight", "charts", "count");
        kinds = json.Choices("charts", Kinds, Kinds);
        count = json.Range("count", 2, 6, (3, 5));
    }

    public Draft? Make(Scene scene)
    {
        CounterRandom random = scene.Random;
        int number = random.Int(count.Low, count.High);
        string kind = random.Pick(kinds);
        return kind == "pie" ? Pie(scene, number) : Axes(scene, number, kind);
    }

    static Draft? Axes(Scene scene, int number, string kind)
    {
        CounterRandom random = scene.Random;
        Painting painting = scene.Painting;
        int unit = random.Pick((int[])[1, 2, 5, 10, 20, 100]);
        int[] parts = [.. Enumerable.Range(0, 10).Select(i => i + 1)];
        random.Shuffle(parts);
        // Different tenths of the scale, so that one is the largest and one the smallest.
        int[] values = [.. parts.Take(number).Select(part => part * unit)];
        string[] labels = [.. random.Pick(Labels).Take(number)];

        Colour ink = scene.PaintPaper();
        FontFace face = scene.Font("0");
        double text = Math.Clamp(painting.Width / 16.0, 9, 14);
        Lettering[] scale = [.. Enumerable.Range(0, 6).Select(i => scene.Letters(Text(2 * i * unit), face, text))];
        Lettering[] names = [.. labels.Select(label => scene.Letters(label, face, text))];
        Box plot = new(
            scale.Max(letters => letters.Ink.Width) + 8,
            text,
            painting.Width - 5,
            painting.Height - names.Max(letters => letters.Ink.Height) - 9
        );
        double step = plot.Width / number;
        if (names.Any(letters => letters.Ink.Width > step - 2))
        {
            return null;
        }

        double Level(double value) => plot.Y2 - (plot.Height * value / (10 * unit));
        for (int i = 0; i <= 5; i++)
        {
            double y = Level(2 * i * unit);
            painting.LayLeft(scale[i], plot.X1 - 5 - scale[i].Ink.Width, y, ink);
            painting.Fill(ink, new Box(plot.X1 - 3, y - 0.5, i == 0 ? plot.X2 : plot.X1, y + 0.5));
        }

        painting.Fill(ink, new Box(plot.X1 - 0.5, plot.Y1, plot.X1 + 0.5, plot.Y2));
        Colour colour = kind == "bar" ? StandingOut(scene, ink) : ink;
        PointXY[] points = [.. values.Select((value, i) => new PointXY(plot.X1 + ((i + 0.5) * step), Level(value)))];
        for (int i = 0; i < number; i++)
        {
            painting.LayAt(
                names[i],
                new(points[i].X, plot.Y2 + 4 + (names.Max(letters => letters.Ink.Height) / 2)),
                ink
            );
            if (kind == "bar")
            {
                painting.Fill(
                    colour,
                    new Box(points[i].X - (0.33 * step), points[i].Y, points[i].X + (0.33 * step), plot.Y2 - 0.5)
                );
            }
            else
            {
                painting.Fill(colour, Outlines.Disc(points[i], 3));
                if (i > 0)
                {
                    painting.Line(colour, points[i - 1], points[i], 1.8);
                }
            }
        }

        int asked = random.Int(0, number - 1);
        return random.Int(0, 3) switch
        {
            0 => new("chart-largest", scene.Ask("chart-largest"), labels[Array.IndexOf(values, values.Max())]),
            1 => new("chart-smallest", scene.Ask("chart-smallest"), labels[Array.IndexOf(values, values.Min())]),
            _ => new("chart-value", scene.Ask("chart-value", labels[asked]), Text(values[asked])),
        };
    }

    static Draft? Pie(Scene scene, int number)
    {
        CounterRandom random = scene.Random;
        Painting painting = scene.Painting;
        NamedColour[] colours =
        [
            .. Palette.All.Where(colour => colour.Name.English is not ("white" or "black" or "grey")),
        ];
        random.Shuffle(colours);
        // Slices in twentieths; each at least one, and no two alike.
        int[] parts = [.. Enumerable.Range(1, 9)];
        random.Shuffle(parts);
        parts = [.. parts.Take(number)];
        double whole = parts.Sum();
        scene.PaintPaper(new(250, 250, 250));
        double radius = random.Number(0.35, 0.47) * Math.Min(painting.Width, painting.Height);
        PointXY middle = new(
            random.Number(radius + 2, painting.Width - radius - 2),
            random.Number(radius + 2, painting.Height - radius - 2)
        );
        double angle = random.Number(0, 2 * Math.PI);
        for (int i = 0; i < number; i++)
        {
            double end = angle + (2 * Math.PI * parts[i] / whole);
            painting.Fill(colours[i].Colour, Outlines.Sector(middle, radius, angle, end));
            angle = end;
        }

        int[] sorted = [.. parts.Order()];
        bool largest = random.Chance(0.5);
        int wanted = Array.IndexOf(parts, largest ? sorted[^1] : sorted[0]);
        return random.Chance(0.2) ? new("pie-count", scene.Ask("pie-count"), Text(number))
            : (largest ? sorted[^1] - sorted[^2] : sorted[1] - sorted[0]) / whole < 0.05 ? null
            : new(
                largest ? "pie-largest" : "pie-smallest",
                scene.Ask(largest ? "pie-largest" : "pie-smallest"),
                colours[wanted].Name.In(scene.Language)
            );
    }

    // Any colour that can be told from the ink and from the paper, of which the picture's corner shows a shade.
    static Colour StandingOut(Scene scene, Colour ink)
    {
        byte[] pixels = scene.Painting.Pixels;
        Colour paper = new(pixels[0], pixels[1], pixels[2]);
        NamedColour[] possible = [.. Palette.All.Where(colour => Palette.Distance(colour.Colour, paper) > 100)];
        return possible.Length > 0 ? scene.Random.Pick(possible).Colour : ink;
    }

    static string Text(int number) => number.ToString(CultureInfo.InvariantCulture);
}
