namespace VlmSharp.Text;

/// <summary>The tags around what a model thinks before it answers.</summary>
public static class Thoughts
{
    /// <summary>Begins thoughts.</summary>
    public const string OpenTag = "<think>";

    /// <summary>Ends thoughts.</summary>
    public const string CloseTag = "</think>";

    /// <summary>Where the answer begins in what a model wrote: behind the last end of thoughts.</summary>
    /// <returns>-1 where the text begins with thoughts that never end.</returns>
    public static int AnswerStart(string text)
    {
        ArgumentNullException.ThrowIfNull(text);
        int close = text.LastIndexOf(CloseTag, StringComparison.Ordinal);
        return close >= 0 ? close + CloseTag.Length
            : text.AsSpan().TrimStart().StartsWith(OpenTag) ? -1
            : 0;
    }
}
