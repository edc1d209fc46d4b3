using VlmSharp.Media.Images;
using VlmSharp.Media.Video;

namespace VlmSharp.Vision;

/// <summary>Films, animations and directories of frames to the frames that a model is shown.</summary>
public static class VideoReader
{
    /// <summary>Reads the frames that a sampling chooses.</summary>
    /// <remarks>
    /// GIF and WebP are decoded as pictures are, everything else by ffmpeg. The pictures of a directory are taken to be sampled
    /// already, at the frames per second of <see cref="VideoSampling.Density"/>, and all of them are read.
    /// </remarks>
    /// <param name="path">A film, an animation, or a directory of pictures.</param>
    /// <param name="sampling">What to take; two frames a second if null.</param>
    /// <param name="limits">What is accepted; <see cref="VideoLimits.Default"/> if null.</param>
    /// <param name="cancellation">Ends the programs at work.</param>
    /// <exception cref="MediaException">It cannot be read, is cut off, or is larger than accepted.</exception>
    /// <exception cref="VisionException">The sampling asks for more than the film has.</exception>
    public static VideoFrames Read(
        string path,
        VideoSampling? sampling = null,
        VideoLimits? limits = null,
        CancellationToken cancellation = default
    )
    {
        ArgumentNullException.ThrowIfNull(path);
        sampling ??= new();
        limits ??= VideoLimits.Default;
        if (Directory.Exists(path))
        {
            IReadOnlyList<RgbImage> frames = ImageDecoder.DecodeFrameDirectory(path, OfPictures(limits));
            return VideoFrames.Of(frames, sampling.Density.FramesPerSecond, path);
        }

        if (IsAnimation(path))
        {
            return ReadAnimation(ReadFile(path, limits), path, sampling, limits);
        }

        using VideoFile film = VideoFile.Open(path, limits, cancellation);
        return Read(film, sampling, cancellation);
    }

    /// <summary>The same for a film or an animation in memory.</summary>
    /// <param name="bytes">The file.</param>
    /// <param name="name">What errors call it.</param>
    /// <param name="sampling">What to take; two frames a second if null.</param>
    /// <param name="limits">What is accepted; <see cref="VideoLimits.Default"/> if null.</param>
    /// <param name="cancellation">Ends the programs at work.</param>
    /// <exception cref="MediaException">It cannot be read, is cut off, or is larger than accepted.</exception>
    /// <exception cref="VisionException">The sampling asks for more than the film has.</exception>
    public static VideoFrames Read(
        byte[] bytes,
        string name,
        VideoSampling? sampling = null,
        VideoLimits? limits = null,
        CancellationToken cancellation = default
    )
    {
        ArgumentNullException.ThrowIfNull(bytes);
        sampling ??= new();
        limits ??= VideoLimits.Default;
        if (IsAnimation(bytes.AsSpan(0, Math.Min(bytes.Length, 12))))
        {
            return ReadAnimation(bytes, name, sampling, limits);
        }

        using VideoFile film = VideoFile.Open(bytes, name, limits, cancellation);
        return Read(film, sampling, cancellation);
    }

    static VideoFrames Read(VideoFile film, VideoSampling sampling, CancellationToken cancellation)
    {
        double sampledRate = 0;
        VideoFrames frames = film.Read(
            info =>
            {
                Func<int, double>? time = info.IsVariableRate ? film.Time : null;
                (int[] indices, sampledRate) = sampling.Choose(info.Frames, info.Rate, time);
                return indices;
            },
            sampling.AllowTruncated,
            sampling.MaxFramePixels,
            cancellation
        );
        return frames with { SampledRate = sampledRate };
    }

    static VideoFrames ReadAnimation(byte[] bytes, string name, VideoSampling sampling, VideoLimits limits)
    {
        AnimatedImage animation = ImageDecoder.DecodeFrames(bytes, name, OfPictures(limits), sampling.AllowTruncated);
        VideoFrames all = VideoFrames.Of(animation, name);
        (int[] indices, double sampledRate) = sampling.Choose(all.Frames.Count, all.Rate, i => all.Times[i]);
        return all with
        {
            Frames = [.. indices.Select(i => all.Frames[i])],
            Times = [.. indices.Select(i => all.Times[i])],
            Indices = indices,
            SampledRate = sampledRate,
        };
    }

    static ImageLimits OfPictures(VideoLimits limits) =>
        new(
            Math.Min(limits.MaxBytes, ImageLimits.Default.MaxBytes),
            limits.MaxPixels,
            ImageLimits.Default.MaxFrames,
            limits.MaxTotalPixels
        );

    static byte[] ReadFile(string path, VideoLimits limits)
    {
        try
        {
            using FileStream file = new(path, FileMode.Open, FileAccess.Read, FileShare.Read, bufferSize: 0);
            long most = OfPictures(limits).MaxBytes;
            if (file.Length > most)
            {
                throw new MediaException(path, $"{file.Length} bytes, at most {most} are accepted of an animation");
            }

            byte[] bytes = new byte[file.Length];
            file.ReadExactly(bytes);
            return bytes;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new MediaException(path, $"the file cannot be read: {e.Message}", e);
        }
    }

    static bool IsAnimation(string path)
    {
        try
        {
            FileInfo named = new(path);
            FileSystemInfo target = named.ResolveLinkTarget(returnFinalTarget: true) ?? named;
            // A pipe or a device has no length, and opening it would wait.
            if (!target.Exists || new FileInfo(target.FullName).Length < 12)
            {
                return false;
            }

            using FileStream file = new(path, FileMode.Open, FileAccess.Read, FileShare.Read, bufferSize: 0);
            Span<byte> head = stackalloc byte[12];
            return file.ReadAtLeast(head, head.Length, throwOnEndOfStream: false) == head.Length && IsAnimation(head);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return false; // opening it as a film says why
        }
    }

    static bool IsAnimation(ReadOnlySpan<byte> head) =>
        head.StartsWith("GIF8"u8) || (head.Length == 12 && head.StartsWith("RIFF"u8) && head.EndsWith("WEBP"u8));
}
