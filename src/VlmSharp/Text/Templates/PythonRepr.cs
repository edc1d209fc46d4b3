using System.Runtime.CompilerServices;

namespace VlmSharp.Text.Templates;

/// <summary>Python's str() and repr().</summary>
internal static class PythonRepr
{
    const int MaxMessageLength = 200;

    /// <summary>The value as a string of its own.</summary>
    public static TextValue ToText(Interpreter interpreter, TemplateValue value)
    {
        if (value is TextValue text)
        {
            return text;
        }

        TextBuilder builder = interpreter.NewBuilder();
        AppendText(interpreter, builder, value);
        return builder.ToValue();
    }

    /// <summary>Appends str(value).</summary>
    public static void AppendText(Interpreter interpreter, TextBuilder builder, TemplateValue value)
    {
        if (value is TextValue text)
        {
            interpreter.ChargeText(text.Text.Length);
            builder.Append(text);
        }
        else if (value is not UndefinedValue)
        {
            Append(builder, value, interpreter.Step);
        }
    }

    /// <summary>Appends repr(value).</summary>
    public static void AppendRepr(Interpreter interpreter, TextBuilder builder, TemplateValue value) =>
        Append(builder, value, interpreter.Step);

    /// <summary>A value for a message or a debugger: shortened, and never failing.</summary>
    public static string Text(TemplateValue value, bool quoted = false)
    {
        if (value is TextValue text && !quoted)
        {
            return text.Text;
        }

        TextBuilder builder = new(MaxMessageLength);
        try
        {
            Append(builder, value, () => { });
        }
        catch (EvaluationException)
        {
            return builder + "...";
        }

        return builder.ToString();
    }

    /// <summary>repr of a string, for messages.</summary>
    public static string Quote(string text)
    {
        TextBuilder builder = new(int.MaxValue);
        AppendQuoted(builder, text, user: false);
        return builder.ToString();
    }

    static void Append(TextBuilder builder, TemplateValue value, Action step)
    {
        RuntimeHelpers.EnsureSufficientExecutionStack();
        step();
        switch (value)
        {
            case TextValue { IsMarkup: true } text:
                builder.Append("Markup(", user: false);
                AppendQuoted(builder, text.Text, text.Spans.Any);
                builder.Append(')', user: false);
                break;
            case TextValue text:
                AppendQuoted(builder, text.Text, text.Spans.Any);
                break;
            case IntegerValue integer:
                builder.Append(PythonNumber.Format(integer.Value), user: false);
                break;
            case FloatValue number:
                builder.Append(PythonNumber.Format(number.Value), user: false);
                break;
            case TemplateList list:
                AppendList(builder, list, step);
                break;
            case TemplateObject dictionary:
                AppendDictionary(builder, dictionary, step);
                break;
            case DictionaryView view:
                builder.Append(view.TypeName + "([", user: false);
                for (int i = 0; i < view.Count; i++)
                {
                    builder.Append(i == 0 ? "" : ", ", user: false);
                    Append(builder, view[i], step);
                }

                builder.Append("])", user: false);
                break;
            case NamespaceValue space:
                builder.Append("<Namespace ", user: false);
                Append(builder, space.Values, step);
                builder.Append('>', user: false);
                break;
            default:
                builder.Append(Describe(value), user: false);
                break;
        }
    }

    static string Describe(TemplateValue value) =>
        value switch
        {
            NoneValue => "None",
            BooleanValue boolean => boolean.Value ? "True" : "False",
            UndefinedValue => "Undefined",
            RangeValue range => range.Step.IsOne
                ? $"range({range.Start}, {range.Stop})"
                : $"range({range.Start}, {range.Stop}, {range.Step})",
            MacroValue macro => macro.Definition.Name is { } name ? $"<Macro {Quote(name)}>" : "<Macro anonymous>",
            LoopValue loop => $"<LoopContext {loop.Index0 + 1}/{loop.Length}>",
            FunctionValue function => $"<{function.TypeName} {function.Name}>",
            _ => $"<{value.TypeName} object>",
        };

    static void AppendList(TextBuilder builder, TemplateList list, Action step)
    {
        builder.Append(list.IsTuple ? '(' : '[', user: false);
        for (int i = 0; i < list.Count; i++)
        {
            builder.Append(i == 0 ? "" : ", ", user: false);
            Append(builder, list.Items[i], step);
        }

        builder.Append(list is { IsTuple: true, Count: 1 } ? "," : "", user: false);
        builder.Append(list.IsTuple ? ')' : ']', user: false);
    }

    static void AppendDictionary(TextBuilder builder, TemplateObject dictionary, Action step)
    {
        builder.Append('{', user: false);
        string separator = "";
        foreach ((TemplateValue key, TemplateValue value) in dictionary.Entries)
        {
            builder.Append(separator, user: false);
            Append(builder, key, step);
            builder.Append(": ", user: false);
            Append(builder, value, step);
            separator = ", ";
        }

        builder.Append('}', user: false);
    }

    static void AppendQuoted(TextBuilder builder, string text, bool user)
    {
        char quote = text.Contains('\'') && !text.Contains('"') ? '"' : '\'';
        builder.Append(quote, user: false);
        for (int i = 0; i < text.Length; i += CodePoints.LengthAt(text, i))
        {
            int c = CodePoints.At(text, i);
            if (c == quote || c == '\\')
            {
                builder.Append('\\', user);
                builder.Append((char)c, user);
            }
            else if (c is >= ' ' and < 0x7F || PythonText.IsPrintable(c))
            {
                builder.Append(text.AsSpan(i, CodePoints.LengthAt(text, i)), user);
            }
            else
            {
                string escape = c switch
                {
                    '\n' => "\\n",
                    '\r' => "\\r",
                    '\t' => "\\t",
                    <= 0xFF => $"\\x{c:x2}",
                    <= 0xFFFF => $"\\u{c:x4}",
                    _ => $"\\U{c:x8}",
                };
                builder.Append(escape, user);
            }
        }

        builder.Append(quote, user: false);
    }
}
