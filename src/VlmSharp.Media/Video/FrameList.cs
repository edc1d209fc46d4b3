using System.Text;

namespace VlmSharp.Media.Video;

/// <summary>The frames of a film in the order in which they are shown.</summary>
/// <param name="Pts">[frames]: ascending, each once, in units of the time base.</param>
/// <param name="IsKey">[frames]: whether decoding can begin there.</param>
/// <param name="LastDuration">How long the last one is shown, in units of the time base; 0 where nothing says it.</param>
/// <param name="Decoded">[frames]: the time stamps as the decoder gave them, null where it gave none, if the film was decoded to list its
/// frames: they are then known by their order. Null if they come from packets and are known by their time stamps.</param>
sealed record FrameList(long[] Pts, bool[] IsKey, long LastDuration, long?[]? Decoded)
{
    /// <summary>From ffprobe's <c>packet=pts,duration,flags</c>, in order of decoding.</summary>
    /// <remarks>
    /// Packets that an edit list discards are no frames, nor are those before the first key frame: a broadcast that was cut
    /// anywhere begins with some that nothing can decode.
    /// </remarks>
    /// <returns>null where a packet has no time stamp</returns>
    internal static FrameList? FromPackets(Stream csv, Action<int> checkCount)
    {
        List<Entry> entries = [];
        bool anyKey = false;
        bool exact = true;
        foreach (string[] fields in Rows(csv))
        {
            bool key = fields.Length > 2 && fields[2].Contains('K', StringComparison.Ordinal);
            bool discarded = fields.Length > 2 && fields[2].Contains('D', StringComparison.Ordinal);
            if (key && !anyKey)
            {
                anyKey = true;
                entries.Clear();
                exact = true;
            }

            if (discarded)
            {
                continue;
            }

            exact &= Add(entries, fields, key);
            checkCount(entries.Count);
        }

        Entry[] sorted = [.. entries.OrderBy(e => e.Pts).DistinctBy(e => e.Pts)];
        return exact && sorted.Length > 0
            ? new(
                [.. sorted.Select(e => e.Pts)],
                [.. sorted.Select(e => e.IsKey)],
                Math.Max(0, sorted[^1].Duration),
                null
            )
            : null;
    }

    /// <summary>From what a decoder gave. A frame without a time stamp of its own comes one step after the one before it.</summary>
    /// <param name="stamps">[frames], in order</param>
    /// <param name="step">Units of the time base from frame to frame, by the nominal rate; at least 1.</param>
    internal static FrameList FromDecoder(long?[] stamps, long step)
    {
        long[] pts = new long[stamps.Length];
        for (int i = 0; i < pts.Length; i++)
        {
            long least = i > 0 ? pts[i - 1] + 1 : long.MinValue;
            long next = i > 0 ? pts[i - 1] + step : 0;
            pts[i] = stamps[i] is { } stamp && stamp >= least ? stamp : next;
        }

        return new(pts, new bool[pts.Length], 0, stamps);
    }

    static bool Add(List<Entry> entries, string[] fields, bool key)
    {
        if (!long.TryParse(fields[0], out long pts))
        {
            return false;
        }

        _ = long.TryParse(fields.Length > 1 ? fields[1] : "", out long duration);
        entries.Add(new Entry(pts, key, duration));
        return true;
    }

    /// <summary>The fields of each line; side data leaves empty lines behind.</summary>
    static IEnumerable<string[]> Rows(Stream csv)
    {
        using StreamReader reader = new(csv, Encoding.UTF8, false, 1 << 16, leaveOpen: true);
        while (reader.ReadLine() is { } line)
        {
            if (line.Length > 0)
            {
                yield return line.Split(',');
            }
        }
    }

    readonly record struct Entry(long Pts, bool IsKey, long Duration);
}
