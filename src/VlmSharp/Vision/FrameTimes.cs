using System.Globalization;

namespace VlmSharp.Vision;

/// <summary>When the temporal patches of a video happen, and how a prompt says so.</summary>
public static class FrameTimes
{
    /// <summary>Rate assumed of frames whose rate nobody knows, as qwen-vl-utils does.</summary>
    public const double DefaultRate = 2;

    /// <summary>Seconds of each temporal patch: the mean of its first and its last frame.</summary>
    /// <param name="frames">[frames]: seconds of each frame; the last one repeats to fill the last patch</param>
    /// <param name="temporalPatchSize">frames per patch</param>
    /// <returns>[ceil(frames / temporalPatchSize)]</returns>
    /// <remarks>Source: <c>Qwen3VLProcessor._calculate_timestamps</c> of transformers.</remarks>
    public static double[] OfPatches(IReadOnlyList<double> frames, int temporalPatchSize)
    {
        double[] times = new double[(frames.Count + temporalPatchSize - 1) / temporalPatchSize];
        for (int i = 0; i < times.Length; i++)
        {
            int first = i * temporalPatchSize;
            int last = Math.Min(first + temporalPatchSize, frames.Count) - 1;
            times[i] = (frames[first] + frames[last]) / 2;
        }

        return times;
    }

    /// <summary>What stands before a temporal patch in the prompt of a model that reads times: <c>&lt;12.5 seconds&gt;</c>.</summary>
    /// <remarks>One decimal, a tie rounded to the even digit, as Python's <c>.1f</c> does.</remarks>
    public static string Announce(double seconds)
    {
        // Ties of the decimal place exist only where four times the value is an odd integer; everything else rounds one way.
        bool tie = Math.Abs(seconds * 4 % 2) == 1;
        double rounded = tie ? Math.Round(seconds * 10, MidpointRounding.ToEven) / 10 : seconds;
        return $"<{rounded.ToString("F1", CultureInfo.InvariantCulture)} seconds>";
    }
}
