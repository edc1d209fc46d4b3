using System.Buffers.Binary;
using System.Numerics;
using System.Text;
using System.Text.Unicode;
using VlmSharp.Kernels;
using VlmSharp.Kernels.Quantized;

namespace VlmSharp.Formats.Gguf;

/// <summary>Reads what stands before the tensors of a GGUF file. No count, length or offset in it is believed before it was held against the file's size.</summary>
sealed class GgufHeader(GgufFile owner, MappedFile map)
{
    const int LongestKey = 65535; // as the specification has it
    const int LongestName = 64;
    const int MaxRank = 4;
    const string AlignmentKey = "general.alignment";

    readonly string file = owner.Name;
    readonly Dictionary<string, GgufValue> metadata = new(StringComparer.Ordinal);
    readonly Dictionary<string, GgufTensor> tensors = new(StringComparer.Ordinal);

    public int Version { get; private set; }

    public bool BigEndian { get; private set; }

    public int Alignment { get; private set; } = 32;

    public IReadOnlyDictionary<string, GgufValue> Metadata => metadata;

    public IReadOnlyDictionary<string, GgufTensor> Tensors => tensors;

    public void Read()
    {
        ReadVersion();
        GgufCursor cursor = new(file, map, BigEndian, 8);
        // A tensor's entry has at least 24 bytes, a key with its value 13.
        ulong announced = cursor.UInt64("the number of tensors");
        int keys = cursor.Count(13, "the number of keys");
        if (announced > (ulong)(cursor.Left / 24))
        {
            throw new CheckpointException(
                file,
                $"the number of tensors is {announced}, which the {cursor.Left} bytes that follow cannot hold; the file is damaged or truncated"
            );
        }

        for (int i = 0; i < keys; i++)
        {
            ReadValue(cursor, i);
        }

        ReadAlignment();
        List<(string Name, GgmlType Type, int[] Shape, long Count, ulong Offset)> entries = [];
        for (ulong i = 0; i < announced; i++)
        {
            entries.Add(ReadEntry(cursor, i));
        }

        long start = checked((cursor.Position + Alignment - 1) / Alignment * Alignment);
        foreach ((string name, GgmlType type, int[] shape, long count, ulong offset) in entries)
        {
            Place(name, type, shape, count, offset, start);
        }

        CheckOverlap();
    }

    void ReadVersion()
    {
        if (map.Length < 8)
        {
            throw new CheckpointException(file, $"has {map.Length} bytes, a GGUF file has at least 24");
        }

        ReadOnlySpan<byte> bytes = map.Slice(0, 8);
        if (!bytes.StartsWith("GGUF"u8))
        {
            throw new CheckpointException(file, $"begins with {Quote.Name(bytes[..4])}, no GGUF file begins so");
        }

        uint little = BinaryPrimitives.ReadUInt32LittleEndian(bytes[4..]);
        uint big = BinaryPrimitives.ReadUInt32BigEndian(bytes[4..]);
        // Small numbers in the other byte order are large ones.
        BigEndian = big < little;
        uint version = Math.Min(little, big);
        if (version is not (2 or 3))
        {
            throw new CheckpointException(file, $"is of version {little} of the format; versions 2 and 3 can be read");
        }

        Version = (int)version;
    }

    void ReadValue(GgufCursor cursor, int place)
    {
        ReadOnlySpan<byte> name = cursor.Text(LongestKey, $"key {place}");
        if (name.IsEmpty || !Utf8.IsValid(name))
        {
            throw new CheckpointException(file, $"key {place} is {Quote.Name(name)}, expected a name in UTF-8");
        }

        string key = Encoding.UTF8.GetString(name);
        GgufValueType type = ReadType(cursor, key);
        GgufValueType? items = null;
        int count = 1;
        if (type == GgufValueType.List)
        {
            items = ReadType(cursor, key);
            if (items == GgufValueType.List)
            {
                throw owner.Error(key, "is a list of lists; only lists of values are read");
            }

            // A text has at least the eight bytes of its length.
            int least = items == GgufValueType.Text ? 8 : items.Value.Size();
            count = cursor.Count(least, $"the length of list {Quote.Name(key)}");
        }

        GgufValue value = new(owner, key, type, items, count, cursor.Position);
        if ((items ?? type) == GgufValueType.Text)
        {
            for (int i = 0; i < count; i++)
            {
                cursor.SkipText($"the text of {Quote.Name(key)}");
            }
        }
        else
        {
            int size = (items ?? type).Size();
            if ((long)count * size > cursor.Left)
            {
                cursor.Bytes(size, $"the value of {Quote.Name(key)}");
            }

            cursor.Skip((long)count * size);
        }

        value.Size = cursor.Position - value.Offset;
        if (!metadata.TryAdd(key, value))
        {
            throw owner.Error(key, "occurs twice");
        }
    }

    GgufValueType ReadType(GgufCursor cursor, string key)
    {
        uint type = cursor.UInt32($"the type of {Quote.Name(key)}");
        return Enum.IsDefined((GgufValueType)type)
            ? (GgufValueType)type
            : throw owner.Error(key, $"has values of type {type}, which the format does not define");
    }

    void ReadAlignment()
    {
        if (!metadata.TryGetValue(AlignmentKey, out GgufValue? value))
        {
            return;
        }

        if (value.Type != GgufValueType.UInt32)
        {
            throw owner.Error(AlignmentKey, $"is {value}, expected {GgufValueType.UInt32}");
        }

        uint alignment = owner.CursorAt(value.Offset).UInt32(AlignmentKey);
        // 8 is what the specification asks for; more than a page of memory helps nobody, but is legal.
        Alignment =
            alignment is >= 8 and <= 1 << 30 && BitOperations.IsPow2(alignment)
                ? (int)alignment
                : throw owner.Error(AlignmentKey, $"is {alignment}, expected a power of two, 8 .. {1 << 30}");
    }

    (string Name, GgmlType Type, int[] Shape, long Count, ulong Offset) ReadEntry(GgufCursor cursor, ulong place)
    {
        ReadOnlySpan<byte> bytes = cursor.Text(LongestName, $"the name of tensor {place}");
        if (bytes.IsEmpty || !Utf8.IsValid(bytes))
        {
            throw new CheckpointException(file, $"tensor {place} is called {Quote.Name(bytes)}, expected UTF-8 text");
        }

        string name = Encoding.UTF8.GetString(bytes);
        string what = $"the entry of tensor {Quote.Name(name)}";
        uint rank = cursor.UInt32(what);
        if (rank > MaxRank)
        {
            throw Error(name, $"has {rank} dimensions, at most {MaxRank} are possible");
        }

        int[] shape = new int[rank];
        Int128 count = 1;
        for (int i = 0; i < shape.Length; i++)
        {
            ulong dimension = cursor.UInt64(what);
            if (dimension is 0 or > int.MaxValue)
            {
                throw Error(name, $"has a dimension of {dimension}, expected 1 .. {int.MaxValue}");
            }

            // The innermost comes first; four factors below 2^31 stay below 2^124.
            shape[^(i + 1)] = (int)dimension;
            count *= (int)dimension;
        }

        GgmlType type = (GgmlType)cursor.UInt32(what);
        if (!type.IsKnown())
        {
            throw Error(name, $"has type {(uint)type}, which is not known (or was removed from the format)");
        }

        int row = shape.Length > 0 ? shape[^1] : 1;
        if (row % type.BlockValues() != 0)
        {
            throw Error(name, $"is {type} with rows of {row} values; its blocks hold {type.BlockValues()}");
        }

        return count <= long.MaxValue / 8
            ? (name, type, shape, (long)count, cursor.UInt64(what))
            : throw Error(name, $"has the shape {TensorInfo.Text(shape)}, more than any file holds");
    }

    void Place(string name, GgmlType type, int[] shape, long count, ulong offset, long start)
    {
        Int128 size = (Int128)(count / type.BlockValues()) * type.BlockBytes();
        Int128 end = start + (Int128)offset + size;
        if (end > map.Length)
        {
            throw Error(
                name,
                $"({type} {TensorInfo.Text(shape)}) ends at byte {end} of the file, which has {map.Length}; it is truncated or damaged: copy or download it again"
            );
        }

        if (offset % (ulong)Alignment != 0)
        {
            throw Error(name, $"starts at offset {offset}, which is no multiple of the alignment, {Alignment}");
        }

        if (!tensors.TryAdd(name, new(owner, name, type, shape, count, start + (long)offset, (long)size)))
        {
            throw Error(name, "is listed twice");
        }
    }

    // Tensors may stand in any order and with gaps between them.
    void CheckOverlap()
    {
        GgufTensor? last = null;
        foreach (GgufTensor tensor in tensors.Values.OrderBy(t => t.Offset))
        {
            if (last is not null && tensor.Offset < last.Offset + last.Size)
            {
                throw Error(
                    tensor.Name,
                    $"starts at byte {tensor.Offset}, within {Quote.Name(last.Name)}, which ends at {last.Offset + last.Size}"
                );
            }

            last = tensor;
        }
    }

    CheckpointException Error(string name, string message) => new(file, $"tensor {Quote.Name(name)} {message}");
}
