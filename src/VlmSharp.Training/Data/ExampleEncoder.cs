using System.Collections.Concurrent;
using VlmSharp.Chat;
using VlmSharp.Datasets;
using VlmSharp.Formats;
using VlmSharp.Grounding;
using VlmSharp.Kernels;
using VlmSharp.Media.Images;
using VlmSharp.Models;
using VlmSharp.Text.Templates;
using VlmSharp.Vision;

namespace VlmSharp.Training;

/// <summary>Turns examples into samples: chat template, boxes as the architecture writes them, labels, patches.</summary>
/// <remarks>
/// <para>
/// Learnt is what the model writes in the turns that are marked so: the answer, the end of its turn and the line break behind it. Text of examples is data: a
/// special token typed in it is characters. Only the tags of boxes and references are tokens.
/// </para>
/// <para>Several threads may encode at once. Pictures and films are decoded when their example is.</para>
/// </remarks>
/// <example>
/// <code>
/// using ExampleEncoder encoder = new(checkpoint, trainable.Model);
/// Sample? sample = encoder.TryEncode(source.Read(index), maxTokens: 4096, out int tokens);
/// </code>
/// </example>
public sealed class ExampleEncoder : IDisposable
{
    readonly IPromptBuilder prompts;
    readonly ModelInfo info;
    readonly ExampleChat writer;
    readonly ConcurrentBag<WorkerPool> pools = []; // of one thread: callers are the parallelism

    /// <summary>Encodes for a model that is trained.</summary>
    /// <param name="checkpoint">Where the model is from; may be disposed afterwards.</param>
    /// <param name="model">The model.</param>
    /// <param name="template">A Jinja file to use in place of the checkpoint's chat template.</param>
    /// <exception cref="CheckpointException">A file of the tokenizer or the template is missing or damaged.</exception>
    /// <exception cref="TemplateException">The chat template has a syntax error.</exception>
    public ExampleEncoder(Checkpoint checkpoint, IVisionLanguageModel model, string? template = null)
        : this(ChatModel.CreatePrompts(checkpoint, model, template), model.Info) { }

    /// <summary>Encodes for a model.</summary>
    /// <param name="prompts">Writes its conversations.</param>
    /// <param name="info">Its sizes and its way with boxes.</param>
    public ExampleEncoder(IPromptBuilder prompts, ModelInfo info)
    {
        this.prompts = prompts;
        this.info = info;
        writer = new ExampleChat(prompts, info.Grounding);
    }

    /// <summary>How boxes and references are written; as the architecture answers unless set.</summary>
    public BoxStyle Boxes
    {
        get => writer.Boxes;
        init => writer.Boxes = value;
    }

    /// <summary>Limits on the pixels of pictures and frames; the checkpoint's own where not given.</summary>
    public PixelLimits Pixels { get; init; }

    /// <summary>Films take at most about so many tokens: of those in files fewer frames are taken where nothing else is said, all are shown smaller.</summary>
    public int FilmTokens { get; init; } = 4096;

    /// <summary>Longer examples are errors of <see cref="Encode"/>.</summary>
    public int MaxTokens { get; init; } = int.MaxValue;

    /// <summary>An example's tokens, labels and patches.</summary>
    /// <exception cref="CheckpointException">
    /// It has more than <see cref="MaxTokens"/> tokens, a medium cannot be read or shown, the model has no form for a turn. The message names the example.
    /// </exception>
    public Sample Encode(Example example) =>
        TryEncode(example, MaxTokens, out int tokens)
        ?? throw new CheckpointException(example.Name, $"has {tokens} tokens, at most {MaxTokens} are taken");

    /// <summary>An example's tokens, labels and patches, unless it is too long.</summary>
    /// <param name="example">What to encode.</param>
    /// <param name="maxTokens">The most tokens it may have.</param>
    /// <param name="tokens">How many it has.</param>
    /// <returns>Null where it has more; its pixels are not turned into patches then.</returns>
    /// <exception cref="CheckpointException">A medium cannot be read or shown, the model has no form for a turn. The message names the example.</exception>
    public Sample? TryEncode(Example example, int maxTokens, out int tokens)
    {
        (ChatMessage[] messages, bool[] learnt) = Messages(example, decoded: true);
        Prompt prompt = Named(example, () => prompts.BuildAnswered(messages, example.Tools));
        tokens = prompt.Tokens.Length;
        if (tokens > maxTokens)
        {
            return null;
        }

        int[] labels = new int[tokens];
        labels.AsSpan().Fill(CrossEntropy.Ignored);
        foreach ((int i, Range answer) in prompt.Answers.Index())
        {
            if (learnt[i])
            {
                prompt.Tokens.AsSpan(answer).CopyTo(labels.AsSpan(answer));
            }
        }

        foreach (MediaSpan span in prompt.Spans)
        {
            labels.AsSpan(span.Start, span.Tokens).Fill(CrossEntropy.Ignored); // no model writes pictures
        }

        return new Sample(
            prompt.Tokens,
            labels,
            [.. prompt.Media.Select((medium, i) => Named(example, () => Prepare(medium, i, prompt)))]
        );
    }

    /// <summary>How many tokens an example has. Of pictures in files only the headers are read.</summary>
    /// <exception cref="CheckpointException">As for <see cref="TryEncode"/>.</exception>
    public int Length(Example example)
    {
        (ChatMessage[] messages, _) = Messages(example, decoded: false);
        return Named(example, () => prompts.BuildAnswered(messages, example.Tools)).Tokens.Length;
    }

    SampleMedium Prepare(ChatMedia medium, int number, Prompt prompt)
    {
        WorkerPool pool = pools.TryTake(out WorkerPool? idle) ? idle : new WorkerPool(1);
        try
        {
            using PreparedMedia prepared = info.Processor.Prepare(medium.Source, medium.Limits, pool);
            return new SampleMedium(
                prepared.Pixels.ToArray(),
                prepared.Plan.Grid,
                [.. prompt.Spans.Where(span => span.Medium == number)]
            );
        }
        finally
        {
            pools.Add(pool);
        }
    }

    /// <summary>The example in the words of the model, and whether each answer is learnt.</summary>
    internal (ChatMessage[] Messages, bool[] Learnt) Messages(Example example, bool decoded) =>
        Named(example, () => writer.Write(example.Messages, medium => Open(medium, decoded)));

    ChatMedia Open(MediumPart medium, bool decoded)
    {
        if (medium is FilmFile { Sampling: null } film)
        {
            medium = film with { Sampling = info.Processor.Sampling(FilmTokens) };
        }

        MediaSource source = decoded ? medium.Open() : MediaSource.Unopened(medium.Shape(), medium.Name);
        PixelLimits limits =
            source.Kind == MediaKind.Video && Pixels == default
                ? info.Processor.VideoLimits(source.Shape.Frames, FilmTokens)
                : Pixels;
        return new ChatMedia(source, limits);
    }

    static T Named<T>(Example example, Func<T> read)
    {
        try
        {
            return read();
        }
        catch (Exception e)
            when (e
                    is CheckpointException
                        or TemplateException
                        or PromptException
                        or VisionException
                        or MediaException
                        or FormatException
            )
        {
            throw new CheckpointException(example.Name, e.Message, e);
        }
    }

    /// <summary>Frees what decoding took.</summary>
    public void Dispose()
    {
        while (pools.TryTake(out WorkerPool? pool))
        {
            pool.Dispose();
        }
    }
}
