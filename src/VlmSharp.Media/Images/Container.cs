using System.Buffers.Binary;

namespace VlmSharp.Media.Images;

/// <summary>Walks the outer structure of a file, without decoding: where it should end, and what would take for ever.</summary>
internal static class Container
{
    /// <summary>A JPEG with more scans is refused; an ordinary progressive one has about ten.</summary>
    /// <remarks>Every scan, however short, passes over all coefficients: a small file can ask for hours of work.</remarks>
    internal const int MaxJpegScans = 100;

    /// <summary>Why a file ends too early, or null if its outer structure is whole or does not say.</summary>
    internal static string? DescribeMissingEnd(ImageFormat format, ReadOnlySpan<byte> bytes)
    {
        if (format == ImageFormat.Jpeg)
        {
            return WalkJpeg(bytes).EndsProperly ? null : $"the {bytes.Length} bytes end before the JPEG's end marker";
        }

        if (format == ImageFormat.Png)
        {
            return DescribePng(bytes);
        }

        if (format == ImageFormat.Gif)
        {
            return DescribeGif(bytes);
        }

        if (format == ImageFormat.WebP)
        {
            // RIFF: the size counts from behind itself.
            long expected = 8L + BinaryPrimitives.ReadUInt32LittleEndian(bytes[4..]);
            return expected > bytes.Length ? $"its header says {expected} bytes, there are {bytes.Length}" : null;
        }

        return format == ImageFormat.Heif || format == ImageFormat.Avif ? DescribeBoxes(bytes) : null;
    }

    /// <summary>Counts scans from marker to marker, up to the end of the image.</summary>
    internal static (int Scans, bool EndsProperly) WalkJpeg(ReadOnlySpan<byte> bytes)
    {
        int scans = 0;
        int at = 2;
        while (true)
        {
            // Between segments and inside a scan: the next 0xFF that introduces a marker. 0xFF00 is a data byte, D0 to D7
            // are restart marks, 0xFF before 0xFF is padding.
            int skip = bytes[at..].IndexOf((byte)0xFF);
            if (skip < 0 || at + skip + 1 >= bytes.Length)
            {
                return (scans, false);
            }

            at += skip + 1;
            byte marker = bytes[at];
            if (marker is 0xFF)
            {
                continue;
            }

            at++;
            if (marker is 0x00 or 0x01 or (>= 0xD0 and <= 0xD8))
            {
                continue;
            }

            if (marker is 0xD9)
            {
                return (scans, true);
            }

            scans += marker is 0xDA ? 1 : 0;
            if (at + 2 > bytes.Length)
            {
                return (scans, false);
            }

            at += BinaryPrimitives.ReadUInt16BigEndian(bytes[at..]);
            if (at >= bytes.Length)
            {
                return (scans, false);
            }
        }
    }

    /// <summary>PNG: chunks of length, type, data and checksum, the last one IEND.</summary>
    static string? DescribePng(ReadOnlySpan<byte> bytes)
    {
        for (long at = 8; ; )
        {
            if (at + 8 > bytes.Length)
            {
                return $"the {bytes.Length} bytes end before the PNG's last chunk, IEND";
            }

            long end = at + 12 + BinaryPrimitives.ReadUInt32BigEndian(bytes[(int)at..]);
            if (bytes[(int)(at + 4)..].StartsWith("IEND"u8))
            {
                return null;
            }

            if (end > bytes.Length)
            {
                return $"the chunk at byte {at} needs {end} bytes of file, there are {bytes.Length}";
            }

            at = end;
        }
    }

    /// <summary>GIF: a header, then blocks whose data come in runs of up to 255 bytes. A missing trailer harms nobody.</summary>
    static string? DescribeGif(ReadOnlySpan<byte> bytes)
    {
        // Header and screen descriptor; a colour table follows where the top bit of the flags is set.
        const int Screen = 13;
        int at = bytes.Length < Screen ? Screen : Screen + ColourTable(bytes[10]);
        while (at < bytes.Length)
        {
            int block = at;
            switch (bytes[at])
            {
                case 0x2C when at + 10 <= bytes.Length:
                    // Descriptor, colour table, size of the first codes.
                    at += 10 + ColourTable(bytes[at + 9]) + 1;
                    break;
                case 0x21:
                    at += 2;
                    break;
                case 0x2C:
                    return $"the {bytes.Length} bytes end inside the block at byte {block}";
                default:
                    // The trailer, or something that is damaged, but not by its end.
                    return null;
            }

            while (at < bytes.Length && bytes[at] != 0)
            {
                at += 1 + bytes[at];
            }

            if (at >= bytes.Length)
            {
                return $"the {bytes.Length} bytes end inside the block at byte {block}";
            }

            at++;
        }

        return at > bytes.Length ? $"the {bytes.Length} bytes end inside the header" : null;

        static int ColourTable(byte flags) => (flags & 0x80) != 0 ? 3 << ((flags & 7) + 1) : 0;
    }

    /// <summary>HEIF and AVIF: boxes of length, type and data.</summary>
    static string? DescribeBoxes(ReadOnlySpan<byte> bytes)
    {
        for (long at = 0; at + 8 <= bytes.Length; )
        {
            long size = BinaryPrimitives.ReadUInt32BigEndian(bytes[(int)at..]);
            if (size is 1 && at + 16 <= bytes.Length)
            {
                size = BinaryPrimitives.ReadInt64BigEndian(bytes[(int)(at + 8)..]);
            }

            // 0: up to the end of the file. Less than a header: damaged, and not by its end.
            if (size is < 8)
            {
                return null;
            }

            if (size > bytes.Length - at)
            {
                return $"the box at byte {at} needs {(ulong)at + (ulong)size} bytes of file, there are {bytes.Length}";
            }

            at += size;
        }

        return null;
    }
}
