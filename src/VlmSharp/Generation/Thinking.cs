using VlmSharp.Text;

namespace VlmSharp.Generation;

/// <summary>Where an answer has thoughts.</summary>
public enum ThinkingMode
{
    /// <summary>Nowhere: tags of thoughts are text.</summary>
    None,

    /// <summary>The model may open <c>&lt;think&gt;</c> itself.</summary>
    Optional,

    /// <summary>The prompt has opened <c>&lt;think&gt;</c>: the answer begins with thoughts.</summary>
    Open,
}

/// <summary>What a prompt says about thoughts, and how an engine ends them.</summary>
public static class Thinking
{
    /// <summary>What an engine writes to end thoughts; with a template's <c>&lt;think&gt;\n</c> before it, an empty block as templates write it.</summary>
    public const string Closing = $"\n{Thoughts.CloseTag}\n\n";

    const int LongestOpening = 32; // tokens at the end of a prompt that are looked at: the tag and blanks

    /// <summary>Decides from the end of a prompt whether the answer begins with thoughts or may open them.</summary>
    /// <param name="prompt">Token ids.</param>
    /// <param name="tokenizer">
    /// A vocabulary with a token <c>&lt;think&gt;</c> is that of a model that may think, and only that token of the prompt opens or closes
    /// thoughts: a user who types the tag gets characters. Where there is none, the text at the end of the prompt decides.
    /// </param>
    public static ThinkingMode Of(ReadOnlySpan<int> prompt, Tokenizer tokenizer)
    {
        ReadOnlySpan<int> end = prompt[Math.Max(0, prompt.Length - LongestOpening)..];
        if (!tokenizer.TryGetId(Thoughts.OpenTag, out int open))
        {
            return tokenizer.Decode(end).AsSpan().TrimEnd().EndsWith(Thoughts.OpenTag)
                ? ThinkingMode.Open
                : ThinkingMode.None;
        }

        while (!end.IsEmpty && tokenizer.Bytes(end[^1]).IndexOfAnyExcept(" \t\r\n"u8) < 0)
        {
            end = end[..^1];
        }

        bool closed = tokenizer.TryGetId(Thoughts.CloseTag, out int close) && !end.IsEmpty && end[^1] == close;
        return !end.IsEmpty && end[^1] == open ? ThinkingMode.Open
            : closed ? ThinkingMode.None
            : ThinkingMode.Optional;
    }
}
