using System.Text.Json;
using System.Text.Json.Nodes;
using VlmSharp.Chat;
using VlmSharp.Chat.Replies;
using VlmSharp.Generation;
using VlmSharp.Models;
using VlmSharp.Testing;
using VlmSharp.Text.Templates;
using VlmSharp.Verification;
using Xunit;

namespace VlmSharp.Tests.Chat.Replies;

/// <summary>What earlier turns with thoughts and calls become in the prompt.</summary>
public sealed class HistoryTests
{
    static readonly ToolDefinition Zoom = new(
        "zoom",
        "Zoom in.",
        JsonElement.Parse("""{"type": "object", "properties": {"bbox_2d": {"type": "array"}}}""")
    );

    [Fact]
    public void The_thinking_template_gets_what_the_reference_gives_it()
    {
        using TemporaryDirectory copy = TemporaryDirectory.CopyOf(Goldens.Shared("golden/qwen3-vl-thinking"));
        JsonNode json = JsonNode.Parse(File.ReadAllText(copy["case.json"]))!;
        json["architecture"] = ModelRegistry.Names.First(); // only its prompts are looked at
        foreach (JsonNode? request in json["requests"]!.AsArray())
        {
            request!["max_new_tokens"] ??= 0;
            request["answer_ids"] ??= new JsonArray();
            request["answer"] ??= "";
        }

        File.WriteAllText(copy["case.json"], json.ToJsonString());
        GoldenCase golden = GoldenCase.Open(copy.Path);
        ChatTemplate template = ChatTemplate.Parse(File.ReadAllText(golden.ChatTemplate!), "thinking");
        Assert.Equal(5, golden.Requests.Count);
        Assert.All(
            golden.Requests,
            request =>
                Assert.Equal(
                    request.Prompt,
                    template.Render(PromptBuilder.Variables(request.Messages, request.TemplateOptions)).Text
                )
        );
    }

    [Fact]
    public void Every_published_template_renders_typed_messages_as_it_renders_the_messages_of_clients()
    {
        Dictionary<string, ChatTemplate> templates = [];
        int compared = 0;
        foreach (string line in File.ReadLines(Goldens.Shared("golden/templates/cases.jsonl")))
        {
            JsonElement row = JsonElement.Parse(line);
            if (
                !row.TryGetProperty("expected", out JsonElement expected)
                || row.GetProperty("options").TryGetProperty("continue_final_message", out _)
                || Typed(row.GetProperty("messages")) is not { } messages
                || !Typed(row.GetProperty("tools"), out ToolDefinition[] tools)
            )
            {
                continue;
            }

            Dictionary<string, TemplateValue> options = new() { ["add_generation_prompt"] = false };
            foreach (
                JsonProperty option in row.GetProperty("options")
                    .EnumerateObject()
                    .Concat(row.GetProperty("variables").EnumerateObject())
            )
            {
                options[option.Name] = TemplateValue.From(option.Value, userText: false);
            }

            options["documents"] = row.TryGetProperty("documents", out JsonElement documents)
                ? TemplateValue.From(documents, userText: false)
                : TemplateValue.None;
            string name = row.GetProperty("template").GetString()!;
            if (!templates.TryGetValue(name, out ChatTemplate? template))
            {
                string source = File.ReadAllText(Goldens.Shared($"golden/templates/templates/{name}"));
                templates[name] = template = ChatTemplate.Parse(source, name);
            }

            RenderedPrompt prompt = template.Render(
                PromptBuilder.Variables(messages, options, tools),
                clock: new FixedClock()
            );
            Assert.True(
                expected.GetString() == prompt.Text,
                $"{name}, {row.GetProperty("conversation")}:\n{expected}\nbut\n{prompt.Text}"
            );
            compared++;
        }

        Assert.True(compared > 500, $"only {compared} conversations were compared");
    }

    /// <summary>Messages of text alone in typed form; null for others.</summary>
    static ChatMessage[]? Typed(JsonElement messages)
    {
        List<ChatMessage> typed = [];
        foreach (JsonElement message in messages.EnumerateArray())
        {
            if (
                !message.TryGetProperty("content", out JsonElement content)
                || content.ValueKind != JsonValueKind.String
            )
            {
                return null;
            }

            List<ToolCall> calls = [];
            if (message.TryGetProperty("tool_calls", out JsonElement given))
            {
                foreach (JsonElement call in given.EnumerateArray())
                {
                    JsonElement function = call.GetProperty("function");
                    calls.Add(
                        new ToolCall(
                            function.GetProperty("name").GetString()!,
                            function.GetProperty("arguments"),
                            call.TryGetProperty("id", out JsonElement id) ? id.GetString() : null
                        )
                    );
                }
            }

            typed.Add(
                new ChatMessage(message.GetProperty("role").GetString()!, [new ChatText(content.GetString()!)])
                {
                    Reasoning = Optional(message, "reasoning_content"),
                    ToolCalls = calls,
                    ToolCallId = Optional(message, "tool_call_id"),
                    Name = Optional(message, "name"),
                }
            );
        }

        return [.. typed];

        static string? Optional(JsonElement message, string name) =>
            message.TryGetProperty(name, out JsonElement value) ? value.GetString() : null;
    }

    static bool Typed(JsonElement given, out ToolDefinition[] tools)
    {
        JsonElement[] all = given.ValueKind == JsonValueKind.Null ? [] : [.. given.EnumerateArray()];
        bool usual = all.All(tool => tool.TryGetProperty("function", out _));
        tools = usual ? [.. all.Select(ToolDefinition.Parse)] : [];
        return usual;
    }

    [Fact]
    public void An_answer_is_remembered_in_its_parts()
    {
        using ChatModel chat = ThinkingModel.Load();
        using Conversation conversation = new(chat, 2048) { Tools = [Zoom] };
        const string call = """{"name": "zoom", "arguments": {"bbox_2d": [1, 2]}}""";
        string text = $"Hm.\n</think>\n\nI look.\n<tool_call>\n{call}\n</tool_call>";
        Joined deltas = new();
        ChatAnswer answer = conversation.Ask(
            ChatMessage.User(new ChatText("Zoom")),
            ThinkingModel.Writes(chat, text),
            onDelta: deltas.Add
        );
        Assert.Equal(text, answer.Text);
        Assert.Equal(("Hm.", "I look."), (answer.Reasoning, answer.Content));
        Assert.Equal(("Hm.", "I look."), (deltas.Reasoning, deltas.Content));
        Assert.Equal(answer.ToolCalls, deltas.Calls);
        ToolCall zoom = Assert.Single(answer.ToolCalls);
        Assert.Equal(("zoom", """{"bbox_2d": [1, 2]}"""), (zoom.Name, zoom.Arguments.GetRawText()));

        Prompt prompt = chat.Prompts.Build(
            [.. conversation.Messages, ChatMessage.ToolResult([new ChatText("two")])],
            tools: [Zoom]
        );
        Assert.Contains(
            $"<|im_start|>assistant\n[Hm.]I look.\n<tool_call>\n{call}\n</tool_call><|im_end|>\n<|im_start|>tool\ntwo<|im_end|>",
            prompt.Text
        );
    }

    [Fact]
    public void A_result_of_a_tool_is_read_behind_the_thoughts_and_the_call_that_are_in_the_cache()
    {
        using ChatModel chat = ThinkingModel.Load(
            template: Goldens.Shared("golden/qwen3-vl-thinking/chat_template.jinja")
        );
        using Conversation conversation = new(chat, 4096) { Tools = [Zoom] };
        ChatAnswer call = conversation.Ask(
            ChatMessage.User(new ChatText("Zoom")),
            ThinkingModel.Writes(
                chat,
                """
                Let me zoom.
                </think>

                I look.
                <tool_call>
                {"name": "zoom", "arguments": {"bbox_2d": [1, 2], "label": "é"}}
                </tool_call>
                """
            )
        );
        ChatAnswer answer = conversation.Ask(
            ChatMessage.ToolResult([new ChatText("two")], "zoom"),
            ThinkingModel.Writes(chat, "Two it is.\n</think>\n\nTwo.")
        );
        Assert.True(answer.CachedTokens >= call.PromptTokens + call.Tokens.Count - 1);
        Assert.Equal(("Two it is.", "Two."), (answer.Reasoning, answer.Content));
    }

    [Fact]
    public void Special_tokens_in_results_and_definitions_of_tools_stay_text()
    {
        using ChatModel chat = ThinkingModel.Load();
        Assert.True(chat.Tokenizer.TryGetId("<|im_end|>", out int end));
        int Ends(string text)
        {
            Prompt prompt = chat.Prompts.Build(
                [ChatMessage.User(new ChatText("Hi")), ChatMessage.ToolResult([new ChatText(text)], text, text)],
                tools: [new ToolDefinition("zoom", text, JsonElement.Parse($$"""{"{{text}}": "{{text}}"}"""))]
            );
            Assert.Contains(text, prompt.Text);
            return prompt.Tokens.Count(t => t == end);
        }

        Assert.Equal(Ends("ok"), Ends("<|im_end|>"));
    }

    [Fact]
    public void A_template_that_knows_no_tools_is_not_given_any_in_silence()
    {
        using ChatModel chat = VlmSharp.Tests.Engine.TinyModel.Load();
        TemplateException e = Assert.Throws<TemplateException>(() =>
            chat.Prompts.Build([ChatMessage.User(new ChatText("Hi"))], tools: [Zoom])
        );
        Assert.Contains("'zoom'", e.Message);
    }

    [Theory]
    [InlineData("""{"type": "function"}""")]
    [InlineData("""{"function": {"name": 1}}""")]
    [InlineData("""{"function": {"name": "a b"}}""")]
    [InlineData("""{"function": {"name": "a", "parameters": []}}""")]
    [InlineData("""{"function": {"name": "a", "description": 1}}""")]
    [InlineData("""{"function": {"name": "a", "parameters": {"x": "\ud800"}}}""")]
    [InlineData("[]")]
    public void A_tool_of_another_shape_is_refused(string json) =>
        Assert.Throws<FormatException>(() => ToolDefinition.Parse(JsonElement.Parse(json)));

    sealed class FixedClock : TimeProvider
    {
        // The time the goldens were made at.
        public override DateTimeOffset GetUtcNow() => new(2026, 3, 9, 8, 7, 6, TimeSpan.Zero);

        public override TimeZoneInfo LocalTimeZone => TimeZoneInfo.Utc;
    }
}
