using VlmSharp.Chat.Replies;
using VlmSharp.Models;
using VlmSharp.Vision;

namespace VlmSharp.Chat;

/// <summary>One turn of a conversation.</summary>
/// <param name="Role">As templates name it: system, user, assistant, tool.</param>
/// <param name="Content">Text and media, in their order.</param>
public sealed record ChatMessage(string Role, IReadOnlyList<ChatContent> Content)
{
    /// <summary>
    /// Whether special tokens written in the text are tokens. False for whatever people type: they get those characters. True
    /// for answers of the model itself, whose boxes are special tokens.
    /// </summary>
    public bool FromModel { get; init; }

    /// <summary>What the model thought before an answer. The template decides which thoughts of earlier turns the model sees again.</summary>
    public string? Reasoning { get; init; }

    /// <summary>The calls of tools that an answer ends with.</summary>
    public IReadOnlyList<ToolCall> ToolCalls { get; init; } = [];

    /// <summary>Of a tool's result: which call it answers, where calls have ids.</summary>
    public string? ToolCallId { get; init; }

    /// <summary>Of a tool's result: the tool.</summary>
    public string? Name { get; init; }

    /// <summary>A turn of the user.</summary>
    public static ChatMessage User(params IReadOnlyList<ChatContent> content) => new("user", content);

    /// <summary>A system prompt.</summary>
    public static ChatMessage System(string text) => new("system", [new ChatText(text)]);

    /// <summary>An answer the model gave before.</summary>
    public static ChatMessage Assistant(
        string text,
        string? reasoning = null,
        IReadOnlyList<ToolCall>? toolCalls = null
    ) =>
        new("assistant", [new ChatText(text)])
        {
            FromModel = true,
            Reasoning = reasoning,
            ToolCalls = toolCalls ?? [],
        };

    /// <summary>What a tool that the model called has returned. Its text stays text, whatever is in it.</summary>
    /// <param name="content">Text, or text and media.</param>
    /// <param name="name">The tool, for templates that show it.</param>
    /// <param name="callId">The id of the call, where it has one.</param>
    public static ChatMessage ToolResult(
        IReadOnlyList<ChatContent> content,
        string? name = null,
        string? callId = null
    ) => new("tool", content) { Name = name, ToolCallId = callId };
}

/// <summary>A part of a message.</summary>
public abstract record ChatContent;

/// <summary>Text.</summary>
public sealed record ChatText(string Text) : ChatContent;

/// <summary>Text that the program wrote: special tokens in it are tokens, whoever the message is from. The tags around a box of an example, say.</summary>
public sealed record ChatMarkup(string Text) : ChatContent;

/// <summary>A picture or a video.</summary>
/// <param name="Source">The pixels.</param>
/// <param name="Limits">Pixel limits of this medium; the checkpoint's where not given.</param>
public sealed record ChatMedia(MediaSource Source, PixelLimits Limits = default) : ChatContent
{
    /// <summary>Sizes and tokens it gets from a model.</summary>
    /// <exception cref="VisionException">It cannot be brought to a size the model takes; the message has its name.</exception>
    internal MediaPlan PlanFor(IVisionLanguageModel model)
    {
        try
        {
            return model.Info.Processor.Plan(Source.Shape, Limits);
        }
        catch (VisionException e)
        {
            throw new VisionException($"{Source.Name}: {e.Message}");
        }
    }
}
