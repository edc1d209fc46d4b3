using VlmSharp.Formats;

namespace VlmSharp.Models.Blocks;

/// <summary>YaRN: rotary frequencies for contexts longer than the ones a model was trained on (Peng et al., arXiv 2309.00071).</summary>
/// <remarks>
/// Pairs that turn more than <see cref="BetaFast"/> times within the trained context stay, those that turn less than
/// <see cref="BetaSlow"/> times are slowed down by <see cref="Factor"/>, those between are blended. The fields and their defaults are
/// those of <c>_compute_yarn_parameters</c> (transformers 4.57, modeling_rope_utils.py), which takes the factor as it is written.
/// </remarks>
/// <param name="Factor">How many times longer the context became; at least 1.</param>
/// <param name="OriginalPositions">The context the model was trained on, in tokens.</param>
/// <param name="BetaFast">Turns from which on a pair stays as it is.</param>
/// <param name="BetaSlow">Turns up to which a pair is slowed down fully.</param>
/// <param name="Truncate">Whether the bounds of the blend are rounded outwards to whole pairs.</param>
/// <param name="Amplitude">Multiplies cosines and sines, so that attention gets sharper.</param>
public sealed record YarnScaling(
    double Factor,
    double OriginalPositions,
    double BetaFast,
    double BetaSlow,
    bool Truncate,
    float Amplitude
)
{
    /// <summary>Reads <c>rope_scaling</c> or <c>rope_parameters</c> of a config whose <c>rope_type</c> is <c>yarn</c>.</summary>
    /// <param name="json">The object with <c>factor</c>.</param>
    /// <param name="maxPositions">The trained context where <c>original_max_position_embeddings</c> is absent.</param>
    /// <exception cref="CheckpointException">A field is missing, of the wrong type or out of range.</exception>
    public static YarnScaling Read(JsonObjectReader json, int maxPositions)
    {
        double factor = json.Number("factor", 1, 1e6);
        double fast = Given("beta_fast", 32);
        double slow = Given("beta_slow", 1);
        if (fast < slow)
        {
            throw json.Error("beta_fast", $"is {fast}, less than beta_slow {slow}");
        }

        double scale = Given("mscale", 0);
        double allDimensions = Given("mscale_all_dim", 0);
        double amplitude =
            json.Has("attention_factor") ? json.Number("attention_factor", 0, 1e6)
            : scale > 0 && allDimensions > 0 ? Sharpness(scale) / Sharpness(allDimensions)
            : Sharpness(1);
        return new YarnScaling(
            factor,
            json.Has("original_max_position_embeddings")
                ? json.Int("original_max_position_embeddings", 1, int.MaxValue)
                : maxPositions,
            fast,
            slow,
            json.Bool("truncate", true),
            (float)amplitude
        );

        double Sharpness(double by) => factor <= 1 ? 1 : (0.1 * by * Math.Log(factor)) + 1;

        // The published code takes a zero for an absent value.
        double Given(string name, double fallback) =>
            json.Number(name, 0, 1e6, fallback) is var value && value > 0 ? value : fallback;
    }

    /// <summary>The frequency of each pair, computed in f32 as the published code does.</summary>
    /// <param name="dimensions">Width of a head.</param>
    /// <param name="theta">Base of the frequencies.</param>
    /// <returns>[dimensions / 2]</returns>
    public float[] Frequencies(int dimensions, double theta)
    {
        double low = Pair(BetaFast);
        double high = Pair(BetaSlow);
        if (Truncate)
        {
            (low, high) = (Math.Floor(low), Math.Ceiling(high));
        }

        (low, high) = (Math.Max(low, 0), Math.Min(high, dimensions - 1));
        high = low == high ? high + 0.001 : high; // so that the blend has a width
        float[] frequencies = new float[dimensions / 2];
        for (int i = 0; i < frequencies.Length; i++)
        {
            float period = MathF.Pow((float)theta, 2 * i / (float)dimensions);
            float slowed = Math.Clamp((i - (float)low) / (float)(high - low), 0, 1);
            float kept = 1 - slowed;
            frequencies[i] = (1 / ((float)Factor * period) * (1 - kept)) + (1 / period * kept);
        }

        return frequencies;

        // The pair, as a fraction, that turns this often within the trained context.
        double Pair(double turns) =>
            dimensions * Math.Log(OriginalPositions / (turns * 2 * Math.PI)) / (2 * Math.Log(theta));
    }
}
