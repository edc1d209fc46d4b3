using System.Diagnostics;
using System.Globalization;
using VlmSharp.Media.Images;
using VlmSharp.Media.Processes;

namespace VlmSharp.Media.Video;

/// <summary>A film as ffprobe and ffmpeg are given it: containers and codecs from a list, local files only, within limits.</summary>
/// <param name="path">Absolute path of the file.</param>
/// <param name="name">What errors call it.</param>
/// <param name="limits">What is accepted.</param>
sealed class Ffmpeg(string path, string name, VideoLimits limits)
{
    /// <summary>What is accepted, for people.</summary>
    internal const string Accepted = "MP4, MOV, Matroska, WebM, AVI, MPEG-TS, MPEG-PS, FLV, ASF/WMV, Ogg or NUT";

    // Containers that carry frames with times and name no other files. Playlists, concat scripts, subtitles and picture patterns are not here.
    const string Containers = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,flv,asf,ogg,nut";

    // Names of codecs, and of their decoders where those are called otherwise.
    const string Codecs =
        "h264,hevc,vp8,libvpx,vp9,libvpx-vp9,av1,libdav1d,libaom-av1,mpeg4,mpeg1video,mpeg2video,msmpeg4v1,msmpeg4,msmpeg4v2,msmpeg4v3,"
        + "h263,h263i,h263p,flv,flv1,vp6,vp6a,vp6f,wmv1,wmv2,wmv3,vc1,theora,mjpeg,png,prores,dnxhd,dvvideo,cfhd,ffv1,huffyuv,ffvhuff,utvideo,"
        + "rawvideo,qtrle,svq1,svq3,cinepak";

    static readonly ExternalProgram Probing = new("ffprobe", "ffmpeg");
    static readonly ExternalProgram Decoding = new("ffmpeg", "ffmpeg");

    readonly Stopwatch work = new();

    /// <summary>What errors call the film.</summary>
    internal string Name => name;

    /// <summary>What is accepted.</summary>
    internal VideoLimits Limits => limits;

    internal static bool Knows(string codec) => Codecs.Split(',').Contains(codec);

    /// <summary>Runs ffprobe on the film's video and hands its output to a function.</summary>
    /// <param name="show">What is shown: <c>packet=pts,flags</c>.</param>
    /// <param name="format">How: <c>json</c>, <c>csv=p=0</c>.</param>
    /// <param name="outputBytes">At most so much.</param>
    /// <param name="read">Reads the output to its end.</param>
    /// <param name="cancellation">Ends it.</param>
    internal T Probe<T>(
        string show,
        string format,
        long outputBytes,
        Func<Stream, T> read,
        CancellationToken cancellation
    )
    {
        string[] arguments =
        [
            "-v",
            "error",
            "-select_streams",
            "V:0",
            "-show_entries",
            show,
            "-of",
            format,
            .. OnlyFiles,
            "-i",
            "file:" + path,
        ];
        using Turn turn = new(work);
        using ChildProcess child = ChildProcess.Start(
            Probing,
            arguments,
            name,
            Allowance(outputBytes),
            cancellation: cancellation
        );
        T result = read(child.Output);
        if (child.WaitForExit() is not 0 and <= 128)
        {
            throw new MediaException(
                name,
                $"not a film that can be read; {Accepted} with a video in it is expected, whole ({Said(child)})"
            );
        }

        child.Finish();
        return result;
    }

    /// <summary>Runs ffmpeg and hands what it writes to a function, and then its working directory to another one.</summary>
    /// <param name="inputs">How often the film is opened, each with its own options.</param>
    /// <param name="filters">A graph from <c>[i:V:0]</c> to <c>[out]</c>.</param>
    /// <param name="output">What becomes of <c>[out]</c>.</param>
    /// <param name="threads">Threads of each decoder.</param>
    /// <param name="outputBytes">At most so much.</param>
    /// <param name="read">Reads the output to its end.</param>
    /// <param name="finish">Looks at the files that filters have written.</param>
    /// <param name="cancellation">Ends it.</param>
    internal void Decode(
        IReadOnlyList<string[]> inputs,
        string filters,
        string[] output,
        int threads,
        long outputBytes,
        Action<Stream> read,
        Action<string> finish,
        CancellationToken cancellation
    )
    {
        List<string> arguments = ["-nostdin", "-hide_banner", "-v", "error", "-copyts", "-filter_complex_threads", "1"];
        foreach (string[] input in inputs)
        {
            arguments.AddRange(OnlyFiles);
            // Decoders work on sides rounded up to whole blocks.
            arguments.AddRange(["-codec_whitelist", Codecs, "-max_pixels", Text(limits.MaxPixels + (1 << 20))]);
            arguments.AddRange(["-threads", Text(threads), "-an", "-sn", "-dn", .. input, "-i", "file:" + path]);
        }

        arguments.AddRange(["-filter_complex", filters, "-map", "[out]", "-fps_mode", "passthrough", .. output]);
        using Turn turn = new(work);
        using ChildProcess child = ChildProcess.Start(
            Decoding,
            arguments,
            name,
            Allowance(outputBytes),
            cancellation: cancellation
        );
        read(child.Output);
        int code = child.WaitForExit();
        if (code > 128)
        {
            child.Finish();
        }

        // Another exit code, or complaints, may come with all the frames that were asked for: what counts is what came.
        LastComplaint = Said(child);
        finish(child.WorkingDirectory);
    }

    /// <summary>What ffmpeg said at last.</summary>
    internal string LastComplaint { get; private set; } = "";

    // Without a list of codecs for ffprobe: it refuses a film whose sound is not on it. Decoding looks at the video alone.
    static readonly string[] OnlyFiles = ["-protocol_whitelist", "file", "-format_whitelist", Containers];

    static string Text(long number) => number.ToString(CultureInfo.InvariantCulture);

    ProcessLimits Allowance(long outputBytes)
    {
        TimeSpan left = limits.MaxWork - work.Elapsed;
        return left > TimeSpan.Zero
            ? new ProcessLimits(left, outputBytes)
            : throw new MediaException(
                name,
                $"reading it has taken the {limits.MaxWork.TotalSeconds:0.###} s that are the limit ({nameof(VideoLimits)}.{nameof(VideoLimits.MaxWork)})"
            );
    }

    /// <summary>The last lines of standard error, without addresses in memory.</summary>
    static string Said(ChildProcess child)
    {
        string text = string.Join("; ", child.ErrorText().Split('\n').TakeLast(3));
        const string address = " @ 0x";
        for (int at = text.IndexOf(address, StringComparison.Ordinal); at >= 0; )
        {
            int end = at + address.Length;
            while (end < text.Length && char.IsAsciiHexDigit(text[end]))
            {
                end++;
            }

            text = text.Remove(at, end - at);
            at = text.IndexOf(address, at, StringComparison.Ordinal);
        }

        return text;
    }

    /// <summary>Lets the clock run while a program works.</summary>
    readonly ref struct Turn
    {
        readonly Stopwatch clock;

        internal Turn(Stopwatch clock)
        {
            this.clock = clock;
            clock.Start();
        }

        public void Dispose() => clock.Stop();
    }
}
