using System.Globalization;
using System.Text.RegularExpressions;
using VlmSharp.Datasets;
using VlmSharp.Media.Images;
using VlmSharp.Training.Synthesis;
using Xunit;

namespace VlmSharp.Tests.Training.Synthesis;

/// <summary>As <see cref="LabelTests"/>, for tables, dials, charts, user interfaces and films.</summary>
public sealed class DrawingLabelTests
{
    static SyntheticSource Source(string generator, string colours = "black-on-white") =>
        Drawn.Source(
            $$"""
            { "sizes": ["224x168"], "short_prompts": 1, "colours": "{{colours}}", "generators": [{{generator}}] }
            """
        );

    [Fact]
    public void Cells_are_counted_from_the_upper_left_and_their_boxes_hold_their_text()
    {
        // The same seed draws the same tables, whatever is asked.
        const string Table = """{ "kind": "table", "ask": { "QUESTION": 1 } }""";
        SyntheticSource html = Source(Table.Replace("QUESTION", "html"));
        SyntheticSource cell = Source(Table.Replace("QUESTION", "cell"));
        SyntheticSource locate = Source(Table.Replace("QUESTION", "locate"));
        for (int i = 0; i < 60; i++)
        {
            string[][] table =
            [
                .. html.Read(i)
                    .Answer()["<table><tr><td>".Length..^"</td></tr></table>".Length]
                    .Split("</td></tr><tr><td>")
                    .Select(row => row.Split("</td><td>")),
            ];
            Example asked = cell.Read(i);
            int[] at = [.. Regex.Matches(asked.Question(), "[0-9]+").Select(number => int.Parse(number.Value) - 1)];
            Assert.Equal(table[at[0]][at[1]], asked.Answer());

            Example found = locate.Read(i);
            at = [.. Regex.Matches(found.Question(), "[0-9]+").Select(number => int.Parse(number.Value) - 1)];
            Assert.Equal(table[at[0]][at[1]], found.Messages[1].Content.OfType<ReferencePart>().Single().Text);
            IReadOnlyList<double> box = found.Boxes().Single().Coordinates;
            Drawn.Blob[] inside =
            [
                .. Drawn
                    .Blobs(found.Image())
                    .Where(b =>
                        b.X > box[0] && b.X < box[2] && b.Y > box[1] && b.Y < box[3] && b.Box[2] - b.Box[0] < 60
                    ),
            ];
            Assert.NotEmpty(inside);
            Assert.All(
                inside,
                b =>
                    Assert.True(
                        b.Box[0] >= box[0] && b.Box[1] >= box[1] && b.Box[2] <= box[2] && b.Box[3] <= box[3],
                        found.Name
                    )
            );
        }
    }

    [Fact]
    public void The_hands_of_a_clock_show_the_time()
    {
        SyntheticSource source = Source("""{ "kind": "dial", "dials": ["clock"] }""");
        for (int i = 0; i < 60; i++)
        {
            Example example = source.Read(i);
            (RgbImage image, double x, double y, double radius) = Dial(example);
            int[] time = [.. example.Answer().Split(':').Select(int.Parse)];
            // Only the long hand reaches so far.
            int minute = Enumerable.Range(0, 60).MaxBy(m => Ink(image, x, y, 0.58 * radius, Turn(m / 60.0)));
            Assert.Equal(time[1], minute);
            int hour = Enumerable
                .Range(1, 12)
                .MaxBy(h => Thickness(image, x, y, 0.38 * radius, Turn((h + (minute / 60.0)) / 12)));
            Assert.Equal(time[0], hour);
        }

        static double Turn(double share) => (2 * Math.PI * share) - (Math.PI / 2);
    }

    [Fact]
    public void The_needle_of_a_gauge_stands_at_its_value()
    {
        SyntheticSource source = Source("""{ "kind": "dial", "dials": ["gauge"] }""");
        for (int i = 0; i < 60; i++)
        {
            Example example = source.Read(i);
            (RgbImage image, double x, double y, double radius) = Dial(example);
            int position = Enumerable
                .Range(0, 21)
                .MaxBy(p => Ink(image, x, y, 0.35 * radius, (0.75 + (1.5 * p / 20)) * Math.PI));
            double value = double.Parse(example.Answer(), CultureInfo.InvariantCulture);
            Assert.Contains(new[] { 10, 20, 50, 100, 200 }, most => Math.Abs(value - (most * position / 20.0)) < 1e-9);
        }
    }

    [Theory]
    [InlineData("bar")]
    [InlineData("pie")]
    public void The_largest_and_the_smallest_of_a_chart_are_those_of_the_answer(string chart)
    {
        SyntheticSource source = Source($$"""{ "kind": "chart", "charts": ["{{chart}}"] }""");
        string[] labels =
        [
            "A",
            "Jan",
            "Mon",
            "2019",
            "B",
            "Feb",
            "Tue",
            "2020",
            "C",
            "Mar",
            "Wed",
            "2021",
            "D",
            "Apr",
            "Thu",
            "2022",
            "E",
            "May",
            "Fri",
            "2023",
        ];
        int compared = 0;
        for (int i = 0; i < 150; i++)
        {
            Example example = source.Read(i);
            bool largest = example.Task.EndsWith("largest", StringComparison.Ordinal);
            if (!largest && !example.Task.EndsWith("smallest", StringComparison.Ordinal))
            {
                continue;
            }

            // How many pixels have each named colour, apart from black lines and white paper; bars are further divided by their place.
            RgbImage image = example.Image();
            byte[][] pixels = [.. image.Pixels.ToArray().Chunk(3)];
            if (chart == "pie")
            {
                var shares = pixels
                    .Select(p =>
                        Palette.All.MinBy(c => Palette.Distance(c.Colour, new(p[0], p[1], p[2])))!.Name.English
                    )
                    .Where(name => name is not ("white" or "black" or "grey"))
                    .GroupBy(name => name)
                    .Where(group => group.Count() > 200)
                    .ToArray();
                Assert.Equal(
                    (largest ? shares.MaxBy(s => s.Count()) : shares.MinBy(s => s.Count()))!.Key,
                    example.Answer()
                );
                compared++;
                continue;
            }

            int[] heights =
            [
                .. Enumerable
                    .Range(0, image.Width)
                    .Select(x => Enumerable.Range(0, image.Height).Count(y => Coloured(pixels[(y * image.Width) + x]))),
            ];
            List<int> bars = [];
            for (int x = 1; x < heights.Length; x++)
            {
                if (heights[x] > 4 && heights[x - 1] <= 4)
                {
                    bars.Add(heights[x + 3]);
                }
            }

            if (bars.Count > 0) // not where bars are black or grey
            {
                int expected = largest ? bars.IndexOf(bars.Max()) : bars.IndexOf(bars.Min());
                Assert.Equal(expected, Array.IndexOf(labels, example.Answer()) / 4);
                compared++;
            }
        }

        Assert.True(compared > 30);
        static bool Coloured(byte[] pixel) => pixel.Max() - pixel.Min() > 60;
    }

    [Fact]
    public void A_control_s_box_is_that_of_its_edge_and_its_point_is_the_middle()
    {
        SyntheticSource boxes = Source("""{ "kind": "ui", "ask": { "locate": 1 } }""");
        SyntheticSource points = Source("""{ "kind": "ui", "ask": { "click": 1 } }""");
        for (int i = 0; i < 80; i++)
        {
            IReadOnlyList<double> box = boxes.Read(i).Boxes().Single().Coordinates;
            Assert.Contains(Drawn.Blobs(boxes.Read(i).Image()), blob => blob.Box.SequenceEqual(box));
            IReadOnlyList<double> point = points.Read(i).Boxes().Single().Coordinates;
            Assert.Equal([(box[0] + box[2]) / 2, (box[1] + box[3]) / 2], point);
        }
    }

    [Fact]
    public void A_box_has_a_tick_where_the_answer_says_so()
    {
        SyntheticSource boxes = Source("""{ "kind": "ui", "count": 1, "ask": { "locate": 1 } }""");
        SyntheticSource states = Source("""{ "kind": "ui", "count": 1, "ask": { "state": 1 } }""");
        Dictionary<string, int> seen = [];
        for (int i = 0; i < 200; i++)
        {
            // The same picture where the only part of it is a box to tick.
            if (boxes.Read(i) is { } located && located.Question().Contains("checkbox"))
            {
                int[] box = [.. located.Boxes().Single().Coordinates.Select(c => (int)c)];
                RgbImage image = located.Image();
                bool ticked = Enumerable
                    .Range(box[0] + 4, box[2] - box[0] - 8)
                    .Any(x =>
                        Enumerable
                            .Range(box[1] + 4, box[3] - box[1] - 8)
                            .Any(y => image.Pixels[3 * ((y * image.Width) + x)] < 128)
                    );
                Assert.Equal(ticked ? "yes" : "no", states.Read(i).Answer());
                seen[states.Read(i).Answer()] = seen.GetValueOrDefault(states.Read(i).Answer()) + 1;
            }
        }

        Assert.All(["yes", "no"], answer => Assert.True(seen[answer] > 5));
    }

    [Fact]
    public void A_film_shows_what_happens_when_the_answer_says_so()
    {
        SyntheticSource source = Source("""{ "kind": "frames" }""");
        HashSet<string> tasks = [];
        for (int i = 0; i < 100; i++)
        {
            Example example = source.Read(i);
            Film film = example.Messages[0].Content.OfType<Film>().Single();
            Assert.Equal(film.Frames.Select((_, second) => (double)second), film.Times);
            Drawn.Blob?[] discs = [.. film.Frames.Select(frame => Drawn.Blobs(frame).SingleOrDefault())];
            int change = Enumerable
                .Range(1, discs.Length - 1)
                .First(f =>
                    (discs[f]?.Colour, discs[f]?.X, discs[f]?.Y)
                    != (discs[f - 1]?.Colour, discs[f - 1]?.X, discs[f - 1]?.Y)
                );
            string expected = example.Task switch
            {
                "film-direction" => (discs[^1]!.X - discs[0]!.X, discs[^1]!.Y - discs[0]!.Y) switch
                {
                    (> 10, 0) => "right",
                    (< -10, 0) => "left",
                    (0, > 10) => "down",
                    (0, < -10) => "up",
                    var other => $"{other}",
                },
                "film-colour" => discs[^1]!.Colour,
                _ => $"{change}",
            };
            Assert.Equal(expected, example.Answer());
            Assert.Equal(example.Task != "film-appear", discs[0] is not null);
            Assert.Equal(example.Task != "film-disappear", discs[^1] is not null);
            tasks.Add(example.Task);
        }

        Assert.Equal(5, tasks.Count);
    }

    // The dial's circle is the largest thing in the picture.
    static (RgbImage, double X, double Y, double Radius) Dial(Example example)
    {
        Drawn.Blob ring = Drawn.Blobs(example.Image()).MaxBy(blob => blob.Box[2] - blob.Box[0])!;
        return (example.Image(), ring.X, ring.Y, (ring.Box[2] - ring.Box[0]) / 2);
    }

    static double Ink(RgbImage image, double x, double y, double distance, double angle)
    {
        (int column, int row) = ((int)(x + (distance * Math.Cos(angle))), (int)(y + (distance * Math.Sin(angle))));
        double sum = 0;
        for (int i = 0; i < 9; i++)
        {
            sum +=
                (i == 4 ? 2 : 1)
                * (255 - image.Pixels[3 * (((row + (i / 3) - 1) * image.Width) + column + (i % 3) - 1)]);
        }

        return sum;
    }

    // The short hand is the thicker one: how much ink lies across a direction.
    static double Thickness(RgbImage image, double x, double y, double distance, double angle)
    {
        double sum = 0;
        for (int i = -6; i <= 6; i++)
        {
            (double px, double py) = (
                x + (distance * Math.Cos(angle)) - (0.8 * i * Math.Sin(angle)),
                y + (distance * Math.Sin(angle)) + (0.8 * i * Math.Cos(angle))
            );
            sum += 255 - image.Pixels[3 * (((int)py * image.Width) + (int)px)];
        }

        return sum;
    }
}
