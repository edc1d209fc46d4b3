using VlmSharp.Kernels.Quantized;

namespace VlmSharp.Formats.Gguf;

/// <summary>A tensor of a GGUF file, held against the file's length and the other tensors; it borrows the file's mapping.</summary>
public sealed class GgufTensor
{
    readonly GgufFile file;

    internal GgufTensor(GgufFile file, string name, GgmlType type, int[] shape, long count, long offset, long size)
    {
        this.file = file;
        Name = name;
        Type = type;
        Shape = shape;
        Count = count;
        Offset = offset;
        Size = size;
    }

    /// <summary>The tensor's name.</summary>
    public string Name { get; }

    /// <summary>How it is stored.</summary>
    public GgmlType Type { get; }

    /// <summary>Dimensions, outermost first (the file has them the other way round); empty for a single value. Not to be written to.</summary>
    public int[] Shape { get; }

    /// <summary>Number of values.</summary>
    public long Count { get; }

    /// <summary>Size in bytes.</summary>
    public long Size { get; }

    /// <summary>The name of the file that holds it.</summary>
    public string File => file.Name;

    /// <summary>Whether the bytes in the file are values in the machine's byte order.</summary>
    internal bool IsLittleEndian => !file.BigEndian;

    /// <summary>First byte, counted from the start of the file.</summary>
    internal long Offset { get; }

    /// <summary>The bytes of some values as they lie in the file; valid until it is disposed.</summary>
    /// <param name="first">The first value, which begins a block.</param>
    /// <param name="count">How many, whole blocks.</param>
    /// <exception cref="ArgumentException">The values are not whole blocks of the tensor.</exception>
    /// <exception cref="CheckpointException">There are more than 2 GiB of them.</exception>
    public ReadOnlySpan<byte> Bytes(long first, long count)
    {
        int values = Type.BlockValues();
        if (first < 0 || count < 0 || first > Count - count || first % values != 0 || count % values != 0)
        {
            throw new ArgumentException(
                $"Values {first} .. {first + count} are not whole blocks of the {Count} of tensor '{Name}' ({Type})."
            );
        }

        long size = count / values * Type.BlockBytes();
        return size <= int.MaxValue
            ? file.Slice(Offset + (first / values * Type.BlockBytes()), (int)size)
            : throw new CheckpointException(
                file.Name,
                $"tensor {Quote.Name(Name)}: {size} bytes were asked for at once, at most {int.MaxValue} are read"
            );
    }

    /// <summary>Unpacks some values to f32.</summary>
    /// <param name="first">The first value, which begins a block.</param>
    /// <param name="values">Receives as many as it holds, whole blocks.</param>
    /// <exception cref="CheckpointException">Values of this type cannot be unpacked.</exception>
    public void CopyTo(long first, Span<float> values)
    {
        ReadOnlySpan<byte> bytes = Bytes(first, values.Length);
        try
        {
            if (!file.BigEndian)
            {
                Dequantize.Apply(Type, bytes, values);
                return;
            }

            byte[] turned = bytes.ToArray();
            BlockFields.Reverse(Type, turned);
            Dequantize.Apply(Type, turned, values);
        }
        catch (NotSupportedException e)
        {
            throw new CheckpointException(file.Name, $"tensor {Quote.Name(Name)} is {Type}: {e.Message}", e);
        }
    }

    /// <summary>All values as f32.</summary>
    /// <exception cref="CheckpointException">There are more of them than an array holds, or they cannot be unpacked.</exception>
    public float[] ToArray()
    {
        if (Count > Array.MaxLength)
        {
            throw new CheckpointException(
                file.Name,
                $"tensor {Quote.Name(Name)} has {Count} values, an array holds {Array.MaxLength}"
            );
        }

        float[] values = GC.AllocateUninitializedArray<float>((int)Count);
        CopyTo(0, values);
        return values;
    }

    /// <summary><c>blk.0.attn_q.weight Q8_0 [32, 32]</c></summary>
    public override string ToString() => $"{Name} {Type} {TensorInfo.Text(Shape)}";
}
