namespace VlmSharp.Text;

/// <summary>The published splitting patterns there are scanners for.</summary>
enum SplitPattern
{
    /// <summary>Qwen2 and its successors.</summary>
    Qwen2,

    /// <summary>GPT-2 and the models that took its tokenizer over, as OPT.</summary>
    Gpt2,
}

/// <summary>Cuts text into the pieces within which bytes are merged, as the regular expressions of the published tokenizers do.</summary>
/// <remarks>
/// Each scanner takes the first alternative of its expression that matches at a position, with the backtracking worked out by hand.
/// Every character is looked at a bounded number of times, whatever the text. Text has no lone surrogates; look-ahead sees no further
/// than the given text, as the reference cuts it at added tokens first.
/// </remarks>
static class PieceSplitter
{
    /// <summary>As tokenizer.json of Qwen2 has it.</summary>
    public const string Qwen2Expression =
        @"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

    const string Gpt2Expression = @"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";

    /// <summary>Recognises an expression as it is written in published files.</summary>
    public static SplitPattern? Recognise(string expression) =>
        expression switch
        {
            Qwen2Expression => SplitPattern.Qwen2,
            Gpt2Expression => SplitPattern.Gpt2,
            _ => null,
        };

    /// <summary>The end of the piece that starts at <paramref name="start"/>, which is inside the text.</summary>
    public static int Next(SplitPattern pattern, ReadOnlySpan<char> text, int start) =>
        pattern == SplitPattern.Qwen2 ? NextQwen2(text, start) : NextGpt2(text, start);

    static int NextQwen2(ReadOnlySpan<char> text, int start)
    {
        CharacterClass first = CharacterClasses.Of(text, start, out int length);
        int second = start + length;
        switch (first)
        {
            case CharacterClass.Letter:
                return SkipLetters(text, second);
            case CharacterClass.Number:
                return second;
            case CharacterClass.LineBreak:
                return Whitespace(text, start);
        }

        if (text[start] == '\'')
        {
            int contraction = Contraction(text, second, foldCase: true);
            if (contraction > 0)
            {
                return second + contraction;
            }
        }

        CharacterClass next =
            second < text.Length ? CharacterClasses.Of(text, second, out _) : CharacterClass.LineBreak;
        if (next == CharacterClass.Letter)
        {
            return SkipLetters(text, second);
        }

        if (first == CharacterClass.Other || (text[start] == ' ' && next == CharacterClass.Other))
        {
            int end = SkipOthers(text, second);
            while (end < text.Length && text[end] is '\r' or '\n')
            {
                end++;
            }

            return end;
        }

        return Whitespace(text, start);
    }

    static int NextGpt2(ReadOnlySpan<char> text, int start)
    {
        if (text[start] == '\'')
        {
            int contraction = Contraction(text, start + 1, foldCase: false);
            if (contraction > 0)
            {
                return start + 1 + contraction;
            }
        }

        int body = text[start] == ' ' && start + 1 < text.Length ? start + 1 : start;
        switch (CharacterClasses.Of(text, body, out int length))
        {
            case CharacterClass.Letter:
                return SkipLetters(text, body + length);
            case CharacterClass.Number:
                int end = body + length;
                while (end < text.Length && CharacterClasses.Of(text, end, out length) == CharacterClass.Number)
                {
                    end += length;
                }

                return end;
            case CharacterClass.Other:
                return SkipOthers(text, body + length);
        }

        int run = SkipWhitespace(text, start, out _);
        return BeforeLast(text, start, run);
    }

    /// <summary><c>\s*[\r\n]+|\s+(?!\S)|\s+</c></summary>
    static int Whitespace(ReadOnlySpan<char> text, int start)
    {
        int run = SkipWhitespace(text, start, out int afterLastBreak);
        return afterLastBreak > 0 ? afterLastBreak : BeforeLast(text, start, run);
    }

    /// <summary><c>\s+(?!\S)|\s+</c>: a run before something else leaves its last character to it.</summary>
    static int BeforeLast(ReadOnlySpan<char> text, int start, int end) =>
        end < text.Length && end - start > 1 ? end - 1 : end;

    /// <summary>The length of <c>s|t|re|ve|m|ll|d</c> at an index, or 0. Folding case, the long s is an s.</summary>
    static int Contraction(ReadOnlySpan<char> text, int index, bool foldCase)
    {
        if (index >= text.Length)
        {
            return 0;
        }

        char first = text[index];
        char second = index + 1 < text.Length ? text[index + 1] : '\0';
        if (foldCase)
        {
            first = first == 'ſ' ? 's' : char.ToLowerInvariant(first);
            second = char.ToLowerInvariant(second);
        }

        return (first, second) switch
        {
            ('s' or 't' or 'm' or 'd', _) => 1,
            ('r' or 'v', 'e') or ('l', 'l') => 2,
            _ => 0,
        };
    }

    static int SkipLetters(ReadOnlySpan<char> text, int i)
    {
        while (i < text.Length)
        {
            CharacterClass found = CharacterClasses.Of(text[i]);
            int length = 1;
            if (found == CharacterClass.Surrogate)
            {
                found = CharacterClasses.Of(text, i, out length);
            }

            if (found != CharacterClass.Letter)
            {
                break;
            }

            i += length;
        }

        return i;
    }

    static int SkipOthers(ReadOnlySpan<char> text, int i)
    {
        while (i < text.Length && CharacterClasses.Of(text, i, out int length) == CharacterClass.Other)
        {
            i += length;
        }

        return i;
    }

    /// <summary>The end of a run of whitespace, and the index after its last line break (0: it has none). All whitespace is in the basic plane.</summary>
    static int SkipWhitespace(ReadOnlySpan<char> text, int i, out int afterLastBreak)
    {
        afterLastBreak = 0;
        for (; i < text.Length; i++)
        {
            CharacterClass found = CharacterClasses.Of(text[i]);
            if (found == CharacterClass.LineBreak)
            {
                afterLastBreak = i + 1;
            }
            else if (found != CharacterClass.Space)
            {
                break;
            }
        }

        return i;
    }
}
