using VlmSharp.Formats;
using VlmSharp.Grounding;
using VlmSharp.Kernels;
using VlmSharp.Models.Blocks;
using VlmSharp.Tensors;
using VlmSharp.Vision;

namespace VlmSharp.Models;

/// <summary>Qwen3-VL: a vision tower with learned positions that speaks to several decoder layers, times told in text, a Qwen3 decoder.</summary>
/// <remarks>
/// Source: arXiv 2511.21631 and the checkpoints Qwen/Qwen3-VL-*, dense and with experts, Instruct and Thinking. What some blocks
/// in the middle of the tower see is added behind the first decoder layers (DeepStack, arXiv 2406.04334). Each temporal
/// patch of a video stands in the prompt behind its time, as a medium of its own. Boxes are 0-1000 of the original picture.
/// </remarks>
public sealed class Qwen3VL : IVisionLanguageModel
{
    /// <summary>The name in <c>config.json</c> of a model without experts.</summary>
    public const string Architecture = "Qwen3VLForConditionalGeneration";

    /// <summary>The name in <c>config.json</c> of a model with experts.</summary>
    public const string MixedArchitecture = "Qwen3VLMoeForConditionalGeneration";

    const float VisionEpsilon = 1e-6f; // fixed in the published code, not in the config

    /// <summary>Sizes of the vision tower.</summary>
    /// <param name="Depth">Blocks.</param>
    /// <param name="Width">Width of a patch between blocks.</param>
    /// <param name="Heads">Heads of a block.</param>
    /// <param name="MlpWidth">Width between the two layers of an MLP.</param>
    /// <param name="PatchSize">Pixels per side of a patch.</param>
    /// <param name="TemporalPatchSize">Frames of a patch.</param>
    /// <param name="MergeSize">Patches per side of a token.</param>
    /// <param name="TableSide">Rows and columns of the table of learned positions.</param>
    /// <param name="DeepStack">For each DeepStack merger the block whose output it takes.</param>
    public sealed record VisionConfig(
        int Depth,
        int Width,
        int Heads,
        int MlpWidth,
        int PatchSize,
        int TemporalPatchSize,
        int MergeSize,
        int TableSide,
        int[] DeepStack
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
        /// <summary>Reads the config; refuses what is not implemented.</summary>
        /// <param name="json">The whole of it.</param>
        /// <param name="architecture">Which of the two it describes.</param>
        /// <exception cref="CheckpointException">A field is missing, of the wrong type, out of range, or asks for something unsupported.</exception>
        public static Config Read(JsonObjectReader json, string architecture)
        {
            MRopeDecoder.Sizes text = DecoderFields.Qwen3(json, experts: architecture == MixedArchitecture);
            return new Config(
                ReadVision(json.Object("vision_config"), text.Hidden),
                text,
                VisionFields.Tokens(json, text.Vocabulary)
            );
        }

        static VisionConfig ReadVision(JsonObjectReader json, int textWidth)
        {
            (int width, int heads) = VisionFields.Heads(json, "hidden_size");
            VisionFields.CheckOutputs(json, "out_hidden_size", textWidth, optional: false);
            int positions = json.Int("num_position_embeddings", 1, 1 << 24);
            int side = (int)Math.Sqrt(positions);
            if (side * side != positions)
            {
                throw json.Error("num_position_embeddings", $"is {positions}, expected the square of a whole number");
            }

            int depth = json.Int("depth", 1, 1024);
            int[] deepStack = json.Ints("deepstack_visual_indexes", depth, 0, depth - 1);
            if (deepStack.Distinct().Count() != deepStack.Length)
            {
                throw json.Error(
                    "deepstack_visual_indexes",
                    $"is [{string.Join(", ", deepStack)}], which names a block twice"
                );
            }

            json.Require("hidden_act", "gelu_pytorch_tanh");
            return new VisionConfig(
                depth,
                width,
                heads,
                json.Int("intermediate_size", 1, 1 << 20),
                json.Int("patch_size", 1, 256, 16),
                json.Int("temporal_patch_size", 1, 16, 2),
                json.Int("spatial_merge_size", 1, 16, 2),
                side,
                deepStack
            );
        }
    }

    /// <summary>Learned positions of a square, stretched over a grid of any size.</summary>
    sealed class PositionTable(WeightSource weights, string name, VisionConfig config)
    {
        const int Corners = 4;

        readonly LookupTable table = weights.Lookup(name, config.TableSide * config.TableSide, config.Width);

        /// <summary>[patches, width], in the order of the patches: the same for every frame of a grid.</summary>
        public Tensor Forward(Ops ops, ReadOnlySpan<GridThw> grids)
        {
            List<int> indices = []; // [patches, corners]
            List<float> shares = []; // [patches, corners]
            foreach (GridThw grid in grids)
            {
                int first = indices.Count;
                PatchGrid.ForEachOfFrame(
                    grid,
                    config.MergeSize,
                    (row, column) =>
                    {
                        (int y, int below, float dy) = Between(row, grid.H);
                        (int x, int right, float dx) = Between(column, grid.W);
                        int side = config.TableSide;
                        indices.AddRange([
                            (y * side) + x,
                            (y * side) + right,
                            (below * side) + x,
                            (below * side) + right,
                        ]);
                        shares.AddRange([(1 - dy) * (1 - dx), (1 - dy) * dx, dy * (1 - dx), dy * dx]);
                    }
                );
                int count = indices.Count - first;
                for (int t = 1; t < grid.T; t++)
                {
                    indices.AddRange(indices.GetRange(first, count));
                    shares.AddRange(shares.GetRange(first, count));
                }
            }

            return ops.Tap("vision.pos_embed", ops.Blend(table, [.. indices], [.. shares], Corners));
        }

        /// <summary>The two rows of the table between which one of <paramref name="count"/> evenly spaced places lies, and how far from the first.</summary>
        (int From, int To, float Share) Between(int index, int count)
        {
            // As torch.linspace(0, side - 1, count) computes it in f32: from both ends towards the middle.
            int last = config.TableSide - 1;
            float step = count > 1 ? last / (float)(count - 1) : 0;
            float place = index < count / 2 || count == 1 ? step * index : last - (step * (count - 1 - index));
            int from = (int)place;
            return (from, Math.Min(from + 1, last), place - from);
        }
    }

    sealed class VisionBlock(WeightSource weights, string name, VisionConfig config, int index) : IDisposable
    {
        readonly Vector norm1Weight = weights.Vector($"{name}.norm1.weight", config.Width);
        readonly Vector norm1Bias = weights.Vector($"{name}.norm1.bias", config.Width);
        readonly VisionAttention attention = new(weights, $"{name}.attn", config.Width, config.Heads);
        readonly Vector norm2Weight = weights.Vector($"{name}.norm2.weight", config.Width);
        readonly Vector norm2Bias = weights.Vector($"{name}.norm2.bias", config.Width);
        readonly Linear up = weights.Linear(config.Width, bias: true, ($"{name}.mlp.linear_fc1", config.MlpWidth));
        readonly Linear down = weights.Linear(config.MlpWidth, bias: true, ($"{name}.mlp.linear_fc2", config.Width));
        readonly string tap = $"vision.block.{index}";

        public Tensor Forward(Ops ops, Tensor x, Rotary rotary, ReadOnlySpan<int> frames)
        {
            Arena.Mark mark = ops.Mark;
            Tensor h = ops.LayerNorm(x, norm1Weight, norm1Bias, VisionEpsilon); // h: [patches, width]
            x = ops.Release(mark, attention.Forward(ops, h, residual: x, rotary, frames));

            h = ops.LayerNorm(x, norm2Weight, norm2Bias, VisionEpsilon);
            x = ops.Release(mark, ops.Linear(ops.GeluTanh(ops.Linear(h, up)), down, residual: x));
            return ops.Tap(tap, x);
        }

        public void Dispose()
        {
            attention.Dispose();
            WeightSource.DisposeAll(up, down);
        }
    }

    /// <summary>Four neighbouring patches to one token.</summary>
    /// <param name="weights">Where the weights lie.</param>
    /// <param name="name">What their names begin with.</param>
    /// <param name="config">Sizes.</param>
    /// <param name="hidden">Width of a token.</param>
    /// <param name="normTogether">Whether the four are normalised as one row (DeepStack's mergers) or each on its own.</param>
    /// <param name="tap">Name of the result.</param>
    sealed class PatchMerger(
        WeightSource weights,
        string name,
        VisionConfig config,
        int hidden,
        bool normTogether,
        string tap
    )
    {
        readonly int merged = config.Width * config.MergedPatches;
        readonly Vector normWeight = weights.Vector($"{name}.norm.weight", NormWidth(config, normTogether));
        readonly Vector normBias = weights.Vector($"{name}.norm.bias", NormWidth(config, normTogether));
        readonly Linear up = weights.Linear(
            config.Width * config.MergedPatches,
            bias: true,
            ($"{name}.linear_fc1", config.Width * config.MergedPatches)
        );
        readonly Linear down = weights.Linear(
            config.Width * config.MergedPatches,
            bias: true,
            ($"{name}.linear_fc2", hidden)
        );

        static int NormWidth(VisionConfig config, bool together) =>
            together ? config.Width * config.MergedPatches : config.Width;

        public Tensor Forward(Ops ops, Tensor x)
        {
            Arena.Mark mark = ops.Mark;
            int tokens = x.Rows / config.MergedPatches;
            Tensor h = normTogether ? x.Reshape(tokens, merged) : x; // neighbours are consecutive rows
            h = ops.LayerNorm(h, normWeight, normBias, VisionEpsilon).Reshape(tokens, merged); // h: [tokens, 4 * width]
            h = ops.Linear(ops.Gelu(ops.Linear(h, up)), down); // h: [tokens, hidden]; this GELU is the exact one
            return ops.Tap(tap, ops.Release(mark, h));
        }

        public void Dispose() => WeightSource.DisposeAll(up, down);
    }

    readonly Config config;
    readonly Linear patchEmbedding;
    readonly PositionTable positions;
    readonly VisionBlock[] tower;
    readonly PatchMerger merger;
    readonly PatchMerger[] deepStack;
    readonly MRopeDecoder decoder;

    Qwen3VL(Config config, ModelInfo info, Checkpoint checkpoint, WeightSource weights)
    {
        const string visual = "model.visual";
        this.config = config;
        Info = info;
        VisionConfig vision = config.Vision;

        // The 3-D convolution does not overlap, so it is a matrix product over the flattened patch.
        patchEmbedding = weights.Convolution(
            $"{visual}.patch_embed.proj",
            bias: true,
            vision.Width,
            3,
            vision.TemporalPatchSize,
            vision.PatchSize,
            vision.PatchSize
        );
        positions = new PositionTable(weights, $"{visual}.pos_embed.weight", vision);
        tower = new VisionBlock[vision.Depth];
        for (int i = 0; i < tower.Length; i++)
        {
            tower[i] = new VisionBlock(weights, $"{visual}.blocks.{i}", vision, i);
        }

        int hidden = config.Text.Hidden;
        merger = new PatchMerger(weights, $"{visual}.merger", vision, hidden, normTogether: false, "vision.merged");
        deepStack = new PatchMerger[vision.DeepStack.Length];
        for (int k = 0; k < deepStack.Length; k++)
        {
            string name = $"{visual}.deepstack_merger_list.{k}";
            deepStack[k] = new PatchMerger(weights, name, vision, hidden, normTogether: true, $"vision.deepstack.{k}");
        }

        decoder = new MRopeDecoder(config.Text, weights, "model.language_model");
        checkpoint.ThrowIfUnused();
    }

    /// <summary>Reads the config and the headers of the weights.</summary>
    /// <exception cref="CheckpointException">The config asks for something unsupported.</exception>
    public static UnloadedModel Open(Checkpoint checkpoint)
    {
        Config read = Config.Read(checkpoint.Config, checkpoint.Architecture);
        ModelInfo info = Describe(read, checkpoint);
        return new UnloadedModel(info, weights => new Qwen3VL(read, info, checkpoint, weights));
    }

    static ModelInfo Describe(Config config, Checkpoint checkpoint)
    {
        (VisionConfig vision, MRopeDecoder.Sizes text, MediaTokens tokens) = config;
        long all = checkpoint.Weights.Sum(w => w.Count);
        long visual = checkpoint.Weights.Where(w => w.Name.Contains("visual.")).Sum(w => w.Count);
        long table = (long)vision.TableSide * vision.TableSide * vision.Width;
        long mergers = checkpoint.Weights.Where(w => w.Name.Contains("merger")).Sum(w => w.Count);
        long experts = checkpoint.Weights.Where(w => w.Name.Contains(".mlp.experts.")).Sum(w => w.Count);
        long idle = text.Experts is { } sizes ? experts / sizes.Count * (sizes.Count - sizes.PerToken) : 0;
        int features = (1 + vision.DeepStack.Length) * text.Hidden;
        return new ModelInfo
        {
            Architecture = checkpoint.Architecture,
            Vocabulary = text.Vocabulary,
            Hidden = text.Hidden,
            Layers = text.Layers,
            Attention = text.Attention,
            FeatureWidth = features,
            Tower = (vision.Depth, vision.Width, vision.Heads),
            MaxPositions = text.MaxPositions,
            ImageToken = tokens.Image,
            VideoToken = tokens.Video,
            VideoMarks = tokens.Marks,
            VisionParameters = visual,
            TextParameters = all - visual,
            ActiveTextParameters = all - visual - idle,
            WeightBytes = checkpoint.Weights.Sum(w => w.LoadedBytes),
            PatchWidth = vision.PatchWidth,
            Grounding = GroundingDialect.Qwen3VL,
            Processor = PatchProcessor.FromCheckpoint(
                checkpoint,
                vision.PatchSize,
                vision.TemporalPatchSize,
                vision.MergeSize,
                VideoTime.Announced
            ),
            // Two operations for every weight and patch, the mergers' for every token; four for every pair of patches that see each
            // other. Learned positions are only looked up.
            TowerOperations = grid =>
                (2.0 * (visual - mergers - table) * grid.Patches)
                + (2.0 * mergers * grid.MergedTokens(vision.MergeSize))
                + (4.0 * grid.Patches * grid.H * grid.W * vision.Width * vision.Depth),
            // x, its norm, q, k, v, their pages and the result; the MLP needs less after those are freed. And of each token what the
            // mergers made, twice while it is laid side by side.
            TowerWorkspace = grid =>
                sizeof(float)
                * (
                    ((long)grid.Patches * Math.Max(8 * vision.Width, (2 * vision.Width) + vision.MlpWidth))
                    + (2L * grid.MergedTokens(vision.MergeSize) * features)
                ),
            DecoderWorkspace = text.Workspace,
        };
    }

    /// <inheritdoc/>
    public ModelInfo Info { get; }

    /// <inheritdoc/>
    /// <returns>
    /// [tokens, (1 + K) * hidden]: what takes the place of a token's embedding, and then what is added to its row behind decoder
    /// layer 0 to K - 1, K being the number of DeepStack mergers.
    /// </returns>
    public Tensor Encode(Ops ops, Tensor pixels, ReadOnlySpan<GridThw> grids)
    {
        VisionConfig vision = config.Vision;
        int[] frames = PatchGrid.FrameLengths(grids); // sum: patches
        Rotary rotary = PatchGrid.Rotary(ops, vision.Width / vision.Heads, vision.MergeSize, grids);
        Tensor x = ops.Tap("vision.patch_embed", ops.Linear(pixels, patchEmbedding)); // x: [patches, width]
        Arena.Mark mark = ops.Mark;
        x = ops.Release(mark, ops.Add(x, positions.Forward(ops, grids)));

        Tensor[] features = new Tensor[1 + deepStack.Length]; // each [tokens, hidden], in the order of the decoder layers
        int found = 1;
        for (int i = 0; i < tower.Length; i++)
        {
            x = tower[i].Forward(ops, x, rotary, frames);
            int stacked = Array.IndexOf(vision.DeepStack, i);
            if (stacked >= 0)
            {
                features[found++] = deepStack[stacked].Forward(ops, x);
            }
        }

        features[0] = merger.Forward(ops, x);
        return ops.Concatenate(features);
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
        foreach (PatchMerger stacked in deepStack)
        {
            stacked.Dispose();
        }

        foreach (VisionBlock block in tower)
        {
            block.Dispose();
        }
    }
}
