using System.Text.Json;
using VlmSharp.Chat.Replies;
using VlmSharp.Generation;
using Xunit;

namespace VlmSharp.Tests.Chat.Replies;

public sealed class ReplyParserTests
{
    static readonly ReplyFormat Hermes = new() { ToolCalls = ToolCallFormat.Hermes };
    static readonly ReplyFormat Coder = new() { ToolCalls = ToolCallFormat.Qwen3Coder };

    static string Names(Reply reply) => string.Join(' ', reply.ToolCalls.Select(c => c.Name));

    static string Arguments(Reply reply) => Assert.Single(reply.ToolCalls).Arguments.GetRawText();

    [Fact]
    public void Without_thoughts_and_tools_the_content_is_the_text_itself()
    {
        const string text = "\n\n<think>a</think>\n<tool_call>\n{\"name\": \"x\"}\n</tool_call>\n\n";
        Assert.Equal(text, Reply.Parse(text, new ReplyFormat()).Content);
    }

    [Theory]
    [InlineData("a\n\nb\n")]
    [InlineData("\n\n")]
    [InlineData("\n x \n <")]
    public void A_text_without_thoughts_and_calls_stays_as_it_is_where_they_are_possible(string text) =>
        Assert.Equal(text, Reply.Parse(text, Hermes with { Thinking = ThinkingMode.Optional }).Content);

    [Fact]
    public void Line_feeds_that_only_separate_are_left_out()
    {
        Reply reply = Reply.Parse(
            "\nthought\n\n</think>\n\nOne.\n\nTwo.\n<tool_call>{\"name\": \"a\"}</tool_call>\n<tool_call>{\"name\": \"b\"}</tool_call>\n",
            Hermes with
            {
                Thinking = ThinkingMode.Open,
            }
        );
        Assert.Equal(("thought", "One.\n\nTwo.", "a b"), (reply.Reasoning, reply.Content, Names(reply)));
    }

    [Fact]
    public void A_block_that_is_never_closed_does_not_swallow_the_next()
    {
        Reply reply = Reply.Parse(
            "<tool_call>{\"name\": \"a\n<tool_call>{\"name\": \"b\"}\n<tool_call>{\"name\": \"c\"}</tool_call>",
            Hermes
        );
        Assert.Equal(("<tool_call>{\"name\": \"a", "b c"), (reply.Content.TrimEnd(), Names(reply)));
    }

    [Theory]
    [InlineData("""{"name": "x", "arguments": {"a": "\ud800"}}""")]
    [InlineData("""{"name": "x", "arguments": {"a": 01}}""")]
    [InlineData("""{"name": ""}""")]
    [InlineData("""{"name": 7}""")]
    [InlineData("""[]""")]
    [InlineData("""[{"name": "x"}, 7]""")]
    [InlineData("""{"name": "x"} // done""")]
    public void A_block_without_a_readable_call_is_text(string body)
    {
        string text = $"<tool_call>{body}</tool_call>";
        Reply reply = Reply.Parse(text, Hermes);
        Assert.Equal((text, ""), (reply.Content, Names(reply)));
    }

    [Fact]
    public void Nesting_and_digits_have_limits_beyond_which_a_block_is_text()
    {
        string deep = new string('[', 400) + new string(']', 400);
        string[] arguments = [deep, new string('9', 5000)];
        Assert.All(
            arguments,
            value =>
            {
                string text = $"<tool_call>{{\"name\": \"x\", \"arguments\": {value}}}</tool_call>";
                Assert.Equal(text, Reply.Parse(text, Hermes).Content);
            }
        );
    }

    [Fact]
    public void The_last_of_two_equal_fields_counts_also_where_the_first_was_sent_already()
    {
        const string text =
            "<tool_call>{\"name\": \"a\", \"arguments\": {\"x\": 1}, \"name\": \"b\", \"arguments\": {}}</tool_call>";
        (Reply reply, Joined deltas) = Joined.Parse(Hermes with { StreamArguments = true }, Joined.Cut(text, 1));
        Assert.Equal(("b", "{}", 1), (Names(reply), Arguments(reply), deltas.Withdrawn));
    }

    [Fact]
    public void Arguments_are_streamed_while_they_are_written_where_that_is_wanted()
    {
        const string text = "<tool_call>{\"name\": \"a\", \"arguments\": {\"x\": [1, 2]}}</tool_call>";
        List<ReplyDelta> deltas = [];
        ReplyParser parser = new(Hermes with { StreamArguments = true }, deltas.Add);
        parser.Push(text.AsSpan(0, text.IndexOf('1')));
        Assert.Equal([new ToolCallBegun(0, "a"), new ToolCallArguments(0, "{\"x\": [")], deltas);
        parser.Push(text.AsSpan(text.IndexOf('1')));
        parser.Finish();
        Assert.Equal(new ToolCallArguments(0, "1, 2]}"), deltas[2]);
        Assert.IsType<ToolCallCompleted>(deltas[3]);
    }

    [Fact]
    public void Calls_come_whole_where_nothing_may_be_taken_back()
    {
        const string text = "Look: <tool_call>{\"name\": \"a\", \"arguments\": {\"x\": [1, 2]}}</tool_call>";
        List<ReplyDelta> deltas = [];
        ReplyParser parser = new(Hermes, deltas.Add);
        parser.Push(text.AsSpan(0, text.Length - 1));
        Assert.Equal([new ContentDelta("Look: ")], deltas);
        parser.Push(text.AsSpan(text.Length - 1));
        Assert.Equal(4, deltas.Count);
    }

    [Fact]
    public void Thoughts_that_only_mention_the_tag_of_a_call_are_not_held_back()
    {
        List<ReplyDelta> deltas = [];
        ReplyParser parser = new(Hermes with { Thinking = ThinkingMode.Open }, deltas.Add);
        parser.Push("I use <tool_call> now");
        Assert.Equal([new ReasoningDelta("I use <tool_call> now")], deltas);
    }

    [Fact]
    public void A_call_cut_off_inside_thoughts_is_a_thought()
    {
        const string text = "hm <tool_call>{\"name\": \"a";
        Reply reply = Reply.Parse(text, Hermes with { Thinking = ThinkingMode.Open });
        Assert.Equal((text, "", ""), (reply.Reasoning, reply.Content, Names(reply)));
    }

    [Theory]
    [InlineData("integer", "7", "7")]
    [InlineData("integer", "12345678901234567890123", "12345678901234567890123")]
    [InlineData("integer", "7.5", "\"7.5\"")]
    [InlineData("number", "1e3", "1000")]
    [InlineData("number", "NaN", "\"NaN\"")]
    [InlineData("boolean", "True", "true")]
    [InlineData("boolean", "perhaps", "\"perhaps\"")]
    [InlineData("array", "[1, [2]]", "[1, [2]]")]
    [InlineData("object", "{'a': 1}", "\"{'a': 1}\"")]
    [InlineData("string", "\"q\" \\ \n\u0001", "\"\\\"q\\\" \\\\ \\n\\u0001\"")]
    public void Values_get_the_type_of_the_schema_or_stay_text(string type, string value, string expected)
    {
        JsonElement schema = JsonElement.Parse(
            """{"properties": {"p": {"anyOf": [{"type": "TYPE"}]}}}""".Replace("TYPE", type)
        );
        Reply reply = Reply.Parse(
            $"<tool_call><function=f><parameter=p>\n{value}\n</parameter></function></tool_call>",
            Coder with
            {
                Tools = [new ToolDefinition("f", parameters: schema)],
            }
        );
        Assert.Equal($"{{\"p\": {expected}}}", Arguments(reply));
    }

    [Theory]
    [InlineData(
        "<tool_call><function=f><parameter=p>see </tool_call> there</parameter></function></tool_call>",
        "f",
        ""
    )]
    [InlineData("<tool_call><function=f></function><function=g></function></tool_call>", "f g", "")]
    [InlineData("<tool_call><function=f></function>", "f", "")]
    [InlineData(
        "<tool_call><function=f><parameter=p>never</tool_call>\n<tool_call><function=g></function></tool_call>",
        "g",
        "<tool_call><function=f><parameter=p>never</tool_call>"
    )]
    [InlineData("<tool_call><function=>x</tool_call>", "", "<tool_call><function=>x</tool_call>")]
    [InlineData(
        "<tool_call><function=f>text</function></tool_call>",
        "",
        "<tool_call><function=f>text</function></tool_call>"
    )]
    public void Blocks_with_function_elements_follow_the_same_rules(string text, string names, string content)
    {
        foreach (int length in (int[])[text.Length, 1, 3])
        {
            (Reply reply, _) = Joined.Parse(Coder, Joined.Cut(text, length));
            Assert.Equal((names, content), (Names(reply), reply.Content.TrimEnd()));
        }
    }

    [Theory]
    [InlineData(ToolCallFormat.Hermes)]
    [InlineData(ToolCallFormat.Qwen3Coder)]
    public void Random_replies_mean_the_same_however_they_are_divided_and_lose_no_text(ToolCallFormat calls)
    {
        string[] parts =
        [
            "<think>",
            "</think>",
            "<tool_call>",
            "</tool_call>",
            "</tool",
            "<",
            "\n",
            "text",
            "{\"name\": \"a\", \"arguments\": {\"x\": \"",
            "\"}}",
            "{\"name\": \"b\"}",
            "[",
            "]",
            ", ",
            "<function=f>",
            "</function>",
            "<parameter=p>",
            "</parameter>",
            "\\",
        ];
        Random random = new(3);
        for (int i = 0; i < 4000; i++)
        {
            string text = string.Concat(random.GetItems(parts, random.Next(1, 14)));
            ReplyFormat format = new() { ToolCalls = calls, Thinking = (ThinkingMode)random.Next(3) };
            Reply whole = Reply.Parse(text, format);
            for (int j = 0; j < 6; j++)
            {
                (Reply divided, Joined deltas) = Joined.Parse(
                    format with
                    {
                        StreamArguments = j % 2 == 0,
                    },
                    j < 2 ? Joined.Cut(text, 1) : Joined.Cut(text, random)
                );
                Assert.Equal((whole.Reasoning, whole.Content), (divided.Reasoning, divided.Content));
                Assert.Equal(
                    whole.ToolCalls.Select(c => (c.Name, c.Arguments.GetRawText())),
                    divided.ToolCalls.Select(c => (c.Name, c.Arguments.GetRawText()))
                );
                Assert.True(j % 2 == 0 || deltas.Withdrawn == 0);
            }

            if (whole.ToolCalls.Count == 0 && format.Thinking == ThinkingMode.None)
            {
                Assert.Equal(text, whole.Content);
            }
        }
    }

    [Theory]
    [InlineData(ToolCallFormat.Hermes, "<tool_call>")]
    [InlineData(ToolCallFormat.Hermes, "<tool_call>{\"")]
    [InlineData(ToolCallFormat.Hermes, "<tool_call>[\",\"")]
    [InlineData(ToolCallFormat.Qwen3Coder, "<tool_call><function=f><parameter=p>")]
    public void Text_made_to_be_read_again_and_again_ends_soon(ToolCallFormat calls, string part)
    {
        string text = string.Concat(Enumerable.Repeat(part, 20_000));
        Reply reply = Reply.Parse(text, new ReplyFormat { ToolCalls = calls });
        Assert.Equal(text, reply.Content);
    }

    [Fact]
    public void Scanned_JSON_is_what_a_JSON_reader_accepts()
    {
        const string characters = "{}[]\",:\\u0aEe+-.tfn ulre1\n\ud83d\ude00";
        string[] seeds =
        [
            """{"a": [1, -0.5e+3, true, null], "b": {"c": "x\u00e9\ud83d\ude00\n"}}""",
            """[{}, [], "", false, 10]""",
            """{"k": "😀"}""",
        ];
        Random random = new(4);
        int accepted = 0;
        for (int i = 0; i < 60_000; i++)
        {
            List<char> text = [.. seeds[i % seeds.Length]];
            for (int edits = random.Next(4); edits > 0; edits--)
            {
                int at = random.Next(text.Count);
                text.RemoveRange(at, Math.Min(random.Next(2), text.Count - at));
                text.InsertRange(at, random.GetItems<char>(characters, random.Next(2)));
            }

            string json = new([.. text]);
            JsonScanner scanner = new();
            bool scanned = json.All(scanner.Push) && scanner.IsComplete;
            Assert.True(scanned == Reads(json), json);
            accepted += scanned ? 1 : 0;
        }

        Assert.True(accepted > 10_000);

        static bool Reads(string json)
        {
            try
            {
                JsonElement root = JsonElement.Parse(new System.Text.UTF8Encoding(false, true).GetBytes(json));
                GetStrings(root);
                return root.ValueKind is JsonValueKind.Object or JsonValueKind.Array;
            }
            catch (Exception e) when (e is JsonException or InvalidOperationException or ArgumentException)
            {
                return false; // InvalidOperationException: half of a surrogate pair
            }
        }

        static void GetStrings(JsonElement json)
        {
            switch (json.ValueKind)
            {
                case JsonValueKind.Object:
                    foreach (JsonProperty property in json.EnumerateObject())
                    {
                        _ = property.Name;
                        GetStrings(property.Value);
                    }

                    break;
                case JsonValueKind.Array:
                    foreach (JsonElement item in json.EnumerateArray())
                    {
                        GetStrings(item);
                    }

                    break;
                case JsonValueKind.String:
                    _ = json.GetString();
                    break;
            }
        }
    }
}
