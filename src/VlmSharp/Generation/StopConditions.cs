namespace VlmSharp.Generation;

/// <summary>Says after each token whether the answer ends there. Stop strings need text and are found by <see cref="StopStrings"/>.</summary>
/// <param name="options">The options.</param>
/// <param name="promptLength">Tokens of the prompt, for <see cref="SamplingOptions.MaxLength"/>.</param>
public sealed class StopConditions(SamplingOptions options, int promptLength)
{
    readonly HashSet<int> endTokens = [.. options.EndTokens];
    readonly int? limit = AnswerLimit(options, promptLength);
    readonly RepetitionDetector? repetition = options.Repetition is { } limits ? new RepetitionDetector(limits) : null;
    int tokens;

    /// <summary>Takes the next token of the answer.</summary>
    /// <returns>
    /// Null while the answer goes on. An end token counts more than a repetition, and that more than the limit on tokens, when one token
    /// meets several.
    /// </returns>
    public FinishReason? Push(int token)
    {
        tokens++;
        bool endless = repetition?.Push(token) ?? false;
        if (endTokens.Contains(token))
        {
            return FinishReason.Stop;
        }

        if (endless)
        {
            return FinishReason.Repetition;
        }

        return tokens >= limit ? FinishReason.Length : null;
    }

    /// <summary>The most tokens an answer may have; at least one, because a limit is checked after a token.</summary>
    internal static int? AnswerLimit(SamplingOptions options, int promptLength)
    {
        int? byTotal = options.MaxLength is { } length ? Math.Max(1, length - promptLength) : null;
        return (options.MaxNewTokens, byTotal) switch
        {
            ({ } a, { } b) => Math.Min(a, b),
            var (a, b) => a ?? b,
        };
    }
}
