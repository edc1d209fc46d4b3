using System.Runtime.CompilerServices;

namespace VlmSharp.Text.Templates;

/// <summary>Python's json.dumps, which is what <c>tojson</c> is in chat templates: nothing is escaped for HTML.</summary>
internal sealed class PythonJson(Interpreter interpreter, TextBuilder builder)
{
    public bool EnsureAscii { get; init; }

    /// <summary>What one level of indentation is; null for everything on one line.</summary>
    public string? Indent { get; init; }

    public required TextValue ItemSeparator { get; init; }

    public required TextValue KeySeparator { get; init; }

    public bool SortKeys { get; init; }

    public void Append(TemplateValue value, int depth = 0)
    {
        RuntimeHelpers.EnsureSufficientExecutionStack();
        interpreter.Step();
        switch (value)
        {
            case TextValue text:
                AppendString(text);
                break;
            case NoneValue:
                builder.Append("null", user: false);
                break;
            case BooleanValue boolean:
                builder.Append(boolean.Value ? "true" : "false", user: false);
                break;
            case IntegerValue integer:
                builder.Append(PythonNumber.Format(integer.Value), user: false);
                break;
            case FloatValue number:
                builder.Append(Format(number.Value), user: false);
                break;
            case TemplateList { Count: 0 }:
                builder.Append("[]", user: false);
                break;
            case TemplateList list:
                AppendAll('[', list.Items, item => Append(item, depth + 1), ']', depth);
                break;
            case TemplateObject { Count: 0 }:
                builder.Append("{}", user: false);
                break;
            case TemplateObject dictionary:
                List<(TemplateValue Key, TemplateValue Value)> entries = SortKeys
                    ? Sorted(dictionary)
                    : dictionary.Entries;
                AppendAll('{', entries, entry => AppendEntry(entry, depth), '}', depth);
                break;
            default:
                throw new EvaluationException($"Object of type {value.TypeName} is not JSON serializable");
        }
    }

    void AppendAll<T>(char open, List<T> items, Action<T> append, char close, int depth)
    {
        builder.Append(open, user: false);
        for (int i = 0; i < items.Count; i++)
        {
            if (i > 0)
            {
                builder.Append(ItemSeparator);
            }

            AppendLine(depth + 1);
            append(items[i]);
        }

        AppendLine(depth);
        builder.Append(close, user: false);
    }

    void AppendLine(int depth)
    {
        if (Indent is not null)
        {
            builder.Append('\n', user: false);
            for (int i = 0; i < depth; i++)
            {
                builder.Append(Indent, user: false);
            }
        }
    }

    void AppendEntry((TemplateValue Key, TemplateValue Value) entry, int depth)
    {
        TextValue key = entry.Key switch
        {
            TextValue text => text,
            NoneValue => TextValue.Create("null"),
            BooleanValue boolean => TextValue.Create(boolean.Value ? "true" : "false"),
            IntegerValue integer => TextValue.Create(PythonNumber.Format(integer.Value)),
            FloatValue number => TextValue.Create(Format(number.Value)),
            _ => throw new EvaluationException($"keys must be str, int, float, bool or None, not {entry.Key.TypeName}"),
        };
        AppendString(key);
        builder.Append(KeySeparator);
        Append(entry.Value, depth + 1);
    }

    List<(TemplateValue Key, TemplateValue Value)> Sorted(TemplateObject dictionary)
    {
        List<TemplateValue> keys = [.. dictionary.Entries.Select(entry => entry.Key)];
        return
        [
            .. Python.Sort(interpreter, keys, key => key, reverse: false).Select(key => (key, dictionary.Find(key)!)),
        ];
    }

    static string Format(double value) =>
        double.IsNaN(value) ? "NaN"
        : double.IsInfinity(value) ? (value > 0 ? "Infinity" : "-Infinity")
        : PythonNumber.Format(value);

    void AppendString(TextValue value)
    {
        string text = value.Text;
        interpreter.ChargeText(text.Length);
        builder.Append('"', user: false);
        int plain = 0;
        for (int i = 0; i < text.Length; i++)
        {
            if (Escape(text[i]) is not { } escape)
            {
                continue;
            }

            builder.Append(value, plain, i - plain);
            // Where a string is partly user text, the escape of a character takes after the string.
            builder.Append(escape, value.Spans.Any);
            plain = i + 1;
        }

        builder.Append(value, plain, text.Length - plain);
        builder.Append('"', user: false);
    }

    string? Escape(char c) =>
        c switch
        {
            '"' => "\\\"",
            '\\' => "\\\\",
            '\n' => "\\n",
            '\r' => "\\r",
            '\t' => "\\t",
            '\b' => "\\b",
            '\f' => "\\f",
            < ' ' => $"\\u{(int)c:x4}",
            > '~' when EnsureAscii => $"\\u{(int)c:x4}",
            _ => null,
        };
}
