using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using V = System.Runtime.Intrinsics.Vector256<byte>;

namespace VlmSharp.Kernels.Imaging;

/// <summary>Two 16 x 16 blocks of bytes, each turned about its diagonal.</summary>
static unsafe class ByteTranspose
{
    /// <summary>Block b has its row i at <c>source + i * stride + b * step</c>, and in the target likewise; 16 bytes each.</summary>
    /// <remarks>
    /// Interleaving vector i with vector i + 8 rotates the eight index bits (row, column) of every byte by one; four times
    /// that exchanges row and column. AVX2's interleaving stays within its 128-bit halves, which hold one block each.
    /// </remarks>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void TwoBlocks(
        byte* source,
        nint sourceStride,
        nint sourceStep,
        byte* target,
        nint targetStride,
        nint targetStep
    )
    {
        V a0 = Load(source + 0 * sourceStride, sourceStep);
        V a1 = Load(source + 1 * sourceStride, sourceStep);
        V a2 = Load(source + 2 * sourceStride, sourceStep);
        V a3 = Load(source + 3 * sourceStride, sourceStep);
        V a4 = Load(source + 4 * sourceStride, sourceStep);
        V a5 = Load(source + 5 * sourceStride, sourceStep);
        V a6 = Load(source + 6 * sourceStride, sourceStep);
        V a7 = Load(source + 7 * sourceStride, sourceStep);
        V a8 = Load(source + 8 * sourceStride, sourceStep);
        V a9 = Load(source + 9 * sourceStride, sourceStep);
        V aA = Load(source + 10 * sourceStride, sourceStep);
        V aB = Load(source + 11 * sourceStride, sourceStep);
        V aC = Load(source + 12 * sourceStride, sourceStep);
        V aD = Load(source + 13 * sourceStride, sourceStep);
        V aE = Load(source + 14 * sourceStride, sourceStep);
        V aF = Load(source + 15 * sourceStride, sourceStep);

        V b0 = Avx2.UnpackLow(a0, a8);
        V b1 = Avx2.UnpackHigh(a0, a8);
        V b2 = Avx2.UnpackLow(a1, a9);
        V b3 = Avx2.UnpackHigh(a1, a9);
        V b4 = Avx2.UnpackLow(a2, aA);
        V b5 = Avx2.UnpackHigh(a2, aA);
        V b6 = Avx2.UnpackLow(a3, aB);
        V b7 = Avx2.UnpackHigh(a3, aB);
        V b8 = Avx2.UnpackLow(a4, aC);
        V b9 = Avx2.UnpackHigh(a4, aC);
        V bA = Avx2.UnpackLow(a5, aD);
        V bB = Avx2.UnpackHigh(a5, aD);
        V bC = Avx2.UnpackLow(a6, aE);
        V bD = Avx2.UnpackHigh(a6, aE);
        V bE = Avx2.UnpackLow(a7, aF);
        V bF = Avx2.UnpackHigh(a7, aF);

        V c0 = Avx2.UnpackLow(b0, b8);
        V c1 = Avx2.UnpackHigh(b0, b8);
        V c2 = Avx2.UnpackLow(b1, b9);
        V c3 = Avx2.UnpackHigh(b1, b9);
        V c4 = Avx2.UnpackLow(b2, bA);
        V c5 = Avx2.UnpackHigh(b2, bA);
        V c6 = Avx2.UnpackLow(b3, bB);
        V c7 = Avx2.UnpackHigh(b3, bB);
        V c8 = Avx2.UnpackLow(b4, bC);
        V c9 = Avx2.UnpackHigh(b4, bC);
        V cA = Avx2.UnpackLow(b5, bD);
        V cB = Avx2.UnpackHigh(b5, bD);
        V cC = Avx2.UnpackLow(b6, bE);
        V cD = Avx2.UnpackHigh(b6, bE);
        V cE = Avx2.UnpackLow(b7, bF);
        V cF = Avx2.UnpackHigh(b7, bF);

        V d0 = Avx2.UnpackLow(c0, c8);
        V d1 = Avx2.UnpackHigh(c0, c8);
        V d2 = Avx2.UnpackLow(c1, c9);
        V d3 = Avx2.UnpackHigh(c1, c9);
        V d4 = Avx2.UnpackLow(c2, cA);
        V d5 = Avx2.UnpackHigh(c2, cA);
        V d6 = Avx2.UnpackLow(c3, cB);
        V d7 = Avx2.UnpackHigh(c3, cB);
        V d8 = Avx2.UnpackLow(c4, cC);
        V d9 = Avx2.UnpackHigh(c4, cC);
        V dA = Avx2.UnpackLow(c5, cD);
        V dB = Avx2.UnpackHigh(c5, cD);
        V dC = Avx2.UnpackLow(c6, cE);
        V dD = Avx2.UnpackHigh(c6, cE);
        V dE = Avx2.UnpackLow(c7, cF);
        V dF = Avx2.UnpackHigh(c7, cF);

        V e0 = Avx2.UnpackLow(d0, d8);
        V e1 = Avx2.UnpackHigh(d0, d8);
        V e2 = Avx2.UnpackLow(d1, d9);
        V e3 = Avx2.UnpackHigh(d1, d9);
        V e4 = Avx2.UnpackLow(d2, dA);
        V e5 = Avx2.UnpackHigh(d2, dA);
        V e6 = Avx2.UnpackLow(d3, dB);
        V e7 = Avx2.UnpackHigh(d3, dB);
        V e8 = Avx2.UnpackLow(d4, dC);
        V e9 = Avx2.UnpackHigh(d4, dC);
        V eA = Avx2.UnpackLow(d5, dD);
        V eB = Avx2.UnpackHigh(d5, dD);
        V eC = Avx2.UnpackLow(d6, dE);
        V eD = Avx2.UnpackHigh(d6, dE);
        V eE = Avx2.UnpackLow(d7, dF);
        V eF = Avx2.UnpackHigh(d7, dF);

        Store(e0, target + 0 * targetStride, targetStep);
        Store(e1, target + 1 * targetStride, targetStep);
        Store(e2, target + 2 * targetStride, targetStep);
        Store(e3, target + 3 * targetStride, targetStep);
        Store(e4, target + 4 * targetStride, targetStep);
        Store(e5, target + 5 * targetStride, targetStep);
        Store(e6, target + 6 * targetStride, targetStep);
        Store(e7, target + 7 * targetStride, targetStep);
        Store(e8, target + 8 * targetStride, targetStep);
        Store(e9, target + 9 * targetStride, targetStep);
        Store(eA, target + 10 * targetStride, targetStep);
        Store(eB, target + 11 * targetStride, targetStep);
        Store(eC, target + 12 * targetStride, targetStep);
        Store(eD, target + 13 * targetStride, targetStep);
        Store(eE, target + 14 * targetStride, targetStep);
        Store(eF, target + 15 * targetStride, targetStep);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static V Load(byte* at, nint step) => Vector256.Create(Vector128.Load(at), Vector128.Load(at + step));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static void Store(V value, byte* at, nint step)
    {
        value.GetLower().Store(at);
        value.GetUpper().Store(at + step);
    }
}
