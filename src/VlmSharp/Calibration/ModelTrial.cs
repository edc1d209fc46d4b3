using VlmSharp.Chat;
using VlmSharp.Engine;
using VlmSharp.Formats;
using VlmSharp.Generation;
using VlmSharp.Kernels;
using VlmSharp.Models;
using VlmSharp.Tensors;
using VlmSharp.Text.Templates;
using VlmSharp.Vision;

namespace VlmSharp.Calibration;

/// <summary>What a model makes of one sample.</summary>
/// <param name="Prompt">The conversation up to the last answer; empty for a text.</param>
/// <param name="Scored">The tokens that were predicted: of answers, of the whole text.</param>
/// <param name="LogProbs">The natural logarithm of the probability of each.</param>
/// <param name="Best">The likeliest token in the place of each.</param>
/// <param name="Answer">The model's own greedy answer; empty where none was wanted.</param>
public sealed record SampleTrial(int[] Prompt, int[] Scored, double[] LogProbs, int[] Best, int[] Answer);

/// <summary>What a model makes of all samples. Computed in f32.</summary>
/// <param name="Samples">In their order.</param>
public sealed record ModelTrial(IReadOnlyList<SampleTrial> Samples)
{
    const int TextTokens = 512; // of a text at once, as others measure perplexity
    const int ChunkTokens = 128; // the logits of a step stay small

    /// <summary>Tokens that were predicted.</summary>
    public int Tokens => Samples.Sum(sample => sample.Scored.Length);

    /// <summary>Greedy answers.</summary>
    public int Answers => Samples.Count(sample => sample.Answer.Length > 0);

    /// <summary>exp of the mean negative logarithm of the probabilities of all tokens that were predicted.</summary>
    public double Perplexity => Math.Exp(-Samples.SelectMany(sample => sample.LogProbs).Average());

    /// <summary>Share of the predicted tokens in whose place this model and another find the same token likeliest.</summary>
    public double Agreement(ModelTrial other) =>
        Samples
            .Zip(other.Samples)
            .Sum(pair => pair.First.Best.Zip(pair.Second.Best).Count(best => best.First == best.Second))
        / (double)Tokens;

    /// <summary>Root mean square of the differences of the predicted tokens' log-probabilities between this model and another, in nats.</summary>
    /// <remarks>Perplexities can be equal by chance, better and worse predictions making up for each other; this cannot.</remarks>
    public double Deviation(ModelTrial other) =>
        Math.Sqrt(
            Samples
                .Zip(other.Samples)
                .SelectMany(pair => pair.First.LogProbs.Zip(pair.Second.LogProbs, (own, theirs) => own - theirs))
                .Average(difference => difference * difference)
        );

    /// <summary>Greedy answers that are the same, token by token.</summary>
    public int EqualAnswers(ModelTrial other) =>
        Samples
            .Zip(other.Samples)
            .Count(pair =>
                pair.First.Answer.Length > 0 && pair.First.Answer.AsSpan().SequenceEqual(pair.Second.Answer)
            );

    /// <summary>Runs a model over samples.</summary>
    /// <param name="chat">The model.</param>
    /// <param name="samples">What it is run over.</param>
    /// <param name="answerTokens">Longest greedy answer to conversations; 0 for no answers.</param>
    /// <param name="reference">The model whose answers stand where a sample has none; this one's own where not given.</param>
    /// <param name="progress">Told the share of samples done, 0 to 1.</param>
    /// <exception cref="CheckpointException">A sample has nothing to predict or does not fit, or becomes other tokens than in <paramref name="reference"/>.</exception>
    public static ModelTrial Run(
        ChatModel chat,
        IReadOnlyList<CalibrationSample> samples,
        int answerTokens,
        ModelTrial? reference = null,
        IProgress<double>? progress = null
    )
    {
        using CpuOps ops = new(chat.Pool);
        return Run(chat, ops, samples, answerTokens, reference, progress);
    }

    internal static ModelTrial Run(
        ChatModel chat,
        CpuOps ops,
        IReadOnlyList<CalibrationSample> samples,
        int answerTokens,
        ModelTrial? reference,
        IProgress<double>? progress
    )
    {
        SampleTrial[] trials = new SampleTrial[samples.Count];
        Runner runner = new(chat, ops, answerTokens);
        for (int i = 0; i < trials.Length; i++)
        {
            trials[i] = runner.Run(samples[i], reference?.Samples[i]);
            progress?.Report((i + 1.0) / trials.Length);
        }

        ModelTrial trial = new(trials);
        return trial.Tokens > 0
            ? trial
            : throw new CheckpointException(
                samples[0].Name,
                "and the other samples have no answers, and the model is not to give any: nothing can be predicted"
            );
    }

    sealed class Runner(ChatModel chat, CpuOps ops, int answerTokens)
    {
        static readonly Dictionary<string, TemplateValue> Complete = new() { ["add_generation_prompt"] = false };

        readonly StatisticsOps? statistics = ops as StatisticsOps;
        readonly int most = chat.Model.Info.MaxPositions;

        public SampleTrial Run(CalibrationSample sample, SampleTrial? reference)
        {
            SampleTrial trial = sample.Turns.Count == 0 ? Text(sample) : Conversation(sample, reference);
            return
                reference is null
                || (
                    trial.Prompt.AsSpan().SequenceEqual(reference.Prompt)
                    && trial.Scored.AsSpan().SequenceEqual(reference.Scored)
                )
                ? trial
                : throw new CheckpointException(
                    sample.Name,
                    "becomes other tokens than with the model it is compared with"
                );
        }

        SampleTrial Text(CalibrationSample sample)
        {
            List<int> tokens = [];
            chat.Tokenizer.Encode(sample.Text, tokens);
            if (tokens.Count < 2)
            {
                throw new CheckpointException(sample.Name, "has no two tokens, so that nothing can be predicted");
            }

            Scores scores = new();
            int together = Math.Min(TextTokens, most);
            using InferenceEngine engine = Engine(together);
            foreach (int[] piece in tokens.Chunk(together))
            {
                Score(engine, piece, [], [], Enumerable.Range(1, piece.Length - 1), scores);
            }

            return scores.Trial([], []);
        }

        SampleTrial Conversation(CalibrationSample sample, SampleTrial? reference)
        {
            ChatMessage[] turns = sample.Open(chat);
            ChatMessage[] asked = sample.HasAnswer ? turns[..^1] : turns;
            Prompt prompt = chat.Prompts.Build(asked);
            Prompt whole = sample.HasAnswer ? chat.Prompts.Build(turns, Complete) : prompt;
            int room = Math.Max(prompt.Tokens.Length + answerTokens, whole.Tokens.Length);
            Check(sample, room, whole);
            using InferenceEngine engine = Engine(room);
            Dictionary<ChatMedia, MediaFeatures> features = new(ReferenceEqualityComparer.Instance);
            try
            {
                foreach (ChatMedia medium in whole.Media)
                {
                    IMediaProcessor processor = chat.Model.Info.Processor;
                    using PreparedMedia prepared = processor.Prepare(medium.Source, medium.Limits, chat.Pool);
                    features.Add(medium, engine.Encode(prepared));
                }

                int[] stops = [.. chat.Defaults.StopIds.Union(prompt.EndTokens)];
                int[] answer = answerTokens > 0 ? Answer(engine, prompt, Features(prompt), stops) : [];
                Scores scores = new();
                if (sample.HasAnswer)
                {
                    Score(
                        engine,
                        whole.Tokens,
                        whole.Spans,
                        Features(whole),
                        Answers(turns, whole.Tokens, stops),
                        scores
                    );
                }
                else
                {
                    int[] tokens = [.. prompt.Tokens, .. reference?.Answer ?? answer];
                    IEnumerable<int> scored = Enumerable.Range(
                        prompt.Tokens.Length,
                        tokens.Length - prompt.Tokens.Length
                    );
                    Score(engine, tokens, prompt.Spans, Features(prompt), scored, scores);
                }

                return scores.Trial(prompt.Tokens, answer);
            }
            finally
            {
                features.Values.ToList().ForEach(feature => feature.Dispose());
            }

            MediaFeatures[] Features(Prompt of) => [.. of.Media.Select(medium => features[medium])];
        }

        void Check(CalibrationSample sample, int tokens, Prompt prompt)
        {
            if (tokens > most)
            {
                throw new CheckpointException(
                    sample.Name,
                    $"takes {tokens} tokens, its answer included; the model was made for {most} (max_position_embeddings)"
                );
            }

            MemoryPlan
                .For(
                    chat.Model.Info,
                    tokens,
                    ChunkTokens,
                    [.. prompt.Media.Select(chat.Prompts.Plan)],
                    ops.CacheStorage
                )
                .ThrowIfAbove(MemoryPlan.Available);
        }

        // What the model would have had to write: each answer up to the token that ends it.
        IEnumerable<int> Answers(ChatMessage[] turns, int[] whole, int[] stops)
        {
            for (int i = 0; i < turns.Length; i++)
            {
                if (turns[i].Role != "assistant")
                {
                    continue;
                }

                // Where a template writes earlier answers otherwise than it asks for them, what they share is the prompt.
                int start = i == 0 ? 0 : whole.AsSpan().CommonPrefixLength(chat.Prompts.Build(turns[..i]).Tokens);
                int end = whole.AsSpan().CommonPrefixLength(chat.Prompts.Build(turns[..(i + 1)], Complete).Tokens);
                int stop = start < end ? whole.AsSpan(start, end - start).IndexOfAny(stops) : -1;
                end = stop < 0 ? end : start + stop + 1;
                for (int token = Math.Max(1, start); token < end; token++)
                {
                    yield return token;
                }
            }
        }

        InferenceEngine Engine(int tokens) => new(chat.Model, ops, tokens) { ChunkTokens = ChunkTokens };

        int[] Answer(InferenceEngine engine, Prompt prompt, MediaFeatures[] features, int[] stops)
        {
            using Sequence sequence = engine.CreateSequence();
            sequence.SetPrompt(prompt.Tokens, prompt.Spans, features);
            SamplingOptions greedy = new()
            {
                Repetition = null,
                MaxNewTokens = answerTokens,
                EndTokens = stops,
            };
            Request request = new(sequence, greedy, chat.Tokenizer);
            Generator.Run(engine, [request]);
            return request.Answer.ToArray();
        }

        void Score(
            InferenceEngine engine,
            int[] tokens,
            MediaSpan[] spans,
            MediaFeatures[] features,
            IEnumerable<int> scored,
            Scores scores
        )
        {
            int[] wanted = [.. scored];
            int next = 0;
            using Sequence sequence = engine.CreateSequence();
            sequence.SetPrompt(tokens, spans, features);
            // Statistics are of all rows, in the last layer too.
            sequence.LogitsFrom = statistics is not null || wanted.Length == 0 ? 0 : wanted[0] - 1;
            Gather(true);
            try
            {
                while (sequence.Pending > 0)
                {
                    engine.Run([sequence]);
                    for (; next < wanted.Length && wanted[next] <= sequence.Computed; next++)
                    {
                        scores.Add(tokens[wanted[next]], engine.Logits(sequence, wanted[next] - 1));
                    }
                }
            }
            finally
            {
                Gather(false);
            }
        }

        // The tower's passes and those of greedy answers are not counted.
        void Gather(bool on)
        {
            if (statistics is not null)
            {
                statistics.Gathers = on;
            }
        }
    }

    sealed class Scores
    {
        readonly List<int> scored = [];
        readonly List<double> logProbs = [];
        readonly List<int> best = [];

        public void Add(int token, ReadOnlySpan<float> logits)
        {
            scored.Add(token);
            logProbs.Add(logits[token] - ScoreMath.LogSumExp(logits));
            best.Add(ScoreMath.ArgMax(logits));
        }

        public SampleTrial Trial(int[] prompt, int[] answer) =>
            new(prompt, [.. scored], [.. logProbs], [.. best], answer);
    }
}
