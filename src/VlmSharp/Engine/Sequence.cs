using System.Runtime.InteropServices;
using VlmSharp.Kernels;
using VlmSharp.Models;
using VlmSharp.Tensors;
using VlmSharp.Vision;

namespace VlmSharp.Engine;

/// <summary>The tokens of one request, their positions, the media among them, and how many of them are in the cache.</summary>
/// <remarks>Owns its pages until it is disposed; borrows its media features.</remarks>
public sealed class Sequence : IDisposable
{
    readonly List<int> tokens = [];
    readonly List<int>[] positions =
    [
        [],
        [],
        [],
    ];
    readonly List<(MediaSpan Span, MediaFeatures Features)> media = [];
    int delta; // position of a token behind the prompt = index + delta
    int promptTokens; // of the last prompt; the answer's tokens follow them

    internal Sequence(InferenceEngine engine) => Engine = engine;

    internal InferenceEngine Engine { get; }

    /// <summary>All tokens, computed or not.</summary>
    public ReadOnlySpan<int> Tokens => CollectionsMarshal.AsSpan(tokens);

    /// <summary>How many of the tokens have their keys and values in the cache.</summary>
    public int Computed { get; private set; }

    /// <summary>Tokens that a step has still to compute.</summary>
    public int Pending => tokens.Count - Computed;

    /// <summary>Row of the last step's logits that predicts the next token, or -1 where that step did not reach the end.</summary>
    public int LogitRow { get; internal set; } = -1;

    /// <summary>The first token whose row's logits are kept, too, for those who score a text; none but the last one's unless it is set.</summary>
    public int LogitsFrom { get; set; } = int.MaxValue;

    /// <summary>The adapter that its tokens are computed with, null for none. With another one nothing of them is computed yet.</summary>
    public WeightAdapter? Adapter
    {
        get;
        set
        {
            if (field != value)
            {
                Truncate(0);
                field = value;
            }
        }
    }

    /// <summary>The first token whose row's logits the last step kept, and which row of the logits that is.</summary>
    internal (int Token, int Row) FirstLogit { get; set; }

    internal List<int> Pages { get; } = [];

    /// <summary>Replaces the tokens by a prompt, keeping what is computed of the common beginning.</summary>
    /// <param name="prompt">Token ids, placeholders expanded.</param>
    /// <param name="spans">Where media stand, ascending.</param>
    /// <param name="features">Of each medium the spans name; the same object means the same content.</param>
    /// <returns>How many tokens need not be computed again.</returns>
    public int SetPrompt(ReadOnlySpan<int> prompt, ReadOnlySpan<MediaSpan> spans, ReadOnlySpan<MediaFeatures> features)
    {
        if (prompt.IsEmpty)
        {
            throw new ArgumentException("A prompt needs at least one token.", nameof(prompt));
        }

        int[] axes = new int[3 * prompt.Length]; // [3, tokens]
        int newDelta = Engine.Model.Positions(spans, axes);
        int common = Engine.Model.KeepsPrefix(promptTokens, prompt.Length)
            ? CommonPrefix(prompt, axes, spans, features)
            : 0;
        Truncate(Math.Min(common, prompt.Length - 1)); // the last token is always computed: its logits are needed
        int kept = Computed;

        tokens.Clear();
        tokens.AddRange(prompt);
        for (int axis = 0; axis < 3; axis++)
        {
            positions[axis].Clear();
            positions[axis].AddRange(axes.AsSpan(axis * prompt.Length, prompt.Length));
        }

        media.Clear();
        for (int i = 0; i < spans.Length; i++)
        {
            media.Add((spans[i], features[spans[i].Medium]));
        }

        delta = newDelta;
        promptTokens = prompt.Length;
        return kept;
    }

    /// <summary>Makes room for tokens to come, so that adding them allocates nothing.</summary>
    public void EnsureRoom(int count)
    {
        tokens.EnsureCapacity(tokens.Count + count);
        foreach (List<int> axis in positions)
        {
            axis.EnsureCapacity(tokens.Count + count);
        }

        Pages.EnsureCapacity(KvLayout.PagesFor(tokens.Count + count));
    }

    /// <summary>Adds a token behind the others.</summary>
    public void Append(int token)
    {
        int position = tokens.Count + delta;
        tokens.Add(token);
        foreach (List<int> axis in positions)
        {
            axis.Add(position);
        }
    }

    /// <summary>Takes back the tokens behind the first <paramref name="count"/>, which lie behind the prompt, and what was computed of them.</summary>
    public void Rewind(int count)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan(count, tokens.Count);
        tokens.RemoveRange(count, tokens.Count - count);
        foreach (List<int> axis in positions)
        {
            axis.RemoveRange(count, axis.Count - count);
        }

        Truncate(count);
    }

    /// <summary>Forgets what is computed beyond a number of tokens, and returns the pages behind it.</summary>
    public void Truncate(int computed)
    {
        Computed = Math.Min(Computed, computed);
        Engine.Pages.Shrink(Pages, KvLayout.PagesFor(Computed));
        LogitRow = -1;
    }

    int CommonPrefix(
        ReadOnlySpan<int> prompt,
        ReadOnlySpan<int> axes,
        ReadOnlySpan<MediaSpan> spans,
        ReadOnlySpan<MediaFeatures> features
    )
    {
        int common = Math.Min(Computed, prompt.CommonPrefixLength(Tokens));
        for (int axis = 0; axis < 3; axis++)
        {
            ReadOnlySpan<int> old = CollectionsMarshal.AsSpan(positions[axis]);
            common = Math.Min(common, axes.Slice(axis * prompt.Length, prompt.Length).CommonPrefixLength(old));
        }

        // Placeholders are equal tokens whatever they stand for: the media behind them decide.
        for (int i = 0; i < Math.Max(spans.Length, media.Count); i++)
        {
            bool same =
                i < spans.Length
                && i < media.Count
                && media[i].Span.Start == spans[i].Start
                && media[i].Span.FirstFeature == spans[i].FirstFeature
                && media[i].Features == features[spans[i].Medium];
            if (!same)
            {
                int start = Math.Min(
                    i < spans.Length ? spans[i].Start : int.MaxValue,
                    i < media.Count ? media[i].Span.Start : int.MaxValue
                );
                return Math.Min(common, start);
            }
        }

        return common;
    }

    /// <summary>Adds the next <paramref name="count"/> pending tokens to a step; the pages are reserved already.</summary>
    internal void AddTo(Step step, int count)
    {
        int first = step.Tokens.Length;
        int end = Computed + count;
        for (int i = Computed; i < end; i++)
        {
            step.AddRow(tokens[i], positions[0][i], positions[1][i], positions[2][i]);
        }

        foreach ((MediaSpan span, MediaFeatures features) in media)
        {
            // The part of [start, start + tokens) that lies in [Computed, end).
            int from = Math.Max(span.Start, Computed);
            int to = Math.Min(span.Start + span.Tokens, end);
            if (from < to)
            {
                int feature = span.FirstFeature + from - span.Start;
                step.AddMedia(first + from - Computed, features.Rows.Slice(feature, to - from));
            }
        }

        step.AddSequence(CollectionsMarshal.AsSpan(Pages), count, end, promptTokens);
    }

    internal void Commit(int count) => Computed += count;

    /// <summary>Returns the pages.</summary>
    public void Dispose()
    {
        Truncate(0);
        Engine.Forget(this);
    }
}
