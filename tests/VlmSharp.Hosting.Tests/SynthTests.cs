using VlmSharp.Testing;
using Xunit;

namespace VlmSharp.Hosting.Tests;

public sealed class SynthTests
{
    const string Recipe = """
        {
          // Comments are allowed.
          "sizes": ["112x56"],
          "generators": [{ "kind": "text", "length": [1, 4], "size": [12, 20] }, { "kind": "shapes", "size": [10, 30] }]
        }
        """;

    [Fact]
    public void A_recipe_becomes_pictures_conversations_and_a_page_to_look_at()
    {
        using TemporaryDirectory directory = new();
        string recipe = directory.Write("recipe.json", Recipe);
        VlmProcess.Result result = VlmProcess.Run(
            "synth",
            recipe,
            "--count",
            "20",
            "--seed",
            "3",
            "--out",
            directory["one"],
            "--preview",
            directory["page.html"],
            "--threads",
            "2"
        );
        Assert.True(result.ExitCode == 0, result.Error);
        Assert.Equal("", result.Output);
        Assert.Contains("20 examples", result.Error);
        Assert.Equal(20, File.ReadLines(directory["one/data.jsonl"]).Count());
        Assert.Equal(20, Directory.GetFiles(directory["one/images"], "*.png").Length);
        string page = File.ReadAllText(directory["page.html"]);
        Assert.Equal(20, page.Split("<figure>").Length - 1);
        Assert.Equal(20, page.Split("src=\"data:image/png;base64,").Length - 1);

        Assert.Equal(
            0,
            VlmProcess.Run("synth", recipe, "--count", "20", "--seed", "3", "--out", directory["two"]).ExitCode
        );
        Assert.Equal(File.ReadAllText(directory["one/data.jsonl"]), File.ReadAllText(directory["two/data.jsonl"]));
        Assert.Equal(
            0,
            VlmProcess.Run("synth", recipe, "--count", "20", "--seed", "4", "--out", directory["two"]).ExitCode
        );
        Assert.NotEqual(File.ReadAllText(directory["one/data.jsonl"]), File.ReadAllText(directory["two/data.jsonl"]));
    }

    [Fact]
    public void What_is_wrong_is_said_in_one_line()
    {
        using TemporaryDirectory directory = new();
        string recipe = directory.Write("recipe.json", Recipe);
        string wrong = directory.Write(
            "wrong.json",
            """{ "sizes": ["112x56"], "generators": [{ "kind": "text", "font": "x" }] }"""
        );
        (string Expected, string[] Arguments)[] cases =
        [
            ("expected --out DIR, --preview FILE, or both", [recipe]),
            ("--count is 0, expected 1 ..", [recipe, "--count", "0", "--out", directory["a"]]),
            ("wrong.json: field 'generators[0].font' is unknown", [wrong, "--out", directory["a"]]),
            ("none.json", [directory["none.json"], "--out", directory["a"]]),
        ];
        foreach ((string expected, string[] arguments) in cases)
        {
            VlmProcess.Result result = VlmProcess.Run(["synth", .. arguments]);
            Assert.Equal(1, result.ExitCode);
            Assert.Contains(expected, result.Error);
            Assert.Single(result.Error.Trim().Split('\n'));
        }
    }
}
