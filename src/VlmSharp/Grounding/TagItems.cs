using System.Globalization;

namespace VlmSharp.Grounding;

/// <summary>Reads names, boxes and quads between tags, as Qwen-VL and Qwen2-VL write them.</summary>
/// <remarks>A name belongs to every box and quad that directly follows it; text between them, even a blank, parts them.</remarks>
static class TagItems
{
    internal static readonly Tags QwenVL = new("<ref>", "</ref>", "<box>", "</box>", "<quad>", "</quad>");

    internal static readonly Tags Qwen2VL = new(
        "<|object_ref_start|>",
        "<|object_ref_end|>",
        "<|box_start|>",
        "<|box_end|>",
        "<|quad_start|>",
        "<|quad_end|>"
    );

    internal static Findings Read(string text, int start, Tags tags)
    {
        Findings findings = new();
        string? name = null;
        int nameEnd = -1; // where the name, or the last item that is its own, ends
        int at = start;
        while (Next(text, at, tags) is var (tag, found))
        {
            at = found + tag.Length;
            if (tag != tags.Name && tag != tags.Box && tag != tags.Quad)
            {
                continue; // the end of nothing
            }

            string end =
                tag == tags.Name ? tags.NameEnd
                : tag == tags.Box ? tags.BoxEnd
                : tags.QuadEnd;
            if (Next(text, at, tags) is not var (following, close))
            {
                findings.Errors.Add((found, GroundingError.Truncated));
                break;
            }

            if (following != end)
            {
                // Never closed; what comes next is read for itself.
                if (tag != tags.Name)
                {
                    findings.Errors.Add((found, GroundingError.Malformed));
                }

                at = close;
                continue;
            }

            TextRange inside = new(at, close);
            at = close + end.Length;
            if (tag == tags.Name)
            {
                (name, nameEnd) = (inside.Of(text).Trim().ToString(), at);
                continue;
            }

            string? label = nameEnd == found ? name : null;
            nameEnd = nameEnd == found ? at : -1;
            List<double> numbers = ReadPairs(text, inside, out TextRange range);
            GroundedKind? kind = (tag == tags.Quad, numbers.Count) switch
            {
                (false, 2) => GroundedKind.Point,
                (false, 4) => GroundedKind.Box,
                (true, 8) => GroundedKind.Quad,
                _ => null,
            };
            if (kind is { } shape)
            {
                findings.Items.Add(new(label, shape, numbers, new(found, at), range));
            }
            else
            {
                findings.Errors.Add((found, GroundingError.Malformed));
            }
        }

        return findings;
    }

    /// <summary>(x,y),(x,y),... with blanks anywhere between; nothing if there is anything else.</summary>
    static List<double> ReadPairs(string text, TextRange inside, out TextRange range)
    {
        List<double> numbers = [];
        (int first, int last) = (-1, -1);
        int at = inside.Start;
        while (true)
        {
            SkipBlanks();
            if (at == inside.End)
            {
                range = new(first, last);
                return numbers;
            }

            if (
                (numbers.Count > 0 && !Take(','))
                || !Take('(')
                || !TakeNumber()
                || !Take(',')
                || !TakeNumber()
                || !Take(')')
            )
            {
                range = default;
                return [];
            }
        }

        void SkipBlanks()
        {
            while (at < inside.End && char.IsWhiteSpace(text[at]))
            {
                at++;
            }
        }

        bool Take(char character)
        {
            SkipBlanks();
            if (at == inside.End || text[at] != character)
            {
                return false;
            }

            at++;
            return true;
        }

        bool TakeNumber()
        {
            SkipBlanks();
            int from = at;
            while (at < inside.End && (char.IsAsciiDigit(text[at]) || "+-.".Contains(text[at])))
            {
                at++;
            }

            if (Decimals.Read(text.AsSpan(from, at - from)) is not { } number)
            {
                return false;
            }

            numbers.Add(number);
            (first, last) = (first < 0 ? from : first, at);
            return true;
        }
    }

    static (string Tag, int At)? Next(string text, int from, Tags tags)
    {
        for (int at = text.IndexOf('<', from); at >= 0; at = text.IndexOf('<', at + 1))
        {
            foreach (string tag in tags.All)
            {
                if (text.AsSpan(at).StartsWith(tag))
                {
                    return (tag, at);
                }
            }
        }

        return null;
    }

    internal sealed record Tags(string Name, string NameEnd, string Box, string BoxEnd, string Quad, string QuadEnd)
    {
        internal string[] All { get; } = [Name, NameEnd, Box, BoxEnd, Quad, QuadEnd];
    }
}

/// <summary>Numbers as models write them.</summary>
static class Decimals
{
    /// <summary>A finite decimal number; null if it is anything else.</summary>
    internal static double? Read(ReadOnlySpan<char> text) =>
        double.TryParse(
            text,
            NumberStyles.AllowLeadingSign | NumberStyles.AllowDecimalPoint | NumberStyles.AllowExponent,
            CultureInfo.InvariantCulture,
            out double number
        ) && double.IsFinite(number)
            ? number
            : null;
}
