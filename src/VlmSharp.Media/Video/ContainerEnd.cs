using System.Buffers.Binary;
using System.Numerics;

namespace VlmSharp.Media.Video;

/// <summary>Whether a container ends where its outermost structure says; ffmpeg reads what is there and reports success.</summary>
static class ContainerEnd
{
    const int MaxBoxes = 1_000_000;

    /// <summary>What shows that a file is cut off, or null.</summary>
    /// <param name="file">Readable and seekable.</param>
    /// <param name="container">As ffprobe calls it.</param>
    internal static string? DescribeMissing(Stream file, string container) =>
        container.StartsWith("mov", StringComparison.Ordinal) ? Boxes(file)
        : container.StartsWith("matroska", StringComparison.Ordinal) ? Segment(file)
        : container.StartsWith("avi", StringComparison.Ordinal) ? Riff(file)
        : null;

    static string? Boxes(Stream file)
    {
        Span<byte> head = stackalloc byte[16];
        long at = 0;
        for (int i = 0; i < MaxBoxes && ReadAt(file, at, head[..8]); i++)
        {
            long size = BinaryPrimitives.ReadUInt32BigEndian(head);
            if (size is 1)
            {
                if (!ReadAt(file, at, head))
                {
                    return Ends("a box header", at + 16, file);
                }

                size = BinaryPrimitives.ReadInt64BigEndian(head[8..]);
            }

            // 0: to the end of the file. Anything else below a header's size is not a box: whoever wrote it stopped here.
            if (size < 8)
            {
                return null;
            }

            if (size > file.Length - at)
            {
                return Ends($"its box '{Printable(head[4..8])}'", at + (decimal)size, file);
            }

            at += size;
        }

        return null;
    }

    static string? Segment(Stream file)
    {
        Span<byte> head = stackalloc byte[12];
        head.Clear();
        if (!ReadAt(file, 0, head) || Vint(head[4..], out int taken) is not { } headerSize)
        {
            return null;
        }

        long at = 4 + taken;
        if (headerSize > file.Length - at || !ReadAt(file, at + headerSize, head))
        {
            return null;
        }

        at += headerSize;
        bool isSegment = BinaryPrimitives.ReadUInt32BigEndian(head) == 0x18538067;
        return isSegment && Vint(head[4..], out taken) is { } size && size > file.Length - at - 4 - taken
            ? Ends("its segment", at + 4m + taken + size, file)
            : null;
    }

    static string? Riff(Stream file)
    {
        Span<byte> head = stackalloc byte[8];
        long at = 0;
        while (ReadAt(file, at, head) && head[..4].SequenceEqual("RIFF"u8))
        {
            long size = BinaryPrimitives.ReadUInt32LittleEndian(head[4..]);
            if (size is 0 or uint.MaxValue)
            {
                return null;
            }

            if (size > file.Length - at - 8)
            {
                return Ends("its RIFF chunk", at + 8m + size, file);
            }

            at += 8 + size + (size & 1);
        }

        return null;
    }

    /// <summary>A variable-length integer of EBML; null for "unknown" or nonsense.</summary>
    static long? Vint(ReadOnlySpan<byte> bytes, out int taken)
    {
        taken = BitOperations.LeadingZeroCount((uint)bytes[0]) - 24 + 1;
        if (taken > 8 || taken > bytes.Length)
        {
            return null;
        }

        long value = bytes[0] & ((1 << (8 - taken)) - 1);
        for (int i = 1; i < taken; i++)
        {
            value = (value << 8) | bytes[i];
        }

        return value == (1L << (7 * taken)) - 1 ? null : value;
    }

    static bool ReadAt(Stream file, long at, Span<byte> bytes)
    {
        file.Position = at;
        return file.ReadAtLeast(bytes, bytes.Length, throwOnEndOfStream: false) == bytes.Length;
    }

    static string Ends(string what, decimal end, Stream file) =>
        $"{what} ends at byte {end}, the file has {file.Length} bytes";

    static string Printable(ReadOnlySpan<byte> type)
    {
        char[] text = new char[type.Length];
        for (int i = 0; i < text.Length; i++)
        {
            text[i] = type[i] is >= 0x20 and < 0x7F ? (char)type[i] : '?';
        }

        return new string(text);
    }
}
