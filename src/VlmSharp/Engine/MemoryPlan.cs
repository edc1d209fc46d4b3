using VlmSharp.Kernels;
using VlmSharp.Models;

namespace VlmSharp.Engine;

/// <summary>What a conversation takes in memory, known before it starts.</summary>
/// <param name="Weights">Bytes of packed weights.</param>
/// <param name="Cache">Bytes of keys and values.</param>
/// <param name="Media">Bytes of patches and of features.</param>
/// <param name="Workspace">Bytes of intermediate tensors: the larger of vision tower and decoder.</param>
public sealed record MemoryPlan(long Weights, long Cache, long Media, long Workspace)
{
    /// <summary>All of it.</summary>
    public long Total => Weights + Cache + Media + Workspace;

    /// <summary>The plan for a number of tokens and some media.</summary>
    /// <param name="model">Sizes.</param>
    /// <param name="tokens">Prompt and answer.</param>
    /// <param name="chunk">Rows a step takes at most.</param>
    /// <param name="media">Media that are still to be looked at.</param>
    /// <param name="storage">How the cache stores keys and values.</param>
    public static MemoryPlan For(
        ModelInfo model,
        int tokens,
        int chunk,
        IReadOnlyCollection<MediaPlan> media,
        KvStorage storage
    )
    {
        long patches = media.Select(m => (long)m.Grid.Patches * model.PatchWidth).DefaultIfEmpty(0).Max();
        long features = media.Sum(m => (long)m.Tokens * model.FeatureWidth);
        long tower = media
            .Select(m => model.TowerWorkspace(m.Grid with { T = InferenceEngine.FramesPerPass(m.Grid) }))
            .DefaultIfEmpty(0)
            .Max();
        long decoder = (Math.Min(tokens, chunk) * model.DecoderWorkspace) + ((long)model.Vocabulary * sizeof(float));
        return new MemoryPlan(
            model.WeightBytes,
            tokens * Tensors.KvCache.BytesPerToken(model.Layers, model.Attention.Layout(storage)),
            (patches + features) * sizeof(float),
            Math.Max(tower, decoder)
        );
    }

    /// <summary>Bytes of memory this process may use: the machine's, or the container's limit.</summary>
    public static long Available => GC.GetGCMemoryInfo().TotalAvailableMemoryBytes;

    /// <summary>Refuses a plan that this machine cannot hold.</summary>
    /// <param name="available">Bytes there are.</param>
    /// <exception cref="CacheFullException">It takes more; the message has the numbers.</exception>
    public void ThrowIfAbove(long available)
    {
        if (Total > available)
        {
            throw new CacheFullException(
                $"This would take {Size(Total)} of memory ({this}), the machine has {Size(available)}; smaller pictures (max pixels) or a shorter context help."
            );
        }
    }

    /// <summary>The parts, for people.</summary>
    public override string ToString() =>
        $"weights {Size(Weights)}, cache {Size(Cache)}, media {Size(Media)}, workspace {Size(Workspace)}";

    /// <summary>Bytes, for people.</summary>
    public static string Size(long bytes) =>
        bytes switch
        {
            < 1 << 20 => $"{bytes / 1024.0:f1} KiB",
            < 1 << 30 => $"{bytes / (double)(1 << 20):f1} MiB",
            _ => $"{bytes / (double)(1 << 30):f2} GiB",
        };
}
