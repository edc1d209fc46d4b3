using VlmSharp.Formats;
using VlmSharp.Tensors;

namespace VlmSharp.Models.Blocks;

/// <summary>Reads the sizes of a decoder out of configs: the old flat ones and the newer ones with <c>text_config</c>.</summary>
static class DecoderFields
{
    /// <summary>A decoder of Qwen2; refuses what is not implemented.</summary>
    /// <param name="top">The whole config.</param>
    /// <exception cref="CheckpointException">A field is missing, of the wrong type, out of range, or asks for something unsupported.</exception>
    public static MRopeDecoder.Sizes Qwen2(JsonObjectReader top)
    {
        JsonObjectReader json = Open(top);
        (int hidden, AttentionShape attention) = Widths(json);
        if (attention.Heads * attention.HeadDim != hidden)
        {
            throw json.Error(
                "num_attention_heads",
                $"is {attention.Heads}, which does not divide hidden_size {hidden} into even widths"
            );
        }

        return Read(top, json, maxPositions: 32768, interleaved: false, theta: 1e6) with
        {
            QkvBias = true,
        };
    }

    /// <summary>A decoder of Qwen3; refuses what is not implemented.</summary>
    /// <param name="top">The whole config.</param>
    /// <param name="experts">Whether the architecture has experts.</param>
    /// <exception cref="CheckpointException">A field is missing, of the wrong type, out of range, or asks for something unsupported.</exception>
    public static MRopeDecoder.Sizes Qwen3(JsonObjectReader top, bool experts)
    {
        JsonObjectReader json = Open(top);
        if (json.Bool("attention_bias", false))
        {
            throw json.Error("attention_bias", "is true; projections with a bias are not implemented");
        }

        MRopeDecoder.Sizes sizes = Read(top, json, maxPositions: 128000, interleaved: true, theta: 5e6);
        return sizes with { HeadNorms = true, Experts = experts ? Experts(json, sizes.Layers) : null };
    }

    // What both have. Positions and theta are those that count where a config is silent.
    static MRopeDecoder.Sizes Read(
        JsonObjectReader top,
        JsonObjectReader json,
        int maxPositions,
        bool interleaved,
        double theta
    )
    {
        (int hidden, AttentionShape attention) = Widths(json);
        if (json.Bool("use_sliding_window", false))
        {
            throw json.Error("use_sliding_window", "is true; sliding-window attention is not implemented");
        }

        json.Require("hidden_act", "silu");
        maxPositions = json.Int("max_position_embeddings", 1, int.MaxValue, maxPositions);
        return new MRopeDecoder.Sizes(
            json.Int("vocab_size", 1, 1 << 24),
            hidden,
            json.Int("num_hidden_layers", 1, 1024),
            attention,
            json.Int("intermediate_size", 1, 1 << 20),
            (float)json.Number("rms_norm_eps", 0, 1, 1e-6),
            TextRotary.Read(json, attention.HeadDim, maxPositions, interleaved, theta),
            maxPositions,
            TiedHead(top, json)
        );
    }

    static JsonObjectReader Open(JsonObjectReader top) => top.OptionalObject("text_config") ?? top;

    // Weights are always renormalised, whatever norm_topk_prob says: the published code does so.
    static MRopeDecoder.ExpertSizes Experts(JsonObjectReader json, int layers)
    {
        int count = json.Int("num_experts", 1, 1 << 16);
        int perToken = json.Int("num_experts_per_tok", 1, count);
        int[] dense = json.Has("mlp_only_layers") ? json.Ints("mlp_only_layers", 1024, 0) : [];
        int step = json.Int("decoder_sparse_step", 1, 1024, 1);
        return new MRopeDecoder.ExpertSizes(
            count,
            perToken,
            json.Int("moe_intermediate_size", 1, 1 << 20),
            [.. Enumerable.Range(0, layers).Select(i => !dense.Contains(i) && (i + 1) % step == 0)]
        );
    }

    // A head is as wide as head_dim says, or as what divides hidden_size among them.
    static (int Hidden, AttentionShape Attention) Widths(JsonObjectReader json)
    {
        int hidden = json.Int("hidden_size", 1, 1 << 16);
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

        return (hidden, new AttentionShape(heads, kvHeads, headDim));
    }

    static bool TiedHead(JsonObjectReader top, JsonObjectReader json) =>
        (top.Has("tie_word_embeddings") ? top : json).Bool("tie_word_embeddings", false);
}
