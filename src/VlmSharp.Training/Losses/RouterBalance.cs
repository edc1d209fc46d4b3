namespace VlmSharp.Training;

/// <summary>The loss that keeps experts evenly used (Fedus et al., arXiv 2101.03961), as transformers' <c>load_balancing_loss_func</c> has it.</summary>
/// <remarks>
/// E * sum over slots j and experts e of share[j, e] * p[e]: the share of tokens whose j-th choice is e, times the mean probability of
/// e, over the tokens of all layers together. Even use gives the number of experts per token. The shares hand nothing back.
/// </remarks>
public static class RouterBalance
{
    /// <summary>The loss and its gradient for each layer's logits.</summary>
    /// <param name="layers">For each layer [tokens, experts] and the number of experts.</param>
    /// <param name="perToken">Experts that each token passes through.</param>
    public static (double Value, double[][] Gradients) Compute(
        IReadOnlyList<(float[] Logits, int Experts)> layers,
        int perToken
    )
    {
        int experts = layers.Count == 0 ? 0 : layers[0].Experts;
        int tokens = layers.Sum(layer => layer.Logits.Length / Math.Max(1, experts));
        double[] used = new double[experts]; // how often each is chosen, for any slot
        double[] mean = new double[experts];
        double[][] probabilities = [.. layers.Select(layer => new double[layer.Logits.Length])];
        int[] order = new int[experts];
        for (int l = 0; l < layers.Count; l++)
        {
            for (int at = 0; at < probabilities[l].Length; at += experts)
            {
                Span<double> p = probabilities[l].AsSpan(at, experts);
                Softmax(layers[l].Logits.AsSpan(at, experts), p);
                for (int e = 0; e < experts; e++)
                {
                    mean[e] += p[e] / tokens;
                    order[e] = e;
                }

                float[] logits = layers[l].Logits;
                int row = at;
                order
                    .AsSpan()
                    .Sort((a, b) => logits[row + b].CompareTo(logits[row + a]) is var c and not 0 ? c : a - b);
                for (int j = 0; j < perToken; j++)
                {
                    used[order[j]] += 1.0 / tokens;
                }
            }
        }

        double value = 0;
        for (int e = 0; e < experts; e++)
        {
            value += experts * used[e] * mean[e];
        }

        foreach (double[] layer in probabilities)
        {
            for (int at = 0; at < layer.Length; at += experts)
            {
                Span<double> p = layer.AsSpan(at, experts);
                double pull = 0;
                for (int e = 0; e < experts; e++)
                {
                    pull += p[e] * used[e];
                }

                for (int e = 0; e < experts; e++)
                {
                    p[e] *= experts * (used[e] - pull) / tokens;
                }
            }
        }

        return (value, probabilities);
    }

    static void Softmax(ReadOnlySpan<float> logits, Span<double> p)
    {
        double max = double.NegativeInfinity;
        foreach (float logit in logits)
        {
            max = Math.Max(max, logit);
        }

        double sum = 0;
        for (int i = 0; i < p.Length; i++)
        {
            p[i] = Math.Exp(logits[i] - max);
            sum += p[i];
        }

        for (int i = 0; i < p.Length; i++)
        {
            p[i] /= sum;
        }
    }
}
