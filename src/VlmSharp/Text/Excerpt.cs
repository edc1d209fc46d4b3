using System.Text;

namespace VlmSharp.Text;

/// <summary>Text of a file as errors show it: on one line and not longer than a reader wants.</summary>
static class Excerpt
{
    const int Longest = 80;

    /// <summary>The beginning of a text, blanks in place of control characters.</summary>
    public static string Of(string text)
    {
        string start = text.Length <= Longest ? text : $"{text.AsSpan(0, Longest)}...";
        return string.Create(
            start.Length,
            start,
            (span, s) =>
            {
                for (int i = 0; i < span.Length; i++)
                {
                    span[i] = char.IsControl(s[i]) ? ' ' : s[i];
                }
            }
        );
    }

    /// <inheritdoc cref="Of(string)"/>
    public static string Of(ReadOnlySpan<byte> utf8) =>
        Of(Encoding.UTF8.GetString(utf8[..Math.Min(utf8.Length, 4 * Longest)]));
}
