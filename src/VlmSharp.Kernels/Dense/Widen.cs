using System.Runtime.CompilerServices;

namespace VlmSharp.Kernels;

/// <summary>Exact conversions of stored bits to f32.</summary>
internal static class Widen
{
    /// <summary>bf16 is the upper half of an f32.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float BF16(ushort bits) => BitConverter.UInt32BitsToSingle((uint)bits << 16);

    /// <summary>IEEE binary16, subnormals, infinities and NaN included.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float F16(ushort bits) => (float)BitConverter.UInt16BitsToHalf(bits);
}
