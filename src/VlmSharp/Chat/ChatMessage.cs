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

    /// <summary>A turn of the user.</summary>
    public static ChatMessage User(params IReadOnlyList<ChatContent> content) => new("user", content);

    /// <summary>A system prompt.</summary>
    public static ChatMessage System(string text) => new("system", [new ChatText(text)]);

    /// <summary>An answer the model gave before.</summary>
    public static ChatMessage Assistant(string text) => new("assistant", [new ChatText(text)]) { FromModel = true };
}

/// <summary>A part of a message.</summary>
public abstract record ChatContent;

/// <summary>Text.</summary>
public sealed record ChatText(string Text) : ChatContent;

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
