using VlmSharp.Formats;
using VlmSharp.Kernels;
using VlmSharp.Kernels.Imaging;
using VlmSharp.Vision;

namespace VlmSharp.Models.Blocks;

/// <summary>Media of the Qwen-VL line from the second generation on: any resolution, cut into patches.</summary>
/// <param name="image">Patches and default limits of pictures.</param>
/// <param name="video">The same for each frame of a video.</param>
public sealed class PatchProcessor(PatchConfig image, PatchConfig video) : IMediaProcessor
{
    /// <summary>Reads the processor files and checks them against the tower's config.</summary>
    /// <param name="checkpoint">Its <c>preprocessor_config.json</c>; videos without a file of their own take the same limits.</param>
    /// <param name="patchSize">What the tower's config says.</param>
    /// <param name="temporalPatchSize">What the tower's config says.</param>
    /// <param name="mergeSize">What the tower's config says.</param>
    public static PatchProcessor FromCheckpoint(
        Checkpoint checkpoint,
        int patchSize,
        int temporalPatchSize,
        int mergeSize
    )
    {
        const string file = "preprocessor_config.json";
        PatchConfig image = Read(checkpoint.Processor ?? throw new CheckpointException(file, "is missing"), file);
        PatchConfig video = checkpoint.VideoProcessor is { } own ? Read(own, "video_" + file) : image;
        // The reference resizes pictures with Pillow and the frames of videos with torchvision.
        return new PatchProcessor(image, video with { Arithmetic = ResampleArithmetic.Torch });

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

    /// <inheritdoc/>
    public double SmallestStd => image.Std.Concat(video.Std).Min();

    /// <inheritdoc/>
    public MediaPlan Plan(MediaKind kind, int width, int height, int frames, PixelLimits limits)
    {
        PatchConfig config = Limited(kind, limits);
        GridThw grid = PatchBuilder.Plan(width, height, frames, config);
        return new MediaPlan(
            width,
            height,
            grid.W * config.PatchSize,
            grid.H * config.PatchSize,
            grid,
            config.MergeSize,
            grid.MergedTokens(config.MergeSize)
        );
    }

    /// <inheritdoc/>
    public PreparedMedia Prepare(MediaSource source, PixelLimits limits, WorkerPool pool)
    {
        (int width, int height) = (source.Frames[0].Width, source.Frames[0].Height);
        PatchConfig config = Limited(source.Kind, limits);
        MediaPlan plan = Plan(source.Kind, width, height, source.Frames.Count, limits);
        int patchWidth = config.PatchLength;
        AlignedBuffer pixels = new((long)plan.Grid.Patches * patchWidth * sizeof(float));
        PreparedMedia prepared = new(source.Kind, plan, pixels, patchWidth, source.Name);
        ReadOnlyMemory<byte>[] frames = [.. source.Frames.Select(f => f.Memory)];
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
