using System.Buffers;
using System.Buffers.Binary;
using System.Runtime.InteropServices;
using System.Text;
using System.Text.Json.Nodes;

namespace VlmSharp.Testing;

/// <summary>Writes safetensors files for tests: whole ones tensor by tensor, and broken ones from any header text.</summary>
public sealed class SafetensorsWriter
{
    readonly JsonObject header = [];
    readonly ArrayBufferWriter<byte> data = new();

    /// <summary>Adds an f32 tensor.</summary>
    public SafetensorsWriter Add(string name, int[] shape, ReadOnlySpan<float> values) =>
        Add(name, "F32", shape, MemoryMarshal.AsBytes(values));

    /// <summary>Adds a tensor of any type as bytes, little endian.</summary>
    public SafetensorsWriter Add(string name, string dtype, int[] shape, ReadOnlySpan<byte> bytes)
    {
        header.Add(
            name,
            new JsonObject
            {
                ["dtype"] = dtype,
                ["shape"] = new JsonArray([.. shape.Select(dimension => (JsonNode)dimension)]),
                ["data_offsets"] = new JsonArray(data.WrittenCount, data.WrittenCount + bytes.Length),
            }
        );
        data.Write(bytes);
        return this;
    }

    /// <summary>The file's bytes.</summary>
    public byte[] ToArray() => Join(header.ToJsonString(), data.WrittenSpan);

    /// <summary>Writes the file.</summary>
    public void Save(string path) => File.WriteAllBytes(path, ToArray());

    /// <summary>A file from a header text and data that need not fit together.</summary>
    public static byte[] Join(string header, ReadOnlySpan<byte> data) => Join(Encoding.UTF8.GetBytes(header), data);

    /// <summary>A file from header bytes and data that need not fit together.</summary>
    public static byte[] Join(ReadOnlySpan<byte> header, ReadOnlySpan<byte> data)
    {
        byte[] length = new byte[8];
        BinaryPrimitives.WriteUInt64LittleEndian(length, (ulong)header.Length);
        return [.. length, .. header, .. data];
    }

    /// <summary>A whole file's header text and data.</summary>
    public static (string Header, byte[] Data) Split(ReadOnlySpan<byte> file)
    {
        int end = 8 + (int)BinaryPrimitives.ReadUInt64LittleEndian(file);
        return (Encoding.UTF8.GetString(file[8..end]), file[end..].ToArray());
    }
}
