namespace VlmSharp.Text.Templates;

/// <summary>Finding text in text in linear time, whatever the two are.</summary>
internal static class TextSearch
{
    /// <summary>Up to this length the vectorised search is used: its worst case is then bounded by a small factor.</summary>
    const int ShortPattern = 64;

    /// <summary>The first position of the pattern at or after start, in UTF-16 units, or -1.</summary>
    public static int IndexOf(string text, string pattern, int start = 0)
    {
        if (pattern.Length <= ShortPattern)
        {
            int at = text.AsSpan(start).IndexOf(pattern);
            return at < 0 ? -1 : at + start;
        }

        foreach (int at in Matches(text, pattern, start))
        {
            return at;
        }

        return -1;
    }

    /// <summary>The last position of the pattern, or -1.</summary>
    public static int LastIndexOf(string text, string pattern)
    {
        if (pattern.Length <= ShortPattern)
        {
            return text.AsSpan().LastIndexOf(pattern);
        }

        int at = IndexOf(Reverse(text), Reverse(pattern));
        return at < 0 ? -1 : text.Length - at - pattern.Length;
    }

    /// <summary>The UTF-16 units in reverse, for searches from the right.</summary>
    public static string Reverse(string text)
    {
        char[] characters = text.ToCharArray();
        Array.Reverse(characters);
        return new string(characters);
    }

    /// <summary>Knuth, Morris and Pratt: all positions, overlapping ones too.</summary>
    static IEnumerable<int> Matches(string text, string pattern, int start)
    {
        int[] fallback = new int[pattern.Length];
        for (int i = 1, matched = 0; i < pattern.Length; i++)
        {
            while (matched > 0 && pattern[i] != pattern[matched])
            {
                matched = fallback[matched - 1];
            }

            matched += pattern[i] == pattern[matched] ? 1 : 0;
            fallback[i] = matched;
        }

        for (int i = start, matched = 0; i < text.Length; i++)
        {
            while (matched > 0 && text[i] != pattern[matched])
            {
                matched = fallback[matched - 1];
            }

            matched += text[i] == pattern[matched] ? 1 : 0;
            if (matched == pattern.Length)
            {
                yield return i - matched + 1;
                matched = fallback[matched - 1];
            }
        }
    }
}
