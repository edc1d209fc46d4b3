using System.Buffers;

namespace VlmSharp.Generation;

/// <summary>A token and its log-probability in nats.</summary>
public readonly record struct TokenLogProb(int Token, double LogProb);

/// <summary>What one step reports about its token.</summary>
public readonly ref struct StepLogProbs(TokenLogProb chosen, int rank, ReadOnlySpan<TokenLogProb> top)
{
    /// <summary>The chosen token.</summary>
    public TokenLogProb Chosen { get; } = chosen;

    /// <summary>The chosen token's place among all; 1 is the best.</summary>
    public int Rank { get; } = rank;

    /// <summary>The best tokens, best first. Valid until the sampler's next step.</summary>
    public ReadOnlySpan<TokenLogProb> Top { get; } = top;
}

/// <summary>Log-probabilities of the model's own distribution: log softmax of raw logits, before penalties and temperature.</summary>
public static class LogProbs
{
    /// <summary>log(sum(exp(logits))): a token's log-probability is its logit minus this.</summary>
    /// <exception cref="ArgumentException">A logit is NaN.</exception>
    public static double LogSumExp(ReadOnlySpan<float> logits) => ScoreMath.LogSumExp(logits);

    /// <summary>A token's place in the order of <see cref="Top"/>; 1 is the best.</summary>
    public static int Rank(ReadOnlySpan<float> logits, int token)
    {
        float own = logits[token];
        int rank = 1 + ScoreMath.CountAbove(logits, own);
        for (int i = ScoreMath.NextAtLeast(logits, own, 0); i < token; i = ScoreMath.NextAtLeast(logits, own, i + 1))
        {
            rank += logits[i] == own ? 1 : 0;
        }

        return rank;
    }

    /// <summary>The best tokens by falling logit, equal ones by rising id.</summary>
    /// <param name="logits">[vocabulary], raw</param>
    /// <param name="top">Filled; not longer than the vocabulary.</param>
    public static void Top(ReadOnlySpan<float> logits, Span<TokenLogProb> top) =>
        FillTop(logits, LogSumExp(logits), top);

    internal static void FillTop(ReadOnlySpan<float> logits, double logSumExp, Span<TokenLogProb> top)
    {
        if (top.Length > logits.Length)
        {
            throw new ArgumentException($"{top.Length} best of {logits.Length} logits were asked for.", nameof(top));
        }

        if (top.IsEmpty)
        {
            return;
        }

        float[] scratch = ArrayPool<float>.Shared.Rent(logits.Length);
        float worst = Selection.KthLargest(logits, top.Length, scratch);
        ArrayPool<float>.Shared.Return(scratch);

        // All better ones, and of those equal to the last the lowest ids that fit.
        ulong[] keys = ArrayPool<ulong>.Shared.Rent(top.Length);
        int ties = top.Length - ScoreMath.CountAbove(logits, worst);
        int count = 0;
        for (
            int i = ScoreMath.NextAtLeast(logits, worst, 0);
            count < top.Length;
            i = ScoreMath.NextAtLeast(logits, worst, i + 1)
        )
        {
            if (logits[i] > worst || ties-- > 0)
            {
                keys[count++] = Selection.DescendingKey(logits[i], i);
            }
        }

        keys.AsSpan(0, count).Sort();
        for (int i = 0; i < count; i++)
        {
            int token = Selection.IndexOf(keys[i]);
            top[i] = new TokenLogProb(token, logits[token] - logSumExp);
        }

        ArrayPool<ulong>.Shared.Return(keys);
    }
}
