using System.Runtime.InteropServices;
using VlmSharp.Tensors;

namespace VlmSharp.Models;

/// <summary>One forward pass: the packed rows of all requests that take part in it. Reused, so that a steady state allocates nothing.</summary>
public sealed class Step
{
    readonly List<int> tokens = [];
    readonly List<int>[] positions =
    [
        [],
        [],
        [],
    ];
    readonly List<int> logitRows = [];
    readonly List<MediaRows> media = [];
    readonly List<int> promptTokens = [];

    /// <summary>[rows]: token ids.</summary>
    public ReadOnlySpan<int> Tokens => CollectionsMarshal.AsSpan(tokens);

    /// <summary>[rows]: rotary positions along one axis: 0 time, 1 height, 2 width.</summary>
    public ReadOnlySpan<int> Positions(int axis) => CollectionsMarshal.AsSpan(positions[axis]);

    /// <summary>Rows whose logits are wanted, ascending.</summary>
    public ReadOnlySpan<int> LogitRows => CollectionsMarshal.AsSpan(logitRows);

    /// <summary>Rows that take media features instead of embeddings.</summary>
    public ReadOnlySpan<MediaRows> Media => CollectionsMarshal.AsSpan(media);

    /// <summary>Which rows belong to which sequence and where their keys lie.</summary>
    public KvPlacement Placement { get; } = new();

    /// <summary>[sequences]: for each sequence of <see cref="Placement"/> the length of the prompt it began with.</summary>
    /// <remarks>
    /// It stays the same while a prompt is computed in chunks and an answer grows: some models choose their rotary frequencies by it.
    /// </remarks>
    public ReadOnlySpan<int> PromptTokens => CollectionsMarshal.AsSpan(promptTokens);

    /// <summary>Starts anew, keeping the memory.</summary>
    public void Clear()
    {
        tokens.Clear();
        foreach (List<int> axis in positions)
        {
            axis.Clear();
        }

        logitRows.Clear();
        media.Clear();
        promptTokens.Clear();
        Placement.Clear();
    }

    /// <summary>Says that the last <paramref name="rows"/> rows are a sequence's tokens <c>[end - rows, end)</c>.</summary>
    /// <param name="pages">Its pages; enough for <paramref name="end"/> tokens.</param>
    /// <param name="rows">Rows added since the sequence before.</param>
    /// <param name="end">Tokens in the cache after this step.</param>
    /// <param name="prompt">Tokens of its whole prompt, computed or not.</param>
    public void AddSequence(ReadOnlySpan<int> pages, int rows, int end, int prompt)
    {
        Placement.Add(pages, rows, end);
        promptTokens.Add(prompt);
    }

    /// <summary>Adds a row.</summary>
    /// <returns>Its number.</returns>
    public int AddRow(int token, int time, int height, int width)
    {
        tokens.Add(token);
        positions[0].Add(time);
        positions[1].Add(height);
        positions[2].Add(width);
        return tokens.Count - 1;
    }

    /// <summary>Asks for the logits of a row.</summary>
    public void WantLogits(int row) => logitRows.Add(row);

    /// <summary>Lets rows <c>[firstRow, firstRow + rows.Rows)</c> take features.</summary>
    public void AddMedia(int firstRow, Tensor rows) => media.Add(new MediaRows(firstRow, rows));
}

/// <summary>Rows of a step that take media features.</summary>
/// <param name="FirstRow">First row in the step.</param>
/// <param name="Features">[rows, feature width]</param>
public readonly record struct MediaRows(int FirstRow, Tensor Features);
