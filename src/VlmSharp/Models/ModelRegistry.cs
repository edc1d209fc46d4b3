using VlmSharp.Formats;
using VlmSharp.Kernels;

namespace VlmSharp.Models;

/// <summary>The architectures this build can run: one line each.</summary>
public static class ModelRegistry
{
    sealed record Entry(
        Type Model,
        Func<Checkpoint, ModelInfo> Describe,
        Func<Checkpoint, WorkerPool, IProgress<double>?, IVisionLanguageModel> Load
    );

    static readonly Dictionary<string, Entry> Architectures = new()
    {
        [QwenVL.Architecture] = new(typeof(QwenVL), QwenVL.Describe, QwenVL.FromCheckpoint),
        [Qwen2VL.Architecture] = new(typeof(Qwen2VL), Qwen2VL.Describe, Qwen2VL.FromCheckpoint),
        [Qwen25VL.Architecture] = new(typeof(Qwen25VL), Qwen25VL.Describe, Qwen25VL.FromCheckpoint),
        [Qwen3VL.Architecture] = new(typeof(Qwen3VL), Qwen3VL.Describe, Qwen3VL.FromCheckpoint),
        [Qwen3VL.MixedArchitecture] = new(typeof(Qwen3VL), Qwen3VL.Describe, Qwen3VL.FromCheckpoint),
    };

    /// <summary>Names as they stand in <c>config.json</c>.</summary>
    public static IReadOnlyCollection<string> Names => Architectures.Keys;

    /// <summary>The classes behind them.</summary>
    internal static IEnumerable<Type> ModelTypes => Architectures.Values.Select(entry => entry.Model);

    /// <summary>Whether a checkpoint of this architecture can be loaded.</summary>
    public static bool Supports(string architecture) => Architectures.ContainsKey(architecture);

    /// <summary>Loads a model.</summary>
    /// <param name="checkpoint">May be disposed afterwards: the weights are packed copies.</param>
    /// <param name="pool">Threads to pack with.</param>
    /// <param name="progress">Told the share of bytes done, 0 to 1.</param>
    /// <exception cref="CheckpointException">The architecture is unknown, or files contradict each other.</exception>
    public static IVisionLanguageModel Load(
        Checkpoint checkpoint,
        WorkerPool pool,
        IProgress<double>? progress = null
    ) => Find(checkpoint).Load(checkpoint, pool, progress);

    /// <summary>Sizes of a model, without loading its weights.</summary>
    /// <exception cref="CheckpointException">The architecture is unknown, or its config asks for something unsupported.</exception>
    public static ModelInfo Describe(Checkpoint checkpoint) => Find(checkpoint).Describe(checkpoint);

    static Entry Find(Checkpoint checkpoint) =>
        Architectures.TryGetValue(checkpoint.Architecture, out Entry? entry)
            ? entry
            : throw checkpoint.Config.Error(
                "architectures",
                $"is '{checkpoint.Architecture}'; this build supports {string.Join(", ", Names)}"
            );
}
