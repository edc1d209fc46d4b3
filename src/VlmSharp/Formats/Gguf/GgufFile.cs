using System.Buffers;
using System.Text.Json;
using VlmSharp.Kernels;

namespace VlmSharp.Formats.Gguf;

/// <summary>One GGUF file, memory-mapped; opening it reads metadata and the list of tensors and checks both fully.</summary>
/// <remarks>
/// Versions 2 and 3, little and big endian, any alignment. The file owns the mapping; spans, values and tensors borrow it and end with
/// <see cref="Dispose"/>. See <see cref="MappedFile"/> for what happens to a file that is changed while it is mapped. Source: the
/// GGUF specification of the ggml project.
/// </remarks>
public sealed class GgufFile : ICheckpointFile
{
    /// <summary>Longer lists are left out of <see cref="Keys"/>: they are vocabularies.</summary>
    const int LongList = 4096;

    /// <summary>Larger values are left out too; the longest published chat templates have some 20 KB.</summary>
    const long LargeValue = 4 << 20;

    readonly MappedFile map;
    readonly GgufHeader header;

    GgufFile(string path, MappedFile map)
    {
        FullPath = Path.GetFullPath(path);
        Name = CheckpointFile.Name(path);
        this.map = map;
        header = new GgufHeader(this, map);
        header.Read();
        Keys = ReadKeys();
    }

    /// <summary>The file's name without its directory, as it appears in messages.</summary>
    public string Name { get; }

    /// <summary>Where it lies.</summary>
    public string FullPath { get; }

    /// <summary>Size in bytes.</summary>
    public long Length => map.Length;

    /// <summary>The version of the format, 2 or 3.</summary>
    public int Version => header.Version;

    /// <summary>Whether numbers have their highest byte first.</summary>
    public bool BigEndian => header.BigEndian;

    /// <summary>Tensors begin at multiples of this many bytes.</summary>
    public int Alignment => header.Alignment;

    /// <summary>All metadata in the file's order.</summary>
    public IReadOnlyDictionary<string, GgufValue> Metadata => header.Metadata;

    /// <summary>All tensors in the file's order.</summary>
    public IReadOnlyDictionary<string, GgufTensor> Tensors => header.Tensors;

    /// <summary>The metadata as an object with ranges and errors, without lists of more than some thousand items.</summary>
    public JsonObjectReader Keys { get; }

    /// <summary>What the model is: <c>general.architecture</c>.</summary>
    /// <exception cref="CheckpointException">The file does not say, or not with a text.</exception>
    public string Architecture => Keys.Text("general.architecture");

    /// <summary>Maps a file and reads what stands before its tensors.</summary>
    /// <exception cref="CheckpointException">The file cannot be read, is truncated, damaged, or no GGUF file of a known version.</exception>
    public static GgufFile Open(string path) => CheckpointFile.Map(path, map => new GgufFile(path, map));

    /// <summary>A value of the metadata.</summary>
    /// <exception cref="CheckpointException">There is none of this name.</exception>
    public GgufValue Value(string key) =>
        Metadata.TryGetValue(key, out GgufValue? value) ? value : throw Error(key, "is missing");

    /// <summary>A tensor.</summary>
    /// <exception cref="CheckpointException">There is none of this name.</exception>
    public GgufTensor Tensor(string name) =>
        Tensors.TryGetValue(name, out GgufTensor? tensor)
            ? tensor
            : throw new CheckpointException(Name, $"has no tensor {Quote.Name(name)}");

    /// <summary>Unmaps the file. Spans, values and tensors of it must not be used any more.</summary>
    public void Dispose() => map.Dispose();

    void ICheckpointFile.ReleasePages() => map.ReleasePages();

    internal CheckpointException Error(string key, string message) => new(Name, $"key {Quote.Name(key)} {message}");

    internal GgufCursor CursorAt(long offset) => new(Name, map, BigEndian, offset);

    internal ReadOnlySpan<byte> Slice(long offset, int count) => map.Slice(offset, count);

    JsonObjectReader ReadKeys()
    {
        ArrayBufferWriter<byte> text = new();
        using (Utf8JsonWriter json = new(text))
        {
            json.WriteStartObject();
            foreach ((string key, GgufValue value) in Metadata)
            {
                if (value.Count <= LongList && value.Size <= LargeValue)
                {
                    json.WritePropertyName(key);
                    value.WriteTo(json);
                }
            }

            json.WriteEndObject();
        }

        return JsonObjectReader.Parse(Name, text.WrittenSpan);
    }
}
