namespace VlmSharp.Chat.Replies;

/// <summary>Follows one JSON object or list character by character, and knows at each whether it can still become one (RFC 8259).</summary>
/// <remarks>
/// Stricter than the grammar in three points, so that whatever was recognised can be read: halves of surrogate pairs, numbers of more than
/// <see cref="MaxNumberLength"/> characters and nesting deeper than <see cref="MaxDepth"/> are refused.
/// </remarks>
sealed class JsonScanner
{
    public const int MaxDepth = 128;
    const int MaxNumberLength = 4300; // Python's limit, which chat templates have too

    enum State : byte
    {
        Start,
        FirstKey,
        Key,
        Colon,
        FirstItem,
        Value,
        Comma,
        Text,
        Escape,
        Hex,
        Literal,

        // Parts of a number; those behind which it may end come last.
        Minus,
        Point,
        Exponent,
        ExponentSign,
        Zero,
        Digits,
        Fraction,
        ExponentDigits,

        End,
        Broken,
    }

    enum Half : byte
    {
        None,
        Written,
        Escaped,
    }

    readonly bool[] isObject = new bool[MaxDepth]; // [depth], the kind of each open container
    State state;
    string literal = "";
    int count; // of characters of a literal, a number, or digits of an escape
    int unit; // value of an escape
    bool isKey; // the string that is being read, or was read last
    Half high; // a high surrogate waits for its other half

    /// <summary>How many objects and lists are open.</summary>
    public int Depth { get; private set; }

    /// <summary>Whether the last character belongs to a string, its closing quote excepted.</summary>
    public bool InText => state is State.Text or State.Escape or State.Hex;

    /// <summary>Whether the string that ended last was a key.</summary>
    public bool AfterKey => state == State.Colon;

    /// <summary>Whether the outermost object or list has ended.</summary>
    public bool IsComplete => state == State.End;

    /// <summary>Takes the next character.</summary>
    /// <returns>Whether the text can still become JSON with nothing but blanks around it.</returns>
    public bool Push(char c)
    {
        state = Next(c);
        return state != State.Broken;
    }

    State Next(char c)
    {
        switch (state)
        {
            case State.Text:
                return InString(c);
            case State.Escape:
                return Escaped(c);
            case State.Hex:
                return HexDigit(c);
            case State.Literal:
                return c != literal[count] ? State.Broken
                    : ++count == literal.Length ? State.Comma
                    : State.Literal;
            case >= State.Minus and <= State.ExponentDigits:
                return InNumber(c);
        }

        if (c is ' ' or '\t' or '\n' or '\r')
        {
            return state;
        }

        return (state, c) switch
        {
            (State.Start, '{' or '[') => Open(c == '{'),
            (State.FirstKey or State.Key, '"') => BeginText(),
            (State.Colon, ':') => State.Value,
            (State.Comma, ',') => isObject[Depth - 1] ? State.Key : State.Value,
            (State.FirstKey, '}') or (State.FirstItem, ']') => Close(),
            (State.Comma, '}' or ']') when isObject[Depth - 1] == (c == '}') => Close(),
            (State.Value or State.FirstItem, _) => BeginValue(c),
            _ => State.Broken,
        };
    }

    State BeginValue(char c)
    {
        count = 1;
        switch (c)
        {
            case '{' or '[':
                return Open(c == '{');
            case '"':
                return BeginText();
            case '-':
                return State.Minus;
            case '0':
                return State.Zero;
            case >= '1' and <= '9':
                return State.Digits;
            case 't' or 'f' or 'n':
                literal =
                    c == 't' ? "true"
                    : c == 'f' ? "false"
                    : "null";
                return State.Literal;
            default:
                return State.Broken;
        }
    }

    State Open(bool asObject)
    {
        if (Depth == MaxDepth)
        {
            return State.Broken;
        }

        isObject[Depth++] = asObject;
        return asObject ? State.FirstKey : State.FirstItem;
    }

    State Close() => --Depth == 0 ? State.End : State.Comma;

    State BeginText()
    {
        isKey = state is State.FirstKey or State.Key;
        return State.Text;
    }

    State InString(char c) =>
        c switch
        {
            '"' when high != Half.None => State.Broken,
            '"' => isKey ? State.Colon : State.Comma,
            '\\' => State.Escape,
            < ' ' => State.Broken,
            _ => Unit(c, Half.Written),
        };

    State Escaped(char c)
    {
        (count, unit) = (0, 0);
        return c switch
        {
            'u' => State.Hex,
            '"' or '\\' or '/' or 'b' or 'f' or 'n' or 'r' or 't' => Unit(c, Half.Escaped),
            _ => State.Broken,
        };
    }

    State HexDigit(char c)
    {
        if (!char.IsAsciiHexDigit(c))
        {
            return State.Broken;
        }

        unit = unit * 16 + (char.IsAsciiDigit(c) ? c - '0' : (c | 0x20) - 'a' + 10);
        return ++count < 4 ? State.Hex : Unit((char)unit, Half.Escaped);
    }

    /// <summary>A UTF-16 unit of a string; the halves of a pair follow each other and are written in the same way.</summary>
    State Unit(char c, Half way)
    {
        bool completes = char.IsLowSurrogate(c);
        if (completes ? high != way : high != Half.None)
        {
            return State.Broken;
        }

        high = char.IsHighSurrogate(c) ? way : Half.None;
        return State.Text;
    }

    State InNumber(char c)
    {
        if (++count > MaxNumberLength)
        {
            return State.Broken;
        }

        bool digit = char.IsAsciiDigit(c);
        switch (state)
        {
            case State.Minus when digit:
                return c == '0' ? State.Zero : State.Digits;
            case State.Digits or State.Fraction or State.ExponentDigits when digit:
                return state;
            case State.Zero or State.Digits when c == '.':
                return State.Point;
            case State.Point when digit:
                return State.Fraction;
            case State.Zero or State.Digits or State.Fraction when c is 'e' or 'E':
                return State.Exponent;
            case State.Exponent when c is '+' or '-':
                return State.ExponentSign;
            case State.Exponent or State.ExponentSign when digit:
                return State.ExponentDigits;
            case >= State.Zero when !digit:
                state = State.Comma; // what ends a number belongs to what surrounds it
                return Next(c);
            default:
                return State.Broken;
        }
    }
}
