using VlmSharp.Formats;
using VlmSharp.Tensors;

namespace VlmSharp.Models.Blocks;

/// <summary>Fields that the configs of several decoders have in common.</summary>
static class DecoderFields
{
    /// <summary>The decoder's part of a config: <c>text_config</c>, or the whole in old files.</summary>
    public static JsonObjectReader Open(JsonObjectReader top) => top.OptionalObject("text_config") ?? top;

    /// <summary>Heads, their width being <c>head_dim</c> or what divides <c>hidden_size</c> among them.</summary>
    /// <exception cref="CheckpointException">The numbers do not fit each other.</exception>
    public static AttentionShape Heads(JsonObjectReader json, int hidden)
    {
        int heads = json.Int("num_attention_heads", 1, 1024);
        int kvHeads = json.Int("num_key_value_heads", 1, 1024, heads);
        int headDim = json.Int("head_dim", 2, 1 << 12, Math.Max(2, hidden / heads));
        if (headDim % 2 != 0)
        {
            throw json.Error(
                json.Has("head_dim") ? "head_dim" : "num_attention_heads",
                $"makes heads {headDim} wide; they are turned in pairs"
            );
        }

        if (heads % kvHeads != 0)
        {
            throw json.Error("num_key_value_heads", $"is {kvHeads}, which does not divide num_attention_heads {heads}");
        }

        return new AttentionShape(heads, kvHeads, headDim);
    }

    /// <summary>Whether the output matrix is the embedding.</summary>
    public static bool TiedHead(JsonObjectReader top, JsonObjectReader json) =>
        (top.Has("tie_word_embeddings") ? top : json).Bool("tie_word_embeddings", false);
}
