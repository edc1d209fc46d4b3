namespace VlmSharp.Text.Templates;

/// <summary>Positions in code points, as Python counts, in strings of UTF-16 units. An unpaired surrogate is one code point.</summary>
internal static class CodePoints
{
    public static int Count(ReadOnlySpan<char> text)
    {
        int count = text.Length;
        for (int i = 0; i + 1 < text.Length; i++)
        {
            if (IsPair(text, i))
            {
                count--;
                i++;
            }
        }

        return count;
    }

    /// <summary>The length in UTF-16 units, 1 or 2, of the code point that starts at a position.</summary>
    public static int LengthAt(ReadOnlySpan<char> text, int position) => IsPair(text, position) ? 2 : 1;

    /// <summary>The code point that starts at a position.</summary>
    public static int At(ReadOnlySpan<char> text, int position) =>
        IsPair(text, position) ? char.ConvertToUtf32(text[position], text[position + 1]) : text[position];

    /// <summary>Where the code point of an index starts, in UTF-16 units. The index may be the number of code points.</summary>
    public static int Offset(TextValue value, int index)
    {
        if (!value.HasSurrogates)
        {
            return index;
        }

        int position = 0;
        for (; index > 0; index--)
        {
            position += LengthAt(value.Text, position);
        }

        return position;
    }

    /// <summary>The index of the code point that starts at a UTF-16 position.</summary>
    public static int Index(TextValue value, int position) =>
        value.HasSurrogates ? Count(value.Text.AsSpan(0, position)) : position;

    static bool IsPair(ReadOnlySpan<char> text, int position) =>
        char.IsHighSurrogate(text[position]) && position + 1 < text.Length && char.IsLowSurrogate(text[position + 1]);
}
