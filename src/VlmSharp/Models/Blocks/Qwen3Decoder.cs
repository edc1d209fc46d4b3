using VlmSharp.Formats;
using VlmSharp.Kernels;
using VlmSharp.Tensors;

namespace VlmSharp.Models.Blocks;

/// <summary>The decoder of Qwen3 with interleaved M-RoPE and DeepStack, dense or with experts, as Qwen3-VL has it.</summary>
/// <remarks>
/// Queries and keys are normalised head by head before they are turned; projections have no bias. A media feature holds the
/// embedding and, behind it, what is added to that row after each of the first layers (DeepStack): so it does not matter in
/// which chunks a prompt is computed. Source: arXiv 2505.09388 and 2511.21631, <c>modeling_qwen3_vl.py</c> and
/// <c>modeling_qwen3_vl_moe.py</c> of transformers.
/// </remarks>
public sealed class Qwen3Decoder : IDisposable
{
    /// <summary>Sizes of the decoder.</summary>
    /// <param name="Vocabulary">Rows of the embedding.</param>
    /// <param name="Hidden">Width of the residual stream.</param>
    /// <param name="Layers">Layers.</param>
    /// <param name="Attention">Heads.</param>
    /// <param name="MlpWidth">Width between gate and down projection of a layer without experts.</param>
    /// <param name="Experts">The experts; null where no layer has any.</param>
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
        ExpertSizes? Experts,
        float Epsilon,
        TextRotary Rotary,
        int MaxPositions,
        bool TiedHead
    )
    {
        /// <summary>Reads <c>text_config</c>; refuses what is not implemented.</summary>
        /// <param name="top">The whole config.</param>
        /// <param name="experts">Whether the architecture has experts.</param>
        /// <exception cref="CheckpointException">A field is missing, of the wrong type, out of range, or asks for something unsupported.</exception>
        public static Sizes Read(JsonObjectReader top, bool experts)
        {
            JsonObjectReader json = DecoderFields.Open(top);
            int hidden = json.Int("hidden_size", 1, 1 << 16);
            int layers = json.Int("num_hidden_layers", 1, 1024);
            AttentionShape attention = DecoderFields.Heads(json, hidden);
            if (json.Bool("attention_bias", false))
            {
                throw json.Error("attention_bias", "is true; projections with a bias are not implemented");
            }

            if (json.Bool("use_sliding_window", false))
            {
                throw json.Error("use_sliding_window", "is true; sliding-window attention is not implemented");
            }

            json.Require("hidden_act", "silu");
            int maxPositions = json.Int("max_position_embeddings", 1, int.MaxValue, 128000);
            return new Sizes(
                json.Int("vocab_size", 1, 1 << 24),
                hidden,
                layers,
                attention,
                json.Int("intermediate_size", 1, 1 << 20),
                experts ? ExpertSizes.Read(json, layers) : null,
                (float)json.Number("rms_norm_eps", 0, 1, 1e-6),
                TextRotary.Read(json, attention.HeadDim, maxPositions, interleaved: true, theta: 5e6),
                maxPositions,
                DecoderFields.TiedHead(top, json)
            );
        }

        /// <summary>Bytes of intermediate memory for each row of a step.</summary>
        public long Workspace
        {
            get
            {
                // Beside x and its norm: q, k, v and the result of attention; or gate, up and their product; or the router's
                // logits, the results of a row's experts and their sum, and one expert at work, whose rows may be all.
                long attention = (2L * Attention.Heads + 2L * Attention.KvHeads) * Attention.HeadDim;
                long dense = 3L * MlpWidth;
                long mixed = Experts is null
                    ? 0
                    : Experts.Count + ((Experts.PerToken + 2L) * Hidden) + (3L * Experts.Width);
                return sizeof(float) * ((2L * Hidden) + Math.Max(attention, Math.Max(dense, mixed)));
            }
        }
    }

    /// <summary>Experts of the layers that have some.</summary>
    /// <param name="Count">Experts of a layer.</param>
    /// <param name="PerToken">Experts that each token passes through.</param>
    /// <param name="Width">Width between gate and down projection of one.</param>
    /// <param name="Layers">For each layer whether it has experts.</param>
    public sealed record ExpertSizes(int Count, int PerToken, int Width, bool[] Layers)
    {
        /// <summary>Reads them. Weights are always renormalised, whatever <c>norm_topk_prob</c> says: the published code does so.</summary>
        internal static ExpertSizes Read(JsonObjectReader json, int layers)
        {
            int count = json.Int("num_experts", 1, 1 << 16);
            int perToken = json.Int("num_experts_per_tok", 1, count);
            int[] dense = json.Has("mlp_only_layers") ? json.Ints("mlp_only_layers", 1024, 0) : [];
            int step = json.Int("decoder_sparse_step", 1, 1024, 1);
            return new ExpertSizes(
                count,
                perToken,
                json.Int("moe_intermediate_size", 1, 1 << 20),
                [.. Enumerable.Range(0, layers).Select(i => !dense.Contains(i) && (i + 1) % step == 0)]
            );
        }
    }

    /// <summary>One MLP for all tokens.</summary>
    sealed class DenseMlp(WeightSource weights, string name, Sizes config) : IMlp
    {
        readonly Linear gateUp = weights.Linear(
            config.Hidden,
            bias: false,
            ($"{name}.gate_proj", config.MlpWidth),
            ($"{name}.up_proj", config.MlpWidth)
        );
        readonly Linear down = weights.Linear(config.MlpWidth, bias: false, ($"{name}.down_proj", config.Hidden));

        public Tensor Forward(Ops ops, Tensor x, Tensor residual) =>
            ops.Linear(ops.SwiGlu(ops.Linear(x, gateUp)), down, residual);

        public void Dispose() => WeightSource.DisposeAll(gateUp, down);
    }

    /// <summary>A router that sends each token through a few of many MLPs.</summary>
    sealed class MixedMlp(WeightSource weights, string name, Sizes config, ExpertSizes sizes, int index) : IMlp
    {
        readonly Linear router = weights.Linear(config.Hidden, bias: false, ($"{name}.gate", sizes.Count));
        readonly Experts experts = weights.Experts(
            $"{name}.experts",
            sizes.Count,
            sizes.PerToken,
            config.Hidden,
            sizes.Width
        );
        readonly string tap = $"text.router.{index}";

        public Tensor Forward(Ops ops, Tensor x, Tensor residual)
        {
            Tensor logits = ops.Tap(tap, ops.Linear(x, router)); // logits: [tokens, experts]
            return ops.MixExperts(x, logits, experts, residual);
        }

        public void Dispose()
        {
            router.Dispose();
            experts.Dispose();
        }
    }

    interface IMlp : IDisposable
    {
        /// <summary>What the MLP makes of x, added to residual: [tokens, hidden].</summary>
        Tensor Forward(Ops ops, Tensor x, Tensor residual);
    }

    sealed class DecoderLayer(WeightSource weights, string name, Sizes config, int index) : IDisposable
    {
        readonly Vector attentionNorm = weights.Vector($"{name}.input_layernorm.weight", config.Hidden);
        readonly Linear qkv = weights.Linear(
            config.Hidden,
            bias: false,
            ($"{name}.self_attn.q_proj", config.Attention.Heads * config.Attention.HeadDim),
            ($"{name}.self_attn.k_proj", config.Attention.KvHeads * config.Attention.HeadDim),
            ($"{name}.self_attn.v_proj", config.Attention.KvHeads * config.Attention.HeadDim)
        );
        readonly Vector queryNorm = weights.Vector($"{name}.self_attn.q_norm.weight", config.Attention.HeadDim);
        readonly Vector keyNorm = weights.Vector($"{name}.self_attn.k_norm.weight", config.Attention.HeadDim);
        readonly Linear output = weights.Linear(
            config.Attention.Heads * config.Attention.HeadDim,
            bias: false,
            ($"{name}.self_attn.o_proj", config.Hidden)
        );
        readonly Vector mlpNorm = weights.Vector($"{name}.post_attention_layernorm.weight", config.Hidden);
        readonly IMlp mlp =
            config.Experts is { } experts && experts.Layers[index]
                ? new MixedMlp(weights, $"{name}.mlp", config, experts, index)
                : new DenseMlp(weights, $"{name}.mlp", config);
        readonly string tap = $"text.layer.{index}";

        public Tensor Forward(Ops ops, Tensor x, Rotary rotary, Step step, KvCache cache)
        {
            AttentionShape shape = config.Attention;
            int queryWidth = shape.Heads * shape.HeadDim;
            int keyWidth = shape.KvHeads * shape.HeadDim;
            Arena.Mark mark = ops.Mark;
            Tensor h = ops.RmsNorm(x, attentionNorm, config.Epsilon); // h: [tokens, hidden]
            Tensor packed = ops.Linear(h, qkv); // packed: [tokens, queryWidth + 2 * keyWidth]
            Tensor q = ops.RmsNormHeads(packed.Columns(0, queryWidth), queryNorm, config.Epsilon);
            Tensor k = ops.RmsNormHeads(packed.Columns(queryWidth, keyWidth), keyNorm, config.Epsilon);
            Tensor v = packed.Columns(queryWidth + keyWidth, keyWidth);
            q = ops.Rotate(q, shape.Heads, rotary);
            k = ops.Rotate(k, shape.KvHeads, rotary);
            Tensor attended = ops.CachedAttention(q, k, v, shape, cache, index, step.Placement); // attended: [tokens, queryWidth]
            x = ops.Release(mark, ops.Linear(attended, output, residual: x));

            x = ops.Release(mark, mlp.Forward(ops, ops.RmsNorm(x, mlpNorm, config.Epsilon), residual: x));
            foreach (MediaRows media in step.Media)
            {
                // DeepStack: behind the embedding, the feature holds what belongs to this layer, if it is one of the first.
                int start = (index + 1) * config.Hidden;
                if (start < media.Features.Width)
                {
                    x = ops.AddRows(x, media.FirstRow, media.Features.Columns(start, config.Hidden));
                }
            }

            return ops.Tap(tap, x);
        }

        public void Dispose()
        {
            WeightSource.DisposeAll(qkv, output);
            mlp.Dispose();
        }
    }

    readonly Sizes sizes;
    readonly PackedMatrix embedding;
    readonly DecoderLayer[] layers;
    readonly Vector finalNorm;
    readonly Linear head;

    /// <summary>Takes the weights out of a checkpoint.</summary>
    /// <param name="sizes">What the config says.</param>
    /// <param name="weights">Where they lie.</param>
    /// <param name="name">What their names begin with: <c>model.language_model</c>.</param>
    public Qwen3Decoder(Sizes sizes, WeightSource weights, string name)
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

    /// <summary>One step over the packed rows of all requests, media features in place of their embeddings and added behind the first layers.</summary>
    /// <returns>Logits of the rows that asked for them: [step.LogitRows, vocabulary].</returns>
    public Tensor Forward(Ops ops, Step step, KvCache cache)
    {
        ops.Tap("text.inv_freq", sizes.Rotary.Frequencies);
        Rotary rotary = sizes.Rotary.Positions(ops, step);
        Tensor x = ops.Embed(embedding, step.Tokens); // x: [tokens, hidden]
        foreach (MediaRows media in step.Media)
        {
            x = ops.ReplaceRows(x, media.FirstRow, media.Features.Columns(0, sizes.Hidden));
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
