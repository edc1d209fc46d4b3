using System.Buffers.Binary;
using System.Runtime.InteropServices;
using System.Text;

namespace VlmSharp.Testing;

/// <summary>Writes GGUF files for tests: version 3, little endian, aligned to 32 bytes.</summary>
public sealed class GgufWriter
{
    const int Alignment = 32;

    readonly List<(string Key, byte[] Value)> keys = [];
    readonly List<(string Name, int Type, int[] Shape, byte[] Bytes)> tensors = [];

    /// <summary>Adds a text.</summary>
    public GgufWriter Add(string key, string value) => Key(key, 8, Text(value));

    /// <summary>Adds an unsigned integer of 32 bits.</summary>
    public GgufWriter Add(string key, uint value) => Key(key, 4, BitConverter.GetBytes(value));

    /// <summary>Adds a single.</summary>
    public GgufWriter Add(string key, float value) => Key(key, 6, BitConverter.GetBytes(value));

    /// <summary>Adds true or false.</summary>
    public GgufWriter Add(string key, bool value) => Key(key, 7, [value ? (byte)1 : (byte)0]);

    /// <summary>Adds a list of integers.</summary>
    public GgufWriter Add(string key, int[] values) => List(key, 5, values.Select(BitConverter.GetBytes));

    /// <summary>Adds a list of singles.</summary>
    public GgufWriter Add(string key, float[] values) => List(key, 6, values.Select(BitConverter.GetBytes));

    /// <summary>Adds a list of texts.</summary>
    public GgufWriter Add(string key, string[] values) => List(key, 8, values.Select(Text));

    /// <summary>Adds an f32 tensor.</summary>
    public GgufWriter Add(string name, int[] shape, ReadOnlySpan<float> values) =>
        Add(name, 0, shape, MemoryMarshal.AsBytes(values));

    /// <summary>Adds a tensor of any type.</summary>
    /// <param name="name">Its name.</param>
    /// <param name="type">The format's number of the type.</param>
    /// <param name="shape">Outermost dimension first.</param>
    /// <param name="bytes">Its blocks.</param>
    public GgufWriter Add(string name, int type, int[] shape, ReadOnlySpan<byte> bytes)
    {
        tensors.Add((name, type, shape, bytes.ToArray()));
        return this;
    }

    /// <summary>Leaves a key or tensor out again.</summary>
    public GgufWriter Remove(string name)
    {
        keys.RemoveAll(key => key.Key == name);
        tensors.RemoveAll(tensor => tensor.Name == name);
        return this;
    }

    /// <summary>Writes the file.</summary>
    public void Save(string path)
    {
        using FileStream stream = File.Create(path);
        using BinaryWriter file = new(stream);
        file.Write("GGUF"u8);
        file.Write(3);
        file.Write((long)tensors.Count);
        file.Write((long)keys.Count);
        foreach ((string key, byte[] value) in keys)
        {
            file.Write(Text(key));
            file.Write(value);
        }

        long offset = 0;
        foreach ((string name, int type, int[] shape, byte[] bytes) in tensors)
        {
            file.Write(Text(name));
            file.Write(shape.Length);
            foreach (int dimension in shape.Reverse())
            {
                file.Write((long)dimension);
            }

            file.Write(type);
            file.Write(offset);
            offset += bytes.Length + Padding(bytes.Length);
        }

        file.Write(new byte[Padding(stream.Position)]);
        foreach ((_, _, _, byte[] bytes) in tensors)
        {
            file.Write(bytes);
            file.Write(new byte[Padding(bytes.Length)]);
        }
    }

    GgufWriter Key(string key, int type, byte[] value)
    {
        keys.Add((key, [.. BitConverter.GetBytes(type), .. value]));
        return this;
    }

    GgufWriter List(string key, int type, IEnumerable<byte[]> items)
    {
        byte[][] all = [.. items];
        byte[] head = [.. BitConverter.GetBytes(type), .. BitConverter.GetBytes((long)all.Length)];
        return Key(key, 9, [.. head, .. all.SelectMany(item => item)]);
    }

    static byte[] Text(string text)
    {
        byte[] utf8 = Encoding.UTF8.GetBytes(text);
        byte[] length = new byte[8];
        BinaryPrimitives.WriteUInt64LittleEndian(length, (ulong)utf8.Length);
        return [.. length, .. utf8];
    }

    static int Padding(long length) => (int)((Alignment - (length % Alignment)) % Alignment);
}
