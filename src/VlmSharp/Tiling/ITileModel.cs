using VlmSharp.Chat;
using VlmSharp.Generation;
using VlmSharp.Grounding;

namespace VlmSharp.Tiling;

/// <summary>What a scan needs of a model: answers, each without memory of those before.</summary>
public interface ITileModel
{
    /// <summary>Answers a message as the first of a conversation.</summary>
    /// <param name="content">Text, with at most one picture.</param>
    /// <param name="cancellation">Ends it with <see cref="OperationCanceledException"/>.</param>
    TileReply Ask(IReadOnlyList<ChatContent> content, CancellationToken cancellation);

    /// <summary>Tokens of a text.</summary>
    int CountTokens(string text);

    /// <summary>Tokens that the text of a message may have, so that there is room for the longest answer.</summary>
    int MaxTextTokens { get; }
}

/// <summary>An answer.</summary>
/// <param name="Text">As the model wrote it.</param>
/// <param name="Finish">Why it ended.</param>
/// <param name="Items">What it points at, in pixels of the picture that was shown.</param>
public sealed record TileReply(string Text, FinishReason Finish, IReadOnlyList<GroundedItem> Items);
