using System.Buffers.Binary;
using System.Text;
using System.Text.Json;

namespace VlmSharp.Formats.Gguf;

/// <summary>A value of a file's metadata. It is read from the file when it is asked for: lists may have hundreds of thousands of items.</summary>
public sealed class GgufValue
{
    readonly GgufFile file;
    readonly string key;

    internal GgufValue(GgufFile file, string key, GgufValueType type, GgufValueType? items, int count, long offset)
    {
        this.file = file;
        this.key = key;
        Offset = offset;
        Type = type;
        ItemType = items;
        Count = count;
    }

    /// <summary>The type.</summary>
    public GgufValueType Type { get; }

    /// <summary>The type of a list's items; null for other values.</summary>
    public GgufValueType? ItemType { get; }

    /// <summary>Number of a list's items; 1 for other values.</summary>
    public int Count { get; }

    /// <summary>Its first byte, counted from the start of the file; that of a list's first item.</summary>
    internal long Offset { get; }

    /// <summary>How many bytes it takes there.</summary>
    internal long Size { get; set; }

    /// <summary>The texts of a list, as their bytes lie in the file: UTF-8 as a rule.</summary>
    /// <param name="each">Told the place and the bytes of each.</param>
    /// <exception cref="CheckpointException">It is no list of texts.</exception>
    public void ForEachText(Action<int, ReadOnlySpan<byte>> each)
    {
        ArgumentNullException.ThrowIfNull(each);
        if (ItemType != GgufValueType.Text)
        {
            throw file.Error(key, $"is {this}, expected a list of texts");
        }

        GgufCursor cursor = file.CursorAt(Offset);
        for (int i = 0; i < Count; i++)
        {
            each(i, cursor.Text(int.MaxValue, key));
        }
    }

    /// <summary>A list of integers.</summary>
    /// <exception cref="CheckpointException">It is something else, or an item does not fit 32 bits.</exception>
    public int[] Integers()
    {
        if (ItemType is null or GgufValueType.Text or GgufValueType.Float32 or GgufValueType.Float64)
        {
            throw file.Error(key, $"is {this}, expected a list of integers");
        }

        int[] values = new int[Count];
        int size = ItemType.Value.Size();
        for (int i = 0; i < values.Length; i++)
        {
            Int128 value = Integer(ItemType.Value, Offset + ((long)i * size));
            values[i] =
                value >= int.MinValue && value <= int.MaxValue
                    ? (int)value
                    : throw file.Error(key, $"has the item {value}, expected an integer of 32 bits");
        }

        return values;
    }

    /// <summary>The value as it lies in the file, the type and length of a list not included; only of a little-endian file.</summary>
    internal byte[] Bytes() =>
        file.BigEndian || Size > int.MaxValue
            ? throw file.Error(key, $"({Size} bytes{(file.BigEndian ? ", big endian" : "")}) cannot be copied")
            : file.Slice(Offset, (int)Size).ToArray();

    /// <summary>Writes the value as JSON. What JSON has no number for (NaN, infinity) becomes a text, bytes that are not UTF-8 become U+FFFD.</summary>
    public void WriteTo(Utf8JsonWriter json)
    {
        ArgumentNullException.ThrowIfNull(json);
        if (ItemType is not { } items)
        {
            Write(json, Type, file.CursorAt(Offset));
            return;
        }

        GgufCursor cursor = file.CursorAt(Offset);
        json.WriteStartArray();
        for (int i = 0; i < Count; i++)
        {
            Write(json, items, cursor);
        }

        json.WriteEndArray();
    }

    /// <summary><c>Text</c>, or <c>List of 151936 Text</c>.</summary>
    public override string ToString() => ItemType is { } items ? $"List of {Count} {items}" : Type.ToString();

    void Write(Utf8JsonWriter json, GgufValueType type, GgufCursor cursor)
    {
        if (type == GgufValueType.Text)
        {
            json.WriteStringValue(Encoding.UTF8.GetString(cursor.Text(int.MaxValue, key)));
            return;
        }

        long at = cursor.Position;
        cursor.Skip(type.Size());
        switch (type)
        {
            case GgufValueType.Bool:
                json.WriteBooleanValue(Integer(type, at) != 0);
                break;
            case GgufValueType.Float32:
                float single = BitConverter.UInt32BitsToSingle((uint)Integer(GgufValueType.UInt32, at));
                WriteNumber(json, single);
                break;
            case GgufValueType.Float64:
                WriteNumber(json, BitConverter.UInt64BitsToDouble((ulong)Integer(GgufValueType.UInt64, at)));
                break;
            case GgufValueType.UInt64:
                json.WriteNumberValue((ulong)Integer(type, at));
                break;
            default:
                json.WriteNumberValue((long)Integer(type, at));
                break;
        }
    }

    // A single is written as the double it is: its shortest decimal form would be another number.
    static void WriteNumber(Utf8JsonWriter json, double value)
    {
        if (double.IsFinite(value))
        {
            json.WriteNumberValue(value);
        }
        else
        {
            json.WriteStringValue(value.ToString(System.Globalization.CultureInfo.InvariantCulture));
        }
    }

    Int128 Integer(GgufValueType type, long at)
    {
        Span<byte> bytes = stackalloc byte[8];
        int size = type.Size();
        bytes.Clear();
        file.Slice(at, size).CopyTo(bytes);
        if (file.BigEndian)
        {
            bytes[..size].Reverse();
        }

        ulong value = BinaryPrimitives.ReadUInt64LittleEndian(bytes);
        return type switch
        {
            GgufValueType.Int8 => (sbyte)value,
            GgufValueType.Int16 => (short)value,
            GgufValueType.Int32 => (int)value,
            GgufValueType.Int64 => (long)value,
            _ => value,
        };
    }
}
