using VlmSharp.Generation;
using VlmSharp.Kernels;
using VlmSharp.Models;
using VlmSharp.Tensors;
using VlmSharp.Vision;

namespace VlmSharp.Engine;

/// <summary>Runs steps of a model over sequences that share one paged cache. Used from one thread at a time.</summary>
/// <remarks>
/// A step is planned, reserved, executed, then committed or aborted: if it fails, the sequences stand where they stood before.
/// The result for a sequence does not depend on the others in the step nor on how its prompt is cut into chunks.
/// </remarks>
public sealed class InferenceEngine : IDisposable
{
    const int PatchesPerPass = 1 << 14; // 3.2 megapixels of 14-pixel patches

    readonly CpuOps ops;
    readonly KvCache cache;
    readonly Step step = new();
    readonly RowAdapters adapters = new();
    readonly List<int> plan = [];
    readonly HashSet<Sequence> alive = [];
    Tensor logits;

    /// <summary>An engine with room for a number of tokens in its cache.</summary>
    /// <param name="model">Borrowed.</param>
    /// <param name="ops">Borrowed; also decides on the threads and how the cache stores keys and values.</param>
    /// <param name="cacheTokens">Tokens of all sequences together; rounded up to whole pages.</param>
    public InferenceEngine(IVisionLanguageModel model, CpuOps ops, int cacheTokens)
    {
        Model = model;
        this.ops = ops;
        KvLayout layout = model.Info.Attention.Layout(ops.CacheStorage);
        cache = new KvCache(model.Info.Layers, layout, KvLayout.PagesFor(cacheTokens));
        Pages = new PagePool(cache.PageCount);
        step.Placement.EnsureRoom(cache.PageCount);
        Scratch = new SamplerScratch(model.Info.Vocabulary);
    }

    /// <summary>The model that runs.</summary>
    public IVisionLanguageModel Model { get; }

    /// <summary>Rows a step takes at most; longer prompts are computed in several steps.</summary>
    public int ChunkTokens { get; set; } = 512;

    /// <summary>Free and owned pages.</summary>
    public PagePool Pages { get; }

    /// <summary>Buffers that the samplers of all requests share: they take turns.</summary>
    internal SamplerScratch Scratch { get; }

    /// <summary>A sequence without tokens.</summary>
    public Sequence CreateSequence()
    {
        Sequence sequence = new(this);
        alive.Add(sequence);
        return sequence;
    }

    internal void Forget(Sequence sequence) => alive.Remove(sequence);

    /// <summary>Whether every page is either free or owned by exactly one sequence.</summary>
    public bool PagesAddUp()
    {
        int[] owned = [.. alive.SelectMany(s => s.Pages)];
        return Pages.Free + owned.Length == Pages.Total && owned.Distinct().Count() == owned.Length;
    }

    /// <summary>Looks at a medium: vision tower and connector. Long videos pass through in groups of frames.</summary>
    /// <param name="media">Its patches.</param>
    /// <param name="adapter">The adapter it is looked at with, that of the sequences that will hold it.</param>
    public MediaFeatures Encode(PreparedMedia media, WeightAdapter? adapter = null)
    {
        GridThw grid = media.Plan.Grid;
        MediaFeatures features = new(media.Plan.Tokens, Model.Info.FeatureWidth);
        int frames = FramesPerPass(grid);
        ops.Adapters = adapter is null ? null : new RowAdapters(adapter);
        try
        {
            for (int t = 0; t < grid.T; t += frames)
            {
                GridThw pass = grid with { T = Math.Min(frames, grid.T - t) };
                Tensor pixels = media.Pixels.Slice(t * grid.H * grid.W, pass.Patches);
                ops.Reset();
                Tensor part = Model.Encode(ops, pixels, [pass]); // part: [tokens of the pass, feature width]
                features.Rows.Slice(media.Plan.Tokens / grid.T * t, part.Rows).CopyFrom(part);
            }
        }
        catch
        {
            features.Dispose();
            throw;
        }
        finally
        {
            ops.Adapters = null;
        }

        return features;
    }

    /// <summary>How many temporal patches of a video pass through the tower at once: as many as make a large picture.</summary>
    internal static int FramesPerPass(GridThw grid) => Math.Clamp(PatchesPerPass / (grid.H * grid.W), 1, grid.T);

    /// <summary>Computes pending tokens of the sequences, in their order, up to <see cref="ChunkTokens"/> rows.</summary>
    /// <returns>Rows computed. A sequence whose last token was reached has <see cref="Sequence.LogitRow"/> set.</returns>
    /// <exception cref="CacheFullException">There are not enough free pages; nothing has changed.</exception>
    public int Run(IReadOnlyList<Sequence> sequences)
    {
        int rows = Plan(sequences);
        Reserve(sequences);
        try
        {
            step.Clear();
            adapters.Clear();
            int wanted = 0;
            for (int i = 0; i < sequences.Count; i++)
            {
                sequences[i].LogitRow = -1;
                if (plan[i] == 0)
                {
                    continue;
                }

                int end = sequences[i].Computed + plan[i];
                bool complete = plan[i] == sequences[i].Pending;
                int from = Math.Clamp(sequences[i].LogitsFrom, sequences[i].Computed, complete ? end - 1 : end);
                sequences[i].AddTo(step, plan[i]);
                sequences[i].FirstLogit = (from, wanted);
                for (int token = from; token < end; token++, wanted++)
                {
                    step.WantLogits(step.Tokens.Length - end + token);
                }

                sequences[i].LogitRow = complete ? wanted - 1 : -1;
                adapters.Add(sequences[i].Adapter, plan[i], end - from);
            }

            ops.Reset();
            ops.Adapters = adapters.Any ? adapters : null;
            logits = Model.Forward(ops, step, cache);
        }
        catch
        {
            foreach (Sequence sequence in sequences)
            {
                sequence.Truncate(sequence.Computed);
            }

            throw;
        }
        finally
        {
            ops.Adapters = null;
        }

        for (int i = 0; i < sequences.Count; i++)
        {
            sequences[i].Commit(plan[i]);
        }

        return rows;
    }

    /// <summary>The logits of the last step for a sequence that reached its end: [vocabulary]; valid until the next step.</summary>
    public ReadOnlySpan<float> Logits(Sequence sequence) => logits.Row(sequence.LogitRow);

    /// <summary>The logits that one of the last step's tokens has for the next one: [vocabulary]; valid until the next step.</summary>
    /// <param name="sequence">A sequence of the last step.</param>
    /// <param name="token">One that the step computed, at or behind <see cref="Sequence.LogitsFrom"/>, or the last one.</param>
    public ReadOnlySpan<float> Logits(Sequence sequence, int token)
    {
        (int first, int row) = sequence.FirstLogit;
        ArgumentOutOfRangeException.ThrowIfLessThan(token, first);
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(token, sequence.Computed);
        return logits.Row(row + token - first);
    }

    /// <summary>How many tokens of each sequence this step computes. Decoding sequences come first, so that a long prompt does not stop them.</summary>
    int Plan(IReadOnlyList<Sequence> sequences)
    {
        plan.Clear();
        int budget = ChunkTokens;
        for (int i = 0; i < sequences.Count; i++)
        {
            int count = sequences[i].Pending == 1 ? Math.Min(1, budget) : 0;
            plan.Add(count);
            budget -= count;
        }

        for (int i = 0; i < sequences.Count; i++)
        {
            if (plan[i] == 0)
            {
                plan[i] = Math.Min(sequences[i].Pending, budget);
                budget -= plan[i];
            }
        }

        return ChunkTokens - budget;
    }

    void Reserve(IReadOnlyList<Sequence> sequences)
    {
        for (int i = 0; i < sequences.Count; i++)
        {
            int needed = KvLayout.PagesFor(sequences[i].Computed + plan[i]);
            if (!Pages.TryGrow(sequences[i].Pages, needed))
            {
                int missing = needed - sequences[i].Pages.Count - Pages.Free;
                for (int k = 0; k < i; k++)
                {
                    sequences[k].Truncate(sequences[k].Computed);
                }

                throw new CacheFullException(
                    $"The cache has {Pages.Total * KvLayout.PageTokens} tokens; {missing * KvLayout.PageTokens} more are needed for this step."
                );
            }
        }
    }

    /// <summary>Frees the cache.</summary>
    public void Dispose() => cache.Dispose();
}

/// <summary>The cache has no room for what a step would add.</summary>
public sealed class CacheFullException(string message) : Exception(message);
