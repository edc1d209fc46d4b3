using System.Diagnostics;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using VlmSharp.Kernels.Quantized;
using Simd = System.Runtime.Intrinsics.X86.Avx2;

namespace VlmSharp.Kernels;

public static unsafe partial class MatMul
{
    // Rows for which codes are unpacked in registers, for each row again: with so many expanding them to memory does not pay yet.
    const int RowsInRegisters = 8;

    static void DriveInRegisters(in Call call, PanelBlocks blocks)
    {
        switch (blocks.Codes)
        {
            case CodeKind.Nibbles:
                DriveRounded(call, blocks, new Int8RowKernels<NibbleDots>(blocks));
                break;
            case CodeKind.FiveBits:
                DriveRounded(call, blocks, new Int8RowKernels<FiveBitDots>(blocks));
                break;
            case CodeKind.SixBits:
                DriveRounded(call, blocks, new Int8RowKernels<SixBitDots>(blocks));
                break;
            case CodeKind.Levels:
                DriveRounded(call, blocks, new Int8RowKernels<LevelDots>(blocks));
                break;
            case CodeKind.Bytes:
                DriveRounded(call, blocks, new Int8RowKernels<ByteDots>(blocks));
                break;
            default:
                throw new UnreachableException();
        }
    }

    /// <summary>Dot products of a row of x and the 32 of a square as it is stored.</summary>
    interface ISquareDots
    {
        /// <summary>Whether codes are taken 128 smaller than they are.</summary>
        static abstract bool Signed { get; }

        /// <summary>Computes them.</summary>
        /// <param name="square">Its codes.</param>
        /// <param name="x">A record of <see cref="RoundedRow"/>.</param>
        /// <param name="dots">[4], and where the last 16 columns have scales of their own another [4] for these.</param>
        static abstract void Dot(byte* square, byte* x, Vector256<int>* dots);
    }

    /// <summary>One row of x after the other times panels as they are stored. Integers and f32 operations are those of the generated kernels: so are the bits.</summary>
    readonly struct Int8RowKernels<TDots>(PanelBlocks blocks) : IPanelKernels
        where TDots : struct, ISquareDots
    {
        public int TileRows => int.MaxValue;

        public bool TilesReadUnpacked => false;

        public bool RowsReadUnpacked => false;

        public bool ReadsWeightsOnce(int rows) => true;

        public void Pack(float* x, nint stride, int words, float* packed) => throw new UnreachableException();

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
            for (int p = 0; p < panelCount; p++)
            {
                Panel(
                    blocks,
                    (byte*)x,
                    stride * sizeof(float),
                    rows,
                    panel + p * panelBytes,
                    depth,
                    sums + p * PanelRows,
                    sumsStride
                );
            }
        }

        [SkipLocalsInit]
        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        static void Panel(
            PanelBlocks blocks,
            byte* x,
            nint stride,
            int rows,
            byte* panel,
            int depth,
            float* sums,
            nint sumsStride
        )
        {
            const int vectors = 8; // vectors of dot products of a row
            int squares = blocks.Squares;
            int headBytes = blocks.HeadBytes;
            int squareBytes = blocks.SquareBytes;
            Scaling scaling = blocks.Scaling;
            float* head = stackalloc float[2 * PanelRows];
            float* scales = stackalloc float[2 * PanelRows];
            Vector256<int>* dots = stackalloc Vector256<int>[vectors * RowsInRegisters];
            for (int block = 0; block < depth; block++)
            {
                blocks.ExpandHead(panel, head);
                panel += headBytes;
                for (int s = 0; s < squares; s++, panel += squareBytes, x += RoundedRow.Bytes)
                {
                    // Codes come before scales, as in memory: prefetching follows.
                    for (int row = 0; row < rows; row++)
                    {
                        TDots.Dot(panel, x + (row * stride), dots + (row * vectors));
                    }

                    blocks.ExpandScales(head, panel, scales);
                    for (int row = 0; row < rows; row++)
                    {
                        byte* record = x + (row * stride);
                        float* to = sums + (row * sumsStride);
                        Vector256<int>* dot = dots + (row * vectors);
                        Finish(scales, scaling, TDots.Signed, record, dot[0], dot[4], to);
                        Finish(scales + 8, scaling, TDots.Signed, record, dot[1], dot[5], to + 8);
                        Finish(scales + 16, scaling, TDots.Signed, record, dot[2], dot[6], to + 16);
                        Finish(scales + 24, scaling, TDots.Signed, record, dot[3], dot[7], to + 24);
                    }
                }
            }
        }
    }

    // Four columns of x in all lanes.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static Vector256<sbyte> Quad(byte* x, int quad) => Vector256.Create(((int*)x)[quad]).AsSByte();

    // 16-bit sums hold 8 * 2 * 15 * 127.
    readonly struct NibbleDots : ISquareDots
    {
        public static bool Signed => false;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static void Dot(byte* square, byte* x, Vector256<int>* dots)
        {
            Vector256<short> a = default;
            Vector256<short> b = default;
            Vector256<short> c = default;
            Vector256<short> d = default;
            for (int quad = 0; quad < Square.Quads / 2; quad++, square += Square.QuadBytes)
            {
                Vector256<sbyte> low = Quad(x, quad);
                Vector256<sbyte> high = Quad(x, quad + 4);
                a += Pair(square, low, high);
                b += Pair(square + 32, low, high);
                c += Pair(square + 64, low, high);
                d += Pair(square + 96, low, high);
            }

            dots[0] = Simd.MultiplyAddAdjacent(a, Vector256<short>.One);
            dots[1] = Simd.MultiplyAddAdjacent(b, Vector256<short>.One);
            dots[2] = Simd.MultiplyAddAdjacent(c, Vector256<short>.One);
            dots[3] = Simd.MultiplyAddAdjacent(d, Vector256<short>.One);
        }

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        static Vector256<short> Pair(byte* codes, Vector256<sbyte> low, Vector256<sbyte> high)
        {
            Vector256<byte> two = Vector256.Load(codes);
            Vector256<byte> mask = Vector256.Create((byte)15);
            return Simd.MultiplyAddAdjacent(two & mask, low)
                + Simd.MultiplyAddAdjacent((two.AsUInt16() >> 4).AsByte() & mask, high);
        }
    }

    // 16-bit sums hold 4 * 2 * 31 * 127.
    readonly struct FiveBitDots : ISquareDots
    {
        public static bool Signed => false;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static void Dot(byte* square, byte* x, Vector256<int>* dots)
        {
            for (int group = 0; group < 4; group++)
            {
                Vector256<ushort> bits = Vector256.Load(square + (group * 32)).AsUInt16();
                byte* codes = square + FifthBits.Bytes + (group * 32);
                Vector256<short> low = default;
                Vector256<short> high = default;
                Pair(codes, bits << 4, bits, x, 0, ref low, ref high);
                Pair(codes, bits << 3, bits >> 1, x, 1, ref low, ref high);
                Pair(codes, bits << 2, bits >> 2, x, 2, ref low, ref high);
                Pair(codes, bits << 1, bits >> 3, x, 3, ref low, ref high);
                dots[group] =
                    Simd.MultiplyAddAdjacent(low, Vector256<short>.One)
                    + Simd.MultiplyAddAdjacent(high, Vector256<short>.One);
            }
        }

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        static void Pair(
            byte* codes,
            Vector256<ushort> lowBits,
            Vector256<ushort> highBits,
            byte* x,
            int quad,
            ref Vector256<short> low,
            ref Vector256<short> high
        )
        {
            Vector256<byte> two = Vector256.Load(codes + (quad * Square.QuadBytes));
            Vector256<byte> mask = Vector256.Create((byte)15);
            Vector256<byte> fifth = Vector256.Create((byte)16);
            low += Simd.MultiplyAddAdjacent((two & mask) | (lowBits.AsByte() & fifth), Quad(x, quad));
            high += Simd.MultiplyAddAdjacent(
                ((two.AsUInt16() >> 4).AsByte() & mask) | (highBits.AsByte() & fifth),
                Quad(x, quad + 4)
            );
        }
    }

    // 16-bit sums hold 2 * 2 * 63 * 127.
    readonly struct SixBitDots : ISquareDots
    {
        public static bool Signed => false;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static void Dot(byte* square, byte* x, Vector256<int>* dots)
        {
            const int quadBytes = Square.QuadBytes;
            Vector256<byte> six = Vector256.Create((byte)0x3F);
            Vector256<byte> upper = Vector256.Create((byte)0xC0);
            for (int half = 0; half < 2; half++, square += 3 * quadBytes, x += 16, dots += 4)
            {
                (Vector256<sbyte> x0, Vector256<sbyte> x1) = (Quad(x, 0), Quad(x, 1));
                (Vector256<sbyte> x2, Vector256<sbyte> x3) = (Quad(x, 2), Quad(x, 3));
                for (int group = 0; group < 4; group++)
                {
                    byte* codes = square + (group * 32);
                    Vector256<byte> a = Vector256.Load(codes);
                    Vector256<byte> b = Vector256.Load(codes + quadBytes);
                    Vector256<byte> c = Vector256.Load(codes + (2 * quadBytes));
                    Vector256<byte> last = (
                        ((a & upper).AsUInt16() >> 2) | ((b & upper).AsUInt16() >> 4) | ((c & upper).AsUInt16() >> 6)
                    ).AsByte();
                    Vector256<short> first = Simd.MultiplyAddAdjacent(a & six, x0);
                    first += Simd.MultiplyAddAdjacent(b & six, x1);
                    Vector256<short> second = Simd.MultiplyAddAdjacent(c & six, x2);
                    second += Simd.MultiplyAddAdjacent(last, x3);
                    dots[group] =
                        Simd.MultiplyAddAdjacent(first, Vector256<short>.One)
                        + Simd.MultiplyAddAdjacent(second, Vector256<short>.One);
                }
            }
        }
    }

    // 2 * 128 * 127 stays below 2^15, and nothing can be added to it.
    readonly struct ByteDots : ISquareDots
    {
        public static bool Signed => true;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static void Dot(byte* square, byte* x, Vector256<int>* dots)
        {
            Vector256<int> a = default;
            Vector256<int> b = default;
            Vector256<int> c = default;
            Vector256<int> d = default;
            Vector256<byte> offset = Vector256.Create((byte)128);
            for (int quad = 0; quad < Square.Quads; quad++, square += Square.QuadBytes)
            {
                Vector256<sbyte> four = Quad(x, quad);
                a += Products((Vector256.Load(square) ^ offset).AsSByte(), four);
                b += Products((Vector256.Load(square + 32) ^ offset).AsSByte(), four);
                c += Products((Vector256.Load(square + 64) ^ offset).AsSByte(), four);
                d += Products((Vector256.Load(square + 96) ^ offset).AsSByte(), four);
            }

            dots[0] = a;
            dots[1] = b;
            dots[2] = c;
            dots[3] = d;
        }

        /// <summary>Sums of four products: the sign goes to x, as one factor of the instruction is unsigned.</summary>
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static Vector256<int> Products(Vector256<sbyte> codes, Vector256<sbyte> x) =>
            Simd.MultiplyAddAdjacent(
                Simd.MultiplyAddAdjacent(Simd.Abs(codes), Simd.Sign(x, codes)),
                Vector256<short>.One
            );
    }

    readonly struct LevelDots : ISquareDots
    {
        public static bool Signed => true;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static void Dot(byte* square, byte* x, Vector256<int>* dots)
        {
            Vector128<byte> unsigned = Vector128.Load(LevelBlocks.UnsignedLevels);
            Vector128<byte> signed = unsigned ^ Vector128.Create((byte)128);
            Vector256<byte> levels = Vector256.Create(signed, signed);
            Vector256<int> a = default;
            Vector256<int> b = default;
            Vector256<int> c = default;
            Vector256<int> d = default;
            for (int quad = 0; quad < Square.Quads / 2; quad++, square += Square.QuadBytes)
            {
                Vector256<sbyte> low = Quad(x, quad);
                Vector256<sbyte> high = Quad(x, quad + 4);
                a += Pair(square, levels, low, high);
                b += Pair(square + 32, levels, low, high);
                c += Pair(square + 64, levels, low, high);
                d += Pair(square + 96, levels, low, high);
            }

            dots[0] = a;
            dots[1] = b;
            dots[2] = c;
            dots[3] = d;
        }

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        static Vector256<int> Pair(byte* codes, Vector256<byte> levels, Vector256<sbyte> low, Vector256<sbyte> high)
        {
            Vector256<byte> two = Vector256.Load(codes);
            Vector256<byte> mask = Vector256.Create((byte)15);
            return ByteDots.Products(Simd.Shuffle(levels, two & mask).AsSByte(), low)
                + ByteDots.Products(Simd.Shuffle(levels, (two.AsUInt16() >> 4).AsByte() & mask).AsSByte(), high);
        }
    }
}
