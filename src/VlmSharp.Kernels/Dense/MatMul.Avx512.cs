using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace VlmSharp.Kernels;

public static unsafe partial class MatMul
{
    static void Avx512(in Call call)
    {
        switch (call.W.Storage)
        {
            case WeightFormat.F32:
                Drive<Avx512Kernels<F32Weights>>(call);
                break;
            case WeightFormat.BF16:
                Drive<Avx512Kernels<BF16Weights>>(call);
                break;
            case WeightFormat.F16:
                Drive<Avx512Kernels<F16Weights>>(call);
                break;
            case WeightFormat.F8:
                DriveFloat8<Avx512Kernels<F32Weights>>(call);
                break;
            default:
                DriveBlocks<Avx512Kernels<F32Weights>>(call);
                break;
        }
    }

    /// <summary>512-bit vectors, two per panel and row of x.</summary>
    /// <remarks>
    /// A tile is 14 rows: 28 accumulators, two vectors of weights and one broadcast value of x fill the 32 registers, and each
    /// column is 28 multiplications for 16 loads. Below that, several panels side by side keep enough sums in flight to hide the four
    /// cycles of a multiplication. Sums are locals: the compiler would keep an array in memory, three times slower.
    /// </remarks>
    readonly struct Avx512Kernels<TWeights> : IPanelKernels
        where TWeights : struct, IWeightFormat
    {
        const int PrefetchBytes = 2048;

        public int TileRows => 14;

        public bool TilesReadUnpacked => TWeights.WidenFirst;

        public bool RowsReadUnpacked => false;

        public bool ReadsWeightsOnce(int rows) => rows is 1 or 2 or 4 or 8;

        // Four rows at a time are transposed in 4x4 blocks; the last two go element by element.
        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        public void Pack(float* x, nint stride, int columns, float* packed)
        {
            int blocks = columns / 4 * 4;
            for (int r = 0; r < 12; r += 4)
            {
                float* from = x + r * stride;
                float* to = packed + r;
                for (int k = 0; k < blocks; k += 4)
                {
                    Vector128<float> a = Vector128.Load(from + k);
                    Vector128<float> b = Vector128.Load(from + stride + k);
                    Vector128<float> c = Vector128.Load(from + 2 * stride + k);
                    Vector128<float> d = Vector128.Load(from + 3 * stride + k);
                    Vector128<float> ab = Sse.UnpackLow(a, b);
                    Vector128<float> cd = Sse.UnpackLow(c, d);
                    Sse.MoveLowToHigh(ab, cd).Store(to + k * 14);
                    Sse.MoveHighToLow(cd, ab).Store(to + (k + 1) * 14);
                    ab = Sse.UnpackHigh(a, b);
                    cd = Sse.UnpackHigh(c, d);
                    Sse.MoveLowToHigh(ab, cd).Store(to + (k + 2) * 14);
                    Sse.MoveHighToLow(cd, ab).Store(to + (k + 3) * 14);
                }

                for (int k = blocks; k < columns; k++)
                {
                    to[k * 14] = from[k];
                    to[k * 14 + 1] = from[stride + k];
                    to[k * 14 + 2] = from[2 * stride + k];
                    to[k * 14 + 3] = from[3 * stride + k];
                }
            }

            for (int k = 0; k < columns; k++)
            {
                packed[k * 14 + 12] = x[12 * stride + k];
                packed[k * 14 + 13] = x[13 * stride + k];
            }
        }

        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        public void Unpack(byte* panel, int depth, byte* unpacked)
        {
            float* values = (float*)unpacked; // [depth, 32]
            for (nint k = 0; k < depth; k++, values += PanelRows)
            {
                byte* column = panel + TWeights.Offset(k);
                TWeights.Low512(column).Store(values);
                TWeights.High512(column).Store(values + 16);
            }
        }

        public void Tile(float* packed, byte* panel, int depth, float* sums, nint sumsStride)
        {
            if (TWeights.WidenFirst)
            {
                Avx512Kernels<F32Weights>.Tile14(packed, panel, depth, sums, sumsStride);
            }
            else
            {
                Tile14(packed, panel, depth, sums, sumsStride);
            }
        }

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
                    rows >= 8 ? 8
                    : rows >= 4 ? 4
                    : rows >= 2 ? 2
                    : 1;
                int width; // panels that go together
                for (int p = 0; p < panelCount; p += width)
                {
                    byte* first = panel + p * panelBytes;
                    float* to = sums + p * PanelRows;
                    int left = panelCount - p;
                    switch (count)
                    {
                        case 8:
                            width = 1;
                            Rows8x1(x, stride, first, panelBytes, depth, to, sumsStride);
                            break;
                        case 4 when left >= 2:
                            width = 2;
                            Rows4x2(x, stride, first, panelBytes, depth, to, sumsStride);
                            break;
                        case 4:
                            width = 1;
                            Rows4x1(x, stride, first, panelBytes, depth, to, sumsStride);
                            break;
                        case 2 when left >= 4:
                            width = 4;
                            Rows2x4(x, stride, first, panelBytes, depth, to, sumsStride);
                            break;
                        case 2:
                            width = 1;
                            Rows2x1(x, stride, first, panelBytes, depth, to, sumsStride);
                            break;
                        case 1 when left >= 4:
                            width = 4;
                            Rows1x4(x, stride, first, panelBytes, depth, to, sumsStride);
                            break;
                        default:
                            width = 1;
                            Rows1x1(x, stride, first, panelBytes, depth, to, sumsStride);
                            break;
                    }
                }
            }
        }

        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        static void Tile14(float* packed, byte* panel, int depth, float* sums, nint sumsStride)
        {
            var r0 = Pair.Load(sums);
            var r1 = Pair.Load(sums + sumsStride);
            var r2 = Pair.Load(sums + 2 * sumsStride);
            var r3 = Pair.Load(sums + 3 * sumsStride);
            var r4 = Pair.Load(sums + 4 * sumsStride);
            var r5 = Pair.Load(sums + 5 * sumsStride);
            var r6 = Pair.Load(sums + 6 * sumsStride);
            var r7 = Pair.Load(sums + 7 * sumsStride);
            var r8 = Pair.Load(sums + 8 * sumsStride);
            var r9 = Pair.Load(sums + 9 * sumsStride);
            var r10 = Pair.Load(sums + 10 * sumsStride);
            var r11 = Pair.Load(sums + 11 * sumsStride);
            var r12 = Pair.Load(sums + 12 * sumsStride);
            var r13 = Pair.Load(sums + 13 * sumsStride);
            for (nint k = 0; k < depth; k++, packed += 14)
            {
                byte* column = panel + TWeights.Offset(k);
                Prefetch(column);
                Vector512<float> low = TWeights.Low512(column);
                Vector512<float> high = TWeights.High512(column);
                r0.Add(Vector512.Create(packed[0]), low, high);
                r1.Add(Vector512.Create(packed[1]), low, high);
                r2.Add(Vector512.Create(packed[2]), low, high);
                r3.Add(Vector512.Create(packed[3]), low, high);
                r4.Add(Vector512.Create(packed[4]), low, high);
                r5.Add(Vector512.Create(packed[5]), low, high);
                r6.Add(Vector512.Create(packed[6]), low, high);
                r7.Add(Vector512.Create(packed[7]), low, high);
                r8.Add(Vector512.Create(packed[8]), low, high);
                r9.Add(Vector512.Create(packed[9]), low, high);
                r10.Add(Vector512.Create(packed[10]), low, high);
                r11.Add(Vector512.Create(packed[11]), low, high);
                r12.Add(Vector512.Create(packed[12]), low, high);
                r13.Add(Vector512.Create(packed[13]), low, high);
            }

            r0.Store(sums);
            r1.Store(sums + sumsStride);
            r2.Store(sums + 2 * sumsStride);
            r3.Store(sums + 3 * sumsStride);
            r4.Store(sums + 4 * sumsStride);
            r5.Store(sums + 5 * sumsStride);
            r6.Store(sums + 6 * sumsStride);
            r7.Store(sums + 7 * sumsStride);
            r8.Store(sums + 8 * sumsStride);
            r9.Store(sums + 9 * sumsStride);
            r10.Store(sums + 10 * sumsStride);
            r11.Store(sums + 11 * sumsStride);
            r12.Store(sums + 12 * sumsStride);
            r13.Store(sums + 13 * sumsStride);
        }

        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        static void Rows8x1(
            float* x,
            nint stride,
            byte* panel,
            nint panelBytes,
            int depth,
            float* sums,
            nint sumsStride
        )
        {
            float* x1 = x + stride;
            float* x2 = x + 2 * stride;
            float* x3 = x + 3 * stride;
            float* x4 = x + 4 * stride;
            float* x5 = x + 5 * stride;
            float* x6 = x + 6 * stride;
            float* x7 = x + 7 * stride;
            var s00 = Pair.Load(sums);
            var s10 = Pair.Load(sums + sumsStride);
            var s20 = Pair.Load(sums + 2 * sumsStride);
            var s30 = Pair.Load(sums + 3 * sumsStride);
            var s40 = Pair.Load(sums + 4 * sumsStride);
            var s50 = Pair.Load(sums + 5 * sumsStride);
            var s60 = Pair.Load(sums + 6 * sumsStride);
            var s70 = Pair.Load(sums + 7 * sumsStride);
            for (nint k = 0; k < depth; k++)
            {
                nint at = TWeights.Offset(k); // from the start of each panel
                Prefetch(panel + at);
                Vector512<float> low = TWeights.Low512(panel + at);
                Vector512<float> high = TWeights.High512(panel + at);
                s00.Add(Vector512.Create(x[k]), low, high);
                s10.Add(Vector512.Create(x1[k]), low, high);
                s20.Add(Vector512.Create(x2[k]), low, high);
                s30.Add(Vector512.Create(x3[k]), low, high);
                s40.Add(Vector512.Create(x4[k]), low, high);
                s50.Add(Vector512.Create(x5[k]), low, high);
                s60.Add(Vector512.Create(x6[k]), low, high);
                s70.Add(Vector512.Create(x7[k]), low, high);
            }

            s00.Store(sums);
            s10.Store(sums + sumsStride);
            s20.Store(sums + 2 * sumsStride);
            s30.Store(sums + 3 * sumsStride);
            s40.Store(sums + 4 * sumsStride);
            s50.Store(sums + 5 * sumsStride);
            s60.Store(sums + 6 * sumsStride);
            s70.Store(sums + 7 * sumsStride);
        }

        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        static void Rows4x2(
            float* x,
            nint stride,
            byte* panel,
            nint panelBytes,
            int depth,
            float* sums,
            nint sumsStride
        )
        {
            float* x1 = x + stride;
            float* x2 = x + 2 * stride;
            float* x3 = x + 3 * stride;
            byte* panel1 = panel + panelBytes;
            var s00 = Pair.Load(sums);
            var s01 = Pair.Load(sums + 1 * PanelRows);
            var s10 = Pair.Load(sums + sumsStride);
            var s11 = Pair.Load(sums + sumsStride + 1 * PanelRows);
            var s20 = Pair.Load(sums + 2 * sumsStride);
            var s21 = Pair.Load(sums + 2 * sumsStride + 1 * PanelRows);
            var s30 = Pair.Load(sums + 3 * sumsStride);
            var s31 = Pair.Load(sums + 3 * sumsStride + 1 * PanelRows);
            for (nint k = 0; k < depth; k++)
            {
                nint at = TWeights.Offset(k); // from the start of each panel
                Vector512<float> a0 = Vector512.Create(x[k]);
                Vector512<float> a1 = Vector512.Create(x1[k]);
                Vector512<float> a2 = Vector512.Create(x2[k]);
                Vector512<float> a3 = Vector512.Create(x3[k]);
                Vector512<float> low0 = TWeights.Low512(panel + at);
                Vector512<float> high0 = TWeights.High512(panel + at);
                s00.Add(a0, low0, high0);
                s10.Add(a1, low0, high0);
                s20.Add(a2, low0, high0);
                s30.Add(a3, low0, high0);
                Vector512<float> low1 = TWeights.Low512(panel1 + at);
                Vector512<float> high1 = TWeights.High512(panel1 + at);
                s01.Add(a0, low1, high1);
                s11.Add(a1, low1, high1);
                s21.Add(a2, low1, high1);
                s31.Add(a3, low1, high1);
            }

            s00.Store(sums);
            s01.Store(sums + 1 * PanelRows);
            s10.Store(sums + sumsStride);
            s11.Store(sums + sumsStride + 1 * PanelRows);
            s20.Store(sums + 2 * sumsStride);
            s21.Store(sums + 2 * sumsStride + 1 * PanelRows);
            s30.Store(sums + 3 * sumsStride);
            s31.Store(sums + 3 * sumsStride + 1 * PanelRows);
        }

        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        static void Rows4x1(
            float* x,
            nint stride,
            byte* panel,
            nint panelBytes,
            int depth,
            float* sums,
            nint sumsStride
        )
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
                Prefetch(panel + at);
                Vector512<float> low = TWeights.Low512(panel + at);
                Vector512<float> high = TWeights.High512(panel + at);
                s00.Add(Vector512.Create(x[k]), low, high);
                s10.Add(Vector512.Create(x1[k]), low, high);
                s20.Add(Vector512.Create(x2[k]), low, high);
                s30.Add(Vector512.Create(x3[k]), low, high);
            }

            s00.Store(sums);
            s10.Store(sums + sumsStride);
            s20.Store(sums + 2 * sumsStride);
            s30.Store(sums + 3 * sumsStride);
        }

        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        static void Rows2x4(
            float* x,
            nint stride,
            byte* panel,
            nint panelBytes,
            int depth,
            float* sums,
            nint sumsStride
        )
        {
            float* x1 = x + stride;
            byte* panel1 = panel + panelBytes;
            byte* panel2 = panel + 2 * panelBytes;
            byte* panel3 = panel + 3 * panelBytes;
            var s00 = Pair.Load(sums);
            var s01 = Pair.Load(sums + 1 * PanelRows);
            var s02 = Pair.Load(sums + 2 * PanelRows);
            var s03 = Pair.Load(sums + 3 * PanelRows);
            var s10 = Pair.Load(sums + sumsStride);
            var s11 = Pair.Load(sums + sumsStride + 1 * PanelRows);
            var s12 = Pair.Load(sums + sumsStride + 2 * PanelRows);
            var s13 = Pair.Load(sums + sumsStride + 3 * PanelRows);
            for (nint k = 0; k < depth; k++)
            {
                nint at = TWeights.Offset(k); // from the start of each panel
                Vector512<float> a0 = Vector512.Create(x[k]);
                Vector512<float> a1 = Vector512.Create(x1[k]);
                Vector512<float> low0 = TWeights.Low512(panel + at);
                Vector512<float> high0 = TWeights.High512(panel + at);
                s00.Add(a0, low0, high0);
                s10.Add(a1, low0, high0);
                Vector512<float> low1 = TWeights.Low512(panel1 + at);
                Vector512<float> high1 = TWeights.High512(panel1 + at);
                s01.Add(a0, low1, high1);
                s11.Add(a1, low1, high1);
                Vector512<float> low2 = TWeights.Low512(panel2 + at);
                Vector512<float> high2 = TWeights.High512(panel2 + at);
                s02.Add(a0, low2, high2);
                s12.Add(a1, low2, high2);
                Vector512<float> low3 = TWeights.Low512(panel3 + at);
                Vector512<float> high3 = TWeights.High512(panel3 + at);
                s03.Add(a0, low3, high3);
                s13.Add(a1, low3, high3);
            }

            s00.Store(sums);
            s01.Store(sums + 1 * PanelRows);
            s02.Store(sums + 2 * PanelRows);
            s03.Store(sums + 3 * PanelRows);
            s10.Store(sums + sumsStride);
            s11.Store(sums + sumsStride + 1 * PanelRows);
            s12.Store(sums + sumsStride + 2 * PanelRows);
            s13.Store(sums + sumsStride + 3 * PanelRows);
        }

        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        static void Rows2x1(
            float* x,
            nint stride,
            byte* panel,
            nint panelBytes,
            int depth,
            float* sums,
            nint sumsStride
        )
        {
            float* x1 = x + stride;
            var s00 = Pair.Load(sums);
            var s10 = Pair.Load(sums + sumsStride);
            for (nint k = 0; k < depth; k++)
            {
                nint at = TWeights.Offset(k); // from the start of each panel
                Prefetch(panel + at);
                Vector512<float> low = TWeights.Low512(panel + at);
                Vector512<float> high = TWeights.High512(panel + at);
                s00.Add(Vector512.Create(x[k]), low, high);
                s10.Add(Vector512.Create(x1[k]), low, high);
            }

            s00.Store(sums);
            s10.Store(sums + sumsStride);
        }

        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        static void Rows1x4(
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
            byte* panel2 = panel + 2 * panelBytes;
            byte* panel3 = panel + 3 * panelBytes;
            var s00 = Pair.Load(sums);
            var s01 = Pair.Load(sums + 1 * PanelRows);
            var s02 = Pair.Load(sums + 2 * PanelRows);
            var s03 = Pair.Load(sums + 3 * PanelRows);
            for (nint k = 0; k < depth; k++)
            {
                nint at = TWeights.Offset(k); // from the start of each panel
                Vector512<float> a0 = Vector512.Create(x[k]);
                Vector512<float> low0 = TWeights.Low512(panel + at);
                Vector512<float> high0 = TWeights.High512(panel + at);
                s00.Add(a0, low0, high0);
                Vector512<float> low1 = TWeights.Low512(panel1 + at);
                Vector512<float> high1 = TWeights.High512(panel1 + at);
                s01.Add(a0, low1, high1);
                Vector512<float> low2 = TWeights.Low512(panel2 + at);
                Vector512<float> high2 = TWeights.High512(panel2 + at);
                s02.Add(a0, low2, high2);
                Vector512<float> low3 = TWeights.Low512(panel3 + at);
                Vector512<float> high3 = TWeights.High512(panel3 + at);
                s03.Add(a0, low3, high3);
            }

            s00.Store(sums);
            s01.Store(sums + 1 * PanelRows);
            s02.Store(sums + 2 * PanelRows);
            s03.Store(sums + 3 * PanelRows);
        }

        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        static void Rows1x1(
            float* x,
            nint stride,
            byte* panel,
            nint panelBytes,
            int depth,
            float* sums,
            nint sumsStride
        )
        {
            var s00 = Pair.Load(sums);
            for (nint k = 0; k < depth; k++)
            {
                nint at = TWeights.Offset(k); // from the start of each panel
                Prefetch(panel + at);
                Vector512<float> low = TWeights.Low512(panel + at);
                Vector512<float> high = TWeights.High512(panel + at);
                s00.Add(Vector512.Create(x[k]), low, high);
            }

            s00.Store(sums);
        }

        // The processor prefetches within a page of 4 KiB and starts anew in the next; asking ahead bridges that, which is worth 15 %
        // where a block of weights serves a single tile and costs 1 % where it serves many. Panels that are read side by side do
        // without: there it costs 10 %. An address past the end is harmless.
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        static void Prefetch(byte* column)
        {
            Sse.Prefetch0(column + PrefetchBytes);
            Sse.Prefetch0(column + PrefetchBytes + 64);
        }

        /// <summary>The 32 sums of one row of x and one panel.</summary>
        struct Pair
        {
            Vector512<float> low;
            Vector512<float> high;

            [MethodImpl(MethodImplOptions.AggressiveInlining)]
            public static Pair Load(float* sums) =>
                new() { low = Vector512.Load(sums), high = Vector512.Load(sums + 16) };

            [MethodImpl(MethodImplOptions.AggressiveInlining)]
            public void Add(Vector512<float> x, Vector512<float> weightsLow, Vector512<float> weightsHigh)
            {
                low = Avx512F.FusedMultiplyAdd(x, weightsLow, low);
                high = Avx512F.FusedMultiplyAdd(x, weightsHigh, high);
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
