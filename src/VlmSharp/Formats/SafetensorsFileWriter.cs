using System.Text.Json;
using System.Text.Json.Nodes;

namespace VlmSharp.Formats;

/// <summary>A tensor that is to be written.</summary>
/// <param name="Name">Its name in the file.</param>
/// <param name="Type">The type of its elements.</param>
/// <param name="Shape">Row-major.</param>
public sealed record SafetensorsEntry(string Name, SafetensorsType Type, IReadOnlyList<int> Shape)
{
    /// <summary>Bytes of its data.</summary>
    public long Bytes => checked(Shape.Aggregate(1L, (count, extent) => count * extent) * Type.Bits() / 8);
}

/// <summary>Writes safetensors files.</summary>
public static class SafetensorsFileWriter
{
    /// <summary>Writes a file; data that is not at hand yet can be made while it is written.</summary>
    /// <param name="path">Is replaced where it is there.</param>
    /// <param name="tensors">In the order of their data.</param>
    /// <param name="write">Writes the little-endian data of a tensor, all of it.</param>
    /// <param name="metadata">What <c>__metadata__</c> says.</param>
    /// <exception cref="InvalidOperationException">Other bytes were written than the shape of a tensor has.</exception>
    public static void Write(
        string path,
        IReadOnlyList<SafetensorsEntry> tensors,
        Action<SafetensorsEntry, Stream> write,
        IReadOnlyDictionary<string, string>? metadata = null
    )
    {
        JsonObject header = [];
        if (metadata is not null)
        {
            header["__metadata__"] = new JsonObject(
                metadata.Select(pair => KeyValuePair.Create(pair.Key, (JsonNode?)pair.Value))
            );
        }

        long offset = 0;
        foreach (SafetensorsEntry tensor in tensors)
        {
            header.Add(
                tensor.Name,
                new JsonObject
                {
                    ["dtype"] = tensor.Type.Name(),
                    ["shape"] = new JsonArray([.. tensor.Shape.Select(extent => (JsonNode)extent)]),
                    ["data_offsets"] = new JsonArray(offset, offset += tensor.Bytes),
                }
            );
        }

        byte[] json = JsonSerializer.SerializeToUtf8Bytes(header);
        int padding = -json.Length & 7; // data starts at a multiple of eight bytes, as the reference implementation has it
        using FileStream file = new(path, FileMode.Create, FileAccess.Write, FileShare.None, 1 << 20);
        file.Write(BitConverter.GetBytes((long)json.Length + padding));
        file.Write(json);
        file.Write("       "u8[..padding]);
        foreach (SafetensorsEntry tensor in tensors)
        {
            long start = file.Position;
            write(tensor, file);
            if (file.Position - start != tensor.Bytes)
            {
                throw new InvalidOperationException(
                    $"{file.Position - start} bytes were written of '{tensor.Name}', which has {tensor.Bytes}."
                );
            }
        }
    }
}
