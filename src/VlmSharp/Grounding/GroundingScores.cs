namespace VlmSharp.Grounding;

/// <summary>A token of an answer: which characters it spells and how likely it was.</summary>
/// <param name="Range">Characters of the answer; several tokens of one character share it.</param>
/// <param name="LogProb">In nats, 0 at most.</param>
public readonly record struct TokenSpan(TextRange Range, double LogProb);

/// <summary>How sure a model was of where it points.</summary>
public static class GroundingScores
{
    /// <summary>Gives every item the geometric mean probability of the tokens that spell its coordinates: exp(mean(log p)).</summary>
    /// <remarks>All tokens count that have a character between the first and the last digit, commas included. Items of which no token is known keep no score.</remarks>
    /// <param name="result">As read from the answer.</param>
    /// <param name="tokens">The answer's tokens, ascending; they may end before the answer does.</param>
    public static GroundingResult Attach(GroundingResult result, IReadOnlyList<TokenSpan> tokens)
    {
        ArgumentNullException.ThrowIfNull(result);
        ArgumentNullException.ThrowIfNull(tokens);
        return result with { Items = [.. result.Items.Select(item => item with { Score = Score(item, tokens) })] };
    }

    static double? Score(GroundedItem item, IReadOnlyList<TokenSpan> tokens)
    {
        (int low, int high) = (0, tokens.Count);
        while (low < high)
        {
            int middle = (low + high) / 2;
            (low, high) = tokens[middle].Range.End <= item.CoordinateRange.Start ? (middle + 1, high) : (low, middle);
        }

        (double sum, int count) = (0, 0);
        for (int i = low; i < tokens.Count && tokens[i].Range.Start < item.CoordinateRange.End; i++)
        {
            sum += tokens[i].LogProb;
            count++;
        }

        return count > 0 ? Math.Exp(sum / count) : null;
    }
}
