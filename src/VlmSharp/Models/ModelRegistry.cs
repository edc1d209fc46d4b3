using VlmSharp.Formats;
using VlmSharp.Kernels;
using VlmSharp.Models.Blocks;

namespace VlmSharp.Models;

/// <summary>The architectures this build can run: one line each.</summary>
public static class ModelRegistry
{
    static readonly Dictionary<string, (Type Model, Func<Checkpoint, UnloadedModel> Open)> Architectures = new()
    {
        [QwenVL.Architecture] = (typeof(QwenVL), QwenVL.Open),
        [Qwen2VL.Architecture] = (typeof(Qwen2VL), Qwen2VL.Open),
        [Qwen25VL.Architecture] = (typeof(Qwen25VL), Qwen25VL.Open),
        [Qwen3VL.Architecture] = (typeof(Qwen3VL), Qwen3VL.Open),
        [Qwen3VL.MixedArchitecture] = (typeof(Qwen3VL), Qwen3VL.Open),
    };

    /// <summary>Names as they stand in <c>config.json</c>.</summary>
    public static IReadOnlyCollection<string> Names => Architectures.Keys;

    /// <summary>The classes behind them.</summary>
    internal static IEnumerable<Type> ModelTypes => Architectures.Values.Select(entry => entry.Model);

    /// <summary>Whether a checkpoint of this architecture can be loaded.</summary>
    public static bool Supports(string architecture) => Architectures.ContainsKey(architecture);

    /// <summary>Reads a model's config and the headers of its weights.</summary>
    /// <exception cref="CheckpointException">The architecture is unknown, or its config asks for something unsupported.</exception>
    public static UnloadedModel Open(Checkpoint checkpoint) =>
        Architectures.TryGetValue(checkpoint.Architecture, out (Type, Func<Checkpoint, UnloadedModel> Open) entry)
            ? entry.Open(checkpoint)
            : throw checkpoint.Config.Error(
                "architectures",
                $"is '{checkpoint.Architecture}'; this build supports {string.Join(", ", Names)}"
            );

    /// <summary>Loads a model.</summary>
    /// <param name="checkpoint">May be disposed afterwards: the weights are packed copies.</param>
    /// <param name="pool">Threads to pack with.</param>
    /// <param name="progress">Told the share of bytes done, 0 to 1.</param>
    /// <exception cref="CheckpointException">The architecture is unknown, or files contradict each other.</exception>
    public static IVisionLanguageModel Load(
        Checkpoint checkpoint,
        WorkerPool pool,
        IProgress<double>? progress = null
    ) => Open(checkpoint).Load(new WeightSource(checkpoint, pool, progress));

    /// <summary>Sizes of a model, without loading its weights.</summary>
    /// <exception cref="CheckpointException">The architecture is unknown, or its config asks for something unsupported.</exception>
    public static ModelInfo Describe(Checkpoint checkpoint) => Open(checkpoint).Info;
}
