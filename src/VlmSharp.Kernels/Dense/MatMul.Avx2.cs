using System.Diagnostics;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace VlmSharp.Kernels;

public static unsafe partial class MatMul
{
    static void Avx2(in Call call)
    {
        switch (call.W.Storage)
        {
            case WeightFormat.F32:
                Drive<Avx2Kernels<F32Weights>>(call);
                break;
            case WeightFormat.BF16:
                Drive<Avx2Kernels<BF16Weights>>(call);
                break;
            case WeightFormat.F16:
                Drive<Avx2Kernels<F16Weights>>(call);
                break;
            case WeightFormat.F8:
                DriveFloat8<Avx2Kernels<F32Weights>>(call);
                break;
            default:
                DriveBlocks<Avx2Kernels<F32Weights>>(call);
                break;
        }
    }

    /// <summary>256-bit vectors; a panel is two halves, outputs 0-7 and 16-23 and outputs 8-15 and 24-31.</summary>
    /// <remarks>
    /// Six rows of x times one half are 12 accumulators, two vectors of weights and one broadcast value: 15 of the 16 registers.
    /// Six rows fit the first-level cache where they lie, so x is not packed.
    /// </remarks>
    readonly struct Avx2Kernels<TWeights> : IPanelKernels
        where TWeights : struct, IWeightFormat
    {
        public int TileRows => int.MaxValue;

        public bool TilesReadUnpacked => false;

        public bool RowsReadUnpacked => false;

        public bool ReadsWeightsOnce(int rows) => rows is 1 or 2 or 4 or 6;

        public void Pack(float* x, nint stride, int columns, float* packed) => throw new UnreachableException();

        public void Unpack(byte* panel, int depth, byte* unpacked) => throw new UnreachableException();

        public void Tile(float* packed, byte* panel, int depth, float* sums, nint sumsStride) =>
            throw new UnreachableException();

        public void Rows(
            float* x,
            nint stride,
            int rows,
            byte* panel,
            nint panelBytes,
            int panelCount,
            int depth,
            float* sums,
            nint sumsStride
        )
        {
            int count; // rows that go together
            for (; rows > 0; rows -= count, x += count * stride, sums += count * sumsStride)
            {
                count =
                    rows >= 6 ? 6
                    : rows >= 4 ? 4
                    : rows >= 2 ? 2
                    : 1;
                int width; // panels that go together
                for (int p = 0; p < panelCount; p += width)
                {
                    byte* first = panel + p * panelBytes;
                    float* to = sums + p * PanelRows;
                    width = 1;
                    switch (count)
                    {
                        case 6:
                            Rows6Half(x, stride, first, depth, to, sumsStride);
                            Rows6Half(x, stride, first + 32, depth, to + 8, sumsStride);
                            break;
                        case 4:
                            Rows4Half(x, stride, first, depth, to, sumsStride);
                            Rows4Half(x, stride, first + 32, depth, to + 8, sumsStride);
                            break;
                        case 2:
                            Rows2x1(x, stride, first, depth, to, sumsStride);
                            break;
                        case 1 when p + 2 <= panelCount:
                            width = 2;
                            Rows1x2(x, stride, first, panelBytes, depth, to, sumsStride);
                            break;
                        default:
                            Rows1x1(x, stride, first, depth, to, sumsStride);
                            break;
                    }
                }
            }
        }

        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        static void Rows6Half(float* x, nint stride, byte* panel, int depth, float* sums, nint sumsStride)
        {
            float* x1 = x + stride;
            float* x2 = x + 2 * stride;
            float* x3 = x + 3 * stride;
            float* x4 = x + 4 * stride;
            float* x5 = x + 5 * stride;
            var s00 = Pair.Load(sums);
            var s10 = Pair.Load(sums + sumsStride);
            var s20 = Pair.Load(sums + 2 * sumsStride);
            var s30 = Pair.Load(sums + 3 * sumsStride);
            var s40 = Pair.Load(sums + 4 * sumsStride);
            var s50 = Pair.Load(sums + 5 * sumsStride);
            for (nint k = 0; k < depth; k++)
            {
                nint at = TWeights.Offset(k); // from the start of each panel
                Vector256<float> low = TWeights.Low256(panel + at);
                Vector256<float> high = TWeights.High256(panel + at);
                s00.Add(Vector256.Create(x[k]), low, high);
                s10.Add(Vector256.Create(x1[k]), low, high);
                s20.Add(Vector256.Create(x2[k]), low, high);
                s30.Add(Vector256.Create(x3[k]), low, high);
                s40.Add(Vector256.Create(x4[k]), low, high);
                s50.Add(Vector256.Create(x5[k]), low, high);
            }

            s00.Store(sums);
            s10.Store(sums + sumsStride);
            s20.Store(sums + 2 * sumsStride);
            s30.Store(sums + 3 * sumsStride);
            s40.Store(sums + 4 * sumsStride);
            s50.Store(sums + 5 * sumsStride);
        }

        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        static void Rows4Half(float* x, nint stride, byte* panel, int depth, float* sums, nint sumsStride)
        {
            float* x1 = x + stride;
            float* x2 = x + 2 * stride;
            float* x3 = x + 3 * stride;
            var s00 = Pair.Load(sums);
            var s10 = Pair.Load(sums + sumsStride);
            var s20 = Pair.Load(sums + 2 * sumsStride);
            var s30 = Pair.Load(sums + 3 * sumsStride);
            for (nint k = 0; k < depth; k++)
            {
                nint at = TWeights.Offset(k); // from the start of each panel
                Vector256<float> low = TWeights.Low256(panel + at);
                Vector256<float> high = TWeights.High256(panel + at);
                s00.Add(Vector256.Create(x[k]), low, high);
                s10.Add(Vector256.Create(x1[k]), low, high);
                s20.Add(Vector256.Create(x2[k]), low, high);
                s30.Add(Vector256.Create(x3[k]), low, high);
            }

            s00.Store(sums);
            s10.Store(sums + sumsStride);
            s20.Store(sums + 2 * sumsStride);
            s30.Store(sums + 3 * sumsStride);
        }

        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        static void Rows2x1(float* x, nint stride, byte* panel, int depth, float* sums, nint sumsStride)
        {
            float* x1 = x + stride;
            var s00 = Pair.Load(sums);
            var s01 = Pair.Load(sums + 8);
            var s10 = Pair.Load(sums + sumsStride);
            var s11 = Pair.Load(sums + sumsStride + 8);
            for (nint k = 0; k < depth; k++)
            {
                nint at = TWeights.Offset(k); // from the start of each panel
                Vector256<float> a0 = Vector256.Create(x[k]);
                Vector256<float> a1 = Vector256.Create(x1[k]);
                Vector256<float> low0 = TWeights.Low256(panel + at);
                Vector256<float> high0 = TWeights.High256(panel + at);
                s00.Add(a0, low0, high0);
                s10.Add(a1, low0, high0);
                Vector256<float> low1 = TWeights.Low256(panel + at + 32);
                Vector256<float> high1 = TWeights.High256(panel + at + 32);
                s01.Add(a0, low1, high1);
                s11.Add(a1, low1, high1);
            }

            s00.Store(sums);
            s01.Store(sums + 8);
            s10.Store(sums + sumsStride);
            s11.Store(sums + sumsStride + 8);
        }

        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        static void Rows1x2(
            float* x,
            nint stride,
            byte* panel,
            nint panelBytes,
            int depth,
            float* sums,
            nint sumsStride
        )
        {
            byte* panel1 = panel + panelBytes;
            var s00 = Pair.Load(sums);
            var s01 = Pair.Load(sums + 8);
            var s02 = Pair.Load(sums + PanelRows);
            var s03 = Pair.Load(sums + PanelRows + 8);
            for (nint k = 0; k < depth; k++)
            {
                nint at = TWeights.Offset(k); // from the start of each panel
                Vector256<float> a0 = Vector256.Create(x[k]);
                Vector256<float> low0 = TWeights.Low256(panel + at);
                Vector256<float> high0 = TWeights.High256(panel + at);
                s00.Add(a0, low0, high0);
                Vector256<float> low1 = TWeights.Low256(panel + at + 32);
                Vector256<float> high1 = TWeights.High256(panel + at + 32);
                s01.Add(a0, low1, high1);
                Vector256<float> low2 = TWeights.Low256(panel1 + at);
                Vector256<float> high2 = TWeights.High256(panel1 + at);
                s02.Add(a0, low2, high2);
                Vector256<float> low3 = TWeights.Low256(panel1 + at + 32);
                Vector256<float> high3 = TWeights.High256(panel1 + at + 32);
                s03.Add(a0, low3, high3);
            }

            s00.Store(sums);
            s01.Store(sums + 8);
            s02.Store(sums + PanelRows);
            s03.Store(sums + PanelRows + 8);
        }

        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        static void Rows1x1(float* x, nint stride, byte* panel, int depth, float* sums, nint sumsStride)
        {
            var s00 = Pair.Load(sums);
            var s01 = Pair.Load(sums + 8);
            for (nint k = 0; k < depth; k++)
            {
                nint at = TWeights.Offset(k); // from the start of each panel
                Vector256<float> a0 = Vector256.Create(x[k]);
                Vector256<float> low0 = TWeights.Low256(panel + at);
                Vector256<float> high0 = TWeights.High256(panel + at);
                s00.Add(a0, low0, high0);
                Vector256<float> low1 = TWeights.Low256(panel + at + 32);
                Vector256<float> high1 = TWeights.High256(panel + at + 32);
                s01.Add(a0, low1, high1);
            }

            s00.Store(sums);
            s01.Store(sums + 8);
        }

        /// <summary>The 16 sums of one row of x and one half of a panel.</summary>
        struct Pair
        {
            Vector256<float> low;
            Vector256<float> high;

            [MethodImpl(MethodImplOptions.AggressiveInlining)]
            public static Pair Load(float* sums) =>
                new() { low = Vector256.Load(sums), high = Vector256.Load(sums + 16) };

            [MethodImpl(MethodImplOptions.AggressiveInlining)]
            public void Add(Vector256<float> x, Vector256<float> weightsLow, Vector256<float> weightsHigh)
            {
                low = Fma.MultiplyAdd(x, weightsLow, low);
                high = Fma.MultiplyAdd(x, weightsHigh, high);
            }

            [MethodImpl(MethodImplOptions.AggressiveInlining)]
            public readonly void Store(float* sums)
            {
                low.Store(sums);
                high.Store(sums + 16);
            }
        }
    }
}
