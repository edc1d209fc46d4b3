using System.Runtime.InteropServices;
using VlmSharp.Formats.Gguf;
using VlmSharp.Kernels;
using VlmSharp.Kernels.Quantized;

namespace VlmSharp.Formats;

/// <summary>A weight, or some rows of one: F32, F16 or BF16, row-major, as it lies in the mapped file or is unpacked from it.</summary>
/// <remarks>Borrows the file's mapping: usable until the <see cref="Checkpoint"/> or <see cref="SafetensorsFile"/> is disposed.</remarks>
public readonly struct CheckpointTensor
{
    readonly ITensorBytes file;
    readonly long offset;

    internal CheckpointTensor(ITensorBytes file, TensorInfo info)
        : this(file, info.Name, ElementTypeOf(info), info.Shape, info.Offset) { }

    CheckpointTensor(ITensorBytes file, string name, ElementType type, int[] shape, long offset)
    {
        this.file = file;
        this.offset = offset;
        Name = name;
        Type = type;
        Shape = shape;
        Count = 1;
        foreach (int dimension in shape)
        {
            Count *= dimension;
        }
    }

    /// <summary>The tensor's name.</summary>
    public string Name { get; }

    /// <summary>How each element is stored.</summary>
    public ElementType Type { get; }

    /// <summary>Dimensions, outermost first; empty for a scalar. Not to be written to.</summary>
    public int[] Shape { get; }

    /// <summary>Number of elements.</summary>
    public long Count { get; }

    /// <summary>The elements' bytes, little endian, with no alignment promised. Those of packed weights are unpacked at each call.</summary>
    /// <exception cref="CheckpointException">There are more than 2 GiB of them: take <see cref="Rows"/>.</exception>
    /// <exception cref="ObjectDisposedException">The file was disposed.</exception>
    public ReadOnlySpan<byte> Bytes => file.Slice(Name, offset, Count * Type.Size());

    /// <summary>The type of the blocks a GGUF file stores it in; null where there are none.</summary>
    internal GgmlType? Blocks => (file as GgufWeight)?.Blocks;

    /// <summary>The format in which a matrix keeps its values: blocks as they are, as far as kernels read them.</summary>
    internal WeightFormat Format => Blocks?.Format() ?? Type.Format();

    /// <summary>The blocks as they lie in the file.</summary>
    /// <exception cref="CheckpointException">There are more than 2 GiB of them.</exception>
    internal ReadOnlySpan<byte> BlockBytes => ((GgufWeight)file).BlockBytes(offset / Type.Size(), Count);

    /// <summary>The part [<paramref name="first"/>, <paramref name="first"/> + <paramref name="count"/>) of the outermost dimension.</summary>
    /// <remarks>This is how a tensor of more than 2 GiB is read: piece by piece.</remarks>
    /// <returns>The same weight with shape [<paramref name="count"/>, ...].</returns>
    /// <exception cref="ArgumentOutOfRangeException">The tensor is a scalar or does not have these rows.</exception>
    public CheckpointTensor Rows(int first, int count)
    {
        int rows = Shape.Length > 0 ? Shape[0] : 0;
        ArgumentOutOfRangeException.ThrowIfNegative(first);
        ArgumentOutOfRangeException.ThrowIfNegative(count);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(first, rows - count);
        long rowBytes = rows == 0 ? 0 : Count / rows * Type.Size();
        return new CheckpointTensor(file, Name, Type, [count, .. Shape.AsSpan(1)], offset + (first * rowBytes));
    }

    /// <summary>Writes all elements as f32; F16 and BF16 widen exactly.</summary>
    /// <param name="destination">[<see cref="Count"/>]</param>
    /// <exception cref="ArgumentException">The destination has another length.</exception>
    public void CopyTo(Span<float> destination)
    {
        if (destination.Length != Count)
        {
            throw new ArgumentException(
                $"Tensor '{Name}' has {Count} elements, the destination {destination.Length}.",
                nameof(destination)
            );
        }

        ReadOnlySpan<byte> bytes = Bytes;
        switch (Type)
        {
            case ElementType.F32:
                bytes.CopyTo(MemoryMarshal.AsBytes(destination));
                break;
            case ElementType.F16:
                ReadOnlySpan<Half> halves = MemoryMarshal.Cast<byte, Half>(bytes);
                for (int i = 0; i < destination.Length; i++)
                {
                    destination[i] = (float)halves[i];
                }

                break;
            case ElementType.BF16:
                ReadOnlySpan<ushort> upper = MemoryMarshal.Cast<byte, ushort>(bytes);
                for (int i = 0; i < destination.Length; i++)
                {
                    destination[i] = BitConverter.Int32BitsToSingle(upper[i] << 16);
                }

                break;
            default:
                throw new InvalidOperationException($"Element type {Type} has no widening.");
        }
    }

    /// <summary>A copy of all elements as f32.</summary>
    /// <exception cref="CheckpointException">There are more of them than an array holds.</exception>
    public float[] ToArray()
    {
        if (Count > Array.MaxLength)
        {
            throw new CheckpointException(
                file.Name,
                $"tensor {Quote.Name(Name)} has {Count} elements, an array holds {Array.MaxLength}"
            );
        }

        float[] result = GC.AllocateUninitializedArray<float>((int)Count);
        CopyTo(result);
        return result;
    }

    static ElementType ElementTypeOf(TensorInfo info) =>
        info.Type switch
        {
            SafetensorsType.F32 => ElementType.F32,
            SafetensorsType.F16 => ElementType.F16,
            SafetensorsType.BF16 => ElementType.BF16,
            _ => throw new CheckpointException(
                info.File,
                $"tensor {Quote.Name(info.Name)} is {info.Type}, weights are read as F32, F16 or BF16"
            ),
        };
}
