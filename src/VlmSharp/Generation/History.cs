using System.Runtime.InteropServices;

namespace VlmSharp.Generation;

/// <summary>The tokens a choice depends on: the prompt and the answer so far, with the counts that penalties need.</summary>
/// <remarks>Appending is O(1); the lists double when they are full, which is the only allocation.</remarks>
public sealed class History
{
    readonly List<int> tokens;
    readonly Dictionary<int, int> indexOf;
    readonly List<int> distinct;
    readonly List<int> answerCounts;

    /// <summary>A history with a prompt and no answer.</summary>
    /// <param name="prompt">Token ids; ids beyond the vocabulary (placeholders of media) are allowed, and penalties pass over them.</param>
    /// <param name="expectedAnswer">Answer tokens to reserve room for.</param>
    public History(ReadOnlySpan<int> prompt, int expectedAnswer = 0)
    {
        int capacity = prompt.Length + expectedAnswer;
        tokens = new List<int>(capacity);
        indexOf = new Dictionary<int, int>();
        distinct = [];
        answerCounts = [];
        tokens.AddRange(prompt);
        foreach (int token in prompt)
        {
            Index(token);
        }

        PromptLength = prompt.Length;
        PromptDistinct = distinct.Count;
        indexOf.EnsureCapacity(distinct.Count + expectedAnswer);
        distinct.EnsureCapacity(distinct.Count + expectedAnswer);
        answerCounts.EnsureCapacity(distinct.Count + expectedAnswer);
    }

    /// <summary>Tokens of the prompt.</summary>
    public int PromptLength { get; }

    /// <summary>Prompt and answer, oldest first. Valid until the next append, as all spans here.</summary>
    public ReadOnlySpan<int> Tokens => CollectionsMarshal.AsSpan(tokens);

    /// <summary>The prompt.</summary>
    public ReadOnlySpan<int> Prompt => Tokens[..PromptLength];

    /// <summary>The answer so far.</summary>
    public ReadOnlySpan<int> Answer => Tokens[PromptLength..];

    /// <summary>Each token of prompt and answer once, in the order of first appearance.</summary>
    public ReadOnlySpan<int> Distinct => CollectionsMarshal.AsSpan(distinct);

    /// <summary>How many of <see cref="Distinct"/>, from the first, stand in the prompt.</summary>
    public int PromptDistinct { get; }

    /// <summary>How often <c>Distinct[i]</c> stands in the answer.</summary>
    public ReadOnlySpan<int> AnswerCounts => CollectionsMarshal.AsSpan(answerCounts);

    /// <summary>Adds a token to the answer.</summary>
    public void Append(int token)
    {
        tokens.Add(token);
        answerCounts[Index(token)]++;
    }

    int Index(int token)
    {
        ref int index = ref CollectionsMarshal.GetValueRefOrAddDefault(indexOf, token, out bool known);
        if (!known)
        {
            index = distinct.Count;
            distinct.Add(token);
            answerCounts.Add(0);
        }

        return index;
    }
}
