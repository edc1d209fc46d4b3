using System.Text.Json;
using VlmSharp.Formats;
using VlmSharp.Kernels;
using VlmSharp.Models;
using VlmSharp.Testing;
using VlmSharp.Training;
using VlmSharp.Vision;
using Xunit;

namespace VlmSharp.Tests.Training;

/// <summary>One of the golden training cases: a checkpoint, samples, and what ten updates computed from them.</summary>
sealed class TrainingCase : IDisposable
{
    public static readonly string[] Names =
    [
        "train-qwen2-vl",
        "train-qwen2.5-vl",
        "train-qwen3-vl",
        "train-qwen3-vl-moe",
    ];

    readonly string directory;
    readonly JsonDocument json;
    readonly JsonDocument losses;
    readonly SafetensorsFile inputs;

    public TrainingCase(string name, WorkerPool pool, TrainableModel? model = null)
    {
        directory = Goldens.Shared($"golden/{name}");
        json = JsonDocument.Parse(File.ReadAllBytes(Path.Combine(directory, "case.json")));
        losses = JsonDocument.Parse(File.ReadAllBytes(Path.Combine(directory, "expected", "losses.json")));
        inputs = Expected("inputs.safetensors");
        using Checkpoint checkpoint = Checkpoint.Open(Path.Combine(directory, "checkpoint"));
        Model = model ?? TrainableModel.Load(checkpoint, pool);
        Pool = pool;
        Trainer = new Trainer(Model, pool);
        if (json.RootElement.TryGetProperty("moe", out JsonElement moe))
        {
            Trainer.BalanceFactor = moe.GetProperty("router_aux_loss_coef").GetDouble();
        }

        foreach (JsonElement sample in json.RootElement.GetProperty("samples").EnumerateArray())
        {
            string id = sample.GetProperty("id").GetString()!;
            Samples.Add(Sample(id));
            Ids.Add(id);
        }
    }

    public WorkerPool Pool { get; }

    public TrainableModel Model { get; }

    public Trainer Trainer { get; }

    public List<Sample> Samples { get; } = [];

    public List<string> Ids { get; } = [];

    public SafetensorsFile Expected(string name) => SafetensorsFile.Open(Path.Combine(directory, "expected", name));

    public double Tolerance(string what) => json.RootElement.GetProperty("tolerance").GetProperty(what).GetDouble();

    public IEnumerable<string> Variants =>
        ["full", .. json.RootElement.GetProperty("variants").EnumerateObject().Select(v => v.Name)];

    public JsonElement Losses(string variant) => losses.RootElement.GetProperty(variant);

    /// <summary>vision, merger or language.</summary>
    public static string Group(string parameter) =>
        parameter.Contains("merger") ? "merger"
        : parameter.Contains("visual.") ? "vision"
        : "language";

    /// <summary>Trains what a variant trains.</summary>
    public void Freeze(string variant)
    {
        string[] frozen =
            variant == "full"
                ? []
                :
                [
                    .. json
                        .RootElement.GetProperty("variants")
                        .GetProperty(variant)
                        .GetProperty("freeze")
                        .EnumerateArray()
                        .Select(e => e.GetString()!),
                ];
        foreach (Parameter parameter in Model.Parameters.All)
        {
            parameter.Trained = !frozen.Contains(Group(parameter.Name));
        }
    }

    public Optimizer Optimizer() => Optimizer(HyperParameters);

    public Optimizer Optimizer(JsonElement h) =>
        new(
            Model.Parameters,
            new OptimizerSettings
            {
                Beta1 = h.GetProperty("betas")[0].GetDouble(),
                Beta2 = h.GetProperty("betas")[1].GetDouble(),
                Epsilon = h.GetProperty("eps").GetDouble(),
                Decay = h.GetProperty("weight_decay").GetDouble(),
                MaxNorm = h.GetProperty("max_grad_norm").GetDouble(),
            },
            Pool
        );

    /// <summary>The learning rate of a parameter in an update.</summary>
    public double Rate(Parameter parameter, int update) =>
        HyperParameters.GetProperty("peak_lr").GetProperty(Group(parameter.Name)).GetDouble() * Factor(update);

    /// <summary>The factor of all rates in an update.</summary>
    public double Factor(int update) =>
        Schedule.Cosine(
            HyperParameters.GetProperty("warmup_steps").GetInt32(),
            HyperParameters.GetProperty("total_steps").GetInt32()
        )(update);

    JsonElement HyperParameters => json.RootElement.GetProperty("hyper_parameters");

    /// <summary>The gradients of one update.</summary>
    public (double Loss, int Labels) Accumulate(JsonElement step)
    {
        Model.Parameters.ZeroGradients();
        int labels = step.GetProperty("label_tokens").GetInt32();
        double loss = 0;
        int found = 0;
        JsonElement[] batches = [.. step.GetProperty("micro_batches").EnumerateArray()];
        foreach (JsonElement batch in batches)
        {
            Sample[] samples = [.. batch.EnumerateArray().Select(i => Samples[i.GetInt32()])];
            BatchLoss part = Trainer.Accumulate(samples, 1.0 / labels, 1.0 / batches.Length);
            loss += (part.CrossEntropy / labels) + (Trainer.BalanceFactor * part.Auxiliary / batches.Length);
            found += part.Labels;
        }

        return (loss, found);
    }

    Sample Sample(string id)
    {
        int[] tokens = [.. inputs.Integers($"{id}.input_ids").Select(t => (int)t)];
        int[] labels = [.. inputs.Integers($"{id}.labels").Select(t => (int)t)];
        List<SampleMedium> media = [];
        if (inputs.Contains($"{id}.image_grid_thw"))
        {
            long[] grids = inputs.Integers($"{id}.image_grid_thw");
            float[] pixels = inputs.Floats($"{id}.pixel_values");
            int width = Model.Model.Info.PatchWidth;
            int start = 0;
            int patch = 0;
            for (int i = 0; i < grids.Length; i += 3)
            {
                GridThw grid = new((int)grids[i], (int)grids[i + 1], (int)grids[i + 2]);
                start = Array.IndexOf(tokens, Model.Model.Info.ImageToken, start);
                media.Add(
                    new SampleMedium(
                        pixels[(patch * width)..((patch + grid.Patches) * width)],
                        grid,
                        [new MediaSpan(start, grid, 2)]
                    )
                );
                patch += grid.Patches;
                start += grid.MergedTokens(2);
            }
        }

        Sample sample = new(tokens, labels, media);
        int[] positions = new int[3 * tokens.Length];
        Model.Model.Positions([.. media.SelectMany(m => m.Spans)], positions);
        Assert.Equal(inputs.Integers($"{id}.position_ids"), positions.Select(p => (long)p));
        return sample;
    }

    public void Dispose()
    {
        Trainer.Dispose();
        Model.Dispose();
        inputs.Dispose();
        json.Dispose();
        losses.Dispose();
    }
}
