using System.Runtime.InteropServices;
using VlmSharp.Kernels;
using VlmSharp.Kernels.Quantized;

namespace VlmSharp.Formats.Gguf;

/// <summary>A weight under its published name, put together from one or several tensors of a GGUF file and unpacked when it is read.</summary>
/// <remarks>
/// The elements are runs of a fixed length, taken from the parts in turn. Stacked parts are one run each; the two halves of a patch
/// convolution are runs of one channel's window each.
/// </remarks>
sealed class GgufWeight : ITensorBytes
{
    readonly GgufTensor[] parts;
    readonly long start;
    readonly long run;

    /// <summary>Joins tensors.</summary>
    /// <param name="parts">Of the same shape.</param>
    /// <param name="start">First value that is taken of each.</param>
    /// <param name="run">Length of a run: whole blocks.</param>
    public GgufWeight(GgufTensor[] parts, long start, long run)
    {
        this.parts = parts;
        this.start = start;
        this.run = run;
        ElementType[] types = [.. parts.Select(Stored).Distinct()];
        Type = types.Length == 1 ? types[0] : ElementType.F32;
    }

    /// <summary>What it is read as: as it is stored where that is possible, else f32.</summary>
    public ElementType Type { get; }

    /// <summary>The type of the blocks it is stored in; null where there are none, or where it is put together from several tensors.</summary>
    public GgmlType? Blocks =>
        parts is [{ IsLittleEndian: true } only] && only.Type.BlockValues() > 1 ? only.Type : null;

    /// <summary>The blocks of some values as they lie in the file.</summary>
    /// <param name="first">The first value, which begins a block.</param>
    /// <param name="count">How many, whole blocks.</param>
    /// <exception cref="CheckpointException">There are more than 2 GiB of them.</exception>
    public ReadOnlySpan<byte> BlockBytes(long first, long count) => parts[0].Bytes(start + first, count);

    /// <summary>What it takes in memory when it is packed: blocks that the kernels read stay as they are.</summary>
    public long LoadedBytes(TensorInfo info) =>
        Blocks is { } type && info.Shape.Length > 1 && type.Format() is not null
            ? info.Count / type.BlockValues() * type.BlockBytes()
            : info.Size;

    /// <inheritdoc/>
    public string Name => parts[0].File;

    /// <inheritdoc/>
    public ReadOnlySpan<byte> Slice(string tensor, long offset, long size)
    {
        int element = Type.Size();
        (long first, long count) = (offset / element, size / element);
        bool stored = Array.TrueForAll(parts, IsStored);
        if (stored && parts.Length == 1)
        {
            return parts[0].Bytes(start + first, count);
        }

        if (size > int.MaxValue)
        {
            throw new CheckpointException(
                Name,
                $"tensor {Quote.Name(tensor)} has {size} bytes unpacked, more than the {int.MaxValue} that are read at once: read it by rows"
            );
        }

        byte[] bytes = GC.AllocateUninitializedArray<byte>((int)size);
        for (long done = 0; done < count; )
        {
            (long turn, long within) = Math.DivRem(first + done, run);
            long values = Math.Min(run - within, count - done);
            GgufTensor part = parts[turn % parts.Length];
            long from = start + (turn / parts.Length * run) + within;
            Span<byte> to = bytes.AsSpan((int)(done * element), (int)(values * element));
            if (stored)
            {
                part.Bytes(from, values).CopyTo(to);
            }
            else
            {
                part.CopyTo(from, MemoryMarshal.Cast<byte, float>(to));
            }

            done += values;
        }

        return bytes;
    }

    bool IsStored(GgufTensor part) =>
        part.IsLittleEndian
        && Type
            == part.Type switch
            {
                GgmlType.F32 => ElementType.F32,
                GgmlType.F16 => ElementType.F16,
                GgmlType.BF16 => ElementType.BF16,
                _ => null,
            };

    static ElementType Stored(GgufTensor part) =>
        part switch
        {
            { IsLittleEndian: true, Type: GgmlType.F16 } => ElementType.F16,
            { IsLittleEndian: true, Type: GgmlType.BF16 } => ElementType.BF16,
            _ => ElementType.F32,
        };
}
