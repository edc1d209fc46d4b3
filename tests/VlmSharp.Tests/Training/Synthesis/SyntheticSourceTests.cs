using System.Text.Json;
using VlmSharp.Datasets;
using VlmSharp.Formats;
using VlmSharp.Testing;
using VlmSharp.Training.Synthesis;
using Xunit;

namespace VlmSharp.Tests.Training.Synthesis;

public sealed class SyntheticSourceTests
{
    const string Everything = """
        {
          // Latin letters only: not every machine has others.
          "sizes": ["112x112", "168x84"],
          "backgrounds": ["plain", "gradient", "noise", "paper", "stripes", "checks", "blobs"],
          "wear": { "blur": 0.3, "noise": 0.3, "contrast": 0.3, "shadow": 0.3, "jpeg": 0.3 },
          "languages": { "en": 1, "zh": 1 },
          "fonts": { "hold_out_every": 2 },
          "generators": [
            { "kind": "text", "content": ["word", "number", "price", "date", "time", "code"], "length": [1, 8], "size": [8, 30], "angle": 10 },
            { "kind": "text", "lines": [1, 4], "length": [1, 6], "size": [8, 24], "ask": { "read": 1, "line": 1, "locate": 1, "box": 1 } },
            { "kind": "shapes", "weight": 2, "count": [1, 9], "size": [10, 50] }
          ]
        }
        """;

    [Fact]
    public void An_example_is_the_same_whoever_asks_for_it_and_when()
    {
        const int Count = 200;
        SyntheticSource first = Drawn.Source(Everything, 5);
        byte[][] expected = [.. Enumerable.Range(0, Count).Select(i => Bytes(first.Read(i)))];

        SyntheticSource second = Drawn.Source(Everything, 5);
        byte[][] found = new byte[Count][];
        Parallel.For(0, Count, i => found[Count - 1 - i] = Bytes(second.Read(Count - 1 - i)));
        for (int i = 0; i < Count; i++)
        {
            Assert.Equal(expected[i], found[i]);
        }

        Assert.Equal(Count, expected.Select(Convert.ToBase64String).Distinct().Count());
        SyntheticSource other = Drawn.Source(Everything, 6);
        Assert.DoesNotContain(
            Enumerable.Range(0, Count),
            i => Bytes(other.Read(i)).AsSpan().SequenceEqual(expected[i])
        );
    }

    [Fact]
    public void Files_have_the_same_bytes_on_any_number_of_threads()
    {
        using TemporaryDirectory one = new();
        using TemporaryDirectory many = new();
        SwiftWriter.Write(Drawn.Source(Everything), 300, one.Path, threads: 1);
        SwiftWriter.Write(Drawn.Source(Everything), 300, many.Path, threads: 5);
        string[] files = [.. Directory.GetFiles(one.Path, "*", SearchOption.AllDirectories).Order()];
        Assert.Equal(301, files.Length);
        Assert.Equal(301, Directory.GetFiles(many.Path, "*", SearchOption.AllDirectories).Length);
        Assert.All(
            files,
            file => Assert.Equal(File.ReadAllBytes(file), File.ReadAllBytes(many[Path.GetRelativePath(one.Path, file)]))
        );
    }

    [Fact]
    public void Every_placeholder_in_a_file_has_its_object_and_every_picture_its_file()
    {
        using TemporaryDirectory directory = new();
        SwiftWriter.Write(Drawn.Source(Everything, 3), 200, directory.Path, threads: 2);
        int boxes = 0;
        foreach (string line in File.ReadLines(directory[SwiftWriter.FileName]))
        {
            JsonElement json = JsonElement.Parse(line);
            string text = string.Concat(
                json.GetProperty("messages").EnumerateArray().Select(m => m.GetProperty("content").GetString())
            );
            Assert.Equal(1, Occurrences(text, "<image>"));
            Assert.True(File.Exists(directory[json.GetProperty("images")[0].GetString()!]));
            Assert.NotEqual("", json.GetProperty("task").GetString());
            bool has = json.TryGetProperty("objects", out JsonElement objects);
            Assert.Equal(has ? objects.GetProperty("bbox").GetArrayLength() : 0, Occurrences(text, "<bbox>"));
            Assert.Equal(has ? objects.GetProperty("ref").GetArrayLength() : 0, Occurrences(text, "<ref-object>"));
            boxes += Occurrences(text, "<bbox>");
        }

        Assert.InRange(boxes, 10, 400);
        static int Occurrences(string text, string part) => text.Split(part).Length - 1;
    }

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    public void Every_box_lies_in_its_picture_and_every_answer_is_one_line_or_several(ulong seed)
    {
        SyntheticSource source = Drawn.Source(Everything, seed, heldOut: seed == 1);
        Assert.Null(source.Count);
        HashSet<string> tasks = [];
        for (int i = 0; i < 400; i++)
        {
            Example example = source.Read(i);
            tasks.Add(example.Task);
            Assert.Equal(["user", "assistant"], example.Messages.Select(message => message.Role));
            Assert.Equal([false, true], example.Messages.Select(message => message.Learnt));
            Assert.NotEmpty(example.Question());
            Assert.NotEmpty(example.Messages[1].Content);
            Assert.Equal(example.Answer().Trim(), example.Answer());
            foreach (BoxPart box in example.Boxes())
            {
                Assert.True(box.Coordinates[0] >= 0 && box.Coordinates[1] >= 0, example.Name);
                Assert.True(
                    box.Coordinates[2] <= example.Image().Width && box.Coordinates[3] <= example.Image().Height,
                    example.Name
                );
                Assert.True(
                    box.Coordinates[0] < box.Coordinates[2] && box.Coordinates[1] < box.Coordinates[3],
                    example.Name
                );
            }
        }

        Assert.Superset(
            new HashSet<string>
            {
                "read-word",
                "read-lines",
                "read-line",
                "read-box",
                "locate-text",
                "count",
                "locate",
                "relation",
                "exists",
            },
            tasks
        );
    }

    [Fact]
    public void A_fixed_question_has_one_form_and_a_free_one_many()
    {
        const string Recipe = """
            { "sizes": ["112x56"], "languages": { "LANGUAGE": 1 }, "short_prompts": SHARE, "generators": [{ "kind": "text", "length": [1, 4], "size": 16 }] }
            """;
        foreach (
            (string language, string expected) in ((string, string)[])[("en", "Read the text."), ("zh", "读出文字。")]
        )
        {
            string recipe = Recipe.Replace("LANGUAGE", language);
            Assert.Equal([expected], Questions(recipe.Replace("SHARE", "1")));
            Assert.InRange(Questions(recipe.Replace("SHARE", "0")).Count, 5, 20);
        }

        static HashSet<string> Questions(string recipe) =>
            [.. Enumerable.Range(0, 100).Select(i => Drawn.Source(recipe).Read(i).Question())];
    }

    [Fact]
    public void Fonts_to_learn_from_and_held_out_ones_share_no_family()
    {
        FontShelf.Settings settings = SynthesisRecipe
            .Parse("r.json", System.Text.Encoding.UTF8.GetBytes(Everything))
            .Fonts;
        HashSet<string> learnt = [.. new FontShelf(settings, heldOut: false).Latin.Select(family => family[0].Family)];
        HashSet<string> heldOut = [.. new FontShelf(settings, heldOut: true).Latin.Select(family => family[0].Family)];
        Assert.NotEmpty(learnt);
        Assert.NotEmpty(heldOut);
        Assert.Empty(learnt.Intersect(heldOut));
        Assert.All(heldOut, family => Assert.True(FontShelf.IsHeldOut(family, 2)));
        Assert.Equal(FontShelf.IsHeldOut("Liberation Sans", 7), FontShelf.IsHeldOut("Liberation Sans Narrow", 7));
    }

    [Fact]
    public void The_recipes_of_this_repository_can_be_read()
    {
        string[] files = Directory.GetFiles(Path.Combine(Goldens.Repository, "recipes", "synth"), "*.json");
        Assert.NotEmpty(files);
        foreach (string file in files)
        {
            SynthesisRecipe recipe = SynthesisRecipe.Open(file);
            Assert.Equal(Path.GetFileNameWithoutExtension(file), recipe.Name);
            // One visual token is 28 x 28 pixels.
            Assert.All(recipe.Sizes, size => Assert.Equal((0, 0), (size.Width % 28, size.Height % 28)));
        }
    }

    [Theory]
    [InlineData("""{ "generators": [{ "kind": "text" }] }""", "field 'sizes' is missing")]
    [InlineData("""{ "sizes": [], "generators": [{ "kind": "text" }] }""", "field 'sizes' is empty")]
    [InlineData(
        """{ "sizes": ["112"], "generators": [{ "kind": "text" }] }""",
        "field 'sizes[0]' is '112', expected WIDTHxHEIGHT"
    )]
    [InlineData("""{ "sizes": ["112x9999"], "generators": [{ "kind": "text" }] }""", "each 28 .. 4096")]
    [InlineData("""{ "sizes": ["56x56"], "generators": [] }""", "field 'generators' is empty")]
    [InlineData("""{ "sizes": ["56x56"], "generators": [{ "kind": "text", "weight": 0 }] }""", "field 'generators'")]
    [InlineData(
        """{ "sizes": ["56x56"], "generators": [{ "kind": "films" }] }""",
        "field 'generators[0].kind' is 'films'"
    )]
    [InlineData(
        """{ "sizes": ["56x56"], "generators": [{ "kind": "text", "colour": 1 }] }""",
        "field 'generators[0].colour' is unknown"
    )]
    [InlineData("""{ "sizes": ["56x56"], "size": 3, "generators": [{ "kind": "text" }] }""", "field 'size' is unknown")]
    [InlineData(
        """{ "sizes": ["56x56"], "generators": [{ "kind": "text", "size": [30, 20] }] }""",
        "field 'generators[0].size' is no range"
    )]
    [InlineData(
        """{ "sizes": ["56x56"], "generators": [{ "kind": "text", "content": ["prose"] }] }""",
        "has 'prose', expected some of digits"
    )]
    [InlineData(
        """{ "sizes": ["56x56"], "generators": [{ "kind": "text", "alphabet": "a b" }] }""",
        "field 'generators[0].alphabet'"
    )]
    [InlineData(
        """{ "sizes": ["56x56"], "generators": [{ "kind": "shapes", "count": [1, 10] }] }""",
        "field 'generators[0].count[1]' is 10"
    )]
    [InlineData(
        """{ "sizes": ["56x56"], "generators": [{ "kind": "shapes", "ask": { "count": 0 } }] }""",
        "has no weight above 0"
    )]
    [InlineData(
        """{ "sizes": ["56x56"], "languages": { "de": 1 }, "generators": [{ "kind": "text" }] }""",
        "field 'languages.de' is unknown"
    )]
    [InlineData(
        """{ "sizes": ["56x56"], "wear": { "rust": 1 }, "generators": [{ "kind": "text" }] }""",
        "field 'wear.rust' is unknown"
    )]
    [InlineData(
        """{ "sizes": ["56x56"], "colours": "red", "generators": [{ "kind": "text" }] }""",
        "field 'colours' is 'red'"
    )]
    [InlineData("[1, 2]", "expected a JSON object")]
    public void A_bad_recipe_is_named_with_its_field(string recipe, string expected)
    {
        CheckpointException e = Assert.Throws<CheckpointException>(() => Drawn.Source(recipe));
        Assert.Contains("recipe.json", e.Message);
        Assert.Contains(expected, e.Message);
    }

    [Fact]
    public void A_missing_font_is_named_with_what_installs_fonts()
    {
        const string Recipe = """
            { "sizes": ["112x56"], "fonts": { "families": ["No Such Font"] }, "generators": [{ "kind": "text" }] }
            """;
        CheckpointException e = Assert.Throws<CheckpointException>(() => Drawn.Source(Recipe).Read(0));
        Assert.Contains(
            "recipe.json: field 'fonts.families' names 'No Such Font', which is not on this machine",
            e.Message
        );
        Assert.Contains("scripts/fonts.sh", e.Message);
        e = Assert.Throws<CheckpointException>(() => Drawn.Source(Recipe, heldOut: true).Read(0));
        Assert.Contains("none is held out", e.Message);
    }

    [Fact]
    public void Settings_that_leave_no_room_are_an_error_and_no_endless_loop()
    {
        const string Recipe = """
            { "sizes": ["28x28"], "generators": [{ "kind": "text", "length": [10, 10], "content": ["digits"], "size": 40 }] }
            """;
        Assert.Contains(
            "leave no room",
            Assert.Throws<CheckpointException>(() => Drawn.Source(Recipe).Read(0)).Message
        );
    }

    static byte[] Bytes(Example example) =>
        [
            .. example.Image().Pixels,
            .. System.Text.Encoding.UTF8.GetBytes(
                example.Question()
                    + example.Answer()
                    + string.Join(' ', example.Boxes().SelectMany(box => box.Coordinates))
            ),
        ];
}
