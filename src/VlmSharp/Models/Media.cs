using VlmSharp.Kernels;
using VlmSharp.Media.Images;
using VlmSharp.Tensors;
using VlmSharp.Vision;

namespace VlmSharp.Models;

/// <summary>Pixels somebody wants looked at.</summary>
public sealed class MediaSource
{
    MediaSource(MediaKind kind, IReadOnlyList<RgbImage> frames, double? framesPerSecond, string name)
    {
        Kind = kind;
        Frames = frames;
        FramesPerSecond = framesPerSecond;
        Name = name;
    }

    /// <summary>A still picture.</summary>
    /// <param name="image">The pixels, turned upright.</param>
    /// <param name="name">Shown in errors and reports.</param>
    public static MediaSource Image(RgbImage image, string name = "image") => new(MediaKind.Image, [image], null, name);

    /// <summary>Frames of one size.</summary>
    /// <param name="frames">At least one.</param>
    /// <param name="framesPerSecond">Their rate, where it is known.</param>
    /// <param name="name">Shown in errors and reports.</param>
    public static MediaSource Video(
        IReadOnlyList<RgbImage> frames,
        double? framesPerSecond = null,
        string name = "video"
    )
    {
        if (frames.Count == 0)
        {
            throw new VisionException($"{name}: a video needs at least one frame.");
        }

        foreach (RgbImage frame in frames)
        {
            if (frame.Width != frames[0].Width || frame.Height != frames[0].Height)
            {
                throw new VisionException(
                    $"{name}: a frame is {frame.Width}x{frame.Height}, the first one {frames[0].Width}x{frames[0].Height}; all must be of one size."
                );
            }
        }

        return new(MediaKind.Video, frames, framesPerSecond, name);
    }

    /// <summary>Picture or video.</summary>
    public MediaKind Kind { get; }

    /// <summary>The frames; one for a picture.</summary>
    public IReadOnlyList<RgbImage> Frames { get; }

    /// <summary>Rate of the frames.</summary>
    public double? FramesPerSecond { get; }

    /// <summary>Shown in errors and reports.</summary>
    public string Name { get; }
}

/// <summary>Limits on the pixels of a picture or of one frame, after resizing; the checkpoint's own where not given.</summary>
/// <param name="MinPixels">Smaller ones are enlarged.</param>
/// <param name="MaxPixels">Larger ones are reduced.</param>
public readonly record struct PixelLimits(long? MinPixels = null, long? MaxPixels = null);

/// <summary>What becomes of a medium.</summary>
/// <param name="OriginalWidth">Pixels, after EXIF orientation.</param>
/// <param name="OriginalHeight">Pixels, after EXIF orientation.</param>
/// <param name="ResizedWidth">Pixels the model sees.</param>
/// <param name="ResizedHeight">Pixels the model sees.</param>
/// <param name="Grid">Patches in time, height and width.</param>
/// <param name="MergeSize">Patches per token and side.</param>
/// <param name="Tokens">Tokens in the prompt.</param>
public sealed record MediaPlan(
    int OriginalWidth,
    int OriginalHeight,
    int ResizedWidth,
    int ResizedHeight,
    GridThw Grid,
    int MergeSize,
    int Tokens
);

/// <summary>A medium ready for the vision tower. Owns its patches.</summary>
public sealed class PreparedMedia(MediaKind kind, MediaPlan plan, AlignedBuffer pixels, int patchWidth, string name)
    : IDisposable
{
    /// <summary>Picture or video.</summary>
    public MediaKind Kind { get; } = kind;

    /// <summary>Sizes, grid and number of tokens.</summary>
    public MediaPlan Plan { get; } = plan;

    /// <summary>[patches, channels * temporal * patch * patch]</summary>
    public Tensor Pixels { get; } = new(pixels, 0, plan.Grid.Patches, patchWidth, patchWidth);

    /// <summary>Shown in errors and reports.</summary>
    public string Name { get; } = name;

    /// <summary>Frees the patches.</summary>
    public void Dispose() => pixels.Dispose();
}

/// <summary>What the tower made of one medium: one row for each of its tokens. Owns its memory.</summary>
public sealed class MediaFeatures : IDisposable
{
    readonly AlignedBuffer buffer;

    /// <summary>Room for the features of a medium, zero.</summary>
    public MediaFeatures(int tokens, int width)
    {
        buffer = new AlignedBuffer((long)tokens * width * sizeof(float));
        Rows = new Tensor(buffer, 0, tokens, width, width);
    }

    /// <summary>Copies rows out of an arena.</summary>
    public MediaFeatures(Tensor rows)
        : this(rows.Rows, rows.Width) => Rows.CopyFrom(rows);

    /// <summary>[tokens, feature width]</summary>
    public Tensor Rows { get; }

    /// <summary>Frees the memory.</summary>
    public void Dispose() => buffer.Dispose();
}

/// <summary>How an architecture turns media into patches.</summary>
public interface IMediaProcessor
{
    /// <summary>The size, grid and number of tokens a medium would get, without touching its pixels.</summary>
    /// <exception cref="VisionException">The medium cannot be brought to a size the model takes.</exception>
    MediaPlan Plan(MediaKind kind, int width, int height, int frames, PixelLimits limits);

    /// <summary>Turns pixels into the patches the tower takes. Deterministic, CPU only.</summary>
    PreparedMedia Prepare(MediaSource source, PixelLimits limits, WorkerPool pool);

    /// <summary>The smallest divisor of the normalisation: one 8-bit level is at most 1 / 255 / this of a normalised value.</summary>
    double SmallestStd { get; }
}
