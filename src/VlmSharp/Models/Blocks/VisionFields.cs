using VlmSharp.Formats;

namespace VlmSharp.Models.Blocks;

/// <summary>The tokens of a prompt that media have to do with.</summary>
/// <param name="Image">Stands for a part of a picture.</param>
/// <param name="Video">Stands for a part of a video.</param>
/// <param name="Marks">Stand before and after a medium.</param>
public sealed record MediaTokens(int Image, int Video, (int Start, int End) Marks);

/// <summary>Reads what configs say of vision towers, where several say it alike.</summary>
static class VisionFields
{
    /// <summary>The tokens of media.</summary>
    /// <param name="top">The whole config.</param>
    /// <param name="vocabulary">Rows of the embedding, of which they have to be some.</param>
    /// <exception cref="CheckpointException">A token is none of them.</exception>
    public static MediaTokens Tokens(JsonObjectReader top, int vocabulary) =>
        new(
            top.Int("image_token_id", 0, vocabulary - 1, 151655),
            top.Int("video_token_id", 0, vocabulary - 1, 151656),
            (
                top.Int("vision_start_token_id", 0, vocabulary - 1, 151652),
                top.Int("vision_end_token_id", 0, vocabulary - 1, 151653)
            )
        );

    /// <summary>Width of a patch, and the heads it is divided among.</summary>
    /// <param name="json">The tower's config.</param>
    /// <param name="width">What the field of the width is called.</param>
    /// <exception cref="CheckpointException">The numbers do not fit each other.</exception>
    public static (int Width, int Heads) Heads(JsonObjectReader json, string width)
    {
        int value = json.Int(width, 1, 1 << 16);
        int heads = json.Int("num_heads", 1, 1024);
        // A head is cut into halves for rotation and each half into rows and columns.
        return value % heads == 0 && value / heads % 4 == 0
            ? (value, heads)
            : throw json.Error(width, $"is {value}, which {heads} heads do not divide into widths that 4 divides");
    }

    /// <summary>Makes sure that the tower's tokens are as wide as the decoder's.</summary>
    /// <param name="json">The tower's config.</param>
    /// <param name="outputs">What the field of their width is called.</param>
    /// <param name="textWidth">Width of the decoder.</param>
    /// <param name="optional">Whether the field may be missing.</param>
    /// <exception cref="CheckpointException">They are not.</exception>
    public static void CheckOutputs(JsonObjectReader json, string outputs, int textWidth, bool optional)
    {
        int value = optional ? json.Int(outputs, 1, 1 << 16, textWidth) : json.Int(outputs, 1, 1 << 16);
        if (value != textWidth)
        {
            throw json.Error(outputs, $"is {value}, but the decoder's width (hidden_size) is {textWidth}");
        }
    }
}
