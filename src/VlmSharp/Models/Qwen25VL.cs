using VlmSharp.Formats;
using VlmSharp.Grounding;
using VlmSharp.Kernels;
using VlmSharp.Models.Blocks;
using VlmSharp.Tensors;
using VlmSharp.Vision;

namespace VlmSharp.Models;

/// <summary>Qwen2.5-VL: a vision tower that attends within windows, rotary positions proportional to seconds, a Qwen2 decoder.</summary>
/// <remarks>
/// Source: arXiv 2502.13923 and the checkpoints Qwen/Qwen2.5-VL-*. Most blocks of the tower see windows of 112 pixels, the ones
/// listed in the config whole frames. Tokens are put into window order once, before the first block, and back after the
/// merger. Boxes are pixels of the resized picture.
/// </remarks>
public sealed class Qwen25VL : IVisionLanguageModel
{
    /// <summary>The name in <c>config.json</c>.</summary>
    public const string Architecture = "Qwen2_5_VLForConditionalGeneration";

    const float VisionEpsilon = 1e-6f; // fixed in the published code, not in the config

    /// <summary>Sizes of the vision tower.</summary>
    /// <param name="Depth">Blocks.</param>
    /// <param name="Width">Width of a patch between blocks.</param>
    /// <param name="Heads">Heads of a block.</param>
    /// <param name="MlpWidth">Width between gate and down projection.</param>
    /// <param name="PatchSize">Pixels per side of a patch.</param>
    /// <param name="TemporalPatchSize">Frames of a patch.</param>
    /// <param name="MergeSize">Patches per side of a token.</param>
    /// <param name="WindowTokens">Tokens per side of a window.</param>
    /// <param name="FullAttention">Blocks that see whole frames.</param>
    /// <param name="TokensPerSecond">Rotary positions per second of video.</param>
    public sealed record VisionConfig(
        int Depth,
        int Width,
        int Heads,
        int MlpWidth,
        int PatchSize,
        int TemporalPatchSize,
        int MergeSize,
        int WindowTokens,
        int[] FullAttention,
        float TokensPerSecond
    )
    {
        /// <summary>Width of a row of patches: channels * temporal * patch * patch.</summary>
        public int PatchWidth => 3 * TemporalPatchSize * PatchSize * PatchSize;

        /// <summary>Patches that become one token.</summary>
        public int MergedPatches => MergeSize * MergeSize;

        /// <summary>Width of a head.</summary>
        public int HeadDim => Width / Heads;
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
            (int width, int heads) = VisionFields.Heads(json, "hidden_size");
            VisionFields.CheckOutputs(json, "out_hidden_size", textWidth, optional: true);
            json.Require("hidden_act", "silu");
            int depth = json.Int("depth", 1, 1024);
            int patch = json.Int("patch_size", 1, 256, 14);
            int merge = json.Int("spatial_merge_size", 1, 16, 2);
            int window = json.Int("window_size", 1, 1 << 16, 112);
            if (window < patch * merge)
            {
                throw json.Error(
                    "window_size",
                    $"is {window} pixels, less than the {patch * merge} of one token (patch_size * spatial_merge_size)"
                );
            }

            return new VisionConfig(
                depth,
                width,
                heads,
                json.Int("intermediate_size", 1, 1 << 20),
                patch,
                json.Int("temporal_patch_size", 1, 16, 2),
                merge,
                window / merge / patch,
                json.Ints("fullatt_block_indexes", depth, 0, depth - 1),
                (float)json.Number("tokens_per_second", 0, 1e4, 2)
            );
        }
    }

    /// <summary>Which tokens share a window, and in which order the tower sees them.</summary>
    /// <param name="Order">[tokens]: the token, in the order of the patches, that stands at each place.</param>
    /// <param name="Lengths">Patches of each window, in the same order; empty windows left out.</param>
    sealed record Windows(int[] Order, int[] Lengths)
    {
        /// <summary>Windows of each frame row by row, their tokens row by row; those at the border are smaller.</summary>
        public static Windows Of(ReadOnlySpan<GridThw> grids, VisionConfig config)
        {
            List<int> order = [];
            List<int> lengths = [];
            int side = config.WindowTokens;
            int frame = 0; // the first token of the frame
            foreach (GridThw grid in grids)
            {
                (int rows, int columns) = (grid.H / config.MergeSize, grid.W / config.MergeSize);
                for (int t = 0; t < grid.T; t++, frame += rows * columns)
                {
                    for (int top = 0; top < rows; top += side)
                    {
                        for (int left = 0; left < columns; left += side)
                        {
                            int before = order.Count;
                            for (int row = top; row < Math.Min(top + side, rows); row++)
                            {
                                for (int column = left; column < Math.Min(left + side, columns); column++)
                                {
                                    order.Add(frame + (row * columns) + column);
                                }
                            }

                            lengths.Add((order.Count - before) * config.MergedPatches);
                        }
                    }
                }
            }

            return new Windows([.. order], [.. lengths]);
        }

        /// <summary>The place at which each token stands: undoes <see cref="Order"/>.</summary>
        public int[] Places
        {
            get
            {
                int[] places = new int[Order.Length];
                for (int place = 0; place < places.Length; place++)
                {
                    places[Order[place]] = place;
                }

                return places;
            }
        }

        /// <summary>Where each window begins and the last one ends, in patches: [windows + 1].</summary>
        public int[] Bounds
        {
            get
            {
                int[] bounds = new int[Lengths.Length + 1];
                for (int i = 0; i < Lengths.Length; i++)
                {
                    bounds[i + 1] = bounds[i] + Lengths[i];
                }

                return bounds;
            }
        }
    }

    sealed class VisionBlock(WeightSource weights, string name, VisionConfig config, int index) : IDisposable
    {
        readonly Vector norm1 = weights.Vector($"{name}.norm1.weight", config.Width);
        readonly VisionAttention attention = new(weights, $"{name}.attn", config.Width, config.Heads);
        readonly Vector norm2 = weights.Vector($"{name}.norm2.weight", config.Width);
        readonly Linear gateUp = weights.Linear(
            config.Width,
            bias: true,
            ($"{name}.mlp.gate_proj", config.MlpWidth),
            ($"{name}.mlp.up_proj", config.MlpWidth)
        );
        readonly Linear down = weights.Linear(config.MlpWidth, bias: true, ($"{name}.mlp.down_proj", config.Width));
        readonly string tap = $"vision.block.{index}";

        /// <summary>Whether patches see their whole frame.</summary>
        public bool SeesFrames { get; } = config.FullAttention.Contains(index);

        public Tensor Forward(Ops ops, Tensor x, Rotary rotary, ReadOnlySpan<int> sequences)
        {
            Arena.Mark mark = ops.Mark;
            Tensor h = ops.RmsNorm(x, norm1, VisionEpsilon); // h: [patches, width]
            x = ops.Release(mark, attention.Forward(ops, h, residual: x, rotary, sequences));

            h = ops.RmsNorm(x, norm2, VisionEpsilon);
            x = ops.Release(mark, ops.Linear(ops.SwiGlu(ops.Linear(h, gateUp)), down, residual: x));
            return ops.Tap(tap, x);
        }

        public void Dispose()
        {
            attention.Dispose();
            WeightSource.DisposeAll(gateUp, down);
        }
    }

    sealed class PatchMerger(WeightSource weights, string name, VisionConfig config, int hidden)
    {
        readonly Vector norm = weights.Vector($"{name}.ln_q.weight", config.Width);
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
            Tensor h = ops.RmsNorm(x, norm, VisionEpsilon); // h: [patches, width]
            h = h.Reshape(x.Rows / group, x.Width * group); // h: [tokens, 4 * width]: neighbours are consecutive rows
            return ops.Linear(ops.Gelu(ops.Linear(h, up)), down); // [tokens, hidden]
        }

        public void Dispose() => WeightSource.DisposeAll(up, down);
    }

    readonly Config config;
    readonly Linear patchEmbedding;
    readonly VisionBlock[] tower;
    readonly PatchMerger merger;
    readonly MRopeDecoder decoder;

    Qwen25VL(Config config, ModelInfo info, Checkpoint checkpoint, WeightSource weights)
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
        return new UnloadedModel(info, weights => new Qwen25VL(read, info, checkpoint, weights));
    }

    static ModelInfo Describe(Config config, Checkpoint checkpoint)
    {
        (VisionConfig vision, MRopeDecoder.Sizes text, MediaTokens tokens) = config;
        long all = checkpoint.Weights.Sum(w => w.Count);
        long visual = checkpoint.Weights.Where(w => w.Name.Contains("visual.")).Sum(w => w.Count);
        PatchProcessor processor = PatchProcessor.FromCheckpoint(
            checkpoint,
            vision.PatchSize,
            vision.TemporalPatchSize,
            vision.MergeSize,
            VideoTime.Positions,
            vision.TokensPerSecond
        );
        int windowPatches = vision.WindowTokens * vision.WindowTokens * vision.MergedPatches;
        int whole = vision.FullAttention.Distinct().Count();
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
            Grounding = GroundingDialect.Qwen25VL,
            Processor = processor,
            // Two operations for every weight and patch, and four for every pair of patches that see each other.
            TowerOperations = grid =>
                (2.0 * visual * grid.Patches)
                + (
                    4.0
                    * grid.Patches
                    * vision.Width
                    * (
                        ((double)grid.H * grid.W * whole)
                        + (Math.Min(windowPatches, grid.H * grid.W) * (vision.Depth - whole))
                    )
                ),
            // x, its norm, q, k, v, their pages and the result, or gate, up and their product.
            TowerWorkspace = grid =>
                sizeof(float)
                * (long)grid.Patches
                * Math.Max(8 * vision.Width, (2 * vision.Width) + (3 * vision.MlpWidth)),
            DecoderWorkspace = text.Workspace,
        };
    }

    /// <inheritdoc/>
    public ModelInfo Info { get; }

    /// <inheritdoc/>
    public Tensor Encode(Ops ops, Tensor pixels, ReadOnlySpan<GridThw> grids)
    {
        VisionConfig vision = config.Vision;
        Windows windows = Windows.Of(grids, vision);
        ops.Tap("window_index", windows.Order);
        ops.Tap("window_cu_seqlens", windows.Bounds);
        int[] frames = PatchGrid.FrameLengths(grids); // sum: patches
        Rotary rotary = PatchGrid.Rotary(ops, vision.HeadDim, vision.MergeSize, grids);
        rotary = new Rotary(InWindows(ops, rotary.Cos, windows), InWindows(ops, rotary.Sin, windows));

        Tensor x = ops.Tap("vision.patch_embed", ops.Linear(pixels, patchEmbedding)); // x: [patches, width]
        x = InWindows(ops, x, windows);
        foreach (VisionBlock block in tower)
        {
            x = block.Forward(ops, x, rotary, block.SeesFrames ? frames : windows.Lengths);
        }

        x = merger.Forward(ops, x); // x: [tokens, hidden], in window order
        return ops.Tap("vision.merged", ops.TakeRows(x, windows.Places));
    }

    /// <summary>Rows of patches in window order: the patches of a token stay together.</summary>
    Tensor InWindows(Ops ops, Tensor x, Windows windows)
    {
        int group = config.Vision.MergedPatches;
        return ops.TakeRows(x.Reshape(x.Rows / group, x.Width * group), windows.Order).Reshape(x.Rows, x.Width);
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
        merger.Dispose();
        decoder.Dispose();
        foreach (VisionBlock block in tower)
        {
            block.Dispose();
        }
    }
}
