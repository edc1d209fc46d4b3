using VlmSharp.Chat;
using VlmSharp.Datasets;
using VlmSharp.Engine;
using VlmSharp.Formats;
using VlmSharp.Generation;
using VlmSharp.Grounding;
using VlmSharp.Kernels;
using VlmSharp.Models;

namespace VlmSharp.Evaluation;

/// <summary>How an evaluation runs.</summary>
public sealed record EvaluationOptions
{
    /// <summary>Examples that are answered together. It changes no answer.</summary>
    public int Together { get; init; } = 16;

    /// <summary>The most tokens of an answer.</summary>
    public int AnswerTokens { get; init; } = 256;
}

/// <summary>Right answers of one task.</summary>
/// <param name="Task">The task; empty where examples name none.</param>
/// <param name="Examples">How many were asked.</param>
/// <param name="Right">How many were answered as expected.</param>
/// <param name="Score">Mean of <see cref="Judgement.Score"/>.</param>
public sealed record TaskScore(string Task, int Examples, int Right, double Score)
{
    /// <summary>Right answers among all.</summary>
    public double Accuracy => (double)Right / Examples;

    /// <summary>A line for each task, in the order of their names.</summary>
    public static IReadOnlyList<TaskScore> Table(IEnumerable<Judgement> judgements) =>
        [
            .. judgements
                .GroupBy(j => j.Task)
                .OrderBy(group => group.Key, StringComparer.Ordinal)
                .Select(group => new TaskScore(
                    group.Key,
                    group.Count(),
                    group.Count(j => j.Right),
                    group.Average(j => j.Score)
                )),
        ];
}

/// <summary>Asks a model the questions of examples, greedily, and judges its answers.</summary>
/// <remarks>What is asked is everything before the last turn, which must be an answer.</remarks>
public sealed class Evaluator(ChatModel chat, EvaluationOptions options)
{
    readonly ExampleChat writer = new(chat.Prompts, chat.Model.Info.Grounding);
    readonly int[] ends = [.. chat.DefaultSampling.EndTokens];

    /// <summary>Evaluates.</summary>
    /// <param name="examples">What to ask, in any number; read as they are needed.</param>
    /// <param name="progress">Told how many are answered.</param>
    /// <param name="cancellation">Ends it.</param>
    /// <returns>A judgement for each, in their order, as soon as its answer is there.</returns>
    /// <exception cref="CheckpointException">An example cannot be read or asked; the message names it.</exception>
    public IEnumerable<Judgement> Run(
        IEnumerable<Example> examples,
        IProgress<int>? progress = null,
        CancellationToken cancellation = default
    )
    {
        int done = 0;
        foreach (Example[] batch in examples.Chunk(options.Together))
        {
            foreach (Judgement judgement in Ask(batch, cancellation))
            {
                yield return judgement;
            }

            progress?.Report(done += batch.Length);
        }
    }

    List<Judgement> Ask(Example[] batch, CancellationToken cancellation)
    {
        Prompt[] prompts = [.. batch.Select(Build)];
        // Pages are not shared between sequences.
        int room = prompts.Sum(p => KvLayout.PagesFor(p.Tokens.Length + options.AnswerTokens) * KvLayout.PageTokens);
        using InferenceEngine engine = new(chat.Model, chat.Ops, room);
        List<Sequence> sequences = [];
        List<MediaFeatures> features = [];
        try
        {
            List<Request> requests = [];
            foreach (Prompt prompt in prompts)
            {
                MediaFeatures[] seen = [.. prompt.Media.Select(medium => Look(engine, medium))];
                features.AddRange(seen);
                Sequence sequence = engine.CreateSequence();
                sequences.Add(sequence);
                sequence.SetPrompt(prompt.Tokens, prompt.Spans, seen);
                SamplingOptions greedy = new()
                {
                    Repetition = null,
                    MaxNewTokens = options.AnswerTokens,
                    EndTokens = [.. ends.Union(prompt.EndTokens)],
                };
                requests.Add(new Request(sequence, greedy, chat.Tokenizer));
            }

            Generator.Run(engine, requests, cancellation: cancellation);
            cancellation.ThrowIfCancellationRequested();
            return
            [
                .. batch.Select(
                    (example, i) =>
                        Judgement.Of(
                            example,
                            requests[i].Text,
                            chat.Model.Info.Grounding,
                            [.. prompts[i].Media.Select((medium, k) => chat.Prompts.Plan(medium).Frame(k))]
                        )
                ),
            ];
        }
        finally
        {
            sequences.ForEach(sequence => sequence.Dispose());
            features.ForEach(seen => seen.Dispose());
        }
    }

    Prompt Build(Example example)
    {
        if (example.Messages is not [.., { Role: "assistant" }])
        {
            throw new CheckpointException(
                example.Name,
                "does not end with an answer: there is nothing to compare with"
            );
        }

        try
        {
            (ChatMessage[] messages, _) = writer.Write(example.Messages, medium => new ChatMedia(medium.Open()));
            return chat.Prompts.Build(messages[..^1]);
        }
        catch (Exception e) when (e is PromptException or Vision.VisionException or Media.Images.MediaException)
        {
            throw new CheckpointException(example.Name, e.Message, e);
        }
    }

    MediaFeatures Look(InferenceEngine engine, ChatMedia medium)
    {
        using PreparedMedia prepared = chat.Model.Info.Processor.Prepare(medium.Source, medium.Limits, chat.Pool);
        return engine.Encode(prepared);
    }
}
