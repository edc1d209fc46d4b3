namespace VlmSharp.Vision;

/// <summary>The size to which a picture is brought before it is cut into patches.</summary>
/// <remarks>
/// Both sides become multiples of a factor, the area comes between the limits, and the aspect ratio stays nearly the same. Halves
/// are rounded to even and all quotients are doubles, as in Python. Sizes are (height, width), like those of the published code.
/// </remarks>
public static class SmartResize
{
    /// <summary>The longer side may be at most this many times the shorter one.</summary>
    public const int MaxAspectRatio = 200;

    /// <summary>The rule of transformers (<c>models/qwen2_vl/image_processing_qwen2_vl.py</c>), which the models' processors apply.</summary>
    /// <param name="height">of the picture, in pixels</param>
    /// <param name="width">of the picture</param>
    /// <param name="factor">patch size times merge size</param>
    /// <param name="minPixels">lower limit of the area</param>
    /// <param name="maxPixels">upper limit; wins where both cannot be kept. Published code passes fractions for videos</param>
    /// <exception cref="VisionException">no pixels, or sides that differ by more than <see cref="MaxAspectRatio"/></exception>
    public static (int Height, int Width) ForImage(
        int height,
        int width,
        int factor,
        double minPixels,
        double maxPixels
    )
    {
        Check(height, width, factor);
        double h = Round(height, factor);
        double w = Round(width, factor);
        if (h * w > maxPixels)
        {
            (h, w) = Shrink(1, height, width, factor, maxPixels);
            return Size(Math.Max(h, factor), Math.Max(w, factor), height, width);
        }

        return Size(h * w < minPixels ? Enlarge(1, height, width, factor, minPixels) : (h, w), height, width);
    }

    /// <summary>The rule of qwen-vl-utils 0.0.14, which loads pictures and video frames before the processor sees them.</summary>
    /// <remarks>
    /// A side is raised to one factor before the area is looked at, not after; so thin pictures come out differently, and a side
    /// may be 0 when the budget is too small for the ratio.
    /// </remarks>
    /// <inheritdoc cref="ForImage"/>
    /// <exception cref="ArgumentException">the upper limit is below the lower one</exception>
    public static (int Height, int Width) ForImageByUtils(
        int height,
        int width,
        int factor,
        double minPixels,
        double maxPixels
    )
    {
        if (maxPixels < minPixels)
        {
            throw new ArgumentException($"at most {maxPixels} pixels is less than at least {minPixels}");
        }

        Check(height, width, factor);
        double h = Math.Max(Round(height, factor), factor);
        double w = Math.Max(Round(width, factor), factor);
        return Size(
            h * w > maxPixels ? Shrink(1, height, width, factor, maxPixels)
                : h * w < minPixels ? Enlarge(1, height, width, factor, minPixels)
                : (h, w),
            height,
            width
        );
    }

    /// <summary>The rule of transformers for Qwen3-VL's videos: the limits hold for all frames together.</summary>
    /// <remarks>The number of frames is rounded to the temporal factor to see whether a limit is broken, but the scale uses the real one.</remarks>
    /// <param name="frames">frames of the video; at least <paramref name="temporalFactor"/></param>
    /// <param name="height">of a frame, in pixels; at least <paramref name="factor"/></param>
    /// <param name="width">of a frame; at least <paramref name="factor"/></param>
    /// <param name="temporalFactor">frames per patch</param>
    /// <param name="factor">patch size times merge size</param>
    /// <param name="minPixels">lower limit of frames x height x width</param>
    /// <param name="maxPixels">upper limit; wins where both cannot be kept</param>
    /// <exception cref="VisionException">too few frames, frames too small, or sides that differ by more than <see cref="MaxAspectRatio"/></exception>
    public static (int Height, int Width) ForVideo(
        int frames,
        int height,
        int width,
        int temporalFactor,
        int factor,
        double minPixels,
        double maxPixels
    )
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(temporalFactor, 1);
        if (frames < temporalFactor)
        {
            throw new VisionException($"the video has {frames} frames; this model needs at least {temporalFactor}");
        }

        Check(height, width, factor);
        if (height < factor || width < factor)
        {
            throw new VisionException(
                $"the video's frames are {width} x {height} pixels; this model needs at least {factor} x {factor}"
            );
        }

        double t = Round(frames, temporalFactor);
        double h = Round(height, factor);
        double w = Round(width, factor);
        if (t * h * w > maxPixels)
        {
            (h, w) = Shrink(frames, height, width, factor, maxPixels);
            return Size(Math.Max(h, factor), Math.Max(w, factor), height, width);
        }

        return Size(t * h * w < minPixels ? Enlarge(frames, height, width, factor, minPixels) : (h, w), height, width);
    }

    static void Check(int height, int width, int factor)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(factor, 1);
        if (height < 1 || width < 1)
        {
            throw new VisionException($"the picture is {width} x {height} pixels: there is nothing to see");
        }

        double ratio = Math.Max(height, width) / (double)Math.Min(height, width);
        if (ratio > MaxAspectRatio)
        {
            throw new VisionException(
                $"the picture is {width} x {height} pixels: one side is {ratio:0.##} times the other, at most {MaxAspectRatio} is allowed; crop it or cut it into pieces"
            );
        }
    }

    static double Round(int size, int factor) => Math.Round(size / (double)factor, MidpointRounding.ToEven) * factor;

    static (double Height, double Width) Shrink(int frames, int height, int width, int factor, double maxPixels)
    {
        double beta = Math.Sqrt((double)frames * height * width / maxPixels);
        return (Math.Floor(height / beta / factor) * factor, Math.Floor(width / beta / factor) * factor);
    }

    static (double Height, double Width) Enlarge(int frames, int height, int width, int factor, double minPixels)
    {
        double beta = Math.Sqrt(minPixels / ((double)frames * height * width));
        return (Math.Ceiling(height * beta / factor) * factor, Math.Ceiling(width * beta / factor) * factor);
    }

    static (int Height, int Width) Size(double h, double w, int height, int width) => Size((h, w), height, width);

    static (int Height, int Width) Size((double Height, double Width) size, int height, int width)
    {
        if (!(size.Height <= int.MaxValue && size.Width <= int.MaxValue))
        {
            throw new VisionException(
                $"the picture of {width} x {height} pixels would become {size.Width} x {size.Height}; lower max_pixels"
            );
        }

        return ((int)size.Height, (int)size.Width);
    }
}
