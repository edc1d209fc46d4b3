namespace VlmSharp.Generation;

/// <summary>Keeps best tokens while their part of the entropy of the 100 best stays within a share (transformers' <c>TopHLogitsWarper</c>).</summary>
sealed class TopHWarper(double share) : ILogitsWarper
{
    const int Considered = 100;

    readonly float share = (float)share;

    public bool Removes => true;

    public void Process(Span<float> scores, SamplerScratch scratch)
    {
        Span<float> probabilities = scratch.First(scores.Length);
        Span<float> best = scratch.Second(scores.Length);
        int considered = Math.Min(Considered, scores.Length);
        float worst = Selection.KthLargest(scores, considered, best);
        int count = ScoreMath.Gather(scores, worst, best);
        best[..count].Sort();
        best = best.Slice(count - considered, considered);
        best.Reverse();
        probabilities = probabilities[..considered];
        ScoreMath.Probabilities(best, probabilities);

        double entropy = 0;
        foreach (float p in probabilities)
        {
            entropy -= p > 0 ? p * MathF.Log(p) : 0;
        }

        float limit = (float)entropy * share;
        double sum = -probabilities[0] * MathF.Log(probabilities[0]);
        int kept = 1;
        while (kept < considered && probabilities[kept] > 0)
        {
            sum -= probabilities[kept] * MathF.Log(probabilities[kept]);
            if ((float)sum > limit)
            {
                break;
            }

            kept++;
        }

        Truncation.ToBest(scores, kept, scratch.Second(scores.Length));
    }
}

/// <summary>Removes tokens less probable than a times the square of the best probability (Aphrodite's top-a).</summary>
sealed class TopAWarper(double a) : ILogitsWarper
{
    readonly float a = (float)a;

    public bool Removes => true;

    public void Process(Span<float> scores, SamplerScratch scratch)
    {
        Span<float> probabilities = scratch.First(scores.Length);
        float best = ScoreMath.Probabilities(scores, probabilities);
        Truncation.Improbable(scores, probabilities, best * best * a, 1, scratch.Second(scores.Length));
    }
}

/// <summary>Keeps tokens until a share of the second differences of the sorted probabilities is used up (Aphrodite's tail-free).</summary>
/// <remarks>Sorts what is left of the vocabulary.</remarks>
sealed class TailFreeWarper(double share, int vocabulary) : ILogitsWarper
{
    readonly float share = (float)share;

    public bool Removes => true;

    public void Process(Span<float> scores, SamplerScratch scratch)
    {
        // Tokens removed before count with probability 0: two of them complete the last differences, further ones add nothing.
        int length = scores.Length + Math.Min(2, vocabulary - scores.Length);
        if (length < 2)
        {
            return;
        }

        Span<float> p = scratch.First(length);
        p[scores.Length..].Clear();
        ScoreMath.Probabilities(scores, p[..scores.Length]);
        p.Sort();
        p.Reverse();
        double total = 0;
        for (int i = 0; i + 2 < length; i++)
        {
            total += Curvature(p, i);
        }

        int kept = 1;
        double sum = 0;
        while (kept < length - 1)
        {
            sum += Curvature(p, kept - 1) / (float)total;
            if ((float)sum > share)
            {
                break;
            }

            kept++;
        }

        Truncation.ToBest(scores, kept, scratch.Second(scores.Length));
    }

    static float Curvature(ReadOnlySpan<float> p, int i) => MathF.Abs(p[i + 2] - p[i + 1] - (p[i + 1] - p[i]));
}

/// <summary>Removes tokens more than n standard deviations of the logits below the best (Aphrodite's top-n-sigma; n - 1 in the variance).</summary>
/// <remarks>Tokens removed before do not count: a distribution with them has no deviation.</remarks>
sealed class TopNSigmaWarper(double n) : ILogitsWarper
{
    readonly float n = (float)n;

    public bool Removes => true;

    public void Process(Span<float> scores, SamplerScratch scratch)
    {
        int count = 0;
        double mean = 0;
        double squares = 0;
        foreach (float score in scores)
        {
            if (float.IsFinite(score))
            {
                count++;
                double difference = score - mean;
                mean += difference / count;
                squares += difference * (score - mean);
            }
        }

        if (count > 1)
        {
            float deviation = (float)Math.Sqrt(squares / (count - 1));
            ScoreMath.RemoveBelow(scores, scores, ScoreMath.Max(scores) - n * deviation);
        }
    }
}

/// <summary>Bends the scores downward with their distance from the best (Aphrodite's quadratic smoothing).</summary>
sealed class QuadraticWarper(double factor, double curve) : ILogitsWarper
{
    readonly float square = (float)(factor * (3 - curve) / 2);
    readonly float cube = (float)(factor * (curve - 1) / 2);

    public bool Removes => false;

    public void Process(Span<float> scores, SamplerScratch scratch)
    {
        float best = ScoreMath.Max(scores);
        for (int i = 0; i < scores.Length; i++)
        {
            if (float.IsFinite(scores[i]))
            {
                float d = scores[i] - best;
                scores[i] = best - d * d * (square - cube * d);
            }
        }
    }
}

/// <summary>"Exclude top choices": of the tokens at least as probable as a threshold only the least probable stays (Aphrodite's XTC).</summary>
/// <remarks>Takes a number from the sampler's random source at each step, before the choice takes its own.</remarks>
sealed class XtcWarper(double threshold, double probability, SamplerRandom random) : ILogitsWarper
{
    readonly float threshold = (float)threshold;

    public bool Removes => true;

    public void Process(Span<float> scores, SamplerScratch scratch)
    {
        if (random.NextDouble() >= probability)
        {
            return;
        }

        Span<float> probabilities = scratch.First(scores.Length);
        Span<float> top = scratch.Second(scores.Length);
        ScoreMath.Probabilities(scores, probabilities);
        top = top[..ScoreMath.Gather(scores, probabilities, threshold, top, [])];
        if (top.Length < 2)
        {
            return;
        }

        // Of equal ones the last id stays.
        top.Sort();
        float worst = top[0];
        int tiesToRemove = top.LastIndexOf(worst);
        for (int i = 0; i < scores.Length; i++)
        {
            if (scores[i] > worst || (scores[i] == worst && tiesToRemove-- > 0))
            {
                scores[i] = float.NegativeInfinity;
            }
        }
    }
}
