using System.Globalization;

namespace VlmSharp.Text;

/// <summary>Unicode normalisation form C. The library runs without ICU, so <see cref="string.Normalize()"/> is not an option.</summary>
/// <remarks>
/// Rules: Unicode Standard Annex 15, with the quick check of its section 9. Text is read once; only runs that hold something to
/// change, together with the character before them, are decomposed, reordered and composed. One instance serves one thread: the
/// result is valid until its next use.
/// </remarks>
sealed class Nfc
{
    /// <summary>Characters below this one neither change nor combine with what stands before them.</summary>
    const char FirstOfInterest = '\u0300';

    /// <summary>Flag beside the combining class: the character may change, or combine with an earlier one.</summary>
    const int Unstable = 0x100;

    const int HangulS = 0xAC00,
        HangulL = 0x1100,
        HangulV = 0x1161,
        HangulT = 0x11A7;
    const int HangulLCount = 19,
        HangulVCount = 21,
        HangulTCount = 28,
        HangulSCount = HangulLCount * HangulVCount * HangulTCount;

    char[] output = new char[256];
    int written;

    // Code points of one run, the combining class in the top byte.
    uint[] run = new uint[32];
    uint[] sorted = [];
    int runLength;

    /// <summary>The text in form C: <paramref name="text"/> itself where nothing changes, else a buffer of this instance.</summary>
    public ReadOnlySpan<char> Normalize(ReadOnlySpan<char> text)
    {
        written = 0;
        int copied = 0;
        int i = 0;
        while (i < text.Length)
        {
            if (text[i] < FirstOfInterest)
            {
                int skip = text[i..].IndexOfAnyInRange(FirstOfInterest, '\uFFFF');
                if (skip < 0)
                {
                    break;
                }

                i += skip;
            }

            if (Properties(text, i, out int length) == 0)
            {
                i += length;
                continue;
            }

            // [start, end): the inert character before, if any, and all that is not inert from here on.
            int start = i == 0 ? 0 : i - 1;
            if (start > 0 && char.IsLowSurrogate(text[start]) && char.IsHighSurrogate(text[start - 1]))
            {
                start--;
            }

            int end = EndOfRun(text, i, out bool stable);
            if (!stable)
            {
                Append(text[copied..start]);
                AppendComposed(text[start..end]);
                copied = end;
            }

            i = end;
        }

        if (copied == 0)
        {
            return text;
        }

        Append(text[copied..]);
        return output.AsSpan(0, written);
    }

    /// <summary>Whether the normal form of the text is that of <c>text[..index]</c> followed by that of <c>text[index..]</c>.</summary>
    public static bool IsBoundary(ReadOnlySpan<char> text, int index)
    {
        if (index <= 0 || index >= text.Length)
        {
            return true;
        }

        bool insidePair = char.IsLowSurrogate(text[index]) && char.IsHighSurrogate(text[index - 1]);
        return !insidePair && Properties(text, index, out _) == 0;
    }

    static int EndOfRun(ReadOnlySpan<char> text, int i, out bool stable)
    {
        stable = true;
        int last = 0;
        while (i < text.Length)
        {
            int properties = Properties(text, i, out int length);
            if (properties == 0)
            {
                break;
            }

            int combiningClass = properties & 0xFF;
            stable &= (properties & Unstable) == 0 && last <= combiningClass;
            last = combiningClass;
            i += length;
        }

        return i;
    }

    void AppendComposed(ReadOnlySpan<char> text)
    {
        runLength = 0;
        for (int i = 0; i < text.Length; )
        {
            int codePoint = CodePoint(text, i, out int length);
            Decompose(codePoint);
            i += length;
        }

        Reorder();
        Compose();
        foreach (uint entry in run.AsSpan(0, runLength))
        {
            AppendCodePoint((int)(entry & 0xFFFFFF));
        }
    }

    void Decompose(int codePoint)
    {
        int hangul = codePoint - HangulS;
        if ((uint)hangul < HangulSCount)
        {
            Push(HangulL + (hangul / (HangulVCount * HangulTCount)));
            Push(HangulV + (hangul / HangulTCount % HangulVCount));
            if (hangul % HangulTCount != 0)
            {
                Push(HangulT + (hangul % HangulTCount));
            }
        }
        else if (Tables.Decompositions.TryGetValue(codePoint, out (int First, int Second) mapping))
        {
            Decompose(mapping.First);
            if (mapping.Second != 0)
            {
                Decompose(mapping.Second);
            }
        }
        else
        {
            Push(codePoint);
        }
    }

    void Push(int codePoint)
    {
        if (runLength == run.Length)
        {
            Array.Resize(ref run, run.Length * 2);
        }

        run[runLength++] = (uint)codePoint | ((uint)Properties(codePoint) << 24);
    }

    /// <summary>Sorts each stretch of non-starters by combining class, keeping the order of equals.</summary>
    void Reorder()
    {
        for (int i = 0; i < runLength; i++)
        {
            if (run[i] >> 24 == 0)
            {
                continue;
            }

            int end = i + 1;
            while (end < runLength && run[end] >> 24 != 0)
            {
                end++;
            }

            StableSort(run.AsSpan(i, end - i));
            i = end;
        }
    }

    void StableSort(Span<uint> marks)
    {
        if (marks.Length <= 32)
        {
            for (int i = 1; i < marks.Length; i++)
            {
                uint mark = marks[i];
                int j = i;
                for (; j > 0 && marks[j - 1] >> 24 > mark >> 24; j--)
                {
                    marks[j] = marks[j - 1];
                }

                marks[j] = mark;
            }

            return;
        }

        // A long run of marks, which only hostile text has: counting keeps it linear.
        if (sorted.Length < marks.Length)
        {
            sorted = new uint[marks.Length];
        }

        Span<int> place = stackalloc int[256];
        place.Clear();
        foreach (uint mark in marks)
        {
            place[(int)(mark >> 24)]++;
        }

        int total = 0;
        foreach (ref int count in place)
        {
            (count, total) = (total, total + count);
        }

        foreach (uint mark in marks)
        {
            sorted[place[(int)(mark >> 24)]++] = mark;
        }

        sorted.AsSpan(0, marks.Length).CopyTo(marks);
    }

    void Compose()
    {
        int starter = -1;
        int length = 0;
        int between = -1; // combining class of the last character kept after the starter; -1: none
        for (int i = 0; i < runLength; i++)
        {
            int codePoint = (int)(run[i] & 0xFFFFFF);
            int combiningClass = (int)(run[i] >> 24);
            if (starter >= 0 && between < combiningClass && TryCompose((int)run[starter], codePoint, out int composed))
            {
                run[starter] = (uint)composed;
                continue;
            }

            if (combiningClass == 0)
            {
                starter = length;
                between = -1;
            }
            else
            {
                between = combiningClass;
            }

            run[length++] = run[i];
        }

        runLength = length;
    }

    static bool TryCompose(int first, int second, out int composed)
    {
        int l = first - HangulL;
        int v = second - HangulV;
        if ((uint)l < HangulLCount && (uint)v < HangulVCount)
        {
            composed = HangulS + (((l * HangulVCount) + v) * HangulTCount);
            return true;
        }

        int s = first - HangulS;
        int t = second - HangulT;
        if ((uint)s < HangulSCount && s % HangulTCount == 0 && t > 0 && t < HangulTCount)
        {
            composed = first + t;
            return true;
        }

        return Tables.Compositions.TryGetValue(((long)first << 32) | (uint)second, out composed);
    }

    void Append(ReadOnlySpan<char> text)
    {
        Reserve(text.Length);
        text.CopyTo(output.AsSpan(written));
        written += text.Length;
    }

    void AppendCodePoint(int codePoint)
    {
        Reserve(2);
        if (codePoint < 0x10000)
        {
            output[written++] = (char)codePoint;
        }
        else
        {
            output[written++] = (char)(0xD7C0 + (codePoint >> 10));
            output[written++] = (char)(0xDC00 + (codePoint & 0x3FF));
        }
    }

    void Reserve(int more)
    {
        if (output.Length - written < more)
        {
            Array.Resize(ref output, Math.Max(output.Length * 2, written + more));
        }
    }

    static int CodePoint(ReadOnlySpan<char> text, int i, out int length)
    {
        char c = text[i];
        bool pair = char.IsHighSurrogate(c) && i + 1 < text.Length && char.IsLowSurrogate(text[i + 1]);
        length = pair ? 2 : 1;
        return pair ? char.ConvertToUtf32(c, text[i + 1]) : c;
    }

    /// <summary>0 for a character that is inert: it stays as it is and nothing before it combines with it.</summary>
    static int Properties(ReadOnlySpan<char> text, int i, out int length)
    {
        char c = text[i];
        length = 1;
        return char.IsSurrogate(c) ? Properties(CodePoint(text, i, out length)) : Tables.Plane0[c];
    }

    static int Properties(int codePoint) =>
        codePoint < 0x10000 ? Tables.Plane0[codePoint] : Tables.Others.GetValueOrDefault(codePoint);

    /// <summary>Built from <see cref="NfcData"/> when the first text that needs them arrives.</summary>
    static class Tables
    {
        /// <summary>Combining class and <see cref="Unstable"/> for the basic plane.</summary>
        public static readonly ushort[] Plane0 = new ushort[0x10000];

        public static readonly Dictionary<int, ushort> Others = [];
        public static readonly Dictionary<int, (int First, int Second)> Decompositions = [];
        public static readonly Dictionary<long, int> Compositions = [];

        static Tables()
        {
            foreach (Range part in NfcData.CombiningClasses.AsSpan().SplitAny(" \n"))
            {
                ReadOnlySpan<char> entry = NfcData.CombiningClasses.AsSpan()[part];
                int colon = entry.IndexOf(':');
                if (colon < 0)
                {
                    continue;
                }

                ReadOnlySpan<char> range = entry[..colon];
                int dash = range.IndexOf('-');
                int first = Hex(dash < 0 ? range : range[..dash]);
                int last = dash < 0 ? first : Hex(range[(dash + 1)..]);
                for (int c = first; c <= last; c++)
                {
                    Add(c, ushort.Parse(entry[(colon + 1)..], NumberStyles.None, CultureInfo.InvariantCulture));
                }
            }

            int codePoint = -1;
            foreach (Range part in NfcData.Mappings.AsSpan().SplitAny(" \n"))
            {
                ReadOnlySpan<char> entry = NfcData.Mappings.AsSpan()[part];
                if (entry.IsEmpty)
                {
                    continue;
                }

                int equals = entry.IndexOf('=');
                codePoint = equals < 0 ? codePoint + 1 : Hex(entry[..equals]);
                AddMapping(codePoint, entry[(equals + 1)..]);
            }

            for (int c = HangulV; c < HangulV + HangulVCount; c++)
            {
                Add(c, Unstable);
            }

            for (int c = HangulT + 1; c < HangulT + HangulTCount; c++)
            {
                Add(c, Unstable);
            }
        }

        static void AddMapping(int codePoint, ReadOnlySpan<char> mapping)
        {
            int plus = mapping.IndexOf('+');
            if (plus < 0)
            {
                Decompositions.Add(codePoint, (Hex(mapping), 0));
                Add(codePoint, Unstable);
                return;
            }

            bool excluded = mapping[^1] == '!';
            int first = Hex(mapping[..plus]);
            int second = Hex(excluded ? mapping[(plus + 1)..^1] : mapping[(plus + 1)..]);
            Decompositions.Add(codePoint, (first, second));
            if (excluded)
            {
                Add(codePoint, Unstable);
            }
            else
            {
                Compositions.Add(((long)first << 32) | (uint)second, codePoint);
                Add(second, Unstable);
            }
        }

        static void Add(int codePoint, int property)
        {
            if (codePoint < 0x10000)
            {
                Plane0[codePoint] |= (ushort)property;
            }
            else
            {
                Others[codePoint] = (ushort)(Others.GetValueOrDefault(codePoint) | property);
            }
        }

        static int Hex(ReadOnlySpan<char> digits) =>
            int.Parse(digits, NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture);
    }
}
