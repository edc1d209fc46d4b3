namespace VlmSharp.Grounding;

/// <summary>Characters of a text: UTF-16 units, counted from 0.</summary>
/// <param name="Start">The first one.</param>
/// <param name="End">The one behind the last.</param>
public readonly record struct TextRange(int Start, int End)
{
    /// <summary>How many.</summary>
    public int Length => End - Start;

    /// <summary>The characters themselves.</summary>
    /// <param name="text">The text that is counted in.</param>
    public ReadOnlySpan<char> Of(string text) => text.AsSpan(Start, Length);
}
