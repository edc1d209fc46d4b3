using System.Globalization;
using System.Text;

namespace VlmSharp.Text.Templates;

/// <summary>Python's character classes and case rules.</summary>
internal static class PythonText
{
    /// <summary>str.isspace of one character: .NET's white space and the four separators below the blank.</summary>
    public static bool IsSpace(char c) => char.IsWhiteSpace(c) || c is >= '\u001C' and <= '\u001F';

    public static bool IsSpace(ReadOnlySpan<char> text)
    {
        foreach (char c in text)
        {
            if (!IsSpace(c))
            {
                return false;
            }
        }

        return true;
    }

    public static string TrimEnd(string text)
    {
        int end = text.Length;
        while (end > 0 && IsSpace(text[end - 1]))
        {
            end--;
        }

        return text[..end];
    }

    /// <summary>str.strip().</summary>
    public static string Trim(string text)
    {
        text = TrimEnd(text);
        int start = 0;
        while (start < text.Length && IsSpace(text[start]))
        {
            start++;
        }

        return text[start..];
    }

    /// <summary>Where str.splitlines breaks a line.</summary>
    public static bool IsLineBreak(char c) =>
        c is '\n' or '\r' or '\v' or '\f' or '\u001C' or '\u001D' or '\u001E' or '\u0085' or '\u2028' or '\u2029';

    public static UnicodeCategory Category(int codePoint) => CharUnicodeInfo.GetUnicodeCategory(codePoint);

    public static bool IsLetter(int codePoint) =>
        Category(codePoint)
            is UnicodeCategory.UppercaseLetter
                or UnicodeCategory.LowercaseLetter
                or UnicodeCategory.TitlecaseLetter
                or UnicodeCategory.ModifierLetter
                or UnicodeCategory.OtherLetter;

    /// <summary>str.isdecimal of one character.</summary>
    public static bool IsDecimal(int codePoint) => Category(codePoint) == UnicodeCategory.DecimalDigitNumber;

    /// <summary>str.isdigit of one character: decimals and digits in superscripts, circles and the like.</summary>
    public static bool IsDigit(int codePoint) =>
        IsDecimal(codePoint)
        || (!IsSurrogate(codePoint) && CharUnicodeInfo.GetDigitValue(char.ConvertFromUtf32(codePoint), 0) >= 0);

    /// <summary>str.isnumeric of one character. Chinese numerals, which are letters too, are not counted.</summary>
    public static bool IsNumeric(int codePoint) =>
        IsDigit(codePoint)
        || (!IsSurrogate(codePoint) && CharUnicodeInfo.GetNumericValue(char.ConvertFromUtf32(codePoint), 0) >= 0);

    public static bool IsAlphanumeric(int codePoint) => IsLetter(codePoint) || IsNumeric(codePoint);

    static bool IsSurrogate(int codePoint) => codePoint is >= 0xD800 and <= 0xDFFF;

    public static bool IsUpper(int codePoint) =>
        Category(codePoint) == UnicodeCategory.UppercaseLetter
        // Other_Uppercase: Roman numerals, letters in circles and squares.
        || codePoint
            is (>= 0x2160 and <= 0x216F)
                or (>= 0x24B6 and <= 0x24CF)
                or (>= 0x1F130 and <= 0x1F149)
                or (>= 0x1F150 and <= 0x1F169)
                or (>= 0x1F170 and <= 0x1F189);

    public static bool IsLower(int codePoint) =>
        Category(codePoint) == UnicodeCategory.LowercaseLetter
        // Other_Lowercase: ordinals, modifier letters, small Roman numerals, letters in circles.
        || codePoint
            is 0xAA
                or 0xBA
                or (>= 0x2B0 and <= 0x2B8)
                or 0x2C0
                or 0x2C1
                or (>= 0x2E0 and <= 0x2E4)
                or 0x345
                or 0x37A
                or (>= 0x1D2C and <= 0x1D6A)
                or 0x1D78
                or (>= 0x1D9B and <= 0x1DBF)
                or 0x2071
                or 0x207F
                or (>= 0x2090 and <= 0x209C)
                or (>= 0x2170 and <= 0x217F)
                or (>= 0x24D0 and <= 0x24E9)
                or 0x2C7C
                or 0x2C7D
                or 0xA69C
                or 0xA69D
                or 0xA770
                or 0xA7F8
                or 0xA7F9
                or (>= 0xAB5C and <= 0xAB5F)
                or 0x10780
                or (>= 0x10783 and <= 0x10785)
                or (>= 0x10787 and <= 0x107B0)
                or (>= 0x107B2 and <= 0x107BA);

    public static bool IsTitle(int codePoint) => Category(codePoint) == UnicodeCategory.TitlecaseLetter;

    public static bool IsCased(int codePoint) => IsUpper(codePoint) || IsLower(codePoint) || IsTitle(codePoint);

    /// <summary>str.isprintable of one character: what repr writes as it is.</summary>
    public static bool IsPrintable(int codePoint) =>
        codePoint == ' '
        || Category(codePoint)
            is not (
                UnicodeCategory.Control
                or UnicodeCategory.Format
                or UnicodeCategory.Surrogate
                or UnicodeCategory.PrivateUse
                or UnicodeCategory.OtherNotAssigned
                or UnicodeCategory.LineSeparator
                or UnicodeCategory.ParagraphSeparator
                or UnicodeCategory.SpaceSeparator
            );

    public static bool IsIdentifier(string text)
    {
        int position = 0;
        foreach (Rune rune in text.EnumerateRunes())
        {
            UnicodeCategory category = Category(rune.Value);
            bool starts = rune.Value == '_' || IsLetter(rune.Value) || category == UnicodeCategory.LetterNumber;
            bool continues =
                category
                is UnicodeCategory.DecimalDigitNumber
                    or UnicodeCategory.NonSpacingMark
                    or UnicodeCategory.SpacingCombiningMark
                    or UnicodeCategory.ConnectorPunctuation;
            if (!starts && !(position > 0 && continues))
            {
                return false;
            }

            position++;
        }

        return position > 0;
    }

    // The characters of Unicode's SpecialCasing whose upper case is longer. Title case differs only for the digraphs and ligatures.
    static readonly Dictionary<int, (string Upper, string Title)> LongUpper = new()
    {
        [0xDF] = ("SS", "Ss"),
        [0x149] = ("\u02BCN", "\u02BCN"),
        [0x1F0] = ("J\u030C", "J\u030C"),
        [0x390] = ("\u0399\u0308\u0301", "\u0399\u0308\u0301"),
        [0x3B0] = ("\u03A5\u0308\u0301", "\u03A5\u0308\u0301"),
        [0x587] = ("\u0535\u0552", "\u0535\u0582"),
        [0x1E96] = ("H\u0331", "H\u0331"),
        [0x1E97] = ("T\u0308", "T\u0308"),
        [0x1E98] = ("W\u030A", "W\u030A"),
        [0x1E99] = ("Y\u030A", "Y\u030A"),
        [0x1E9A] = ("A\u02BE", "A\u02BE"),
        [0xFB00] = ("FF", "Ff"),
        [0xFB01] = ("FI", "Fi"),
        [0xFB02] = ("FL", "Fl"),
        [0xFB03] = ("FFI", "Ffi"),
        [0xFB04] = ("FFL", "Ffl"),
        [0xFB05] = ("ST", "St"),
        [0xFB06] = ("ST", "St"),
    };

    // Title case of the Latin digraphs is a character of its own.
    static readonly Dictionary<int, int> Digraphs = new()
    {
        [0x1C4] = 0x1C5,
        [0x1C5] = 0x1C5,
        [0x1C6] = 0x1C5,
        [0x1C7] = 0x1C8,
        [0x1C8] = 0x1C8,
        [0x1C9] = 0x1C8,
        [0x1CA] = 0x1CB,
        [0x1CB] = 0x1CB,
        [0x1CC] = 0x1CB,
        [0x1F1] = 0x1F2,
        [0x1F2] = 0x1F2,
        [0x1F3] = 0x1F2,
    };

    public static string Upper(string text) => Map(text, AppendUpper);

    public static string Lower(string text) => Map(text, AppendLower);

    public static string Capitalize(string text) =>
        Map(text, (to, from, i) => (i == 0 ? (CaseMap)AppendTitle : AppendLower)(to, from, i));

    /// <summary>str.title: what follows a letter is lower case, anything else starts a word.</summary>
    public static string Title(string text)
    {
        bool inWord = false;
        return Map(
            text,
            (to, from, i) =>
            {
                (inWord ? (CaseMap)AppendLower : AppendTitle)(to, from, i);
                inWord = IsCased(CodePoints.At(from, i));
            }
        );
    }

    public static string SwapCase(string text) =>
        Map(text, (to, from, i) => (IsUpper(CodePoints.At(from, i)) ? (CaseMap)AppendLower : AppendUpper)(to, from, i));

    public static string CaseFold(string text) =>
        Map(
            text,
            (to, from, i) =>
            {
                int c = CodePoints.At(from, i);
                if (LongUpper.TryGetValue(c, out (string Upper, string Title) special))
                {
                    to.Append(Lower(special.Upper));
                }
                else if (c is 0x130 or 0x131 or 0x1E9E)
                {
                    to.Append(
                        c switch
                        {
                            0x130 => "i\u0307",
                            0x131 => "\u0131",
                            _ => "ss",
                        }
                    );
                }
                else
                {
                    // Folding goes through upper case, so that the variants of a letter (final sigma, long s, micro) meet.
                    StringBuilder upper = new();
                    AppendUpper(upper, from, i);
                    to.Append(upper.ToString().ToLowerInvariant());
                }
            }
        );

    delegate void CaseMap(StringBuilder to, string from, int position);

    static string Map(string text, CaseMap map)
    {
        StringBuilder result = new(text.Length);
        for (int i = 0; i < text.Length; i += CodePoints.LengthAt(text, i))
        {
            map(result, text, i);
        }

        return result.ToString();
    }

    static void AppendUpper(StringBuilder to, string from, int position)
    {
        int c = CodePoints.At(from, position);
        if (LongUpper.TryGetValue(c, out (string Upper, string Title) special))
        {
            to.Append(special.Upper);
        }
        else
        {
            Append(to, from, position, upper: true);
        }
    }

    static void AppendTitle(StringBuilder to, string from, int position)
    {
        int c = CodePoints.At(from, position);
        if (LongUpper.TryGetValue(c, out (string Upper, string Title) special))
        {
            to.Append(special.Title);
        }
        else if (c is >= 0x10D0 and <= 0x10FF)
        {
            // Georgian has capitals, but writes no title case.
            to.Append((char)c);
        }
        else if (Digraphs.TryGetValue(c, out int digraph))
        {
            to.Append((char)digraph);
        }
        else
        {
            Append(to, from, position, upper: true);
        }
    }

    static void AppendLower(StringBuilder to, string from, int position)
    {
        if (from[position] == '\u0130')
        {
            to.Append("i\u0307");
        }
        else if (from[position] == '\u03A3')
        {
            to.Append(IsFinalSigma(from, position) ? '\u03C2' : '\u03C3');
        }
        else
        {
            Append(to, from, position, upper: false);
        }
    }

    static void Append(StringBuilder to, string from, int position, bool upper)
    {
        char only = from[position];
        if (upper && only is '\u0131' or '\u017F')
        {
            // .NET's invariant mapping leaves these two, whose upper case is ASCII, as they are.
            to.Append(only == '\u0131' ? 'I' : 'S');
        }
        else if (CodePoints.LengthAt(from, position) == 2)
        {
            Rune rune = new(CodePoints.At(from, position));
            to.Append(upper ? Rune.ToUpperInvariant(rune) : Rune.ToLowerInvariant(rune));
        }
        else
        {
            to.Append(upper ? char.ToUpperInvariant(only) : char.ToLowerInvariant(only));
        }
    }

    /// <summary>A capital sigma at the end of a word: a cased letter before it, none after.</summary>
    static bool IsFinalSigma(string text, int position)
    {
        int before = position - 1;
        while (before >= 0 && IsCaseIgnorable(text[before]))
        {
            before--;
        }

        int after = position + 1;
        while (after < text.Length && IsCaseIgnorable(text[after]))
        {
            after++;
        }

        return before >= 0 && IsCased(text[before]) && !(after < text.Length && IsCased(text[after]));
    }

    static bool IsCaseIgnorable(char c) =>
        c is '\'' or '.' or ':' or '^' or '`' or '\u00AD' or '\u00B7' or '\u2019'
        || char.GetUnicodeCategory(c)
            is UnicodeCategory.NonSpacingMark
                or UnicodeCategory.EnclosingMark
                or UnicodeCategory.Format
                or UnicodeCategory.ModifierLetter
                or UnicodeCategory.ModifierSymbol;
}
