using System.Text;
using System.Text.Json;

namespace VlmSharp.Chat.Replies;

/// <summary>What is known of a block that may hold calls.</summary>
enum BlockState
{
    /// <summary>It may become a call, but is none yet.</summary>
    Open,

    /// <summary>It is whole; the block may end here.</summary>
    Complete,

    /// <summary>It can never become a call.</summary>
    Broken,
}

/// <summary>Follows the text behind <c>&lt;tool_call&gt;</c>.</summary>
abstract class CallBlock
{
    protected static JsonElement EmptyObject { get; } = JsonElement.Parse("{}"u8);

    /// <summary>What is known so far.</summary>
    public BlockState State { get; protected set; }

    /// <summary>The tool that the first call names, as soon as it is known; null before, and where it is known only at the end.</summary>
    public string? Name { get; protected set; }

    /// <summary>Takes the next character.</summary>
    /// <param name="body">The text behind the tag up to that character.</param>
    public abstract void Push(ReadOnlySpan<char> body);

    /// <summary>As much of the first call's arguments, as JSON, as can be told where <see cref="Name"/> is known.</summary>
    public abstract ReadOnlySpan<char> Arguments(ReadOnlySpan<char> body);

    /// <summary>The calls of a block that is complete; null if it holds something else.</summary>
    public abstract IReadOnlyList<ToolCall>? Calls(ReadOnlySpan<char> body);

    /// <summary>Reads JSON that a <see cref="JsonScanner"/> has accepted, or that was written here.</summary>
    protected static JsonElement Read(ReadOnlySpan<char> json)
    {
        byte[] utf8 = new byte[Encoding.UTF8.GetByteCount(json)];
        Encoding.UTF8.GetBytes(json, utf8);
        return JsonElement.Parse(utf8, new JsonDocumentOptions { MaxDepth = JsonScanner.MaxDepth + 2 });
    }

    public static bool IsBlank(char c) => c is ' ' or '\t' or '\n' or '\r';
}

/// <summary>JSON objects with <c>name</c> and <c>arguments</c>: one, or a list of them.</summary>
sealed class HermesBlock : CallBlock
{
    readonly JsonScanner json = new();
    bool isObject;
    string key = "";
    int text; // where the string that is being read begins
    int argumentsStart = -1;
    int argumentsEnd = -1;

    public override void Push(ReadOnlySpan<char> body)
    {
        int at = body.Length - 1;
        (bool wasText, int depth) = (json.InText, json.Depth);
        if (!json.Push(body[at]))
        {
            State = BlockState.Broken;
            return;
        }

        State = json.IsComplete ? BlockState.Complete : BlockState.Open;
        if (depth == 0)
        {
            isObject |= body[at] == '{';
        }
        else if (isObject && depth == 1)
        {
            FollowField(body, at, wasText);
        }
        else if (depth == 2 && json.Depth == 1 && argumentsStart >= 0 && argumentsEnd < 0)
        {
            argumentsEnd = at + 1;
        }
    }

    /// <summary>Looks for name and arguments among the fields of the call, for whoever wants to hear of them early.</summary>
    void FollowField(ReadOnlySpan<char> body, int at, bool wasText)
    {
        if (!wasText && json.InText)
        {
            text = at + 1;
        }
        else if (wasText && !json.InText)
        {
            ReadOnlySpan<char> ended = body[text..at];
            if (json.AfterKey)
            {
                key = ended.ToString();
            }
            else if (key == "name" && Name is null && !ended.IsEmpty && !ended.Contains('\\'))
            {
                Name = ended.ToString();
            }
        }
        else if (json.Depth == 2 && body[at] == '{' && key is "arguments" or "parameters" && argumentsStart < 0)
        {
            argumentsStart = at;
        }
    }

    public override ReadOnlySpan<char> Arguments(ReadOnlySpan<char> body) =>
        argumentsStart < 0 ? []
        : argumentsEnd < 0 ? body[argumentsStart..]
        : body[argumentsStart..argumentsEnd];

    public override IReadOnlyList<ToolCall>? Calls(ReadOnlySpan<char> body)
    {
        JsonElement root = Read(body);
        List<ToolCall> calls = [];
        foreach (JsonElement one in root.ValueKind == JsonValueKind.Object ? [root] : root.EnumerateArray().ToArray())
        {
            if (Call(one) is not { } call)
            {
                return null;
            }

            calls.Add(call);
        }

        return calls.Count > 0 ? calls : null;
    }

    static ToolCall? Call(JsonElement json) =>
        json.ValueKind == JsonValueKind.Object
        && json.TryGetProperty("name", out JsonElement name)
        && name.ValueKind == JsonValueKind.String
        && name.GetString() is { Length: > 0 } tool
            ? new ToolCall(
                tool,
                json.TryGetProperty("arguments", out JsonElement arguments)
                || json.TryGetProperty("parameters", out arguments)
                    ? arguments
                    : EmptyObject
            )
            : null;
}
