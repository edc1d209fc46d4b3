using VlmSharp.Chat;
using VlmSharp.Media.Images;
using VlmSharp.Models;

namespace VlmSharp.Calibration;

/// <summary>A text, or a conversation about pictures, that a model is run over.</summary>
/// <param name="Name">Where it stands: a file, or a file and its line.</param>
public sealed record CalibrationSample(string Name)
{
    /// <summary>A text without turns; empty for a conversation.</summary>
    public string Text { get; init; } = "";

    /// <summary>The turns; none for a text. Pictures are decoded when the sample's turn comes.</summary>
    public IReadOnlyList<ChatMessage> Turns { get; init; } = [];

    /// <summary>Whether the last turn is an answer; else the unquantised model's own one is taken.</summary>
    public bool HasAnswer => Turns is [.., { Role: "assistant" }];

    /// <summary>The turns with their pictures.</summary>
    /// <exception cref="MediaException">A picture cannot be decoded.</exception>
    internal ChatMessage[] Open() =>
        [
            .. Turns.Select(turn =>
                turn with
                {
                    Content =
                    [
                        .. turn.Content.Select(part =>
                            part is PictureFile(string path)
                                ? new ChatMedia(MediaSource.Image(ImageDecoder.DecodeFile(path), path))
                                : part
                        ),
                    ],
                }
            ),
        ];
}

/// <summary>A picture that is not decoded yet.</summary>
sealed record PictureFile(string Path) : ChatContent;
