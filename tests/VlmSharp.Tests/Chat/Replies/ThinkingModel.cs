using VlmSharp.Chat;
using VlmSharp.Generation;
using VlmSharp.Testing;
using VlmSharp.Text;

namespace VlmSharp.Tests.Chat.Replies;

/// <summary>The tiny Qwen2-VL with a template that opens thoughts, and with tokens for their tags, unless a test says otherwise.</summary>
static class ThinkingModel
{
    const string Template = """
        {%- if tools %}{{ '<|im_start|>system\n' }}{% for tool in tools %}{{ tool | tojson }}{% endfor %}{{ '<|im_end|>\n' }}{% endif %}
        {%- for message in messages %}
            {{- '<|im_start|>' + message.role + '\n' }}
            {%- if message.reasoning_content %}{{ '[' + message.reasoning_content + ']' }}{% endif %}
            {{- message.content }}
            {%- for call in message.tool_calls or [] %}{{ '\n<tool_call>\n' }}{{ call.function | tojson }}{{ '\n</tool_call>' }}{% endfor %}
            {{- '<|im_end|>\n' }}
        {%- endfor %}
        {{- '<|im_start|>assistant\n' }}
        """;

    /// <summary>Loads it.</summary>
    /// <param name="opens">Whether the template opens thoughts.</param>
    /// <param name="hasTokens">Whether the vocabulary has tokens for their tags.</param>
    /// <param name="template">A file to use in place of the template here.</param>
    public static ChatModel Load(bool opens = true, bool hasTokens = true, string? template = null)
    {
        using CheckpointCopy copy = new(Goldens.Local("qwen2-vl/checkpoint"));
        copy.Json(
            "chat_template.json",
            json => json["chat_template"] = Template + (opens ? "{{- '<think>\\n' }}" : "")
        );
        foreach (string file in hasTokens ? (string[])["tokenizer.json", "tokenizer_config.json"] : [])
        {
            copy.Text(
                file,
                text => text.Replace("<|quad_start|>", Thoughts.OpenTag).Replace("<|quad_end|>", Thoughts.CloseTag)
            );
        }

        return ChatModel.Load(copy.Path, threads: 2, template: template);
    }

    /// <summary>Options under which the model writes a given text and ends: each token is made certain behind those before it.</summary>
    public static SamplingOptions Writes(ChatModel chat, string text)
    {
        List<int> tokens = [];
        chat.Tokenizer.Encode(text, tokens, VlmSharp.Text.AddedTokenUse.Parse);
        int end = chat.DefaultSampling.EndTokens[0];
        tokens.Add(end);
        return new SamplingOptions
        {
            MaxNewTokens = 400,
            EndTokens = [end],
            // What has a longer beginning outweighs all that has a shorter one.
            SequenceBias =
            [
                .. Enumerable
                    .Range(1, tokens.Count)
                    .Select(count => new SequenceBias([.. tokens.Take(count)], 1000.0 * count)),
            ],
        };
    }
}
