namespace VlmSharp.Media.Images;

/// <summary>What is accepted from people one does not know. All of it is checked before any pixel is decoded.</summary>
/// <param name="MaxBytes">Size of the file.</param>
/// <param name="MaxPixels">Width times height of one picture, frame or page; three bytes of memory each.</param>
/// <param name="MaxFrames">Frames of an animation, pages of a file, files of a directory. Where only the first frame is asked for, the others do not count.</param>
/// <param name="MaxTotalPixels">Pixels of all frames together.</param>
public sealed record ImageLimits(long MaxBytes, long MaxPixels, int MaxFrames, long MaxTotalPixels)
{
    /// <summary>256 MiB, 16384 x 16384 pixels in one frame and in all frames together (805 MB of memory), 4096 frames.</summary>
    public static ImageLimits Default { get; } = new(1L << 28, 1L << 28, 4096, 1L << 28);

    internal void CheckBytes(string name, long bytes)
    {
        if (bytes > MaxBytes)
        {
            throw new MediaException(
                name,
                $"{bytes} bytes, at most {MaxBytes} are accepted ({nameof(ImageLimits)}.{nameof(MaxBytes)})"
            );
        }
    }

    internal void CheckFrame(string name, int width, int height)
    {
        // The pixels go into one array, three bytes each, whatever the limits say.
        long max = Math.Min(MaxPixels, Array.MaxLength / 3);
        if ((long)width * height > max)
        {
            throw new MediaException(
                name,
                $"{width} x {height} pixels, at most {max} in all are accepted ({nameof(ImageLimits)}.{nameof(MaxPixels)})"
            );
        }
    }

    internal void CheckFrameCount(string name, int frames)
    {
        if (frames > MaxFrames)
        {
            throw new MediaException(
                name,
                $"{frames} frames, at most {MaxFrames} are accepted ({nameof(ImageLimits)}.{nameof(MaxFrames)})"
            );
        }
    }

    internal void CheckTotal(string name, int frames, long pixels)
    {
        if (pixels > MaxTotalPixels)
        {
            throw new MediaException(
                name,
                $"{pixels} pixels in {frames} frames, at most {MaxTotalPixels} in all are accepted ({nameof(ImageLimits)}.{nameof(MaxTotalPixels)})"
            );
        }
    }
}
