using System.Runtime.InteropServices;

namespace VlmSharp.Formats.Quantized;

/// <summary>A tensor of any element type as it lies in the mapped file, its type and shape checked.</summary>
sealed class StoredTensor
{
    readonly ITensorBytes file;

    /// <exception cref="CheckpointException">It is larger than a span.</exception>
    public StoredTensor(ITensorBytes file, TensorInfo info)
    {
        this.file = file;
        Info = info;
        if (info.Size > int.MaxValue)
        {
            throw Error($"has {info.Size} bytes, quantised tensors are read up to {int.MaxValue}");
        }
    }

    /// <summary>What the header says about it.</summary>
    public TensorInfo Info { get; }

    /// <summary>All bytes, little endian.</summary>
    public ReadOnlySpan<byte> Bytes => file.Slice(Info.Name, Info.Offset, Info.Size);

    /// <summary>All bytes as 32-bit words.</summary>
    public ReadOnlySpan<uint> Words => MemoryMarshal.Cast<byte, uint>(Bytes);

    /// <summary>An error about this tensor: <c>file: tensor 'name' message</c>.</summary>
    public CheckpointException Error(string message) => new(Info.File, $"tensor {Quote.Name(Info.Name)} {message}");
}
