namespace VlmSharp.Vision;

/// <summary>Whose frames are taken of a film; they differ by a few.</summary>
public enum SamplingRule
{
    /// <summary>transformers' video processor for Qwen2-VL and Qwen2.5-VL: equal steps from the first frame on.</summary>
    Qwen2,

    /// <summary>qwen-vl-utils: evenly from the first to the last frame, a multiple of the temporal patch.</summary>
    Utils,

    /// <summary>transformers' video processor for Qwen3-VL: evenly from the first to the last frame, any number.</summary>
    Qwen3,
}

/// <summary>What of a film a model is shown.</summary>
public sealed record VideoSampling
{
    /// <summary>How densely: two frames a second, at least 4 and at most 768, if not said otherwise.</summary>
    public FrameSamplingOptions Density { get; init; } = new();

    /// <summary>Whose choice of frames.</summary>
    public SamplingRule Rule { get; init; } = SamplingRule.Qwen3;

    /// <summary>Frames per temporal patch of the model.</summary>
    public int TemporalSize { get; init; } = 2;

    /// <summary>Where the section begins that is looked at, in seconds of the film; the beginning if null.</summary>
    public double? Start { get; init; }

    /// <summary>Where it ends; the end if null.</summary>
    public double? End { get; init; }

    /// <summary>Take what is there of a film that is cut off or damaged.</summary>
    public bool AllowTruncated { get; init; }

    /// <summary>Scale larger frames down to at most so many pixels while they are decoded; off if null, because models scale them exactly.</summary>
    public long? MaxFramePixels { get; init; }

    /// <summary>Chooses frames.</summary>
    /// <param name="totalFrames">frames of the film</param>
    /// <param name="rate">its frames per second</param>
    /// <param name="time">seconds from the first frame to another one, where the rate varies; null where it is constant</param>
    /// <returns>ascending indices, and the rate at which they were taken</returns>
    /// <exception cref="VisionException">the section or the number of frames does not fit the film</exception>
    public (int[] Indices, double SampledRate) Choose(int totalFrames, double rate, Func<int, double>? time = null)
    {
        (int first, int last) = Section(totalFrames, rate, time);
        int count = last - first + 1;
        int[] indices = Rule switch
        {
            // A film shorter than one patch is shown whole; the last frame fills the patch.
            SamplingRule.Qwen2 or SamplingRule.Utils when count < TemporalSize && Density.Frames is null =>
            [
                .. Enumerable.Range(first, count),
            ],
            SamplingRule.Qwen2 =>
            [
                // One may lie behind the end.
                .. FrameSampling
                    .Indices(count, FrameSampling.Count(count, rate, Density, TemporalSize))
                    .Select(i => Math.Min(first + i, last)),
            ],
            SamplingRule.Utils => FrameSampling.IndicesByUtils(
                first,
                last,
                FrameSampling.CountByUtils(count, rate, Density, TemporalSize)
            ),
            _ =>
            [
                .. FrameSampling
                    .IndicesByQwen3(count, FrameSampling.CountByQwen3(count, rate, Density))
                    .Select(i => first + i),
            ],
        };
        return (indices, FrameSampling.SampledRate(indices.Length, count, rate));
    }

    (int First, int Last) Section(int totalFrames, double rate, Func<int, double>? time)
    {
        if ((Start is null && End is null) || time is null)
        {
            return FrameSampling.SectionByUtils(totalFrames, rate, Start, End);
        }

        int first = Start is { } start ? CountWhile(t => t < start) : 0;
        int last = End is { } end ? CountWhile(t => t <= end) - 1 : totalFrames - 1;
        return first <= last
            ? (first, last)
            : throw new VisionException(
                $"the section from {Start ?? 0} s to {End ?? time(totalFrames - 1)} s holds no frame; the last of {totalFrames} frames is shown at {time(totalFrames - 1):0.###} s"
            );

        // Times ascend.
        int CountWhile(Func<double, bool> holds)
        {
            (int low, int high) = (0, totalFrames);
            while (low < high)
            {
                int middle = (low + high) / 2;
                (low, high) = holds(time(middle)) ? (middle + 1, high) : (low, middle);
            }

            return low;
        }
    }
}
