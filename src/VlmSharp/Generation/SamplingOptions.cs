using VlmSharp.Formats;

namespace VlmSharp.Generation;

/// <summary>The order in which the truncations of a distribution follow each other.</summary>
public enum SamplingOrder
{
    /// <summary>Temperature, top-k, top-p, min-p (<c>GenerationMixin._get_logits_processor</c> of transformers).</summary>
    Transformers,

    /// <summary>Temperature, min-p, top-k, top-p (vLLM).</summary>
    Vllm,
}

/// <summary>A bias on the last token of <paramref name="Tokens"/> wherever the others have just been produced.</summary>
/// <param name="Tokens">At least one id. One id alone is biased at every step.</param>
/// <param name="Bias">Added to the logit.</param>
public readonly record struct SequenceBias(IReadOnlyList<int> Tokens, double Bias);

/// <summary>Raises the logits of the end tokens more and more: by <c>|logit| * (Factor^(n - Start) - 1)</c> after n &gt; Start tokens.</summary>
/// <param name="Start">Answer tokens after which it begins.</param>
/// <param name="Factor">Growth per token, above 0.</param>
public readonly record struct ExponentialDecay(int Start, double Factor);

/// <summary>How the next token is chosen and when the answer ends.</summary>
/// <remarks>
/// Everything is off by default and the choice is greedy: an answer is random only where <see cref="Temperature"/> says so. In particular
/// <see cref="TopK"/> is off, while transformers' own default is 50; the values a checkpoint recommends stand in its generation_config.json.
/// Setting a value outside its range throws an <see cref="ArgumentException"/> that names the option, the value and the range; ids are
/// checked against the vocabulary when a <see cref="Sampler"/> is made.
/// </remarks>
public sealed record SamplingOptions
{
    /// <summary>What the publisher of a checkpoint recommends: greedy unless it says to sample, and off what it does not mention.</summary>
    public static SamplingOptions From(GenerationConfig config)
    {
        ArgumentNullException.ThrowIfNull(config);
        return new SamplingOptions
        {
            Temperature = config.DoSample ? config.Temperature ?? 1 : 0,
            TopK = config.TopK ?? 0,
            TopP = config.TopP ?? 1,
            MinP = config.MinP ?? 0,
            RepetitionPenalty = config.RepetitionPenalty ?? 1,
            EndTokens = config.StopIds,
            MaxNewTokens = config.MaxNewTokens,
        };
    }

    /// <summary>Divides the logits; 0 is greedy: the best token after penalties and bans, the lowest id where several are equal.</summary>
    public double Temperature
    {
        get;
        init => field = Range.AtLeast(0, value, nameof(Temperature));
    }

    /// <summary>Keeps the k best tokens, and all that equal the k-th; 0 is off.</summary>
    public int TopK
    {
        get;
        init => field = Range.AtLeast(0, value, nameof(TopK));
    }

    /// <summary>Keeps the smallest set of best tokens whose probabilities reach this sum, the crossing token included; 1 is off.</summary>
    public double TopP
    {
        get;
        init => field = Range.Within(0, 1, value, nameof(TopP));
    } = 1;

    /// <summary>Removes tokens less probable than this share of the best one; 0 is off.</summary>
    public double MinP
    {
        get;
        init => field = Range.Within(0, 1, value, nameof(MinP));
    }

    /// <summary>Divides positive and multiplies negative logits of tokens in the prompt or the answer, once each; 1 is off.</summary>
    public double RepetitionPenalty
    {
        get;
        init => field = Range.Above(0, value, nameof(RepetitionPenalty));
    } = 1;

    /// <summary>The inverse penalty on the prompt's tokens: above 1 favours them; 1 is off.</summary>
    public double EncoderRepetitionPenalty
    {
        get;
        init => field = Range.Above(0, value, nameof(EncoderRepetitionPenalty));
    } = 1;

    /// <summary>Subtracted from the logit of every token of the answer, the prompt not counted; 0 is off.</summary>
    public double PresencePenalty
    {
        get;
        init => field = Range.Finite(value, nameof(PresencePenalty));
    }

    /// <summary>Subtracted from a token's logit for each time it stands in the answer, the prompt not counted; 0 is off.</summary>
    public double FrequencyPenalty
    {
        get;
        init => field = Range.Finite(value, nameof(FrequencyPenalty));
    }

    /// <summary>Added to the logits of these ids at every step.</summary>
    public IReadOnlyDictionary<int, double>? LogitBias { get; init; }

    /// <summary>Biases on tokens that would complete a sequence.</summary>
    public IReadOnlyList<SequenceBias> SequenceBias { get; init; } = [];

    /// <summary>Sequences that may not be completed. One that is a single end token is ignored.</summary>
    public IReadOnlyList<IReadOnlyList<int>> BadWords { get; init; } = [];

    /// <summary>No n-gram of this size occurs twice in prompt and answer together; 0 is off.</summary>
    public int NoRepeatNGramSize
    {
        get;
        init => field = Range.AtLeast(0, value, nameof(NoRepeatNGramSize));
    }

    /// <summary>No n-gram of this size of the prompt is repeated; 0 is off.</summary>
    public int EncoderNoRepeatNGramSize
    {
        get;
        init => field = Range.AtLeast(0, value, nameof(EncoderNoRepeatNGramSize));
    }

    /// <summary>Ids that are never chosen.</summary>
    public IReadOnlyList<int> SuppressTokens { get; init; } = [];

    /// <summary>Ids that are not chosen as the first token of the answer.</summary>
    public IReadOnlyList<int> BeginSuppressTokens { get; init; } = [];

    /// <summary>Ids that end the answer (<c>eos_token_id</c> and stop ids). Those beyond the vocabulary are ignored.</summary>
    public IReadOnlyList<int> EndTokens { get; init; } = [];

    /// <summary>Texts that end the answer; see <see cref="Generation.StopStrings"/>.</summary>
    public IReadOnlyList<string> StopStrings { get; init; } = [];

    /// <summary>No end token before the answer has this many tokens; 0 is off.</summary>
    public int MinNewTokens
    {
        get;
        init => field = Range.AtLeast(0, value, nameof(MinNewTokens));
    }

    /// <summary>No end token before prompt and answer together have this many tokens; 0 is off.</summary>
    public int MinLength
    {
        get;
        init => field = Range.AtLeast(0, value, nameof(MinLength));
    }

    /// <summary>The answer ends after this many tokens; null is no limit.</summary>
    public int? MaxNewTokens
    {
        get;
        init => field = value is { } n ? Range.AtLeast(1, n, nameof(MaxNewTokens)) : null;
    }

    /// <summary>The answer ends when prompt and answer together have this many tokens; null is no limit.</summary>
    public int? MaxLength
    {
        get;
        init => field = value is { } n ? Range.AtLeast(1, n, nameof(MaxLength)) : null;
    }

    /// <summary>The only token possible where the limit on tokens leaves one (<c>forced_eos_token_id</c>).</summary>
    public int? ForcedEndToken { get; init; }

    /// <summary>
    /// Thoughts end after this many tokens: <c>&lt;/think&gt;</c> then comes by itself, and counts as part of the answer, and what follows is chosen
    /// again. 0 is no thoughts at all; null is no limit.
    /// </summary>
    public int? ThinkingBudget
    {
        get;
        init => field = value is { } n ? Range.AtLeast(0, n, nameof(ThinkingBudget)) : null;
    }

    /// <summary>A growing preference for the end tokens; null is off.</summary>
    public ExponentialDecay? ExponentialDecay
    {
        get;
        init
        {
            if (value is { } decay)
            {
                Range.AtLeast(0, decay.Start, "ExponentialDecay.Start");
                Range.Above(0, decay.Factor, "ExponentialDecay.Factor");
            }

            field = value;
        }
    }

    /// <summary>Locally typical sampling: keeps the tokens whose surprise is nearest the entropy, up to this probability; 1 is off.</summary>
    public double TypicalP
    {
        get;
        init => field = Range.Within(0, 1, value, nameof(TypicalP));
    } = 1;

    /// <summary>Removes tokens below this probability, except the best; 0 is off.</summary>
    public double EpsilonCutoff
    {
        get;
        init => field = Range.Within(0, 1, value, nameof(EpsilonCutoff));
    }

    /// <summary>Removes tokens below min(eta, sqrt(eta) * exp(-entropy)), except the best; 0 is off.</summary>
    public double EtaCutoff
    {
        get;
        init => field = Range.Within(0, 1, value, nameof(EtaCutoff));
    }

    /// <summary>Keeps best tokens while their share of the entropy of the 100 best stays within this; 0 is off.</summary>
    public double TopH
    {
        get;
        init => field = Range.Within(0, 1, value, nameof(TopH));
    }

    /// <summary>Removes tokens less probable than this times the square of the best probability; 0 is off.</summary>
    public double TopA
    {
        get;
        init => field = Range.Within(0, 1, value, nameof(TopA));
    }

    /// <summary>Tail-free sampling: keeps tokens until this share of the curvature of the sorted probabilities; 1 is off.</summary>
    public double TailFree
    {
        get;
        init => field = Range.Within(0, 1, value, nameof(TailFree));
    } = 1;

    /// <summary>Removes tokens more than this many standard deviations of the logits below the best; 0 is off.</summary>
    public double TopNSigma
    {
        get;
        init => field = Range.AtLeast(0, value, nameof(TopNSigma));
    }

    /// <summary>Quadratic smoothing: logits become max - f * (k d^2 + s |d|^3), d the distance from the best; 0 is off.</summary>
    public double SmoothingFactor
    {
        get;
        init => field = Range.AtLeast(0, value, nameof(SmoothingFactor));
    }

    /// <summary>The share of the cubic term in the smoothing: k = (3 - c) / 2, s = (c - 1) / 2. 1 is purely quadratic.</summary>
    public double SmoothingCurve
    {
        get;
        init => field = Range.AtLeast(1, value, nameof(SmoothingCurve));
    } = 1;

    /// <summary>"Exclude top choices": of the tokens at least this probable only the least probable stays.</summary>
    public double XtcThreshold
    {
        get;
        init => field = Range.Within(0, 1, value, nameof(XtcThreshold));
    } = 0.1;

    /// <summary>The probability with which top choices are excluded at a step; 0 is off.</summary>
    public double XtcProbability
    {
        get;
        init => field = Range.Within(0, 1, value, nameof(XtcProbability));
    }

    /// <summary>"Don't repeat yourself": the penalty of a token that would make a repeated sequence longer than allowed; 0 is off.</summary>
    public double DryMultiplier
    {
        get;
        init => field = Range.AtLeast(0, value, nameof(DryMultiplier));
    }

    /// <summary>Growth of the DRY penalty per token of the repeated sequence.</summary>
    public double DryBase
    {
        get;
        init => field = Range.Above(0, value, nameof(DryBase));
    } = 1.75;

    /// <summary>The repeated sequence may have this many tokens less one without a DRY penalty.</summary>
    public int DryAllowedLength
    {
        get;
        init => field = Range.AtLeast(0, value, nameof(DryAllowedLength));
    } = 2;

    /// <summary>How many of the last tokens of prompt and answer DRY looks at; 0 is all.</summary>
    public int DryRange
    {
        get;
        init => field = Range.AtLeast(0, value, nameof(DryRange));
    }

    /// <summary>Ids a repeated sequence never extends over.</summary>
    public IReadOnlyList<int> DrySequenceBreakers { get; init; } = [];

    /// <summary>The last step turns the scores into log-probabilities of what is left. The choice does not depend on it.</summary>
    public bool RenormalizeLogits { get; init; }

    /// <summary>Which published order of truncations applies.</summary>
    public SamplingOrder Order { get; init; }

    /// <summary>Makes the choices repeatable; null draws a seed.</summary>
    public ulong? Seed { get; init; }

    /// <summary>How many of the best tokens are reported at each step beside the chosen one; null reports nothing.</summary>
    public int? LogProbs
    {
        get;
        init => field = value is { } n ? Range.AtLeast(0, n, nameof(LogProbs)) : null;
    }

    /// <summary>When a cycle counts as endless; null never ends an answer for this reason.</summary>
    public RepetitionLimits? Repetition { get; init; } = new();

    static class Range
    {
        public static int AtLeast(int minimum, int value, string option) =>
            value >= minimum ? value : throw Outside(option, value, $"at least {minimum}");

        public static double AtLeast(double minimum, double value, string option) =>
            double.IsFinite(value) && value >= minimum
                ? value
                : throw Outside(option, value, $"a finite number of at least {minimum}");

        public static double Above(double minimum, double value, string option) =>
            double.IsFinite(value) && value > minimum
                ? value
                : throw Outside(option, value, $"a finite number above {minimum}");

        public static double Within(double minimum, double maximum, double value, string option) =>
            value >= minimum && value <= maximum ? value : throw Outside(option, value, $"from {minimum} to {maximum}");

        public static double Finite(double value, string option) =>
            double.IsFinite(value) ? value : throw Outside(option, value, "a finite number");

        static ArgumentOutOfRangeException Outside(string option, object value, string expected) =>
            new(option, $"{option} is {value}; it must be {expected}.");
    }
}
