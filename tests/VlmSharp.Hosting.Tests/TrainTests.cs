using System.Diagnostics;
using System.Text.Json;
using VlmSharp.Testing;
using Xunit;

namespace VlmSharp.Hosting.Tests;

/// <summary><c>vlm train</c> on a small checkpoint with questions about two pictures.</summary>
public sealed class TrainTests : IDisposable
{
    readonly TemporaryDirectory directory = new();

    public TrainTests()
    {
        foreach (string picture in (string[])["p06-56x56.png", "p07-84x56.png"])
        {
            File.Copy(Goldens.Local($"qwen2-vl/media/{picture}"), directory[picture]);
        }

        directory.Write(
            "train.jsonl",
            string.Join(
                '\n',
                Line("p06-56x56.png", "What is it?", "A square."),
                Line("p07-84x56.png", "And this?", "Something wide."),
                Line("p06-56x56.png", "Is it small?", "Yes."),
                Line("missing.png", "Where?", "Nowhere.")
            )
        );
        directory.Write(
            "recipe.json",
            $$"""
            {
                // four examples, of which one has no picture
                "model": {{JsonSerializer.Serialize(Goldens.Local("qwen2-vl/checkpoint"))}},
                "output": {{JsonSerializer.Serialize(directory["out"])}},
                "data": [{ "source": {{JsonSerializer.Serialize(directory["train.jsonl"])}} }],
                "evaluation": { "source": {{JsonSerializer.Serialize(directory["train.jsonl"])}}, "every": 3 },
                "examplesPerUpdate": 2, "steps": 6, "checkpointEvery": 2, "weights": "f32", "threads": 1,
                "rates": { "vision": 1e-3, "merger": 1e-3, "language": 1e-3 }, "schedule": { "warmup": 1 }
            }
            """
        );
    }

    static string Line(string picture, string question, string answer) =>
        $$"""{"messages": [{"role": "user", "content": "<image>{{question}}"}, {"role": "assistant", "content": "{{answer}}"}], "images": ["{{picture}}"]}""";

    public void Dispose() => directory.Dispose();

    string[] Arguments(params string[] more) => ["train", directory["recipe.json"], .. more];

    byte[] Weights(string output) => File.ReadAllBytes(Path.Combine(directory[output], "model.safetensors"));

    [Fact]
    public void A_recipe_becomes_a_model_that_can_be_asked()
    {
        VlmProcess.Result result = VlmProcess.Run(Arguments());
        Assert.True(result.ExitCode == 0, result.Error);
        Assert.Contains("report.html", result.Output);
        Assert.Contains("missing.png", result.Error);
        Assert.Contains("update 6/6  loss", result.Error);
        Assert.Contains("held-out loss", result.Error);
        JsonElement[] log =
        [
            .. File.ReadAllLines(Path.Combine(directory["out"], "log.jsonl"))
                .Select(line => JsonDocument.Parse(line).RootElement),
        ];
        double[] losses =
        [
            .. log.Where(l => l.TryGetProperty("loss", out _)).Select(l => l.GetProperty("loss").GetDouble()),
        ];
        Assert.Equal(6, losses.Length);
        Assert.True(losses[^1] < losses[0]);
        Assert.Equal(2, log.Count(l => l.TryGetProperty("evaluation", out _)));
        string report = File.ReadAllText(Path.Combine(directory["out"], "report.html"));
        Assert.Contains("<svg", report);
        Assert.Contains("<td>12</td>", report); // examples
        Assert.DoesNotContain("<script", report);
        VlmProcess.Result answer = VlmProcess.Run(
            "ask",
            directory["out"],
            "What is it?",
            "--image",
            directory["p06-56x56.png"],
            "--max-tokens",
            "4"
        );
        Assert.True(answer.ExitCode == 0, answer.Error);
        VlmProcess.Result again = VlmProcess.Run(Arguments());
        Assert.Equal(1, again.ExitCode);
        Assert.Contains("--resume", again.Error);
    }

    [Fact]
    public void A_run_that_was_killed_ends_with_the_same_bits()
    {
        Assert.Equal(
            0,
            VlmProcess.Run(Arguments("--set", $"output={directory["whole"]}", "--set", "steps=40")).ExitCode
        );
        string[] arguments = Arguments("--resume", "--set", "steps=40");
        for (int kill = 0; kill < 3; kill++)
        {
            using Process process = VlmProcess.Start(arguments);
            string checkpoints = Path.Combine(directory["out"], "checkpoints");
            string[] before = Whole(checkpoints);
            for (int wait = 0; wait < 3000 && !process.HasExited && Whole(checkpoints).SequenceEqual(before); wait++)
            {
                Thread.Sleep(5);
            }

            Thread.Sleep(kill * 7); // in the middle of whatever it does then
            process.Kill();
            process.WaitForExit();
        }

        VlmProcess.Result rest = VlmProcess.Run(arguments);
        Assert.True(rest.ExitCode == 0, rest.Error);
        Assert.Equal(Weights("whole"), Weights("out"));

        static string[] Whole(string path) =>
            Directory.Exists(path)
                ? [.. Directory.GetDirectories(path).Where(p => Path.GetExtension(p).Length == 0).Order()]
                : [];
    }

    [Fact]
    public void Updates_can_be_done_in_parts()
    {
        Assert.Equal(0, VlmProcess.Run(Arguments("--set", $"output={directory["whole"]}")).ExitCode);
        VlmProcess.Result first = VlmProcess.Run(Arguments("--steps", "3"));
        Assert.True(first.ExitCode == 0, first.Error);
        Assert.Contains("after 3 updates", first.Output);
        Assert.NotEqual(Weights("whole"), Weights("out"));
        Assert.Equal(0, VlmProcess.Run(Arguments("--resume")).ExitCode);
        Assert.Equal(Weights("whole"), Weights("out"));
    }

    [Fact]
    public void Mistakes_are_one_line()
    {
        VlmProcess.Result unknown = VlmProcess.Run(Arguments("--set", "stpes=3"));
        Assert.Equal(1, unknown.ExitCode);
        Assert.Contains("recipe.json: field 'stpes' is unknown", unknown.Error);
        VlmProcess.Result model = VlmProcess.Run(Arguments("--set", "model=nowhere"));
        Assert.Equal(1, model.ExitCode);
        Assert.Contains("nowhere", model.Error);
        Assert.Equal(1, VlmProcess.Run(Arguments("--set", "steps")).ExitCode);
    }
}
