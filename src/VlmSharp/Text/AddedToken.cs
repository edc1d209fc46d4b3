using VlmSharp.Formats;

namespace VlmSharp.Text;

/// <summary>What happens to added tokens that occur in a text that is encoded.</summary>
public enum AddedTokenUse
{
    /// <summary>All of them are recognised: for text that the program wrote, as a chat template's own parts.</summary>
    Parse,

    /// <summary>
    /// Special ones are plain text, the others are recognised: <c>split_special_tokens=True</c> of the transformers library. Not enough for text
    /// of a user, as tokens like <c>&lt;tool_call&gt;</c> are not marked special.
    /// </summary>
    SpecialAsText,

    /// <summary>None is recognised: for text of a user.</summary>
    None,
}

/// <summary>A token recognised in the text before it is split, with the flags of the published files.</summary>
/// <param name="Id">Its id, the row in the embedding.</param>
/// <param name="Content">What is looked for, and what it decodes to.</param>
/// <param name="Special">Left out of decoded text on request; plain text with <see cref="AddedTokenUse.SpecialAsText"/>.</param>
/// <param name="SingleWord">Recognised only where no word character touches it.</param>
/// <param name="LeftStrip">Takes the whitespace before it along.</param>
/// <param name="RightStrip">Takes the whitespace after it along.</param>
/// <param name="Normalized">Looked for in normalised text, its content being normalised too; others are looked for in the raw text, first.</param>
sealed record AddedToken(
    int Id,
    string Content,
    bool Special,
    bool SingleWord,
    bool LeftStrip,
    bool RightStrip,
    bool Normalized
)
{
    /// <summary>Reads a token as configs describe it. Flags that are missing are off, except that tokens which are not special are normalised.</summary>
    public static AddedToken Read(JsonObjectReader json, int id)
    {
        bool special = json.Bool("special", false);
        return new(
            id,
            Checked(json, "content", json.Text("content")),
            special,
            json.Bool("single_word", false),
            json.Bool("lstrip", false),
            json.Bool("rstrip", false),
            json.Bool("normalized", !special)
        );
    }

    /// <summary>The content, if it can be looked for.</summary>
    public static string Checked(JsonObjectReader json, string field, string content) =>
        content.Length is > 0 and <= AddedTokenMatcher.MaxContentLength
            ? content
            : throw json.Error(
                field,
                $"has {content.Length} characters; an added token has 1 to {AddedTokenMatcher.MaxContentLength}"
            );
}
