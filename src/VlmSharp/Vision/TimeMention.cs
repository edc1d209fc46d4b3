using System.Globalization;

namespace VlmSharp.Vision;

/// <summary>A moment or a span of time that a text speaks of.</summary>
/// <param name="Start">Seconds.</param>
/// <param name="End">Seconds; equal to the start for a moment.</param>
/// <param name="Offset">Where in the text it is said.</param>
/// <param name="Length">Characters.</param>
public readonly record struct TimeMention(double Start, double End, int Offset, int Length)
{
    /// <summary>The times in a model's answer.</summary>
    /// <remarks>
    /// Read are <c>12.5 seconds</c>, <c>12.5s</c>, <c>2 min 5 s</c>, <c>1h2m3s</c>, <c>00:12</c>, <c>1:02:03.5</c>, <c>500 ms</c>, with or
    /// without <c>&lt;&gt;</c> around them, and spans of two of them: <c>3 - 5 seconds</c>, <c>&lt;3.0 seconds&gt; to &lt;5.0 seconds&gt;</c>,
    /// <c>between 0:03 and 0:05</c>. A number without a unit counts only where a span gives it one; <c>5 m</c> alone is metres,
    /// <c>3:45 pm</c> the time of day and <c>the 1990s</c> no time of a film.
    /// </remarks>
    /// <param name="text">Any text.</param>
    /// <returns>in order of the text, none overlapping</returns>
    public static IReadOnlyList<TimeMention> Find(string text)
    {
        ArgumentNullException.ThrowIfNull(text);
        List<TimeMention> found = [];
        int at = 0;
        while (at < text.Length)
        {
            if (!char.IsAsciiDigit(text[at]) || !BeginsNumber(text, at))
            {
                at++;
                continue;
            }

            if (Read(text, at, bareNumbers: false) is { } mention)
            {
                found.Add(mention);
                at = mention.Offset + mention.Length;
            }
            else
            {
                at = SkipNumber(text, at);
            }
        }

        return found;
    }

    /// <summary>Reads a text that is nothing but a time or a span; a number without a unit is seconds.</summary>
    /// <param name="text">As for <see cref="Find"/>; <c>12.5</c> and <c>12.5-15</c>, too.</param>
    /// <param name="mention">The time.</param>
    public static bool TryParse(string text, out TimeMention mention)
    {
        ArgumentNullException.ThrowIfNull(text);
        mention = default;
        int begin = 0;
        while (begin < text.Length && IsOpening(text[begin]))
        {
            begin++;
        }

        if (
            begin >= text.Length
            || !char.IsAsciiDigit(text[begin])
            || Read(text, begin, bareNumbers: true) is not { } read
        )
        {
            return false;
        }

        int end = read.Offset + read.Length;
        while (end < text.Length && (IsClosing(text[end]) || text[end] is '.'))
        {
            end++;
        }

        mention = read;
        return end == text.Length;
    }

    /// <summary>A time at a place of the text, and if a second one follows that belongs to it, the span.</summary>
    static TimeMention? Read(string text, int at, bool bareNumbers)
    {
        Part? first = ReadPart(text, at);
        if (first is not { } start)
        {
            return null;
        }

        int next = Separator(text, start.End, SaysBetween(text, at));
        if (next > 0 && next < text.Length && ReadPart(text, next) is { } end && (end.HasUnit || bareNumbers))
        {
            // 3 - 5 minutes: the unit holds for both. 1 min - 30 would be a guess.
            double from = start.HasUnit ? start.Seconds : start.Seconds * end.Unit;
            if (!start.HasUnit || end.HasUnit)
            {
                double to = end.Seconds;
                return new(Math.Min(from, to), Math.Max(from, to), at, end.End - at);
            }
        }

        return start.HasUnit || bareNumbers ? new(start.Seconds, start.Seconds, at, start.End - at) : null;
    }

    /// <summary>One time: seconds, the seconds of its last unit, and where it ends.</summary>
    readonly record struct Part(double Seconds, bool HasUnit, double Unit, int End);

    static Part? ReadPart(string text, int at) => ReadClock(text, at) ?? ReadUnits(text, at);

    /// <summary>12:34, 1:02:03, 0:12.5</summary>
    static Part? ReadClock(string text, int at)
    {
        int end = at;
        double seconds = 0;
        int fields = 0;
        while (true)
        {
            int begin = end;
            end = Digits(text, begin);
            int digits = end - begin;
            if (fields > 0 ? digits != 2 || text[begin] > '5' : digits is < 1 or > 4)
            {
                return null;
            }

            seconds = (seconds * 60) + int.Parse(text.AsSpan(begin, digits), CultureInfo.InvariantCulture);
            fields++;
            if (fields == 3 || end >= text.Length || text[end] != ':')
            {
                break;
            }

            end++;
        }

        if (fields < 2 || (end < text.Length && text[end] == ':'))
        {
            return null;
        }

        if (end + 1 < text.Length && text[end] == '.' && char.IsAsciiDigit(text[end + 1]))
        {
            int begin = end;
            end = Digits(text, end + 1);
            seconds += double.Parse(text.AsSpan(begin, end - begin), CultureInfo.InvariantCulture);
        }

        string word = Word(text, Spaces(text, end));
        bool isTimeOfDay = word is "am" or "pm" or "a" or "p";
        return isTimeOfDay || (end < text.Length && char.IsLetterOrDigit(text[end]))
            ? null
            : new(seconds, HasUnit: true, 1, end);
    }

    /// <summary>12.5 seconds, 2 min 5 s, or a number alone.</summary>
    static Part? ReadUnits(string text, int at)
    {
        double seconds = 0;
        double last = double.PositiveInfinity;
        int end = at;
        while (true)
        {
            int begin = end;
            int after = Number(text, begin, out double value);
            int unitAt = Spaces(text, after);
            string word = Word(text, unitAt);
            double unit = Unit(word);
            bool fits = after > begin && unit > 0 && unit < last;
            if (!fits || IsDecade(text, begin, after, unitAt, word))
            {
                break;
            }

            // "m" is metres, unless hours came before or seconds come behind.
            int behind = Join(text, unitAt + word.Length);
            if (word == "m" && double.IsPositiveInfinity(last) && !SecondsFollow(text, behind))
            {
                break;
            }

            seconds += value * unit;
            last = unit;
            end = unitAt + word.Length;
            if (behind >= text.Length || !char.IsAsciiDigit(text[behind]) || ReadClock(text, behind) is not null)
            {
                break;
            }

            int numberEnd = Number(text, behind, out _);
            if (Unit(Word(text, Spaces(text, numberEnd))) is var following && (following <= 0 || following >= last))
            {
                break;
            }

            end = behind;
        }

        if (!double.IsPositiveInfinity(last))
        {
            return new(seconds, HasUnit: true, last, end);
        }

        end = Number(text, at, out double bare);
        bool isWhole = end > at && (end >= text.Length || !char.IsLetterOrDigit(text[end]));
        return isWhole ? new(bare, HasUnit: false, 1, end) : null;
    }

    static bool SecondsFollow(string text, int at)
    {
        int end = Number(text, at, out _);
        return end > at && Unit(Word(text, Spaces(text, end))) is > 0 and <= 1;
    }

    static double Unit(string word) =>
        word switch
        {
            "h" or "hr" or "hrs" or "hour" or "hours" => 3600,
            "m" or "min" or "mins" or "minute" or "minutes" => 60,
            "s" or "sec" or "secs" or "second" or "seconds" => 1,
            "ms" or "millisecond" or "milliseconds" => 0.001,
            _ => 0,
        };

    static bool IsDecade(string text, int begin, int end, int unitAt, string word) =>
        word == "s"
        && unitAt == end
        && end - begin == 4
        && text[end - 1] == '0'
        && text.AsSpan(0, begin).EndsWith("the ", StringComparison.OrdinalIgnoreCase);

    /// <summary>Where the second time of a span begins, or 0.</summary>
    static int Separator(string text, int at, bool between)
    {
        while (at < text.Length && IsClosing(text[at]))
        {
            at++;
        }

        if (at < text.Length && text[at] is '-' or '\u2013' or '\u2014' or '~' or '\u2192')
        {
            at++;
        }
        else
        {
            string word = Word(text, at);
            if (word is not ("to" or "until" or "till" or "through") && !(between && word is "and"))
            {
                return 0;
            }

            at += word.Length;
        }

        while (at < text.Length && IsOpening(text[at]))
        {
            at++;
        }

        return at < text.Length && char.IsAsciiDigit(text[at]) ? at : 0;
    }

    static bool SaysBetween(string text, int at)
    {
        while (at > 0 && IsOpening(text[at - 1]))
        {
            at--;
        }

        return text.AsSpan(0, at).EndsWith("between", StringComparison.OrdinalIgnoreCase);
    }

    /// <summary>Past what joins the parts of one time: blanks, a comma, "and".</summary>
    static int Join(string text, int at)
    {
        int end = Spaces(text, at);
        if (end < text.Length && text[end] == ',')
        {
            end = Spaces(text, end + 1);
        }

        return Word(text, end) is "and" ? Spaces(text, end + 3) : end;
    }

    static bool BeginsNumber(string text, int at) =>
        at == 0 || !(char.IsLetterOrDigit(text[at - 1]) || text[at - 1] is '.' or ':' or '_' or '/' or '$');

    static int SkipNumber(string text, int at)
    {
        while (at < text.Length && (char.IsAsciiDigit(text[at]) || text[at] is '.' or ':' or ','))
        {
            at++;
        }

        return at;
    }

    static int Number(string text, int at, out double value)
    {
        int end = Digits(text, at);
        if (end > at && end + 1 < text.Length && text[end] == '.' && char.IsAsciiDigit(text[end + 1]))
        {
            end = Digits(text, end + 1);
        }

        value = end > at ? double.Parse(text.AsSpan(at, end - at), CultureInfo.InvariantCulture) : 0;
        return end;
    }

    static int Digits(string text, int at)
    {
        while (at < text.Length && char.IsAsciiDigit(text[at]))
        {
            at++;
        }

        return at;
    }

    static int Spaces(string text, int at)
    {
        while (at < text.Length && text[at] is ' ' or '\u00A0' or '\u202F')
        {
            at++;
        }

        return at;
    }

    /// <summary>The letters at a place, in lower case; at most as many as a word that matters has.</summary>
    static string Word(string text, int at)
    {
        const int Longest = 16;
        int end = at;
        while (end < text.Length && end - at < Longest && char.IsLetter(text[end]))
        {
            end++;
        }

        return text[at..end].ToLowerInvariant();
    }

    static bool IsOpening(char c) => c is ' ' or '<' or '[' or '(' or '"' or '\u00A0';

    static bool IsClosing(char c) => c is ' ' or '>' or ']' or ')' or '"' or '\u00A0';
}
