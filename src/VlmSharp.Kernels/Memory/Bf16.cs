using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace VlmSharp.Kernels;

/// <summary>Rounding of f32 to bf16, its upper half: to the nearest, ties to even; a NaN stays one, made quiet.</summary>
internal static class Bf16
{
    /// <summary>The bits of an infinite f32; above them, without the sign, are those of NaNs.</summary>
    public const uint Infinity = 0x7F800000;

    /// <summary>The bits of an f32 that is NaN.</summary>
    public const uint QuietNaN = 0x7FC00000;

    const uint Upper = 0xFFFF0000;

    /// <summary>One number.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ushort Round(float x)
    {
        uint bits = BitConverter.SingleToUInt32Bits(x);
        uint rounded = bits + 0x7FFF + ((bits >> 16) & 1);
        return (ushort)((float.IsNaN(x) ? bits | 0x400000 : rounded) >> 16);
    }

    /// <summary>16 numbers, to the upper halves of their lanes; the lower halves are undefined.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<uint> RoundUpper(Vector512<float> x)
    {
        Vector512<uint> bits = x.AsUInt32();
        Vector512<uint> odd = (bits >> 16) & Vector512<uint>.One;
        Vector512<uint> rounded = bits + Vector512.Create(0x7FFFu) + odd;
        Vector512<uint> number = Vector512.Equals(x, x).AsUInt32();
        return Vector512.ConditionalSelect(number, rounded, bits | Vector512.Create(0x400000u));
    }

    /// <summary>Pairs: the upper halves of one vector's lanes below those of another's.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<uint> Pair(Vector512<uint> low, Vector512<uint> high) =>
        (low >> 16) | (high & Vector512.Create(Upper));
}
