using System.Globalization;
using VlmSharp.Formats;
using VlmSharp.Training.Synthesis.Generators;

namespace VlmSharp.Training.Synthesis;

/// <summary>What is drawn and asked, read from a JSON file in which comments may stand.</summary>
/// <remarks>Fields: docs/synthesis.md. Everything that is wrong is an error which names file and field; so is a field nobody knows.</remarks>
public sealed class SynthesisRecipe
{
    /// <summary>Pictures are at most so wide and high.</summary>
    public const int MaxSide = 4096;

    SynthesisRecipe(JsonObjectReader json)
    {
        json.AllowOnly(
            "name",
            "sizes",
            "backgrounds",
            "colours",
            "wear",
            "languages",
            "fonts",
            "short_prompts",
            "generators"
        );
        Name = json.Text("name", Path.GetFileNameWithoutExtension(json.File));
        Sizes = [.. json.Texts("sizes", 100).Select((text, i) => Size(json, $"sizes[{i}]", text))];
        Backgrounds = json.Choices("backgrounds", Synthesis.Backgrounds.Kinds, ["plain"]);
        json.Require("colours", "black-on-white", "dark-on-light", "any");
        Colours = json.Text("colours", "any");
        Wear = Wear.Read(json.OptionalObject("wear"));
        Languages = json.Weights("languages", ["en", "zh"], [("en", 1)]);
        Fonts = FontShelf.Settings.Read(json.OptionalObject("fonts") ?? JsonObjectReader.Parse(json.File, "{}"u8));
        ShortPrompts = json.Number("short_prompts", 0, 1, 0.5);
        Generators = [.. json.Objects("generators", 100).Select(Generator)];
        if (Sizes.Count == 0 || Generators.All(generator => generator.Weight == 0))
        {
            throw json.Error(
                Sizes.Count == 0 ? "sizes" : "generators",
                "is empty or has no weight, expected at least one that is taken"
            );
        }
    }

    /// <summary>What reports call it.</summary>
    public string Name { get; }

    internal IReadOnlyList<(int Width, int Height)> Sizes { get; }

    internal IReadOnlyList<string> Backgrounds { get; }

    internal string Colours { get; }

    internal Wear Wear { get; }

    internal IReadOnlyList<(string Item, double Weight)> Languages { get; }

    internal FontShelf.Settings Fonts { get; }

    internal double ShortPrompts { get; }

    internal IReadOnlyList<(IGenerator Item, double Weight)> Generators { get; }

    /// <summary>Reads a recipe's file.</summary>
    /// <exception cref="CheckpointException">It cannot be read, or is no recipe; the message names file and field.</exception>
    public static SynthesisRecipe Open(string path) => new(JsonObjectReader.Open(path, comments: true));

    /// <summary>Reads a recipe from memory.</summary>
    /// <param name="file">What errors call it.</param>
    /// <param name="utf8">The JSON text.</param>
    /// <exception cref="CheckpointException">As <see cref="Open"/>.</exception>
    public static SynthesisRecipe Parse(string file, ReadOnlySpan<byte> utf8) =>
        new(JsonObjectReader.Parse(file, utf8, comments: true));

    static (IGenerator, double) Generator(JsonObjectReader json)
    {
        double weight = json.Number("weight", 0, 1e6, 1);
        return json.Text("kind") switch
        {
            "text" => (new TextGenerator(json), weight),
            "shapes" => (new ShapesGenerator(json), weight),
            "table" => (new TableGenerator(json), weight),
            "dial" => (new DialGenerator(json), weight),
            "chart" => (new ChartGenerator(json), weight),
            "form" => (new FormGenerator(json), weight),
            "ui" => (new UiGenerator(json), weight),
            "frames" => (new FramesGenerator(json), weight),
            var other => throw json.Error(
                "kind",
                $"is '{other}', expected text, shapes, table, dial, chart, form, ui or frames"
            ),
        };
    }

    static (int, int) Size(JsonObjectReader json, string field, string text)
    {
        string[] parts = text.Split('x');
        return
            parts.Length == 2
            && int.TryParse(parts[0], NumberStyles.None, CultureInfo.InvariantCulture, out int width)
            && int.TryParse(parts[1], NumberStyles.None, CultureInfo.InvariantCulture, out int height)
            && width is >= 28 and <= MaxSide
            && height is >= 28 and <= MaxSide
            ? (width, height)
            : throw json.Error(field, $"is '{text}', expected WIDTHxHEIGHT in pixels, each 28 .. {MaxSide}");
    }
}
