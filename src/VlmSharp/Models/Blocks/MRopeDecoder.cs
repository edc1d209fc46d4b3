using VlmSharp.Formats;
using VlmSharp.Kernels;
using VlmSharp.Tensors;

namespace VlmSharp.Models.Blocks;

/// <summary>A decoder with M-RoPE: norms of the mean square, grouped heads, gated MLPs or experts. Qwen2 and Qwen3 are of this kind.</summary>
/// <remarks>
/// A media feature holds the embedding and, behind it, what is added to that row after each of the first layers (DeepStack), if
/// anything is: so it does not matter in which chunks a prompt is computed. Source: arXiv 2407.10671, 2409.12191, 2505.09388 and
/// 2511.21631, <c>modeling_qwen2_vl.py</c>, <c>modeling_qwen3_vl.py</c> and <c>modeling_qwen3_vl_moe.py</c> of transformers.
/// </remarks>
public sealed class MRopeDecoder : IDisposable
{
    /// <summary>Sizes of the decoder, and which parts it has.</summary>
    /// <param name="Vocabulary">Rows of the embedding.</param>
    /// <param name="Hidden">Width of the residual stream.</param>
    /// <param name="Layers">Layers.</param>
    /// <param name="Attention">Heads.</param>
    /// <param name="MlpWidth">Width between gate and down projection of a layer without experts.</param>
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
        /// <summary>Whether the projections to queries, keys and values have a bias.</summary>
        public bool QkvBias { get; init; }

        /// <summary>Whether queries and keys are normalised head by head before they are turned.</summary>
        public bool HeadNorms { get; init; }

        /// <summary>The experts; null where no layer has any.</summary>
        public ExpertSizes? Experts { get; init; }

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
    public sealed record ExpertSizes(int Count, int PerToken, int Width, bool[] Layers);

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
            config.QkvBias,
            ($"{name}.self_attn.q_proj", config.Attention.Heads * config.Attention.HeadDim),
            ($"{name}.self_attn.k_proj", config.Attention.KvHeads * config.Attention.HeadDim),
            ($"{name}.self_attn.v_proj", config.Attention.KvHeads * config.Attention.HeadDim)
        );
        readonly Vector? queryNorm = config.HeadNorms
            ? weights.Vector($"{name}.self_attn.q_norm.weight", config.Attention.HeadDim)
            : null;
        readonly Vector? keyNorm = config.HeadNorms
            ? weights.Vector($"{name}.self_attn.k_norm.weight", config.Attention.HeadDim)
            : null;
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

        /// <summary>One layer; the last one goes on with the rows whose logits are wanted as soon as their keys and values are stored.</summary>
        public Tensor Forward(Ops ops, Tensor x, Rotary rotary, Step step, KvCache cache, bool last)
        {
            AttentionShape shape = config.Attention;
            int queryWidth = shape.Heads * shape.HeadDim;
            int keyWidth = shape.KvHeads * shape.HeadDim;
            Arena.Mark mark = ops.Mark;
            Tensor h = ops.RmsNorm(x, attentionNorm, config.Epsilon); // h: [tokens, hidden]
            Tensor packed = ops.Linear(h, qkv); // packed: [tokens, queryWidth + 2 * keyWidth]
            Tensor q = packed.Columns(0, queryWidth);
            Tensor k = packed.Columns(queryWidth, keyWidth);
            Tensor v = packed.Columns(queryWidth + keyWidth, keyWidth);
            if (queryNorm is { } ofQueries && keyNorm is { } ofKeys)
            {
                q = ops.RmsNormHeads(q, ofQueries, config.Epsilon);
                k = ops.RmsNormHeads(k, ofKeys, config.Epsilon);
            }

            q = ops.Rotate(q, shape.Heads, rotary);
            k = ops.Rotate(k, shape.KvHeads, rotary);
            Tensor attended = ops.CachedAttention(q, k, v, shape, cache, index, step.Placement); // attended: [tokens, queryWidth]
            if (last)
            {
                attended = ops.TakeRows(attended, step.LogitRows);
                x = ops.TakeRows(x, step.LogitRows);
            }

            x = ops.Release(mark, ops.Linear(attended, output, residual: x));

            x = ops.Release(mark, mlp.Forward(ops, ops.RmsNorm(x, mlpNorm, config.Epsilon), residual: x));
            foreach (MediaRows media in step.Media)
            {
                if (Adds(media))
                {
                    int start = (index + 1) * config.Hidden;
                    x = ops.AddRows(x, media.FirstRow, media.Features.Columns(start, config.Hidden));
                }
            }

            return ops.Tap(tap, x);
        }

        /// <summary>Whether a router chooses experts for each row.</summary>
        public bool HasExperts => mlp is MixedMlp;

        /// <summary>Whether a feature holds, behind the embedding, something that belongs to this layer: DeepStack.</summary>
        public bool Adds(MediaRows media) => media.Features.Width > (index + 1) * config.Hidden;

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
    /// <param name="name">What their names begin with: <c>model</c> or <c>model.language_model</c>.</param>
    public MRopeDecoder(Sizes sizes, WeightSource weights, string name)
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
        bool taken = false;
        foreach (DecoderLayer layer in layers)
        {
            // Where something is added to media behind the last layer, too, its rows must still be there; and a router's choices for all
            // rows are part of a training loss.
            taken = layer == layers[^1] && !layer.HasExperts && !AddsTo(layer, step.Media);
            x = layer.Forward(ops, x, rotary, step, cache, taken);
        }

        x = taken ? x : ops.TakeRows(x, step.LogitRows); // x: [wanted, hidden]
        x = ops.Tap("text.norm", ops.RmsNorm(x, finalNorm, sizes.Epsilon));
        return ops.Tap("logits", ops.Linear(x, head)); // [wanted, vocabulary]
    }

    static bool AddsTo(DecoderLayer layer, ReadOnlySpan<MediaRows> features)
    {
        foreach (MediaRows media in features)
        {
            if (layer.Adds(media))
            {
                return true;
            }
        }

        return false;
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
