using VlmSharp.Kernels;
using VlmSharp.Kernels.Imaging;

namespace VlmSharp.Vision;

/// <summary>From RGB pixels to the tower's input: resize, rescale, normalise, cut into patches.</summary>
/// <remarks>
/// <para>
/// The image processors of Qwen2-VL, Qwen2.5-VL and Qwen3-VL, which differ only in their settings. Resizing is Pillow's bicubic,
/// exact to the bit; the published video processors resize with torchvision, which may differ by one 8-bit level.
/// </para>
/// <para>
/// Patches come in the order (t, h / merge, w / merge, merge, merge), each as (channel, frame, row, column). A picture fills all
/// frames of its patches; a video whose frames do not fill the last patch repeats its last frame.
/// </para>
/// </remarks>
public static class PatchBuilder
{
    /// <summary>The grid of a picture or video, from its size alone.</summary>
    /// <param name="width">of a frame, in pixels</param>
    /// <param name="height">of a frame</param>
    /// <param name="frames">1 for a picture</param>
    /// <param name="config">the model's settings</param>
    /// <exception cref="VisionException">no pixels, sides too different, or more values than one array can hold</exception>
    public static GridThw Plan(int width, int height, int frames, PatchConfig config)
    {
        ArgumentNullException.ThrowIfNull(config);
        config.Check();
        if (frames < 1)
        {
            throw new VisionException($"the video has {frames} frames: there is nothing to see");
        }

        (int resizedHeight, int resizedWidth) =
            config.Budget == PixelBudget.Video && frames > 1
                ? SmartResize.ForVideo(
                    frames,
                    height,
                    width,
                    config.TemporalPatchSize,
                    config.Factor,
                    config.MinPixels,
                    config.MaxPixels
                )
                : SmartResize.ForImage(height, width, config.Factor, config.MinPixels, config.MaxPixels);
        var grid = new GridThw(
            (frames - 1) / config.TemporalPatchSize + 1,
            resizedHeight / config.PatchSize,
            resizedWidth / config.PatchSize
        );
        double values = (double)grid.T * grid.H * grid.W * config.PatchLength;
        if (values > Array.MaxLength)
        {
            throw new VisionException(
                $"{frames} frames of {width} x {height} pixels would become {grid} patches of {config.PatchLength} values, more than one array holds; lower max_pixels or the number of frames"
            );
        }

        return grid;
    }

    /// <summary>Writes the patches of a picture or video.</summary>
    /// <param name="frames">each [height, width, 3], 8-bit RGB; one for a picture</param>
    /// <param name="width">of every frame, in pixels</param>
    /// <param name="height">of every frame</param>
    /// <param name="config">the model's settings</param>
    /// <param name="grid">what <see cref="Plan"/> said, or another grid the picture is to be brought to</param>
    /// <param name="pixelValues">[grid.Patches, config.PatchLength]</param>
    /// <param name="pool">the threads; their number does not change the result</param>
    /// <exception cref="ArgumentException">a length does not fit the sizes</exception>
    public static void Build(
        IReadOnlyList<ReadOnlyMemory<byte>> frames,
        int width,
        int height,
        PatchConfig config,
        GridThw grid,
        Span<float> pixelValues,
        WorkerPool pool
    )
    {
        ArgumentNullException.ThrowIfNull(frames);
        PatchGrid cut = Check(width, height, frames.Count, config, grid, pixelValues.Length);
        for (int i = 0; i < frames.Count; i++)
        {
            if (frames[i].Length != 3L * width * height)
            {
                throw new ArgumentException(
                    $"frame {i} holds {frames[i].Length} bytes, {width} x {height} pixels are {3L * width * height}"
                );
            }
        }

        var columns = new ResampleWeights(width, cut.Width, ResampleFilter.Bicubic, config.Arithmetic);
        var rows = new ResampleWeights(height, cut.Height, ResampleFilter.Bicubic, config.Arithmetic);
        float[] levels = config.Levels();
        int temporal = config.TemporalPatchSize;
        int step = (int)cut.Length;
        for (int i = 0; i < frames.Count; i++)
        {
            int slot = i % temporal;
            Span<float> patches = pixelValues.Slice(i / temporal * step, step);

            // The last frame also fills the slots that no frame is left for.
            int end = i == frames.Count - 1 ? temporal : slot + 1;
            Resampling.ResizeToPatches(frames[i].Span, columns, rows, cut, levels, slot, end, patches, pool);
        }
    }

    static PatchGrid Check(int width, int height, int frames, PatchConfig config, GridThw grid, int room)
    {
        ArgumentNullException.ThrowIfNull(config);
        config.Check();
        if (width < 1 || height < 1 || frames < 1)
        {
            throw new VisionException($"{frames} frames of {width} x {height} pixels: there is nothing to see");
        }

        if (
            grid.H < 1
            || grid.W < 1
            || grid.H % config.MergeSize != 0
            || grid.W % config.MergeSize != 0
            || grid.T != (frames - 1) / config.TemporalPatchSize + 1
        )
        {
            throw new ArgumentException(
                $"a grid of {grid} does not fit {frames} frames, {config.TemporalPatchSize} to a patch, and groups of {config.MergeSize} x {config.MergeSize}"
            );
        }

        double needed = (double)grid.T * grid.H * grid.W * config.PatchLength;
        if (room != needed)
        {
            throw new ArgumentException($"room for {room} values; {grid} patches of {config.PatchLength} are {needed}");
        }

        return new PatchGrid(config.PatchSize, config.TemporalPatchSize, config.MergeSize, grid.H, grid.W);
    }
}
