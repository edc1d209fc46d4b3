namespace VlmSharp.Generation;

/// <summary>Chooses the tokens of one answer.</summary>
/// <remarks>
/// <para>A random choice takes one number u from <see cref="SamplingOptions.Seed"/>'s stream (xoshiro256**, seeded by SplitMix64; XTC takes one
/// before it) and returns the first token, in the order of ids, at which the running sum of what is left of the distribution exceeds u times
/// the whole. It depends on the logits, the history and the seed alone, not on other requests of a batch nor on threads. A greedy choice
/// takes no number.</para>
/// <para>After the first step nothing is allocated, except where the history outgrows the room reserved for it. Not thread-safe.</para>
/// </remarks>
public sealed class Sampler
{
    // Room in the history where the options name no limit, and at most this much in advance where they do.
    const int ReservedAnswer = 4096;

    readonly LogitsPipeline pipeline;
    readonly SamplerRandom random;
    readonly SamplerScratch scratch;
    readonly History history;
    readonly TokenLogProb[]? top;
    readonly int vocabulary;
    TokenLogProb chosen;
    int rank;

    /// <summary>A sampler at the start of an answer.</summary>
    /// <param name="options">How to choose.</param>
    /// <param name="prompt">The ids of the prompt, which some penalties count; copied.</param>
    /// <param name="vocabulary">Logits per step.</param>
    /// <param name="constraints">Further processors; they run after those of the options and before the truncations.</param>
    /// <exception cref="ArgumentException">An option names an id the vocabulary does not have.</exception>
    public Sampler(
        SamplingOptions options,
        ReadOnlySpan<int> prompt,
        int vocabulary,
        IReadOnlyList<ILogitsProcessor>? constraints = null
    )
        : this(options, prompt, vocabulary, constraints, new SamplerScratch(vocabulary)) { }

    /// <summary>A sampler that shares its buffers with others; they take turns on one thread.</summary>
    internal Sampler(
        SamplingOptions options,
        ReadOnlySpan<int> prompt,
        int vocabulary,
        IReadOnlyList<ILogitsProcessor>? constraints,
        SamplerScratch scratch
    )
    {
        ArgumentNullException.ThrowIfNull(options);
        random = new SamplerRandom(options.Seed);
        pipeline = new LogitsPipeline(options, prompt.Length, vocabulary, random, constraints);
        int limit = StopConditions.AnswerLimit(options, prompt.Length) ?? ReservedAnswer;
        history = new History(prompt, Math.Min(limit, ReservedAnswer));
        top = options.LogProbs is { } count ? new TokenLogProb[count] : null;
        this.scratch = scratch;
        this.vocabulary = vocabulary;
    }

    /// <summary>The tokens chosen so far. Valid until the next step.</summary>
    public ReadOnlySpan<int> Answer => history.Answer;

    /// <summary>About the last token, of the raw logits.</summary>
    /// <exception cref="InvalidOperationException"><see cref="SamplingOptions.LogProbs"/> is off, or nothing was chosen yet.</exception>
    public StepLogProbs LastLogProbs =>
        top is not null && rank > 0
            ? new StepLogProbs(chosen, rank, top)
            : throw new InvalidOperationException(
                "There are no log-probabilities: set SamplingOptions.LogProbs and choose a token first."
            );

    /// <summary>Chooses the next token and adds it to the answer.</summary>
    /// <param name="logits">[vocabulary], raw; not modified</param>
    /// <exception cref="ArgumentException">There are not as many logits as the vocabulary has tokens, or some are NaN.</exception>
    /// <exception cref="InvalidOperationException">Every token was removed.</exception>
    public int Next(ReadOnlySpan<float> logits)
    {
        if (logits.Length != vocabulary)
        {
            throw new ArgumentException(
                $"There are {logits.Length} logits for a vocabulary of {vocabulary} tokens.",
                nameof(logits)
            );
        }

        return Take(pipeline.IsGreedy ? Best(logits) : Random(logits), logits);
    }

    /// <summary>Adds a token that was not chosen but is given; it takes no random number.</summary>
    /// <param name="logits">[vocabulary], raw; what the model thought of the token</param>
    /// <param name="token">The token.</param>
    internal int Force(ReadOnlySpan<float> logits, int token) => Take(token, logits);

    int Take(int token, ReadOnlySpan<float> logits)
    {
        if (top is not null)
        {
            double logSumExp = LogProbs.LogSumExp(logits);
            LogProbs.FillTop(logits, logSumExp, top);
            chosen = new TokenLogProb(token, logits[token] - logSumExp);
            rank = LogProbs.Rank(logits, token);
        }

        history.Append(token);
        return token;
    }

    int Best(ReadOnlySpan<float> logits)
    {
        int token = ScoreMath.ArgMax(logits);
        if (pipeline.Processors.Count > 0)
        {
            Span<float> scores = scratch.Scores;
            logits.CopyTo(scores);
            pipeline.RunProcessors(scores, history);
            token = ScoreMath.ArgMax(scores);
            logits = scores;
        }

        return float.IsNegativeInfinity(logits[token]) ? throw NothingLeft() : token;
    }

    int Random(ReadOnlySpan<float> logits)
    {
        ScoreMath.Max(logits); // NaN is reported of the model's logits, before anything spreads it.
        Span<float> scores = scratch.Scores;
        logits.CopyTo(scores);
        int count = pipeline.ProcessCompacting(scores, scratch.Ids, history, scratch);
        return count > 0 ? scratch.Ids[Draw(scores[..count])] : throw NothingLeft();
    }

    /// <summary>The index at which the running sum of exp(score) exceeds a random share of the whole.</summary>
    int Draw(ReadOnlySpan<float> scores)
    {
        // By blocks: the whole is the sum of the blocks' sums in the order in which the search adds them up.
        const int Block = 256;
        Span<float> weights = scratch.First(scores.Length);
        ScoreMath.Exponentials(scores, ScoreMath.Max(scores), weights);
        double total = 0;
        for (int start = 0; start < weights.Length; start += Block)
        {
            total += ScoreMath.Sum(weights[start..Math.Min(start + Block, weights.Length)]);
        }

        double target = random.NextDouble() * total;
        double sum = 0;
        int last = 0;
        for (int start = 0; start < weights.Length; start += Block)
        {
            ReadOnlySpan<float> block = weights[start..Math.Min(start + Block, weights.Length)];
            double blockSum = ScoreMath.Sum(block);
            if (sum + blockSum <= target)
            {
                sum += blockSum;
                continue;
            }

            for (int i = 0; i < block.Length; i++)
            {
                if (block[i] > 0)
                {
                    last = start + i;
                    sum += block[i];
                    if (sum > target)
                    {
                        return last;
                    }
                }
            }

            break; // The elements' sum fell short of the block's by a rounding.
        }

        return last;
    }

    static InvalidOperationException NothingLeft() =>
        new(
            "No token is left to choose: every logit is negative infinity. Banned or constrained tokens cover the whole vocabulary, or the model's output is broken."
        );
}
