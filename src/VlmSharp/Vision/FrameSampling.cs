namespace VlmSharp.Vision;

/// <summary>How densely a video is looked at.</summary>
/// <param name="FramesPerSecond">frames to take per second of video</param>
/// <param name="MinFrames">at least this many</param>
/// <param name="MaxFrames">at most this many</param>
/// <param name="Frames">exactly this many (rounded to the temporal patch size) instead</param>
public sealed record FrameSamplingOptions(
    double FramesPerSecond = 2,
    int MinFrames = 4,
    int MaxFrames = 768,
    int? Frames = null
);

/// <summary>Which frames of a video a model is shown.</summary>
/// <remarks>
/// Three published samplers exist and choose different frames: the video processors of transformers for Qwen2-VL and for
/// Qwen3-VL, and qwen-vl-utils 0.0.14, which most examples call before them. The first and the last count in single precision,
/// that for Qwen3-VL in double; so does this.
/// </remarks>
public static class FrameSampling
{
    /// <summary>The number of frames by the rule of transformers' Qwen2-VL video processor.</summary>
    /// <param name="totalFrames">frames of the video</param>
    /// <param name="sourceRate">its frames per second</param>
    /// <param name="options">what to take</param>
    /// <param name="temporalSize">frames per patch; the number becomes a multiple of it</param>
    /// <exception cref="VisionException">fewer frames than are to be taken, or than one patch takes</exception>
    public static int Count(int totalFrames, double sourceRate, FrameSamplingOptions options, int temporalSize)
    {
        Check(totalFrames, sourceRate, temporalSize);
        double count;
        if (options.Frames is { } asked)
        {
            count = Math.Round(asked / (double)temporalSize, MidpointRounding.ToEven) * temporalSize;
        }
        else
        {
            double most = Floor(Math.Min(options.MaxFrames, totalFrames), temporalSize);
            double wanted = totalFrames / sourceRate * options.FramesPerSecond;
            count = Floor(Math.Min(Math.Min(Math.Max(wanted, options.MinFrames), most), totalFrames), temporalSize);
        }

        return Enough(count, totalFrames, 1);
    }

    /// <summary>Frame indices by the rule of transformers' Qwen2-VL video processor: equal steps from the first frame on.</summary>
    /// <returns>
    /// The indices. As in the reference there may be one more than asked for, and it may be <paramref name="totalFrames"/>,
    /// one past the end: whoever reads frames takes the last one for it.
    /// </returns>
    public static int[] Indices(int totalFrames, int count)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(count, 1);
        double step = totalFrames / (double)count;
        int[] indices = new int[(int)Math.Ceiling(totalFrames / step)];
        for (int i = 0; i < indices.Length; i++)
        {
            indices[i] = (int)(float)(step * i);
        }

        return indices;
    }

    /// <summary>The number of frames by the rule of qwen-vl-utils.</summary>
    /// <inheritdoc cref="Count"/>
    public static int CountByUtils(int totalFrames, double sourceRate, FrameSamplingOptions options, int temporalSize)
    {
        Check(totalFrames, sourceRate, temporalSize);
        double count;
        if (options.Frames is { } asked)
        {
            count = Math.Round(asked / (double)temporalSize, MidpointRounding.ToEven) * temporalSize;
        }
        else
        {
            double least = Math.Ceiling(options.MinFrames / (double)temporalSize) * temporalSize;
            double most = Floor(Math.Min(options.MaxFrames, totalFrames), temporalSize);
            double wanted = totalFrames / sourceRate * options.FramesPerSecond;
            count = Floor(Math.Min(Math.Min(Math.Max(wanted, least), most), totalFrames), temporalSize);
        }

        return Enough(count, totalFrames, temporalSize);
    }

    /// <summary>Frame indices by the rule of qwen-vl-utils: evenly from the first to the last frame, both included.</summary>
    /// <param name="first">the first frame</param>
    /// <param name="last">the last frame</param>
    /// <param name="count">how many</param>
    public static int[] IndicesByUtils(int first, int last, int count)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(count, 1);
        int[] indices = new int[count];
        indices[0] = first;

        // Counted from the nearer end, as torch.linspace does.
        float step = count > 1 ? ((float)last - first) / (count - 1) : 0;
        for (int i = 1; i < count; i++)
        {
            float at = i < count / 2 ? first + step * i : last - step * (count - 1 - i);
            indices[i] = (int)MathF.Round(at, MidpointRounding.ToEven);
        }

        return indices;
    }

    /// <summary>The number of frames by the rule of transformers' Qwen3-VL video processor; any number, not only multiples of a patch.</summary>
    /// <param name="totalFrames">frames of the video</param>
    /// <param name="sourceRate">its frames per second</param>
    /// <param name="options">what to take; with an exact number more may be taken than there are, and some come twice</param>
    /// <exception cref="VisionException">no frames, or none to be taken</exception>
    public static int CountByQwen3(int totalFrames, double sourceRate, FrameSamplingOptions options)
    {
        Check(totalFrames, sourceRate, 1);
        double wanted = Math.Truncate(totalFrames / sourceRate * options.FramesPerSecond);
        int most = Math.Min(options.MaxFrames, totalFrames);
        double count = options.Frames ?? Math.Min(Math.Max(wanted, options.MinFrames), most);
        return count >= 1
            ? (int)count
            : throw new VisionException(
                $"{count} frames would be taken of a video of {totalFrames}; at least 1 is needed"
            );
    }

    /// <summary>Frame indices by the rule of transformers' Qwen3-VL video processor: evenly from the first to the last frame, both included.</summary>
    /// <param name="totalFrames">frames of the video</param>
    /// <param name="count">how many</param>
    public static int[] IndicesByQwen3(int totalFrames, int count)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(count, 1);
        int[] indices = new int[count];
        // As numpy.linspace: multiples of the step, and the last one exactly.
        double step = count > 1 ? (totalFrames - 1) / (double)(count - 1) : 0;
        for (int i = 1; i < count; i++)
        {
            indices[i] = i == count - 1 ? totalFrames - 1 : (int)Math.Round(i * step, MidpointRounding.ToEven);
        }

        return indices;
    }

    /// <summary>The rate of the frames that were taken, by the rule of qwen-vl-utils.</summary>
    /// <param name="taken">frames that were taken</param>
    /// <param name="totalFrames">frames of the section they were taken from</param>
    /// <param name="sourceRate">its frames per second</param>
    public static double SampledRate(int taken, int totalFrames, double sourceRate) =>
        taken / (double)totalFrames * sourceRate;

    /// <summary>The frames of a section of a video by the rule of qwen-vl-utils.</summary>
    /// <param name="totalFrames">frames of the video</param>
    /// <param name="sourceRate">its frames per second</param>
    /// <param name="start">where the section starts, in seconds; absent for the beginning</param>
    /// <param name="end">where it ends; absent for the end</param>
    /// <returns>the first and the last frame, both included</returns>
    /// <exception cref="VisionException">the section holds less than two frames</exception>
    public static (int First, int Last) SectionByUtils(int totalFrames, double sourceRate, double? start, double? end)
    {
        Check(totalFrames, sourceRate, 1);
        double duration = totalFrames / sourceRate;
        int first = start is { } s ? (int)Math.Ceiling(Math.Clamp(s, 0, duration) * sourceRate) : 0;
        int last = end is { } e
            ? (int)Math.Min(Math.Floor(Math.Clamp(e, 0, duration) * sourceRate), totalFrames - 1)
            : totalFrames - 1;
        if ((start is not null || end is not null) && first >= last)
        {
            throw new VisionException(
                $"the section from {start ?? 0} s to {end ?? duration} s starts at frame {first} and ends at frame {last}; the video has {totalFrames} frames in {duration:0.##} s"
            );
        }

        return (first, last);
    }

    /// <summary>The pixels that one of several frames may have, by the rule of qwen-vl-utils.</summary>
    /// <param name="frames">frames that are taken</param>
    /// <param name="temporalSize">frames per patch</param>
    /// <param name="minPixels">lower limit per frame</param>
    /// <param name="maxPixels">upper limit per frame, for a video without another one</param>
    /// <param name="totalPixels">limit for all frames together</param>
    /// <returns>the upper limit to pass to <see cref="SmartResize.ForImageByUtils"/>; may be a fraction</returns>
    public static double MaxPixelsByUtils(
        int frames,
        int temporalSize,
        double minPixels,
        double maxPixels,
        double totalPixels
    )
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(frames, 1);
        return Math.Max(Math.Min(maxPixels, totalPixels / frames * temporalSize), Math.Truncate(minPixels * 1.05));
    }

    /// <summary>The pixels that one frame may have so that all together become at most so many tokens, by the rule of qwen-vl-utils.</summary>
    /// <param name="frames">frames that are taken</param>
    /// <param name="temporalSize">frames per patch</param>
    /// <param name="factor">patch size times merge size: the side of a token in pixels</param>
    /// <param name="tokens">for the whole video; a frame pair is given from 134 to 768 of them all the same</param>
    public static double MaxPixelsForTokens(int frames, int temporalSize, int factor, long tokens)
    {
        const int LeastTokens = 128;
        const int MostTokens = 768;
        double token = (double)factor * factor;
        return MaxPixelsByUtils(frames, temporalSize, LeastTokens * token, MostTokens * token, tokens * token);
    }

    static double Floor(double count, int temporalSize) => Math.Floor(count / temporalSize) * temporalSize;

    static void Check(int totalFrames, double sourceRate, int temporalSize)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(temporalSize, 1);
        if (totalFrames < 1 || !(sourceRate > 0 && double.IsFinite(sourceRate)))
        {
            throw new VisionException($"the video has {totalFrames} frames at {sourceRate} per second");
        }
    }

    static int Enough(double count, int totalFrames, int least)
    {
        if (!(count >= least && count <= totalFrames))
        {
            throw new VisionException(
                $"{count} frames would be taken of a video of {totalFrames}; at least {least} and at most all of them can be"
            );
        }

        return (int)count;
    }
}
