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
    /// <param name="RopeTheta">Base of the rotary frequencies.</param>
    /// <param name="MRopeSections">Pairs of a head that turn by time, height and width, in this order.</param>
    /// <param name="Yarn">How the context was stretched; null where it was not.</param>
    /// <param name="MaxPositions">Longest sequence the positions were made for.</param>
    /// <param name="TiedHead">Whether the output matrix is the embedding.</param>
    public sealed record Sizes(
        int Vocabulary,
        int Hidden,
        int Layers,
        AttentionShape Attention,
        int MlpWidth,
        float Epsilon,
        double RopeTheta,
        int[] MRopeSections,
        YarnScaling? Yarn,
        int MaxPositions,
        bool TiedHead
    )
    {
        /// <summary>Reads the old flat config and the newer one with <c>text_config</c>; refuses what is not implemented.</summary>
        /// <param name="top">The whole config.</param>
        /// <exception cref="CheckpointException">A field is missing, of the wrong type, out of range, or asks for something unsupported.</exception>
        public static Sizes Read(JsonObjectReader top)
        {
            if (top.Has("quantization_config"))
            {
                throw top.Error("quantization_config", "is set; only f32, f16 and bf16 weights can be loaded");
            }

            JsonObjectReader json = top.OptionalObject("text_config") ?? top;
            int hidden = json.Int("hidden_size", 1, 1 << 16);
            int heads = json.Int("num_attention_heads", 1, 1024);
            int kvHeads = json.Int("num_key_value_heads", 1, 1024, heads);
            int headDim = json.Int("head_dim", 2, 1 << 12, hidden / heads);
            if (headDim * heads != hidden || headDim % 2 != 0)
            {
                throw json.Error(
                    "num_attention_heads",
                    $"is {heads}, which does not divide hidden_size {hidden} into even widths"
                );
            }

            if (heads % kvHeads != 0)
            {
                throw json.Error(
                    "num_key_value_heads",
                    $"is {kvHeads}, which does not divide num_attention_heads {heads}"
                );
            }

            if (json.Bool("use_sliding_window", false))
            {
                throw json.Error("use_sliding_window", "is true; sliding-window attention is not implemented");
            }

            json.Require("hidden_act", "silu");
            // Newer files keep theta beside the sections, in rope_parameters.
            JsonObjectReader rope = json.OptionalObject("rope_parameters") ?? json.Object("rope_scaling");
            rope.Require("type", "mrope", "default", "yarn");
            rope.Require("rope_type", "mrope", "default", "yarn");
            int maxPositions = json.Int("max_position_embeddings", 1, int.MaxValue, 32768);
            bool yarn = rope.Text("rope_type", rope.Text("type", "mrope")) == "yarn";
            int[] sections = rope.Ints("mrope_section", 3, 1, headDim);
            if (sections.Length != 3 || sections.Sum() != headDim / 2)
            {
                throw rope.Error(
                    "mrope_section",
                    $"is [{string.Join(", ", sections)}], expected three numbers whose sum is half the head dimension, {headDim / 2}"
                );
            }

            double theta = rope.Has("rope_theta")
                ? rope.Number("rope_theta", 1, 1e12)
                : json.Number("rope_theta", 1, 1e12, 1e6);
            return new Sizes(
                json.Int("vocab_size", 1, 1 << 24),
                hidden,
                json.Int("num_hidden_layers", 1, 1024),
                new AttentionShape(heads, kvHeads, headDim),
                json.Int("intermediate_size", 1, 1 << 20),
                (float)json.Number("rms_norm_eps", 0, 1, 1e-6),
                theta,
                sections,
                yarn ? YarnScaling.Read(rope, maxPositions) : null,
                maxPositions,
                top.Has("tie_word_embeddings")
                    ? top.Bool("tie_word_embeddings")
                    : json.Bool("tie_word_embeddings", false)
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
    readonly float[] frequencies;

    /// <summary>Takes the weights out of a checkpoint.</summary>
    /// <param name="sizes">What the config says.</param>
    /// <param name="checkpoint">Where they lie.</param>
    /// <param name="weights">Packs them.</param>
    /// <param name="name">What their names begin with: <c>model</c> or <c>model.language_model</c>.</param>
    public Qwen2Decoder(Sizes sizes, Checkpoint checkpoint, WeightSource weights, string name)
    {
        this.sizes = sizes;
        embedding = weights.Matrix($"{name}.embed_tokens.weight", sizes.Vocabulary, sizes.Hidden);
        layers = new DecoderLayer[sizes.Layers];
        for (int i = 0; i < layers.Length; i++)
        {
            layers[i] = new DecoderLayer(weights, $"{name}.layers.{i}", sizes, i);
        }

        finalNorm = weights.Vector($"{name}.norm.weight", sizes.Hidden);
        if (sizes.TiedHead)
        {
            head = new Linear($"{name}.embed_tokens.weight", embedding, []);
            if (checkpoint.Contains("lm_head.weight"))
            {
                checkpoint.Ignore("lm_head.weight", "the config ties the head to the embedding");
            }
        }
        else
        {
            head = weights.Linear(sizes.Hidden, bias: false, ("lm_head", sizes.Vocabulary));
        }

        int headDim = sizes.Attention.HeadDim;
        frequencies =
            sizes.Yarn?.Frequencies(headDim, sizes.RopeTheta) ?? RotaryTable.Frequencies(headDim, sizes.RopeTheta);
    }

    /// <summary>One step over the packed rows of all requests, media features in place of their embeddings.</summary>
    /// <returns>Logits of the rows that asked for them: [step.LogitRows, vocabulary].</returns>
    public Tensor Forward(Ops ops, Step step, KvCache cache)
    {
        ops.Tap("text.inv_freq", frequencies);
        Rotary rotary = Positions(ops, step);
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

    /// <summary>M-RoPE: consecutive sections of a head's pairs turn by time, height and width.</summary>
    Rotary Positions(Ops ops, Step step)
    {
        Rotary rotary = RotaryTable.Allocate(ops, step.Tokens.Length, sizes.Attention.HeadDim);
        for (int token = 0; token < step.Tokens.Length; token++)
        {
            int start = 0;
            for (int axis = 0; axis < 3; axis++)
            {
                int count = sizes.MRopeSections[axis];
                RotaryTable.Write(
                    step.Positions(axis)[token],
                    frequencies.AsSpan(start, count),
                    rotary.Cos.Row(token).Slice(start, count),
                    rotary.Sin.Row(token).Slice(start, count),
                    sizes.Yarn?.Amplitude ?? 1
                );
                start += count;
            }
        }

        return rotary;
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
