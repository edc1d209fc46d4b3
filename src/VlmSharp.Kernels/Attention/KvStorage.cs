namespace VlmSharp.Kernels;

/// <summary>How the numbers of keys and values are stored in pages.</summary>
public enum KvStorage
{
    /// <summary>IEEE 754 binary32: 4 bytes a number, nothing is rounded.</summary>
    F32,

    /// <summary>The upper half of a binary32, to the nearest, ties to even: 2 bytes a number, each within 2^-9 of its size.</summary>
    BF16,

    /// <summary>
    /// Signed bytes and for every 32 channels of a token and head a bf16 factor: 17/16 bytes a number, each within 1/252 of the largest
    /// of its 32. Keys of published models have a few channels a hundred times larger than the others; with one factor for the whole
    /// head they would leave nothing of these.
    /// </summary>
    Q8,
}
