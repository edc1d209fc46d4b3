using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace VlmSharp.Text;

/// <summary>Writes the files of a Qwen2 tokenizer: tokenizer.json, vocab.json, merges.txt and tokenizer_config.json.</summary>
public static class TokenizerWriter
{
    // \u escapes only where JSON needs them: vocabularies are full of letters beyond ASCII.
    static readonly JsonSerializerOptions Readable = new()
    {
        Encoder = System.Text.Encodings.Web.JavaScriptEncoder.UnsafeRelaxedJsonEscaping,
        WriteIndented = true,
    };

    /// <summary>Writes them into a directory.</summary>
    /// <param name="directory">Where; it exists.</param>
    /// <param name="pairs">Ordinary tokens and merges.</param>
    /// <param name="special">Special tokens, with the ids that follow.</param>
    /// <param name="template">The chat template, in Jinja.</param>
    public static void Write(string directory, BytePairs pairs, IReadOnlyList<string> special, string template)
    {
        int ordinary = pairs.Tokens.Count;
        JsonObject vocabulary = new(pairs.Tokens.Select((token, id) => KeyValuePair.Create(token, (JsonNode?)id)));
        StringBuilder merges = new("#version: 0.2\n");
        foreach ((string left, string right) in pairs.Merges)
        {
            merges.Append(left).Append(' ').Append(right).Append('\n');
        }

        Save("vocab.json", vocabulary);
        File.WriteAllText(Path.Combine(directory, "merges.txt"), merges.ToString());
        Save(
            "tokenizer_config.json",
            new JsonObject
            {
                ["tokenizer_class"] = "Qwen2Tokenizer",
                ["add_prefix_space"] = false,
                ["added_tokens_decoder"] = new JsonObject(
                    special.Select((token, i) => KeyValuePair.Create($"{ordinary + i}", (JsonNode?)Added(token)))
                ),
                ["eos_token"] = special[0],
                ["pad_token"] = special[0],
                ["chat_template"] = template,
                ["clean_up_tokenization_spaces"] = false,
            }
        );
        Save(
            "tokenizer.json",
            new JsonObject
            {
                ["version"] = "1.0",
                ["truncation"] = null,
                ["padding"] = null,
                ["added_tokens"] = new JsonArray([
                    .. special.Select(
                        (token, i) =>
                        {
                            JsonObject added = Added(token);
                            added.Insert(0, "id", ordinary + i);
                            return added;
                        }
                    ),
                ]),
                ["normalizer"] = new JsonObject { ["type"] = "NFC" },
                ["pre_tokenizer"] = new JsonObject
                {
                    ["type"] = "Sequence",
                    ["pretokenizers"] = new JsonArray(
                        new JsonObject
                        {
                            ["type"] = "Split",
                            ["pattern"] = new JsonObject { ["Regex"] = PieceSplitter.Qwen2Expression },
                            ["behavior"] = "Isolated",
                            ["invert"] = false,
                        },
                        ByteLevel()
                    ),
                },
                ["post_processor"] = ByteLevel(),
                ["decoder"] = ByteLevel(),
                ["model"] = new JsonObject
                {
                    ["type"] = "BPE",
                    ["dropout"] = null,
                    ["unk_token"] = null,
                    ["continuing_subword_prefix"] = "",
                    ["end_of_word_suffix"] = "",
                    ["fuse_unk"] = false,
                    ["byte_fallback"] = false,
                    ["ignore_merges"] = false,
                    ["vocab"] = vocabulary,
                    ["merges"] = new JsonArray([
                        .. pairs.Merges.Select(merge => (JsonNode)$"{merge.Left} {merge.Right}"),
                    ]),
                },
            }
        );

        void Save(string name, JsonObject json) =>
            File.WriteAllText(Path.Combine(directory, name), json.ToJsonString(Readable));
    }

    static JsonObject Added(string token) =>
        new()
        {
            ["content"] = token,
            ["single_word"] = false,
            ["lstrip"] = false,
            ["rstrip"] = false,
            ["normalized"] = false,
            ["special"] = true,
        };

    static JsonObject ByteLevel() =>
        new()
        {
            ["type"] = "ByteLevel",
            ["add_prefix_space"] = false,
            ["trim_offsets"] = false,
            ["use_regex"] = false,
        };
}
