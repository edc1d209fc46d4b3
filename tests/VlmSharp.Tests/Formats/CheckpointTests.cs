using System.Text.Json.Nodes;
using VlmSharp.Formats;
using VlmSharp.Kernels;
using VlmSharp.Testing;
using Xunit;

namespace VlmSharp.Tests.Formats;

public sealed class CheckpointTests : IDisposable
{
    static readonly string Single = Goldens.Local("qwen2-vl/checkpoint");
    static readonly string Sharded = Goldens.Local("qwen2-vl-tied-bf16/checkpoint");

    readonly TemporaryDirectory directory = new();

    public void Dispose() => directory.Dispose();

    [Fact]
    public void A_single_file_checkpoint_opens()
    {
        using Checkpoint checkpoint = Checkpoint.Open(Single);
        Assert.Equal("Qwen2VLForConditionalGeneration", checkpoint.Architecture);
        Assert.Equal(48, checkpoint.Config.Int("hidden_size", 1, 100));
        Assert.Equal([420, 421], checkpoint.Generation.StopIds);
        CheckpointTensor tensor = checkpoint.Get("visual.patch_embed.proj.weight", 24, 3, 2, 14, 14);
        Assert.Equal(ElementType.F32, tensor.Type);
        Assert.Equal(24 * 3 * 2 * 14 * 14 * 4, tensor.Bytes.Length);
        Assert.True(checkpoint.Contains("lm_head.weight"));
        Assert.Equal("chat_template.json", checkpoint.ChatTemplateFile);
        Assert.StartsWith("{% set image_count", checkpoint.ChatTemplate);
    }

    [Fact]
    public void A_sharded_checkpoint_opens_with_the_tensors_of_all_shards()
    {
        using Checkpoint checkpoint = Checkpoint.Open(Sharded);
        JsonNode index = JsonNode.Parse(File.ReadAllText(Path.Combine(Sharded, "model.safetensors.index.json")))!;
        Assert.Equal(
            index["weight_map"]!.AsObject().ToDictionary(pair => pair.Key, pair => pair.Value!.GetValue<string>()),
            checkpoint.Tensors.ToDictionary(tensor => tensor.Name, tensor => tensor.File)
        );
        Assert.Equal(index["metadata"]!["total_size"]!.GetValue<long>(), checkpoint.Tensors.Sum(tensor => tensor.Size));
        Assert.Equal(ElementType.BF16, checkpoint.Get("model.language_model.norm.weight", 256).Type);
    }

    /// <summary>Rows of the embedding table against what the reference looked up in it.</summary>
    [Theory]
    [InlineData("qwen2-vl", "model.embed_tokens.weight", 48)]
    [InlineData("qwen2-vl-tied-bf16", "model.language_model.embed_tokens.weight", 256)]
    public void Weights_have_the_values_the_reference_read(string name, string embedding, int width)
    {
        using SafetensorsFile expected = SafetensorsFile.Open(
            Goldens.Shared($"golden/{name}/expected/text-only.safetensors")
        );
        using Checkpoint checkpoint = Checkpoint.Open(Goldens.Local($"{name}/checkpoint"));
        CheckpointTensor table = checkpoint.Get(embedding, 448, width);
        float[] rows = [.. expected.Integers("input_ids").SelectMany(id => table.Rows((int)id, 1).ToArray())];
        Assert.Equal(expected.Floats("text.embeds"), rows);
    }

    [Fact]
    public void A_missing_tensor_is_named_with_its_shape_and_its_neighbours()
    {
        using Checkpoint checkpoint = Checkpoint.Open(Single);
        string message = Message(() => checkpoint.Get("model.layers.0.self_attn.q_proj.scale", 48, 12));
        Assert.StartsWith(
            "model.safetensors: has no tensor 'model.layers.0.self_attn.q_proj.scale' of shape [48, 12]; ",
            message
        );
        Assert.Contains("'model.layers.0.self_attn.q_proj.bias'", message);
    }

    [Fact]
    public void A_wrong_shape_names_both_shapes_and_the_shard()
    {
        using Checkpoint checkpoint = Checkpoint.Open(Sharded);
        Assert.Equal(
            "model-00003-of-00003.safetensors: tensor 'model.language_model.norm.weight' has shape [256], config.json asks for [1, 256]",
            Message(() => checkpoint.Get("model.language_model.norm.weight", 1, 256))
        );
    }

    [Fact]
    public void Tensors_that_nobody_took_are_an_error_unless_they_are_ignored()
    {
        using Checkpoint checkpoint = Checkpoint.Open(Single);
        foreach (
            TensorInfo tensor in checkpoint.Tensors.Where(tensor =>
                tensor.Name is not ("lm_head.weight" or "model.norm.weight")
            )
        )
        {
            checkpoint.Get(tensor.Name, tensor.Shape);
        }

        checkpoint.Ignore("lm_head.weight", "tied to the embedding");
        checkpoint.Ignore("no.such.tensor", "never there");
        Assert.Equal(
            $"model.safetensors: 1 of {checkpoint.Tensors.Count} tensors have no place in Qwen2VLForConditionalGeneration as config.json describes it: 'model.norm.weight' [48]",
            Message(checkpoint.ThrowIfUnused)
        );
        checkpoint.Get("model.norm.weight", 48);
        checkpoint.ThrowIfUnused();
        Assert.Equal(
            new Dictionary<string, string> { ["lm_head.weight"] = "tied to the embedding" },
            checkpoint.Ignored
        );
    }

    [Fact]
    public void After_dispose_weights_are_not_read()
    {
        Checkpoint checkpoint = Checkpoint.Open(Sharded);
        CheckpointTensor tensor = checkpoint.Get("model.language_model.norm.weight", 256);
        checkpoint.Dispose();
        Assert.Throws<ObjectDisposedException>(() => tensor.ToArray());
    }

    [Fact]
    public void A_directory_that_is_not_there_is_named() =>
        Assert.Equal($"{directory["x"]}: there is no such directory", Message(() => Checkpoint.Open(directory["x"])));

    [Fact]
    public void Weights_in_another_format_are_not_looked_for_in_vain()
    {
        using CheckpointCopy copy = new(Single);
        copy.Delete("model.safetensors");
        copy.Write("pytorch_model.bin", "x");
        Assert.StartsWith(
            "model.safetensors: neither it nor model.safetensors.index.json is in ",
            Message(() => Checkpoint.Open(copy.Path))
        );
    }

    [Fact]
    public void The_index_cannot_lead_out_of_the_directory()
    {
        using CheckpointCopy copy = new(Sharded);
        copy.Text("model.safetensors.index.json", text => text.Replace("model-00003-of", "../model-00003-of"));
        Assert.Contains(
            "into '../model-00003-of-00003.safetensors', expected the plain name of a .safetensors file in the same directory",
            Message(() => Checkpoint.Open(copy.Path))
        );
    }

    [Theory]
    [InlineData("qwen2-vl", 3136, 12845056)]
    [InlineData("qwen2.5-vl", 3136, 12845056)]
    public void Processor_settings_come_from_the_file(string name, long minPixels, long maxPixels)
    {
        using Checkpoint checkpoint = Checkpoint.Open(Goldens.Shared($"golden/{name}/checkpoint"));
        ProcessorConfig processor = checkpoint.Processor!;
        Assert.Equal((14, 2, 2), (processor.PatchSize, processor.TemporalPatchSize, processor.MergeSize));
        Assert.Equal((minPixels, maxPixels), (processor.MinPixels, processor.MaxPixels));
        Assert.Equal([0.48145466f, 0.4578275f, 0.40821073f], processor.Mean);
        Assert.Equal([0.26862954f, 0.26130258f, 0.27577711f], processor.Std);
        Assert.Equal(1.0 / 255, processor.RescaleFactor);
        Assert.Equal(processor.MaxPixels, checkpoint.VideoProcessor!.MaxPixels);
    }

    /// <summary>All families and storage forms the reference wrote: weights open, and everything in the configs is within its range.</summary>
    [Fact]
    public void Every_checkpoint_of_the_reference_opens()
    {
        string[] directories =
        [
            .. Directory
                .GetFiles(Goldens.Shared("golden"), "config.json", SearchOption.AllDirectories)
                .Select(file => Path.GetDirectoryName(file)!)
                .Where(path => Directory.GetFiles(path, "*.safetensors").Length > 0),
        ];
        Assert.True(directories.Length > 20);
        foreach (string path in directories)
        {
            using Checkpoint checkpoint = Checkpoint.Open(path);
            Assert.NotEmpty(checkpoint.Generation.StopIds);
            Assert.NotEmpty(checkpoint.Tensors);
            if (checkpoint.Architecture.StartsWith("Qwen2VL") || checkpoint.Architecture.StartsWith("Qwen3VL"))
            {
                Assert.NotNull(checkpoint.Processor);
                Assert.NotNull(checkpoint.VideoProcessor);
                Assert.NotNull(checkpoint.ChatTemplate);
            }
        }
    }

    static string Message(Action act) => Assert.Throws<CheckpointException>(act).Message;

    static string Message(Func<object?> act) => Assert.Throws<CheckpointException>(act).Message;
}
