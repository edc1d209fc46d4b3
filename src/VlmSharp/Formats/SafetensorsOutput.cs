using System.Buffers.Binary;
using System.Text.Json;

namespace VlmSharp.Formats;

/// <summary>Writes a safetensors file as a stream: the header first, then the tensors' bytes in its order.</summary>
/// <remarks>
/// What is written lies beside the file until <see cref="Finish"/> puts it in its place, so that nobody ever finds half a file under its
/// name. Source: the format section of github.com/huggingface/safetensors.
/// </remarks>
public sealed class SafetensorsOutput : IDisposable
{
    const int Alignment = 8; // of the first tensor

    readonly string path;
    readonly string temporary;
    readonly FileStream file;
    readonly long end;

    /// <summary>Begins a file.</summary>
    /// <param name="path">The file; one that is there stays until <see cref="Finish"/>.</param>
    /// <param name="tensors">What it will hold: shapes have the outermost dimension first.</param>
    /// <param name="metadata">What <c>__metadata__</c> says besides the format.</param>
    /// <exception cref="IOException">It cannot be written.</exception>
    public SafetensorsOutput(
        string path,
        IEnumerable<(string Name, SafetensorsType Type, IReadOnlyList<int> Shape)> tensors,
        params IReadOnlyList<(string Key, string Value)> metadata
    )
    {
        this.path = path;
        temporary = $"{path}.writing";
        byte[] header = Header(tensors, metadata, out long bytes);
        end = sizeof(long) + header.Length + bytes;
        file = new FileStream(temporary, FileMode.Create, FileAccess.Write, FileShare.None, 1 << 20);
        Span<byte> length = stackalloc byte[sizeof(long)];
        BinaryPrimitives.WriteInt64LittleEndian(length, header.Length);
        file.Write(length);
        file.Write(header);
    }

    static byte[] Header(
        IEnumerable<(string Name, SafetensorsType Type, IReadOnlyList<int> Shape)> tensors,
        IReadOnlyList<(string Key, string Value)> metadata,
        out long bytes
    )
    {
        bytes = 0;
        using MemoryStream text = new();
        using (Utf8JsonWriter json = new(text))
        {
            json.WriteStartObject();
            json.WriteStartObject("__metadata__");
            json.WriteString("format", "pt"); // without it, readers in Python refuse the file
            foreach ((string key, string value) in metadata)
            {
                json.WriteString(key, value);
            }

            json.WriteEndObject();
            foreach ((string name, SafetensorsType type, IReadOnlyList<int> shape) in tensors)
            {
                json.WriteStartObject(name);
                json.WriteString("dtype", type == SafetensorsType.Bool ? "BOOL" : type.ToString());
                json.WriteStartArray("shape");
                foreach (int extent in shape)
                {
                    json.WriteNumberValue(extent);
                }

                json.WriteEndArray();
                json.WriteStartArray("data_offsets");
                json.WriteNumberValue(bytes);
                bytes = checked(bytes + (shape.Aggregate(1L, (n, extent) => checked(n * extent)) * type.Bits() / 8));
                json.WriteNumberValue(bytes);
                json.WriteEndArray();
                json.WriteEndObject();
            }

            json.WriteEndObject();
        }

        while (text.Length % Alignment != 0)
        {
            text.WriteByte((byte)' ');
        }

        return text.ToArray();
    }

    /// <summary>The next bytes of the tensors, little endian; of one of them, of a part, or of several.</summary>
    public void Write(ReadOnlySpan<byte> bytes) => file.Write(bytes);

    /// <summary>The next bytes, written by something that writes streams.</summary>
    internal void Write(Action<Stream> write) => write(file);

    /// <summary>Has everything written to the disk and puts the file in its place.</summary>
    /// <exception cref="InvalidOperationException">More or fewer bytes were written than the header promises.</exception>
    public void Finish()
    {
        if (file.Position != end)
        {
            throw new InvalidOperationException(
                $"{file.Position} bytes were written to {path}, its header promises {end}."
            );
        }

        file.Flush(flushToDisk: true);
        file.Dispose();
        File.Move(temporary, path, overwrite: true);
    }

    /// <summary>Deletes what was not finished.</summary>
    public void Dispose()
    {
        file.Dispose();
        File.Delete(temporary);
    }
}
