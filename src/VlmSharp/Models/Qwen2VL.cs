using VlmSharp.Formats;
using VlmSharp.Grounding;
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

    /// <summary>Everything read from <c>config.json</c>.</summary>
    public sealed record Config(VisionConfig Vision, MRopeDecoder.Sizes Text, MediaTokens Tokens)
    {
        /// <summary>Reads the old flat shape and the newer one with <c>text_config</c>; refuses what is not implemented.</summary>
        /// <exception cref="CheckpointException">A field is missing, of the wrong type, out of range, or asks for something unsupported.</exception>
        public static Config Read(JsonObjectReader json)
        {
            MRopeDecoder.Sizes text = DecoderFields.Qwen2(json);
            return new Config(
                ReadVision(json.Object("vision_config"), text.Hidden),
                text,
                VisionFields.Tokens(json, text.Vocabulary)
            );
        }

        static VisionConfig ReadVision(JsonObjectReader json, int textWidth)
        {
            (int width, int heads) = VisionFields.Heads(json, "embed_dim");
            VisionFields.CheckOutputs(json, "hidden_size", textWidth, optional: true);
            json.Require("hidden_act", "quick_gelu");
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
    }

    sealed class VisionBlock(WeightSource weights, string name, VisionConfig config, int index) : IDisposable
    {
        readonly Vector norm1Weight = weights.Vector($"{name}.norm1.weight", config.Width);
        readonly Vector norm1Bias = weights.Vector($"{name}.norm1.bias", config.Width);
        readonly VisionAttention attention = new(weights, $"{name}.attn", config.Width, config.Heads);
        readonly Vector norm2Weight = weights.Vector($"{name}.norm2.weight", config.Width);
        readonly Vector norm2Bias = weights.Vector($"{name}.norm2.bias", config.Width);
        readonly Linear up = weights.Linear(config.Width, bias: true, ($"{name}.mlp.fc1", config.MlpWidth));
        readonly Linear down = weights.Linear(config.MlpWidth, bias: true, ($"{name}.mlp.fc2", config.Width));
        readonly string tap = $"vision.block.{index}";

        public Tensor Forward(Ops ops, Tensor x, Rotary rotary, ReadOnlySpan<int> frames)
        {
            Arena.Mark mark = ops.Mark;
            Tensor h = ops.LayerNorm(x, norm1Weight, norm1Bias, VisionEpsilon); // h: [patches, width]
            x = ops.Release(mark, attention.Forward(ops, h, residual: x, rotary, frames));

            h = ops.LayerNorm(x, norm2Weight, norm2Bias, VisionEpsilon);
            x = ops.Release(mark, ops.Linear(ops.QuickGelu(ops.Linear(h, up)), down, residual: x));
            return ops.Tap(tap, x);
        }

        public void Dispose()
        {
            attention.Dispose();
            WeightSource.DisposeAll(up, down);
        }
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

        public void Dispose() => WeightSource.DisposeAll(up, down);
    }

    readonly Config config;
    readonly Linear patchEmbedding;
    readonly VisionBlock[] tower;
    readonly PatchMerger merger;
    readonly MRopeDecoder decoder;

    Qwen2VL(Config config, ModelInfo info, Checkpoint checkpoint, WeightSource weights)
    {
        this.config = config;
        Info = info;
        VisionConfig vision = config.Vision;

        // Two naming schemes are published: visual.* beside model.*, and both under model.*.
        bool nested = checkpoint.Contains("model.language_model.embed_tokens.weight");
        string visual = nested ? "model.visual" : "visual";

        // The 3-D convolution does not overlap, so it is a matrix product over the flattened patch.
        patchEmbedding = weights.Convolution(
            $"{visual}.patch_embed.proj",
            bias: false,
            vision.Width,
            3,
            vision.TemporalPatchSize,
            vision.PatchSize,
            vision.PatchSize
        );
        tower = new VisionBlock[vision.Depth];
        for (int i = 0; i < tower.Length; i++)
        {
            tower[i] = new VisionBlock(weights, $"{visual}.blocks.{i}", vision, i);
        }

        merger = new PatchMerger(weights, $"{visual}.merger", vision, config.Text.Hidden);
        decoder = new MRopeDecoder(config.Text, weights, nested ? "model.language_model" : "model");
        checkpoint.ThrowIfUnused();
    }

    /// <summary>Reads the config and the headers of the weights.</summary>
    /// <exception cref="CheckpointException">The config asks for something unsupported.</exception>
    public static UnloadedModel Open(Checkpoint checkpoint)
    {
        Config read = Config.Read(checkpoint.Config);
        ModelInfo info = Describe(read, checkpoint);
        return new UnloadedModel(info, weights => new Qwen2VL(read, info, checkpoint, weights));
    }

    static ModelInfo Describe(Config config, Checkpoint checkpoint)
    {
        (VisionConfig vision, MRopeDecoder.Sizes text, MediaTokens tokens) = config;
        long all = checkpoint.Weights.Sum(w => w.Count);
        long visual = checkpoint.Weights.Where(w => w.Name.Contains("visual.")).Sum(w => w.Count);
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
            ImageToken = tokens.Image,
            VideoToken = tokens.Video,
            VisionParameters = visual,
            TextParameters = all - visual,
            WeightBytes = checkpoint.Weights.Sum(w => w.LoadedBytes),
            PatchWidth = vision.PatchWidth,
            Grounding = GroundingDialect.Qwen2VL,
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
            DecoderWorkspace = text.Workspace,
        };
    }

    /// <inheritdoc/>
    public ModelInfo Info { get; }

    /// <inheritdoc/>
    public Tensor Encode(Ops ops, Tensor pixels, ReadOnlySpan<GridThw> grids)
    {
        int[] frames = PatchGrid.FrameLengths(grids); // sum: patches
        Rotary rotary = PatchGrid.Rotary(
            ops,
            config.Vision.Width / config.Vision.Heads,
            config.Vision.MergeSize,
            grids
        );
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
    public Tensor Forward(Ops ops, Step step, KvCache cache) => decoder.Forward(ops, step, cache);

    /// <summary>Frees the weights.</summary>
    public void Dispose()
    {
        patchEmbedding.Dispose();
        decoder.Dispose();
        merger.Dispose();
        foreach (VisionBlock block in tower)
        {
            block.Dispose();
        }
    }
}
