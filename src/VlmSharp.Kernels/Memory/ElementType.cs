namespace VlmSharp.Kernels;

/// <summary>How one number is stored. Arithmetic is always f32; a storage type is widened where it is read.</summary>
public enum ElementType
{
    /// <summary>IEEE 754 binary32.</summary>
    F32,

    /// <summary>IEEE 754 binary16.</summary>
    F16,

    /// <summary>The upper half of a binary32.</summary>
    BF16,
}

/// <summary>Facts about an <see cref="ElementType"/>.</summary>
public static class ElementTypes
{
    /// <summary>Bytes per element.</summary>
    public static int Size(this ElementType type) =>
        type switch
        {
            ElementType.F32 => 4,
            ElementType.F16 or ElementType.BF16 => 2,
            _ => throw new ArgumentOutOfRangeException(nameof(type), type, "not an element type"),
        };

    /// <summary>Whether every value of <paramref name="source"/>, subnormals and infinities included, exists in <paramref name="target"/>.</summary>
    public static bool WidensTo(this ElementType source, ElementType target) =>
        source == target || target == ElementType.F32;
}
