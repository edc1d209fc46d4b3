using System.Text.Json.Nodes;
using VlmSharp.Chat;
using VlmSharp.Formats;
using VlmSharp.Kernels;
using VlmSharp.Models;
using VlmSharp.Tensors;
using VlmSharp.Testing;
using VlmSharp.Tests.Engine;
using Xunit;

namespace VlmSharp.Tests.Models;

public sealed class QwenVLTests(QwenVLFixture fixture) : IClassFixture<QwenVLFixture>
{
    const double Tolerance = 2e-5; // of the largest value, as for the other models

    readonly ChatModel chat = fixture.Chat;

    [Fact]
    public void The_tower_equals_its_definition_for_several_pictures_at_once()
    {
        using PreparedMedia first = Prepare(1);
        using PreparedMedia second = Prepare(2);
        Tensor both = new ReferenceOps().Allocate(2 * first.Pixels.Rows, first.Pixels.Width);
        both.Slice(0, first.Pixels.Rows).CopyFrom(first.Pixels);
        both.Slice(first.Pixels.Rows, first.Pixels.Rows).CopyFrom(second.Pixels);

        float[] ours = chat.Model.Encode(chat.Ops, both, [first.Plan.Grid, second.Plan.Grid]).ToArray();
        float[] expected = chat.Model.Encode(new ReferenceOps(), both, [first.Plan.Grid, second.Plan.Grid]).ToArray();
        AssertClose(expected, ours);

        float[] alone = chat.Model.Encode(chat.Ops, second.Pixels, [second.Plan.Grid]).ToArray();
        Assert.Equal(alone, ours[alone.Length..]);

        PreparedMedia Prepare(int seed) =>
            chat.Model.Info.Processor.Prepare(TinyModel.Picture(seed).Source, default, chat.Pool);
    }

    [Theory]
    [InlineData(1, 1)]
    [InlineData(39, 41)]
    [InlineData(70, 200)]
    public void The_decoder_equals_its_definition_for_prompts_of_different_frequencies(int first, int second)
    {
        Random random = new(first);
        Step step = new();
        int next = 0;
        foreach (int length in (int[])[first, second])
        {
            for (int i = 0; i < length; i++)
            {
                step.WantLogits(step.AddRow(random.Next(256), i, i, i));
            }

            int[] pages = [.. Enumerable.Range(next, KvLayout.PagesFor(length))];
            step.AddSequence(pages, length, length, length);
            next += pages.Length;
        }

        ModelInfo info = chat.Model.Info;
        using KvCache cache = new(info.Layers, info.Attention.Layout(KvStorage.F32), next);
        chat.Ops.Reset();
        float[] ours = chat.Model.Forward(chat.Ops, step, cache).ToArray();
        float[] expected = chat.Model.Forward(new ReferenceOps(), step, cache).ToArray();
        AssertClose(expected, ours);
    }

    [Theory]
    [InlineData(1, 40, true)]
    [InlineData(40, 41, false)]
    [InlineData(41, 80, true)]
    [InlineData(80, 81, false)]
    [InlineData(81, 160, true)]
    [InlineData(160, 161, false)]
    public void Prompts_share_what_is_computed_while_the_same_power_of_two_holds_them(int one, int other, bool same)
    {
        Assert.Equal(same, chat.Model.KeepsPrefix(one, other));
        Assert.Equal(same, chat.Model.KeepsPrefix(other, one));
    }

    public static TheoryData<string, string?, string> Fields =>
        new()
        {
            { "hidden_size", null, "hidden_size" },
            { "hidden_size", "127", "kv_channels" },
            { "kv_channels", "31", "kv_channels" },
            { "num_attention_heads", "0", "num_attention_heads" },
            { "num_hidden_layers", "-1", "num_hidden_layers" },
            { "intermediate_size", "1.5", "intermediate_size" },
            { "layer_norm_epsilon", "\"x\"", "layer_norm_epsilon" },
            { "rotary_emb_base", "0", "rotary_emb_base" },
            { "rotary_pct", "0.5", "rotary_pct" },
            { "scale_attn_weights", "false", "scale_attn_weights" },
            { "seq_length", "1", "seq_length" },
            { "use_dynamic_ntk", "1", "use_dynamic_ntk" },
            { "quantization_config", "{}", "quantization_config" },
            { "visual", null, "visual" },
            { "visual.heads", "5", "visual.heads" },
            { "visual.image_size", "6", "visual.image_size" },
            { "visual.image_start_id", "482", "visual.image_start_id" },
            { "visual.image_start_id", "475", "<img>" },
            { "visual.mlp_ratio", "0", "visual.mlp_ratio" },
            { "visual.n_queries", "15", "visual.n_queries" },
            { "visual.output_dim", "256", "visual.output_dim" },
            { "visual.patch_size", "0", "visual.patch_size" },
        };

    [Theory]
    [MemberData(nameof(Fields))]
    public void A_config_that_makes_no_sense_is_a_named_error(string path, string? value, string message)
    {
        using CheckpointCopy copy = new(fixture.Path);
        copy.Json(
            "config.json",
            root =>
            {
                string[] names = path.Split('.');
                JsonObject at = names.Length == 1 ? root : root[names[0]]!.AsObject();
                at.Remove(names[^1]);
                if (value is not null)
                {
                    at[names[^1]] = JsonNode.Parse(value);
                }
            }
        );
        var error = Assert.Throws<CheckpointException>(() => ChatModel.Load(copy.Path, 1).Dispose());
        Assert.Equal("config.json", error.File);
        Assert.Contains(message, error.Message);
    }

    [Fact]
    public void Each_missing_and_each_misshapen_tensor_is_a_named_error()
    {
        using CheckpointCopy copy = new(fixture.Path);
        string header = SafetensorsWriter.Split(copy.Read("model.safetensors")).Header;
        foreach (string name in JsonNode.Parse(header)!.AsObject().Select(t => t.Key))
        {
            Fails(name, root => root[name + "x"] = Taken(root, name));
            Fails(
                name,
                root =>
                {
                    JsonObject tensor = root[name]!.AsObject();
                    JsonArray shape = tensor["shape"]!.AsArray();
                    tensor["shape"] = new JsonArray([1, .. shape.Select(d => d!.DeepClone())]);
                }
            );
        }

        void Fails(string name, Action<JsonObject> damage)
        {
            copy.Header("model.safetensors", damage);
            var error = Assert.Throws<CheckpointException>(() => ChatModel.Load(copy.Path, 1).Dispose());
            Assert.Equal("model.safetensors", error.File);
            Assert.Contains(name, error.Message);
            copy.Restore();
        }

        static JsonNode Taken(JsonObject root, string name)
        {
            JsonNode tensor = root[name]!.DeepClone();
            root.Remove(name);
            return tensor;
        }
    }

    [Fact]
    public void A_format_or_a_template_it_does_not_know_is_a_named_error()
    {
        using CheckpointCopy copy = new(fixture.Path);
        copy.Json("generation_config.json", root => root["chat_format"] = "alpaca");
        var error = Assert.Throws<CheckpointException>(() => ChatModel.Load(copy.Path, 1).Dispose());
        Assert.Equal("generation_config.json", error.File);
        Assert.Contains("'alpaca'", error.Message);
        error = Assert.Throws<CheckpointException>(() =>
            ChatModel.Load(fixture.Path, 1, template: "t.jinja").Dispose()
        );
        Assert.Contains("takes no chat template", error.Message);
    }

    static void AssertClose(float[] expected, float[] actual) =>
        Near.RelativeToLargest(Tolerance, Array.ConvertAll(expected, v => (double)v), actual);
}

/// <summary>A loaded tiny checkpoint.</summary>
public sealed class QwenVLFixture : IDisposable
{
    readonly TemporaryDirectory directory = new();

    public QwenVLFixture()
    {
        TinyQwenVL.Write(directory.Path);
        Chat = ChatModel.Load(directory.Path, threads: 2, exact: true);
    }

    public string Path => directory.Path;

    public ChatModel Chat { get; }

    public void Dispose()
    {
        Chat.Dispose();
        directory.Dispose();
    }
}
