using VlmSharp.Adapters;
using VlmSharp.Formats;
using VlmSharp.Models;

namespace VlmSharp.Training.Recipes;

/// <summary>Arithmetic of the large products of training. Master values, sums and everything else are f32.</summary>
public enum TrainingPrecision
{
    /// <summary>f32 throughout.</summary>
    F32,

    /// <summary>Both factors of a product are rounded to bf16.</summary>
    BF16,
}

/// <summary>A source of a mixture.</summary>
/// <param name="Source">A file or a name that the program resolves.</param>
/// <param name="Weight">Its share beside the other sources of the same list.</param>
/// <param name="Replay">
/// In place of a weight: its share of all examples, whatever the level of a curriculum: data of an earlier stage that is not to be
/// forgotten.
/// </param>
public sealed record MixtureEntry(string Source, double Weight, double Replay);

/// <summary>A level of a curriculum.</summary>
/// <param name="Name">For people.</param>
/// <param name="Data">Its mixture.</param>
/// <param name="Below">It is left when its smoothed loss falls below this.</param>
/// <param name="Steps">It is left after this many updates.</param>
public sealed record CurriculumLevel(string Name, IReadOnlyList<MixtureEntry> Data, double? Below, int? Steps);

/// <summary>Levels of growing difficulty.</summary>
/// <param name="Levels">In their order; the last one is not left.</param>
/// <param name="Earlier">Share of examples that come from all earlier levels, alike.</param>
/// <param name="Smoothing">Share of the old smoothed loss that is kept in an update.</param>
public sealed record CurriculumPlan(IReadOnlyList<CurriculumLevel> Levels, double Earlier, double Smoothing);

/// <summary>Loss on data that is not trained on.</summary>
/// <param name="Source">As <see cref="MixtureEntry.Source"/>.</param>
/// <param name="Every">Updates between two evaluations.</param>
/// <param name="Examples">The first so many examples of it.</param>
public sealed record EvaluationPlan(string Source, int Every, int Examples);

/// <summary>How a model is trained: what a recipe file says.</summary>
/// <remarks>
/// A recipe is a JSON object with comments, see <c>recipes/</c> and <see cref="RecipeReader"/>, which names the fields. Paths are
/// relative to the directory in which the program was started.
/// </remarks>
public sealed record TrainingRecipe
{
    /// <summary>The checkpoint to start from, a directory in Hugging Face layout.</summary>
    public required string Model { get; init; }

    /// <summary>Where checkpoints, log, report and the trained model go.</summary>
    public required string Output { get; init; }

    /// <summary>The mixture; with a curriculum only what is replayed.</summary>
    public required IReadOnlyList<MixtureEntry> Data { get; init; }

    /// <summary>Levels; null for none.</summary>
    public CurriculumPlan? Curriculum { get; init; }

    /// <summary>Held-out data; null for none.</summary>
    public EvaluationPlan? Evaluation { get; init; }

    /// <summary>Examples are taken for an update until they have this many tokens; 0 where <see cref="ExamplesPerUpdate"/> says it.</summary>
    public int TokensPerUpdate { get; init; }

    /// <summary>Examples of an update; 0 where <see cref="TokensPerUpdate"/> says it.</summary>
    public int ExamplesPerUpdate { get; init; }

    /// <summary>Whole samples are packed up to this many tokens, media included; a longer one is alone.</summary>
    public required int MicroBatchTokens { get; init; }

    /// <summary>Longer samples are left out; null for what the model was made for.</summary>
    public int? MaxTokens { get; init; }

    /// <summary>Limits on the pixels of pictures and frames; the checkpoint's own where not given.</summary>
    public PixelLimits Pixels { get; init; }

    /// <summary>Updates; null where <see cref="Examples"/> or <see cref="Epochs"/> say when it ends.</summary>
    public int? Steps { get; init; }

    /// <summary>Examples to draw.</summary>
    public long? Examples { get; init; }

    /// <summary>As many examples as this many times all sources have together.</summary>
    public double? Epochs { get; init; }

    /// <summary>Makes the factors of the peak rates from the number of updates of the whole run, 0 where that is not known.</summary>
    public required Func<int, Func<int, double>> Schedule { get; init; }

    /// <summary>Peak rates; a part that is frozen needs none.</summary>
    public required IReadOnlyDictionary<ModelPart, double> Rates { get; init; }

    /// <summary>What is not trained.</summary>
    public required IReadOnlyList<FrozenPart> Freeze { get; init; }

    /// <summary>The adapter that is trained in place of the model's weights; null for these.</summary>
    public AdapterConfig? Lora { get; init; }

    /// <summary>Betas, decay, clipping.</summary>
    public required OptimizerSettings Optimizer { get; init; }

    /// <summary>See <see cref="Trainer.RecomputeVision"/>.</summary>
    public bool RecomputeVision { get; init; }

    /// <summary>See <see cref="Trainer.RecomputeText"/>.</summary>
    public bool RecomputeText { get; init; }

    /// <summary>See <see cref="Trainer.BalanceFactor"/>.</summary>
    public double BalanceFactor { get; init; }

    /// <summary>bf16 or f32; null for bf16. A machine without products of bf16 computes in f32.</summary>
    public TrainingPrecision? Precision { get; init; }

    /// <summary>Type of the weights of the trained model: F32 or BF16.</summary>
    public SafetensorsType Weights { get; init; }

    /// <summary>Decides the order of the examples.</summary>
    public ulong Seed { get; init; }

    /// <summary>Threads; null for one for each processor.</summary>
    public int? Threads { get; init; }

    /// <summary>Updates between two checkpoints.</summary>
    public int CheckpointEvery { get; init; }

    /// <summary>Examples that are read and encoded ahead.</summary>
    public int ReadAhead { get; init; }

    /// <summary>Whether an example that cannot be read ends the run; otherwise it is left out and counted.</summary>
    public bool StopAtBroken { get; init; }

    /// <summary>Marks what is frozen.</summary>
    /// <param name="parameters">Of the model.</param>
    /// <exception cref="CheckpointException">Something frozen is not there, nothing is left to train, or a part that is trained has no rate.</exception>
    public void Apply(ParameterSet parameters)
    {
        ArgumentNullException.ThrowIfNull(parameters);
        foreach (FrozenPart frozen in Freeze)
        {
            if (!parameters.All.Any(p => frozen.Holds(p.Name)))
            {
                throw new CheckpointException(Model, $"has nothing that 'freeze' calls '{frozen}'");
            }

            if (frozen.Layers is { } range && !parameters.All.Any(p => IsIn(p, frozen.Part, range.Last)))
            {
                throw new CheckpointException(Model, $"has no layer {range.Last}, which 'freeze' names in '{frozen}'");
            }
        }

        foreach (Parameter parameter in Lora is null ? parameters.All : [])
        {
            parameter.Trained = !Freeze.Any(f => f.Holds(parameter.Name));
        }

        Parameter? lost = parameters.Trained.FirstOrDefault(p => !Rates.ContainsKey(ModelParts.Of(p.Name).Part));
        if (lost is not null)
        {
            string part = ModelParts.Of(lost.Name).Part.ToString().ToLowerInvariant();
            throw new CheckpointException(
                Model,
                $"is trained in '{part}', for which the recipe has no rate in 'rates'"
            );
        }

        if (!parameters.Trained.Any())
        {
            throw new CheckpointException(Model, "has nothing left to train: 'freeze' names everything");
        }
    }

    static bool IsIn(Parameter parameter, ModelPart part, int layer) => ModelParts.Of(parameter.Name) == (part, layer);
}
