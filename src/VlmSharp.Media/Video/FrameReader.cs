using System.Globalization;
using System.Text;
using VlmSharp.Media.Images;

namespace VlmSharp.Media.Video;

/// <summary>Decodes chosen frames of a film. What came back is told by the time stamps the decoder gave, not by its order.</summary>
/// <remarks>
/// Few frames of a long film are read by jumping to the key frame before each; one ffmpeg process opens the film several times
/// and lines the pieces up. Many, or those of containers without a reliable index, are read in one pass from the beginning. A
/// jump that brings anything but the frames that were asked for is repaired by such a pass.
/// </remarks>
sealed class FrameReader(Ffmpeg ffmpeg, VideoInfo info, FrameList list, (int Width, int Height) size)
{
    // Opening the film once more and setting up a decoder costs about as much as decoding so many frames.
    const int JumpCost = 40;
    const int JumpsPerProcess = 16;

    // So that the expression that chooses them fits into an argument.
    const int FramesPerPass = 1024;

    readonly Dictionary<int, RgbImage> found = [];

    /// <summary>Threads of a decoder that works alone.</summary>
    internal static int Threads => Math.Min(Environment.ProcessorCount, 8);

    /// <summary>Reads frames.</summary>
    /// <param name="wanted">Positions in the list, ascending, each once.</param>
    /// <param name="cancellation">Ends it.</param>
    /// <returns>the frames that are there, by their positions</returns>
    internal Dictionary<int, RgbImage> Read(int[] wanted, CancellationToken cancellation)
    {
        List<int[]> jumps = Jumps(wanted);
        if (CanJump && jumps.Sum(jump => jump[^1] - KeyBefore(jump[0]) + 1 + JumpCost) < wanted[^1] + 1 + JumpCost)
        {
            int begin = 0;
            for (int i = 1; i <= jumps.Count; i++)
            {
                bool full =
                    i - begin == JumpsPerProcess
                    || i == jumps.Count
                    || jumps[begin..(i + 1)].Sum(jump => jump.Length) > FramesPerPass;
                if (full)
                {
                    Run([.. jumps[begin..i]], jump: true, cancellation);
                    begin = i;
                }
            }
        }

        int[] missing = [.. wanted.Where(i => !found.ContainsKey(i))];
        foreach (int[] pass in missing.Chunk(FramesPerPass))
        {
            Run([pass], jump: false, cancellation);
        }

        return found;
    }

    /// <summary>All time stamps that ffmpeg prints of the frames that pass a filter, in a file of its working directory.</summary>
    /// <remarks>The only way in which a filter tells them is to print the metadata of a frame; so there must be some.</remarks>
    internal static string Print(int file) =>
        Invariant($"metadata=mode=add:key=vlm:value=1,metadata=mode=print:key=vlm:file={file}.txt");

    /// <summary>Reads what <see cref="Print"/> had printed; null for a frame without a time stamp.</summary>
    internal static IEnumerable<long?> ReadStamps(string directory, int file)
    {
        string path = Path.Combine(directory, Invariant($"{file}.txt"));
        return File.Exists(path) ? File.ReadLines(path).Where(IsStamp).Select(Stamp) : [];
    }

    // These have an index, and every frame has a time stamp of its own in the file.
    bool CanJump =>
        list.Decoded is null
        && (
            info.Container.StartsWith("mov", StringComparison.Ordinal)
            || info.Container.StartsWith("matroska", StringComparison.Ordinal)
        );

    /// <summary>Cuts the wanted frames into pieces between which it pays to jump.</summary>
    List<int[]> Jumps(int[] wanted)
    {
        List<int[]> jumps = [];
        int begin = 0;
        for (int i = 1; i <= wanted.Length; i++)
        {
            bool cut =
                i == wanted.Length || KeyBefore(wanted[i]) - wanted[i - 1] > JumpCost || i - begin == FramesPerPass / 4;
            if (cut)
            {
                jumps.Add(wanted[begin..i]);
                begin = i;
            }
        }

        return jumps;
    }

    int KeyBefore(int index)
    {
        int key = Array.LastIndexOf(list.IsKey, true, index);
        return Math.Max(0, key);
    }

    void Run(int[][] pieces, bool jump, CancellationToken cancellation)
    {
        List<string[]> inputs = [];
        StringBuilder graph = new();
        for (int i = 0; i < pieces.Length; i++)
        {
            long first = list.Pts[pieces[i][0]];
            long last = list.Pts[pieces[i][^1]];
            // Time stamps below zero cannot be asked for: -ss counts those from the end.
            inputs.Add(jump && first > 0 ? ["-noaccurate_seek", "-seek_timestamp", "1", "-ss", Seconds(first)] : []);
            string end = list.Decoded is null
                ? Invariant($"end_pts={last + 1}")
                : Invariant($"end_frame={pieces[i][^1] + 1}");
            string choose = Choose(pieces[i], list.Decoded is null ? "pts" : "n");
            string label = pieces.Length > 1 ? Invariant($"[s{i}];") : "[out]";
            graph.Append(
                Invariant(
                    $"[{i}:V:0]trim={end},select='{choose}',scale={size.Width}:{size.Height}:flags={Scaler},format=rgb24,{Print(i)},settb=1/25,setpts=N{label}"
                )
            );
        }

        if (pieces.Length > 1)
        {
            graph.Append(string.Concat(pieces.Select((_, i) => Invariant($"[s{i}]"))));
            graph.Append(Invariant($"concat=n={pieces.Length},settb=1/25,setpts=N[out]"));
        }

        int count = pieces.Sum(piece => piece.Length);
        int frameBytes = checked(3 * size.Width * size.Height);
        List<RgbImage> frames = new(count);
        ffmpeg.Decode(
            inputs,
            graph.ToString(),
            ["-f", "rawvideo", "-pix_fmt", "rgb24", "pipe:1"],
            pieces.Length > 1 ? 2 : Threads,
            // A stream may have several frames of one time stamp.
            frameBytes * (2L * count + 16),
            pixels => ReadFrames(pixels, frameBytes, frames),
            directory => Keep(pieces, jump, directory, frames),
            cancellation
        );
    }

    // Only sizes that were asked for are scaled to; the average over the area shows no patterns that are not there.
    string Scaler => size == (info.Width, info.Height) ? "bicubic" : "area";

    void ReadFrames(Stream pixels, int frameBytes, List<RgbImage> frames)
    {
        while (true)
        {
            byte[] bytes = GC.AllocateUninitializedArray<byte>(frameBytes);
            int read = pixels.ReadAtLeast(bytes, frameBytes, throwOnEndOfStream: false);
            if (read < frameBytes)
            {
                return;
            }

            frames.Add(new RgbImage(size.Width, size.Height, bytes));
        }
    }

    void Keep(int[][] pieces, bool jumped, string directory, List<RgbImage> frames)
    {
        long?[] stamps = [.. Enumerable.Range(0, pieces.Length).SelectMany(i => ReadStamps(directory, i))];

        // When the size changes within the film ffmpeg begins its filters and their files anew. Stamps without frames are left
        // where it gave up in between.
        if (stamps.Length < frames.Count)
        {
            throw new MediaException(
                ffmpeg.Name,
                $"{frames.Count} frames with {stamps.Length} time stamps came from ffmpeg; the size of the frames changes within the film, or it is damaged; convert it to one size ({ffmpeg.LastComplaint})"
            );
        }

        // A decoder that was put down where it cannot begin says so, and may show a picture all the same.
        if (jumped && ffmpeg.LastComplaint.Length > 0)
        {
            return;
        }

        int[] wanted = [.. pieces.SelectMany(piece => piece)];
        for (int i = 0; i < frames.Count; i++)
        {
            if (list.Decoded is not { } decoded)
            {
                int index = stamps[i] is { } stamp ? Array.BinarySearch(list.Pts, stamp) : -1;
                if (index >= 0)
                {
                    found.TryAdd(index, frames[i]);
                }
            }
            else if (i < wanted.Length && decoded[wanted[i]] == stamps[i])
            {
                found.TryAdd(wanted[i], frames[i]);
            }
        }
    }

    // frame:0    pts:16384   pts_time:1.28
    static bool IsStamp(string line) => line.StartsWith("frame:", StringComparison.Ordinal);

    static long? Stamp(string line)
    {
        int begin = line.IndexOf("pts:", StringComparison.Ordinal) + 4;
        int end = line.IndexOf(' ', begin);
        return
            end > begin
            && long.TryParse(
                line[begin..end],
                NumberStyles.AllowLeadingSign,
                CultureInfo.InvariantCulture,
                out long stamp
            )
            ? stamp
            : null;
    }

    /// <summary>An expression that is true for the frames at these positions; a tree, because it is evaluated for every frame of the film.</summary>
    string Choose(ReadOnlySpan<int> piece, string variable)
    {
        int half = piece.Length / 2;
        long value = list.Decoded is null ? list.Pts[piece[half]] : piece[half];
        return piece.Length is 1
            ? Invariant($"eq({variable},{value})")
            : Invariant(
                $"if(lt({variable},{value}),{Choose(piece[..half], variable)},{Choose(piece[half..], variable)})"
            );
    }

    // Rounded up, so that a key frame that is wanted is not passed over for the one before it.
    string Seconds(long pts) =>
        Invariant(
            $"{Math.Ceiling((decimal)pts * info.TimeBase.Numerator * 1_000_000 / info.TimeBase.Denominator) / 1_000_000}"
        );

    static string Invariant(FormattableString text) => FormattableString.Invariant(text);
}
