using VlmSharp.Formats;
using VlmSharp.Grounding;
using VlmSharp.Kernels;
using VlmSharp.Models.Blocks;
using VlmSharp.Tensors;
using VlmSharp.Vision;

namespace VlmSharp.Models;

/// <summary>The first Qwen-VL: a ViT at one resolution, a resampler with a fixed number of queries, a Qwen decoder.</summary>
/// <remarks>
/// Source: arXiv 2308.12966 and the code published with Qwen/Qwen-VL and Qwen/Qwen-VL-Chat (<c>modeling_qwen.py</c>,
/// <c>visual.py</c>). Every picture becomes as many tokens as there are queries. Boxes are 0-1000 of the picture.
/// </remarks>
public sealed class QwenVL : IVisionLanguageModel
{
    /// <summary>The name in <c>config.json</c>.</summary>
    public const string Architecture = "QWenLMHeadModel";

    const float VisionEpsilon = 1e-6f; // fixed in the published code, as are the two below
    const int PositionSide = 16; // of the tower's learned positions, whatever the grid
    const int ResamplerHeadDim = 128;

    /// <summary>Sizes of the vision tower and the resampler.</summary>
    public sealed record VisionConfig(
        int Depth,
        int Width,
        int Heads,
        int MlpWidth,
        int ImageSize,
        int PatchSize,
        int Outputs,
        int QuerySide
    )
    {
        /// <summary>Patches from side to side of a picture.</summary>
        public int GridSide => ImageSize / PatchSize;

        /// <summary>Patches of a picture.</summary>
        public int Patches => GridSide * GridSide;

        /// <summary>Tokens of a picture.</summary>
        public int Queries => QuerySide * QuerySide;

        /// <summary>Width of a row of patches: channels * patch * patch.</summary>
        public int PatchWidth => 3 * PatchSize * PatchSize;
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
        int TrainedLength,
        bool DynamicNtk,
        bool LogN,
        int MaxPositions,
        bool OutputBias,
        bool TiedHead
    );

    /// <summary>Everything read from <c>config.json</c>.</summary>
    /// <param name="Vision">Sizes of the vision tower.</param>
    /// <param name="Text">Sizes of the decoder.</param>
    /// <param name="ImageStart">The token <c>&lt;img&gt;</c>; <c>&lt;/img&gt;</c> and <c>&lt;imgpad&gt;</c> follow it.</param>
    public sealed record Config(VisionConfig Vision, TextConfig Text, int ImageStart)
    {
        /// <summary>Reads the file; refuses what is not implemented.</summary>
        /// <exception cref="CheckpointException">A field is missing, of the wrong type, out of range, or asks for something unsupported.</exception>
        public static Config Read(JsonObjectReader json)
        {
            TextConfig text = ReadText(json);
            JsonObjectReader visual = json.Object("visual");
            return new Config(
                ReadVision(visual, text.Hidden),
                text,
                visual.Int("image_start_id", 0, text.Vocabulary - 3)
            );
        }

        static VisionConfig ReadVision(JsonObjectReader json, int textWidth)
        {
            int width = json.Int("width", 1, 1 << 16);
            int heads = json.Int("heads", 1, 1024);
            if (width % heads != 0)
            {
                throw json.Error("heads", $"is {heads}, which does not divide the width {width}");
            }

            int outputs = json.Int("output_dim", 1, 1 << 16);
            if (outputs != textWidth)
            {
                throw json.Error("output_dim", $"is {outputs}, but the decoder's width (hidden_size) is {textWidth}");
            }

            // The resampler has outputs / 128 heads, rounded down; they must divide it all the same.
            if (outputs < ResamplerHeadDim || outputs % (outputs / ResamplerHeadDim) != 0)
            {
                throw json.Error(
                    "output_dim",
                    $"is {outputs}, which its {outputs / ResamplerHeadDim} heads ({ResamplerHeadDim} wide, rounded down) do not divide"
                );
            }

            int patch = json.Int("patch_size", 1, 256);
            int queries = json.Int("n_queries", 1, 1 << 14, 256);
            int side = (int)Math.Sqrt(queries);
            return side * side == queries
                ? new VisionConfig(
                    json.Int("layers", 1, 1024),
                    width,
                    heads,
                    (int)(width * json.Number("mlp_ratio", 1.0 / 64, 64)),
                    json.Int("image_size", patch, 1 << 14),
                    patch,
                    outputs,
                    side
                )
                : throw json.Error("n_queries", $"is {queries}, which is no square of a whole number");
        }

        static TextConfig ReadText(JsonObjectReader json)
        {
            int hidden = json.Int("hidden_size", 1, 1 << 16);
            int heads = json.Int("num_attention_heads", 1, 1024);
            int headDim = json.Int("kv_channels", 4, 1 << 12, 128);
            if ((long)headDim * heads != hidden || headDim % 2 != 0)
            {
                throw json.Error(
                    "kv_channels",
                    $"is {headDim}; expected an even number that makes hidden_size, {hidden}, with {heads} heads (num_attention_heads)"
                );
            }

            if (json.Number("rotary_pct", 0, 1, 1) != 1)
            {
                throw json.Error("rotary_pct", "is not 1; heads that are rotated in part are not implemented");
            }

            if (!json.Bool("scale_attn_weights", true))
            {
                throw json.Error("scale_attn_weights", "is false; attention without scaling is not implemented");
            }

            return new TextConfig(
                json.Int("vocab_size", 4, 1 << 24),
                hidden,
                json.Int("num_hidden_layers", 1, 1024),
                new AttentionShape(heads, heads, headDim),
                json.Int("intermediate_size", 2, 1 << 20) / 2,
                (float)json.Number("layer_norm_epsilon", 0, 1, 1e-6),
                json.Number("rotary_emb_base", 1, 1e12, 10000),
                json.Int("seq_length", 2, int.MaxValue),
                json.Bool("use_dynamic_ntk", true),
                json.Bool("use_logn_attn", true),
                json.Int("max_position_embeddings", 1, int.MaxValue, 8192),
                !json.Bool("no_bias", true),
                json.Bool("tie_word_embeddings", false)
            );
        }
    }

    sealed class VisionBlock(WeightSource weights, string name, VisionConfig config, int index)
    {
        readonly Vector norm1Weight = weights.Vector($"{name}.ln_1.weight", config.Width);
        readonly Vector norm1Bias = weights.Vector($"{name}.ln_1.bias", config.Width);

        // Stored head by head, each with its q, k and v; wanted with all of q first.
        readonly Linear qkv = weights.Rows(
            $"{name}.attn.in_proj.weight",
            $"{name}.attn.in_proj.bias",
            3 * config.Width,
            config.Width,
            [
                .. Enumerable
                    .Range(0, 3 * config.Heads)
                    .Select(i => (Part: i / config.Heads, Head: i % config.Heads))
                    .Select(at =>
                        (((3 * at.Head) + at.Part) * config.Width / config.Heads, config.Width / config.Heads)
                    ),
            ]
        );
        readonly Linear output = weights.Linear(config.Width, bias: true, ($"{name}.attn.out_proj", config.Width));
        readonly Vector norm2Weight = weights.Vector($"{name}.ln_2.weight", config.Width);
        readonly Vector norm2Bias = weights.Vector($"{name}.ln_2.bias", config.Width);
        readonly Linear up = weights.Linear(config.Width, bias: true, ($"{name}.mlp.c_fc", config.MlpWidth));
        readonly Linear down = weights.Linear(config.MlpWidth, bias: true, ($"{name}.mlp.c_proj", config.Width));
        readonly AttentionShape shape = new(config.Heads, config.Heads, config.Width / config.Heads);
        readonly string tap = $"vision.block.{index}";

        public Tensor Forward(Ops ops, Tensor x, ReadOnlySpan<int> pictures)
        {
            int width = config.Width;
            Arena.Mark mark = ops.Mark;
            Tensor h = ops.LayerNorm(x, norm1Weight, norm1Bias, VisionEpsilon); // h: [patches, width]
            Tensor packed = ops.Linear(h, qkv); // packed: [patches, 3 * width], q before k before v
            Tensor attended = ops.FullAttention(
                packed.Columns(0, width),
                packed.Columns(width, width),
                packed.Columns(2 * width, width),
                shape,
                pictures
            ); // attended: [patches, width]
            x = ops.Release(mark, ops.Linear(attended, output, residual: x));

            h = ops.LayerNorm(x, norm2Weight, norm2Bias, VisionEpsilon);
            x = ops.Release(mark, ops.Linear(ops.Gelu(ops.Linear(h, up)), down, residual: x));
            return ops.Tap(tap, x);
        }

        public void Dispose() => WeightSource.DisposeAll(qkv, output, up, down);
    }

    /// <summary>Cross-attention of learned queries to the patches of a picture, and the projection into the decoder.</summary>
    sealed class Resampler : IDisposable
    {
        readonly VisionConfig config;
        readonly Linear? widen;
        readonly Vector keyNormWeight;
        readonly Vector keyNormBias;
        readonly Vector queryNormWeight;
        readonly Vector queryNormBias;
        readonly float[] queries; // [queries, outputs]
        readonly float[] queryPositions; // [queries, outputs]
        readonly float[] keyPositions; // [patches, outputs]
        readonly Linear query;
        readonly Linear key;
        readonly Linear value;
        readonly Linear output;
        readonly Vector finalNormWeight;
        readonly Vector finalNormBias;
        readonly Linear projection;
        readonly AttentionShape shape;

        public Resampler(WeightSource weights, string name, VisionConfig config)
        {
            this.config = config;
            int width = config.Outputs;
            string pool = $"{name}.attn_pool";
            // Where the tower is as wide as the decoder there is no such weight.
            widen =
                config.Width == width ? null : weights.Linear(config.Width, bias: false, ($"{pool}.kv_proj", width));
            keyNormWeight = weights.Vector($"{pool}.ln_kv.weight", width);
            keyNormBias = weights.Vector($"{pool}.ln_kv.bias", width);
            queryNormWeight = weights.Vector($"{pool}.ln_q.weight", width);
            queryNormBias = weights.Vector($"{pool}.ln_q.bias", width);
            queries = weights.Table($"{pool}.query", config.Queries, width);
            queryPositions = weights.Table($"{pool}.pos_embed", config.Queries, width);
            keyPositions = BicubicTable.Resize(queryPositions, config.QuerySide, width, config.GridSide);
            query = InputPart(0);
            key = InputPart(1);
            value = InputPart(2);
            output = weights.Linear(width, bias: true, ($"{pool}.attn.out_proj", width));
            finalNormWeight = weights.Vector($"{name}.ln_post.weight", width);
            finalNormBias = weights.Vector($"{name}.ln_post.bias", width);
            projection = weights.Transposed($"{name}.proj", width, width);
            int heads = width / ResamplerHeadDim;
            shape = new AttentionShape(heads, heads, width / heads);

            Linear InputPart(int part) =>
                weights.Rows(
                    $"{pool}.attn.in_proj_weight",
                    $"{pool}.attn.in_proj_bias",
                    3 * width,
                    width,
                    (part * width, width)
                );
        }

        public Tensor Forward(Ops ops, Tensor x, ReadOnlySpan<int> pictures)
        {
            Tensor values = widen is null ? x : ops.Linear(x, widen); // values: [patches, outputs]
            values = ops.LayerNorm(values, keyNormWeight, keyNormBias, VisionEpsilon);
            Tensor v = ops.Linear(values, value); // before positions are added, which the values do not have
            Tensor positions = ops.Tap(
                "vision.resampler_pos_embed",
                Constant(ops, keyPositions, config.Patches, config.Outputs)
            );
            Tensor k = ops.Linear(AddToEach(ops, values, positions, pictures.Length), key); // k: [patches, outputs]

            Tensor h = Constant(ops, queries, config.Queries, config.Outputs);
            h = ops.LayerNorm(h, queryNormWeight, queryNormBias, VisionEpsilon);
            h = ops.Add(h, Constant(ops, queryPositions, config.Queries, config.Outputs)); // h: [queries, outputs]
            int[] lengths = new int[pictures.Length];
            Array.Fill(lengths, config.Queries);
            int[] repeated = [.. Enumerable.Range(0, pictures.Length * config.Queries).Select(i => i % config.Queries)];
            Tensor q = ops.TakeRows(ops.Linear(h, query), repeated); // q: [pictures * queries, outputs]

            Tensor attended = ops.CrossAttention(q, k, v, shape, lengths, pictures); // [pictures * queries, outputs]
            h = ops.Tap("vision.resampler", ops.Linear(attended, output));
            h = ops.LayerNorm(h, finalNormWeight, finalNormBias, VisionEpsilon);
            return ops.Tap("vision.merged", ops.Linear(h, projection));
        }

        public void Dispose()
        {
            widen?.Dispose();
            WeightSource.DisposeAll(query, key, value, output, projection);
        }
    }

    sealed class DecoderLayer(
        WeightSource weights,
        string name,
        TextConfig config,
        int index,
        Func<string, bool> biased
    )
    {
        readonly Vector attentionNorm = weights.Vector($"{name}.ln_1.weight", config.Hidden);

        // It has a bias whatever no_bias says.
        readonly Linear qkv = weights.Linear(config.Hidden, bias: true, ($"{name}.attn.c_attn", 3 * config.Hidden));
        readonly Linear output = weights.Linear(
            config.Hidden,
            biased($"{name}.attn.c_proj"),
            ($"{name}.attn.c_proj", config.Hidden)
        );
        readonly Vector mlpNorm = weights.Vector($"{name}.ln_2.weight", config.Hidden);
        readonly Linear gateUp = weights.Linear(
            config.Hidden,
            biased($"{name}.mlp.w1"),
            ($"{name}.mlp.w2", config.MlpWidth),
            ($"{name}.mlp.w1", config.MlpWidth)
        );
        readonly Linear down = weights.Linear(
            config.MlpWidth,
            biased($"{name}.mlp.c_proj"),
            ($"{name}.mlp.c_proj", config.Hidden)
        );
        readonly string tap = $"text.layer.{index}";

        public Tensor Forward(Ops ops, Tensor x, Rotary queryRotary, Rotary keyRotary, Step step, KvCache cache)
        {
            AttentionShape shape = config.Attention;
            int width = config.Hidden;
            Arena.Mark mark = ops.Mark;
            Tensor h = ops.RmsNorm(x, attentionNorm, config.Epsilon); // h: [tokens, hidden]
            Tensor packed = ops.Linear(h, qkv); // packed: [tokens, 3 * hidden], q before k before v
            Tensor q = ops.Rotate(packed.Columns(0, width), shape.Heads, queryRotary);
            Tensor k = ops.Rotate(packed.Columns(width, width), shape.Heads, keyRotary);
            Tensor v = packed.Columns(2 * width, width);
            Tensor attended = ops.CachedAttention(q, k, v, shape, cache, index, step.Placement); // attended: [tokens, hidden]
            x = ops.Release(mark, ops.Linear(attended, output, residual: x));

            h = ops.RmsNorm(x, mlpNorm, config.Epsilon);
            x = ops.Release(mark, ops.Linear(ops.SwiGlu(ops.Linear(h, gateUp)), down, residual: x));
            return ops.Tap(tap, x);
        }

        public void Dispose() => WeightSource.DisposeAll(qkv, output, gateUp, down);
    }

    readonly Config config;
    readonly Linear patchEmbedding;
    readonly float[] patchPositions; // [patches, width]
    readonly Vector firstNormWeight;
    readonly Vector firstNormBias;
    readonly VisionBlock[] tower;
    readonly Resampler resampler;
    readonly PackedMatrix embedding;
    readonly DecoderLayer[] layers;
    readonly Vector finalNorm;
    readonly Linear head;
    readonly float[][] frequencies; // by the exponent e of alpha = 2^e - 1; [headDim / 2] each

    QwenVL(Config config, ModelInfo info, Checkpoint checkpoint, WeightSource weights)
    {
        this.config = config;
        Info = info;
        (VisionConfig vision, TextConfig text) = (config.Vision, config.Text);

        const string visual = "transformer.visual";
        // The convolution does not overlap, so it is a matrix product over the flattened patch.
        patchEmbedding = weights.Convolution(
            $"{visual}.conv1",
            bias: false,
            vision.Width,
            3,
            vision.PatchSize,
            vision.PatchSize
        );
        patchPositions = BicubicTable.Resize(
            weights.Table($"{visual}.positional_embedding", PositionSide * PositionSide, vision.Width),
            PositionSide,
            vision.Width,
            vision.GridSide
        );
        firstNormWeight = weights.Vector($"{visual}.ln_pre.weight", vision.Width);
        firstNormBias = weights.Vector($"{visual}.ln_pre.bias", vision.Width);
        tower = new VisionBlock[vision.Depth];
        for (int i = 0; i < tower.Length; i++)
        {
            tower[i] = new VisionBlock(weights, $"{visual}.transformer.resblocks.{i}", vision, i);
        }

        resampler = new Resampler(weights, visual, vision);

        embedding = weights.Matrix("transformer.wte.weight", text.Vocabulary, text.Hidden);
        layers = new DecoderLayer[text.Layers];
        for (int i = 0; i < layers.Length; i++)
        {
            // Converted checkpoints have biases where the config denies them; they count.
            layers[i] = new DecoderLayer(
                weights,
                $"transformer.h.{i}",
                text,
                i,
                name => text.OutputBias || checkpoint.Contains($"{name}.bias")
            );
        }

        finalNorm = weights.Vector("transformer.ln_f.weight", text.Hidden);
        head = weights.Head("transformer.wte.weight", embedding, text.TiedHead);
        checkpoint.ThrowIfUnused();

        int dimensions = text.Attention.HeadDim;
        frequencies = new float[32][];
        for (int exponent = 1; exponent < frequencies.Length; exponent++)
        {
            double alpha = Math.Pow(2, exponent) - 1;
            double theta = text.RopeTheta * Math.Pow(alpha, dimensions / (dimensions - 2.0));
            frequencies[exponent] = RotaryTable.Frequencies(dimensions, theta);
        }
    }

    /// <summary>Reads the config and the headers of the weights.</summary>
    /// <exception cref="CheckpointException">The config asks for something unsupported.</exception>
    public static UnloadedModel Open(Checkpoint checkpoint)
    {
        Config read = Config.Read(checkpoint.Config);
        ModelInfo info = Describe(read, checkpoint);
        return new UnloadedModel(info, weights => new QwenVL(read, info, checkpoint, weights));
    }

    static ModelInfo Describe(Config config, Checkpoint checkpoint)
    {
        (VisionConfig vision, TextConfig text, int imageStart) = config;
        long all = checkpoint.Weights.Sum(w => w.Count);
        long visual = checkpoint.Weights.Where(w => w.Name.Contains(".visual.")).Sum(w => w.Count);
        return new ModelInfo
        {
            Architecture = Architecture,
            Vocabulary = text.Vocabulary,
            Hidden = text.Hidden,
            Layers = text.Layers,
            Attention = text.Attention,
            FeatureWidth = vision.Outputs,
            Tower = (vision.Depth, vision.Width, vision.Heads),
            MaxPositions = text.MaxPositions,
            ImageToken = imageStart + 2,
            VideoToken = -1,
            VisionParameters = visual,
            TextParameters = all - visual,
            WeightBytes = checkpoint.Weights.Sum(w => w.LoadedBytes),
            PatchWidth = vision.PatchWidth,
            Grounding = GroundingDialect.QwenVL,
            Processor = new FixedSizeProcessor(vision.ImageSize, vision.PatchSize, vision.Queries),
            // Two operations for every weight and patch, and four for every pair of patches, and of queries and patches.
            TowerOperations = grid =>
                (2.0 * visual * grid.Patches)
                + (4.0 * grid.Patches * grid.Patches * vision.Width * vision.Depth)
                + (4.0 * grid.Patches * vision.Queries * vision.Outputs),
            // Three forms of x, then the largest of: the norm, q, k, v, their pages and the result; the norm and the MLP; the
            // resampler's keys and values in all their forms. Its queries have nine.
            TowerWorkspace = grid =>
            {
                int most = Math.Max(Math.Max(7 * vision.Width, vision.Width + vision.MlpWidth), 7 * vision.Outputs);
                return sizeof(float)
                    * (((long)grid.Patches * ((3 * vision.Width) + most)) + (9L * vision.Queries * vision.Outputs));
            },
            // x, its norm, and gate, up and their product, or q, k, v and the result.
            DecoderWorkspace = sizeof(float) * ((2L * text.Hidden) + Math.Max(3L * text.MlpWidth, 4L * text.Hidden)),
        };
    }

    /// <inheritdoc/>
    public ModelInfo Info { get; }

    /// <summary>The token <c>&lt;img&gt;</c>; <c>&lt;/img&gt;</c> and <c>&lt;imgpad&gt;</c> follow it.</summary>
    public int ImageStart => config.ImageStart;

    /// <summary>Tokens between <c>&lt;img&gt;</c> and <c>&lt;/img&gt;</c>.</summary>
    public int ImageSlots => config.Vision.Queries;

    /// <inheritdoc/>
    public Tensor Encode(Ops ops, Tensor pixels, ReadOnlySpan<GridThw> grids)
    {
        int[] pictures = new int[grids.Length]; // patches of each
        Array.Fill(pictures, config.Vision.Patches);
        Tensor x = ops.Tap("vision.patch_embed", ops.Linear(pixels, patchEmbedding)); // x: [patches, width]
        Tensor positions = ops.Tap(
            "vision.pos_embed",
            Constant(ops, patchPositions, config.Vision.Patches, config.Vision.Width)
        );
        x = AddToEach(ops, x, positions, pictures.Length);
        x = ops.Tap("vision.pre_norm", ops.LayerNorm(x, firstNormWeight, firstNormBias, VisionEpsilon));
        foreach (VisionBlock block in tower)
        {
            x = block.Forward(ops, x, pictures);
        }

        return resampler.Forward(ops, x, pictures);
    }

    /// <summary>Tokens are counted, those of pictures as all others.</summary>
    public int Positions(ReadOnlySpan<MediaSpan> media, Span<int> positions)
    {
        int tokens = positions.Length / 3;
        for (int i = 0; i < positions.Length; i++)
        {
            positions[i] = i % tokens;
        }

        return 0;
    }

    /// <summary>Keys are rotated with frequencies that the prompt's length decides.</summary>
    public bool KeepsPrefix(int computedFor, int prompt) => NtkExponent(computedFor) == NtkExponent(prompt);

    /// <inheritdoc/>
    public Tensor Forward(Ops ops, Step step, KvCache cache)
    {
        (Rotary queryRotary, Rotary keyRotary) = TextPositions(ops, step);
        Tensor x = ops.Embed(embedding, step.Tokens); // x: [tokens, hidden]
        foreach (MediaRows media in step.Media)
        {
            x = ops.ReplaceRows(x, media.FirstRow, media.Features);
        }

        x = ops.Tap("text.embeds", x);
        foreach (DecoderLayer layer in layers)
        {
            x = layer.Forward(ops, x, queryRotary, keyRotary, step, cache);
        }

        x = ops.TakeRows(x, step.LogitRows); // x: [wanted, hidden]
        x = ops.Tap("text.norm", ops.RmsNorm(x, finalNorm, config.Text.Epsilon));
        return ops.Tap("logits", ops.Linear(x, head)); // [wanted, vocabulary]
    }

    /// <summary>Angles of each row by its sequence's frequencies. Those of queries are multiplied by log-n, which turning leaves in place.</summary>
    (Rotary Queries, Rotary Keys) TextPositions(Ops ops, Step step)
    {
        ReadOnlySpan<int> positions = step.Positions(0);
        int headDim = config.Text.Attention.HeadDim;
        Rotary keys = RotaryTable.Allocate(ops, positions.Length, headDim);
        bool scaled = config.Text.LogN && positions.ContainsAnyExceptInRange(0, config.Text.TrainedLength - 1);
        Rotary queries = scaled ? RotaryTable.Allocate(ops, positions.Length, headDim) : keys;
        for (int i = 0; i < step.Placement.Sequences.Length; i++)
        {
            AttentionSequence sequence = step.Placement.Sequences[i];
            float[] own = frequencies[NtkExponent(step.PromptTokens[i])];
            ops.Tap("text.inv_freq", own);
            for (int row = sequence.QueryStart; row < sequence.QueryStart + sequence.QueryCount; row++)
            {
                RotaryTable.Write(positions[row], own, keys.Cos.Row(row), keys.Sin.Row(row));
                if (scaled)
                {
                    RotaryTable.Write(
                        positions[row],
                        own,
                        queries.Cos.Row(row),
                        queries.Sin.Row(row),
                        QueryScale(positions[row])
                    );
                }
            }
        }

        return (queries, keys);
    }

    /// <summary>Log-n: the logarithm of the position, counted from 1, to the base of the trained length; 1 up to that.</summary>
    float QueryScale(int position) =>
        position < config.Text.TrainedLength
            ? 1
            : (float)(Math.Log(position + 1.0) / Math.Log(config.Text.TrainedLength));

    /// <summary>Dynamic NTK: alpha is 2^e - 1 and stretches the rotary base to alpha^(d / (d - 2)) times itself.</summary>
    int NtkExponent(int promptTokens)
    {
        if (!config.Text.DynamicNtk || promptTokens <= config.Text.TrainedLength)
        {
            return 1;
        }

        // The quotient of logarithms is how the published code computes the logarithm to base 2.
        double doublings = Math.Log((double)promptTokens / config.Text.TrainedLength) / Math.Log(2);
        return (int)Math.Ceiling(doublings + 1);
    }

    static Tensor AddToEach(Ops ops, Tensor x, Tensor positions, int pictures)
    {
        for (int i = 0; i < pictures; i++)
        {
            x = ops.AddRows(x, i * positions.Rows, positions);
        }

        return x;
    }

    static Tensor Constant(Ops ops, float[] values, int rows, int width)
    {
        Tensor tensor = ops.Allocate(rows, width);
        values.CopyTo(tensor.Data);
        return tensor;
    }

    /// <summary>Frees the weights.</summary>
    public void Dispose()
    {
        patchEmbedding.Dispose();
        embedding.Dispose();
        head.Dispose();
        resampler.Dispose();
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
