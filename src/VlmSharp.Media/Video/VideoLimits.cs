using System.Globalization;
using VlmSharp.Media.Images;

namespace VlmSharp.Media.Video;

/// <summary>What films are accepted from people one does not know.</summary>
/// <param name="MaxBytes">Size of the file.</param>
/// <param name="MaxDuration">Length of the film.</param>
/// <param name="MaxPixels">Width times height of a frame.</param>
/// <param name="MaxPackets">Frames of the film, whether they are looked at or not.</param>
/// <param name="MaxFrames">Frames that are taken out of it.</param>
/// <param name="MaxTotalPixels">Pixels of all frames that are taken; three bytes of memory each.</param>
/// <param name="MaxWork">Time on the clock for all the programs that read one film.</param>
public sealed record VideoLimits(
    long MaxBytes,
    TimeSpan MaxDuration,
    long MaxPixels,
    int MaxPackets,
    int MaxFrames,
    long MaxTotalPixels,
    TimeSpan MaxWork
)
{
    /// <summary>8 GiB, 12 hours, 8192 x 8192 pixels, 3 million frames; 2048 frames of 2^30 pixels (3.2 GB) taken out in 5 minutes.</summary>
    public static VideoLimits Default { get; } =
        new(1L << 33, TimeSpan.FromHours(12), 1L << 26, 3_000_000, 2048, 1L << 30, TimeSpan.FromMinutes(5));

    internal void CheckBytes(string name, long bytes) => Check(name, bytes, "bytes", MaxBytes, nameof(MaxBytes));

    internal void CheckDuration(string name, double seconds)
    {
        if (seconds > MaxDuration.TotalSeconds)
        {
            throw new MediaException(
                name,
                string.Create(
                    CultureInfo.InvariantCulture,
                    $"{seconds:0.###} s long, at most {MaxDuration.TotalSeconds:0.###} s are accepted ({nameof(VideoLimits)}.{nameof(MaxDuration)})"
                )
            );
        }
    }

    internal void CheckSize(string name, int width, int height)
    {
        if ((long)width * height > MaxPixels)
        {
            throw new MediaException(
                name,
                $"frames of {width} x {height} pixels, at most {MaxPixels} in all are accepted ({nameof(VideoLimits)}.{nameof(MaxPixels)})"
            );
        }
    }

    internal void CheckPackets(string name, int packets) =>
        Check(name, packets, "frames and more", MaxPackets, nameof(MaxPackets));

    internal void CheckTaken(string name, int frames, int width, int height)
    {
        Check(name, frames, "frames to be taken", MaxFrames, nameof(MaxFrames));
        Check(name, (long)frames * width * height, "pixels to be taken", MaxTotalPixels, nameof(MaxTotalPixels));
    }

    static void Check(string name, long found, string what, long most, string limit)
    {
        if (found > most)
        {
            throw new MediaException(
                name,
                $"{found} {what}, at most {most} are accepted ({nameof(VideoLimits)}.{limit})"
            );
        }
    }
}
