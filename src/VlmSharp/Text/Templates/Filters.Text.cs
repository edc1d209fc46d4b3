using System.Buffers;
using System.Text;

namespace VlmSharp.Text.Templates;

/// <content>Filters of text.</content>
internal static partial class Filters
{
    static readonly SearchValues<char> NotInAttributeNames = SearchValues.Create(" \t\n\r\v\f/>=");

    static TextValue Mapped(Interpreter vm, TemplateValue value, Func<string, string> map)
    {
        TextValue text = Soft(vm, value);
        return StringMethods.Mapped(text, map(text.Text));
    }

    /// <summary>The start of each word in upper case, the rest in lower case. Unlike str.title, an apostrophe starts no word.</summary>
    static TextValue Title(Interpreter vm, TemplateValue value, TemplateValue?[] arguments) =>
        Mapped(
            vm,
            value,
            text =>
            {
                StringBuilder title = new(text.Length);
                for (int start = 0; start < text.Length; )
                {
                    bool separator = IsWordSeparator(text[start]);
                    int end = start + 1;
                    while (end < text.Length && IsWordSeparator(text[end]) == separator)
                    {
                        end++;
                    }

                    int first = start + CodePoints.LengthAt(text, start);
                    title.Append(PythonText.Upper(text[start..first])).Append(PythonText.Lower(text[first..end]));
                    start = end;
                }

                return title.ToString();
            }
        );

    static bool IsWordSeparator(char c) => c is '-' or '(' or '{' or '[' or '<' || PythonText.IsSpace(c);

    static TextValue Replace(Interpreter vm, TemplateValue value, TemplateValue?[] arguments)
    {
        int limit = IsGiven(arguments[2]) ? StringMethods.Limit(arguments[2]) : int.MaxValue;
        return StringMethods.Replace(
            vm,
            Soft(vm, value).AsPlain(),
            Soft(vm, arguments[0]!).AsPlain(),
            Soft(vm, arguments[1]!).AsPlain(),
            limit
        );
    }

    static TextValue Format(Interpreter vm, TemplateValue value, Arguments arguments)
    {
        if (arguments.Positional.Length > 0 && arguments.Keywords.Count > 0)
        {
            throw new EvaluationException("can't handle positional and keyword arguments at the same time");
        }

        TemplateValue given =
            arguments.Keywords.Count > 0 ? arguments.KeywordObject() : TemplateList.Tuple([.. arguments.Positional]);
        return PythonFormat.Percent(vm, Soft(vm, value), given);
    }

    static TextValue Indent(Interpreter vm, TemplateValue value, TemplateValue?[] arguments)
    {
        TextValue text = StringMethods.Text(value);
        TextValue indention = arguments[0] switch
        {
            TextValue given => given,
            var width => TextValue.Create(new string(' ', Math.Max(Size(vm, width, 4), 0))),
        };
        (bool first, bool blank) = (Flag(arguments[1]), Flag(arguments[2]));
        // A line break is added first, so that one at the end makes an empty line.
        TextValue terminated = TextValue.Create(text.Text + "\n", text.Spans.Slice(0, text.Text.Length));
        TextBuilder builder = vm.NewBuilder();
        int index = 0;
        foreach (TextValue line in StringMethods.SplitLines(vm, terminated, keepEnds: false).Cast<TextValue>())
        {
            builder.Append(index == 0 ? "" : "\n", user: false);
            if (index == 0 ? first : blank || line.Text.Length > 0)
            {
                vm.ChargeText(indention.Text.Length);
                builder.Append(indention);
            }

            builder.Append(line);
            index++;
        }

        TextValue result = builder.ToValue();
        return text.IsMarkup ? result.AsMarkup() : result;
    }

    static TemplateValue Truncate(Interpreter vm, TemplateValue value, TemplateValue?[] arguments)
    {
        int length = Size(vm, arguments[0], 255);
        TextValue end = arguments[2] is null ? TextValue.Create("...") : StringMethods.Text(arguments[2]!);
        int leeway = IsGiven(arguments[3]) ? Size(vm, arguments[3], 0) : 5;
        if (length < end.Count || leeway < 0)
        {
            throw new EvaluationException(
                $"truncate: expected length >= {end.Count} and leeway >= 0, got {length} and {leeway}"
            );
        }

        int count = Length(value);
        if (count <= length + (long)leeway)
        {
            return value;
        }

        TextValue text = StringMethods.Text(value);
        TextValue kept = text.Slice(0, CodePoints.Offset(text, length - end.Count));
        if (!Flag(arguments[1]) && kept.Text.LastIndexOf(' ') is >= 0 and var blank)
        {
            kept = kept.Slice(0, blank);
        }

        return vm.Calculate(BinaryOperator.Add, kept, end);
    }

    static TemplateValue WordCount(Interpreter vm, TemplateValue value, TemplateValue?[] arguments)
    {
        string text = Soft(vm, value).Text;
        int count = 0;
        bool inWord = false;
        for (int i = 0; i < text.Length; i += CodePoints.LengthAt(text, i))
        {
            int c = CodePoints.At(text, i);
            bool isWord = c == '_' || PythonText.IsAlphanumeric(c);
            count += isWord && !inWord ? 1 : 0;
            inWord = isWord;
        }

        return count;
    }

    /// <summary>Wraps each line at white space, and after hyphens inside words.</summary>
    static TextValue WordWrap(Interpreter vm, TemplateValue value, TemplateValue?[] arguments)
    {
        TextValue text = StringMethods.Text(value);
        int width = Size(vm, arguments[0], 79);
        bool breakLong = arguments[1] is null || Flag(arguments[1]);
        TextValue? separator = IsGiven(arguments[2]) ? StringMethods.Text(arguments[2]!) : null;
        bool breakHyphens = arguments[3] is null || Flag(arguments[3]);
        if (width <= 0)
        {
            throw new EvaluationException($"invalid width {width} (must be > 0)");
        }

        List<string> lines = [];
        foreach (TextValue line in StringMethods.SplitLines(vm, text, keepEnds: false).Cast<TextValue>())
        {
            vm.ChargeText(line.Text.Length * 4L);
            List<string> wrapped = WrapLine(vm, WrapChunks(line.Text, breakHyphens), width, breakLong);
            lines.AddRange(wrapped.Count == 0 ? [""] : wrapped);
        }

        string wrap = separator?.Text ?? "\n";
        vm.CheckLength(text.Text.Length + (long)lines.Count * wrap.Length);
        return TextValue.Derived(string.Join(wrap, lines), text, separator);
    }

    /// <summary>Words, the white space between them, and the parts of hyphenated words.</summary>
    static List<string> WrapChunks(string line, bool breakHyphens)
    {
        List<string> chunks = [];
        int start = 0;
        for (int i = 1; i <= line.Length; i++)
        {
            bool border = i == line.Length || IsBlank(line[i]) != IsBlank(line[i - 1]);
            bool hyphen =
                breakHyphens
                && !border
                && line[i - 1] == '-'
                && i >= 3
                && char.IsLetter(line[i - 2])
                && (char.IsLetter(line[i - 3]) || line[i - 3] == '-')
                && i + 1 < line.Length
                && char.IsLetter(line[i])
                && (char.IsLetter(line[i + 1]) || line[i + 1] == '-');
            if (border || hyphen)
            {
                chunks.Add(line[start..i]);
                start = i;
            }
        }

        return chunks;

        static bool IsBlank(char c) => c is '\t' or '\n' or '\v' or '\f' or '\r' or ' ';
    }

    static List<string> WrapLine(Interpreter vm, List<string> chunks, int width, bool breakLong)
    {
        List<string> lines = [];
        Queue<string> rest = new(chunks);
        string? pending = null;
        while (pending is not null || rest.Count > 0)
        {
            vm.Step();
            List<string> current = [];
            int used = 0;
            if (lines.Count > 0 && Peek().All(PythonText.IsSpace))
            {
                Drop();
            }

            while ((pending is not null || rest.Count > 0) && used + CodePoints.Count(Peek()) <= width)
            {
                used += CodePoints.Count(Peek());
                current.Add(Peek());
                Drop();
            }

            if ((pending is not null || rest.Count > 0) && CodePoints.Count(Peek()) > width)
            {
                string longWord = Peek();
                if (breakLong)
                {
                    int at = CodePoints.Offset(TextValue.Create(longWord), width - used);
                    current.Add(longWord[..at]);
                    Drop();
                    pending = longWord[at..];
                }
                else if (current.Count == 0)
                {
                    current.Add(longWord);
                    Drop();
                }
            }

            if (current.Count > 0 && current[^1].All(PythonText.IsSpace))
            {
                current.RemoveAt(current.Count - 1);
            }

            if (current.Count > 0)
            {
                lines.Add(string.Concat(current));
            }
        }

        return lines;

        string Peek() => pending ?? rest.Peek();

        void Drop()
        {
            if (pending is not null)
            {
                pending = null;
            }
            else
            {
                rest.Dequeue();
            }
        }
    }

    static TextValue EscapeValue(Interpreter vm, TemplateValue value) =>
        value is TextValue { IsMarkup: true } markup ? markup : Escape(vm, Soft(vm, value));

    /// <summary>The text with HTML's special characters written as entities.</summary>
    public static TextValue Escape(Interpreter vm, TextValue text)
    {
        vm.ChargeText(text.Text.Length);
        TextBuilder builder = vm.NewBuilder();
        int plain = 0;
        for (int i = 0; i < text.Text.Length; i++)
        {
            string? entity = text.Text[i] switch
            {
                '&' => "&amp;",
                '<' => "&lt;",
                '>' => "&gt;",
                '\'' => "&#39;",
                '"' => "&#34;",
                _ => null,
            };
            if (entity is not null)
            {
                builder.Append(text, plain, i - plain);
                builder.Append(entity, text.Spans.Any);
                plain = i + 1;
            }
        }

        builder.Append(text, plain, text.Text.Length - plain);
        return builder.ToValue().AsMarkup();
    }

    static TextValue StripTags(Interpreter vm, TemplateValue value, TemplateValue?[] arguments)
    {
        TextValue source = Soft(vm, value);
        string text = Remove(Remove(source.Text, "<!--", "-->"), "<", ">");
        string[] words = text.Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries);
        return TextValue.Derived(System.Net.WebUtility.HtmlDecode(string.Join(' ', words)), source);

        static string Remove(string text, string open, string close)
        {
            StringBuilder kept = new();
            int at = 0;
            while (
                text.IndexOf(open, at, StringComparison.Ordinal) is >= 0 and var start
                && text.IndexOf(close, start, StringComparison.Ordinal) is >= 0 and var end
            )
            {
                kept.Append(text, at, start - at);
                at = end + close.Length;
            }

            return kept.Append(text, at, text.Length - at).ToString();
        }
    }

    static TextValue UrlEncode(Interpreter vm, TemplateValue value, TemplateValue?[] arguments)
    {
        if (value is TextValue || !Interpreter.IsIterable(value))
        {
            return Quoted(Soft(vm, value), forQuery: false);
        }

        TemplateValue pairs = value is TemplateObject dictionary
            ? new DictionaryView(dictionary, DictionaryView.ViewKind.Items)
            : value;
        TextBuilder builder = vm.NewBuilder();
        foreach (TemplateValue pair in vm.Iterate(pairs))
        {
            if (vm.ToList(pair) is not [var key, var item])
            {
                throw new EvaluationException("urlencode needs pairs of a name and a value");
            }

            builder.Append(builder.Length == 0 ? "" : "&", user: false);
            builder.Append(Quoted(Soft(vm, key), forQuery: true));
            builder.Append('=', user: false);
            builder.Append(Quoted(Soft(vm, item), forQuery: true));
        }

        return builder.ToValue();

        static TextValue Quoted(TextValue text, bool forQuery)
        {
            StringBuilder quoted = new();
            foreach (byte b in Encoding.UTF8.GetBytes(text.Text))
            {
                char c = (char)b;
                if (char.IsAsciiLetterOrDigit(c) || c is '_' or '.' or '-' or '~' || (c == '/' && !forQuery))
                {
                    quoted.Append(c);
                }
                else if (c == ' ' && forQuery)
                {
                    quoted.Append('+');
                }
                else
                {
                    quoted.Append($"%{b:X2}");
                }
            }

            return TextValue.Derived(quoted.ToString(), text);
        }
    }

    static TextValue XmlAttributes(Interpreter vm, TemplateValue value, TemplateValue?[] arguments)
    {
        if (value is UndefinedValue undefined)
        {
            undefined.Throw();
        }

        TemplateObject attributes =
            value as TemplateObject
            ?? throw new EvaluationException($"xmlattr needs a mapping, not '{value.TypeName}'");
        TextBuilder builder = vm.NewBuilder();
        foreach ((TemplateValue key, TemplateValue item) in attributes.Entries)
        {
            if (item is NoneValue or UndefinedValue)
            {
                continue;
            }

            TextValue name = StringMethods.Text(key);
            if (name.Text.AsSpan().ContainsAny(NotInAttributeNames))
            {
                throw new EvaluationException($"Invalid character in attribute name: {PythonRepr.Quote(name.Text)}");
            }

            bool autospace = arguments[0] is null || Flag(arguments[0]);
            builder.Append(builder.Length > 0 || autospace ? " " : "", user: false);
            builder.Append(Escape(vm, name));
            builder.Append("=\"", user: false);
            builder.Append(EscapeValue(vm, item));
            builder.Append('"', user: false);
        }

        return builder.ToValue();
    }
}
