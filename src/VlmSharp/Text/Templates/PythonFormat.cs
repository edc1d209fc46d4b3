using System.Numerics;
using System.Text;

namespace VlmSharp.Text.Templates;

/// <summary>Python's two ways of formatting: the <c>%</c> operator and <c>str.format</c>.</summary>
internal sealed partial class PythonFormat
{
    readonly Interpreter interpreter;
    readonly TextBuilder builder;
    readonly TextValue format;

    PythonFormat(Interpreter interpreter, TextValue format)
    {
        this.interpreter = interpreter;
        this.format = format;
        builder = interpreter.NewBuilder();
    }

    TextValue Result()
    {
        TextValue result = builder.ToValue();
        // Who writes the format decides what comes out: then nothing of it is the template's own.
        result = format.Spans.Any ? TextValue.Create(result.Text, UserSpans.Whole) : result;
        return format.IsMarkup ? result.AsMarkup() : result;
    }

    /// <summary><c>format % arguments</c>.</summary>
    public static TextValue Percent(Interpreter interpreter, TextValue format, TemplateValue arguments)
    {
        PythonFormat formatter = new(interpreter, format);
        formatter.AppendPercent(arguments);
        return formatter.Result();
    }

    void AppendPercent(TemplateValue arguments)
    {
        List<TemplateValue> values = arguments is TemplateList { IsTuple: true } tuple ? tuple.Items : [arguments];
        TemplateObject? mapping = arguments as TemplateObject;
        int used = 0;
        // Anything with a subscript counts as a mapping, of which nothing need be used.
        bool mayBeUnused =
            arguments is TemplateObject or TemplateList { IsTuple: false } or RangeValue or UndefinedValue;
        string text = format.Text;
        for (int i = 0; i < text.Length; i++)
        {
            if (text[i] != '%')
            {
                int end = text.IndexOf('%', i);
                end = end < 0 ? text.Length : end;
                builder.Append(format, i, end - i);
                i = end - 1;
                continue;
            }

            interpreter.Step();
            i++;
            TemplateValue? keyed = null;
            if (At(i) == '(')
            {
                int close = MatchingParenthesis(i);
                keyed =
                    (mapping ?? throw new EvaluationException("format requires a mapping")).Find(text[(i + 1)..close])
                    ?? throw new EvaluationException(PythonRepr.Quote(text[(i + 1)..close]));
                i = close + 1;
            }

            int flagsStart = i;
            while (At(i) is '-' or '+' or ' ' or '0' or '#')
            {
                i++;
            }

            string flags = text[flagsStart..i];
            int? width = ReadNumber(ref i, NextArgument);
            bool left = flags.Contains('-');
            if (width < 0)
            {
                (width, left) = (-width, true);
            }

            int? precision = null;
            if (At(i) == '.')
            {
                i++;
                precision = Math.Max(ReadNumber(ref i, NextArgument) ?? 0, 0);
            }

            while (At(i) is 'h' or 'l' or 'L')
            {
                i++;
            }

            char type = At(i);
            if (type == '\0')
            {
                throw new EvaluationException("incomplete format");
            }

            if (type == '%')
            {
                builder.Append('%', user: false);
                continue;
            }

            char sign =
                flags.Contains('+') ? '+'
                : flags.Contains(' ') ? ' '
                : '-';
            NumberStyle style = new(type, precision, sign, flags.Contains('#'));
            AppendConverted(keyed ?? NextArgument(), style, width ?? 0, left, flags.Contains('0'));
        }

        if (!mayBeUnused && used < values.Count)
        {
            throw new EvaluationException("not all arguments converted during string formatting");
        }

        char At(int index) => index < text.Length ? text[index] : '\0';

        TemplateValue NextArgument() =>
            used < values.Count
                ? values[used++]
                : throw new EvaluationException("not enough arguments for format string");

        int MatchingParenthesis(int open)
        {
            int depth = 0;
            for (int close = open; close < text.Length; close++)
            {
                depth += text[close] switch
                {
                    '(' => 1,
                    ')' => -1,
                    _ => 0,
                };
                if (depth == 0)
                {
                    return close;
                }
            }

            throw new EvaluationException("incomplete format key");
        }
    }

    int? ReadNumber(ref int position, Func<TemplateValue> next)
    {
        string text = format.Text;
        if (position < text.Length && text[position] == '*')
        {
            position++;
            return Python.TryInteger(next(), out BigInteger given)
                ? CheckedSize(given)
                : throw new EvaluationException("* wants int");
        }

        int start = position;
        while (position < text.Length && char.IsAsciiDigit(text[position]))
        {
            position++;
        }

        return position == start
            ? null
            : CheckedSize(PythonNumber.ParseDigits(text.AsSpan(start, position - start), 10));
    }

    int CheckedSize(BigInteger size) => (int)interpreter.CheckLength(size);

    void AppendConverted(TemplateValue value, NumberStyle style, int width, bool left, bool zeros)
    {
        switch (style.Type)
        {
            case 's' or 'r' or 'a':
                TextValue text = Escaped(Convert(value, style.Type));
                AppendPadded(Truncate(text, style.Precision), width, left ? '<' : '>', " ", user: false);
                break;
            case 'c':
                // A character made from a number may have been made from the user's number.
                AppendPadded(Character(value), width, left ? '<' : '>', " ", user: false);
                break;
            case 'd' or 'i' or 'u' or 'x' or 'X' or 'o' or 'e' or 'E' or 'f' or 'F' or 'g' or 'G':
                interpreter.ChargeInteger(value);
                (string prefix, string digits) = FormatPercentNumber(value, style);
                int missing = Math.Max(width - prefix.Length - digits.Length, 0);
                builder.Append(' ', left || zeros ? 0 : missing, user: false);
                builder.Append(prefix, user: false);
                builder.Append('0', zeros && !left ? missing : 0, user: false);
                builder.Append(digits, user: false);
                builder.Append(' ', left ? missing : 0, user: false);
                break;
            default:
                throw new EvaluationException($"unsupported format character '{style.Type}'");
        }
    }

    static (string Prefix, string Digits) FormatPercentNumber(TemplateValue value, NumberStyle style)
    {
        if (style.Type is 'e' or 'E' or 'f' or 'F' or 'g' or 'G')
        {
            return style.Format(ToFloat(value, "must be real number, not " + value.TypeName));
        }

        bool real = Python.TryInteger(value, out BigInteger integer);
        if (!real && value is FloatValue number && style.Type is 'd' or 'i' or 'u' && double.IsFinite(number.Value))
        {
            (integer, real) = (new BigInteger(number.Value), true);
        }

        if (!real)
        {
            string needed = style.Type is 'd' or 'i' or 'u' ? "a real number" : "an integer";
            throw new EvaluationException($"%{style.Type} format: {needed} is required, not {value.TypeName}");
        }

        char type = style.Type is 'i' or 'u' ? 'd' : style.Type;
        (string prefix, string digits) = (style with { Type = type }).Format(integer);
        return (prefix, digits.PadLeft(style.Precision ?? 0, '0'));
    }

    static double ToFloat(TemplateValue value, string problem) =>
        value switch
        {
            FloatValue number => number.Value,
            _ when Python.TryInteger(value, out BigInteger integer) => (double)integer,
            _ => throw new EvaluationException(problem),
        };

    /// <summary>What is put into Markup is escaped.</summary>
    TextValue Escaped(TextValue text) => format.IsMarkup && !text.IsMarkup ? Filters.Escape(interpreter, text) : text;

    TextValue Convert(TemplateValue value, char conversion)
    {
        if (conversion == 's')
        {
            return PythonRepr.ToText(interpreter, value);
        }

        TextBuilder repr = interpreter.NewBuilder();
        PythonRepr.AppendRepr(interpreter, repr, value);
        TextValue text = repr.ToValue();
        return conversion == 'r' ? text : EscapeNonAscii(text);
    }

    static TextValue EscapeNonAscii(TextValue value)
    {
        StringBuilder ascii = new();
        for (int i = 0; i < value.Text.Length; i += CodePoints.LengthAt(value.Text, i))
        {
            int c = CodePoints.At(value.Text, i);
            _ = c switch
            {
                < 0x80 => ascii.Append((char)c),
                <= 0xFF => ascii.Append($"\\x{c:x2}"),
                <= 0xFFFF => ascii.Append($"\\u{c:x4}"),
                _ => ascii.Append($"\\U{c:x8}"),
            };
        }

        return TextValue.Derived(ascii.ToString(), value);
    }

    static TextValue Truncate(TextValue text, int? precision) =>
        precision is { } length && length < text.Count ? text.Slice(0, CodePoints.Offset(text, length)) : text;

    static TextValue Character(TemplateValue value)
    {
        if (value is TextValue { Count: 1 } text)
        {
            return text;
        }

        if (!Python.TryInteger(value, out BigInteger code))
        {
            throw new EvaluationException("%c requires int or char");
        }

        if (code < 0 || code > 0x10FFFF)
        {
            throw new EvaluationException("%c arg not in range(0x110000)");
        }

        string character = code < 0x10000 ? ((char)(int)code).ToString() : char.ConvertFromUtf32((int)code);
        return TextValue.Create(character, UserSpans.Whole);
    }

    void AppendPadded(TextValue text, int width, char align, string fill, bool user)
    {
        int missing = Math.Max(width - text.Count, 0);
        int before = align switch
        {
            '<' => 0,
            '^' => missing / 2,
            _ => missing,
        };
        AppendFill(fill, before, user);
        builder.Append(text);
        AppendFill(fill, missing - before, user);
    }

    void AppendFill(string fill, int count, bool user)
    {
        interpreter.ChargeText(count);
        for (int i = 0; i < count; i++)
        {
            builder.Append(fill, user);
        }
    }
}
