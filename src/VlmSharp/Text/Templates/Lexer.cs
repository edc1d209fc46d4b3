using System.Globalization;
using System.Numerics;
using System.Text;

namespace VlmSharp.Text.Templates;

internal enum TokenKind
{
    Data,
    VariableBegin,
    VariableEnd,
    BlockBegin,
    BlockEnd,
    Name,
    String,
    Number,
    Operator,
    End,
}

/// <param name="Kind">What it is.</param>
/// <param name="Text">Template text, name, operator, or the value of a string literal.</param>
/// <param name="Line">The line it starts in, from 1.</param>
/// <param name="Number">The value of a number.</param>
internal readonly record struct Token(TokenKind Kind, string Text, int Line, TemplateValue? Number = null)
{
    public bool Is(TokenKind kind, string text) => Kind == kind && Text == text;

    public bool IsOperator(string text) => Is(TokenKind.Operator, text);

    public bool IsName(string text) => Is(TokenKind.Name, text);

    public string Describe() =>
        Kind switch
        {
            TokenKind.Data => "template text",
            TokenKind.VariableBegin => "{{",
            TokenKind.VariableEnd => "}}",
            TokenKind.BlockBegin => "{%",
            TokenKind.BlockEnd => "%}",
            TokenKind.String => "a string",
            TokenKind.Number => "a number",
            TokenKind.End => "the end of the template",
            _ => Text,
        };
}

internal sealed class TemplateSyntaxException(int line, string message) : Exception(message)
{
    public int Line { get; } = line;
}

/// <summary>Splits a template into text and the tokens of its tags, with jinja2's rules for white space (trim_blocks, lstrip_blocks).</summary>
internal sealed class Lexer
{
    static readonly string[] Operators =
    [
        // The longer ones first.
        .. (string[])["//", "**", "==", "!=", ">=", "<="],
        .. (string[])
            ["+", "-", "/", "*", "%", "~", "[", "]", "(", ")", "{", "}", ">", "<", "=", ".", ":", "|", ",", ";"],
    ];

    readonly string source;
    readonly List<Token> tokens = [];
    readonly Stack<char> brackets = new();
    int position;
    int line = 1;

    Lexer(string source) => this.source = source;

    public static List<Token> Tokenize(string template)
    {
        string text = template.Replace("\r\n", "\n").Replace('\r', '\n');
        // keep_trailing_newline is off: one line break at the end is dropped.
        Lexer lexer = new(text.EndsWith('\n') ? text[..^1] : text);
        lexer.ReadTemplate();
        return lexer.tokens;
    }

    void ReadTemplate()
    {
        bool lineStarting = true;
        while (position < source.Length)
        {
            int tag = FindTag(position);
            if (tag < 0)
            {
                AddData(source[position..]);
                break;
            }

            char kind = source[tag + 1];
            char sign = tag + 2 < source.Length && source[tag + 2] is '-' or '+' ? source[tag + 2] : '\0';
            string text = source[position..tag];
            int textLine = line;
            line += CountLines(text);
            AddData(StripBeforeTag(text, sign, lineStarting, isVariable: kind == '{'), textLine);
            position = tag + 2 + (sign == '\0' ? 0 : 1);
            switch (kind)
            {
                case '#':
                    SkipComment();
                    break;
                case '%' when TryReadRaw():
                    break;
                default:
                    ReadTag(kind == '{');
                    break;
            }

            lineStarting = source[position - 1] == '\n';
        }

        tokens.Add(new Token(TokenKind.End, "", line));
    }

    int FindTag(int from)
    {
        for (int at = source.IndexOf('{', from); at >= 0 && at + 1 < source.Length; at = source.IndexOf('{', at + 1))
        {
            if (source[at + 1] is '{' or '%' or '#')
            {
                return at;
            }
        }

        return -1;
    }

    static string StripBeforeTag(string text, char sign, bool lineStarting, bool isVariable)
    {
        if (sign == '-')
        {
            return PythonText.TrimEnd(text);
        }

        if (sign == '+' || isVariable)
        {
            return text;
        }

        // lstrip_blocks: white space between the start of the line and the tag goes.
        int lineStart = text.LastIndexOf('\n') + 1;
        return (lineStart > 0 || lineStarting) && lineStart < text.Length && PythonText.IsSpace(text.AsSpan(lineStart))
            ? text[..lineStart]
            : text;
    }

    void AddData(string text, int? at = null)
    {
        if (text.Length > 0)
        {
            tokens.Add(new Token(TokenKind.Data, text, at ?? line));
        }
    }

    void SkipComment()
    {
        int start = line;
        int end = source.IndexOf("#}", position, StringComparison.Ordinal);
        if (position == source.Length)
        {
            // An opening tag that nothing follows passes in jinja2.
            return;
        }

        if (end < 0)
        {
            throw new TemplateSyntaxException(start, "the comment is not closed with '#}'");
        }

        char sign = end > position && source[end - 1] is '-' or '+' ? source[end - 1] : '\0';
        AdvanceTo(end + 2);
        SkipAfterTag(sign);
    }

    /// <summary>After <c>%}</c> or <c>#}</c>: trim_blocks drops one line break, <c>-</c> all white space, <c>+</c> nothing.</summary>
    void SkipAfterTag(char sign)
    {
        if (sign == '-')
        {
            SkipSpace();
        }
        else if (sign != '+' && position < source.Length && source[position] == '\n')
        {
            AdvanceTo(position + 1);
        }
    }

    void SkipSpace()
    {
        int end = position;
        while (end < source.Length && PythonText.IsSpace(source[end]))
        {
            end++;
        }

        AdvanceTo(end);
    }

    void AdvanceTo(int target)
    {
        line += CountLines(source.AsSpan(position, target - position));
        position = target;
    }

    static int CountLines(ReadOnlySpan<char> text) => text.Count('\n');

    /// <summary>Reads <c>{% raw %}...{% endraw %}</c>; the position is behind the opening <c>{%</c> and its sign.</summary>
    bool TryReadRaw()
    {
        int at = SpaceEnd(position);
        if (!source.AsSpan(at).StartsWith("raw"))
        {
            return false;
        }

        at = SpaceEnd(at + 3);
        bool strip = source.AsSpan(at).StartsWith("-%}");
        if (!strip && !source.AsSpan(at).StartsWith("%}"))
        {
            return false;
        }

        int start = line;
        AdvanceTo(at + (strip ? 3 : 2));
        if (strip)
        {
            SkipSpace();
        }

        for (
            int end = source.IndexOf("{%", position, StringComparison.Ordinal);
            end >= 0;
            end = source.IndexOf("{%", end + 1, StringComparison.Ordinal)
        )
        {
            int cursor = end + 2;
            char before = cursor < source.Length && source[cursor] is '-' or '+' ? source[cursor++] : '\0';
            cursor = SpaceEnd(cursor);
            if (!source.AsSpan(cursor).StartsWith("endraw"))
            {
                continue;
            }

            cursor = SpaceEnd(cursor + 6);
            char after = cursor < source.Length && source[cursor] is '-' or '+' ? source[cursor++] : '\0';
            if (!source.AsSpan(cursor).StartsWith("%}"))
            {
                continue;
            }

            bool lineStarting = source[position - 1] == '\n';
            AddData(StripBeforeTag(source[position..end], before, lineStarting, isVariable: false));
            AdvanceTo(cursor + 2);
            SkipAfterTag(after);
            return true;
        }

        throw new TemplateSyntaxException(start, "'raw' is not closed with 'endraw'");
    }

    int SpaceEnd(int from)
    {
        while (from < source.Length && PythonText.IsSpace(source[from]))
        {
            from++;
        }

        return from;
    }

    void ReadTag(bool isVariable)
    {
        tokens.Add(new Token(isVariable ? TokenKind.VariableBegin : TokenKind.BlockBegin, "", line));
        brackets.Clear();
        string close = isVariable ? "}}" : "%}";
        while (position < source.Length)
        {
            if (brackets.Count == 0 && TryReadEnd(isVariable, close))
            {
                return;
            }

            ReadToken();
        }
    }

    bool TryReadEnd(bool isVariable, string close)
    {
        ReadOnlySpan<char> rest = source.AsSpan(position);
        // '+' before '}}' is the operator; before '%}' it keeps the line break.
        char sign = rest[0] == '-' || (rest[0] == '+' && !isVariable) ? rest[0] : '\0';
        if (!rest[(sign == '\0' ? 0 : 1)..].StartsWith(close))
        {
            return false;
        }

        tokens.Add(new Token(isVariable ? TokenKind.VariableEnd : TokenKind.BlockEnd, "", line));
        position += sign == '\0' ? 2 : 3;
        if (isVariable)
        {
            if (sign == '-')
            {
                SkipSpace();
            }
        }
        else
        {
            SkipAfterTag(sign);
        }

        return true;
    }

    void ReadToken()
    {
        char first = source[position];
        if (PythonText.IsSpace(first))
        {
            SkipSpace();
        }
        else if (first is '\'' or '"')
        {
            ReadString(first);
        }
        else if (char.IsAsciiDigit(first))
        {
            ReadNumber();
        }
        else if (IsNamePart(first))
        {
            ReadName();
        }
        else
        {
            ReadOperator();
        }
    }

    static bool IsNamePart(char c) => c == '_' || char.IsLetterOrDigit(c) || char.IsSurrogate(c);

    void ReadName()
    {
        int end = position;
        while (end < source.Length && IsNamePart(source[end]))
        {
            end++;
        }

        string name = source[position..end];
        if (!PythonText.IsIdentifier(name))
        {
            throw new TemplateSyntaxException(line, $"'{name}' is not a name");
        }

        tokens.Add(new Token(TokenKind.Name, name, line));
        position = end;
    }

    void ReadOperator()
    {
        foreach (string candidate in Operators)
        {
            if (string.CompareOrdinal(source, position, candidate, 0, candidate.Length) == 0)
            {
                Balance(candidate[0]);
                tokens.Add(new Token(TokenKind.Operator, candidate, line));
                position += candidate.Length;
                return;
            }
        }

        throw new TemplateSyntaxException(line, $"unexpected character '{source[position]}'");
    }

    void Balance(char bracket)
    {
        if (bracket is '(' or '[' or '{')
        {
            brackets.Push(
                bracket switch
                {
                    '(' => ')',
                    '[' => ']',
                    _ => '}',
                }
            );
        }
        else if (bracket is ')' or ']' or '}')
        {
            if (brackets.Count == 0)
            {
                throw new TemplateSyntaxException(line, $"unexpected '{bracket}'");
            }

            char expected = brackets.Pop();
            if (expected != bracket)
            {
                throw new TemplateSyntaxException(line, $"unexpected '{bracket}', expected '{expected}'");
            }
        }
    }

    void ReadNumber()
    {
        int end = DigitsEnd(position, char.IsAsciiDigit);
        bool isFloat = false;
        // A number right after a dot is an index (x.0.1), not a float.
        if (position == 0 || source[position - 1] != '.')
        {
            int fraction = end < source.Length && source[end] == '.' ? DigitsEnd(end + 1, char.IsAsciiDigit) : end;
            int mantissa = fraction > end + 1 ? fraction : end;
            int exponent = mantissa;
            if (exponent < source.Length && source[exponent] is 'e' or 'E')
            {
                exponent++;
                exponent += exponent < source.Length && source[exponent] is '+' or '-' ? 1 : 0;
                int exponentEnd = DigitsEnd(exponent, char.IsAsciiDigit);
                exponent = exponentEnd > exponent ? exponentEnd : mantissa;
            }

            isFloat = exponent > end;
            end = isFloat ? exponent : end;
        }

        TemplateValue number;
        if (isFloat)
        {
            string digits = source[position..end].Replace("_", "");
            number = double.Parse(digits, NumberStyles.Float, CultureInfo.InvariantCulture);
        }
        else
        {
            (number, end) = ReadInteger(end);
        }

        tokens.Add(new Token(TokenKind.Number, "", line, number));
        position = end;
    }

    (TemplateValue Number, int End) ReadInteger(int decimalEnd)
    {
        if (source[position] == '0')
        {
            int radix =
                position + 1 < source.Length
                    ? source[position + 1] switch
                    {
                        'b' or 'B' => 2,
                        'o' or 'O' => 8,
                        'x' or 'X' => 16,
                        _ => 10,
                    }
                    : 10;
            int start = position + 2;
            int end =
                radix == 10
                    ? start
                    : DigitsEnd(start, c => PythonNumber.DigitValue(c) < radix, leadingUnderscore: true);
            if (radix != 10 && end > start)
            {
                return (IntegerValue.Create(PythonNumber.ParseDigits(source.AsSpan(start, end - start), radix)), end);
            }

            // A leading zero only stands before more zeros; 012 is two numbers, which the parser refuses.
            return (0, DigitsEnd(position, c => c == '0'));
        }

        BigInteger value = PythonNumber.ParseDigits(source.AsSpan(position, decimalEnd - position), 10);
        return (IntegerValue.Create(value), decimalEnd);
    }

    /// <summary>The end of digits with single underscores between them.</summary>
    int DigitsEnd(int from, Func<char, bool> isDigit, bool leadingUnderscore = false)
    {
        int end = from;
        while (end < source.Length)
        {
            bool underscore = source[end] == '_' && (end > from || leadingUnderscore);
            int digit = underscore ? end + 1 : end;
            if (digit >= source.Length || !isDigit(source[digit]))
            {
                break;
            }

            end = digit + 1;
        }

        return end;
    }

    void ReadString(char quote)
    {
        int end = position + 1;
        while (end < source.Length && source[end] != quote)
        {
            end += source[end] == '\\' ? 2 : 1;
        }

        if (end >= source.Length)
        {
            throw new TemplateSyntaxException(line, "the string is not closed");
        }

        tokens.Add(new Token(TokenKind.String, Unescape(source[(position + 1)..end]), line));
        AdvanceTo(end + 1);
    }

    /// <summary>Python's escapes in string literals; an unknown one stays as it is.</summary>
    string Unescape(string literal)
    {
        if (!literal.Contains('\\'))
        {
            return literal;
        }

        StringBuilder text = new(literal.Length);
        for (int i = 0; i < literal.Length; i++)
        {
            if (literal[i] != '\\')
            {
                text.Append(literal[i]);
                continue;
            }

            char escape = literal[++i];
            int simple = "abfnrtv\\'\"".IndexOf(escape);
            if (simple >= 0)
            {
                text.Append("\a\b\f\n\r\t\v\\'\""[simple]);
            }
            else if (escape is 'x' or 'u' or 'U')
            {
                int digits = escape switch
                {
                    'x' => 2,
                    'u' => 4,
                    _ => 8,
                };
                i += AppendHex(text, literal, i + 1, digits);
            }
            else if (escape is >= '0' and <= '7')
            {
                int end = i;
                int value = 0;
                for (; end < literal.Length && end < i + 3 && literal[end] is >= '0' and <= '7'; end++)
                {
                    value = value * 8 + (literal[end] - '0');
                }

                text.Append((char)value);
                i = end - 1;
            }
            else if (escape == 'N')
            {
                throw new TemplateSyntaxException(
                    line,
                    "\\N{...} escapes are not supported; write the character or \\u"
                );
            }
            else if (escape != '\n')
            {
                text.Append('\\').Append(escape);
            }
        }

        return text.ToString();
    }

    int AppendHex(StringBuilder text, string literal, int start, int digits)
    {
        if (
            start + digits > literal.Length
            || !uint.TryParse(
                literal.AsSpan(start, digits),
                NumberStyles.AllowHexSpecifier,
                CultureInfo.InvariantCulture,
                out uint value
            )
            || value > 0x10FFFF
        )
        {
            throw new TemplateSyntaxException(
                line,
                "an escape in a string needs more hexadecimal digits, or is no character"
            );
        }

        if (value > 0xFFFF)
        {
            text.Append(char.ConvertFromUtf32((int)value));
        }
        else
        {
            text.Append((char)value);
        }

        return digits;
    }
}
