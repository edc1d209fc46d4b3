using VlmSharp.Media.Video;

namespace VlmSharp.Vision;

/// <summary>Brings the times of a model's answer back to the film it was shown.</summary>
/// <remarks>
/// A model that reads the time of each frame (Qwen3-VL: <c>&lt;12.5 seconds&gt;</c> in the prompt) speaks of the film's own seconds.
/// One that is given a rate alone (Qwen2.5-VL) counts from the first frame it sees as if they came evenly: where a section was
/// cut out, or the film's rate varies, its seconds are those of the frames it saw, and are mapped back through them.
/// </remarks>
public sealed class VideoTimeline
{
    readonly IReadOnlyList<double> times;
    readonly double[] clock;
    readonly double duration;

    VideoTimeline(VideoFrames frames, double[] clock)
    {
        times = frames.Times;
        duration = frames.Duration;
        this.clock = clock;
    }

    /// <summary>For a model that was told the time of each frame.</summary>
    /// <param name="frames">What it was shown.</param>
    public static VideoTimeline Told(VideoFrames frames)
    {
        ArgumentNullException.ThrowIfNull(frames);
        return new(frames, [.. frames.Times]);
    }

    /// <summary>For a model that counts evenly from the first frame it was shown.</summary>
    /// <param name="frames">What it was shown.</param>
    public static VideoTimeline Counted(VideoFrames frames)
    {
        ArgumentNullException.ThrowIfNull(frames);
        return new(frames, [.. frames.Times.Select((_, i) => i / frames.SampledRate)]);
    }

    /// <summary>The film's second for a second of the model; between two frames in proportion, and within the film.</summary>
    /// <param name="seconds">As the model says it.</param>
    public double ToFilm(double seconds)
    {
        int next = 0;
        while (next < clock.Length && clock[next] <= seconds)
        {
            next++;
        }

        double film;
        if (next is 0)
        {
            film = times[0] + seconds - clock[0];
        }
        else if (next == clock.Length)
        {
            film = times[^1] + seconds - clock[^1];
        }
        else
        {
            double part = (seconds - clock[next - 1]) / (clock[next] - clock[next - 1]);
            film = times[next - 1] + (part * (times[next] - times[next - 1]));
        }

        return Math.Clamp(film, 0, Math.Max(0, duration));
    }

    /// <summary>The times in an answer, as seconds of the film.</summary>
    /// <param name="answer">What the model said.</param>
    /// <returns>as <see cref="TimeMention.Find"/> gives them, with start and end brought back to the film</returns>
    public IReadOnlyList<TimeMention> Find(string answer) =>
        [.. TimeMention.Find(answer).Select(m => m with { Start = ToFilm(m.Start), End = ToFilm(m.End) })];

    /// <summary>Which of the frames that were shown is nearest to a second of the film; the earlier one of two.</summary>
    /// <param name="filmSeconds">Of the film.</param>
    public int NearestFrame(double filmSeconds)
    {
        int best = 0;
        for (int i = 1; i < times.Count; i++)
        {
            if (Math.Abs(times[i] - filmSeconds) < Math.Abs(times[best] - filmSeconds))
            {
                best = i;
            }
        }

        return best;
    }
}
