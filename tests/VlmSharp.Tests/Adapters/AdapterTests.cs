using System.Text.Json.Nodes;
using VlmSharp.Adapters;
using VlmSharp.Chat;
using VlmSharp.Conversion;
using VlmSharp.Formats;
using VlmSharp.Kernels;
using VlmSharp.Testing;
using Xunit;

namespace VlmSharp.Tests.Adapters;

/// <summary>Adapters in PEFT's layout: read, refused, written, and merged into weights.</summary>
public sealed class AdapterTests
{
    public static TheoryData<string> Cases => [.. AdapterCase.Names];

    static double[] Doubles(float[] values) => Array.ConvertAll(values, v => (double)v);

    [Theory, MemberData(nameof(Cases))]
    public void Merged_weights_are_the_reference_s(string name)
    {
        using AdapterCase golden = new(name);
        using Checkpoint checkpoint = golden.Checkpoint;
        using SafetensorsFile expected = golden.Expected();
        using WorkerPool pool = new(2);
        AdapterMerge merge = new(golden.Adapter, checkpoint, pool);
        string[] names =
        [
            .. expected
                .Tensors.Where(t => t.Name.StartsWith("merged.", StringComparison.Ordinal))
                .Select(t => t.Name["merged.".Length..]),
        ];
        Assert.NotEmpty(names);
        Assert.Equal(names.Order(), merge.Names.Order());
        foreach (string tensor in names)
        {
            int[] shape = expected.Find($"merged.{tensor}").Shape;
            float[] values = checkpoint.Get(tensor, shape).ToArray();
            merge.Apply(tensor, shape, values);
            Near.RelativeToLargest(
                golden.Tolerance("merged"),
                Doubles(expected.Floats($"merged.{tensor}")),
                values,
                tensor
            );
        }
    }

    [Theory, MemberData(nameof(Cases))]
    public void The_config_adapts_the_modules_that_are_in_the_file(string name)
    {
        using AdapterCase golden = new(name);
        using Checkpoint checkpoint = golden.Checkpoint;
        Adapter adapter = golden.Adapter;
        string[] adapted =
        [
            .. checkpoint
                .Tensors.Where(t => t.Name.EndsWith(".weight", StringComparison.Ordinal) && t.Shape.Length == 2)
                .Select(t => ModuleNames.Current(t.Name[..^".weight".Length]))
                .Where(adapter.Config.Adapts)
                .Order(StringComparer.Ordinal),
        ];
        Assert.Equal(adapter.Modules.Select(m => ModuleNames.Current(m.Name)).Order(StringComparer.Ordinal), adapted);
    }

    [Theory, MemberData(nameof(Cases))]
    public void What_is_saved_again_is_the_same(string name)
    {
        using AdapterCase golden = new(name);
        using TemporaryDirectory directory = new();
        golden.Adapter.Save(directory.Path);
        using SafetensorsFile expected = SafetensorsFile.Open(Path.Combine(golden.Directory, Adapter.WeightsFile));
        using SafetensorsFile saved = SafetensorsFile.Open(Path.Combine(directory.Path, Adapter.WeightsFile));
        Assert.Equal(expected.Tensors.Select(t => t.Name).Order(), saved.Tensors.Select(t => t.Name).Order());
        foreach (TensorInfo tensor in expected.Tensors)
        {
            Assert.Equal(tensor.Shape, saved.Find(tensor.Name).Shape);
            Assert.Equal(expected.Floats(tensor.Name), saved.Floats(tensor.Name));
        }

        AdapterConfig again = Adapter.Open(directory.Path).Config;
        Assert.Equal(golden.Adapter.Config.ToJson(), again.ToJson());
        JsonObject before = Json(golden.Directory);
        foreach ((string field, JsonNode? value) in Json(directory.Path))
        {
            bool ours = field is "bias" or "init_lora_weights" or "task_type";
            Assert.True(ours || JsonNode.DeepEquals(before[field], value), $"{field} is {value}, was {before[field]}");
        }
    }

    static JsonObject Json(string directory) =>
        JsonNode.Parse(File.ReadAllBytes(Path.Combine(directory, Adapter.ConfigFile)))!.AsObject();

    [Fact]
    public void A_merged_checkpoint_has_the_weights_that_loading_merges()
    {
        using AdapterCase golden = new("dora");
        using TemporaryDirectory directory = new();
        string target = Path.Combine(directory.Path, "merged");
        using WorkerPool pool = new(2);
        using Checkpoint checkpoint = golden.Checkpoint;
        AdapterMerge merge = new(golden.Adapter, checkpoint, pool);
        using Checkpoint plain = golden.Checkpoint;
        checkpoint.Change(merge);
        MergedExport.Write(checkpoint, target);
        using Checkpoint written = Checkpoint.Open(target);
        foreach (TensorInfo tensor in plain.Tensors)
        {
            float[] values = written.Get(tensor.Name, tensor.Shape).ToArray();
            Assert.Equal(tensor.Type, written.Tensors.Single(t => t.Name == tensor.Name).Type);
            Assert.Equal(checkpoint.Get(tensor.Name, tensor.Shape).ToArray(), values);
            Assert.Equal(
                merge.Changes(tensor.Name),
                !values.SequenceEqual(plain.Get(tensor.Name, tensor.Shape).ToArray())
            );
        }

        using ChatModel loaded = ChatModel.Load(golden.CheckpointDirectory, 2, adapters: [golden.Directory]);
        Assert.Throws<IOException>(() => MergedExport.Write(checkpoint, target));
    }

    [Theory]
    [InlineData("use_qalora", "true", "use_qalora")]
    [InlineData("layer_replication", "[[0, 1]]", "layer_replication")]
    [InlineData("invented_in_2031", "7", "invented_in_2031")]
    [InlineData("peft_type", "\"IA3\"", "peft_type")]
    [InlineData("init_lora_weights", "\"pissa_niter_4\"", "init_lora_weights")]
    [InlineData("r", "0", "'r'")]
    [InlineData("r", "3", "expected [3, inputs]")]
    [InlineData("rank_pattern", "{\"(q_proj\": 4}", "regular expression")]
    [InlineData("target_modules", "\"(\"", "regular expression")]
    [InlineData("bias", "\"some\"", "'bias'")]
    [InlineData("use_dora", "true", "lora_magnitude_vector")]
    [InlineData("rank_pattern", "{\"(.*.*.*.*.*.*)*!\": 4}", "takes more than a second")]
    public void What_is_wrong_or_not_implemented_is_named(string field, string value, string message)
    {
        using TemporaryDirectory directory = new();
        Write(directory.Path, A("q_proj"), B("q_proj"));
        Set(directory.Path, field, value);
        CheckpointException error = Assert.Throws<CheckpointException>(() => Adapter.Open(directory.Path));
        Assert.Contains(message, error.Message);
    }

    [Theory]
    [InlineData("model.x.lora_A.weight", "base_model.model.")]
    [InlineData("base_model.model.x.lora_embedding_A", "lora_embedding_A")]
    [InlineData("base_model.model.x.lora_B.bias", "lora_B.bias")]
    [InlineData("base_model.model.x.weight", "modules_to_save")]
    [InlineData("base_model.model.model.layers.0.self_attn.v_proj.lora_A.weight", "has no lora_B.weight")]
    public void A_tensor_that_has_no_place_is_named(string name, string message)
    {
        using TemporaryDirectory directory = new();
        Write(directory.Path, A("q_proj"), B("q_proj"), (name, [2, 4]));
        CheckpointException error = Assert.Throws<CheckpointException>(() => Adapter.Open(directory.Path));
        Assert.Contains(message, error.Message);
    }

    [Fact]
    public void Biases_stand_where_PEFT_looks_for_them()
    {
        using TemporaryDirectory directory = new();
        AdapterConfig config = new()
        {
            Rank = 1,
            Alpha = 1,
            Targets = ["q_proj"],
            Bias = "all",
        };
        AdapterModule module = new("model.q_proj", 1, 1, [1, 2], [3, 4], null);
        AdapterTensor[] biases = [new("model.q_proj.bias", [2], [5, 6]), new("model.k_proj.bias", [2], [7, 8])];
        new Adapter("new", config, [module], biases).Save(directory.Path);
        using SafetensorsFile file = SafetensorsFile.Open(Path.Combine(directory.Path, Adapter.WeightsFile));
        Assert.True(file.Contains("base_model.model.model.q_proj.base_layer.bias"));
        Assert.True(file.Contains("base_model.model.model.k_proj.bias"));
        Assert.Equal(biases.Select(b => b.Name), Adapter.Open(directory.Path).Tensors.Select(t => t.Name));
    }

    [Fact]
    public void Adapters_of_other_models_and_of_experts_are_refused()
    {
        using Checkpoint checkpoint = Checkpoint.Open(Goldens.Local("qwen2-vl/checkpoint"));
        using WorkerPool pool = new(1);
        using TemporaryDirectory directory = new();
        Write(directory.Path, A("q_proj"), B("q_proj"));
        Assert.Contains("made for [4, 4]", Merge(directory.Path));
        Write(directory.Path, A("c_attn"), B("c_attn"));
        Assert.Contains("made for another model", Merge(directory.Path));
        Write(directory.Path, A("experts.0"), B("experts.0"));
        Assert.Contains("experts are not implemented", Merge(directory.Path));

        string Merge(string path) =>
            Assert
                .Throws<CheckpointException>(() =>
                {
                    AdapterMerge merge = new(Adapter.Open(path), checkpoint, pool);
                    string name = merge.Names.Single();
                    TensorInfo tensor = checkpoint.Tensors.Single(t => t.Name == name);
                    merge.Apply(name, tensor.Shape, checkpoint.Get(name, tensor.Shape).ToArray());
                })
                .Message;
    }

    static (string, int[]) A(string module) =>
        ($"base_model.model.model.layers.0.self_attn.{module}.lora_A.weight", [2, 4]);

    static (string, int[]) B(string module) =>
        ($"base_model.model.model.layers.0.self_attn.{module}.lora_B.weight", [4, 2]);

    static void Write(string directory, params (string Name, int[] Shape)[] tensors)
    {
        using SafetensorsOutput output = new(
            Path.Combine(directory, Adapter.WeightsFile),
            tensors.Select(t => (t.Name, SafetensorsType.F32, (IReadOnlyList<int>)t.Shape))
        );
        foreach ((_, int[] shape) in tensors)
        {
            output.Write(new byte[sizeof(float) * shape.Aggregate(1, (a, b) => a * b)]);
        }

        output.Finish();
        AdapterConfig config = new()
        {
            Rank = 2,
            Alpha = 4,
            Targets = ["q_proj"],
        };
        File.WriteAllText(Path.Combine(directory, Adapter.ConfigFile), config.ToJson());
    }

    static void Set(string directory, string field, string value)
    {
        JsonObject json = Json(directory);
        json[field] = JsonNode.Parse(value);
        File.WriteAllText(Path.Combine(directory, Adapter.ConfigFile), json.ToJsonString());
    }
}
