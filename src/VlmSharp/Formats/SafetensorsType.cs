namespace VlmSharp.Formats;

/// <summary>The element types a safetensors file can hold, named as the file names them.</summary>
/// <remarks>Source: the <c>Dtype</c> of the safetensors reference implementation, version 0.6.</remarks>
public enum SafetensorsType
{
    /// <summary>One byte, 0 or 1.</summary>
    Bool,

    /// <summary>Four bits; two elements per byte.</summary>
    F4,

    /// <summary>Six bits, 2 of exponent.</summary>
    F6_E2M3,

    /// <summary>Six bits, 3 of exponent.</summary>
    F6_E3M2,

    /// <summary>Unsigned 8-bit integer.</summary>
    U8,

    /// <summary>Signed 8-bit integer.</summary>
    I8,

    /// <summary>8-bit float, 5 bits of exponent.</summary>
    F8_E5M2,

    /// <summary>8-bit float, 4 bits of exponent.</summary>
    F8_E4M3,

    /// <summary>8-bit exponent only, a scale.</summary>
    F8_E8M0,

    /// <summary>Signed 16-bit integer.</summary>
    I16,

    /// <summary>Unsigned 16-bit integer.</summary>
    U16,

    /// <summary>IEEE half.</summary>
    F16,

    /// <summary>The upper half of an IEEE single.</summary>
    BF16,

    /// <summary>Signed 32-bit integer.</summary>
    I32,

    /// <summary>Unsigned 32-bit integer.</summary>
    U32,

    /// <summary>IEEE single.</summary>
    F32,

    /// <summary>Two IEEE singles: a complex number.</summary>
    C64,

    /// <summary>IEEE double.</summary>
    F64,

    /// <summary>Signed 64-bit integer.</summary>
    I64,

    /// <summary>Unsigned 64-bit integer.</summary>
    U64,
}

/// <summary>Names and sizes of the element types.</summary>
static class SafetensorsTypes
{
    /// <summary>Bits per element.</summary>
    public static int Bits(this SafetensorsType type) =>
        type switch
        {
            SafetensorsType.F4 => 4,
            SafetensorsType.F6_E2M3 or SafetensorsType.F6_E3M2 => 6,
            SafetensorsType.Bool or SafetensorsType.U8 or SafetensorsType.I8 => 8,
            SafetensorsType.F8_E5M2 or SafetensorsType.F8_E4M3 or SafetensorsType.F8_E8M0 => 8,
            SafetensorsType.I16 or SafetensorsType.U16 or SafetensorsType.F16 or SafetensorsType.BF16 => 16,
            SafetensorsType.I32 or SafetensorsType.U32 or SafetensorsType.F32 => 32,
            SafetensorsType.C64 or SafetensorsType.F64 or SafetensorsType.I64 or SafetensorsType.U64 => 64,
            _ => throw new ArgumentOutOfRangeException(nameof(type)),
        };

    /// <summary>The type a header names, exactly as spelled there.</summary>
    public static bool TryParse(string name, out SafetensorsType type)
    {
        // Enum.TryParse alone would also take numbers and lists.
        if (name == "BOOL")
        {
            type = SafetensorsType.Bool;
            return true;
        }

        return Enum.TryParse(name, out type) && type != SafetensorsType.Bool && Enum.GetName(type) == name;
    }
}
