using System.Text.Json;
using VlmSharp.Testing;
using Xunit;

namespace VlmSharp.Hosting.Tests;

/// <summary><c>vlm lora</c>, <c>vlm merge</c> and <c>--adapter</c> on the small reader.</summary>
public sealed class LoraTests : IDisposable
{
    static readonly string Reader = Goldens.Local("reader-ref/checkpoint");

    readonly TemporaryDirectory directory = new();

    public LoraTests()
    {
        string[] pictures = ["t000.png", "t001.png", "t002.png", "t003.png"];
        foreach (string picture in pictures)
        {
            File.Copy(Goldens.Local($"reader-ref/media/{picture}"), directory[picture]);
        }

        directory.Write(
            "train.jsonl",
            string.Join(
                '\n',
                pictures.Select(picture =>
                    $$"""{"messages": [{"role": "user", "content": "<image>Read the text."}, {"role": "assistant", "content": "1717"}], "images": ["{{picture}}"]}"""
                )
            )
        );
    }

    public void Dispose() => directory.Dispose();

    string[] Lora(string output, params string[] more) =>
        [
            "lora",
            Reader,
            directory["train.jsonl"],
            "--out",
            directory[output],
            "--rank",
            "4",
            "--batch",
            "2",
            "--rate",
            "0.01",
            "--threads",
            "1",
            .. more,
        ];

    byte[] Weights(string output) => File.ReadAllBytes(Path.Combine(directory[output], "adapter_model.safetensors"));

    static string Run(params string[] arguments)
    {
        VlmProcess.Result result = VlmProcess.Run(arguments);
        Assert.True(result.ExitCode == 0, result.Error);
        return result.Output;
    }

    string Ask(string model, params string[] more) =>
        Run([
            "ask",
            model,
            "--image",
            directory["t000.png"],
            "Read the text.",
            "--max-tokens",
            "12",
            "--temperature",
            "0",
            .. more,
        ]);

    [Fact]
    public void An_adapter_is_trained_and_asked_and_merged()
    {
        Assert.Contains("holds the trained adapter", Run(Lora("out", "--epochs", "30", "--dropout", "0.1")));
        double[] losses =
        [
            .. File.ReadAllLines(Path.Combine(directory["out"], "log.jsonl"))
                .Select(line => JsonDocument.Parse(line).RootElement)
                .Where(line => line.TryGetProperty("loss", out _))
                .Select(line => line.GetProperty("loss").GetDouble()),
        ];
        Assert.Equal(60, losses.Length);
        Assert.True(losses[^1] < losses[0] / 4, $"{losses[0]} became {losses[^1]}");
        Assert.False(File.Exists(Path.Combine(directory["out"], "model.safetensors")));
        string learnt = Ask(Reader, "--adapter", directory["out"]);
        Assert.Contains("1717", learnt);
        Assert.DoesNotContain("1717", Ask(Reader));
        Assert.Contains("tensors were changed", Run("merge", Reader, directory["out"], directory["merged"]));
        Assert.Equal(learnt, Ask(directory["merged"]));
        VlmProcess.Result wrong = VlmProcess.Run(
            "ask",
            Goldens.Local("qwen2-vl/checkpoint"),
            "What is it?",
            "--adapter",
            directory["out"]
        );
        Assert.Equal(1, wrong.ExitCode);
        Assert.Contains("another model", wrong.Error);
    }

    [Fact]
    public void A_recipe_with_a_lora_section_done_in_parts_ends_with_the_same_bits()
    {
        directory.Write(
            "recipe.json",
            $$"""
            {
                "model": {{JsonSerializer.Serialize(Reader)}}, "output": {{JsonSerializer.Serialize(
                directory["parts"]
            )}},
                "data": [{ "source": {{JsonSerializer.Serialize(directory["train.jsonl"])}} }],
                "lora": { "targets": ["q_proj", "v_proj", "down_proj"], "rank": 3, "alpha": 6, "dropout": 0.2, "dora": true, "rslora": true },
                "examplesPerUpdate": 2, "steps": 6, "threads": 1, "recompute": { "text": true }, "seed": 4
            }
            """
        );
        string[] train = ["train", directory["recipe.json"]];
        Run([.. train, "--set", $"output={directory["whole"]}"]);
        Run([.. train, "--steps", "2"]);
        Assert.NotEqual(Weights("whole"), Weights("parts"));
        Run([.. train, "--resume", "--steps", "3"]);
        Run([.. train, "--resume"]);
        Assert.Equal(Weights("whole"), Weights("parts"));
        Run([.. train, "--set", $"output={directory["other"]}", "--set", "seed=5"]);
        Assert.NotEqual(Weights("whole"), Weights("other"));
        VlmProcess.Result frozen = VlmProcess.Run([.. train, "--set", "freeze=[\"vision\"]"]);
        Assert.Equal(1, frozen.ExitCode);
        Assert.Contains("'freeze' stands beside 'lora'", frozen.Error);
        VlmProcess.Result targets = VlmProcess.Run([
            .. train,
            "--set",
            $"output={directory["none"]}",
            "--set",
            "lora.targets=[\"nothing\"]",
        ]);
        Assert.Equal(1, targets.ExitCode);
        Assert.Contains("names no linear layer", targets.Error);
    }
}
