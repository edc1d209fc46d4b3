using System.Globalization;
using System.Numerics;

namespace VlmSharp.Text.Templates;

/// <content>str.format.</content>
internal sealed partial class PythonFormat
{
    /// <summary><c>format.format(*arguments)</c>.</summary>
    public static TextValue Braces(Interpreter interpreter, TextValue format, Arguments arguments)
    {
        PythonFormat formatter = new(interpreter, format);
        int automatic = 0;
        formatter.AppendBraces(format.Text, arguments, ref automatic, depth: 2);
        return formatter.Result();
    }

    void AppendBraces(string text, Arguments arguments, ref int automatic, int depth)
    {
        if (depth == 0)
        {
            throw new EvaluationException("Max string recursion exceeded");
        }

        for (int i = 0; i < text.Length; i++)
        {
            char c = text[i];
            if (c is not ('{' or '}'))
            {
                builder.Append(c, user: false);
            }
            else if (i + 1 < text.Length && text[i + 1] == c)
            {
                builder.Append(c, user: false);
                i++;
            }
            else if (c == '}')
            {
                throw new EvaluationException("Single '}' encountered in format string");
            }
            else
            {
                int end = FieldEnd(text, i + 1);
                AppendField(text[(i + 1)..end], arguments, ref automatic, depth);
                i = end;
            }
        }
    }

    static int FieldEnd(string text, int start)
    {
        int open = 1;
        for (int i = start; i < text.Length; i++)
        {
            open += text[i] switch
            {
                '{' => 1,
                '}' => -1,
                _ => 0,
            };
            if (open == 0)
            {
                return i;
            }
        }

        throw new EvaluationException("expected '}' before end of string");
    }

    void AppendField(string field, Arguments arguments, ref int automatic, int depth)
    {
        interpreter.Step();
        int end = field.AsSpan().IndexOfAny('!', ':');
        // An index in brackets may hold both characters.
        int bracket = field.IndexOf('[');
        if (bracket >= 0 && bracket < end)
        {
            int close = field.IndexOf(']', bracket);
            int after = close < 0 ? -1 : field.AsSpan(close).IndexOfAny('!', ':');
            end = after < 0 ? -1 : close + after;
        }

        string name = end < 0 ? field : field[..end];
        string rest = end < 0 ? "" : field[end..];
        TemplateValue value = FindField(name, arguments, ref automatic);
        if (rest.StartsWith('!'))
        {
            if (rest.Length < 2 || rest[1] is not ('s' or 'r' or 'a') || (rest.Length > 2 && rest[2] != ':'))
            {
                throw new EvaluationException("expected '!s', '!r' or '!a' and then ':' or '}' in format string");
            }

            value = Convert(value, rest[1]);
            rest = rest[2..];
        }

        string specification = rest.Length > 0 ? rest[1..] : "";
        if (specification.Contains('{'))
        {
            PythonFormat nested = new(interpreter, TextValue.Empty);
            nested.AppendBraces(specification, arguments, ref automatic, depth - 1);
            TextValue expanded = nested.builder.ToValue();
            AppendFormatted(value, expanded.Text, expanded.Spans.Any);
        }
        else
        {
            AppendFormatted(value, specification, user: false);
        }
    }

    TemplateValue FindField(string name, Arguments arguments, ref int automatic)
    {
        int end = name.AsSpan().IndexOfAny('.', '[');
        string first = end < 0 ? name : name[..end];
        bool isAutomatic = first.Length == 0;
        bool isIndex = int.TryParse(first, NumberStyles.None, CultureInfo.InvariantCulture, out int index);
        if (isAutomatic ? automatic < 0 : isIndex && automatic > 0)
        {
            throw new EvaluationException("cannot mix automatic field numbering and manual field specification");
        }

        if (isAutomatic)
        {
            index = automatic++;
        }
        else if (isIndex)
        {
            automatic = -1;
        }

        TemplateValue value =
            isAutomatic || isIndex
                ? arguments.At(index)
                    ?? throw new EvaluationException(
                        $"Replacement index {index} out of range for positional args tuple"
                    )
                : arguments.Named(first) ?? throw new EvaluationException(PythonRepr.Quote(first));

        string rest = end < 0 ? "" : name[end..];
        while (rest.Length > 0)
        {
            if (rest[0] == '.')
            {
                int stop = rest.AsSpan(1).IndexOfAny('.', '[') + 1;
                stop = stop == 0 ? rest.Length : stop;
                value = interpreter.GetAttribute(value, TextValue.Create(rest[1..stop]));
                rest = rest[stop..];
            }
            else
            {
                int close = rest.IndexOf(']');
                if (rest[0] != '[' || close < 0)
                {
                    throw new EvaluationException("Missing ']' in format string");
                }

                string key = rest[1..close];
                TemplateValue item = BigInteger.TryParse(
                    key,
                    NumberStyles.None,
                    CultureInfo.InvariantCulture,
                    out BigInteger number
                )
                    ? IntegerValue.Create(number)
                    : TextValue.Create(key);
                value = interpreter.GetItem(value, item);
                rest = rest[(close + 1)..];
            }
        }

        return value;
    }

    /// <summary>format(value, specification); see Python's format specification mini-language.</summary>
    void AppendFormatted(TemplateValue value, string specification, bool user)
    {
        if (specification.Length == 0)
        {
            builder.Append(Escaped(PythonRepr.ToText(interpreter, value)));
            return;
        }

        FormatSpecification spec = FormatSpecification.Parse(specification, CheckedSize);
        switch (value)
        {
            case TextValue text:
                if (spec.Style.Type is not ('\0' or 's'))
                {
                    throw new EvaluationException($"Unknown format code '{spec.Style.Type}' for object of type 'str'");
                }

                AppendPadded(
                    Truncate(text, spec.Style.Precision),
                    spec.Width,
                    spec.Align is '\0' or '=' ? '<' : spec.Align,
                    spec.Fill,
                    user
                );
                break;
            case IntegerValue or BooleanValue or FloatValue:
                AppendNumber(value, spec, user);
                break;
            default:
                throw new EvaluationException($"unsupported format string passed to {value.TypeName}.__format__");
        }
    }

    void AppendNumber(TemplateValue value, FormatSpecification spec, bool user)
    {
        NumberStyle style = spec.Style;
        if (style.Type == 'c')
        {
            AppendPadded(Character(value), spec.Width, spec.Align == '\0' ? '<' : spec.Align, spec.Fill, user);
            return;
        }

        interpreter.ChargeInteger(value);
        bool isInteger = Python.TryInteger(value, out BigInteger integer);
        (string prefix, string digits) = style.Type switch
        {
            '\0' or 'd' or 'n' or 'b' or 'o' or 'x' or 'X' when isInteger => style.Format(integer),
            '\0' or 'e' or 'E' or 'f' or 'F' or 'g' or 'G' or 'n' or '%' => style.Format(
                ToFloat(value, "a number is required")
            ),
            _ => throw new EvaluationException(
                $"Unknown format code '{style.Type}' for object of type '{value.TypeName}'"
            ),
        };
        if (spec.Align is '=' || (spec.Align == '\0' && spec.ZeroPadded))
        {
            int missing = Math.Max(spec.Width - prefix.Length - digits.Length, 0);
            builder.Append(prefix, user);
            AppendFill(spec.Fill, missing, user);
            builder.Append(digits, user);
        }
        else
        {
            TextValue text = TextValue.Create(prefix + digits, user ? UserSpans.Whole : default);
            AppendPadded(text, spec.Width, spec.Align == '\0' ? '>' : spec.Align, spec.Fill, user);
        }
    }
}

/// <summary><c>[[fill]align][sign][#][0][width][grouping][.precision][type]</c>.</summary>
/// <param name="Fill">The character that pads, one code point.</param>
/// <param name="Align">One of &lt; &gt; ^ = or '\0'.</param>
/// <param name="Width">The minimal width in code points.</param>
/// <param name="ZeroPadded">Whether the width was given with a leading zero.</param>
/// <param name="Style">The rest.</param>
internal readonly record struct FormatSpecification(
    string Fill,
    char Align,
    int Width,
    bool ZeroPadded,
    NumberStyle Style
)
{
    public static FormatSpecification Parse(string text, Func<BigInteger, int> checkedSize)
    {
        int i = 0;
        string fill = " ";
        char align = '\0';
        int fillLength = text.Length > 0 ? CodePoints.LengthAt(text, 0) : 0;
        if (text.Length > fillLength && text[fillLength] is '<' or '>' or '^' or '=')
        {
            (fill, align) = (text[..fillLength], text[fillLength]);
            i = fillLength + 1;
        }
        else if (At() is '<' or '>' or '^' or '=')
        {
            align = text[i++];
        }

        char sign = At() is '+' or '-' or ' ' ? text[i++] : '-';
        bool alternate = Take('#');
        bool zero = At() == '0';
        if (zero)
        {
            i++;
            fill = align == '\0' ? "0" : fill;
        }

        int width = Number() ?? 0;
        char grouping = At() is ',' or '_' ? text[i++] : '\0';
        int? precision = null;
        if (Take('.'))
        {
            precision = Number() ?? throw new EvaluationException("Format specifier missing precision");
        }

        char type = i < text.Length ? text[i++] : '\0';
        return i == text.Length
            ? new(fill, align, width, zero, new NumberStyle(type, precision, sign, alternate, grouping))
            : throw new EvaluationException("Invalid format specifier");

        char At() => i < text.Length ? text[i] : '\0';

        bool Take(char c)
        {
            bool found = At() == c;
            i += found ? 1 : 0;
            return found;
        }

        int? Number()
        {
            int start = i;
            while (char.IsAsciiDigit(At()))
            {
                i++;
            }

            return i == start ? null : checkedSize(PythonNumber.ParseDigits(text.AsSpan(start, i - start), 10));
        }
    }
}
