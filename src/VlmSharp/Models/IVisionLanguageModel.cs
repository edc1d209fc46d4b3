using VlmSharp.Grounding;
using VlmSharp.Tensors;
using VlmSharp.Vision;

namespace VlmSharp.Models;

/// <summary>What the engine needs to know of an architecture; nothing more.</summary>
public interface IVisionLanguageModel : IDisposable
{
    /// <summary>Sizes and names.</summary>
    ModelInfo Info { get; }

    /// <summary>Vision tower and connector. Frames of different times do not see each other, so a video may come in several calls.</summary>
    /// <param name="ops">Where it runs.</param>
    /// <param name="pixels">[patches, channels * temporal * patch * patch] of all media, one after the other.</param>
    /// <param name="grids">One grid for each medium.</param>
    /// <returns>[tokens, <see cref="ModelInfo.FeatureWidth"/>], in the order in which tokens are inserted.</returns>
    Tensor Encode(Ops ops, Tensor pixels, ReadOnlySpan<GridThw> grids);

    /// <summary>Rotary positions of a prompt.</summary>
    /// <param name="media">Where its media stand, in ascending order.</param>
    /// <param name="positions">[3, tokens]: time, height, width.</param>
    /// <returns>What is added to a later token's index to get its position.</returns>
    int Positions(ReadOnlySpan<MediaSpan> media, Span<int> positions);

    /// <summary>
    /// Whether keys and values computed for a prompt of one length are those of the same tokens in a prompt of another. They are,
    /// unless the length of a prompt decides how it is computed.
    /// </summary>
    /// <param name="computedFor">Length of the prompt they were computed for.</param>
    /// <param name="prompt">Length of the prompt that begins with the same tokens.</param>
    bool KeepsPrefix(int computedFor, int prompt) => true;

    /// <summary>One step over the packed rows of all requests.</summary>
    /// <returns>Logits of the rows that asked for them: [step.LogitRows, vocabulary].</returns>
    Tensor Forward(Ops ops, Step step, KvCache cache);
}

/// <summary>Sizes of a model, known from its config and the headers of its weights alone.</summary>
public sealed record ModelInfo
{
    /// <summary>The architecture's name in <c>config.json</c>.</summary>
    public required string Architecture { get; init; }

    /// <summary>Rows of the embedding and of the logits.</summary>
    public required int Vocabulary { get; init; }

    /// <summary>Width of the residual stream of the decoder.</summary>
    public required int Hidden { get; init; }

    /// <summary>Decoder layers.</summary>
    public required int Layers { get; init; }

    /// <summary>Heads of the decoder.</summary>
    public required AttentionShape Attention { get; init; }

    /// <summary>Width of a row that <see cref="IVisionLanguageModel.Encode"/> returns.</summary>
    public required int FeatureWidth { get; init; }

    /// <summary>Blocks, width and heads of the vision tower.</summary>
    public required (int Depth, int Width, int Heads) Tower { get; init; }

    /// <summary>Longest sequence the positions were made for.</summary>
    public required int MaxPositions { get; init; }

    /// <summary>The token that stands for a part of a picture.</summary>
    public required int ImageToken { get; init; }

    /// <summary>The token that stands for a part of a video; -1 where the model takes none.</summary>
    public required int VideoToken { get; init; }

    /// <summary>
    /// The tokens that stand before and after a temporal patch of a video whose prompt tells the time of each; null where a
    /// video is one run of tokens.
    /// </summary>
    public (int Start, int End)? VideoMarks { get; init; }

    /// <summary>Weights of the vision tower and the connector.</summary>
    public required long VisionParameters { get; init; }

    /// <summary>Weights of the decoder, a tied head counted once.</summary>
    public required long TextParameters { get; init; }

    /// <summary>Weights of the decoder that work on each token: all of them, but only some of the experts.</summary>
    public long ActiveTextParameters
    {
        get => field > 0 ? field : TextParameters;
        init;
    }

    /// <summary>Bytes of the weights.</summary>
    public required long WeightBytes { get; init; }

    /// <summary>Width of a row of patches.</summary>
    public required int PatchWidth { get; init; }

    /// <summary>How it writes where things are.</summary>
    public required GroundingDialect Grounding { get; init; }

    /// <summary>How media become patches.</summary>
    public required IMediaProcessor Processor { get; init; }

    /// <summary>Multiplications and additions of the vision tower for a medium.</summary>
    public required Func<GridThw, double> TowerOperations { get; init; }

    /// <summary>Bytes of intermediate memory the vision tower takes for a medium.</summary>
    public required Func<GridThw, long> TowerWorkspace { get; init; }

    /// <summary>Bytes of intermediate memory the decoder takes for each row of a step.</summary>
    public required long DecoderWorkspace { get; init; }
}

/// <summary>What a medium is.</summary>
public enum MediaKind
{
    /// <summary>A still picture.</summary>
    Image,

    /// <summary>Frames in time.</summary>
    Video,
}
