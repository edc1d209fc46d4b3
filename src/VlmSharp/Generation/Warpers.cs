namespace VlmSharp.Generation;

/// <summary>What the truncating warpers share: removing by a threshold while a minimum of tokens stays.</summary>
static class Truncation
{
    /// <summary>Removes the scores below a threshold, and of those equal to it some, the highest ids first.</summary>
    public static void Below(Span<float> scores, float threshold, int tiesToRemove)
    {
        ScoreMath.RemoveBelow(scores, scores, threshold);
        for (int i = scores.Length - 1; tiesToRemove > 0; i--)
        {
            if (scores[i] == threshold)
            {
                scores[i] = float.NegativeInfinity;
                tiesToRemove--;
            }
        }
    }

    /// <summary>Keeps the best scores, of equal ones those of the lowest ids.</summary>
    public static void ToBest(Span<float> scores, int kept, Span<float> scratch)
    {
        if (kept < scores.Length)
        {
            float threshold = Selection.KthLargest(scores, kept, scratch);
            int atLeast = ScoreMath.Gather(scores, threshold, scratch);
            Below(scores, threshold, atLeast - kept);
        }
    }

    /// <summary>Removes tokens less probable than a threshold, but not the best few nor their equals.</summary>
    public static void Improbable(
        Span<float> scores,
        ReadOnlySpan<float> probabilities,
        float threshold,
        int minimumKept,
        Span<float> scratch
    )
    {
        minimumKept = Math.Min(minimumKept, scores.Length);
        if (ScoreMath.Gather(probabilities, threshold, scratch) >= minimumKept)
        {
            ScoreMath.RemoveBelow(scores, probabilities, threshold);
        }
        else
        {
            float worstKept = Selection.KthLargest(scores, minimumKept, scratch);
            ScoreMath.RemoveBelow(scores, scores, worstKept);
        }
    }
}

/// <summary>Divides by the temperature.</summary>
sealed class TemperatureWarper(double temperature) : ILogitsWarper
{
    readonly float temperature = (float)temperature;

    public bool Removes => false;

    public void Process(Span<float> scores, SamplerScratch scratch) => ScoreMath.Divide(scores, temperature);
}

/// <summary>Keeps the k best and every token equal to the k-th.</summary>
sealed class TopKWarper(int k, int minimumKept = 1) : ILogitsWarper
{
    readonly int k = Math.Max(k, minimumKept);

    public bool Removes => true;

    public void Process(Span<float> scores, SamplerScratch scratch)
    {
        if (k < scores.Length)
        {
            float threshold = Selection.KthLargest(scores, k, scratch.First(scores.Length));
            ScoreMath.RemoveBelow(scores, scores, threshold);
        }
    }
}

/// <summary>Removes the least probable tokens while their sum stays within 1 - p: the token that crosses the limit is kept.</summary>
/// <remarks>The limit and the rising sums are compared in f32. Of equal tokens the highest ids
/// go first, so that the last one left is the greedy choice; the references leave that order to an unstable sort.</remarks>
sealed class TopPWarper(double p, int minimumKept = 1) : ILogitsWarper
{
    readonly float limit = (float)(1 - p);

    public bool Removes => true;

    public void Process(Span<float> scores, SamplerScratch scratch)
    {
        Span<float> weights = scratch.First(scores.Length);
        Span<float> candidates = scratch.Second(scores.Length);
        ScoreMath.Probabilities(scores, weights);
        double below = ScoreMath.Sum(weights);

        // Tokens below half the limit's equal share stay within it all together: they go, and only the few others are looked at.
        float floor = limit / scores.Length / 2;
        int count = ScoreMath.Gather(scores, weights, floor, candidates, weights);
        weights = weights[..count];
        candidates = candidates[..count];
        below = Math.Max(0, below - ScoreMath.Sum(weights));

        float crossing = Selection.FirstAbove(candidates, weights, ref below, limit);
        int better = 0;
        int equal = 0;
        float weight = 0;
        for (int i = 0; i < count; i++)
        {
            if (candidates[i] > crossing)
            {
                better++;
            }
            else if (candidates[i] == crossing)
            {
                equal++;
                weight = weights[i];
            }
        }

        int removedTies = 0;
        while (removedTies < equal - 1 && (float)(below + weight) <= limit)
        {
            below += weight;
            removedTies++;
        }

        if (better + equal - removedTies < minimumKept)
        {
            Truncation.ToBest(scores, minimumKept, scratch.First(scores.Length));
        }
        else
        {
            Truncation.Below(scores, crossing, removedTies);
        }
    }
}

/// <summary>Removes tokens less probable than a share of the best one.</summary>
sealed class MinPWarper(double minP, int minimumKept = 1) : ILogitsWarper
{
    readonly float share = (float)minP;

    public bool Removes => true;

    public void Process(Span<float> scores, SamplerScratch scratch)
    {
        Span<float> probabilities = scratch.First(scores.Length);
        float best = ScoreMath.Probabilities(scores, probabilities);
        Truncation.Improbable(scores, probabilities, share * best, minimumKept, scratch.Second(scores.Length));
    }
}

/// <summary>Keeps the tokens whose surprise is nearest the entropy until their sum reaches the mass (arXiv 2202.00666).</summary>
sealed class TypicalWarper(double mass, int minimumKept = 1) : ILogitsWarper
{
    // The token at which the sum is at least the mass is the last one kept: above the next smaller f32.
    readonly float limit = MathF.BitDecrement((float)mass);

    public bool Removes => true;

    public void Process(Span<float> scores, SamplerScratch scratch)
    {
        Span<float> probabilities = scratch.First(scores.Length);
        Span<float> deviations = scratch.Second(scores.Length);
        ScoreMath.LogProbabilities(scores, deviations);
        ScoreMath.Probabilities(scores, probabilities);
        float entropy = ScoreMath.Entropy(probabilities, deviations);
        for (int i = 0; i < deviations.Length; i++)
        {
            deviations[i] = MathF.Abs(-deviations[i] - entropy);
        }

        double sum = 0;
        float largest = Selection.FirstAbove(deviations, probabilities, ref sum, limit);
        if (minimumKept > 1)
        {
            for (int i = 0; i < deviations.Length; i++)
            {
                deviations[i] = -deviations[i];
            }

            largest = MathF.Max(
                largest,
                -Selection.KthLargest(deviations, Math.Min(minimumKept, deviations.Length), probabilities)
            );
            ScoreMath.RemoveBelow(scores, deviations, -largest);
            return;
        }

        for (int i = 0; i < scores.Length; i++)
        {
            scores[i] = deviations[i] > largest ? float.NegativeInfinity : scores[i];
        }
    }
}

/// <summary>Removes tokens below a probability, except the best (arXiv 2210.15191).</summary>
sealed class EpsilonWarper(double epsilon, int minimumKept = 1) : ILogitsWarper
{
    readonly float epsilon = (float)epsilon;

    public bool Removes => true;

    public void Process(Span<float> scores, SamplerScratch scratch)
    {
        Span<float> probabilities = scratch.First(scores.Length);
        ScoreMath.Probabilities(scores, probabilities);
        Truncation.Improbable(scores, probabilities, epsilon, minimumKept, scratch.Second(scores.Length));
    }
}

/// <summary>Removes tokens below min(eta, sqrt(eta) exp(-entropy)), except the best (arXiv 2210.15191).</summary>
sealed class EtaWarper(double eta, int minimumKept = 1) : ILogitsWarper
{
    readonly float eta = (float)eta;

    public bool Removes => true;

    public void Process(Span<float> scores, SamplerScratch scratch)
    {
        Span<float> probabilities = scratch.First(scores.Length);
        Span<float> logProbabilities = scratch.Second(scores.Length);
        ScoreMath.LogProbabilities(scores, logProbabilities);
        ScoreMath.Probabilities(scores, probabilities);
        float threshold = MathF.Min(
            eta,
            MathF.Sqrt(eta) * MathF.Exp(-ScoreMath.Entropy(probabilities, logProbabilities))
        );
        Truncation.Improbable(scores, probabilities, threshold, minimumKept, scratch.Second(scores.Length));
    }
}

/// <summary>The last step: scores become log-probabilities of what is left.</summary>
sealed class LogNormalizationWarper : ILogitsWarper
{
    public bool Removes => false;

    public void Process(Span<float> scores, SamplerScratch scratch)
    {
        Span<float> logProbabilities = scratch.First(scores.Length);
        ScoreMath.LogProbabilities(scores, logProbabilities);
        logProbabilities.CopyTo(scores);
    }
}
