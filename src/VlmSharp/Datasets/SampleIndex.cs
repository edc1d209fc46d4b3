using System.Buffers;
using Microsoft.Win32.SafeHandles;

namespace VlmSharp.Datasets;

/// <summary>Where a sample stands in its file.</summary>
/// <param name="Offset">Of its first byte.</param>
/// <param name="Length">Bytes.</param>
/// <param name="Line">Of its first byte, from 1.</param>
/// <param name="Pack">Which pack of the file it belongs to, from 0; -1 for none.</param>
readonly record struct SampleEntry(long Offset, long Length, int Line, int Pack = -1);

/// <summary>Finds the samples of a file in one pass that keeps nothing but where they are.</summary>
static class SampleIndex
{
    const int BufferBytes = 1 << 20;

    static readonly SearchValues<byte> Structure = SearchValues.Create("\"[]{},\n"u8);
    static readonly SearchValues<byte> InText = SearchValues.Create("\"\\\n"u8);

    /// <summary>The lines of a file, blank ones left out.</summary>
    public static List<SampleEntry> Lines(SafeFileHandle file, long start)
    {
        List<SampleEntry> entries = [];
        byte[] buffer = new byte[BufferBytes];
        (long lineStart, int line, bool content) = (start, 1, false);
        for (long at = start; ; )
        {
            ReadOnlySpan<byte> left = buffer.AsSpan(0, RandomAccess.Read(file, buffer, at));
            if (left.IsEmpty)
            {
                break;
            }

            while (!left.IsEmpty)
            {
                int end = left.IndexOf((byte)'\n');
                ReadOnlySpan<byte> piece = end < 0 ? left : left[..end];
                content = content || piece.ContainsAnyExcept(" \t\r"u8);
                at += piece.Length;
                left = left[piece.Length..];
                if (end >= 0)
                {
                    End(at);
                    left = left[1..];
                    lineStart = ++at;
                    line++;
                }
            }
        }

        End(RandomAccess.GetLength(file));
        return entries;

        void End(long end)
        {
            if (content)
            {
                entries.Add(new SampleEntry(lineStart, end - lineStart, line));
            }

            content = false;
        }
    }

    /// <summary>The items of a JSON list, which need not be JSON themselves.</summary>
    /// <param name="file">The file.</param>
    /// <param name="start">Where the list opens.</param>
    /// <param name="length">Bytes from there to look at.</param>
    /// <param name="line">The line there.</param>
    /// <param name="fault">What is wrong with the list itself, and on which line; null if nothing is.</param>
    public static List<SampleEntry> List(
        SafeFileHandle file,
        long start,
        long length,
        int line,
        out (int Line, string Message)? fault
    )
    {
        ListScan scan = new(line);
        byte[] buffer = new byte[Math.Min(BufferBytes, length)];
        long end = start + length;
        for (long at = start; at < end; )
        {
            int read = RandomAccess.Read(file, buffer.AsSpan(0, (int)Math.Min(buffer.Length, end - at)), at);
            if (read == 0)
            {
                break;
            }

            scan.Add(buffer.AsSpan(0, read), at);
            at += read;
        }

        scan.End(end);
        fault = scan.Fault;
        return scan.Entries;
    }

    /// <summary>A scan for commas and brackets that are not in strings.</summary>
    sealed class ListScan(int line)
    {
        int depth; // 1 between the items
        int line = line;
        bool text;
        bool escaped;
        bool closed;
        bool comma; // an item must follow
        long item = -1; // where it begins
        int itemLine;

        public List<SampleEntry> Entries { get; } = [];

        public (int, string)? Fault { get; private set; }

        public void Add(ReadOnlySpan<byte> bytes, long offset)
        {
            for (int i = 0; i < bytes.Length; i++)
            {
                if (escaped)
                {
                    escaped = false;
                    continue;
                }

                if (item >= 0)
                {
                    int skip = bytes[i..].IndexOfAny(text ? InText : Structure);
                    if (skip < 0)
                    {
                        return;
                    }

                    i += skip;
                }

                byte c = bytes[i];
                if (c == '\n')
                {
                    line++;
                }

                if (text)
                {
                    text = c != '"';
                    escaped = c == '\\';
                }
                else if (!(c is (byte)' ' or (byte)'\t' or (byte)'\r' or (byte)'\n'))
                {
                    Structural(c, offset + i);
                }
            }
        }

        void Structural(byte c, long at)
        {
            if (closed)
            {
                Fault ??= (line, "something follows the end of the list");
                return;
            }

            if (depth == 1 && c is (byte)',' or (byte)']')
            {
                Close(at, c == ',');
                return;
            }

            if (depth == 1 && item < 0)
            {
                (item, itemLine) = (at, line);
            }

            switch (c)
            {
                case (byte)'"':
                    text = true;
                    break;
                case (byte)'[' or (byte)'{':
                    depth++;
                    break;
                case (byte)']' or (byte)'}':
                    depth = Math.Max(1, depth - 1); // what closes nothing makes its item no JSON
                    break;
            }
        }

        void Close(long at, bool another)
        {
            if (item >= 0)
            {
                Entries.Add(new SampleEntry(item, at - item, itemLine));
                item = -1;
            }
            else if (another || comma)
            {
                Fault ??= (
                    line,
                    another ? "a sample is missing before a comma" : "a comma stands before the end of the list"
                );
            }

            comma = another;
            closed = !another;
        }

        public void End(long end)
        {
            bool complete = depth == 1 && !text;
            if (item >= 0)
            {
                Entries.Add(new SampleEntry(item, end - item, itemLine)); // where it is not complete, its own error says so
            }

            if (!closed && (complete || item < 0))
            {
                Fault ??= (line, "the list never ends");
            }
        }
    }
}
