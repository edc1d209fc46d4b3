using System.Globalization;
using System.Text;

namespace VlmSharp.Grounding;

/// <summary>Reads <c>bbox_2d</c> and <c>point_2d</c> of JSON that a model wrote: fenced or not, among sentences, as Python literals, cut off.</summary>
/// <remarks>
/// One pass with a stack of open brackets, so that no text takes more than linear time. Text outside brackets is prose. Brackets
/// whose content cannot be JSON are prose, too, unless a key was read in them before: then the object or list that broke is left
/// out up to its closing bracket, and what stands around it goes on. A quote ends a string only where a comma, a colon, a
/// closing bracket or the end follows, so that apostrophes and inches in labels do no harm.
/// </remarks>
sealed class JsonItems
{
    const string Box = "bbox_2d";
    const string Point = "point_2d";
    const string Fence = "```";

    readonly string text;
    readonly Findings findings = new();
    readonly List<Bracket> stack = [];
    int at;
    int squares; // open [
    int nextFence = -1;
    bool hasItems; // an item was read since the outermost open bracket
    bool credible; // a key was read since the outermost open bracket

    JsonItems(string text, int start)
    {
        this.text = text;
        at = start;
    }

    internal static Findings Read(string text, int start)
    {
        JsonItems reader = new(text, start);
        reader.Read();
        return reader.findings;
    }

    void Read()
    {
        while (at < text.Length)
        {
            if (stack.Count == 0)
            {
                int open = text.AsSpan(at).IndexOfAny('[', '{');
                if (open < 0)
                {
                    return;
                }

                at += open;
            }

            Step();
        }

        if (stack.Count > 0)
        {
            // "[1" at the end of a sentence is no list of items.
            if (credible || stack.TrueForAll(b => b.Open == '{' || !b.HasScalars))
            {
                findings.Errors.Add((stack[0].Start, GroundingError.Truncated));
            }

            Leave();
        }
    }

    void Step()
    {
        char c = text[at];
        Bracket? top = stack.Count > 0 ? stack[^1] : null;
        switch (c)
        {
            case '[' or '{':
            case '(' when top is { Broken: false }:
                Open(c);
                break;
            case ']' or '}' or ')':
                Close(c);
                break;
            case '`' when text.AsSpan(at).StartsWith(Fence):
                // A fence ends the block, whatever is still open.
                foreach (Bracket bracket in stack)
                {
                    bracket.Broken = true;
                    Spoil(bracket);
                }

                Leave();
                at += Fence.Length;
                break;
            case '"':
            case '\'' when top is { Broken: false }:
                ReadString(top!, c);
                break;
            default:
                if (char.IsWhiteSpace(c) || top is null or { Broken: true })
                {
                    at++;
                }
                else if (c == ',')
                {
                    at++;
                    if (top.State == State.AfterValue)
                    {
                        top.State = top.Open == '{' ? State.Key : State.Value;
                    }
                    else
                    {
                        Violate();
                    }
                }
                else if (c == ':' && top.State == State.Colon)
                {
                    at++;
                    top.State = State.Value;
                    credible = true;
                }
                else
                {
                    ReadScalar(top);
                }

                break;
        }
    }

    void Open(char c)
    {
        if (stack.Count > 0 && stack[^1] is { Broken: false } parent && !ValueMayStandHere(parent, c))
        {
            Violate();
            if (stack.Count == 0)
            {
                return; // read again, as the beginning of something
            }
        }

        squares += c == '[' ? 1 : 0;
        stack.Add(new(c, at++));
    }

    // A comma forgotten between two objects is forgiven.
    static bool ValueMayStandHere(Bracket bracket, char c) =>
        bracket.State == State.Value || (bracket.State == State.AfterValue && bracket.Open == '[' && c == '{');

    void Close(char c)
    {
        char open =
            c == ']' ? '['
            : c == '}' ? '{'
            : '(';
        if (stack[^1].Open != open)
        {
            // Another one that is open further out? Those within were never closed.
            int curly = stack.Count - squares; // with a few round ones; they are looked at below
            if (open == '(' || (open == '[' ? squares : curly) == 0)
            {
                Violate();
                at++;
                return;
            }

            while (stack.Count > 0 && stack[^1].Open != open)
            {
                stack[^1].Broken = true;
                Pop(at);
            }

            if (stack.Count == 0)
            {
                at++;
                return;
            }
        }

        if (stack[^1] is { Open: '{', State: State.Colon } or { Open: '{', State: State.Value })
        {
            stack[^1].Broken = true;
        }

        Pop(++at);
    }

    /// <summary>Ends the innermost bracket and hands what it was to the one around it.</summary>
    void Pop(int end)
    {
        Bracket bracket = stack[^1];
        stack.RemoveAt(stack.Count - 1);
        squares -= bracket.Open == '[' ? 1 : 0;
        Spoil(bracket);
        if (!bracket.Broken)
        {
            foreach ((GroundedKind kind, List<double> numbers, TextRange range) in bracket.Shapes)
            {
                findings.Items.Add(
                    new(bracket.Label ?? bracket.TextContent, kind, numbers, new(bracket.Start, end), range)
                );
                hasItems = true;
            }
        }

        if (stack.Count > 0)
        {
            stack[^1].HasScalars |= bracket.HasScalars && bracket.Open != '{';
            Deliver(
                stack[^1],
                bracket.Open == '{' || bracket.Broken ? null : bracket.Numbers,
                bracket.NumberRange,
                null
            );
        }
        else
        {
            Finish(bracket.Start, end);
        }
    }

    void Finish(int start, int end)
    {
        if (hasItems)
        {
            findings.Regions.Add(new(start, end));
        }

        hasItems = false;
        credible = false;
    }

    /// <summary>Gives up all open brackets.</summary>
    void Leave()
    {
        if (stack.Count > 0)
        {
            int start = stack[0].Start;
            stack.Clear();
            squares = 0;
            Finish(start, at);
        }
    }

    /// <summary>An object that broke is an error if it was to be an item.</summary>
    void Spoil(Bracket bracket)
    {
        if (bracket is { Broken: true, IsItem: true })
        {
            findings.Errors.Add((bracket.Start, GroundingError.Malformed));
        }
    }

    void Violate()
    {
        if (credible)
        {
            stack[^1].Broken = true;
        }
        else
        {
            Leave();
        }
    }

    /// <summary>A value has been read.</summary>
    /// <param name="to">The bracket it stands in.</param>
    /// <param name="numbers">Of a list of numbers, else null.</param>
    /// <param name="range">Where the numbers stand.</param>
    /// <param name="label">The value as a label, null if it is none.</param>
    void Deliver(Bracket to, List<double>? numbers, TextRange range, string? label)
    {
        if (to.Broken)
        {
            return;
        }

        to.State = State.AfterValue;
        if (to.Open != '{')
        {
            to.Numbers = null; // a list with something else than numbers in it
            return;
        }

        if (to.Key is Box or Point)
        {
            if (numbers?.Count == (to.Key == Box ? 4 : 2))
            {
                to.Shapes.Add((to.Key == Box ? GroundedKind.Box : GroundedKind.Point, numbers, range));
            }
            else
            {
                findings.Errors.Add((to.Start, GroundingError.Malformed));
            }
        }
        else if (to.Key == "label")
        {
            to.Label = label;
        }
        else if (to.Key == "text_content")
        {
            to.TextContent = label;
        }
    }

    void ReadScalar(Bracket top)
    {
        if (top.State != State.Value)
        {
            Violate();
            return;
        }

        int from = at;
        while (at < text.Length && (char.IsAsciiLetterOrDigit(text[at]) || "+-._".Contains(text[at])))
        {
            at++;
        }

        ReadOnlySpan<char> word = text.AsSpan(from, at - from);
        top.HasScalars = true;
        if (Decimals.Read(word) is { } number)
        {
            if (top.Open == '{')
            {
                Deliver(top, null, default, word.ToString());
            }
            else
            {
                top.State = State.AfterValue;
                top.Numbers?.Add(number);
                top.NumberRange = new(top.NumberRange.Length == 0 ? from : top.NumberRange.Start, at);
            }
        }
        else if (word is "null" or "None")
        {
            Deliver(top, null, default, null);
        }
        else if (word is "true" or "false" or "True" or "False" or "NaN" or "Infinity" or "-Infinity")
        {
            Deliver(top, null, default, word.ToString());
        }
        else
        {
            Violate();
        }
    }

    void ReadString(Bracket top, char quote)
    {
        int from = at;
        if (nextFence < at)
        {
            nextFence = text.IndexOf(Fence, at, StringComparison.Ordinal) is >= 0 and int found ? found : text.Length;
        }

        int close = at + 1;
        bool escapes = false;
        while (close < nextFence && !(text[close] == quote && MayEnd(close)))
        {
            escapes |= text[close] == '\\';
            close += text[close] == '\\' ? 2 : 1;
        }

        if (close >= nextFence)
        {
            // Never closed: the fence or the end of the text comes next.
            at = nextFence;
            if (at < text.Length && stack.Count > 0)
            {
                Violate();
            }

            return;
        }

        at = close + 1;
        string value = escapes ? Unescape(text.AsSpan(from + 1, close - from - 1)) : text[(from + 1)..close];
        top.IsItem |= value is Box or Point && top.Open == '{' && (top.Broken || top.State != State.Value);
        if (top.Broken)
        {
            return;
        }

        if (top.State == State.Value)
        {
            top.HasScalars = true;
            Deliver(top, null, default, value);
        }
        else if (top.Open == '{' && top.State is State.Key or State.AfterValue)
        {
            top.Key = value;
            top.State = State.Colon;
        }
        else
        {
            Violate();
        }
    }

    bool MayEnd(int quote)
    {
        int next = quote + 1;
        while (next < text.Length && char.IsWhiteSpace(text[next]))
        {
            next++;
        }

        return next == text.Length || ",:]})`".Contains(text[next]);
    }

    /// <summary>Escapes of JSON and Python; others stay as they are, halves of characters become U+FFFD.</summary>
    static string Unescape(ReadOnlySpan<char> escaped)
    {
        StringBuilder plain = new(escaped.Length);
        for (int i = 0; i < escaped.Length; i++)
        {
            if (escaped[i] != '\\' || i + 1 == escaped.Length)
            {
                plain.Append(escaped[i]);
                continue;
            }

            char code = escaped[++i];
            int digits = code switch
            {
                'x' => 2,
                'u' => 4,
                'U' => 8,
                _ => 0,
            };
            if (
                digits > 0
                && i + digits < escaped.Length
                && int.TryParse(
                    escaped.Slice(i + 1, digits),
                    NumberStyles.AllowHexSpecifier,
                    CultureInfo.InvariantCulture,
                    out int scalar
                )
                && (digits < 8 || Rune.IsValid(scalar))
            )
            {
                plain.Append(digits == 8 ? char.ConvertFromUtf32(scalar) : ((char)scalar).ToString());
                i += digits;
                continue;
            }

            plain.Append(
                code switch
                {
                    'n' => "\n",
                    't' => "\t",
                    'r' => "\r",
                    'b' => "\b",
                    'f' => "\f",
                    '"' or '\'' or '\\' or '/' => code.ToString(),
                    '\n' => "", // a line that goes on
                    _ => $"\\{code}",
                }
            );
        }

        string read = plain.ToString();
        return read.AsSpan().ContainsAnyInRange('\ud800', '\udfff')
            ? string.Concat(read.EnumerateRunes().Select(rune => rune.ToString()))
            : read;
    }

    enum State
    {
        Value,
        AfterValue,
        Key,
        Colon,
    }

    /// <summary>An open bracket and what was read in it so far.</summary>
    sealed class Bracket(char open, int start)
    {
        internal char Open { get; } = open;
        internal int Start { get; } = start;
        internal State State { get; set; } = open == '{' ? State.Key : State.Value;
        internal bool Broken { get; set; }
        internal bool HasScalars { get; set; }

        // Of a list.
        internal List<double>? Numbers { get; set; } = open == '{' ? null : [];
        internal TextRange NumberRange { get; set; }

        // Of an object.
        internal bool IsItem { get; set; }
        internal string? Key { get; set; }
        internal string? Label { get; set; }
        internal string? TextContent { get; set; }
        internal List<(GroundedKind Kind, List<double> Numbers, TextRange Range)> Shapes { get; } = [];
    }
}
