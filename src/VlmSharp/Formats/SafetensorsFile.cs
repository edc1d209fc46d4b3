using System.Buffers.Binary;
using System.Runtime.InteropServices;
using VlmSharp.Kernels;

namespace VlmSharp.Formats;

/// <summary>One safetensors file, memory-mapped; opening it reads only the header and checks it fully.</summary>
/// <remarks>
/// The file owns the mapping; spans and <see cref="CheckpointTensor"/>s borrow it and end with <see cref="Dispose"/>. See
/// <see cref="MappedFile"/> for what happens to a file that is changed while it is mapped.
/// </remarks>
public sealed class SafetensorsFile : ITensorBytes, ICheckpointFile
{
    readonly MappedFile map;
    readonly Dictionary<string, TensorInfo> tensors;
    readonly Dictionary<string, string> metadata;

    SafetensorsFile(string name, MappedFile map)
    {
        Name = name;
        this.map = map;
        if (map.Length < SafetensorsHeader.LengthBytes)
        {
            throw new CheckpointException(
                name,
                $"has {map.Length} bytes, a safetensors file has at least {SafetensorsHeader.LengthBytes}"
            );
        }

        ulong announced = BinaryPrimitives.ReadUInt64LittleEndian(map.Slice(0, SafetensorsHeader.LengthBytes));
        int length = SafetensorsHeader.CheckLength(name, announced, map.Length);
        ReadOnlySpan<byte> header = map.Slice(SafetensorsHeader.LengthBytes, length);
        (tensors, metadata) = SafetensorsHeader.Read(name, header, map.Length);
    }

    /// <summary>The file's name without its directory, as it appears in messages.</summary>
    public string Name { get; }

    /// <summary>All tensors, in the header's order.</summary>
    public IReadOnlyCollection<TensorInfo> Tensors => tensors.Values;

    /// <summary>The header's <c>__metadata__</c>; empty when it has none.</summary>
    public IReadOnlyDictionary<string, string> Metadata => metadata;

    /// <summary>Maps a file and checks its header.</summary>
    /// <exception cref="CheckpointException">
    /// The file cannot be read, is truncated, or its header is malformed, contradicts itself or the file's length.
    /// </exception>
    public static SafetensorsFile Open(string path) =>
        CheckpointFile.Map(path, map => new SafetensorsFile(CheckpointFile.Name(path), map));

    /// <summary>Whether the file has a tensor of this name.</summary>
    public bool Contains(string name) => tensors.ContainsKey(name);

    /// <summary>What the header says about a tensor.</summary>
    /// <exception cref="CheckpointException">There is no such tensor.</exception>
    public TensorInfo Find(string name) =>
        tensors.TryGetValue(name, out TensorInfo? tensor)
            ? tensor
            : throw new CheckpointException(Name, $"has no tensor {Quote.Name(name)}");

    /// <summary>A tensor's bytes as they lie in the file, little endian; valid until <see cref="Dispose"/>.</summary>
    /// <exception cref="CheckpointException">There is no such tensor, or it is larger than a span: use <see cref="Tensor"/> and its rows.</exception>
    /// <exception cref="ObjectDisposedException">The file was disposed.</exception>
    public ReadOnlySpan<byte> Bytes(string name)
    {
        TensorInfo tensor = Find(name);
        return Slice(tensor.Name, tensor.Offset, tensor.Size);
    }

    /// <summary>A float tensor: F32, F16 or BF16.</summary>
    /// <exception cref="CheckpointException">There is no such tensor, or it has another element type.</exception>
    public CheckpointTensor Tensor(string name) => new(this, Find(name));

    /// <summary>A copy of a float tensor (F32, F16 or BF16), widened exactly.</summary>
    /// <exception cref="CheckpointException">There is no such tensor, it has another element type, or more elements than an array.</exception>
    public float[] Floats(string name) => Tensor(name).ToArray();

    /// <summary>A copy of an integer tensor (I64 or I32).</summary>
    /// <exception cref="CheckpointException">There is no such tensor, or it has another element type.</exception>
    public long[] Integers(string name)
    {
        TensorInfo tensor = Find(name);
        ReadOnlySpan<byte> bytes = Bytes(name);
        switch (tensor.Type)
        {
            case SafetensorsType.I64:
                return MemoryMarshal.Cast<byte, long>(bytes).ToArray();
            case SafetensorsType.I32:
                return Array.ConvertAll(MemoryMarshal.Cast<byte, int>(bytes).ToArray(), static i => (long)i);
            default:
                throw new CheckpointException(Name, $"tensor {Quote.Name(name)} is {tensor.Type}, expected I64 or I32");
        }
    }

    /// <summary>Unmaps the file. Spans and tensors of it must not be used any more.</summary>
    public void Dispose() => map.Dispose();

    void ICheckpointFile.ReleasePages() => map.ReleasePages();

    ReadOnlySpan<byte> ITensorBytes.Slice(string tensor, long offset, long size) => Slice(tensor, offset, size);

    internal ReadOnlySpan<byte> Slice(string tensor, long offset, long size) =>
        size <= int.MaxValue
            ? map.Slice(offset, (int)size)
            : throw new CheckpointException(
                Name,
                $"tensor {Quote.Name(tensor)} has {size} bytes, more than the {int.MaxValue} that are read at once: read it by rows"
            );
}
