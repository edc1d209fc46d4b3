using System.Text.Json;
using System.Text.Json.Nodes;
using VlmSharp.Cli.Bench;
using VlmSharp.Formats;
using VlmSharp.Formats.Gguf;
using VlmSharp.Models;
using VlmSharp.Testing;
using VlmSharp.Text;
using VlmSharp.Training.Scratch;
using Xunit;

namespace VlmSharp.Hosting.Tests;

public sealed class ConvertTests
{
    static readonly string Tiny = Goldens.Local("reader-ref/checkpoint");

    [Fact]
    public void A_converted_checkpoint_answers_as_the_checkpoint_does()
    {
        using TemporaryDirectory directory = new();
        string picture = Goldens.Local("reader-ref/media/t028.png");
        VlmProcess.Result expected = VlmProcess.Run("ask", Tiny, "--image", picture, "Read the text.");
        foreach (
            (string name, string[] arguments) in ((string, string[])[])
                [("convert", []), ("quantize", ["--type", "q8_0"])]
        )
        {
            string target = directory[$"{name}.gguf"];
            VlmProcess.Result result = VlmProcess.Run([name, Tiny, target, .. arguments]);
            Assert.True(result.ExitCode == 0, result.Error);
            Assert.Contains($"mmproj-{name}.gguf", result.Output);
            Assert.Equal(expected.Output, VlmProcess.Run("ask", target, "--image", picture, "Read the text.").Output);
        }
    }

    [Fact]
    public void Weights_packed_while_they_are_loaded_answer_as_the_packed_file_does()
    {
        using TemporaryDirectory directory = new();
        string picture = Goldens.Local("reader-ref/media/t028.png");
        foreach (string type in (string[])["q8_0", "q4_k_m"])
        {
            string target = directory[$"{type}.gguf"];
            Assert.Equal(0, VlmProcess.Run("quantize", Tiny, target, "--type", type, "--vision", "f32").ExitCode);
            VlmProcess.Result expected = VlmProcess.Run("ask", target, "--image", picture, "Read the text.");
            VlmProcess.Result result = VlmProcess.Run(
                "ask",
                Tiny,
                "--quant",
                type,
                "--image",
                picture,
                "Read the text."
            );
            Assert.True(result.ExitCode == 0, result.Error);
            Assert.Equal(expected.Output, result.Output);
        }

        VlmProcess.Result wrong = VlmProcess.Run("ask", Tiny, "--quant", "f16", "What?");
        Assert.Equal(1, wrong.ExitCode);
        Assert.Contains("--quant is f16, expected one of q8_0", wrong.Error);
    }

    [Fact]
    public void Types_that_do_not_exist_or_are_not_quantised_are_refused()
    {
        using TemporaryDirectory directory = new();
        foreach (
            (string[] arguments, string message) in ((string[], string)[])
                [
                    (["convert", Tiny, directory["a.gguf"], "--type", "q9"], "--type is q9, expected one of f32, f16"),
                    (
                        ["quantize", Tiny, directory["a.gguf"], "--type", "bf16"],
                        "--type is bf16, which is not quantised"
                    ),
                    (["quantize", Tiny, directory["a.gguf"]], "--type"),
                    (["convert", Tiny, directory["a.bin"]], "does not end in .gguf"),
                    (
                        ["quantize", Tiny, directory["a.gguf"], "--type", "q8_0", "--json"],
                        "--json says something about --calibrate"
                    ),
                    (
                        [
                            "quantize",
                            Tiny,
                            directory["a.gguf"],
                            "--type",
                            "q8_0",
                            "--calibrate",
                            Tiny,
                            "--importance",
                            "i.gguf",
                        ],
                        "choose one"
                    ),
                    (
                        ["quantize", Tiny, directory["a.gguf"], "--type", "q8_0", "--calibrate", directory["none"]],
                        "does not exist"
                    ),
                    (["bench", "--model", Tiny, "--write", directory["b"]], "--write needs --shape"),
                ]
        )
        {
            VlmProcess.Result result = VlmProcess.Run(arguments);
            Assert.Equal(1, result.ExitCode);
            Assert.Contains(message, result.Error);
        }

        Assert.Empty(Directory.GetFiles(directory.Path));
    }

    [Fact]
    public void A_calibration_reports_what_quantising_did_and_keeps_the_importance()
    {
        using TemporaryDirectory directory = new();
        string data = directory.Write("data.jsonl", """{"text": "Read the text."}""");
        string reader = Goldens.Local("reader-ref/checkpoint");
        string[] common = ["--type", "iq4_nl", "--calibrate", data, "--threads", "2"];
        VlmProcess.Result table = VlmProcess.Run(["quantize", reader, directory["a.gguf"], .. common]);
        Assert.Equal(0, table.ExitCode);
        Assert.Matches(@"unquantised +none .* 100\.00 %", table.Output);
        Assert.Matches("iq4_nl +calibrated ", table.Output);

        string file = directory["importance.gguf"];
        string[] more = ["--json", "--save-importance", file, "--answer-tokens", "0"];
        VlmProcess.Result json = VlmProcess.Run(["quantize", reader, directory["b.gguf"], .. common, .. more]);
        JsonElement report = JsonDocument.Parse(json.Output).RootElement;
        Assert.Equal((1, 0), (report.GetProperty("samples").GetInt32(), report.GetProperty("answers").GetInt32()));
        JsonElement[] models = [.. report.GetProperty("models").EnumerateArray()];
        Assert.Equal([false, false, true], models.Select(model => model.GetProperty("calibrated").GetBoolean()));
        Assert.All(models, model => Assert.True(model.GetProperty("perplexity").GetDouble() >= 1));

        string again = directory["c.gguf"];
        Assert.Equal(0, VlmProcess.Run("quantize", reader, again, "--type", "iq4_nl", "--importance", file).ExitCode);
        using GgufFile calibrated = GgufFile.Open(directory["b.gguf"]);
        using GgufFile read = GgufFile.Open(again);
        foreach (GgufTensor tensor in calibrated.Tensors.Values)
        {
            Assert.True(tensor.Bytes(0, tensor.Count).SequenceEqual(read.Tensor(tensor.Name).Bytes(0, tensor.Count)));
        }
    }

    [Fact]
    public void A_directory_gets_a_packed_checkpoint_that_answers()
    {
        using TemporaryDirectory directory = new();
        string reader = Goldens.Local("reader-ref/checkpoint");
        string packed = directory["packed"];
        VlmProcess.Result made = VlmProcess.Run("quantize", reader, packed, "--type", "q8_0");
        Assert.True(made.ExitCode == 0, made.Error);
        Assert.Matches("Q8_0 +[0-9]+ matrices", made.Output);
        string[] question = ["--image", Goldens.Local("reader-ref/media/t028.png"), "Read the text."];
        VlmProcess.Result asked = VlmProcess.Run(["ask", packed, .. question]);
        Assert.Equal(VlmProcess.Run(["ask", reader, "--quant", "q8_0", .. question]).Output, asked.Output);

        string again = VlmProcess.Run("quantize", reader, packed, "--type", "q8_0").Error;
        Assert.Contains("is there already", again);
        VlmProcess.Result refused = VlmProcess.Run("convert", reader, directory["b"], "--vision", "f16");
        Assert.Contains("--vision is for GGUF files", refused.Error);
    }

    [Fact]
    public void Random_weights_are_a_checkpoint_that_is_converted_and_tokenises_any_text()
    {
        using TemporaryDirectory directory = new();
        JsonObject config = (JsonObject)ModelShape.All[0].Config.DeepClone();
        (config["hidden_size"], config["intermediate_size"], config["num_hidden_layers"]) = (256, 64, 1);
        (config["num_attention_heads"], config["num_key_value_heads"]) = (2, 1);
        JsonObject vision = config["vision_config"]!.AsObject();
        (vision["depth"], vision["embed_dim"], vision["num_heads"], vision["hidden_size"]) = (1, 32, 2, 256);
        new RandomCheckpoint(new("small", config, 14), directory["made"], _ => { }).Dispose();
        string target = directory["made.gguf"];
        VlmProcess.Result result = VlmProcess.Run("quantize", directory["made"], target, "--type", "q4_k_m");
        Assert.True(result.ExitCode == 0, result.Error);
        using Checkpoint checkpoint = Checkpoint.Open(target);
        Assert.Equal(151936, ModelRegistry.Describe(checkpoint).Vocabulary);
        Tokenizer tokenizer = Tokenizer.Load(checkpoint);
        Assert.Equal(151657, tokenizer.VocabularySize);
        const string text = "<|im_start|>user\nWhat is 图片? It's é<|image_pad|> 12.5<|im_end|>";
        List<int> ids = [];
        tokenizer.Encode(text, ids, AddedTokenUse.Parse);
        Assert.Equal(text, tokenizer.Decode([.. ids]));
        Assert.Equal((151644, 151645), (ids[0], ids[^1]));
        Assert.Contains(151655, ids);
        Assert.Equal([151643, 151645], checkpoint.Generation.StopIds);
    }
}
