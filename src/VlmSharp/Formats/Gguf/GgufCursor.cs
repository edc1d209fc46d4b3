using System.Buffers.Binary;
using VlmSharp.Kernels;

namespace VlmSharp.Formats.Gguf;

/// <summary>Reads numbers and texts one after the other from a mapped file, in its byte order, and never beyond its end.</summary>
sealed class GgufCursor(string file, MappedFile map, bool bigEndian, long position)
{
    /// <summary>The next byte to be read.</summary>
    public long Position { get; private set; } = position;

    /// <summary>Bytes behind it.</summary>
    public long Left => map.Length - Position;

    /// <summary>32 bits.</summary>
    /// <param name="what">What is read, for errors: <c>the length of key 'a'</c>.</param>
    public uint UInt32(string what)
    {
        ReadOnlySpan<byte> bytes = Bytes(4, what);
        return bigEndian ? BinaryPrimitives.ReadUInt32BigEndian(bytes) : BinaryPrimitives.ReadUInt32LittleEndian(bytes);
    }

    /// <summary>64 bits.</summary>
    /// <param name="what">What is read, for errors.</param>
    public ulong UInt64(string what)
    {
        ReadOnlySpan<byte> bytes = Bytes(8, what);
        return bigEndian ? BinaryPrimitives.ReadUInt64BigEndian(bytes) : BinaryPrimitives.ReadUInt64LittleEndian(bytes);
    }

    /// <summary>A number of things that follow, each of at least <paramref name="least"/> bytes.</summary>
    /// <exception cref="CheckpointException">The file is too short for so many.</exception>
    public int Count(long least, string what)
    {
        ulong count = UInt64(what);
        return count <= (ulong)(Left / least) && count <= int.MaxValue
            ? (int)count
            : throw new CheckpointException(
                file,
                $"{what} is {count}, which the {Left} bytes that follow cannot hold; the file is damaged or truncated"
            );
    }

    /// <summary>A text with its length before it.</summary>
    /// <param name="most">More bytes are refused.</param>
    /// <param name="what">What is read, for errors.</param>
    public ReadOnlySpan<byte> Text(int most, string what)
    {
        ulong length = UInt64(what);
        return length <= (ulong)Math.Min(most, Left)
            ? Bytes((int)length, what)
            : throw new CheckpointException(
                file,
                $"{what} has a length of {length} bytes, at most {Math.Min(most, Left)} are possible there; the file is damaged or truncated"
            );
    }

    /// <summary>Passes over the text that follows.</summary>
    public void SkipText(string what) => Text(int.MaxValue, what);

    /// <summary>The bytes that follow.</summary>
    public ReadOnlySpan<byte> Bytes(int count, string what)
    {
        if (count > Left)
        {
            throw new CheckpointException(
                file,
                $"ends at byte {map.Length}, within {what}; it is truncated or damaged: copy or download it again"
            );
        }

        ReadOnlySpan<byte> bytes = map.Slice(Position, count);
        Position += count;
        return bytes;
    }

    /// <summary>Passes over bytes, which were seen to be there.</summary>
    public void Skip(long count) => Position += count;
}
