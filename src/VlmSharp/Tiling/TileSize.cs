using VlmSharp.Models;
using VlmSharp.Vision;

namespace VlmSharp.Tiling;

/// <summary>The largest square that a model sees pixel by pixel, without shrinking it.</summary>
/// <param name="Side">In pixels.</param>
/// <param name="Tokens">What it takes in a prompt.</param>
public readonly record struct TileSize(int Side, int Tokens)
{
    // No model sees a square of this side unshrunk.
    const int Probe = 1 << 15;

    /// <summary>Finds it from the model's own rule for sizes.</summary>
    /// <param name="processor">The model's.</param>
    /// <param name="limits">Pixel limits the tiles will be shown with.</param>
    /// <param name="maxTokens">Tokens of a tile at most.</param>
    /// <exception cref="VisionException">Even the smallest picture takes more tokens.</exception>
    public static TileSize Largest(IMediaProcessor processor, PixelLimits limits, int maxTokens)
    {
        MediaPlan plan = Square(processor, limits, Probe);
        if (plan.Tokens > maxTokens)
        {
            int tokenSide = Math.Max(1, plan.ResizedWidth * plan.MergeSize / plan.Grid.W);
            int tokens = Math.Max(1, (int)Math.Sqrt(Math.Max(1, maxTokens)));
            plan = Square(processor, limits, Math.Min(tokens * tokenSide, plan.ResizedWidth));
        }

        return plan.Tokens <= maxTokens
            ? new(plan.ResizedWidth, plan.Tokens)
            : throw new VisionException(
                $"a tile takes at least {plan.Tokens} tokens with this model and these pixel limits, {maxTokens} are allowed for one; allow more tokens, or fewer tiles"
            );
    }

    static MediaPlan Square(IMediaProcessor processor, PixelLimits limits, int side) =>
        processor.Plan(new(MediaKind.Image, side, side), limits);
}
