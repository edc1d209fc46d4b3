namespace VlmSharp.Kernels.Quantized;

/// <summary>How GGUF files store tensors: plain numbers, or blocks of small ones that share scales. The values are the files' type numbers.</summary>
/// <remarks>Source: the GGUF specification of the ggml project. Numbers that are missing were removed from it.</remarks>
public enum GgmlType
{
    /// <summary>IEEE single.</summary>
    F32 = 0,

    /// <summary>IEEE half.</summary>
    F16 = 1,

    /// <summary>32 values of 4 bits, one scale.</summary>
    Q4_0 = 2,

    /// <summary>32 values of 4 bits, scale and least value.</summary>
    Q4_1 = 3,

    /// <summary>32 values of 5 bits, one scale.</summary>
    Q5_0 = 6,

    /// <summary>32 values of 5 bits, scale and least value.</summary>
    Q5_1 = 7,

    /// <summary>32 values of 8 bits, one scale.</summary>
    Q8_0 = 8,

    /// <summary>32 values of 8 bits, a scale and the sum: what activations are rounded to.</summary>
    Q8_1 = 9,

    /// <summary>256 values of 2 bits, 16 scales and least values of 4 bits.</summary>
    Q2_K = 10,

    /// <summary>256 values of 3 bits, 16 scales of 6 bits.</summary>
    Q3_K = 11,

    /// <summary>256 values of 4 bits, 8 scales and least values of 6 bits.</summary>
    Q4_K = 12,

    /// <summary>256 values of 5 bits, 8 scales and least values of 6 bits.</summary>
    Q5_K = 13,

    /// <summary>256 values of 6 bits, 16 scales of 8 bits.</summary>
    Q6_K = 14,

    /// <summary>256 values of 8 bits, one scale, sums of sixteen: what activations are rounded to.</summary>
    Q8_K = 15,

    /// <summary>256 values, eights out of a book of 256.</summary>
    IQ2_XXS = 16,

    /// <summary>256 values, eights out of a book of 512.</summary>
    IQ2_XS = 17,

    /// <summary>256 values, fours out of a book of 256.</summary>
    IQ3_XXS = 18,

    /// <summary>256 values, eights out of a book of 2048, with an offset.</summary>
    IQ1_S = 19,

    /// <summary>32 values of 4 bits that name one of 16 levels.</summary>
    IQ4_NL = 20,

    /// <summary>256 values, fours out of a book of 512.</summary>
    IQ3_S = 21,

    /// <summary>256 values, eights out of a book of 1024.</summary>
    IQ2_S = 22,

    /// <summary>256 values of 4 bits that name one of 16 levels, 8 scales of 6 bits.</summary>
    IQ4_XS = 23,

    /// <summary>Signed 8-bit integer.</summary>
    I8 = 24,

    /// <summary>Signed 16-bit integer.</summary>
    I16 = 25,

    /// <summary>Signed 32-bit integer.</summary>
    I32 = 26,

    /// <summary>Signed 64-bit integer.</summary>
    I64 = 27,

    /// <summary>IEEE double.</summary>
    F64 = 28,

    /// <summary>256 values, eights out of a book of 2048, offsets and scales of their own.</summary>
    IQ1_M = 29,

    /// <summary>The upper half of an IEEE single.</summary>
    BF16 = 30,

    /// <summary>256 values of -1, 0 or 1, five in a byte, one scale.</summary>
    TQ1_0 = 34,

    /// <summary>256 values of -1, 0, 1 or 2, four in a byte, one scale.</summary>
    TQ2_0 = 35,

    /// <summary>32 floats of 4 bits, one power of two.</summary>
    MXFP4 = 39,

    /// <summary>64 floats of 4 bits, four scales that are floats of 8 bits.</summary>
    NVFP4 = 40,
}

/// <summary>Sizes of the types.</summary>
public static class GgmlTypes
{
    /// <summary>Whether this is a type of the list above.</summary>
    public static bool IsKnown(this GgmlType type) => Enum.IsDefined(type);

    /// <summary>Values of a block; 1 for plain numbers. A row is a whole number of blocks.</summary>
    public static int BlockValues(this GgmlType type) => Block(type).Values;

    /// <summary>Bytes of a block.</summary>
    public static int BlockBytes(this GgmlType type) => Block(type).Bytes;

    static (int Values, int Bytes) Block(GgmlType type) =>
        type switch
        {
            GgmlType.I8 => (1, 1),
            GgmlType.F16 or GgmlType.BF16 or GgmlType.I16 => (1, 2),
            GgmlType.F32 or GgmlType.I32 => (1, 4),
            GgmlType.F64 or GgmlType.I64 => (1, 8),
            GgmlType.MXFP4 => (32, 17),
            GgmlType.Q4_0 or GgmlType.IQ4_NL => (32, 18),
            GgmlType.Q4_1 => (32, 20),
            GgmlType.Q5_0 => (32, 22),
            GgmlType.Q5_1 => (32, 24),
            GgmlType.Q8_0 => (32, 34),
            GgmlType.Q8_1 => (32, 36),
            GgmlType.NVFP4 => (64, 36),
            GgmlType.IQ1_S => (256, 50),
            GgmlType.TQ1_0 => (256, 54),
            GgmlType.IQ1_M => (256, 56),
            GgmlType.IQ2_XXS or GgmlType.TQ2_0 => (256, 66),
            GgmlType.IQ2_XS => (256, 74),
            GgmlType.IQ2_S => (256, 82),
            GgmlType.Q2_K => (256, 84),
            GgmlType.IQ3_XXS => (256, 98),
            GgmlType.Q3_K or GgmlType.IQ3_S => (256, 110),
            GgmlType.IQ4_XS => (256, 136),
            GgmlType.Q4_K => (256, 144),
            GgmlType.Q5_K => (256, 176),
            GgmlType.Q6_K => (256, 210),
            GgmlType.Q8_K => (256, 292),
            _ => throw new ArgumentOutOfRangeException(nameof(type), type, "not a tensor type of GGUF"),
        };
}
