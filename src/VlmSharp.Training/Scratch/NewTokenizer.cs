using VlmSharp.Text;

namespace VlmSharp.Training.Scratch;

/// <summary>What every tokenizer of the Qwen-VL models has beside its vocabulary, and the plainest of their chat templates.</summary>
public static class NewTokenizer
{
    /// <summary>Turns as ChatML, media where they stand in a message; no system prompt unless one is given.</summary>
    public const string Template =
        "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{% if message['content'] is string %}{{ message['content'] }}"
        + "{% else %}{% for part in message['content'] %}{% if part['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
        + "{% elif part['type'] == 'video' %}<|vision_start|><|video_pad|><|vision_end|>{% else %}{{ part['text'] }}{% endif %}"
        + "{% endfor %}{% endif %}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";

    /// <summary>Special tokens, in the order of their ids from the end of the vocabulary on.</summary>
    public static IReadOnlyList<string> Special { get; } =
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

    /// <summary>The place of a special token among them.</summary>
    public static int IndexOf(string special) => Special.Index().First(token => token.Item == special).Index;

    /// <summary>Writes the tokenizer and the tokens that end an answer.</summary>
    /// <param name="directory">Where; it exists.</param>
    /// <param name="pairs">The vocabulary.</param>
    public static void Write(string directory, BytePairs pairs)
    {
        TokenizerWriter.Write(directory, pairs, Special, Template);
        int first = pairs.Tokens.Count;
        File.WriteAllText(
            Path.Combine(directory, "generation_config.json"),
            $$"""{"do_sample": false, "eos_token_id": [{{first + IndexOf("<|im_end|>")}}, {{first}}], "pad_token_id": {{first}}}"""
        );
    }
}
