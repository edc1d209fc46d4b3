using System.Diagnostics;
using VlmSharp.Chat.Replies;
using VlmSharp.Engine;
using VlmSharp.Generation;
using VlmSharp.Models;
using VlmSharp.Text.Templates;

namespace VlmSharp.Chat;

/// <summary>A conversation that keeps what it has computed: a new turn computes only what is new, and no picture twice.</summary>
public sealed class Conversation : IDisposable
{
    readonly ChatModel chat;
    readonly InferenceEngine engine;
    readonly Sequence sequence;
    readonly Dictionary<ChatMedia, MediaFeatures> features = new(ReferenceEqualityComparer.Instance);
    readonly List<ChatMessage> messages = [];

    /// <summary>An empty conversation.</summary>
    /// <param name="chat">Borrowed.</param>
    /// <param name="contextTokens">Tokens of the whole conversation at most.</param>
    public Conversation(ChatModel chat, int contextTokens)
    {
        this.chat = chat;
        ContextTokens = contextTokens;
        engine = new InferenceEngine(chat.Model, chat.Ops, contextTokens);
        sequence = engine.CreateSequence();
    }

    /// <summary>Tokens of the whole conversation at most.</summary>
    public int ContextTokens { get; }

    /// <summary>The turns so far.</summary>
    public IReadOnlyList<ChatMessage> Messages => messages;

    /// <summary>Tools that the model may call. They stand at the beginning of the prompt: another set is another conversation to the cache.</summary>
    public IReadOnlyList<ToolDefinition> Tools { get; set; } = [];

    /// <summary>See <see cref="ReplyFormat.StreamArguments"/>.</summary>
    public bool StreamArguments { get; set; }

    /// <summary>The adapter it goes on with, one of <see cref="ChatModel.Adapters"/>; null for none. Another one looks at everything anew.</summary>
    /// <exception cref="KeyNotFoundException">None of this name was loaded.</exception>
    public string? Adapter
    {
        get => sequence.Adapter?.Name;
        set
        {
            if (value != Adapter)
            {
                sequence.Adapter = value is null ? null : chat.Adapter(value);
                DropFeatures(features.Keys);
            }
        }
    }

    /// <summary>Told what is going on, for progress displays.</summary>
    public Action<ConversationStage>? OnStage { get; set; }

    /// <summary>Adds a turn that needs no answer: a system prompt, earlier turns.</summary>
    public void Add(ChatMessage message) => messages.Add(message);

    /// <summary>Answers a message; message and answer become part of the conversation.</summary>
    /// <param name="message">The new turn.</param>
    /// <param name="options">Sampling and limits.</param>
    /// <param name="template">Further variables of the template, or options of the prompt builder.</param>
    /// <param name="onDelta">Gets pieces of the answer as soon as they are certain.</param>
    /// <param name="cancellation">Ends the answer; what there is of it stays in the conversation.</param>
    /// <exception cref="OperationCanceledException">Cancelled while media were looked at; the conversation stays as it was before.</exception>
    /// <exception cref="CacheFullException">The conversation has become longer than <see cref="ContextTokens"/>, or would take more memory than there is; it stays as it was before.</exception>
    public ChatAnswer Ask(
        ChatMessage message,
        SamplingOptions options,
        IReadOnlyDictionary<string, TemplateValue>? template = null,
        Action<ReplyDelta>? onDelta = null,
        CancellationToken cancellation = default
    )
    {
        ChatTimings timings = new();
        Prompt prompt = chat.Prompts.Build([.. messages, message], template, Tools);
        if (prompt.Tokens.Length >= ContextTokens)
        {
            throw new CacheFullException(
                $"The conversation has {prompt.Tokens.Length} tokens, the context holds {ContextTokens}; smaller pictures (max pixels), a shorter history or a larger context help."
            );
        }

        MemoryPlan
            .For(
                chat.Model.Info,
                ContextTokens,
                engine.ChunkTokens,
                [.. prompt.Media.Where(m => !features.ContainsKey(m)).Select(chat.Prompts.Plan)],
                chat.Ops.CacheStorage
            )
            .ThrowIfAbove(MemoryPlan.Available);
        chat.Ops.Cancellation = cancellation;
        try
        {
            return Answer(prompt, message, options, timings, onDelta, cancellation);
        }
        catch
        {
            // The message has not become part of the conversation; its media may stand in earlier turns all the same.
            HashSet<object> kept = new(messages.SelectMany(m => m.Content), ReferenceEqualityComparer.Instance);
            DropFeatures(features.Keys.Where(media => !kept.Contains(media)));
            throw;
        }
        finally
        {
            chat.Ops.Cancellation = default;
        }
    }

    ChatAnswer Answer(
        Prompt prompt,
        ChatMessage message,
        SamplingOptions options,
        ChatTimings timings,
        Action<ReplyDelta>? onDelta,
        CancellationToken cancellation
    )
    {
        Stopwatch watch = new();
        MediaFeatures[] seen = [.. prompt.Media.Select(media => Look(media, timings))];
        int cached = sequence.SetPrompt(prompt.Tokens, prompt.Spans, seen);
        SamplingOptions bounded = options with
        {
            MaxNewTokens = Math.Min(options.MaxNewTokens ?? int.MaxValue, ContextTokens - prompt.Tokens.Length),
            EndTokens = [.. options.EndTokens.Union(prompt.EndTokens)],
        };
        ReplyFormat format = new()
        {
            Thinking = Thinking.Of(prompt.Tokens, chat.Tokenizer),
            ToolCalls = Tools.Count > 0 ? chat.ToolCallFormat : null,
            Tools = Tools,
            StreamArguments = StreamArguments,
        };
        ReplyParser parser = new(format, onDelta);
        Request request = new(sequence, bounded, chat.Tokenizer, piece => parser.Push(piece));
        watch.Restart();
        OnStage?.Invoke(new(ConversationStep.ReadingPrompt, 0, prompt.Tokens.Length - cached));
        Generator.Run(
            engine,
            [request],
            rows =>
            {
                if (request.Answer.Length == 1 && timings.Prefill == default)
                {
                    timings.Prefill = watch.Elapsed;
                    watch.Restart();
                }

                OnStage?.Invoke(
                    request.Answer.Length > 0
                        ? new(ConversationStep.Answering, request.Answer.Length, 0)
                        : new(ConversationStep.ReadingPrompt, sequence.Computed - cached, prompt.Tokens.Length - cached)
                );
            },
            cancellation
        );
        timings.Decode = watch.Elapsed;
        Reply reply = parser.Finish();
        messages.Add(message);
        messages.Add(
            ChatMessage.Assistant(reply.Content, reply.Reasoning.Length > 0 ? reply.Reasoning : null, reply.ToolCalls)
        );
        return new ChatAnswer(
            request.Text,
            reply,
            request.Answer.ToArray(),
            request.Finish!.Value,
            request.LogProbs,
            prompt.Tokens.Length,
            cached,
            [.. prompt.Media.Select(m => (m, chat.Prompts.Plan(m)))],
            timings
        );
    }

    /// <summary>Forgets all turns and pictures.</summary>
    public void Clear()
    {
        messages.Clear();
        sequence.Truncate(0);
        DropFeatures(features.Keys);
    }

    MediaFeatures Look(ChatMedia media, ChatTimings timings)
    {
        if (features.TryGetValue(media, out MediaFeatures? known))
        {
            return known;
        }

        OnStage?.Invoke(new(ConversationStep.LookingAtMedia, features.Count, 0));
        Stopwatch watch = Stopwatch.StartNew();
        using PreparedMedia prepared = chat.Model.Info.Processor.Prepare(media.Source, media.Limits, chat.Pool);
        timings.Prepare += watch.Elapsed;
        watch.Restart();
        MediaFeatures encoded = engine.Encode(prepared, sequence.Adapter);
        timings.Encode += watch.Elapsed;
        features.Add(media, encoded);
        return encoded;
    }

    void DropFeatures(IEnumerable<ChatMedia> of)
    {
        foreach (ChatMedia media in of.ToArray())
        {
            if (features.Remove(media, out MediaFeatures? dropped))
            {
                dropped.Dispose();
            }
        }
    }

    /// <summary>Frees cache and features.</summary>
    public void Dispose()
    {
        sequence.Dispose();
        engine.Dispose();
        DropFeatures(features.Keys);
    }
}

/// <summary>What a conversation is doing.</summary>
public enum ConversationStep
{
    /// <summary>Vision tower.</summary>
    LookingAtMedia,

    /// <summary>Prompt tokens through the decoder.</summary>
    ReadingPrompt,

    /// <summary>Tokens of the answer.</summary>
    Answering,
}

/// <summary>How far a conversation has got.</summary>
/// <param name="Step">What it is doing.</param>
/// <param name="Done">Media, prompt tokens or answer tokens so far.</param>
/// <param name="Total">Of how many, where that is known; else 0.</param>
public readonly record struct ConversationStage(ConversationStep Step, int Done, int Total);

/// <summary>Where the time went.</summary>
public sealed class ChatTimings
{
    /// <summary>Resizing and patching pictures.</summary>
    public TimeSpan Prepare { get; internal set; }

    /// <summary>Vision tower and connector.</summary>
    public TimeSpan Encode { get; internal set; }

    /// <summary>Prompt to first token.</summary>
    public TimeSpan Prefill { get; internal set; }

    /// <summary>First token to last.</summary>
    public TimeSpan Decode { get; internal set; }
}

/// <summary>An answer and how it came about.</summary>
/// <param name="Text">All that the model wrote, without the end token.</param>
/// <param name="Reply">What it consists of.</param>
/// <param name="Tokens">With the end token, if there was one.</param>
/// <param name="Finish">Why it ended.</param>
/// <param name="LogProbs">One for each token, where they were asked for.</param>
/// <param name="PromptTokens">Tokens of the prompt, those of media included.</param>
/// <param name="CachedTokens">Tokens of the prompt that needed no computation.</param>
/// <param name="Media">All media of the conversation with their sizes.</param>
/// <param name="Timings">Where the time went.</param>
public sealed record ChatAnswer(
    string Text,
    Reply Reply,
    IReadOnlyList<int> Tokens,
    FinishReason Finish,
    IReadOnlyList<AnswerLogProbs> LogProbs,
    int PromptTokens,
    int CachedTokens,
    IReadOnlyList<(ChatMedia Media, MediaPlan Plan)> Media,
    ChatTimings Timings
)
{
    /// <summary>The thoughts, empty where there are none.</summary>
    public string Reasoning => Reply.Reasoning;

    /// <summary>The answer itself.</summary>
    public string Content => Reply.Content;

    /// <summary>Calls of tools that the model asks for.</summary>
    public IReadOnlyList<ToolCall> ToolCalls => Reply.ToolCalls;
}
