namespace VlmSharp.Generation;

/// <summary>The processors and warpers that some options switch on, in their published order.</summary>
/// <remarks>
/// Processors: biases, repetition, frequency, presence, DRY, n-grams, bad words, minimum length, forced end, decay, suppressed tokens,
/// the caller's constraints. Warpers, when the choice is random: temperature, top-h, top-k, top-p, min-p (in vLLM's order min-p before
/// top-k), typical, epsilon, eta, then those without a place in either order: top-a, tail-free, top-n-sigma, quadratic, XTC; last the
/// normalisation.
/// </remarks>
sealed class LogitsPipeline
{
    /// <summary>Below this temperature the choice is greedy: dividing by less overflows, and nothing else than the best is left.</summary>
    public const double SmallestTemperature = 1e-5;

    readonly List<ILogitsProcessor> processors = [];
    readonly List<ILogitsWarper> warpers = [];

    /// <summary>The pipeline for some options.</summary>
    /// <param name="options">The options.</param>
    /// <param name="promptLength">Tokens of the prompt, for limits that count it.</param>
    /// <param name="vocabulary">Scores per step.</param>
    /// <param name="random">Where XTC draws from.</param>
    /// <param name="constraints">Processors of the caller; they come after all others.</param>
    /// <param name="minimumKept">Tokens that truncations leave at least; beam search needs one more than there are end tokens.</param>
    /// <exception cref="ArgumentException">An option names an id the vocabulary does not have.</exception>
    public LogitsPipeline(
        SamplingOptions options,
        int promptLength,
        int vocabulary,
        SamplerRandom random,
        IReadOnlyList<ILogitsProcessor>? constraints = null,
        int minimumKept = 1
    )
    {
        CheckIds(options, vocabulary);
        AddProcessors(options, promptLength);
        processors.AddRange(constraints ?? []);
        IsGreedy = options.Temperature < SmallestTemperature;
        if (!IsGreedy)
        {
            AddWarpers(options, vocabulary, random, minimumKept);
        }
    }

    /// <summary>The best score is chosen; there are no warpers.</summary>
    public bool IsGreedy { get; }

    /// <summary>In the order in which they run.</summary>
    public IReadOnlyList<ILogitsProcessor> Processors => processors;

    /// <summary>In the order in which they run.</summary>
    public IReadOnlyList<ILogitsWarper> Warpers => warpers;

    /// <summary>Runs everything over the scores of the vocabulary, removed tokens being negative infinity.</summary>
    public void Process(Span<float> scores, History history, SamplerScratch scratch)
    {
        RunProcessors(scores, history);
        foreach (ILogitsWarper warper in warpers)
        {
            warper.Process(scores, scratch);
        }
    }

    /// <summary>Runs everything and keeps only the tokens that are left: their scores and ids at the front, in the order of ids.</summary>
    /// <returns>How many are left.</returns>
    public int ProcessCompacting(Span<float> scores, Span<int> ids, History history, SamplerScratch scratch)
    {
        RunProcessors(scores, history);
        int count = scores.Length;
        bool dense = true;
        foreach (ILogitsWarper warper in warpers)
        {
            warper.Process(scores[..count], scratch);
            if (warper.Removes)
            {
                count = ScoreMath.Compact(scores[..count], ids, dense);
                dense = false;
            }
        }

        return dense ? ScoreMath.Compact(scores, ids, dense) : count;
    }

    /// <summary>Runs the processors alone.</summary>
    public void RunProcessors(Span<float> scores, History history)
    {
        foreach (ILogitsProcessor processor in processors)
        {
            processor.Process(scores, history);
        }
    }

    void AddProcessors(SamplingOptions options, int promptLength)
    {
        Add(options.LogitBias?.Count > 0, () => new LogitBiasProcessor(options.LogitBias!));
        Add(options.SequenceBias.Count > 0, () => new SequenceBiasProcessor(options.SequenceBias));
        Add(
            options.EncoderRepetitionPenalty != 1,
            () => new EncoderRepetitionPenaltyProcessor(options.EncoderRepetitionPenalty)
        );
        Add(options.RepetitionPenalty != 1, () => new RepetitionPenaltyProcessor(options.RepetitionPenalty));
        Add(
            options.FrequencyPenalty != 0 || options.PresencePenalty != 0,
            () => new CountPenaltyProcessor(options.FrequencyPenalty, options.PresencePenalty)
        );
        Add(
            options.DryMultiplier > 0,
            () =>
                new DryProcessor(
                    options.DryMultiplier,
                    options.DryBase,
                    options.DryAllowedLength,
                    options.DryRange,
                    options.DrySequenceBreakers
                )
        );
        Add(options.NoRepeatNGramSize > 0, () => new NoRepeatNGramProcessor(options.NoRepeatNGramSize));
        Add(
            options.EncoderNoRepeatNGramSize > 0,
            () => new EncoderNoRepeatNGramProcessor(options.EncoderNoRepeatNGramSize)
        );

        IReadOnlyList<int>[] badWords =
        [
            .. options.BadWords.Where(word => !(word.Count == 1 && options.EndTokens.Contains(word[0]))),
        ];
        Add(badWords.Length > 0, () => SequenceBiasProcessor.Forbidding(badWords));
        Add(
            options.EndTokens.Count > 0 && (options.MinNewTokens > 0 || options.MinLength > promptLength),
            () => new MinimumLengthProcessor(options.MinNewTokens, options.MinLength, options.EndTokens)
        );
        if (options.ForcedEndToken is { } forced && StopConditions.AnswerLimit(options, promptLength) is { } limit)
        {
            processors.Add(new ForcedEndProcessor(forced, limit));
        }

        Add(
            options.ExponentialDecay is not null && options.EndTokens.Count > 0,
            () => new ExponentialDecayProcessor(options.ExponentialDecay!.Value, options.EndTokens)
        );
        Add(
            options.SuppressTokens.Count > 0,
            () => new SuppressTokensProcessor(options.SuppressTokens, onlyFirst: false)
        );
        Add(
            options.BeginSuppressTokens.Count > 0,
            () => new SuppressTokensProcessor(options.BeginSuppressTokens, onlyFirst: true)
        );

        void Add(bool on, Func<ILogitsProcessor> create)
        {
            if (on)
            {
                processors.Add(create());
            }
        }
    }

    void AddWarpers(SamplingOptions options, int vocabulary, SamplerRandom random, int minimumKept)
    {
        bool minPFirst = options.Order == SamplingOrder.Vllm;
        Add(options.Temperature != 1, () => new TemperatureWarper(options.Temperature));
        Add(options.TopH > 0, () => new TopHWarper(options.TopH));
        Add(options.MinP > 0 && minPFirst, () => new MinPWarper(options.MinP, minimumKept));
        Add(options.TopK > 0, () => new TopKWarper(options.TopK, minimumKept));
        Add(options.TopP < 1, () => new TopPWarper(options.TopP, minimumKept));
        Add(options.MinP > 0 && !minPFirst, () => new MinPWarper(options.MinP, minimumKept));
        Add(options.TypicalP < 1, () => new TypicalWarper(options.TypicalP, minimumKept));
        Add(options.EpsilonCutoff > 0, () => new EpsilonWarper(options.EpsilonCutoff, minimumKept));
        Add(options.EtaCutoff > 0, () => new EtaWarper(options.EtaCutoff, minimumKept));
        Add(options.TopA > 0, () => new TopAWarper(options.TopA));
        Add(options.TailFree < 1, () => new TailFreeWarper(options.TailFree, vocabulary));
        Add(options.TopNSigma > 0, () => new TopNSigmaWarper(options.TopNSigma));
        Add(options.SmoothingFactor > 0, () => new QuadraticWarper(options.SmoothingFactor, options.SmoothingCurve));
        Add(options.XtcProbability > 0, () => new XtcWarper(options.XtcThreshold, options.XtcProbability, random));
        Add(options.RenormalizeLogits, () => new LogNormalizationWarper());

        void Add(bool on, Func<ILogitsWarper> create)
        {
            if (on)
            {
                warpers.Add(create());
            }
        }
    }

    static void CheckIds(SamplingOptions options, int vocabulary)
    {
        Check(nameof(options.LogitBias), options.LogitBias?.Keys ?? []);
        Check(
            nameof(options.SequenceBias),
            options.SequenceBias.SelectMany(bias => NotEmpty(nameof(options.SequenceBias), bias.Tokens))
        );
        Check(nameof(options.BadWords), options.BadWords.SelectMany(word => NotEmpty(nameof(options.BadWords), word)));
        Check(nameof(options.SuppressTokens), options.SuppressTokens);
        Check(nameof(options.BeginSuppressTokens), options.BeginSuppressTokens);
        Check(nameof(options.ForcedEndToken), options.ForcedEndToken is { } forced ? [forced] : []);
        if (options.LogProbs > vocabulary)
        {
            throw new ArgumentException($"LogProbs is {options.LogProbs}; the vocabulary has {vocabulary} tokens.");
        }

        CheckBiases(nameof(options.LogitBias), options.LogitBias?.Values ?? []);
        CheckBiases(nameof(options.SequenceBias), options.SequenceBias.Select(bias => bias.Bias));

        void Check(string option, IEnumerable<int> ids)
        {
            foreach (int id in ids)
            {
                if ((uint)id >= (uint)vocabulary)
                {
                    throw new ArgumentException(
                        $"{option} names token {id}; the vocabulary has the ids 0 to {vocabulary - 1}."
                    );
                }
            }
        }

        static IReadOnlyList<int> NotEmpty(string option, IReadOnlyList<int> ids) =>
            ids.Count > 0
                ? ids
                : throw new ArgumentException($"{option} has a sequence without tokens; it needs at least one.");

        static void CheckBiases(string option, IEnumerable<double> biases)
        {
            foreach (double bias in biases)
            {
                if (double.IsNaN(bias) || double.IsPositiveInfinity(bias))
                {
                    throw new ArgumentException($"{option} has the bias {bias}; it must be a number below infinity.");
                }
            }
        }
    }
}
