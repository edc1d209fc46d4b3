namespace VlmSharp.Generation;

/// <summary>Removing tokens by id, passing over ids the vocabulary does not have.</summary>
static class Bans
{
    public static void Remove(Span<float> scores, ReadOnlySpan<int> tokens)
    {
        foreach (int token in tokens)
        {
            if ((uint)token < (uint)scores.Length)
            {
                scores[token] = float.NegativeInfinity;
            }
        }
    }

    /// <summary>Removes every token that followed, somewhere in a text, what the history ends with.</summary>
    public static void RemoveRepeatedNGrams(
        Span<float> scores,
        ReadOnlySpan<int> text,
        ReadOnlySpan<int> history,
        int size
    )
    {
        if (history.Length < size - 1)
        {
            return;
        }

        ReadOnlySpan<int> end = history[^(size - 1)..];
        for (int next = size - 1; next < text.Length; next++)
        {
            if (text[(next - end.Length)..next].SequenceEqual(end))
            {
                Remove(scores, text.Slice(next, 1));
            }
        }
    }
}

/// <summary>No n-gram of prompt and answer occurs twice.</summary>
sealed class NoRepeatNGramProcessor(int size) : ILogitsProcessor
{
    public void Process(Span<float> scores, History history) =>
        Bans.RemoveRepeatedNGrams(scores, history.Tokens, history.Tokens, size);
}

/// <summary>No n-gram of the prompt is repeated.</summary>
sealed class EncoderNoRepeatNGramProcessor(int size) : ILogitsProcessor
{
    public void Process(Span<float> scores, History history) =>
        Bans.RemoveRepeatedNGrams(scores, history.Prompt, history.Tokens, size);
}

/// <summary>No end token before the answer, or prompt and answer together, are long enough.</summary>
sealed class MinimumLengthProcessor(int answer, int total, IEnumerable<int> endTokens) : ILogitsProcessor
{
    readonly int[] endTokens = [.. endTokens];

    public void Process(Span<float> scores, History history)
    {
        if (history.Answer.Length < answer || history.Tokens.Length < total)
        {
            Bans.Remove(scores, endTokens);
        }
    }
}

/// <summary>Ids that are never chosen, or not as the first token of the answer.</summary>
sealed class SuppressTokensProcessor(IEnumerable<int> tokens, bool onlyFirst) : ILogitsProcessor
{
    readonly int[] tokens = [.. tokens];

    public void Process(Span<float> scores, History history)
    {
        if (!onlyFirst || history.Answer.IsEmpty)
        {
            Bans.Remove(scores, tokens);
        }
    }
}

/// <summary>The last token the limit allows is a given one.</summary>
sealed class ForcedEndProcessor(int token, int maxNewTokens) : ILogitsProcessor
{
    public void Process(Span<float> scores, History history)
    {
        if (history.Answer.Length == maxNewTokens - 1)
        {
            scores.Fill(float.NegativeInfinity);
            scores[token] = 0;
        }
    }
}

/// <summary>Raises the scores of the end tokens, more with every token after the first few.</summary>
sealed class ExponentialDecayProcessor(ExponentialDecay decay, IEnumerable<int> endTokens) : ILogitsProcessor
{
    readonly int[] endTokens = [.. endTokens.Distinct()];

    public void Process(Span<float> scores, History history)
    {
        int late = history.Answer.Length - decay.Start;
        if (late > 0)
        {
            float growth = (float)(Math.Pow(decay.Factor, late) - 1);
            foreach (int token in endTokens)
            {
                // Of the magnitude, so that a negative logit rises too. A banned token stays banned.
                if ((uint)token < (uint)scores.Length && float.IsFinite(scores[token]))
                {
                    scores[token] += MathF.Abs(scores[token]) * growth;
                }
            }
        }
    }
}
