using System.Text.Json;
using System.Text.RegularExpressions;
using VlmSharp.Chat.Replies;
using VlmSharp.Generation;
using VlmSharp.Testing;
using Xunit;

namespace VlmSharp.Tests.Chat.Replies;

/// <summary>What published parsers make of the same answers; see tests/goldens/toolcalls.</summary>
public sealed partial class ToolCallGoldenTests
{
    static readonly JsonElement Golden = JsonElement.Parse(File.ReadAllBytes(Goldens.Local("toolcalls/rows.json")));

    static readonly ToolDefinition[] Tools =
    [
        .. Golden.GetProperty("tools").EnumerateArray().Select(ToolDefinition.Parse),
    ];

    public static TheoryData<string> Rows =>
        [.. Golden.GetProperty("rows").EnumerateArray().Select(row => row.GetProperty("id").GetString()!)];

    [Theory]
    [MemberData(nameof(Rows))]
    public void A_reply_means_what_the_golden_says_however_it_is_divided(string id)
    {
        JsonElement row = Golden
            .GetProperty("rows")
            .EnumerateArray()
            .Single(r => r.GetProperty("id").GetString() == id);
        string text = row.GetProperty("text").GetString()!;
        string[] golden =
        [
            .. row.GetProperty("pieces").GetProperty("random").EnumerateArray().Select(e => e.GetString()!),
        ];
        Random random = new(1);
        string[][] divisions =
        [
            [text],
            golden,
            [.. Joined.Cut(text, 1)],
            [.. Joined.Cut(text, 2)],
            [.. Joined.Cut(text, 5)],
            Tags().Split(text),
            .. Enumerable.Range(0, 100).Select(_ => Joined.Cut(text, random).ToArray()),
        ];
        foreach (bool streamed in (bool[])[false, true])
        {
            ReplyFormat format = Format(row) with { StreamArguments = streamed };
            foreach (string[] pieces in divisions)
            {
                (Reply reply, Joined deltas) = Joined.Parse(format, pieces);
                Check(row.GetProperty("expect"), reply);
                if (!streamed || !row.TryGetProperty("kept_as_text", out _))
                {
                    Assert.Equal(0, deltas.Withdrawn);
                }
            }
        }
    }

    static void Check(JsonElement expected, Reply reply)
    {
        Assert.Equal(Normal(expected.GetProperty("reasoning").GetString()!), Normal(reply.Reasoning));
        Assert.Equal(Normal(expected.GetProperty("content").GetString()!), Normal(reply.Content));
        JsonElement[] calls = [.. expected.GetProperty("tool_calls").EnumerateArray()];
        Assert.Equal(calls.Select(c => c.GetProperty("name").GetString()), reply.ToolCalls.Select(c => c.Name));
        foreach ((JsonElement call, ToolCall actual) in calls.Zip(reply.ToolCalls))
        {
            Assert.True(
                JsonElement.DeepEquals(call.GetProperty("arguments"), actual.Arguments),
                $"{actual.Name}: {actual.Arguments.GetRawText()}, expected {call.GetProperty("arguments").GetRawText()}"
            );
        }
    }

    /// <summary>Blanks trimmed at both ends, runs of blanks and line feeds taken as one.</summary>
    static string Normal(string text) => Blanks().Replace(text, " ").Trim();

    static ReplyFormat Format(JsonElement row) =>
        new()
        {
            Thinking = Enum.Parse<ThinkingMode>(row.GetProperty("thinking").GetString()!, ignoreCase: true),
            ToolCalls =
                row.GetProperty("format").GetString() == "hermes" ? ToolCallFormat.Hermes : ToolCallFormat.Qwen3Coder,
            Tools = Tools,
        };

    [Fact]
    public void Thoughts_and_answer_divide_as_in_the_reference()
    {
        JsonElement cases = JsonElement
            .Parse(File.ReadAllBytes(Goldens.Shared("golden/qwen3-vl-thinking/case.json")))
            .GetProperty("splitting")
            .GetProperty("cases");
        Random random = new(2);
        ReplyFormat format = new() { Thinking = ThinkingMode.Open };
        foreach (JsonElement one in cases.EnumerateArray())
        {
            string text = one.GetProperty("output").GetString()!;
            for (int i = 0; i < 100; i++)
            {
                (Reply reply, _) = Joined.Parse(format, i < 9 ? Joined.Cut(text, i + 1) : Joined.Cut(text, random));
                Assert.Equal(one.GetProperty("reasoning").GetString()!.Trim('\n'), reply.Reasoning);
                Assert.Equal(one.GetProperty("content").GetString()!.Trim('\n'), reply.Content);
            }
        }
    }

    [GeneratedRegex("(</?[a-z_]+>)")]
    private static partial Regex Tags();

    [GeneratedRegex("[ \n]+")]
    private static partial Regex Blanks();
}
