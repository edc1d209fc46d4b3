using System.Text;
using VlmSharp.Chat.Replies;
using Xunit;

namespace VlmSharp.Tests.Chat.Replies;

/// <summary>Adds up the deltas of a reply as a client does, and checks that they come in an order a client can follow.</summary>
sealed class Joined
{
    readonly List<(string Name, StringBuilder Json, ToolCall? Call)> calls = [];
    readonly StringBuilder reasoning = new();
    readonly StringBuilder content = new();

    /// <summary>How often something had to be taken back.</summary>
    public int Withdrawn { get; private set; }

    public string Reasoning => reasoning.ToString();

    public string Content => content.ToString();

    public IReadOnlyList<ToolCall> Calls =>
        [
            .. calls.Select(call =>
            {
                Assert.NotNull(call.Call);
                Assert.Equal(call.Name, call.Call.Name);
                Assert.Equal(call.Json.ToString(), call.Call.Arguments.GetRawText());
                return call.Call;
            }),
        ];

    public void Add(ReplyDelta delta)
    {
        switch (delta)
        {
            case ReasoningDelta { Text: var text }:
                Assert.NotEmpty(text);
                reasoning.Append(text);
                break;
            case ContentDelta { Text: var text }:
                Assert.NotEmpty(text);
                content.Append(text);
                break;
            case ToolCallBegun begun:
                Assert.Equal(calls.Count, begun.Index);
                calls.Add((begun.Name, new StringBuilder(), null));
                break;
            case ToolCallArguments arguments:
                Assert.Equal(calls.Count - 1, arguments.Index);
                calls[^1].Json.Append(arguments.Json);
                break;
            case ToolCallCompleted completed:
                Assert.Equal(calls.Count - 1, completed.Index);
                calls[^1] = calls[^1] with { Call = completed.Call };
                break;
            case ToolCallWithdrawn withdrawn:
                Assert.Equal(calls.Count - 1, withdrawn.Index);
                Assert.Null(calls[^1].Call);
                calls.RemoveAt(calls.Count - 1);
                Withdrawn++;
                break;
        }
    }

    /// <summary>Divides a text that comes in pieces; what the deltas add up to is what the parser says at the end.</summary>
    public static (Reply Reply, Joined Deltas) Parse(ReplyFormat format, IEnumerable<string> pieces)
    {
        Joined joined = new();
        ReplyParser parser = new(format, joined.Add);
        foreach (string piece in pieces)
        {
            parser.Push(piece);
        }

        Reply reply = parser.Finish();
        Assert.Equal(reply.Reasoning, joined.Reasoning);
        Assert.Equal(reply.Content, joined.Content);
        Assert.Equal(reply.ToolCalls, joined.Calls);
        return (reply, joined);
    }

    /// <summary>Cuts a text into pieces of some length.</summary>
    public static IEnumerable<string> Cut(string text, int length)
    {
        for (int i = 0; i < text.Length; i += length)
        {
            yield return text[i..Math.Min(text.Length, i + length)];
        }
    }

    /// <summary>Cuts a text into pieces of random lengths from 0.</summary>
    public static IEnumerable<string> Cut(string text, Random random)
    {
        for (int i = 0; i < text.Length; )
        {
            int end = Math.Min(text.Length, i + random.Next(12));
            yield return text[i..end];
            i = end;
        }
    }
}
