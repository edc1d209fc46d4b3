namespace VlmSharp.Generation;

/// <summary>Divides positive and multiplies negative scores of tokens seen before, once each (arXiv 1909.05858).</summary>
sealed class RepetitionPenaltyProcessor(double penalty) : ILogitsProcessor
{
    readonly float penalty = (float)penalty;

    public void Process(Span<float> scores, History history) => Penalize(scores, history.Distinct, penalty);

    public static void Penalize(Span<float> scores, ReadOnlySpan<int> tokens, float penalty)
    {
        foreach (int token in tokens)
        {
            if ((uint)token < (uint)scores.Length)
            {
                float score = scores[token];
                scores[token] = score < 0 ? score * penalty : score / penalty;
            }
        }
    }
}

/// <summary>The inverse penalty on the prompt's tokens: favours what the prompt speaks of.</summary>
sealed class EncoderRepetitionPenaltyProcessor(double penalty) : ILogitsProcessor
{
    readonly float penalty = (float)(1 / penalty);

    public void Process(Span<float> scores, History history) =>
        RepetitionPenaltyProcessor.Penalize(scores, history.Distinct[..history.PromptDistinct], penalty);
}

/// <summary>Subtracts for each time a token stands in the answer, and once for standing there at all (OpenAI's definition).</summary>
sealed class CountPenaltyProcessor(double frequency, double presence) : ILogitsProcessor
{
    readonly float frequency = (float)frequency;
    readonly float presence = (float)presence;

    public void Process(Span<float> scores, History history)
    {
        ReadOnlySpan<int> tokens = history.Distinct;
        ReadOnlySpan<int> counts = history.AnswerCounts;
        for (int i = 0; i < tokens.Length; i++)
        {
            if (counts[i] > 0 && (uint)tokens[i] < (uint)scores.Length)
            {
                float score = scores[tokens[i]] - frequency * counts[i];
                scores[tokens[i]] = score - presence;
            }
        }
    }
}

/// <summary>"Don't repeat yourself": a penalty that grows with the length of the repeated sequence a token would continue.</summary>
/// <remarks>
/// The rule of text-generation-webui's <c>DRYLogitsProcessor</c>: for every earlier place where the last token stands, the match is extended
/// backwards, at most to 50 tokens and not over a breaker; the token that followed there gets multiplier * base^(length - allowed) of its
/// longest match.
/// </remarks>
sealed class DryProcessor(double multiplier, double growth, int allowedLength, int range, IReadOnlyList<int> breakers)
    : ILogitsProcessor
{
    const int LongestMatch = 50;

    readonly HashSet<int> breakers = [.. breakers];
    readonly Dictionary<int, int> longest = new(256);

    public void Process(Span<float> scores, History history)
    {
        ReadOnlySpan<int> tokens = history.Tokens;
        tokens = range > 0 && range < tokens.Length ? tokens[^range..] : tokens;
        if (tokens.IsEmpty || breakers.Contains(tokens[^1]))
        {
            return;
        }

        longest.Clear();
        for (int i = 0; i < tokens.Length - 1; i++)
        {
            if (tokens[i] == tokens[^1] && !breakers.Contains(tokens[i + 1]))
            {
                int length = MatchLength(tokens, i);
                longest[tokens[i + 1]] = Math.Max(length, longest.GetValueOrDefault(tokens[i + 1]));
            }
        }

        foreach ((int token, int length) in longest)
        {
            if (length >= allowedLength && (uint)token < (uint)scores.Length)
            {
                scores[token] -= (float)(multiplier * Math.Pow(growth, length - allowedLength));
            }
        }
    }

    /// <summary>How many tokens ending at <paramref name="end"/> equal the last ones.</summary>
    int MatchLength(ReadOnlySpan<int> tokens, int end)
    {
        int length = 1;
        while (
            length < LongestMatch
            && length <= end
            && tokens[end - length] == tokens[^(length + 1)]
            && !breakers.Contains(tokens[end - length])
        )
        {
            length++;
        }

        return length;
    }
}
