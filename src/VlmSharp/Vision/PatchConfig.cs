using System.Collections.Immutable;
using VlmSharp.Kernels.Imaging;

namespace VlmSharp.Vision;

/// <summary>What <c>min_pixels</c> and <c>max_pixels</c> are a budget for.</summary>
public enum PixelBudget
{
    /// <summary>Each frame on its own (Qwen2-VL, Qwen2.5-VL, every picture).</summary>
    Frame,

    /// <summary>All frames of a video together (Qwen3-VL's videos).</summary>
    Video,
}

/// <summary>How pictures become patches: the fields of <c>preprocessor_config.json</c>.</summary>
/// <param name="PatchSize">side of a patch in pixels</param>
/// <param name="TemporalPatchSize">frames per patch; a picture is repeated to fill them</param>
/// <param name="MergeSize">side of the group of patches that becomes one token</param>
/// <param name="Mean">per channel, of levels in [0, 1]</param>
/// <param name="Std">per channel</param>
/// <param name="RescaleFactor">what a level in 0..255 is multiplied with; 1/255</param>
/// <param name="MinPixels">smaller pictures are enlarged to about this many pixels</param>
/// <param name="MaxPixels">larger pictures are shrunk to at most this many pixels</param>
public sealed record PatchConfig(
    int PatchSize,
    int TemporalPatchSize,
    int MergeSize,
    ImmutableArray<float> Mean,
    ImmutableArray<float> Std,
    double RescaleFactor,
    long MinPixels,
    long MaxPixels
)
{
    /// <summary>Whose arithmetic pictures are resized with.</summary>
    public ResampleArithmetic Arithmetic { get; init; }

    /// <summary>What the limits apply to when there are several frames.</summary>
    public PixelBudget Budget { get; init; }

    /// <summary>Sides of a resized picture are multiples of this many pixels.</summary>
    public int Factor => checked(PatchSize * MergeSize);

    /// <summary>Values of one patch: (channel, frame, row, column).</summary>
    public int PatchLength => checked(3 * TemporalPatchSize * PatchSize * PatchSize);

    /// <summary>What each 8-bit level becomes in each channel.</summary>
    /// <returns>[3, 256]</returns>
    /// <remarks>
    /// The image processors of transformers multiply in double, round to single precision, and subtract and divide there.
    /// There are only 256 levels, so this table is both the exact rule and the fast one.
    /// </remarks>
    public float[] Levels()
    {
        float[] levels = new float[3 * 256];
        for (int i = 0; i < levels.Length; i++)
        {
            float rescaled = (float)(i % 256 * RescaleFactor);
            levels[i] = (rescaled - Mean[i / 256]) / Std[i / 256];
        }

        return levels;
    }

    /// <summary>Throws when a setting makes no sense.</summary>
    internal void Check()
    {
        if (PatchSize < 1 || TemporalPatchSize < 1 || MergeSize < 1 || (long)PatchSize * MergeSize > ushort.MaxValue)
        {
            throw new ArgumentException(
                $"patch size {PatchSize}, temporal patch size {TemporalPatchSize}, merge size {MergeSize}: all must be at least 1"
            );
        }

        if (Mean.IsDefault || Std.IsDefault || Mean.Length != 3 || Std.Length != 3)
        {
            throw new ArgumentException("mean and standard deviation are needed for each of 3 channels");
        }
    }
}
