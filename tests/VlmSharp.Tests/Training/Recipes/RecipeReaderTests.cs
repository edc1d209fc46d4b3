using VlmSharp.Formats;
using VlmSharp.Kernels;
using VlmSharp.Testing;
using VlmSharp.Training;
using VlmSharp.Training.Recipes;
using Xunit;

namespace VlmSharp.Tests.Training.Recipes;

public sealed class RecipeReaderTests : IDisposable
{
    const string Small = """
        {
            // what people write
            "model": "m", "output": "o", "data": [{ "source": "a.jsonl" }], "examplesPerUpdate": 4, "steps": 10,
            "rates": { "vision": 1e-5, "merger": 1e-4, "language": 2e-5 }
        }
        """;

    readonly TemporaryDirectory directory = new();

    public void Dispose() => directory.Dispose();

    TrainingRecipe Read(string text, params (string, string)[] changes) =>
        RecipeReader.Open(directory.Write("recipe.json", text), changes);

    [Fact]
    public void A_small_recipe_has_defaults()
    {
        TrainingRecipe recipe = Read(Small);
        Assert.Equal([new MixtureEntry("a.jsonl", 1, 0)], recipe.Data);
        Assert.Equal(1e-4, recipe.Rates[ModelPart.Merger]);
        Assert.Equal(0.1, recipe.Optimizer.Decay);
        Assert.Equal(SafetensorsType.BF16, recipe.Weights);
        Assert.Null(recipe.Precision);
        Assert.Equal(0.5, recipe.Schedule(10)(5), 1e-12); // half of a cosine
    }

    [Fact]
    public void The_committed_recipes_are_read()
    {
        string[] files = Directory.GetFiles(Path.Combine(Goldens.Repository, "recipes"), "*.json");
        Assert.Superset(
            new HashSet<string?> { "align.json", "multi-task.json", "instruct.json" },
            files.Select(Path.GetFileName).ToHashSet()
        );
        Assert.All(files, file => RecipeReader.Open(file));
    }

    [Theory]
    [InlineData("\"steps\": 10", "\"steps\": 10, \"stpes\": 3", "field 'stpes' is unknown, expected one of model")]
    [InlineData("\"steps\": 10", "\"steps\": 0", "field 'steps' is 0, expected 1 ..")]
    [InlineData("\"steps\": 10", "\"steps\": 10, \"epochs\": 1", "field 'epochs' stands beside 'steps'")]
    [InlineData(
        "\"examplesPerUpdate\": 4, \"steps\": 10",
        "\"tokensPerUpdate\": 4, \"epochs\": 2",
        "'schedule.total' is missing"
    )]
    [InlineData("\"vision\": 1e-5", "\"tower\": 1e-5", "field 'rates.tower' is unknown")]
    [InlineData("\"a.jsonl\"", "\"a.jsonl\", \"replay\": 0.5", "field 'data' replays everything")]
    [InlineData("\"steps\": 10", "\"steps\": 10, \"freeze\": [\"merger.0-1\"]", "field 'freeze' has 'merger.0-1'")]
    [InlineData(
        "\"steps\": 10",
        "\"steps\": 10, \"schedule\": {\"kind\": \"linear\", \"floor\": 0.1}",
        "'schedule.floor' means nothing to linear"
    )]
    [InlineData(
        "\"steps\": 10",
        "\"steps\": 10, \"precision\": \"f16\"",
        "field 'precision' is 'f16', expected bf16 or f32"
    )]
    [InlineData(
        "\"data\": [{ \"source\": \"a.jsonl\" }]",
        "\"curriculum\": {\"levels\": [{\"data\": [{\"source\": \"a\"}]}, {\"data\": [{\"source\": \"b\"}]}]}",
        "'curriculum.levels[0].below' is missing"
    )]
    public void A_mistake_is_named_with_its_file_and_field(string old, string text, string message)
    {
        Assert.Contains(old, Small);
        CheckpointException error = Assert.Throws<CheckpointException>(() => Read(Small.Replace(old, text)));
        Assert.StartsWith("recipe.json: ", error.Message);
        Assert.Contains(message, error.Message);
    }

    [Fact]
    public void Fields_can_be_set_from_outside()
    {
        TrainingRecipe recipe = Read(
            Small,
            ("rates.vision", "3e-6"),
            ("data.0.source", "b.jsonl"),
            ("schedule.kind", "constant"),
            ("freeze", "[\"language.0-1\"]")
        );
        Assert.Equal(3e-6, recipe.Rates[ModelPart.Vision]);
        Assert.Equal("b.jsonl", recipe.Data[0].Source);
        Assert.Equal(1, recipe.Schedule(10)(9));
        Assert.Equal(new FrozenPart(ModelPart.Language, (0, 1)), recipe.Freeze[0]);
        Assert.Contains(
            "'data.7.source'",
            Assert.Throws<CheckpointException>(() => Read(Small, ("data.7.source", "x"))).Message
        );
        Assert.Contains("unknown", Assert.Throws<CheckpointException>(() => Read(Small, ("rate", "1"))).Message);
    }

    [Theory]
    [InlineData("qwen2-vl", 2)]
    [InlineData("qwen2.5-vl", 2)]
    [InlineData("qwen3-vl-moe", 3)]
    public void Parts_and_layers_are_found_in_every_architecture(string name, int layer)
    {
        using WorkerPool pool = new(1);
        using Checkpoint checkpoint = Checkpoint.Open(Goldens.Local($"{name}/checkpoint"));
        using TrainableModel model = TrainableModel.Load(checkpoint, pool);
        var parts = model
            .Parameters.All.GroupBy(p => ModelParts.Of(p.Name).Part)
            .ToDictionary(g => g.Key, g => g.Sum(p => (long)p.Count));
        Assert.Equal(model.Model.Info.VisionParameters, parts[ModelPart.Vision] + parts[ModelPart.Merger]);
        Assert.Equal(model.Model.Info.TextParameters, parts[ModelPart.Language]);
        foreach (
            (ModelPart part, int depth) in ((ModelPart, int)[])
                [(ModelPart.Vision, model.Model.Info.Tower.Depth), (ModelPart.Language, model.Model.Info.Layers)]
        )
        {
            int?[] layers =
            [
                .. model
                    .Parameters.All.Select(p => ModelParts.Of(p.Name))
                    .Where(p => p.Part == part)
                    .Select(p => p.Layer)
                    .Distinct()
                    .Order(),
            ];
            Assert.Equal([null, .. Enumerable.Range(0, depth).Select(i => (int?)i)], layers);
        }

        TrainingRecipe recipe = Read(Small, ("freeze", "[\"vision\", \"language.0-1\"]"));
        recipe.Apply(model.Parameters);
        Assert.All(
            model.Parameters.All,
            p =>
                Assert.Equal(
                    ModelParts.Of(p.Name) is (ModelPart.Merger, _) or (ModelPart.Language, null or > 1),
                    p.Trained
                )
        );
        recipe = Read(Small, ("freeze", $"[\"language.0-{layer + 40}\"]"));
        Assert.Contains(
            $"no layer {layer + 40}",
            Assert.Throws<CheckpointException>(() => recipe.Apply(model.Parameters)).Message
        );
        recipe = Read(Small, ("freeze", "[\"vision\", \"merger\", \"language\"]"));
        Assert.Contains(
            "nothing left",
            Assert.Throws<CheckpointException>(() => recipe.Apply(model.Parameters)).Message
        );
        recipe = Read(Small, ("rates", "{\"language\": 1e-5}"));
        Assert.Contains("no rate", Assert.Throws<CheckpointException>(() => recipe.Apply(model.Parameters)).Message);
    }

    [Theory]
    [InlineData("transformer.visual.conv1.weight", ModelPart.Vision, -1)]
    [InlineData("transformer.visual.transformer.resblocks.7.attn.in_proj.weight", ModelPart.Vision, 7)]
    [InlineData("transformer.visual.attn_pool.kv_proj.weight", ModelPart.Merger, -1)]
    [InlineData("transformer.visual.proj", ModelPart.Merger, -1)]
    [InlineData("transformer.h.30.attn.c_attn.bias", ModelPart.Language, 30)]
    [InlineData("model.visual.deepstack_merger_list.1.norm.weight", ModelPart.Merger, -1)]
    [InlineData("visual.patch_embed.proj.weight", ModelPart.Vision, -1)]
    [InlineData("model.layers.4.mlp.experts.9.up_proj.weight", ModelPart.Language, 4)]
    public void Names_tell_part_and_layer(string name, ModelPart part, int layer) =>
        Assert.Equal((part, layer < 0 ? null : layer), ModelParts.Of(name));
}
