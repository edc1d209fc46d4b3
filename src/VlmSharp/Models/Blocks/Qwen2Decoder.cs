using VlmSharp.Formats;
using VlmSharp.Kernels;
using VlmSharp.Tensors;

namespace VlmSharp.Models.Blocks;

/// <summary>The decoder of Qwen2 with M-RoPE, as Qwen2-VL and Qwen2.5-VL have it.</summary>
/// <remarks>Source: arXiv 2407.10671 and 2409.12191, <c>modeling_qwen2_vl.py</c> of transformers.</remarks>
public sealed class Qwen2Decoder : IDisposable
{
    /// <summary>Sizes of the decoder.</summary>
    /// <param name="Vocabulary">Rows of the embedding.</param>
    /// <param name="Hidden">Width of the residual stream.</param>
    /// <param name="Layers">Layers.</param>
    /// <param name="Attention">Heads.</param>
    /// <param name="MlpWidth">Width between gate and down projection.</param>
    /// <param name="Epsilon">Of the norms.</param>
    /// <param name="Rotary">Rotary positions.</param>
    /// <param name="MaxPositions">Longest sequence the positions were made for.</param>
    /// <param name="TiedHead">Whether the output matrix is the embedding.</param>
    public sealed record Sizes(
        int Vocabulary,
        int Hidden,
        int Layers,
        AttentionShape Attention,
        int MlpWidth,
        float Epsilon,
        TextRotary Rotary,
        int MaxPositions,
        bool TiedHead
    )
    {
        /// <summary>Reads the old flat config and the newer one with <c>text_config</c>; refuses what is not implemented.</summary>
        /// <param name="top">The whole config.</param>
        /// <exception cref="CheckpointException">A field is missing, of the wrong type, out of range, or asks for something unsupported.</exception>
        public static Sizes Read(JsonObjectReader top)
        {
            JsonObjectReader json = DecoderFields.Open(top);
            int hidden = json.Int("hidden_size", 1, 1 << 16);
            AttentionShape attention = DecoderFields.Heads(json, hidden);
            if (attention.Heads * attention.HeadDim != hidden)
            {
                throw json.Error(
                    "num_attention_heads",
                    $"is {attention.Heads}, which does not divide hidden_size {hidden} into even widths"
                );
            }

            if (json.Bool("use_sliding_window", false))
            {
                throw json.Error("use_sliding_window", "is true; sliding-window attention is not implemented");
            }

            json.Require("hidden_act", "silu");
            int maxPositions = json.Int("max_position_embeddings", 1, int.MaxValue, 32768);
            return new Sizes(
                json.Int("vocab_size", 1, 1 << 24),
                hidden,
                json.Int("num_hidden_layers", 1, 1024),
                attention,
                json.Int("intermediate_size", 1, 1 << 20),
                (float)json.Number("rms_norm_eps", 0, 1, 1e-6),
                TextRotary.Read(json, attention.HeadDim, maxPositions, interleaved: false, theta: 1e6),
                maxPositions,
                DecoderFields.TiedHead(top, json)
            );
        }

        /// <summary>Bytes of intermediate memory for each row of a step: x, its norm, gate, up and their product.</summary>
        public long Workspace => sizeof(float) * ((2L * Hidden) + (3L * MlpWidth));
    }

    sealed class DecoderLayer(WeightSource weights, string name, Sizes config, int index)
    {
        readonly Vector attentionNorm = weights.Vector($"{name}.input_layernorm.weight", config.Hidden);
        readonly Linear qkv = weights.Linear(
            config.Hidden,
            bias: true,
            ($"{name}.self_attn.q_proj", config.Attention.Heads * config.Attention.HeadDim),
            ($"{name}.self_attn.k_proj", config.Attention.KvHeads * config.Attention.HeadDim),
            ($"{name}.self_attn.v_proj", config.Attention.KvHeads * config.Attention.HeadDim)
        );
        readonly Linear output = weights.Linear(
            config.Attention.Heads * config.Attention.HeadDim,
            bias: false,
            ($"{name}.self_attn.o_proj", config.Hidden)
        );
        readonly Vector mlpNorm = weights.Vector($"{name}.post_attention_layernorm.weight", config.Hidden);
        readonly Linear gateUp = weights.Linear(
            config.Hidden,
            bias: false,
            ($"{name}.mlp.gate_proj", config.MlpWidth),
            ($"{name}.mlp.up_proj", config.MlpWidth)
        );
        readonly Linear down = weights.Linear(config.MlpWidth, bias: false, ($"{name}.mlp.down_proj", config.Hidden));
        readonly string tap = $"text.layer.{index}";

        public Tensor Forward(Ops ops, Tensor x, Rotary rotary, Step step, KvCache cache)
        {
            AttentionShape shape = config.Attention;
            int queryWidth = shape.Heads * shape.HeadDim;
            int keyWidth = shape.KvHeads * shape.HeadDim;
            Arena.Mark mark = ops.Mark;
            Tensor h = ops.RmsNorm(x, attentionNorm, config.Epsilon); // h: [tokens, hidden]
            Tensor packed = ops.Linear(h, qkv); // packed: [tokens, queryWidth + 2 * keyWidth]
            Tensor q = ops.Rotate(packed.Columns(0, queryWidth), shape.Heads, rotary);
            Tensor k = ops.Rotate(packed.Columns(queryWidth, keyWidth), shape.KvHeads, rotary);
            Tensor v = packed.Columns(queryWidth + keyWidth, keyWidth);
            Tensor attended = ops.CachedAttention(q, k, v, shape, cache, index, step.Placement); // attended: [tokens, queryWidth]
            x = ops.Release(mark, ops.Linear(attended, output, residual: x));

            h = ops.RmsNorm(x, mlpNorm, config.Epsilon);
            x = ops.Release(mark, ops.Linear(ops.SwiGlu(ops.Linear(h, gateUp)), down, residual: x));
            return ops.Tap(tap, x);
        }

        public void Dispose() => WeightSource.DisposeAll(qkv, output, gateUp, down);
    }

    readonly Sizes sizes;
    readonly PackedMatrix embedding;
    readonly DecoderLayer[] layers;
    readonly Vector finalNorm;
    readonly Linear head;

    /// <summary>Takes the weights out of a checkpoint.</summary>
    /// <param name="sizes">What the config says.</param>
    /// <param name="weights">Where they lie.</param>
    /// <param name="name">What their names begin with: <c>model</c> or <c>model.language_model</c>.</param>
    public Qwen2Decoder(Sizes sizes, WeightSource weights, string name)
    {
        this.sizes = sizes;
        embedding = weights.Matrix($"{name}.embed_tokens.weight", sizes.Vocabulary, sizes.Hidden);
        layers = new DecoderLayer[sizes.Layers];
        for (int i = 0; i < layers.Length; i++)
        {
            layers[i] = new DecoderLayer(weights, $"{name}.layers.{i}", sizes, i);
        }

        finalNorm = weights.Vector($"{name}.norm.weight", sizes.Hidden);
        head = weights.Head($"{name}.embed_tokens.weight", embedding, sizes.TiedHead);
    }

    /// <summary>One step over the packed rows of all requests, media features in place of their embeddings.</summary>
    /// <returns>Logits of the rows that asked for them: [step.LogitRows, vocabulary].</returns>
    public Tensor Forward(Ops ops, Step step, KvCache cache)
    {
        ops.Tap("text.inv_freq", sizes.Rotary.Frequencies);
        Rotary rotary = sizes.Rotary.Positions(ops, step);
        Tensor x = ops.Embed(embedding, step.Tokens); // x: [tokens, hidden]
        foreach (MediaRows media in step.Media)
        {
            x = ops.ReplaceRows(x, media.FirstRow, media.Features);
        }

        x = ops.Tap("text.embeds", x);
        foreach (DecoderLayer layer in layers)
        {
            x = layer.Forward(ops, x, rotary, step, cache);
        }

        x = ops.TakeRows(x, step.LogitRows); // x: [wanted, hidden]
        x = ops.Tap("text.norm", ops.RmsNorm(x, finalNorm, sizes.Epsilon));
        return ops.Tap("logits", ops.Linear(x, head)); // [wanted, vocabulary]
    }

    /// <summary>Frees the weights.</summary>
    public void Dispose()
    {
        embedding.Dispose();
        head.Dispose();
        foreach (DecoderLayer layer in layers)
        {
            layer.Dispose();
        }
    }
}
