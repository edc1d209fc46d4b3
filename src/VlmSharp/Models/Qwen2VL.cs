using VlmSharp.Formats;
using VlmSharp.Kernels;
using VlmSharp.Models.Blocks;
using VlmSharp.Tensors;
using VlmSharp.Vision;

namespace VlmSharp.Models;

/// <summary>Qwen2-VL: naive dynamic resolution, a 2-D rotary vision tower, a Qwen2 decoder with M-RoPE.</summary>
/// <remarks>
/// Source: arXiv 2409.12191 and the checkpoints Qwen/Qwen2-VL-*. A still picture is doubled in time; patches come in the
/// order (t, h/2, w/2, 2, 2), so that four rows in a row are one token. Boxes are 0-1000 of the original picture.
/// </remarks>
public sealed class Qwen2VL : IVisionLanguageModel
{
    /// <summary>The name in <c>config.json</c>.</summary>
    public const string Architecture = "Qwen2VLForConditionalGeneration";

    const float VisionEpsilon = 1e-6f; // fixed in the published code, not in the config
    const double VisionTheta = 10000;

    /// <summary>Sizes of the vision tower.</summary>
    public sealed record VisionConfig(
        int Depth,
        int Width,
        int Heads,
        int MlpWidth,
        int PatchSize,
        int TemporalPatchSize,
        int MergeSize
    )
    {
        /// <summary>Width of a row of patches: channels * temporal * patch * patch.</summary>
        public int PatchWidth => 3 * TemporalPatchSize * PatchSize * PatchSize;

        /// <summary>Patches that become one token.</summary>
        public int MergedPatches => MergeSize * MergeSize;
    }

    /// <summary>Sizes of the decoder.</summary>
    public sealed record TextConfig(
        int Vocabulary,
        int Hidden,
        int Layers,
        AttentionShape Attention,
        int MlpWidth,
        float Epsilon,
        double RopeTheta,
        int[] MRopeSections,
        int MaxPositions,
        bool TiedHead
    );

    /// <summary>Everything read from <c>config.json</c>.</summary>
    public sealed record Config(VisionConfig Vision, TextConfig Text, int ImageToken, int VideoToken)
    {
        /// <summary>Reads the old flat shape and the newer one with <c>text_config</c>; refuses what is not implemented.</summary>
        /// <exception cref="CheckpointException">A field is missing, of the wrong type, out of range, or asks for something unsupported.</exception>
        public static Config Read(JsonObjectReader json)
        {
            if (json.Has("quantization_config"))
            {
                throw json.Error("quantization_config", "is set; only f32, f16 and bf16 weights can be loaded");
            }

            JsonObjectReader text = json.OptionalObject("text_config") ?? json;
            int hidden = text.Int("hidden_size", 1, 1 << 16);
            TextConfig decoder = ReadText(text, hidden, json);
            // The template writes these marks; the model only has to have rows for them.
            json.Int("vision_start_token_id", 0, decoder.Vocabulary - 1, 151652);
            json.Int("vision_end_token_id", 0, decoder.Vocabulary - 1, 151653);
            return new Config(
                ReadVision(json.Object("vision_config"), hidden),
                decoder,
                json.Int("image_token_id", 0, decoder.Vocabulary - 1, 151655),
                json.Int("video_token_id", 0, decoder.Vocabulary - 1, 151656)
            );
        }

        static VisionConfig ReadVision(JsonObjectReader json, int textWidth)
        {
            int width = json.Int("embed_dim", 1, 1 << 16);
            int heads = json.Int("num_heads", 1, 1024);
            // A head is cut into halves for rotation and each half into rows and columns.
            if (width % heads != 0 || width / heads % 4 != 0)
            {
                throw json.Error(
                    "embed_dim",
                    $"is {width}, which {heads} heads do not divide into widths that 4 divides"
                );
            }

            if (json.Int("hidden_size", 1, 1 << 16, textWidth) is int outputs && outputs != textWidth)
            {
                throw json.Error("hidden_size", $"is {outputs}, but the decoder's width (hidden_size) is {textWidth}");
            }

            Require(json, "hidden_act", "quick_gelu");
            double ratio = json.Number("mlp_ratio", 1.0 / 64, 64, 4);
            return new VisionConfig(
                json.Int("depth", 1, 1024),
                width,
                heads,
                (int)(width * ratio),
                json.Int("patch_size", 1, 256, 14),
                json.Int("temporal_patch_size", 1, 16, 2),
                json.Int("spatial_merge_size", 1, 16, 2)
            );
        }

        static TextConfig ReadText(JsonObjectReader json, int hidden, JsonObjectReader top)
        {
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

            Require(json, "hidden_act", "silu");
            // Newer files keep theta beside the sections, in rope_parameters.
            JsonObjectReader rope = json.OptionalObject("rope_parameters") ?? json.Object("rope_scaling");
            Require(rope, "type", "mrope", "default");
            Require(rope, "rope_type", "mrope", "default");
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
            return new TextConfig(
                json.Int("vocab_size", 1, 1 << 24),
                hidden,
                json.Int("num_hidden_layers", 1, 1024),
                new AttentionShape(heads, kvHeads, headDim),
                json.Int("intermediate_size", 1, 1 << 20),
                (float)json.Number("rms_norm_eps", 0, 1, 1e-6),
                theta,
                sections,
                json.Int("max_position_embeddings", 1, int.MaxValue, 32768),
                top.Has("tie_word_embeddings")
                    ? top.Bool("tie_word_embeddings")
                    : json.Bool("tie_word_embeddings", false)
            );
        }

        static void Require(JsonObjectReader json, string name, params ReadOnlySpan<string> known)
        {
            if (json.Has(name) && !known.Contains(json.Text(name)))
            {
                throw json.Error(name, $"is '{json.Text(name)}', only {string.Join(" or ", known!)} is implemented");
            }
        }
    }

    sealed class VisionBlock(WeightSource weights, string name, VisionConfig config, int index)
    {
        readonly Vector norm1Weight = weights.Vector($"{name}.norm1.weight", config.Width);
        readonly Vector norm1Bias = weights.Vector($"{name}.norm1.bias", config.Width);
        readonly Linear qkv = weights.Linear(config.Width, bias: true, ($"{name}.attn.qkv", 3 * config.Width));
        readonly Linear output = weights.Linear(config.Width, bias: true, ($"{name}.attn.proj", config.Width));
        readonly Vector norm2Weight = weights.Vector($"{name}.norm2.weight", config.Width);
        readonly Vector norm2Bias = weights.Vector($"{name}.norm2.bias", config.Width);
        readonly Linear up = weights.Linear(config.Width, bias: true, ($"{name}.mlp.fc1", config.MlpWidth));
        readonly Linear down = weights.Linear(config.MlpWidth, bias: true, ($"{name}.mlp.fc2", config.Width));
        readonly AttentionShape shape = new(config.Heads, config.Heads, config.Width / config.Heads);
        readonly string tap = $"vision.block.{index}";

        public Tensor Forward(Ops ops, Tensor x, Rotary rotary, ReadOnlySpan<int> frames)
        {
            int width = config.Width;
            Arena.Mark mark = ops.Mark;
            Tensor h = ops.LayerNorm(x, norm1Weight, norm1Bias, VisionEpsilon); // h: [patches, width]
            Tensor packed = ops.Linear(h, qkv); // packed: [patches, 3 * width], q before k before v
            Tensor q = ops.Rotate(packed.Columns(0, width), config.Heads, rotary);
            Tensor k = ops.Rotate(packed.Columns(width, width), config.Heads, rotary);
            Tensor v = packed.Columns(2 * width, width);
            Tensor attended = ops.FullAttention(q, k, v, shape, frames); // attended: [patches, width]
            x = ops.Release(mark, ops.Linear(attended, output, residual: x));

            h = ops.LayerNorm(x, norm2Weight, norm2Bias, VisionEpsilon);
            x = ops.Release(mark, ops.Linear(ops.QuickGelu(ops.Linear(h, up)), down, residual: x));
            return ops.Tap(tap, x);
        }

        public void Dispose() => DisposeAll(qkv, output, up, down);
    }

    sealed class PatchMerger(WeightSource weights, string name, VisionConfig config, int hidden)
    {
        readonly Vector normWeight = weights.Vector($"{name}.ln_q.weight", config.Width);
        readonly Vector normBias = weights.Vector($"{name}.ln_q.bias", config.Width);
        readonly Linear up = weights.Linear(
            config.Width * config.MergedPatches,
            bias: true,
            ($"{name}.mlp.0", config.Width * config.MergedPatches)
        );
        readonly Linear down = weights.Linear(
            config.Width * config.MergedPatches,
            bias: true,
            ($"{name}.mlp.2", hidden)
        );

        public Tensor Forward(Ops ops, Tensor x)
        {
            int group = config.MergedPatches;
            Tensor h = ops.LayerNorm(x, normWeight, normBias, VisionEpsilon); // h: [patches, width]
            h = h.Reshape(x.Rows / group, x.Width * group); // h: [tokens, 4 * width]: neighbours are consecutive rows
            return ops.Tap("vision.merged", ops.Linear(ops.Gelu(ops.Linear(h, up)), down)); // [tokens, hidden]
        }

        public void Dispose() => DisposeAll(up, down);
    }

    sealed class DecoderLayer(WeightSource weights, string name, TextConfig config, int index)
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

        public void Dispose() => DisposeAll(qkv, output, gateUp, down);
    }

    readonly Config config;
    readonly Linear patchEmbedding;
    readonly VisionBlock[] tower;
    readonly PatchMerger merger;
    readonly PackedMatrix embedding;
    readonly DecoderLayer[] layers;
    readonly Vector finalNorm;
    readonly Linear head;
    readonly float[] visionFrequencies;
    readonly float[] textFrequencies;

    Qwen2VL(Config config, Checkpoint checkpoint, WeightSource weights)
    {
        this.config = config;
        Info = Describe(checkpoint);
        (VisionConfig vision, TextConfig text) = (config.Vision, config.Text);

        // Two naming schemes are published: visual.* beside model.*, and both under model.*.
        bool nested = checkpoint.Contains("model.language_model.embed_tokens.weight");
        string visual = nested ? "model.visual" : "visual";
        string decoder = nested ? "model.language_model" : "model";

        // The 3-D convolution does not overlap, so it is a matrix product over the flattened patch.
        patchEmbedding = new Linear(
            $"{visual}.patch_embed.proj.weight",
            weights.Matrix(
                $"{visual}.patch_embed.proj.weight",
                vision.Width,
                3,
                vision.TemporalPatchSize,
                vision.PatchSize,
                vision.PatchSize
            ),
            []
        );
        tower = new VisionBlock[vision.Depth];
        for (int i = 0; i < tower.Length; i++)
        {
            tower[i] = new VisionBlock(weights, $"{visual}.blocks.{i}", vision, i);
        }

        merger = new PatchMerger(weights, $"{visual}.merger", vision, text.Hidden);

        embedding = weights.Matrix($"{decoder}.embed_tokens.weight", text.Vocabulary, text.Hidden);
        layers = new DecoderLayer[text.Layers];
        for (int i = 0; i < layers.Length; i++)
        {
            layers[i] = new DecoderLayer(weights, $"{decoder}.layers.{i}", text, i);
        }

        finalNorm = weights.Vector($"{decoder}.norm.weight", text.Hidden);
        if (text.TiedHead)
        {
            head = new Linear($"{decoder}.embed_tokens.weight", embedding, []);
            if (checkpoint.Contains("lm_head.weight"))
            {
                checkpoint.Ignore("lm_head.weight", "the config ties the head to the embedding");
            }
        }
        else
        {
            head = weights.Linear(text.Hidden, bias: false, ("lm_head", text.Vocabulary));
        }

        checkpoint.ThrowIfUnused();

        visionFrequencies = RotaryTable.Frequencies(vision.Width / vision.Heads / 2, VisionTheta);
        textFrequencies = RotaryTable.Frequencies(text.Attention.HeadDim, text.RopeTheta);
    }

    /// <summary>Sizes of the model, from its config and the headers of its weights.</summary>
    /// <exception cref="CheckpointException">The config asks for something unsupported.</exception>
    public static ModelInfo Describe(Checkpoint checkpoint)
    {
        (VisionConfig vision, TextConfig text, int imageToken, int videoToken) = Config.Read(checkpoint.Config);
        long all = checkpoint.Tensors.Sum(t => t.Count);
        long visual = checkpoint.Tensors.Where(t => t.Name.Contains("visual.")).Sum(t => t.Count);
        return new ModelInfo
        {
            Architecture = Architecture,
            Vocabulary = text.Vocabulary,
            Hidden = text.Hidden,
            Layers = text.Layers,
            Attention = text.Attention,
            FeatureWidth = text.Hidden,
            Tower = (vision.Depth, vision.Width, vision.Heads),
            MaxPositions = text.MaxPositions,
            ImageToken = imageToken,
            VideoToken = videoToken,
            VisionParameters = visual,
            TextParameters = all - visual,
            WeightBytes = checkpoint.Tensors.Sum(t => t.Size),
            PatchWidth = vision.PatchWidth,
            Processor = PatchProcessor.FromCheckpoint(
                checkpoint,
                vision.PatchSize,
                vision.TemporalPatchSize,
                vision.MergeSize
            ),
            // Two operations for every weight and patch, and four for every pair of patches that see each other.
            TowerOperations = grid =>
                (2.0 * visual * grid.Patches) + (4.0 * grid.Patches * grid.H * grid.W * vision.Width * vision.Depth),
            // x, its norm, q, k, v, their pages and the result; the MLP needs less after those are freed.
            TowerWorkspace = grid =>
                sizeof(float) * (long)grid.Patches * Math.Max(8 * vision.Width, (2 * vision.Width) + vision.MlpWidth),
            // x, its norm, gate, up and their product.
            DecoderWorkspace = sizeof(float) * ((2L * text.Hidden) + (3L * text.MlpWidth)),
        };
    }

    /// <summary>Loads and packs the weights.</summary>
    /// <exception cref="CheckpointException">A file contradicts another, a tensor is missing, superfluous or of the wrong shape.</exception>
    public static Qwen2VL FromCheckpoint(Checkpoint checkpoint, WorkerPool pool, IProgress<double>? progress = null) =>
        new(Config.Read(checkpoint.Config), checkpoint, new WeightSource(checkpoint, pool, progress));

    /// <inheritdoc/>
    public ModelInfo Info { get; }

    /// <inheritdoc/>
    public Tensor Encode(Ops ops, Tensor pixels, ReadOnlySpan<GridThw> grids)
    {
        // A frame pair is a sequence of its own: patches of different times do not see each other.
        int[] frames = FrameLengths(grids); // sum: patches
        Rotary rotary = VisionPositions(ops, pixels.Rows, grids);
        Tensor x = ops.Tap("vision.patch_embed", ops.Linear(pixels, patchEmbedding)); // x: [patches, width]
        foreach (VisionBlock block in tower)
        {
            x = block.Forward(ops, x, rotary, frames);
        }

        return merger.Forward(ops, x);
    }

    /// <inheritdoc/>
    public int Positions(ReadOnlySpan<MediaSpan> media, Span<int> positions) =>
        MRope.Positions(positions.Length / 3, media, positions);

    /// <inheritdoc/>
    public Tensor Forward(Ops ops, Step step, KvCache cache)
    {
        Rotary rotary = TextPositions(ops, step);
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
        x = ops.Tap("text.norm", ops.RmsNorm(x, finalNorm, config.Text.Epsilon));
        return ops.Tap("logits", ops.Linear(x, head)); // [wanted, vocabulary]
    }

    /// <summary>The first half of a head's pairs turns by the patch's row, the second half by its column.</summary>
    Rotary VisionPositions(Ops ops, int patches, ReadOnlySpan<GridThw> grids)
    {
        int merge = config.Vision.MergeSize;
        int pairs = visionFrequencies.Length;
        Rotary rotary = RotaryTable.Allocate(ops, patches, config.Vision.Width / config.Vision.Heads);
        int patch = 0;
        foreach (GridThw grid in grids)
        {
            for (int t = 0; t < grid.T; t++)
            {
                // In the order of the patches: groups of merge x merge neighbours, row by row.
                for (int inFrame = 0; inFrame < grid.H * grid.W; inFrame++, patch++)
                {
                    int group = inFrame / (merge * merge);
                    int inGroup = inFrame % (merge * merge);
                    int row = (group / (grid.W / merge) * merge) + (inGroup / merge);
                    int column = (group % (grid.W / merge) * merge) + (inGroup % merge);
                    Span<float> cos = rotary.Cos.Row(patch);
                    Span<float> sin = rotary.Sin.Row(patch);
                    RotaryTable.Write(row, visionFrequencies, cos[..pairs], sin[..pairs]);
                    RotaryTable.Write(column, visionFrequencies, cos[pairs..], sin[pairs..]);
                }
            }
        }

        return rotary;
    }

    /// <summary>M-RoPE: consecutive sections of a head's pairs turn by time, height and width.</summary>
    Rotary TextPositions(Ops ops, Step step)
    {
        Rotary rotary = RotaryTable.Allocate(ops, step.Tokens.Length, config.Text.Attention.HeadDim);
        for (int token = 0; token < step.Tokens.Length; token++)
        {
            int start = 0;
            for (int axis = 0; axis < 3; axis++)
            {
                int count = config.Text.MRopeSections[axis];
                RotaryTable.Write(
                    step.Positions(axis)[token],
                    textFrequencies.AsSpan(start, count),
                    rotary.Cos.Row(token).Slice(start, count),
                    rotary.Sin.Row(token).Slice(start, count)
                );
                start += count;
            }
        }

        return rotary;
    }

    static int[] FrameLengths(ReadOnlySpan<GridThw> grids)
    {
        List<int> lengths = [];
        foreach (GridThw grid in grids)
        {
            lengths.AddRange(Enumerable.Repeat(grid.H * grid.W, grid.T));
        }

        return [.. lengths];
    }

    static void DisposeAll(params ReadOnlySpan<Linear> linears)
    {
        foreach (Linear linear in linears)
        {
            linear.Dispose();
        }
    }

    /// <summary>Frees the weights.</summary>
    public void Dispose()
    {
        patchEmbedding.Dispose();
        embedding.Dispose();
        head.Dispose();
        merger.Dispose();
        foreach (VisionBlock block in tower)
        {
            block.Dispose();
        }

        foreach (DecoderLayer layer in layers)
        {
            layer.Dispose();
        }
    }
}
