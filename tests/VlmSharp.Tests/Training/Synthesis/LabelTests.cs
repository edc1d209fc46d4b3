using VlmSharp.Datasets;
using Xunit;

namespace VlmSharp.Tests.Training.Synthesis;

/// <summary>Labels compared with what is found in the pictures by looking at their pixels alone.</summary>
public sealed class LabelTests
{
    [Theory]
    [InlineData(1, 0)]
    [InlineData(1, 15)]
    [InlineData(3, 0)]
    [InlineData(3, 6)]
    public void A_text_s_box_is_the_box_of_its_ink(int lines, int angle)
    {
        var source = Drawn.Source(
            $$"""
            {
              "sizes": ["168x168"], "colours": "black-on-white",
              "generators": [{ "kind": "text", "content": ["word", "price", "code"], "length": [1, 8], "lines": {{lines}}, "size": [10, 40], "angle": {{angle}}, "ask": { "locate": 1 } }]
            }
            """
        );
        for (int i = 0; i < 60; i++)
        {
            Example example = source.Read(i);
            IReadOnlyList<double> box = Assert.Single(example.Boxes()).Coordinates;
            List<Drawn.Blob> ink = Drawn.Blobs(example.Image());
            // All letters whose middle is in the box: together they fill it exactly.
            Drawn.Blob[] inside =
            [
                .. ink.Where(blob => blob.X > box[0] && blob.X < box[2] && blob.Y > box[1] && blob.Y < box[3]),
            ];
            Assert.True(lines > 1 || inside.Length == ink.Count, example.Name);
            Assert.Equal(
                box,
                [
                    inside.Min(b => b.Box[0]),
                    inside.Min(b => b.Box[1]),
                    inside.Max(b => b.Box[2]),
                    inside.Max(b => b.Box[3]),
                ]
            );
        }
    }

    [Fact]
    public void Lines_are_numbered_from_the_top()
    {
        // The same seed draws the same lines, whatever is asked.
        const string Recipe = """
            { "sizes": ["168x168"], "short_prompts": 1, "colours": "black-on-white", "generators": [{ "kind": "text", "length": [1, 6], "size": [10, 24], "lines": [2, 4], "ask": { "QUESTION": 1 } }] }
            """;
        var reading = Drawn.Source(Recipe.Replace("QUESTION", "read"));
        var line = Drawn.Source(Recipe.Replace("QUESTION", "line"));
        var box = Drawn.Source(Recipe.Replace("QUESTION", "box"));
        for (int i = 0; i < 40; i++)
        {
            string[] lines = reading.Read(i).Answer().Split('\n');
            Example one = line.Read(i);
            Assert.Equal(lines[one.Question()["Read line ".Length] - '1'], one.Answer());

            Example boxed = box.Read(i);
            double middle = (boxed.Boxes().Single().Coordinates[1] + boxed.Boxes().Single().Coordinates[3]) / 2;
            Assert.Equal(lines[(int)(middle * lines.Length / 168)], boxed.Answer());
        }
    }

    const string Shapes = """
        {
          "sizes": ["168x168"], "short_prompts": 1, "languages": { "en": 1 },
          "generators": [{ "kind": "shapes", "shapes": [KINDS], "count": [1, 9], "size": [12, 50], "ask": { "QUESTION": 1 } }]
        }
        """;

    [Fact]
    public void As_many_shapes_are_drawn_as_the_answer_says()
    {
        var source = Drawn.Source(
            Shapes
                .Replace("KINDS", "\"circle\", \"square\", \"triangle\", \"star\", \"ring\", \"cross\"")
                .Replace("QUESTION", "count")
        );
        int[] seen = new int[10];
        int compared = 0;
        for (int i = 0; i < 400; i++)
        {
            Example example = source.Read(i);
            List<Drawn.Blob> blobs = Drawn.Blobs(example.Image());
            string what = example.Question()["How many ".Length..^1];
            int? expected =
                what == "shapes" ? blobs.Count
                : what.EndsWith(" shapes", StringComparison.Ordinal)
                    ? blobs.Count(blob => blob.Colour == what.Split(' ')[0])
                : null;
            if (expected is { } number)
            {
                Assert.Equal($"{number}", example.Answer());
                seen[number]++;
                compared++;
            }
        }

        Assert.True(compared > 100);
        Assert.All(seen[1..], count => Assert.True(count > 0));
    }

    [Fact]
    public void A_shape_s_box_is_around_it_and_its_name_has_its_colour()
    {
        var source = Drawn.Source(
            Shapes
                .Replace("KINDS", "\"circle\", \"square\", \"triangle\", \"star\", \"hexagon\", \"diamond\"")
                .Replace("QUESTION", "locate")
        );
        for (int i = 0; i < 200; i++)
        {
            Example example = source.Read(i);
            IReadOnlyList<double> box = Assert.Single(example.Boxes()).Coordinates;
            string name = Assert.Single(example.Messages[1].Content.OfType<ReferencePart>()).Text;
            Drawn.Blob blob = Assert.Single(
                Drawn.Blobs(example.Image()),
                // Thin points of stars are too faint to be found.
                found => found.Box.Zip(box, (a, b) => Math.Abs(a - b)).Max() < 2.1
            );
            Assert.Equal(name.Split(' ')[0], blob.Colour);
        }
    }

    [Fact]
    public void Relations_sizes_and_presence_are_as_the_answer_says()
    {
        foreach (string question in (string[])["relation", "larger", "exists", "colour", "list"])
        {
            var source = Drawn.Source(Shapes.Replace("KINDS", "\"circle\"").Replace("QUESTION", question));
            HashSet<string> answers = [];
            for (int i = 0; i < 150; i++)
            {
                Example example = source.Read(i);
                List<Drawn.Blob> blobs = Drawn.Blobs(example.Image());
                string[] named = [.. example.Question().Split(' ', ',', '?').Where(Named)];
                string expected = question switch
                {
                    "exists" => YesNo(blobs.Exists(blob => blob.Colour == named[0])),
                    "colour" => Assert.Single(blobs).Colour,
                    "list" => string.Join(", ", blobs.OrderBy(blob => blob.X).Select(blob => $"{blob.Colour} circle")),
                    "larger" => $"{(The(named[0]).Pixels > The(named[1]).Pixels ? named[0] : named[1])} circle",
                    _ => YesNo(
                        example.Question() switch
                        {
                            var q when q.Contains(" left ") => The(named[0]).X < The(named[1]).X,
                            var q when q.Contains(" right ") => The(named[0]).X > The(named[1]).X,
                            var q when q.Contains(" above ") => The(named[0]).Y < The(named[1]).Y,
                            _ => The(named[0]).Y > The(named[1]).Y,
                        }
                    ),
                };
                Assert.Equal(expected, example.Answer());
                answers.Add(example.Answer());
                Drawn.Blob The(string colour) => Assert.Single(blobs, blob => blob.Colour == colour);
            }

            Assert.True(answers.Count > 1, question);
        }

        static bool Named(string word) =>
            VlmSharp.Training.Synthesis.Palette.All.Any(colour => colour.Name.English == word);
        static string YesNo(bool yes) => yes ? "yes" : "no";
    }
}
