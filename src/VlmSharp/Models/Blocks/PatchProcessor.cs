using VlmSharp.Formats;
using VlmSharp.Kernels;
using VlmSharp.Kernels.Imaging;
using VlmSharp.Vision;

namespace VlmSharp.Models.Blocks;

/// <summary>Media of the Qwen-VL line from the second generation on: any resolution, cut into patches.</summary>
/// <param name="image">Patches and default limits of pictures.</param>
/// <param name="video">The same for videos; what its limits count is its <see cref="PatchConfig.Budget"/>.</param>
public sealed class PatchProcessor(PatchConfig image, PatchConfig video) : IMediaProcessor
{
    /// <summary>Reads the processor files and checks them against the tower's config.</summary>
    /// <param name="checkpoint">Its <c>preprocessor_config.json</c>; videos without a file of their own take the same limits.</param>
    /// <param name="patchSize">What the tower's config says.</param>
    /// <param name="temporalPatchSize">What the tower's config says.</param>
    /// <param name="mergeSize">What the tower's config says.</param>
    /// <param name="time">How the model learns when the frames of a video happen.</param>
    /// <param name="tokensPerSecond">Rotary positions per second, where it learns it from those.</param>
    public static PatchProcessor FromCheckpoint(
        Checkpoint checkpoint,
        int patchSize,
        int temporalPatchSize,
        int mergeSize,
        VideoTime time = VideoTime.Counted,
        float tokensPerSecond = 1
    )
    {
        const string file = "preprocessor_config.json";
        PatchConfig image = Read(checkpoint.Processor ?? throw new CheckpointException(file, "is missing"), file);
        PatchConfig video = checkpoint.VideoProcessor is { } own ? Read(own, "video_" + file) : image;
        // The reference resizes pictures with Pillow and the frames of videos with torchvision. The generation that reads times
        // also counts the pixels of all frames together.
        video = video with
        {
            Arithmetic = ResampleArithmetic.Torch,
            Budget = time == VideoTime.Announced ? PixelBudget.Video : PixelBudget.Frame,
        };
        return new PatchProcessor(image, video)
        {
            Time = time,
            TokensPerSecond = tokensPerSecond,
            Density = ReadDensity(checkpoint.VideoProcessor),
        };

        static FrameSamplingOptions ReadDensity(ProcessorConfig? config)
        {
            FrameSamplingOptions usual = new();
            // Of a bound that is given alone the usual other one gives way.
            int least = config?.MinFrames ?? Math.Min(usual.MinFrames, config?.MaxFrames ?? usual.MinFrames);
            int most = config?.MaxFrames ?? Math.Max(usual.MaxFrames, least);
            return new FrameSamplingOptions(config?.Fps ?? usual.FramesPerSecond, least, most);
        }

        PatchConfig Read(ProcessorConfig config, string name)
        {
            Check(name, "patch_size", config.PatchSize, patchSize);
            Check(name, "temporal_patch_size", config.TemporalPatchSize, temporalPatchSize);
            Check(name, "merge_size", config.MergeSize, mergeSize);
            return new PatchConfig(
                config.PatchSize,
                config.TemporalPatchSize,
                config.MergeSize,
                [.. config.Mean],
                [.. config.Std],
                config.RescaleFactor,
                config.MinPixels,
                config.MaxPixels
            );
        }

        static void Check(string name, string field, int found, int expected)
        {
            if (found != expected)
            {
                throw new CheckpointException(
                    name,
                    $"field '{field}' is {found}, the vision tower in config.json has {expected}"
                );
            }
        }
    }

    /// <summary>How the model learns when the frames of a video happen.</summary>
    public VideoTime Time { get; init; }

    /// <summary>Rotary positions per second, where <see cref="Time"/> is <see cref="VideoTime.Positions"/>.</summary>
    public float TokensPerSecond { get; init; } = 1;

    /// <summary>How densely films are looked at, where the checkpoint says.</summary>
    public FrameSamplingOptions Density { get; init; } = new();

    /// <inheritdoc/>
    /// <remarks>Elder models follow qwen-vl-utils, as their own examples do.</remarks>
    public VideoSampling Sampling(int tokens)
    {
        long most = (long)video.TemporalPatchSize * tokens / LeastPatchTokens;
        int frames = (int)Math.Clamp(most, Density.MinFrames, Density.MaxFrames);
        return new VideoSampling
        {
            Density = Density with { MaxFrames = frames },
            Rule = Time == VideoTime.Announced ? SamplingRule.Qwen3 : SamplingRule.Utils,
            TemporalSize = video.TemporalPatchSize,
        };
    }

    /// <inheritdoc/>
    public PixelLimits VideoLimits(int frames, int tokens)
    {
        long each = (long)FrameSampling.MaxPixelsForTokens(frames, video.TemporalPatchSize, video.Factor, tokens);
        long all = video.Budget == PixelBudget.Video ? each * frames : each;
        return new PixelLimits(Math.Min(video.MinPixels, all), Math.Min(video.MaxPixels, all));
    }

    // What qwen-vl-utils gives a temporal patch at least: 128 tokens and a twentieth of that.
    const int LeastPatchTokens = 134;

    /// <inheritdoc/>
    public double SmallestStd => image.Std.Concat(video.Std).Min();

    /// <inheritdoc/>
    public MediaPlan Plan(MediaShape shape, PixelLimits limits)
    {
        PatchConfig config = Limited(shape.Kind, limits);
        GridThw grid = PatchBuilder.Plan(shape.Width, shape.Height, shape.Frames, config);
        MediaPlan plan = new(
            shape.Width,
            shape.Height,
            grid.W * config.PatchSize,
            grid.H * config.PatchSize,
            grid,
            config.MergeSize,
            grid.MergedTokens(config.MergeSize)
        );
        if (shape.Kind == MediaKind.Image || Time == VideoTime.Counted)
        {
            return plan;
        }

        double rate = shape.FramesPerSecond ?? FrameTimes.DefaultRate;
        if (Time == VideoTime.Positions)
        {
            return plan with
            {
                SecondsPerPatch = (float)(config.TemporalPatchSize / rate),
                TokensPerSecond = TokensPerSecond,
            };
        }

        IReadOnlyList<double> times = shape.Times ?? [.. Enumerable.Range(0, shape.Frames).Select(i => i / rate)];
        return plan with { PatchTimes = FrameTimes.OfPatches(times, config.TemporalPatchSize) };
    }

    /// <inheritdoc/>
    public PreparedMedia Prepare(MediaSource source, PixelLimits limits, WorkerPool pool)
    {
        PatchConfig config = Limited(source.Kind, limits);
        MediaPlan plan = Plan(source.Shape, limits);
        int patchWidth = config.PatchLength;
        AlignedBuffer pixels = new((long)plan.Grid.Patches * patchWidth * sizeof(float));
        PreparedMedia prepared = new(source.Kind, plan, pixels, patchWidth, source.Name);
        ReadOnlyMemory<byte>[] frames = [.. source.Frames.Select(f => f.Memory)];
        (int width, int height) = (source.Shape.Width, source.Shape.Height);
        PatchBuilder.Build(frames, width, height, config, plan.Grid, prepared.Pixels.Data, pool);
        return prepared;
    }

    PatchConfig Limited(MediaKind kind, PixelLimits limits)
    {
        PatchConfig config = kind == MediaKind.Video ? video : image;
        return config with
        {
            MinPixels = limits.MinPixels ?? config.MinPixels,
            MaxPixels = limits.MaxPixels ?? config.MaxPixels,
        };
    }
}

/// <summary>How a model learns when the frames of a video happen.</summary>
public enum VideoTime
{
    /// <summary>Not at all: temporal patches are counted (Qwen2-VL).</summary>
    Counted,

    /// <summary>From rotary positions that are proportional to seconds (Qwen2.5-VL).</summary>
    Positions,

    /// <summary>From text before each temporal patch (Qwen3-VL).</summary>
    Announced,
}
