using System.Globalization;
using System.Numerics;
using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;

namespace VlmSharp.Chat.Replies;

/// <summary><c>&lt;function=name&gt;</c> elements with a <c>&lt;parameter=key&gt;</c> element for each argument.</summary>
/// <remarks>
/// A value is the text between the tags without one line feed at each end. It ends at <c>&lt;/parameter&gt;</c>, and, because models forget that, at the next
/// <c>&lt;parameter=</c> or <c>&lt;/function&gt;</c>. Its type is the one that the tool's schema gives it; a value that cannot be of that type stays text, and <c>null</c>
/// is null whatever the type (vLLM's <c>Qwen3CoderToolParser</c>).
/// </remarks>
sealed class CoderBlock(IReadOnlyList<ToolDefinition> tools) : CallBlock
{
    const string FunctionOpen = "<function=";
    const string FunctionClose = "</function>";
    const string ParameterOpen = "<parameter=";
    const string ParameterClose = "</parameter>";
    const int MaxNumberLength = 400; // longer than any double; more digits are text
    const int MaxTagLength = 300;

    enum Part
    {
        Between,
        Tag,
        Value,
    }

    readonly List<ToolCall> calls = [];
    readonly StringBuilder first = new(); // arguments of the first call
    Part part;
    int start; // of the tag or the value
    bool outlived; // the value has gone on beyond the end of a block
    string? function;
    string parameter = "";
    StringBuilder arguments = new();

    public override void Push(ReadOnlySpan<char> body)
    {
        int at = body.Length - 1;
        char c = body[at];
        switch (part)
        {
            case Part.Between when c == '<':
                (part, start, State) = (Part.Tag, at, BlockState.Open);
                break;
            case Part.Between when !IsBlank(c):
                State = BlockState.Broken;
                break;
            case Part.Tag:
                InTag(body[start..]);
                break;
            case Part.Value when c is '>' or '=':
                InValue(body);
                break;
        }
    }

    void InTag(ReadOnlySpan<char> tag)
    {
        string expected =
            function is null ? FunctionOpen
            : tag.Length > 1 && tag[1] == '/' ? FunctionClose
            : ParameterOpen;
        int common = Math.Min(tag.Length, expected.Length);
        if (!tag[..common].SequenceEqual(expected.AsSpan(0, common)) || tag.Length > MaxTagLength)
        {
            State = BlockState.Broken;
        }
        else if (tag[^1] == '>')
        {
            if (expected == FunctionClose)
            {
                EndFunction();
                return;
            }

            string name = tag[expected.Length..^1].Trim().ToString();
            if (name.Length == 0)
            {
                State = BlockState.Broken;
            }
            else if (function is null)
            {
                (function, part) = (name, Part.Between);
                (arguments = calls.Count == 0 ? first : new()).Append('{');
                Name ??= name;
            }
            else
            {
                (parameter, part, outlived) = (name, Part.Value, false);
                start += tag.Length;
            }
        }
        else if (tag[^1] is '\n' or '<' && tag.Length > 1)
        {
            State = BlockState.Broken;
        }
    }

    void InValue(ReadOnlySpan<char> body)
    {
        ReadOnlySpan<char> value = body[start..];
        if (value.EndsWith(ParameterClose))
        {
            Add(value[..^ParameterClose.Length]);
            part = Part.Between;
        }
        else if (value.EndsWith(FunctionClose))
        {
            Add(value[..^FunctionClose.Length]);
            EndFunction();
        }
        else if (value.EndsWith(ParameterOpen))
        {
            Add(value[..^ParameterOpen.Length]);
            (part, start) = (Part.Tag, body.Length - ParameterOpen.Length);
        }
        else if (value.EndsWith(ReplyParser.BlockClose))
        {
            outlived = true; // it may be part of the value, or the value was never closed
        }
        else if (outlived && value.EndsWith(ReplyParser.BlockOpen))
        {
            State = BlockState.Broken;
        }
    }

    void EndFunction()
    {
        arguments.Append('}');
        calls.Add(new ToolCall(function!, Read(arguments.ToString())));
        (function, part, State) = (null, Part.Between, BlockState.Complete);
    }

    public override ReadOnlySpan<char> Arguments(ReadOnlySpan<char> body) => first.ToString();

    public override IReadOnlyList<ToolCall> Calls(ReadOnlySpan<char> body) => calls;

    void Add(ReadOnlySpan<char> value)
    {
        int from = value is ['\n', ..] ? 1 : 0;
        value = value[from..];
        value = value is [.., '\n'] ? value[..^1] : value;
        arguments
            .Append(arguments.Length > 1 ? ", " : "")
            .Append(Quote(parameter))
            .Append(": ")
            .Append(Typed(value.ToString(), Types()));
    }

    static string Quote(string text) => $"\"{JavaScriptEncoder.UnsafeRelaxedJsonEscaping.Encode(text)}\"";

    /// <summary>The value as JSON. Where several types are allowed and text is one of them, it is text.</summary>
    static string Typed(string value, HashSet<string> types)
    {
        string trimmed = value.Trim();
        if (trimmed.Equals("null", StringComparison.OrdinalIgnoreCase))
        {
            return "null";
        }

        if (types.Contains("string"))
        {
            return Quote(value);
        }

        if (trimmed.Length <= MaxNumberLength)
        {
            if (
                types.Contains("integer")
                && BigInteger.TryParse(trimmed, CultureInfo.InvariantCulture, out BigInteger whole)
            )
            {
                return whole.ToString(CultureInfo.InvariantCulture);
            }

            if (
                types.Contains("number")
                && double.TryParse(trimmed, NumberStyles.Float, CultureInfo.InvariantCulture, out double number)
                && double.IsFinite(number)
            )
            {
                return number.ToString("R", CultureInfo.InvariantCulture);
            }
        }

        if (types.Contains("boolean") && bool.TryParse(trimmed, out bool truth))
        {
            return truth ? "true" : "false";
        }

        return (types.Contains("object") || types.Contains("array")) && IsJson(trimmed) ? trimmed : Quote(value);
    }

    static bool IsJson(string text)
    {
        JsonScanner scanner = new();
        return text.All(scanner.Push) && scanner.IsComplete;
    }

    /// <summary>The types that the schema allows for the parameter; none where it says nothing.</summary>
    HashSet<string> Types()
    {
        HashSet<string> types = [];
        ToolDefinition? tool = tools.FirstOrDefault(t => t.Name == function);
        if (
            tool is { Parameters.ValueKind: JsonValueKind.Object }
            && tool.Parameters.TryGetProperty("properties", out JsonElement properties)
            && properties.ValueKind == JsonValueKind.Object
            && properties.TryGetProperty(parameter, out JsonElement schema)
        )
        {
            AddTypes(schema, types);
        }

        return types;
    }

    static void AddTypes(JsonElement schema, HashSet<string> types)
    {
        if (schema.ValueKind != JsonValueKind.Object)
        {
            return;
        }

        if (schema.TryGetProperty("type", out JsonElement type))
        {
            foreach (
                JsonElement one in type.ValueKind == JsonValueKind.Array
                    ? [.. type.EnumerateArray()]
                    : (JsonElement[])[type]
            )
            {
                if (one.ValueKind == JsonValueKind.String)
                {
                    types.Add(one.GetString()!);
                }
            }
        }

        foreach (string choice in (string[])["anyOf", "oneOf"])
        {
            if (schema.TryGetProperty(choice, out JsonElement choices) && choices.ValueKind == JsonValueKind.Array)
            {
                foreach (JsonElement one in choices.EnumerateArray())
                {
                    AddTypes(one, types);
                }
            }
        }
    }
}
