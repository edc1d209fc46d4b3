using VlmSharp.Chat.Replies;
using VlmSharp.Formats;
using VlmSharp.Models;
using VlmSharp.Text.Templates;
using VlmSharp.Vision;

namespace VlmSharp.Chat;

/// <summary>Messages to tokens, as an architecture's reference does it.</summary>
public interface IPromptBuilder
{
    /// <summary>Writes and tokenises a conversation.</summary>
    /// <param name="messages">The turns so far.</param>
    /// <param name="options">What the checkpoint's template, or its way to write conversations, can be told besides the messages.</param>
    /// <param name="tools">Tools that the model may call.</param>
    /// <exception cref="TemplateException">The template refuses the conversation, or writes nothing about the tools.</exception>
    /// <exception cref="PromptException">The conversation or an option is nothing this architecture has a form for.</exception>
    /// <exception cref="CheckpointException">The template does not name the media that it was given.</exception>
    /// <exception cref="VisionException">A medium cannot be brought to a size the model takes.</exception>
    Prompt Build(
        IReadOnlyList<ChatMessage> messages,
        IReadOnlyDictionary<string, TemplateValue>? options = null,
        IReadOnlyList<ToolDefinition>? tools = null
    );

    /// <summary>Writes and tokenises a conversation that a model is to learn from, with nothing opened behind it.</summary>
    /// <remarks>
    /// An answer is tokenised on its own, apart from what stands before it, as it is when a model writes it.
    /// </remarks>
    /// <param name="messages">All turns, answers included.</param>
    /// <param name="tools">Tools that the answers may call.</param>
    /// <returns>A prompt that says where its <see cref="Prompt.Answers"/> are.</returns>
    /// <exception cref="TemplateException">The template refuses the conversation, or writes nothing about the tools.</exception>
    /// <exception cref="PromptException">The conversation is nothing this architecture has a form for.</exception>
    /// <exception cref="CheckpointException">The template does not name the media that it was given, or writes other answers than it was given.</exception>
    /// <exception cref="VisionException">A medium cannot be brought to a size the model takes.</exception>
    Prompt BuildAnswered(IReadOnlyList<ChatMessage> messages, IReadOnlyList<ToolDefinition>? tools = null);

    /// <summary>Sizes and tokens of a medium.</summary>
    /// <exception cref="VisionException">It cannot be brought to a size the model takes.</exception>
    MediaPlan Plan(ChatMedia media);
}

/// <summary>A conversation as the model sees it.</summary>
/// <param name="Text">The rendered template, one placeholder for each medium.</param>
/// <param name="Tokens">Token ids, placeholders expanded.</param>
/// <param name="Media">The media in the order of their placeholders.</param>
/// <param name="Spans">Where they stand among the tokens, ascending; a video may come in several spans.</param>
public sealed record Prompt(string Text, int[] Tokens, IReadOnlyList<ChatMedia> Media, MediaSpan[] Spans)
{
    /// <summary>Tokens that end an answer to it, besides those of the generation settings.</summary>
    public IReadOnlyList<int> EndTokens { get; init; } = [];

    /// <summary>
    /// Of a conversation to learn from: which tokens the model writes in each turn of the assistant, the end of the turn and the line break after it
    /// included.
    /// </summary>
    public IReadOnlyList<Range> Answers { get; init; } = [];
}

/// <summary>A conversation that cannot be written as a prompt of the model.</summary>
public sealed class PromptException(string message) : Exception(message);
