using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace VlmSharp.Kernels;

/// <summary>Squares of 16 x 16 words of 32 bits, which fill 16 vectors of 512; needs <see cref="InstructionSets.Avx512"/>.</summary>
internal static unsafe class Square16
{
    internal const int Size = 16;

    /// <summary>Columns become rows.</summary>
    /// <param name="from">16 rows of 16 words.</param>
    /// <param name="fromStride">Words from one of them to the next.</param>
    /// <param name="to">Rows that were columns.</param>
    /// <param name="toStride">Words from one of them to the next.</param>
    /// <param name="count">How many of those are stored.</param>
    /// <param name="lanes">How many words of each.</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    [SkipLocalsInit]
    internal static void Transpose(uint* from, nint fromStride, uint* to, nint toStride, int count, int lanes = Size)
    {
        Vector512<uint> mask = Masks.First512(lanes).AsUInt32();
        // Four rows at a time: lanes of 128 bits become columns of four rows, then whole lanes change places.
        Vector512<uint>* quads = stackalloc Vector512<uint>[Size]; // [4 rows of the square / 4][4 columns]
        for (int i = 0; i < 4; i++)
        {
            uint* row = from + (i * 4 * fromStride);
            Vector512<uint> a = Vector512.Load(row);
            Vector512<uint> b = Vector512.Load(row + fromStride);
            Vector512<uint> c = Vector512.Load(row + (2 * fromStride));
            Vector512<uint> d = Vector512.Load(row + (3 * fromStride));
            Vector512<ulong> abLow = Avx512F.UnpackLow(a, b).AsUInt64();
            Vector512<ulong> abHigh = Avx512F.UnpackHigh(a, b).AsUInt64();
            Vector512<ulong> cdLow = Avx512F.UnpackLow(c, d).AsUInt64();
            Vector512<ulong> cdHigh = Avx512F.UnpackHigh(c, d).AsUInt64();
            quads[i] = Avx512F.UnpackLow(abLow, cdLow).AsUInt32();
            quads[4 + i] = Avx512F.UnpackHigh(abLow, cdLow).AsUInt32();
            quads[8 + i] = Avx512F.UnpackLow(abHigh, cdHigh).AsUInt32();
            quads[12 + i] = Avx512F.UnpackHigh(abHigh, cdHigh).AsUInt32();
        }

        for (int column = 0; column < 4; column++)
        {
            Vector512<uint> a = quads[(column * 4) + 0];
            Vector512<uint> b = quads[(column * 4) + 1];
            Vector512<uint> c = quads[(column * 4) + 2];
            Vector512<uint> d = quads[(column * 4) + 3];
            Vector512<uint> abEven = Avx512F.Shuffle4x128(a, b, 0b10_00_10_00);
            Vector512<uint> abOdd = Avx512F.Shuffle4x128(a, b, 0b11_01_11_01);
            Vector512<uint> cdEven = Avx512F.Shuffle4x128(c, d, 0b10_00_10_00);
            Vector512<uint> cdOdd = Avx512F.Shuffle4x128(c, d, 0b11_01_11_01);
            Store(Avx512F.Shuffle4x128(abEven, cdEven, 0b10_00_10_00), column);
            Store(Avx512F.Shuffle4x128(abOdd, cdOdd, 0b10_00_10_00), column + 4);
            Store(Avx512F.Shuffle4x128(abEven, cdEven, 0b11_01_11_01), column + 8);
            Store(Avx512F.Shuffle4x128(abOdd, cdOdd, 0b11_01_11_01), column + 12);
        }

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        void Store(Vector512<uint> row, int number)
        {
            if (number < count)
            {
                Avx512F.MaskStore(to + (number * toStride), mask, row);
            }
        }
    }
}
