using VlmSharp.Generation;

namespace VlmSharp.Chat.Replies;

/// <summary>How a model writes the calls between <c>&lt;tool_call&gt;</c> and <c>&lt;/tool_call&gt;</c>.</summary>
public enum ToolCallFormat
{
    /// <summary>A JSON object with <c>name</c> and <c>arguments</c> (Hermes 2 Pro, Qwen2.5, Qwen3, Qwen3-VL).</summary>
    Hermes,

    /// <summary><c>&lt;function=name&gt;</c> around <c>&lt;parameter=key&gt;</c> elements (Qwen3-Coder, Qwen3.5).</summary>
    Qwen3Coder,
}

/// <summary>What a reply may consist of besides its content; nothing unless something is said.</summary>
public sealed record ReplyFormat
{
    /// <summary>Whether the text may begin with or hold thoughts.</summary>
    public ThinkingMode Thinking { get; init; }

    /// <summary>How calls are written; null where no tools were offered, so that tags are text.</summary>
    public ToolCallFormat? ToolCalls { get; init; }

    /// <summary>The tools that were offered: their schemas give the values of <see cref="ToolCallFormat.Qwen3Coder"/> their types.</summary>
    public IReadOnlyList<ToolDefinition> Tools { get; init; } = [];

    /// <summary>
    /// Whether a call is announced, and its arguments are passed on, while it is being written. Whether a block is a call is known
    /// only at its end: what turns out not to be one is then taken back with <see cref="ToolCallWithdrawn"/>. Otherwise calls come
    /// when they are complete and nothing is ever taken back.
    /// </summary>
    public bool StreamArguments { get; init; }
}

/// <summary>A piece of a reply as it arrives.</summary>
public abstract record ReplyDelta;

/// <summary>More of the thoughts.</summary>
/// <param name="Text">At least one character.</param>
public sealed record ReasoningDelta(string Text) : ReplyDelta;

/// <summary>More of the content.</summary>
/// <param name="Text">At least one character.</param>
public sealed record ContentDelta(string Text) : ReplyDelta;

/// <summary>A call begins; its arguments follow.</summary>
/// <param name="Index">Its place among the calls of the reply, from 0.</param>
/// <param name="Name">The tool.</param>
public sealed record ToolCallBegun(int Index, string Name) : ReplyDelta;

/// <summary>More of a call's arguments.</summary>
/// <param name="Index">The call.</param>
/// <param name="Json">A piece of JSON; all pieces of a call together are its arguments.</param>
public sealed record ToolCallArguments(int Index, string Json) : ReplyDelta;

/// <summary>A call is complete.</summary>
/// <param name="Index">The call.</param>
/// <param name="Call">All of it.</param>
public sealed record ToolCallCompleted(int Index, ToolCall Call) : ReplyDelta;

/// <summary>What had begun as a call is none; its text follows as content. Only with <see cref="ReplyFormat.StreamArguments"/>.</summary>
/// <param name="Index">The call, whose index is free again.</param>
public sealed record ToolCallWithdrawn(int Index) : ReplyDelta;

/// <summary>What a model's answer consists of.</summary>
/// <param name="Reasoning">The thoughts, empty where there are none.</param>
/// <param name="Content">The text outside of thoughts and calls. Line feeds that only separate it from those are left out.</param>
/// <param name="ToolCalls">The calls, in their order.</param>
public sealed record Reply(string Reasoning, string Content, IReadOnlyList<ToolCall> ToolCalls)
{
    /// <summary>Divides a whole text.</summary>
    public static Reply Parse(string text, ReplyFormat format)
    {
        ReplyParser parser = new(format);
        parser.Push(text);
        return parser.Finish();
    }
}
