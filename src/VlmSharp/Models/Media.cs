using VlmSharp.Kernels;
using VlmSharp.Media.Images;
using VlmSharp.Media.Video;
using VlmSharp.Tensors;
using VlmSharp.Vision;

namespace VlmSharp.Models;

/// <summary>Pixels somebody wants looked at.</summary>
public sealed class MediaSource
{
    MediaSource(MediaShape shape, IReadOnlyList<RgbImage> frames, string name)
    {
        Shape = shape;
        Frames = frames;
        Name = name;
    }

    /// <summary>A still picture.</summary>
    /// <param name="image">The pixels, turned upright.</param>
    /// <param name="name">Shown in errors and reports.</param>
    public static MediaSource Image(RgbImage image, string name = "image") =>
        new(new MediaShape(MediaKind.Image, image.Width, image.Height), [image], name);

    /// <summary>A medium that nobody will look at: without frames, for what can be said of it before it is opened.</summary>
    internal static MediaSource Unopened(MediaShape shape, string name) => new(shape, [], name);

    /// <summary>Frames of one size.</summary>
    /// <param name="frames">At least one.</param>
    /// <param name="framesPerSecond">Their rate, where it is known.</param>
    /// <param name="name">Shown in errors and reports.</param>
    /// <param name="times">[frames]: seconds of each frame in the film it was taken from, ascending; by the rate where not given.</param>
    public static MediaSource Video(
        IReadOnlyList<RgbImage> frames,
        double? framesPerSecond = null,
        string name = "video",
        IReadOnlyList<double>? times = null
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

        if (times is not null && times.Count != frames.Count)
        {
            throw new VisionException($"{name}: {times.Count} times for {frames.Count} frames.");
        }

        MediaShape shape = new(MediaKind.Video, frames[0].Width, frames[0].Height)
        {
            Frames = frames.Count,
            FramesPerSecond = framesPerSecond,
            Times = times,
        };
        return new(shape, frames, name);
    }

    /// <summary>Frames of a film, with the times at which they are shown in it.</summary>
    /// <param name="frames">At least one.</param>
    public static MediaSource Video(VideoFrames frames) =>
        Video(frames.Frames, frames.SampledRate, frames.Name, frames.Times);

    /// <summary>Sizes and times.</summary>
    public MediaShape Shape { get; }

    /// <summary>Picture or video.</summary>
    public MediaKind Kind => Shape.Kind;

    /// <summary>The frames; one for a picture.</summary>
    public IReadOnlyList<RgbImage> Frames { get; }

    /// <summary>Shown in errors and reports.</summary>
    public string Name { get; }
}

/// <summary>What is known of a medium without its pixels.</summary>
/// <param name="Kind">Picture or video.</param>
/// <param name="Width">Pixels, after EXIF orientation.</param>
/// <param name="Height">Pixels, after EXIF orientation.</param>
public sealed record MediaShape(MediaKind Kind, int Width, int Height)
{
    /// <summary>Number of frames; 1 for a picture.</summary>
    public int Frames { get; init; } = 1;

    /// <summary>Rate of the frames of a video, where it is known.</summary>
    public double? FramesPerSecond { get; init; }

    /// <summary>[frames]: seconds of each frame in its film, where they are known.</summary>
    public IReadOnlyList<double>? Times { get; init; }
}

/// <summary>
/// Limits on the pixels of a picture or of one frame, after resizing; the checkpoint's own where not given. For a model that counts the
/// frames of a video together (Qwen3-VL) they are limits of the whole video.
/// </summary>
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
)
{
    /// <summary>Seconds from one temporal patch to the next; 1 where the model merely counts them.</summary>
    public float SecondsPerPatch { get; init; } = 1;

    /// <summary>Rotary positions per second; 1 where the model merely counts temporal patches.</summary>
    public float TokensPerSecond { get; init; } = 1;

    /// <summary>[grid.T]: seconds that the prompt tells before each temporal patch; empty where it tells none.</summary>
    public IReadOnlyList<double> PatchTimes { get; init; } = [];
}

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
    MediaPlan Plan(MediaShape shape, PixelLimits limits);

    /// <summary>Turns pixels into the patches the tower takes. Deterministic, CPU only.</summary>
    PreparedMedia Prepare(MediaSource source, PixelLimits limits, WorkerPool pool);

    /// <summary>How a film is sampled for this model, where nobody says otherwise.</summary>
    /// <param name="tokens">It should take at most about so many tokens.</param>
    /// <exception cref="VisionException">The model takes no videos.</exception>
    VideoSampling Sampling(int tokens);

    /// <summary>Pixel limits with which a film takes at most about so many tokens.</summary>
    /// <param name="frames">Frames that are shown.</param>
    /// <param name="tokens">For all of them.</param>
    PixelLimits VideoLimits(int frames, int tokens);

    /// <summary>The smallest divisor of the normalisation: one 8-bit level is at most 1 / 255 / this of a normalised value.</summary>
    double SmallestStd { get; }
}
