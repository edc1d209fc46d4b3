using System.Buffers.Binary;
using System.Runtime.InteropServices;
using System.Text;
using VlmSharp.Kernels.Quantized;

namespace VlmSharp.Formats.Gguf;

/// <summary>Writes a GGUF file: version 3, little endian, tensors at multiples of 32 bytes. What <see cref="GgufFile"/> reads back.</summary>
/// <remarks>
/// Metadata is collected in memory, tensors are asked for their bytes one after the other when the file is written. A file appears under its name
/// only when it is complete; what stood there before stays until then. Source: the GGUF specification of the ggml project.
/// </remarks>
public sealed class GgufWriter
{
    const int Alignment = 32;
    const int LongestKey = 65535; // as the specification has it
    const int LongestName = 63; // the specification has 64, engines written in C need one of them for the end
    const int MaxRank = 4;

    readonly List<(string Key, byte[] Value)> metadata = [];
    readonly List<Entry> tensors = [];
    readonly HashSet<string> names = new(StringComparer.Ordinal);

    /// <summary>Bytes of all tensors, the gaps between them included.</summary>
    public long TensorBytes { get; private set; }

    /// <summary>Adds a number, or true or false.</summary>
    /// <typeparam name="T">An integer of 8, 16, 32 or 64 bits, float, double or bool.</typeparam>
    /// <exception cref="ArgumentException">There is a value of this name already, or none of this type.</exception>
    public GgufWriter Add<T>(string key, T value)
        where T : unmanaged => Add(key, TypeOf<T>(), Bytes([value]));

    /// <summary>Adds a text.</summary>
    /// <exception cref="ArgumentException">There is a value of this name already.</exception>
    public GgufWriter Add(string key, string value) => Add(key, GgufValueType.Text, Text(value));

    /// <summary>Adds a list of numbers, or of true and false.</summary>
    /// <typeparam name="T">As for single values.</typeparam>
    /// <exception cref="ArgumentException">There is a value of this name already, or none of this type.</exception>
    public GgufWriter Add<T>(string key, T[] values)
        where T : unmanaged => Add(key, GgufValueType.List, [.. Head(TypeOf<T>(), values.Length), .. Bytes(values)]);

    /// <summary>Adds a list of texts.</summary>
    /// <exception cref="ArgumentException">There is a value of this name already.</exception>
    public GgufWriter Add(string key, IReadOnlyCollection<string> values)
    {
        using MemoryStream bytes = new();
        bytes.Write(Head(GgufValueType.Text, values.Count));
        foreach (string value in values)
        {
            bytes.Write(Text(value));
        }

        return Add(key, GgufValueType.List, bytes.ToArray());
    }

    /// <summary>Adds a value as another file has it.</summary>
    /// <exception cref="ArgumentException">There is a value of this name already.</exception>
    internal GgufWriter Add(string key, GgufValue value)
    {
        byte[] head = value.ItemType is { } items ? Head(items, value.Count) : [];
        return Add(key, value.Type, [.. head, .. value.Bytes()]);
    }

    /// <summary>Announces the next tensor.</summary>
    /// <param name="name">Its name, at most 63 bytes.</param>
    /// <param name="type">How it is stored.</param>
    /// <param name="shape">Dimensions, outermost first; rows are whole blocks of the type.</param>
    /// <param name="write">Writes its bytes, little endian, when the file is written; exactly as many as type and shape say.</param>
    /// <exception cref="ArgumentException">There is such a tensor already, or the format cannot hold it.</exception>
    public void Tensor(string name, GgmlType type, ReadOnlySpan<int> shape, Action<Stream> write)
    {
        ArgumentException.ThrowIfNullOrEmpty(name);
        ArgumentNullException.ThrowIfNull(write);
        int row = shape.IsEmpty ? 1 : shape[^1];
        if (Encoding.UTF8.GetByteCount(name) > LongestName || shape.Length > MaxRank || row % type.BlockValues() != 0)
        {
            throw new ArgumentException(
                $"Tensor '{name}' {type} {TensorInfo.Text(shape)} is nothing that a GGUF file can hold."
            );
        }

        if (!names.Add(name))
        {
            throw new ArgumentException($"There is a tensor '{name}' already.", nameof(name));
        }

        long size = type.BlockBytes();
        foreach (int dimension in shape)
        {
            size = checked(size * dimension);
        }

        size /= type.BlockValues();
        tensors.Add(new Entry(name, type, shape.ToArray(), TensorBytes, size, write));
        TensorBytes = checked(TensorBytes + Padded(size));
    }

    /// <summary>Writes the file; one that is there already is replaced.</summary>
    /// <param name="path">Where.</param>
    /// <exception cref="IOException">It cannot be written; nothing is left behind.</exception>
    /// <exception cref="UnauthorizedAccessException">It may not be written.</exception>
    /// <exception cref="InvalidOperationException">A tensor wrote another number of bytes than it announced.</exception>
    public void Save(string path)
    {
        // In the same directory, so that renaming moves no bytes.
        string temporary = $"{path}.{Guid.NewGuid():N}.tmp";
        try
        {
            using (FileStream file = new(temporary, FileMode.CreateNew, FileAccess.Write, FileShare.None, 1 << 20))
            {
                Write(file);
                file.Flush(flushToDisk: true);
            }

            File.Move(temporary, path, overwrite: true);
        }
        catch
        {
            File.Delete(temporary);
            throw;
        }
    }

    void Write(FileStream file)
    {
        using (BinaryWriter head = new(file, Encoding.UTF8, leaveOpen: true))
        {
            head.Write("GGUF"u8);
            head.Write(3);
            head.Write((long)tensors.Count);
            head.Write((long)metadata.Count);
            foreach ((string key, byte[] value) in metadata)
            {
                head.Write(Text(key));
                head.Write(value);
            }

            foreach (Entry tensor in tensors)
            {
                head.Write(Text(tensor.Name));
                head.Write(tensor.Shape.Length);
                foreach (int dimension in tensor.Shape.Reverse())
                {
                    head.Write((long)dimension);
                }

                head.Write((int)tensor.Type);
                head.Write(tensor.Offset);
            }
        }

        Pad(file);
        foreach (Entry tensor in tensors)
        {
            long start = file.Position;
            tensor.Write(file);
            if (file.Position - start != tensor.Size)
            {
                throw new InvalidOperationException(
                    $"Tensor '{tensor.Name}' wrote {file.Position - start} bytes, it has {tensor.Size}."
                );
            }

            Pad(file);
        }
    }

    GgufWriter Add(string key, GgufValueType type, byte[] value)
    {
        ArgumentException.ThrowIfNullOrEmpty(key);
        if (Encoding.UTF8.GetByteCount(key) > LongestKey || metadata.Exists(entry => entry.Key == key))
        {
            throw new ArgumentException($"Key '{key}' is too long, or there is one of this name already.", nameof(key));
        }

        metadata.Add((key, [.. BitConverter.GetBytes((int)type), .. value]));
        return this;
    }

    static byte[] Head(GgufValueType items, long count) =>
        [.. BitConverter.GetBytes((int)items), .. BitConverter.GetBytes(count)];

    static byte[] Text(string text)
    {
        byte[] bytes = new byte[8 + Encoding.UTF8.GetByteCount(text)];
        BinaryPrimitives.WriteInt64LittleEndian(bytes, bytes.Length - 8);
        Encoding.UTF8.GetBytes(text, bytes.AsSpan(8));
        return bytes;
    }

    static byte[] Bytes<T>(ReadOnlySpan<T> values)
        where T : unmanaged => MemoryMarshal.AsBytes(values).ToArray();

    static long Padded(long size) => checked(size + Alignment - 1) / Alignment * Alignment;

    static void Pad(Stream file) => file.Write(new byte[Padded(file.Position) - file.Position]);

    static GgufValueType TypeOf<T>()
        where T : unmanaged =>
        default(T) switch
        {
            byte => GgufValueType.UInt8,
            sbyte => GgufValueType.Int8,
            ushort => GgufValueType.UInt16,
            short => GgufValueType.Int16,
            uint => GgufValueType.UInt32,
            int => GgufValueType.Int32,
            ulong => GgufValueType.UInt64,
            long => GgufValueType.Int64,
            float => GgufValueType.Float32,
            double => GgufValueType.Float64,
            bool => GgufValueType.Bool,
            _ => throw new ArgumentException($"A GGUF file has no values of type {typeof(T).Name}."),
        };

    sealed record Entry(string Name, GgmlType Type, int[] Shape, long Offset, long Size, Action<Stream> Write);
}
