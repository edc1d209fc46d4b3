using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using Isa = System.Runtime.Intrinsics.X86.Avx2;

namespace VlmSharp.Kernels.Imaging;

partial class VerticalPass
{
    internal static unsafe class Avx2
    {
        public static void Apply(
            ReadOnlySpan<byte> rows,
            int stride,
            int firstRow,
            ResampleWeights weights,
            int y,
            Span<byte> target
        )
        {
            if (target.Length < Vector256<byte>.Count)
            {
                Portable(rows, stride, firstRow, weights, y, target);
                return;
            }

            fixed (byte* start = rows)
            fixed (byte* to = target)
            {
                // Pairs are those of the whole axis: a window may start with the second or end with the first row of a
                // pair. The row outside weighs zero; its neighbour is read in its place.
                byte* first = start + (nint)(weights.First(y) - firstRow) * stride;
                byte* last = start + (nint)(weights.End(y) - 1 - firstRow) * stride;
                byte* even = start + ((nint)weights.FirstPair(y) * 2 - firstRow) * stride;
                ReadOnlySpan<int> halves = weights.Pairs(y);
                int lastStrip = target.Length - Vector256<byte>.Count;
                for (int i = 0; i < lastStrip; i += Vector256<byte>.Count)
                {
                    Strip(even + i, first + i, last + i, stride, halves).Store(to + i);
                }

                // The last strip overlaps the one before it.
                Strip(even + lastStrip, first + lastStrip, last + lastStrip, stride, halves).Store(to + lastStrip);
            }
        }

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        static Vector256<byte> Strip(byte* even, byte* first, byte* last, nint stride, ReadOnlySpan<int> halves)
        {
            ref int half = ref MemoryMarshal.GetReference(halves);
            Vector256<int> high0 = Vector256<int>.Zero;
            Vector256<int> high1 = Vector256<int>.Zero;
            Vector256<int> high2 = Vector256<int>.Zero;
            Vector256<int> high3 = Vector256<int>.Zero;
            Vector256<int> low0 = Vector256.Create(ResampleWeights.Half);
            Vector256<int> low1 = low0;
            Vector256<int> low2 = low0;
            Vector256<int> low3 = low0;
            for (int p = 0; p < halves.Length; p += 2, even += 2 * stride)
            {
                Vector256<byte> rowA = Vector256.Load(even < first ? first : even);
                Vector256<byte> rowB = Vector256.Load(even + stride > last ? last : even + stride);

                // Bytes of both rows side by side, widened: each 128-bit part holds its columns in order, 4 per register.
                Vector256<byte> front = Isa.UnpackLow(rowA, rowB);
                Vector256<byte> back = Isa.UnpackHigh(rowA, rowB);
                Vector256<short> pixels0 = Isa.UnpackLow(front, Vector256<byte>.Zero).AsInt16();
                Vector256<short> pixels1 = Isa.UnpackHigh(front, Vector256<byte>.Zero).AsInt16();
                Vector256<short> pixels2 = Isa.UnpackLow(back, Vector256<byte>.Zero).AsInt16();
                Vector256<short> pixels3 = Isa.UnpackHigh(back, Vector256<byte>.Zero).AsInt16();

                Vector256<short> high = Vector256.Create(Unsafe.Add(ref half, p)).AsInt16();
                Vector256<short> low = Vector256.Create(Unsafe.Add(ref half, p + 1)).AsInt16();
                high0 += Isa.MultiplyAddAdjacent(pixels0, high);
                high1 += Isa.MultiplyAddAdjacent(pixels1, high);
                high2 += Isa.MultiplyAddAdjacent(pixels2, high);
                high3 += Isa.MultiplyAddAdjacent(pixels3, high);
                low0 += Isa.MultiplyAddAdjacent(pixels0, low);
                low1 += Isa.MultiplyAddAdjacent(pixels1, low);
                low2 += Isa.MultiplyAddAdjacent(pixels2, low);
                low3 += Isa.MultiplyAddAdjacent(pixels3, low);
            }

            // Saturating twice clips to [0, 255] and undoes the order of the unpacking.
            return Isa.PackUnsignedSaturate(
                Isa.PackSignedSaturate(Sum(high0, low0), Sum(high1, low1)),
                Isa.PackSignedSaturate(Sum(high2, low2), Sum(high3, low3))
            );
        }

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        static Vector256<int> Sum(Vector256<int> high, Vector256<int> low) =>
            (low + (high << ResampleWeights.LowBits)) >> ResampleWeights.Precision;
    }
}
