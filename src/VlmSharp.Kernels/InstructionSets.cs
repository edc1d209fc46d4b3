using System.Runtime.Intrinsics.X86;

namespace VlmSharp.Kernels;

/// <summary>The two sets of x86 instructions kernels are written for; what each stands for is decided here once.</summary>
internal static class InstructionSets
{
    /// <summary>512-bit vectors with the byte, word, double-word and 128/256-bit extensions (every AVX-512 server CPU since 2017).</summary>
    public static bool Avx512 =>
        Avx512F.IsSupported && Avx512BW.IsSupported && Avx512DQ.IsSupported && Avx512F.VL.IsSupported;

    /// <summary>Dot products of pairs of bf16 on top of <see cref="Avx512"/>: no intrinsics of .NET, only generated code uses them.</summary>
    public static bool Avx512Bf16 => Avx512 && HasLeaf7(subleaf: 1) && (X86Base.CpuId(7, 1).Eax & (1 << 5)) != 0;

    /// <summary>Dot products of four bytes on top of <see cref="Avx512"/>: as above.</summary>
    public static bool Avx512Vnni => Avx512 && HasLeaf7(subleaf: 0) && (X86Base.CpuId(7, 0).Ecx & (1 << 11)) != 0;

    static bool HasLeaf7(int subleaf) => X86Base.CpuId(0, 0).Eax >= 7 && X86Base.CpuId(7, 0).Eax >= subleaf;

    /// <summary>256-bit vectors with fused multiply-add.</summary>
    public static bool Avx2 => System.Runtime.Intrinsics.X86.Avx2.IsSupported && Fma.IsSupported;
}
