using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using VlmSharp.Text;

namespace VlmSharp.Cli.Bench;

/// <summary>A tokenizer with as many tokens as the published ones have, at the same ids where they are special, and made-up ones elsewhere.</summary>
/// <remarks>It makes a directory of random weights a checkpoint that can be converted and asked; nobody will understand the answers.</remarks>
static class RandomTokenizer
{
    /// <summary>Ordinary tokens of all Qwen vocabularies from Qwen2 on; the special ones follow.</summary>
    const int Ordinary = 151643;

    const string Template =
        "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{% if message['content'] is string %}{{ message['content'] }}"
        + "{% else %}{% for part in message['content'] %}{% if part['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
        + "{% elif part['type'] == 'video' %}<|vision_start|><|video_pad|><|vision_end|>{% else %}{{ part['text'] }}{% endif %}"
        + "{% endfor %}{% endif %}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";

    static readonly string[] Special =
    [
        "<|endoftext|>",
        "<|im_start|>",
        "<|im_end|>",
        "<|object_ref_start|>",
        "<|object_ref_end|>",
        "<|box_start|>",
        "<|box_end|>",
        "<|quad_start|>",
        "<|quad_end|>",
        "<|vision_start|>",
        "<|vision_end|>",
        "<|vision_pad|>",
        "<|image_pad|>",
        "<|video_pad|>",
    ];

    /// <summary>Writes vocabulary, merges, their configuration with a chat template, and the end tokens.</summary>
    public static void Write(string directory)
    {
        // All bytes, then all pairs of them, then as many pairs with a third byte as there is room for.
        List<string> tokens = [.. Enumerable.Range(0, 256).Select(b => ByteLevelAlphabet.Encode([(byte)b]))];
        StringBuilder merges = new("#version: 0.2\n");
        for (int left = 0; tokens.Count < Ordinary; left++)
        {
            for (int right = 0; right < 256 && tokens.Count < Ordinary; right++)
            {
                merges.Append(tokens[left]).Append(' ').Append(tokens[right]).Append('\n');
                tokens.Add(tokens[left] + tokens[right]);
            }
        }

        using (FileStream file = File.Create(Path.Combine(directory, "vocab.json")))
        using (Utf8JsonWriter vocabulary = new(file))
        {
            vocabulary.WriteStartObject();
            for (int id = 0; id < tokens.Count; id++)
            {
                vocabulary.WriteNumber(tokens[id], id);
            }

            vocabulary.WriteEndObject();
        }

        JsonObject added = [];
        for (int i = 0; i < Special.Length; i++)
        {
            added[$"{Ordinary + i}"] = new JsonObject { ["content"] = Special[i], ["special"] = true };
        }

        JsonObject config = new()
        {
            ["tokenizer_class"] = "Qwen2Tokenizer",
            ["added_tokens_decoder"] = added,
            ["chat_template"] = Template,
        };
        JsonObject generation = new()
        {
            ["eos_token_id"] = new JsonArray(Ordinary + Array.IndexOf(Special, "<|im_end|>"), Ordinary),
        };
        File.WriteAllText(Path.Combine(directory, "merges.txt"), merges.ToString());
        File.WriteAllText(Path.Combine(directory, "tokenizer_config.json"), config.ToJsonString());
        File.WriteAllText(Path.Combine(directory, "generation_config.json"), generation.ToJsonString());
    }
}
