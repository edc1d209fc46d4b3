using System.Diagnostics;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using VlmSharp.Kernels.Quantized;
using Simd = System.Runtime.Intrinsics.X86.Avx2;

namespace VlmSharp.Kernels;

public static unsafe partial class MatMul
{
    /// <summary>A product with blocks: exact, or with rows of x that are rounded to bytes, by 256-bit vectors.</summary>
    static void DriveBlocks<TKernels>(in Call call)
        where TKernels : struct, IPanelKernels
    {
        if (!call.MayRound)
        {
            DriveUnpacked<TKernels>(call);
            return;
        }

        PanelBlocks blocks = call.W.Blocks!;
        if (call.Rows <= RowsInRegisters)
        {
            DriveInRegisters(call, blocks);
            return;
        }

        switch (blocks.MostCode)
        {
            case <= 15:
                DriveRounded(call, blocks, new Int8Kernels<Eight>(blocks));
                break;
            case <= 31:
                DriveRounded(call, blocks, new Int8Kernels<Four>(blocks));
                break;
            case <= 63:
                DriveRounded(call, blocks, new Int8Kernels<Two>(blocks));
                break;
            default:
                DriveRounded(call, blocks, new Int8Kernels<None>(blocks));
                break;
        }
    }

    /// <summary>How many vpmaddubsw, each two products of a code and a byte in [-127, 127], a sum of 16 bits holds.</summary>
    interface IShortSums
    {
        /// <summary>0: not even one, as codes reach 255.</summary>
        static abstract int Count { get; }
    }

    // 8 * 2 * 15 * 127 = 30480
    readonly struct Eight : IShortSums
    {
        public static int Count => 8;
    }

    // 4 * 2 * 31 * 127 = 31496
    readonly struct Four : IShortSums
    {
        public static int Count => 4;
    }

    // 2 * 2 * 63 * 127 = 32004
    readonly struct Two : IShortSums
    {
        public static int Count => 2;
    }

    readonly struct None : IShortSums
    {
        public static int Count => 0;
    }

    /// <summary>Expanded squares, eight rows of a panel in a vector. Integers and f32 operations are those of the generated kernels: so are the bits.</summary>
    readonly struct Int8Kernels<TSums>(PanelBlocks blocks) : IPanelKernels
        where TSums : struct, IShortSums
    {
        public int TileRows => int.MaxValue; // x is read in place

        public bool TilesReadUnpacked => true;

        public bool RowsReadUnpacked => true;

        public bool ReadsWeightsOnce(int rows) => true;

        public void Pack(float* x, nint stride, int words, float* packed) => throw new UnreachableException();

        public void Unpack(byte* panel, int depth, byte* unpacked) => blocks.Expand(panel, depth, unpacked);

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
            int squares = depth * blocks.Squares;
            for (; rows >= 4; rows -= 4, x += 4 * stride, sums += 4 * sumsStride)
            {
                Rows4((byte*)x, stride * sizeof(float), panel, squares, blocks.Scaling, sums, sumsStride);
            }

            for (; rows > 0; rows--, x += stride, sums += sumsStride)
            {
                Rows1((byte*)x, panel, squares, blocks.Scaling, sums);
            }
        }

        [SkipLocalsInit]
        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        static void Rows4(
            byte* x,
            nint stride,
            byte* square,
            int squares,
            Scaling scaling,
            float* sums,
            nint sumsStride
        )
        {
            const int half = Square.Quads / 2;
            bool halves = scaling == Scaling.OffsetOfHalves;
            Vector256<int>* dots = stackalloc Vector256<int>[16]; // [2 halves][4 rows][2]
            for (int s = 0; s < squares; s++, square += Square.Bytes, x += RoundedRow.Bytes)
            {
                for (int group = 0; group < PanelRows; group += 16)
                {
                    byte* codes = square + (group * 4);
                    Dot4(codes, x, stride, 0, halves ? half : Square.Quads, dots);
                    if (halves)
                    {
                        Dot4(codes, x, stride, half, Square.Quads, dots + 8);
                    }

                    float* scales = (float*)(square + Square.ScalesAt) + group;
                    byte* row = x;
                    float* to = sums + group;
                    for (int r = 0; r < 8; r += 2, row += stride, to += sumsStride)
                    {
                        Finish(scales, scaling, TSums.Count == 0, row, dots[r], dots[r + 8], to);
                        Finish(scales + 8, scaling, TSums.Count == 0, row, dots[r + 1], dots[r + 9], to + 8);
                    }
                }
            }
        }

        /// <summary>Dot products of four rows of x and 16 of a square: eight sums, two vectors of codes and one of x, and what a product needs.</summary>
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        static void Dot4(byte* codes, byte* x, nint stride, int quad, int end, Vector256<int>* dots)
        {
            byte* x1 = x + stride;
            byte* x2 = x + (2 * stride);
            byte* x3 = x + (3 * stride);
            (Vector256<int> d0, Vector256<int> d1, Vector256<int> d2, Vector256<int> d3) = (
                default,
                default,
                default,
                default
            );
            (Vector256<int> d4, Vector256<int> d5, Vector256<int> d6, Vector256<int> d7) = (
                default,
                default,
                default,
                default
            );
            Vector256<short> one = Vector256<short>.One;
            for (; TSums.Count == 0 && quad < end; quad++)
            {
                Vector256<byte> w0 = Load(codes, quad, out Vector256<sbyte> sign0);
                Vector256<byte> w1 = Load(codes + 32, quad, out Vector256<sbyte> sign1);
                d0 += Simd.MultiplyAddAdjacent(Pairs(w0, sign0, x, quad), one);
                d1 += Simd.MultiplyAddAdjacent(Pairs(w1, sign1, x, quad), one);
                d2 += Simd.MultiplyAddAdjacent(Pairs(w0, sign0, x1, quad), one);
                d3 += Simd.MultiplyAddAdjacent(Pairs(w1, sign1, x1, quad), one);
                d4 += Simd.MultiplyAddAdjacent(Pairs(w0, sign0, x2, quad), one);
                d5 += Simd.MultiplyAddAdjacent(Pairs(w1, sign1, x2, quad), one);
                d6 += Simd.MultiplyAddAdjacent(Pairs(w0, sign0, x3, quad), one);
                d7 += Simd.MultiplyAddAdjacent(Pairs(w1, sign1, x3, quad), one);
            }

            while (quad < end)
            {
                (Vector256<short> a0, Vector256<short> a1, Vector256<short> b0, Vector256<short> b1) = (
                    default,
                    default,
                    default,
                    default
                );
                (Vector256<short> c0, Vector256<short> c1, Vector256<short> e0, Vector256<short> e1) = (
                    default,
                    default,
                    default,
                    default
                );
                for (int stop = quad + TSums.Count; quad < stop; quad++)
                {
                    Vector256<byte> w0 = Load(codes, quad, out Vector256<sbyte> sign0);
                    Vector256<byte> w1 = Load(codes + 32, quad, out Vector256<sbyte> sign1);
                    a0 += Pairs(w0, sign0, x, quad);
                    a1 += Pairs(w1, sign1, x, quad);
                    b0 += Pairs(w0, sign0, x1, quad);
                    b1 += Pairs(w1, sign1, x1, quad);
                    c0 += Pairs(w0, sign0, x2, quad);
                    c1 += Pairs(w1, sign1, x2, quad);
                    e0 += Pairs(w0, sign0, x3, quad);
                    e1 += Pairs(w1, sign1, x3, quad);
                }

                d0 += Simd.MultiplyAddAdjacent(a0, one);
                d1 += Simd.MultiplyAddAdjacent(a1, one);
                d2 += Simd.MultiplyAddAdjacent(b0, one);
                d3 += Simd.MultiplyAddAdjacent(b1, one);
                d4 += Simd.MultiplyAddAdjacent(c0, one);
                d5 += Simd.MultiplyAddAdjacent(c1, one);
                d6 += Simd.MultiplyAddAdjacent(e0, one);
                d7 += Simd.MultiplyAddAdjacent(e1, one);
            }

            dots[0] = d0;
            dots[1] = d1;
            dots[2] = d2;
            dots[3] = d3;
            dots[4] = d4;
            dots[5] = d5;
            dots[6] = d6;
            dots[7] = d7;
        }

        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        static void Rows1(byte* x, byte* square, int squares, Scaling scaling, float* sums)
        {
            bool halves = scaling == Scaling.OffsetOfHalves;
            for (int s = 0; s < squares; s++, square += Square.Bytes, x += RoundedRow.Bytes)
            {
                for (int group = 0; group < PanelRows; group += 8)
                {
                    byte* codes = square + (group * 4);
                    Vector256<int> dot = Dot(codes, x, 0, halves ? Square.Quads / 2 : Square.Quads);
                    Vector256<int> last = halves ? Dot(codes, x, Square.Quads / 2, Square.Quads) : default;
                    float* scales = (float*)(square + Square.ScalesAt) + group;
                    Finish(scales, scaling, TSums.Count == 0, x, dot, last, sums + group);
                }
            }
        }

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        static Vector256<int> Dot(byte* codes, byte* x, int quad, int end)
        {
            Vector256<int> dot = default;
            while (quad < end)
            {
                Vector256<short> sum = default;
                int stop = Math.Min(quad + Math.Max(TSums.Count, 1), end);
                for (; quad < stop; quad++)
                {
                    Vector256<byte> w = Load(codes, quad, out Vector256<sbyte> sign);
                    sum += Pairs(w, sign, x, quad);
                }

                dot += Simd.MultiplyAddAdjacent(sum, Vector256<short>.One);
            }

            return dot;
        }

        // Codes that reach 255 are taken as signed ones, 128 smaller: 2 * 128 * 127 = 32512 for their sizes.
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        static Vector256<byte> Load(byte* codes, int quad, out Vector256<sbyte> sign)
        {
            Vector256<byte> w = Vector256.Load(codes + (quad * Square.QuadBytes));
            if (TSums.Count > 0)
            {
                sign = default;
                return w;
            }

            sign = (w ^ Vector256.Create((byte)0x80)).AsSByte();
            return Simd.Abs(sign);
        }

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        static Vector256<short> Pairs(Vector256<byte> w, Vector256<sbyte> sign, byte* x, int quad)
        {
            Vector256<sbyte> a = Vector256.Create(((int*)x)[quad]).AsSByte();
            a = TSums.Count > 0 ? a : Simd.Sign(a, sign);
            return Simd.MultiplyAddAdjacent(w, a);
        }
    }

    // The same operations in the same order as DotWriter writes.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static void Finish(
        float* scales,
        Scaling scaling,
        bool signed, // codes were taken 128 smaller
        byte* x,
        Vector256<int> dot,
        Vector256<int> last,
        float* sums
    )
    {
        Vector256<float> sum = Vector256.Load(sums);
        Vector256<float> scale = Vector256.Load(scales);
        Vector256<float> second = Vector256.Load(scales + PanelRows);
        Vector256<float> scaleOfX = Vector256.Create(*(float*)(x + RoundedRow.ScaleAt));
        int* offsets = (int*)(x + RoundedRow.SumAt);
        if (scaling == Scaling.OffsetOfHalves)
        {
            Vector256<float> part = Vector256.ConvertToSingle(dot + Vector256.Create(offsets[0])) * scale;
            Vector256<float> other = Vector256.ConvertToSingle(last + Vector256.Create(offsets[1]));
            Fma.MultiplyAdd(Fma.MultiplyAdd(other, second, part), scaleOfX, sum).Store(sums);
            return;
        }

        if (scaling == Scaling.Offset)
        {
            // Signed codes are without their offset of 128 already.
            dot = signed ? dot : dot + Vector256.Create(offsets[0]);
            Fma.MultiplyAdd(Vector256.ConvertToSingle(dot), scaleOfX * scale, sum).Store(sums);
            return;
        }

        dot = signed ? dot + Vector256.Create(offsets[1]) : dot;
        sum = Fma.MultiplyAdd(Vector256.ConvertToSingle(dot), scaleOfX * scale, sum);
        second = scaling == Scaling.ZeroPoint ? second * scale : second;
        Fma.MultiplyAddNegated(second, Vector256.Create(((float*)offsets)[0]), sum).Store(sums);
    }
}
