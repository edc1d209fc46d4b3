using System.Buffers.Binary;

namespace VlmSharp.Media.Images.Slides;

/// <summary>What is known of one picture in a TIFF without decoding: its size, how it is stored, and what it is for.</summary>
/// <remarks>
/// Source: TIFF 6.0 and the BigTIFF design. Read here and not by libtiff because a reader must know of tiles and smaller copies
/// before it asks for pixels.
/// </remarks>
internal sealed record TiffDirectory
{
    // Real slides have ten, multi-page scans some hundreds.
    const int MaxDirectories = 4096;

    internal long Width { get; private set; }

    internal long Height { get; private set; }

    /// <summary>0 where the picture is stored in strips.</summary>
    internal long TileWidth { get; private set; }

    internal long TileHeight { get; private set; }

    internal bool IsTiled => TileWidth > 0 && TileHeight > 0;

    /// <summary>NewSubfileType: 1 is a smaller copy of another picture in the file; further bits say page or mask.</summary>
    internal long Kind { get; private set; }

    /// <summary>1 to 8; 1 where the file says nothing or nonsense.</summary>
    internal int Orientation { get; private set; } = 1;

    /// <summary>Micrometres between pixels of a row, where the file tells.</summary>
    internal double? MicronsPerPixel { get; private set; }

    /// <summary>Directories below this one, in the file's order.</summary>
    internal IReadOnlyList<TiffDirectory> Children { get; private set; } = [];

    /// <summary>The chain of directories of a file.</summary>
    /// <exception cref="MediaException">The chain is damaged.</exception>
    internal static IReadOnlyList<TiffDirectory> ReadAll(Stream file, string name) =>
        new Reader(file, name).ReadChain();

    sealed class Reader
    {
        const int Short = 3;
        const int Long = 4;
        const int Rational = 5;
        const int Directory = 13;
        const int Long8 = 16;
        const int Directory8 = 18;

        readonly Stream file;
        readonly string name;
        readonly bool little;
        readonly bool big;
        readonly HashSet<long> seen = [];

        internal Reader(Stream file, string name)
        {
            this.file = file;
            this.name = name;
            ReadOnlySpan<byte> head = Bytes(0, 4);
            little = head[0] == 'I';
            big = (little ? head[2] : head[3]) == 43;
        }

        internal List<TiffDirectory> ReadChain()
        {
            List<TiffDirectory> chain = [];
            long at = big ? (long)Number(Bytes(8, 8)) : (long)Number(Bytes(4, 4));
            while (at != 0)
            {
                chain.Add(Read(at, nested: false, out at));
            }

            return chain.Count > 0 ? chain : throw Damaged("it holds no picture");
        }

        TiffDirectory Read(long at, bool nested, out long next)
        {
            if (!seen.Add(at))
            {
                throw Damaged($"the directory at byte {at} comes twice");
            }

            if (seen.Count > MaxDirectories)
            {
                throw new MediaException(
                    name,
                    $"more than {MaxDirectories} pictures in one TIFF, which is all that is read"
                );
            }

            ulong count = Number(Bytes(at, big ? 8 : 2));
            int entrySize = big ? 20 : 12;
            if (count > 65535)
            {
                throw Damaged($"the directory at byte {at} says it has {count} entries");
            }

            byte[] entries = Bytes(at + (big ? 8 : 2), checked(((int)count * entrySize) + (big ? 8 : 4)));
            TiffDirectory directory = new();
            (double resolution, long unit, long[] below) = (0, 2, []);
            for (int i = 0; i < (int)count; i++)
            {
                Entry entry = ReadEntry(entries.AsSpan(i * entrySize, entrySize));
                switch (entry.Tag)
                {
                    case 254:
                        directory.Kind = Scalar(entry);
                        break;
                    case 256:
                        directory.Width = Scalar(entry);
                        break;
                    case 257:
                        directory.Height = Scalar(entry);
                        break;
                    case 274:
                        directory.Orientation = Scalar(entry) is >= 1 and <= 8 and var orientation
                            ? (int)orientation
                            : 1;
                        break;
                    case 282 when entry is { Type: Rational, Count: 1 }:
                        byte[] fraction = big ? entry.Inline : Bytes((long)Number(entry.Inline.AsSpan(0, 4)), 8);
                        resolution = (double)Number(fraction.AsSpan(0, 4)) / Math.Max(1, Number(fraction.AsSpan(4, 4)));
                        break;
                    case 296:
                        unit = Scalar(entry);
                        break;
                    case 322:
                        directory.TileWidth = Scalar(entry);
                        break;
                    case 323:
                        directory.TileHeight = Scalar(entry);
                        break;
                    case 330 when !nested:
                        below = Offsets(entry);
                        break;
                    default:
                        break;
                }
            }

            // 2 is inch, 3 is centimetre; 1 is a mere ratio.
            directory.MicronsPerPixel =
                resolution <= 0 ? null
                : unit == 2 ? 25400 / resolution
                : unit == 3 ? 10000 / resolution
                : null;
            directory.Children = [.. below.Select(child => Read(child, nested: true, out _))];
            next = (long)Number(entries.AsSpan((int)count * entrySize));
            return directory;
        }

        Entry ReadEntry(ReadOnlySpan<byte> bytes) =>
            new(
                (int)Number(bytes[..2]),
                (int)Number(bytes[2..4]),
                Number(big ? bytes[4..12] : bytes[4..8]),
                (big ? bytes[12..] : bytes[8..]).ToArray()
            );

        /// <summary>A single number; 0 where the entry holds something else.</summary>
        long Scalar(Entry entry) =>
            entry.Count == 1 && Size(entry.Type) is > 0 and var size && size <= entry.Inline.Length
                ? (long)Math.Min(Number(entry.Inline.AsSpan(0, size)), long.MaxValue)
                : 0;

        long[] Offsets(Entry entry)
        {
            int size = Size(entry.Type);
            if (size < 4 || entry.Count is 0 or > MaxDirectories)
            {
                return [];
            }

            int bytes = size * (int)entry.Count;
            byte[] data = bytes <= entry.Inline.Length ? entry.Inline : Bytes((long)Number(entry.Inline), bytes);
            return [.. Enumerable.Range(0, (int)entry.Count).Select(i => (long)Number(data.AsSpan(i * size, size)))];
        }

        static int Size(int type) =>
            type switch
            {
                Short => 2,
                Long or Directory => 4,
                Long8 or Directory8 => 8,
                _ => 0,
            };

        ulong Number(ReadOnlySpan<byte> bytes) =>
            bytes.Length switch
            {
                2 => little
                    ? BinaryPrimitives.ReadUInt16LittleEndian(bytes)
                    : BinaryPrimitives.ReadUInt16BigEndian(bytes),
                4 => little
                    ? BinaryPrimitives.ReadUInt32LittleEndian(bytes)
                    : BinaryPrimitives.ReadUInt32BigEndian(bytes),
                _ => little
                    ? BinaryPrimitives.ReadUInt64LittleEndian(bytes)
                    : BinaryPrimitives.ReadUInt64BigEndian(bytes),
            };

        byte[] Bytes(long at, int count)
        {
            if (at < 0 || at > file.Length - count)
            {
                throw Damaged($"{count} bytes are expected at byte {at} of {file.Length}");
            }

            byte[] bytes = new byte[count];
            file.Position = at;
            file.ReadExactly(bytes);
            return bytes;
        }

        MediaException Damaged(string what) =>
            new(name, $"this TIFF is damaged or cut off: {what}; send the whole file");

        readonly record struct Entry(int Tag, int Type, ulong Count, byte[] Inline);
    }
}
