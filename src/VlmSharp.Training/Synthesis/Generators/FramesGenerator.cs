using System.Globalization;
using VlmSharp.Datasets;
using VlmSharp.Formats;
using VlmSharp.Grounding;
using VlmSharp.Media.Images;

namespace VlmSharp.Training.Synthesis.Generators;

/// <summary>Short films of one frame a second in which a disc moves, appears, disappears or changes its colour.</summary>
/// <remarks>What happens, happens at an even number of seconds: models of this line see frames in pairs.</remarks>
sealed class FramesGenerator : IGenerator
{
    static readonly string[] Events = ["move", "appear", "disappear", "change"];

    static readonly (string Name, string Chinese, double X, double Y)[] Directions =
    [
        ("right", "右", 1, 0),
        ("left", "左", -1, 0),
        ("up", "上", 0, -1),
        ("down", "下", 0, 1),
    ];

    readonly (int Low, int High) pairs;
    readonly string[] events;

    public FramesGenerator(JsonObjectReader json)
    {
        json.AllowOnly("kind", "weight", "pairs", "events");
        pairs = json.Range("pairs", 2, 32, (2, 4));
        events = json.Choices("events", Events, Events);
    }

    public Draft? Make(Scene scene)
    {
        CounterRandom random = scene.Random;
        int count = 2 * random.Int(pairs.Low, pairs.High);
        int at = 2 * random.Int(1, (count / 2) - 1);
        NamedColour[] colours = [.. Palette.All];
        random.Shuffle(colours);
        Colour[] papers =
        [
            .. Palette.Papers.Where(paper => colours[..2].All(colour => Palette.Distance(colour.Colour, paper) > 100)),
        ];
        if (papers.Length == 0)
        {
            return null;
        }

        string happening = random.Pick(events);
        double side = Math.Min(scene.Painting.Width, scene.Painting.Height);
        double radius = random.Number(0.08, 0.16) * side;
        (string direction, string chinese, double dx, double dy) = random.Pick(Directions);
        PointXY middle = new(
            random.Number(radius + 2, scene.Painting.Width - radius - 2),
            random.Number(radius + 2, scene.Painting.Height - radius - 2)
        );
        double room = 1 - (2 * (radius + 2) / (dx == 0 ? scene.Painting.Height : scene.Painting.Width));
        Colour paper = random.Pick(papers);
        scene.PaintPaper(paper);
        byte[] background = [.. scene.Painting.Pixels];
        List<RgbImage> frames = [];
        for (int i = 0; i < count; i++)
        {
            scene.Restart(background);
            PointXY place = middle;
            if (happening == "move")
            {
                double share = (i / (count - 1.0)) * room;
                place = new(
                    dx == 0 ? middle.X : Along(dx, share, scene.Painting.Width),
                    dy == 0 ? middle.Y : Along(dy, share, scene.Painting.Height)
                );
            }

            if (happening is "move" or "change" || i >= at == (happening == "appear"))
            {
                Colour colour = (happening == "change" && i >= at ? colours[1] : colours[0]).Colour;
                scene.Painting.Fill(colour, Outlines.Disc(place, radius));
            }

            frames.Add(scene.Finish());
        }

        Draft draft = happening switch
        {
            "move" => new("film-direction", scene.Ask("film-direction"), scene.IsChinese ? chinese : direction),
            "appear" or "disappear" => new(
                $"film-{happening}",
                scene.Ask($"film-{happening}"),
                at.ToString(CultureInfo.InvariantCulture)
            ),
            _ => random.Chance(0.5)
                ? new("film-change", scene.Ask("film-change"), at.ToString(CultureInfo.InvariantCulture))
                : new("film-colour", scene.Ask("film-colour"), colours[1].Name.In(scene.Language)),
        };
        return draft with { Film = new("", frames, [.. Enumerable.Range(0, count).Select(i => (double)i)]) };

        // From one edge to the other.
        double Along(double step, double share, int length) =>
            step > 0 ? radius + 2 + (share * length) : length - radius - 2 - (share * length);
    }
}
