using VlmSharp.Adapters;
using VlmSharp.Formats;
using VlmSharp.Formats.Gguf;
using VlmSharp.Kernels;
using VlmSharp.Models;
using VlmSharp.Testing;
using VlmSharp.Tests.Training.Recipes;
using VlmSharp.Training;
using VlmSharp.Training.Recipes;
using VlmSharp.Vision;
using Xunit;

namespace VlmSharp.Tests.Training;

/// <summary>Trained adapters beside bases that are stored in different ways, with dropout, on small checkpoints.</summary>
public sealed class LoraTests : IDisposable
{
    readonly WorkerPool pool = new(2);

    public void Dispose() => pool.Dispose();

    static readonly AdapterConfig Config = new()
    {
        Rank = 3,
        Alpha = 6,
        TargetPattern =
            @".*(self_attn\.(q_proj|v_proj|o_proj)|mlp\.(up_proj|down_proj)|attn\.qkv|merger.*|h\.\d+\.attn\.c_attn)",
    };

    // A question about a picture and an answer, all of it made up.
    static Sample[] Samples(TrainableModel model)
    {
        GridThw grid = new(1, 4, 4);
        Random random = new(5);
        int[] tokens =
        [
            1,
            .. Enumerable.Repeat(model.Model.Info.ImageToken, 4),
            .. Enumerable.Range(0, 12).Select(_ => random.Next(1, 300)),
        ];
        float[] pixels = new float[grid.Patches * model.Model.Info.PatchWidth];
        foreach (ref float pixel in pixels.AsSpan())
        {
            pixel = (float)((2 * random.NextDouble()) - 1);
        }

        int[] labels = [.. tokens.Select((t, i) => i < 8 ? CrossEntropy.Ignored : t)];
        int[] text = [.. tokens.Skip(5)];
        return model.Model is QwenVL // whose pictures have one size
            ? [new Sample(text, text, [])]
            :
            [
                new Sample(tokens, labels, [new SampleMedium(pixels, grid, [new MediaSpan(1, grid, 2)])]),
                new Sample(text, text, []),
            ];
    }

    TrainableModel Load(string name, AdapterConfig config, string? packing = null)
    {
        using TemporaryDirectory directory = new();
        if (name == "qwen-vl")
        {
            TinyQwenVL.Write(directory.Path);
        }

        using Checkpoint checkpoint = Checkpoint.Open(
            name == "qwen-vl" ? directory.Path : Goldens.Local($"{name}/checkpoint")
        );
        if (packing is not null)
        {
            checkpoint.PackTo(Recipe.Find(packing)!);
        }

        return TrainableModel.LoadAdapter(checkpoint, config, pool, seed: 9);
    }

    // B and magnitudes other than those training begins with, where half of the gradients is zero.
    void Shake(TrainableModel model)
    {
        Random random = new(3);
        foreach (Parameter parameter in model.Parameters.Trained)
        {
            foreach (ref float value in parameter.Values)
            {
                value += (float)(0.1 * ((2 * random.NextDouble()) - 1));
            }
        }

        model.Parameters.Repack(pool);
    }

    [Theory]
    [InlineData("qwen2-vl", null, false, 0, 0.01)]
    [InlineData("qwen2-vl", null, false, 0.3, 0.01)]
    [InlineData("qwen2-vl", null, true, 0.3, 0.01)]
    [InlineData("qwen2-vl-tied-bf16", null, false, 0.2, 0.01)]
    [InlineData("qwen2.5-vl", null, true, 0, 0.01)]
    [InlineData("qwen3-vl-moe", null, false, 0.1, 0.01)]
    [InlineData("reader-ref", "q4_0", false, 0, 0.02)]
    [InlineData("qwen-vl", null, false, 0.1, 0.01)]
    public void Gradients_are_the_slopes_of_the_loss(
        string name,
        string? packing,
        bool magnitudes,
        double dropout,
        double tolerance
    )
    {
        AdapterConfig config = Config with { Magnitudes = magnitudes, Dropout = dropout };
        using TrainableModel model = Load(name, config, packing);
        Shake(model);
        if (magnitudes)
        {
            // The norms are constants for the gradient, so that only magnitudes have slopes.
            foreach (Parameter parameter in model.Parameters.Trained)
            {
                parameter.Trained = parameter.Shape.Count == 1;
            }
        }

        Sample[] samples = Samples(model);
        using Trainer trainer = new(model, pool) { DropoutSeed = 7 };
        Parameter[] trained = [.. model.Parameters.Trained];
        float[][] direction = [];
        double middle = Loss(0);
        direction = [.. trained.Select(p => p.Gradient.ToArray())];
        double square = direction.Sum(d => d.Sum(v => (double)v * v));
        double step = 0.003 * middle / square;
        double slope = (Loss(step) - Loss(-step)) / (2 * step);
        Assert.InRange(slope / square, 1 - tolerance, 1 + tolerance);

        double Loss(double distance)
        {
            float[][] before = [.. trained.Select(p => p.Values.ToArray())];
            for (int i = 0; distance != 0 && i < trained.Length; i++)
            {
                for (int k = 0; k < trained[i].Count; k++)
                {
                    trained[i].Values[k] += (float)(distance * direction[i][k]);
                }
            }

            model.Parameters.Repack(pool);
            model.Parameters.ZeroGradients();
            double loss = trainer.Accumulate(samples, 1.0 / 20).CrossEntropy / 20;
            for (int i = 0; i < trained.Length; i++)
            {
                before[i].CopyTo(trained[i].Values);
            }

            return loss;
        }
    }

    [Fact]
    public void Recomputed_blocks_leave_out_the_same_inputs()
    {
        using TrainableModel model = Load("qwen2-vl", Config with { Magnitudes = true, Dropout = 0.5 });
        Shake(model);
        Sample[] samples = Samples(model);
        using Trainer trainer = new(model, pool) { DropoutSeed = 7 };
        float[] first = Gradients();
        trainer.RecomputeText = trainer.RecomputeVision = true;
        Near.SameBits(first, Gradients());
        trainer.DropoutSeed = 8;
        Assert.NotEqual(first, Gradients());
        Assert.Equal(trainer.Evaluate(samples).CrossEntropy, trainer.Evaluate(samples).CrossEntropy);

        float[] Gradients()
        {
            model.Parameters.ZeroGradients();
            trainer.Accumulate(samples, 0.1);
            return [.. model.Parameters.Trained.SelectMany(p => p.Gradient.ToArray())];
        }
    }

    [Fact]
    public void A_new_adapter_changes_nothing_and_begins_as_in_PEFT()
    {
        foreach (bool magnitudes in (bool[])[false, true])
        {
            using TrainableModel model = Load("qwen2-vl", Config with { Magnitudes = magnitudes });
            using Checkpoint checkpoint = Checkpoint.Open(Goldens.Local("qwen2-vl/checkpoint"));
            using TrainableModel plain = TrainableModel.Load(checkpoint, pool);
            using Trainer trainer = new(model, pool);
            using Trainer other = new(plain, pool);
            Sample[] samples = Samples(model);
            Assert.Equal(other.Evaluate(samples).CrossEntropy, trainer.Evaluate(samples).CrossEntropy, 1e-4);
            Adapter adapter = model.Lora!.ToAdapter("new");
            foreach (AdapterModule module in adapter.Modules)
            {
                double bound = 1 / Math.Sqrt(module.Inputs);
                Assert.All(module.A, a => Assert.InRange(a, -bound, bound));
                Assert.True(module.A.Max() > 0.8 * bound && module.A.Min() < -0.8 * bound);
                Assert.All(module.B, b => Assert.Equal(0, b));
            }

            Assert.Equal(adapter.Modules.Count, adapter.Modules.Select(m => m.A[0]).Distinct().Count());
        }
    }

    [Fact]
    public void Targets_that_name_no_layer_are_refused() =>
        Assert.Contains(
            "no linear layer",
            Assert
                .Throws<CheckpointException>(() =>
                    Load("qwen2-vl", Config with { TargetPattern = null, Targets = ["c_attn"] })
                )
                .Message
        );

    [Theory]
    [InlineData("qwen2-vl", "{}", 8)]
    [InlineData("qwen2-vl", """{"vision": true}""", 11)]
    [InlineData("qwen2.5-vl", "{}", 6)]
    [InlineData("qwen3-vl-moe", "{}", -1)]
    [InlineData("qwen2-vl", """{"targets": ["q_proj", "qkv"]}""", 3)]
    [InlineData("qwen2-vl", """{"targets": ["q_proj", "qkv"], "vision": true}""", 6)]
    [InlineData("qwen2-vl", """{"targets": ".*layers\\.0\\..*(up|down)_proj"}""", 2)]
    public void A_recipe_chooses_layers(string name, string section, int count)
    {
        TrainingRecipe recipe = TestRecipe.Of(
            $$"""{ "model": "m", "output": "o", "data": [{ "source": "s" }], "examplesPerUpdate": 1, "steps": 1, "lora": {{section}} }"""
        );
        using TrainableModel model = Load(name, recipe.Lora!);
        recipe.Apply(model.Parameters);
        string[] modules = [.. model.Lora!.ToAdapter("").Modules.Select(m => m.Name)];
        if (count < 0)
        {
            Assert.Contains(modules, m => m.Contains("deepstack_merger_list.0.linear_fc1"));
            Assert.Contains(modules, m => m.Contains("visual.merger.linear_fc2"));
            Assert.DoesNotContain(modules, m => m.Contains("visual.blocks"));
        }
        else
        {
            Assert.Equal(count, modules.Length);
        }

        Assert.Equal(2 * modules.Length, model.Parameters.Trained.Count());
        Assert.Equal(32, recipe.Lora!.Alpha);
    }
}
