using System.Globalization;

namespace VlmSharp.Text;

/// <summary>The classes the published splitting patterns distinguish.</summary>
enum CharacterClass : byte
{
    /// <summary>Everything else: punctuation, symbols, combining marks, controls.</summary>
    Other,

    /// <summary><c>\p{L}</c></summary>
    Letter,

    /// <summary><c>\p{N}</c></summary>
    Number,

    /// <summary><c>\s</c> but <c>\r</c> and <c>\n</c></summary>
    Space,

    /// <summary><c>\r</c> and <c>\n</c></summary>
    LineBreak,

    /// <summary>A UTF-16 surrogate: the pair decides.</summary>
    Surrogate,
}

/// <summary>Looks characters up as the regular expression engines of the published tokenizers do, with the tables of Unicode 16.</summary>
/// <remarks>
/// The runtime's own categories are of that version and agree for every code point; a test compares them, so that a runtime with
/// newer tables does not change token ids unnoticed.
/// </remarks>
static class CharacterClasses
{
    static readonly byte[] Table = Build();

    /// <summary>The class of one UTF-16 unit.</summary>
    public static CharacterClass Of(char c) => (CharacterClass)Table[c];

    /// <summary>The class of the character at <paramref name="index"/> and its length in UTF-16 units.</summary>
    public static CharacterClass Of(ReadOnlySpan<char> text, int index, out int length)
    {
        var found = (CharacterClass)Table[text[index]];
        length = 1;
        if (found != CharacterClass.Surrogate)
        {
            return found;
        }

        if (index + 1 < text.Length && char.IsSurrogatePair(text[index], text[index + 1]))
        {
            length = 2;
            return Of(char.ConvertToUtf32(text[index], text[index + 1]));
        }

        return CharacterClass.Other;
    }

    /// <summary>The class of a code point; surrogates are <see cref="CharacterClass.Other"/>.</summary>
    public static CharacterClass Of(int codePoint) =>
        CharUnicodeInfo.GetUnicodeCategory(codePoint) switch
        {
            UnicodeCategory.UppercaseLetter
            or UnicodeCategory.LowercaseLetter
            or UnicodeCategory.TitlecaseLetter
            or UnicodeCategory.ModifierLetter
            or UnicodeCategory.OtherLetter => CharacterClass.Letter,
            UnicodeCategory.DecimalDigitNumber or UnicodeCategory.LetterNumber or UnicodeCategory.OtherNumber =>
                CharacterClass.Number,
            _ when codePoint is '\r' or '\n' => CharacterClass.LineBreak,
            _ when codePoint <= char.MaxValue && char.IsWhiteSpace((char)codePoint) => CharacterClass.Space,
            _ => CharacterClass.Other,
        };

    /// <summary><c>\w</c> of Unicode Technical Standard 18: alphabetic, marks, decimal digits, connectors, joiners.</summary>
    public static bool IsWord(int codePoint)
    {
        switch (CharUnicodeInfo.GetUnicodeCategory(codePoint))
        {
            case UnicodeCategory.UppercaseLetter:
            case UnicodeCategory.LowercaseLetter:
            case UnicodeCategory.TitlecaseLetter:
            case UnicodeCategory.ModifierLetter:
            case UnicodeCategory.OtherLetter:
            case UnicodeCategory.LetterNumber:
            case UnicodeCategory.NonSpacingMark:
            case UnicodeCategory.SpacingCombiningMark:
            case UnicodeCategory.EnclosingMark:
            case UnicodeCategory.DecimalDigitNumber:
            case UnicodeCategory.ConnectorPunctuation:
                return true;
            default:
                // Joiners, and the circled and squared letters, which are alphabetic by Other_Alphabetic.
                return codePoint
                    is 0x200C
                        or 0x200D
                        or (>= 0x24B6 and <= 0x24E9)
                        or (>= 0x1F130 and <= 0x1F149)
                        or (>= 0x1F150 and <= 0x1F169)
                        or (>= 0x1F170 and <= 0x1F189);
        }
    }

    static byte[] Build()
    {
        var table = new byte[0x10000];
        for (int c = 0; c < table.Length; c++)
        {
            table[c] = (byte)(char.IsSurrogate((char)c) ? CharacterClass.Surrogate : Of(c));
        }

        return table;
    }
}
