using VlmSharp.Chat;
using VlmSharp.Datasets;
using VlmSharp.Media.Images;

namespace VlmSharp.Calibration;

/// <summary>A text, or a conversation about pictures, that a model is run over.</summary>
/// <param name="Name">Where it stands: a file, or a file and its line.</param>
public sealed record CalibrationSample(string Name)
{
    /// <summary>A text without turns; empty for a conversation.</summary>
    public string Text { get; init; } = "";

    /// <summary>The turns; none for a text. Pictures are decoded when the sample's turn comes.</summary>
    public IReadOnlyList<ExampleMessage> Turns { get; init; } = [];

    /// <summary>Whether the last turn is an answer; else the unquantised model's own one is taken.</summary>
    public bool HasAnswer => Turns is [.., { Role: "assistant" or "tool_call" }];

    /// <summary>The turns with their pictures, as the model has them. Special tokens in answers are tokens: such answers come from models.</summary>
    /// <exception cref="MediaException">A picture cannot be decoded.</exception>
    /// <exception cref="PromptException">A turn is nothing the model has a form for.</exception>
    internal ChatMessage[] Open(ChatModel chat) =>
        [
            .. new ExampleChat(chat.Prompts, chat.Model.Info.Grounding)
                .Write(Turns, medium => new ChatMedia(medium.Open()))
                .Messages.Select(message => message with { FromModel = message.Role == "assistant" }),
        ];
}
