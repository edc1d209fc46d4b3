namespace VlmSharp.Generation;

/// <summary>Adds a constant to some scores.</summary>
sealed class LogitBiasProcessor(IReadOnlyDictionary<int, double> biases) : ILogitsProcessor
{
    readonly (int Token, float Bias)[] biases = [.. biases.Select(entry => (entry.Key, (float)entry.Value))];

    public void Process(Span<float> scores, History history)
    {
        foreach ((int token, float bias) in biases)
        {
            scores[token] += bias;
        }
    }
}

/// <summary>Biases the token that would complete a sequence; several matching sequences add up.</summary>
/// <remarks>
/// As transformers' <c>SequenceBiasLogitsProcessor</c>: a sequence longer than the whole history is passed over, even if all but its last
/// token stand there.
/// </remarks>
sealed class SequenceBiasProcessor : ILogitsProcessor
{
    readonly (int Token, (int[] Prefix, float Bias)[] Sequences)[] byLastToken;

    public SequenceBiasProcessor(IEnumerable<SequenceBias> biases) =>
        byLastToken = [
            // Single tokens come first, as in the reference: the sum is f32.
            .. biases
                .OrderBy(bias => bias.Tokens.Count > 1)
                .GroupBy(bias => bias.Tokens[^1], bias => (bias.Tokens.SkipLast(1).ToArray(), (float)bias.Bias))
                .Select(group => (group.Key, group.ToArray())),
        ];

    /// <summary>Sequences that may not be completed.</summary>
    public static SequenceBiasProcessor Forbidding(IEnumerable<IReadOnlyList<int>> sequences) =>
        new(sequences.Select(sequence => new SequenceBias(sequence, double.NegativeInfinity)));

    public void Process(Span<float> scores, History history)
    {
        ReadOnlySpan<int> tokens = history.Tokens;
        foreach ((int token, (int[] Prefix, float Bias)[] sequences) in byLastToken)
        {
            float total = 0;
            foreach ((int[] prefix, float bias) in sequences)
            {
                if (prefix.Length == 0 || (prefix.Length < tokens.Length && tokens.EndsWith(prefix)))
                {
                    total += bias;
                }
            }

            scores[token] += total;
        }
    }
}
