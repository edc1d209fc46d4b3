using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using Isa = System.Runtime.Intrinsics.X86.Avx512BW;

namespace VlmSharp.Kernels.Imaging;

partial class VerticalPass
{
    internal static unsafe class Avx512
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
            if (target.Length < Vector512<byte>.Count)
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
                int lastStrip = target.Length - Vector512<byte>.Count;
                for (int i = 0; i < lastStrip; i += Vector512<byte>.Count)
                {
                    Strip(even + i, first + i, last + i, stride, halves).Store(to + i);
                }

                // The last strip overlaps the one before it.
                Strip(even + lastStrip, first + lastStrip, last + lastStrip, stride, halves).Store(to + lastStrip);
            }
        }

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        static Vector512<byte> Strip(byte* even, byte* first, byte* last, nint stride, ReadOnlySpan<int> halves)
        {
            ref int half = ref MemoryMarshal.GetReference(halves);
            Vector512<int> high0 = Vector512<int>.Zero;
            Vector512<int> high1 = Vector512<int>.Zero;
            Vector512<int> high2 = Vector512<int>.Zero;
            Vector512<int> high3 = Vector512<int>.Zero;
            Vector512<int> low0 = Vector512.Create(ResampleWeights.Half);
            Vector512<int> low1 = low0;
            Vector512<int> low2 = low0;
            Vector512<int> low3 = low0;
            for (int p = 0; p < halves.Length; p += 2, even += 2 * stride)
            {
                Vector512<byte> rowA = Vector512.Load(even < first ? first : even);
                Vector512<byte> rowB = Vector512.Load(even + stride > last ? last : even + stride);

                // Bytes of both rows side by side, widened: each 128-bit part holds its columns in order, 4 per register.
                Vector512<byte> front = Isa.UnpackLow(rowA, rowB);
                Vector512<byte> back = Isa.UnpackHigh(rowA, rowB);
                Vector512<short> pixels0 = Isa.UnpackLow(front, Vector512<byte>.Zero).AsInt16();
                Vector512<short> pixels1 = Isa.UnpackHigh(front, Vector512<byte>.Zero).AsInt16();
                Vector512<short> pixels2 = Isa.UnpackLow(back, Vector512<byte>.Zero).AsInt16();
                Vector512<short> pixels3 = Isa.UnpackHigh(back, Vector512<byte>.Zero).AsInt16();

                Vector512<short> high = Vector512.Create(Unsafe.Add(ref half, p)).AsInt16();
                Vector512<short> low = Vector512.Create(Unsafe.Add(ref half, p + 1)).AsInt16();
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
        static Vector512<int> Sum(Vector512<int> high, Vector512<int> low) =>
            (low + (high << ResampleWeights.LowBits)) >> ResampleWeights.Precision;
    }
}
