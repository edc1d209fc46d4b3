using VlmSharp.Media.Images;

namespace VlmSharp.Media.Video;

/// <summary>Frames that were taken out of a film, an animation or a directory, and when they are shown.</summary>
/// <param name="Name">What it is called in errors and reports.</param>
/// <param name="Frames">Upright, of one size, in the order of the film; at least one. An index that was asked for twice is there twice.</param>
/// <param name="Times">[frames]: seconds from the film's first frame, whose time is 0 even where the container lets it start later.</param>
/// <param name="Indices">[frames]: which frames of the film these are, from 0.</param>
/// <param name="Rate">Average frames per second of the film.</param>
/// <param name="SampledRate">Frames per second of what was taken.</param>
/// <param name="Duration">Seconds of the whole film.</param>
public sealed record VideoFrames(
    string Name,
    IReadOnlyList<RgbImage> Frames,
    IReadOnlyList<double> Times,
    IReadOnlyList<int> Indices,
    double Rate,
    double SampledRate,
    double Duration
)
{
    // Viewers show a frame without a time, or with less than two hundredths of a second, this long.
    static readonly TimeSpan UsualDelay = TimeSpan.FromMilliseconds(100);

    /// <summary>The frames of a GIF or WebP animation with their times; a delay below 20 ms counts as 100 ms, as viewers have it.</summary>
    /// <param name="animation">The frames.</param>
    /// <param name="name">What errors call it.</param>
    public static VideoFrames Of(AnimatedImage animation, string name)
    {
        ArgumentNullException.ThrowIfNull(animation);
        double[] times = new double[animation.Frames.Count];
        TimeSpan at = TimeSpan.Zero;
        for (int i = 0; i < times.Length; i++)
        {
            times[i] = at.TotalSeconds;
            TimeSpan delay = animation.Delays[i];
            at += delay < TimeSpan.FromMilliseconds(20) ? UsualDelay : delay;
        }

        double rate = times.Length / at.TotalSeconds;
        int[] indices = [.. Enumerable.Range(0, times.Length)];
        return new(name, animation.Frames, times, indices, rate, rate, at.TotalSeconds);
    }

    /// <summary>Pictures that were taken out of a film at a constant rate.</summary>
    /// <param name="frames">At least one, of one size.</param>
    /// <param name="rate">Pictures per second.</param>
    /// <param name="name">What errors call it.</param>
    public static VideoFrames Of(IReadOnlyList<RgbImage> frames, double rate, string name)
    {
        ArgumentNullException.ThrowIfNull(frames);
        ArgumentOutOfRangeException.ThrowIfZero(frames.Count);
        if (!(rate > 0 && double.IsFinite(rate)))
        {
            throw new MediaException(name, $"{rate} frames per second; a number above 0 is needed");
        }

        int[] indices = [.. Enumerable.Range(0, frames.Count)];
        return new(name, frames, [.. indices.Select(i => i / rate)], indices, rate, rate, frames.Count / rate);
    }
}
