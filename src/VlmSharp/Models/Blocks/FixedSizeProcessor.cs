using VlmSharp.Kernels;
using VlmSharp.Kernels.Imaging;
using VlmSharp.Media.Images;
using VlmSharp.Vision;

namespace VlmSharp.Models.Blocks;

/// <summary>Pictures that are all brought to one square, whatever their shape, with the arithmetic of torchvision on a Pillow picture.</summary>
/// <remarks>
/// <c>Resize((size, size), BICUBIC)</c>, <c>ToTensor</c>, <c>Normalize</c> with CLIP's mean and deviation. Transparency is not laid over
/// white but dropped, as <c>convert("RGB")</c> does it.
/// </remarks>
/// <param name="size">Pixels of a side.</param>
/// <param name="patchSize">Pixels of a patch's side; what is left of the picture at the right and at the bottom is not seen.</param>
/// <param name="tokens">Tokens of a picture.</param>
public sealed class FixedSizeProcessor(int size, int patchSize, int tokens) : IMediaProcessor
{
    static readonly float[] Mean = [0.48145466f, 0.4578275f, 0.40821073f];
    static readonly float[] Std = [0.26862954f, 0.26130258f, 0.27577711f];

    readonly GridThw grid = new(1, size / patchSize, size / patchSize);

    /// <inheritdoc/>
    public double SmallestStd => Std.Min();

    /// <inheritdoc/>
    public MediaPlan Plan(MediaShape shape, PixelLimits limits)
    {
        if (shape.Kind != MediaKind.Image)
        {
            throw NoVideos();
        }

        long pixels = (long)size * size;
        return limits.MinPixels > pixels || limits.MaxPixels < pixels
            ? throw new VisionException(
                $"This model sees every picture at {size} x {size}, which is {pixels} pixels; the limits given are {limits.MinPixels?.ToString() ?? "none"} to {limits.MaxPixels?.ToString() ?? "none"}."
            )
            : new MediaPlan(shape.Width, shape.Height, size, size, grid, 1, tokens);
    }

    /// <inheritdoc/>
    public VideoSampling Sampling(int tokens) => throw NoVideos();

    /// <inheritdoc/>
    public PixelLimits VideoLimits(int frames, int tokens) => throw NoVideos();

    static VisionException NoVideos() =>
        new("This model takes pictures only; frames of a video can be shown to it as pictures.");

    /// <inheritdoc/>
    /// <returns>[patches, 3 * patch * patch]: channel, row and column within the patch.</returns>
    public PreparedMedia Prepare(MediaSource source, PixelLimits limits, WorkerPool pool)
    {
        MediaPlan plan = Plan(source.Shape, limits);
        RgbImage image = source.Frames[0];
        byte[] resized = Resample.Resize(
            image.WithoutAlpha,
            image.Width,
            image.Height,
            PixelLayout.Rgb,
            size,
            size,
            ResampleFilter.Bicubic,
            pool
        ); // [size, size, 3]
        int width = 3 * patchSize * patchSize;
        AlignedBuffer pixels = new((long)grid.Patches * width * sizeof(float));
        PreparedMedia prepared = new(source.Kind, plan, pixels, width, source.Name);
        for (int patch = 0; patch < grid.Patches; patch++)
        {
            Span<float> row = prepared.Pixels.Row(patch);
            (int top, int left) = (patch / grid.W * patchSize, patch % grid.W * patchSize);
            for (int i = 0; i < row.Length; i++)
            {
                (int channel, int inside) = Math.DivRem(i, patchSize * patchSize);
                (int y, int x) = Math.DivRem(inside, patchSize);
                byte level = resized[((((top + y) * size) + left + x) * 3) + channel];
                row[i] = ((level / 255f) - Mean[channel]) / Std[channel];
            }
        }

        return prepared;
    }
}
