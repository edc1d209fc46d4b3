using VlmSharp.Kernels;

namespace VlmSharp.Formats;

/// <summary>What a file says about one tensor; checked against the file's size and every other tensor in it.</summary>
public sealed class TensorInfo
{
    internal TensorInfo(string name, SafetensorsType type, int[] shape, long count, long offset, long size, string file)
    {
        Name = name;
        Type = type;
        Shape = shape;
        Count = count;
        Offset = offset;
        Size = size;
        File = file;
    }

    /// <summary>The tensor's name.</summary>
    public string Name { get; }

    /// <summary>The element type.</summary>
    public SafetensorsType Type { get; }

    /// <summary>Dimensions, outermost first (row-major); empty for a scalar. Not to be written to.</summary>
    public int[] Shape { get; }

    /// <summary>Number of elements, the product of <see cref="Shape"/>.</summary>
    public long Count { get; }

    /// <summary>Size in bytes.</summary>
    public long Size { get; }

    /// <summary>The name of the file that holds it.</summary>
    public string File { get; }

    /// <summary>The format in which a matrix of these numbers is kept.</summary>
    internal WeightFormat Format =>
        Type switch
        {
            SafetensorsType.BF16 => WeightFormat.BF16,
            SafetensorsType.F16 => WeightFormat.F16,
            _ => WeightFormat.F32,
        };

    /// <summary>First byte, counted from the start of the file.</summary>
    internal long Offset { get; }

    /// <summary><c>name F32 [48, 24]</c></summary>
    public override string ToString() => $"{Name} {Type} {Text(Shape)}";

    /// <summary><c>[48, 24]</c></summary>
    internal static string Text(ReadOnlySpan<int> shape) => $"[{string.Join(", ", shape.ToArray())}]";
}
