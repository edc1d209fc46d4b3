using System.Globalization;
using System.Text.Json;
using VlmSharp.Media.Images;

namespace VlmSharp.Media.Video;

/// <summary>A film of which single frames can be read, through Debian's ffmpeg.</summary>
/// <remarks>
/// <list type="bullet">
/// <item>Containers and codecs are those of a list; playlists, scripts, addresses and pictures are refused. The file's name is never an option or an address.</item>
/// <item>The first video stream is read that is no cover picture.</item>
/// <item>Frames are those of the list of packets, in order of their integer time stamps; nothing is computed from an average rate. Where
/// packets lack time stamps (AVI with B-frames), or turn out not to be shown each (VP8), the film is decoded once to list its frames.</item>
/// <item>Frames are upright, 8-bit RGB, of the stored size; pixels count as square.</item>
/// </list>
/// One thread uses an instance.
/// </remarks>
public sealed class VideoFile : IDisposable
{
    readonly Ffmpeg ffmpeg;
    readonly string? temporary;
    readonly VideoInfo header;
    FrameList list;

    VideoFile(string path, string name, VideoLimits limits, string? temporary, CancellationToken cancellation)
    {
        this.temporary = temporary;
        string absolute = Resolve(path, name);
        long bytes = new FileInfo(absolute).Length;
        // Pipes and devices have no length either, and opening them would wait.
        if (bytes is 0)
        {
            throw new MediaException(name, $"the file is empty; {Ffmpeg.Accepted} is expected");
        }

        limits.CheckBytes(name, bytes);
        ffmpeg = new Ffmpeg(absolute, name, limits);
        header = ReadHeader(absolute, cancellation);
        list = ListPackets(cancellation) ?? ListByDecoding(cancellation);
        Info = Complete();
    }

    /// <summary>Reads what there is to know about a film without decoding it.</summary>
    /// <param name="path">The file; errors call it by this path.</param>
    /// <param name="limits">What is accepted; <see cref="VideoLimits.Default"/> if null.</param>
    /// <param name="cancellation">Ends the programs at work.</param>
    /// <exception cref="MediaException">Not a film, over a limit, without a video in it, or ffmpeg is not on the machine.</exception>
    public static VideoFile Open(string path, VideoLimits? limits = null, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(path);
        return new(path, path, limits ?? VideoLimits.Default, null, cancellation);
    }

    /// <summary>The same for a film in memory; it is kept in a temporary file until this is disposed.</summary>
    /// <param name="bytes">The file.</param>
    /// <param name="name">What errors call it.</param>
    /// <param name="limits">What is accepted; <see cref="VideoLimits.Default"/> if null.</param>
    /// <param name="cancellation">Ends the programs at work.</param>
    /// <exception cref="MediaException">As for a path.</exception>
    public static VideoFile Open(
        ReadOnlySpan<byte> bytes,
        string name,
        VideoLimits? limits = null,
        CancellationToken cancellation = default
    )
    {
        limits ??= VideoLimits.Default;
        limits.CheckBytes(name, bytes.Length);
        string directory = Directory.CreateTempSubdirectory("vlm-film-").FullName;
        try
        {
            string file = Path.Combine(directory, "film");
            File.WriteAllBytes(file, bytes);
            return new(file, name, limits, directory, cancellation);
        }
        catch
        {
            Directory.Delete(directory, recursive: true);
            throw;
        }
    }

    /// <summary>What is known of it.</summary>
    public VideoInfo Info { get; private set; }

    /// <summary>[Info.Frames]: the integer time stamp of each frame, ascending, in <see cref="VideoInfo.TimeBase"/>.</summary>
    public IReadOnlyList<long> TimeStamps => list.Pts;

    /// <summary>Seconds from the first frame to a frame.</summary>
    /// <param name="index">Of the frame, from 0.</param>
    public double Time(int index) => Info.TimeBase.Seconds(list.Pts[index] - list.Pts[0]);

    /// <summary>Reads frames.</summary>
    /// <param name="choose">Which ones, as indices from 0 in ascending order; may name one twice. Asked again if decoding shows that the
    /// list of frames has to be corrected.</param>
    /// <param name="allowTruncated">Take the frames that are there of a film that is cut off or damaged.</param>
    /// <param name="maxFramePixels">Scale larger frames down to at most this while they are decoded. Off by default: a model's processor
    /// scales the original frames exactly as its reference does.</param>
    /// <param name="cancellation">Ends the programs at work.</param>
    /// <exception cref="MediaException">The film is cut off or damaged, or more is asked for than the limits accept.</exception>
    public VideoFrames Read(
        Func<VideoInfo, IReadOnlyList<int>> choose,
        bool allowTruncated = false,
        long? maxFramePixels = null,
        CancellationToken cancellation = default
    )
    {
        ArgumentNullException.ThrowIfNull(choose);
        if (Info.Truncation is { } reason && !allowTruncated)
        {
            string expected = Info.ExpectedFrames is { } count ? $" of {count} expected" : "";
            throw new MediaException(
                ffmpeg.Name,
                $"the film is cut off: {reason}; {Info.Frames} frames{expected} are there; send the whole file, or accept what is there (allow truncated)"
            );
        }

        (int[] indices, Dictionary<int, RgbImage> found) = Decode(choose(Info), maxFramePixels, cancellation);
        if (!allowTruncated && !indices.All(found.ContainsKey) && list.Decoded is null)
        {
            // Either frames are lost, or not every packet is a frame. The latter comes without complaints.
            FrameList decoded = ListByDecoding(cancellation);
            if (ffmpeg.LastComplaint.Length is 0)
            {
                list = decoded;
                Info = Complete();
                (indices, found) = Decode(choose(Info), maxFramePixels, cancellation);
            }
        }

        int[] kept = [.. indices.Where(found.ContainsKey)];
        if ((kept.Length < indices.Length && !allowTruncated) || kept.Length is 0)
        {
            double at = Time(indices.First(i => !found.ContainsKey(i)));
            throw new MediaException(
                ffmpeg.Name,
                Invariant(
                    $"{kept.Length} of {indices.Length} frames could be decoded, the one at {at:0.###} s could not; the film is cut off or damaged; send the whole file, or accept what is there (allow truncated) ({ffmpeg.LastComplaint})"
                )
            );
        }

        return new VideoFrames(
            ffmpeg.Name,
            [.. kept.Select(i => found[i])],
            [.. kept.Select(Time)],
            kept,
            Info.Rate,
            indices.Length / (double)Info.Frames * Info.Rate,
            Info.Duration
        );
    }

    /// <summary>Reads the frames at these indices.</summary>
    /// <param name="indices">From 0, ascending; one may be there twice.</param>
    /// <param name="allowTruncated">Take the frames that are there of a film that is cut off or damaged.</param>
    /// <param name="maxFramePixels">Scale larger frames down to at most this while they are decoded; off by default.</param>
    /// <param name="cancellation">Ends the programs at work.</param>
    /// <exception cref="MediaException">The film is cut off or damaged, or more is asked for than the limits accept.</exception>
    public VideoFrames Read(
        IReadOnlyList<int> indices,
        bool allowTruncated = false,
        long? maxFramePixels = null,
        CancellationToken cancellation = default
    ) => Read(_ => indices, allowTruncated, maxFramePixels, cancellation);

    /// <summary>Deletes the temporary file, if there is one.</summary>
    public void Dispose()
    {
        if (temporary is not null && Directory.Exists(temporary))
        {
            Directory.Delete(temporary, recursive: true);
        }
    }

    (int[] Indices, Dictionary<int, RgbImage> Found) Decode(
        IReadOnlyList<int> chosen,
        long? maxFramePixels,
        CancellationToken cancellation
    )
    {
        int[] indices = [.. chosen];
        if (indices.Length is 0)
        {
            throw new ArgumentException($"{ffmpeg.Name}: no frame is asked for", nameof(chosen));
        }

        for (int i = 0; i < indices.Length; i++)
        {
            if (indices[i] < (i > 0 ? indices[i - 1] : 0) || indices[i] >= Info.Frames)
            {
                throw new ArgumentException(
                    $"{ffmpeg.Name}: index {indices[i]} at place {i}; ascending ones from 0 to {Info.Frames - 1} are expected",
                    nameof(chosen)
                );
            }
        }

        (int width, int height) = ScaledSize(maxFramePixels);
        int[] distinct = [.. indices.Distinct()];
        ffmpeg.Limits.CheckTaken(ffmpeg.Name, distinct.Length, width, height);
        return (indices, new FrameReader(ffmpeg, Info, list, (width, height)).Read(distinct, cancellation));
    }

    (int Width, int Height) ScaledSize(long? maxPixels)
    {
        double scale = maxPixels is { } most ? Math.Sqrt(most / ((double)Info.Width * Info.Height)) : 1;
        return scale >= 1
            ? (Info.Width, Info.Height)
            : (Math.Max(1, (int)(Info.Width * scale)), Math.Max(1, (int)(Info.Height * scale)));
    }

    static string Resolve(string path, string name)
    {
        try
        {
            FileInfo file = new(path);
            FileSystemInfo target = file.Exists ? file.ResolveLinkTarget(returnFinalTarget: true) ?? file : file;
            return File.Exists(target.FullName)
                ? target.FullName
                : throw new MediaException(name, "there is no such file");
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or ArgumentException)
        {
            throw new MediaException(name, $"the file cannot be read: {e.Message}", e);
        }
    }

    VideoInfo ReadHeader(string path, CancellationToken cancellation)
    {
        const string show =
            "stream=codec_name,width,height,time_base,avg_frame_rate,nb_frames:stream_side_data=rotation:format=format_name,duration";
        byte[] said = ffmpeg.Probe(show, "json=c=1", 1 << 20, ReadAll, cancellation);
        using JsonDocument json = JsonDocument.Parse(said);
        JsonElement root = json.RootElement;
        JsonElement format = root.GetProperty("format");
        string container = Text(format, "format_name") ?? "";
        JsonElement streams = root.GetProperty("streams");
        if (streams.GetArrayLength() is 0)
        {
            throw new MediaException(ffmpeg.Name, $"a {container} file without a video in it; a film is expected");
        }

        JsonElement stream = streams[0];
        string codec = Text(stream, "codec_name") ?? "unknown";
        if (!Ffmpeg.Knows(codec))
        {
            throw new MediaException(
                ffmpeg.Name,
                $"its video is coded as '{codec}', which is not read; convert it to H.264: ffmpeg -i FILE -c:v libx264 -crf 12 OUT.mp4"
            );
        }

        (int width, int height) = (Integer(stream, "width") ?? 0, Integer(stream, "height") ?? 0);
        (int numerator, int denominator) = Ratio(stream, "time_base");
        if (width < 1 || height < 1 || numerator < 1 || denominator < 1)
        {
            throw new MediaException(
                ffmpeg.Name,
                $"frames of {width} x {height} pixels with a time base of {numerator}/{denominator} s: its header is damaged, its frames are larger than ffmpeg takes, or the file is cut off"
            );
        }

        ffmpeg.Limits.CheckSize(ffmpeg.Name, width, height);
        _ = double.TryParse(Text(format, "duration"), CultureInfo.InvariantCulture, out double duration);
        ffmpeg.Limits.CheckDuration(ffmpeg.Name, duration);
        (int frames, int seconds) = Ratio(stream, "avg_frame_rate");
        double rate = frames > 0 && seconds > 0 ? (double)frames / seconds : 0;
        VideoInfo info = new(container, codec, width, height, Rotation(stream), new(numerator, denominator), rate);

        using FileStream file = new(path, FileMode.Open, FileAccess.Read, FileShare.Read);
        string? truncation = ContainerEnd.DescribeMissing(file, container);
        // AVI counts empty chunks, too.
        int? counted = container.StartsWith("mov", StringComparison.Ordinal) ? Integer(stream, "nb_frames") : null;
        int? estimated = rate > 0 && duration > 0 ? (int)Math.Min(int.MaxValue, Math.Round(duration * rate)) : null;
        return info with { Truncation = truncation, ExpectedFrames = counted ?? estimated };
    }

    FrameList? ListPackets(CancellationToken cancellation) =>
        ffmpeg.Probe(
            "packet=pts,duration,flags",
            "csv=p=0",
            // A line has at most some 60 characters.
            (80L * ffmpeg.Limits.MaxPackets) + (1 << 16),
            output => FrameList.FromPackets(output, count => ffmpeg.Limits.CheckPackets(ffmpeg.Name, count)),
            cancellation
        );

    FrameList ListByDecoding(CancellationToken cancellation)
    {
        long?[] stamps = [];
        ffmpeg.Decode(
            [
                [],
            ],
            Invariant($"[0:V:0]trim=end_frame={ffmpeg.Limits.MaxPackets + 1L},{FrameReader.Print(0)}[out]"),
            ["-f", "null", "-"],
            FrameReader.Threads,
            outputBytes: 0,
            output => output.CopyTo(Stream.Null),
            directory => stamps = [.. FrameReader.ReadStamps(directory, 0)],
            cancellation
        );
        ffmpeg.Limits.CheckPackets(ffmpeg.Name, stamps.Length);
        if (stamps.Length is 0)
        {
            throw new MediaException(
                ffmpeg.Name,
                $"its video has no frames that can be decoded ({ffmpeg.LastComplaint})"
            );
        }

        double rate = header.NominalRate > 0 ? header.NominalRate : 25;
        double step = header.TimeBase.Denominator / (rate * header.TimeBase.Numerator);
        return FrameList.FromDecoder(stamps, (long)Math.Max(1, Math.Round(step)));
    }

    /// <summary>What the list of frames adds to the header.</summary>
    VideoInfo Complete()
    {
        long[] pts = list.Pts;
        long[] steps = [.. pts.Zip(pts.Skip(1), (a, b) => b - a)];
        double mean = steps.Length > 0 ? steps.Average() : 0;
        double last =
            list.LastDuration > 0 ? list.LastDuration
            : mean > 0 ? mean
            : header.NominalRate > 0 ? header.TimeBase.Denominator / (header.NominalRate * header.TimeBase.Numerator)
            : 0;
        double duration = header.TimeBase.Seconds(pts[^1] - pts[0]) + (last * header.TimeBase.Seconds(1));
        ffmpeg.Limits.CheckDuration(ffmpeg.Name, duration);
        // One picture without any time counts as a second.
        double counted = duration > 0 ? pts.Length / duration : 1;
        bool borneOut = Math.Abs((header.NominalRate * duration) - pts.Length) <= 1 && header.NominalRate > 0;
        return header with
        {
            Frames = pts.Length,
            Duration = duration,
            Rate = borneOut ? header.NominalRate : counted,
            IsVariableRate = steps.Any(step => Math.Abs(step - mean) > Math.Max(1.5, mean / 20)),
        };
    }

    static string Invariant(FormattableString text) => FormattableString.Invariant(text);

    static byte[] ReadAll(Stream stream)
    {
        using MemoryStream bytes = new();
        stream.CopyTo(bytes);
        return bytes.ToArray();
    }

    static int Rotation(JsonElement stream)
    {
        if (stream.TryGetProperty("side_data_list", out JsonElement sides))
        {
            foreach (JsonElement side in sides.EnumerateArray())
            {
                if (
                    side.TryGetProperty("rotation", out JsonElement rotation)
                    && rotation.TryGetDouble(out double degrees)
                )
                {
                    return (((int)Math.Round(degrees) % 360) + 360) % 360;
                }
            }
        }

        return 0;
    }

    static string? Text(JsonElement element, string name) =>
        element.TryGetProperty(name, out JsonElement value) ? value.GetString() : null;

    static int? Integer(JsonElement element, string name) =>
        !element.TryGetProperty(name, out JsonElement value) ? null
        : value.ValueKind is JsonValueKind.Number && value.TryGetInt32(out int number) ? number
        : int.TryParse(value.ToString(), out int parsed) ? parsed
        : null;

    static (int Numerator, int Denominator) Ratio(JsonElement element, string name)
    {
        string[] parts = (Text(element, name) ?? "").Split('/');
        return parts.Length is 2 && int.TryParse(parts[0], out int n) && int.TryParse(parts[1], out int d)
            ? (n, d)
            : (0, 0);
    }
}
