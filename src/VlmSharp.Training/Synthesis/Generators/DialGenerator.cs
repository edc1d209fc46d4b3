using System.Globalization;
using VlmSharp.Formats;
using VlmSharp.Grounding;
using VlmSharp.Media.Images;

namespace VlmSharp.Training.Synthesis.Generators;

/// <summary>Clocks, gauges and thermometers to be read.</summary>
sealed class DialGenerator : IGenerator
{
    static readonly string[] Kinds = ["clock", "gauge", "thermometer"];

    readonly string[] kinds;
    readonly int minutes;

    public DialGenerator(JsonObjectReader json)
    {
        json.AllowOnly("kind", "weight", "dials", "minutes");
        kinds = json.Choices("dials", Kinds, Kinds);
        minutes = json.Int("minutes", 1, 60, 5);
        if (60 % minutes != 0)
        {
            throw json.Error("minutes", $"is {minutes}, expected a divisor of 60: clocks show multiples of it");
        }
    }

    public Draft? Make(Scene scene)
    {
        Colour ink = scene.PaintPaper();
        double side = Math.Min(scene.Painting.Width, scene.Painting.Height);
        double radius = scene.Random.Number(0.36, 0.47) * side;
        PointXY middle = new(
            scene.Random.Number(radius + 2, scene.Painting.Width - radius - 2),
            scene.Random.Number(radius + 2, scene.Painting.Height - radius - 2)
        );
        return scene.Random.Pick(kinds) switch
        {
            "clock" => Clock(scene, ink, middle, radius),
            "gauge" => Gauge(scene, ink, middle, radius),
            _ => Thermometer(scene, ink, radius),
        };
    }

    Draft Clock(Scene scene, Colour ink, PointXY middle, double radius)
    {
        CounterRandom random = scene.Random;
        Painting painting = scene.Painting;
        (int hour, int minute) = (random.Int(1, 12), random.Int(0, (60 / minutes) - 1) * minutes);
        Ring(painting, ink, middle, radius, random.Number(1.5, 4));
        bool numbers = random.Chance(0.5);
        FontFace face = scene.Font("12");
        for (int i = 1; i <= 12; i++)
        {
            double angle = Angle(i / 12.0);
            if (numbers)
            {
                Lettering letters = scene.Letters(Text(i), face, Math.Max(8, 0.2 * radius));
                painting.LayAt(letters, Outlines.Around(middle, 0.8 * radius, angle), ink);
            }
            else
            {
                double start = i % 3 == 0 ? 0.8 : 0.88;
                painting.Line(
                    ink,
                    Outlines.Around(middle, start * radius, angle),
                    Outlines.Around(middle, 0.95 * radius, angle),
                    i % 3 == 0 ? 3 : 1.5
                );
            }
        }

        double hourAngle = Angle((hour + (minute / 60.0)) / 12);
        painting.Line(ink, middle, Outlines.Around(middle, 0.45 * radius, hourAngle), Math.Max(3, 0.09 * radius));
        painting.Line(
            ink,
            middle,
            Outlines.Around(middle, 0.7 * radius, Angle(minute / 60.0)),
            Math.Max(1.5, 0.045 * radius)
        );
        painting.Fill(ink, Outlines.Disc(middle, Math.Max(2, 0.07 * radius)));
        return new(
            "read-clock",
            scene.Ask("read-clock"),
            string.Create(CultureInfo.InvariantCulture, $"{hour}:{minute:00}")
        );

        // Clockwise from the top.
        static double Angle(double turn) => (2 * Math.PI * turn) - (Math.PI / 2);
    }

    static Draft Gauge(Scene scene, Colour ink, PointXY middle, double radius)
    {
        CounterRandom random = scene.Random;
        Painting painting = scene.Painting;
        // The scale in ten parts, of which every second has its number; the needle stands at a half of a part at the finest.
        int most = random.Pick((int[])[10, 20, 50, 100, 200]);
        int position = random.Int(0, 20);
        Ring(painting, ink, middle, radius, random.Number(1.5, 4));
        FontFace face = scene.Font("0");
        for (int i = 0; i <= 10; i++)
        {
            double angle = Angle(i / 10.0);
            painting.Line(
                ink,
                Outlines.Around(middle, (i % 2 == 0 ? 0.82 : 0.88) * radius, angle),
                Outlines.Around(middle, 0.96 * radius, angle),
                i % 2 == 0 ? 2.5 : 1.5
            );
            if (i % 2 == 0)
            {
                Lettering letters = scene.Letters(Text(most * i / 10), face, Math.Max(8, 0.19 * radius));
                painting.LayAt(letters, Outlines.Around(middle, 0.64 * radius, angle), ink);
            }
        }

        painting.Line(
            ink,
            middle,
            Outlines.Around(middle, 0.8 * radius, Angle(position / 20.0)),
            Math.Max(2, 0.05 * radius)
        );
        painting.Fill(ink, Outlines.Disc(middle, Math.Max(2.5, 0.09 * radius)));
        return new("read-gauge", scene.Ask("read-gauge"), Text(most * position / 20.0));

        // Three quarters of a circle, open at the bottom.
        static double Angle(double share) => (0.75 + (1.5 * share)) * Math.PI;
    }

    static Draft Thermometer(Scene scene, Colour ink, double radius)
    {
        CounterRandom random = scene.Random;
        Painting painting = scene.Painting;
        int low = random.Pick((int[])[-20, -10, 0, 10, 30]);
        int steps = random.Int(3, 5);
        int value = 5 * random.Int(0, 2 * steps);
        double tube = Math.Max(5, 0.12 * radius);
        double x = random.Number(painting.Width * 0.3, painting.Width * 0.5);
        (double bottom, double top) = (painting.Height - (4 * tube), 10);
        double At(double above) => bottom - ((bottom - top) * above / (10 * steps));

        Colour liquid = random.Chance(0.7) ? new(215, 40, 45) : new(45, 90, 215);
        painting.Fill(ink, new Box(x - tube, top - 6, x + tube, bottom + tube));
        painting.Fill(new(245, 245, 245), new Box(x - tube + 1.5, top - 4.5, x + tube - 1.5, bottom + tube));
        painting.Fill(ink, Outlines.Disc(new(x, bottom + (2 * tube)), 1.8 * tube));
        painting.Fill(liquid, Outlines.Disc(new(x, bottom + (2 * tube)), (1.8 * tube) - 1.5));
        painting.Fill(liquid, new Box(x - tube + 1.5, At(value), x + tube - 1.5, bottom + tube));
        FontFace face = scene.Font("0");
        double text = Math.Clamp((bottom - top) / steps * 0.6, 8, 16);
        for (int i = 0; i <= 2 * steps; i++)
        {
            double y = At(5 * i);
            painting.Fill(ink, new Box(x + tube + 2, y - 0.7, x + tube + (i % 2 == 0 ? 9 : 6), y + 0.7));
            if (i % 2 == 0)
            {
                painting.LayLeft(scene.Letters(Text(low + (5 * i)), face, text), x + tube + 12, y, ink);
            }
        }

        return new("read-thermometer", scene.Ask("read-thermometer"), Text(low + value));
    }

    static void Ring(Painting painting, Colour ink, PointXY middle, double radius, double lineWidth) =>
        painting.Fill(ink, Outlines.Disc(middle, radius), [.. Outlines.Disc(middle, radius - lineWidth).Reverse()]);

    static string Text(double number) => number.ToString("0.##", CultureInfo.InvariantCulture);
}
