using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using Isa = System.Runtime.Intrinsics.X86.Avx2;

namespace VlmSharp.Kernels.Imaging;

partial class HorizontalPass
{
    /// <summary>Target columns of one tile for 16 rows: from pixel pairs [pair, channel, row] to bytes [channel, column, row].</summary>
    internal unsafe delegate void TileKernel(byte* pairs, HorizontalPlan plan, HorizontalPlan.Tile tile, byte* stage);

    internal static unsafe class Avx2
    {
        public static void Apply(
            ReadOnlySpan<byte> source,
            int rows,
            HorizontalPlan plan,
            Span<byte> target,
            PlanarRows layout,
            Span<byte> scratch
        ) => Blocks(source, rows, plan, target, layout, scratch, Columns);

        /// <summary>What both vector variants share: blocks of 16 rows, tiles, and turning rows into columns and back.</summary>
        internal static void Blocks(
            ReadOnlySpan<byte> source,
            int rows,
            HorizontalPlan plan,
            Span<byte> target,
            PlanarRows layout,
            Span<byte> scratch,
            TileKernel columns
        )
        {
            int channels = plan.Channels;
            nint sourceStride = (nint)plan.Weights.SourceSize * channels;
            fixed (byte* sourceStart = source)
            fixed (byte* targetStart = target)
            fixed (byte* pairs = scratch)
            {
                byte* columnBytes = pairs + plan.PairBytes;
                byte* stage = columnBytes + plan.ColumnBytes;
                byte* edge = stage + plan.StageBytes;
                for (int r = 0; r < rows; r += HorizontalPlan.BlockRows)
                {
                    byte* block = sourceStart + r * sourceStride;
                    int blockRows = Math.Min(HorizontalPlan.BlockRows, rows - r);
                    foreach (HorizontalPlan.Tile tile in plan.Tiles)
                    {
                        LoadColumns(block, sourceStride, blockRows, tile, channels, columnBytes, edge);
                        Prefetch(block, sourceStride, blockRows, tile, channels);
                        WidenPairs(columnBytes, tile.EndPair - tile.FirstPair, channels, pairs);
                        columns(pairs, plan, tile, stage);
                        StoreRows(stage, plan, tile, targetStart + (nint)r * layout.RowStride, layout);
                    }
                }
            }
        }

        // The next tile's pixels, one cache line of 16 rows after the other: too many streams for the hardware to follow.
        static void Prefetch(byte* block, nint stride, int blockRows, HorizontalPlan.Tile tile, int channels)
        {
            nint from = (nint)tile.EndPair * 2 * channels;
            nint end = Math.Min(from + (nint)(tile.EndPair - tile.FirstPair) * 2 * channels, stride);
            for (nint at = from; at < end; at += 64)
            {
                for (int r = 0; r < blockRows; r++)
                {
                    Sse.Prefetch0(block + r * stride + at);
                }
            }
        }

        // columnBytes: [source byte of the tile, 16 rows]
        static void LoadColumns(
            byte* block,
            nint stride,
            int blockRows,
            HorizontalPlan.Tile tile,
            int channels,
            byte* columnBytes,
            byte* edge
        )
        {
            nint from = (nint)tile.FirstPair * 2 * channels;
            nint end = (nint)tile.EndPair * 2 * channels;
            for (nint at = from; at < end; at += 32, columnBytes += 32 * 16)
            {
                if (blockRows == HorizontalPlan.BlockRows && at + 32 <= stride)
                {
                    ByteTranspose.TwoBlocks(block + at, stride, 16, columnBytes, 16, 16 * 16);
                    continue;
                }

                // Fewer rows or bytes are left than a block holds; none when an odd row's last pair ends one pixel behind it.
                // What fills up the rest is never used or weighs zero.
                nint left = Math.Clamp(stride - at, 0, 32);
                for (int r = 0; r < blockRows; r++)
                {
                    Buffer.MemoryCopy(block + r * stride + at, edge + r * 32, 32, left);
                }

                ByteTranspose.TwoBlocks(edge, 32, 16, columnBytes, 16, 16 * 16);
            }
        }

        // pairs: [pair, channel, 16 rows, 2] of 16-bit pixels
        static void WidenPairs(byte* columnBytes, int count, int channels, byte* pairs)
        {
            nint next = (nint)channels * 16; // the same channel of the next pixel
            for (int p = 0; p < count; p++, columnBytes += next)
            {
                for (int c = 0; c < channels; c++, columnBytes += 16, pairs += 64)
                {
                    Vector128<byte> even = Vector128.Load(columnBytes);
                    Vector128<byte> odd = Vector128.Load(columnBytes + next);
                    Isa.ConvertToVector256Int16(Sse2.UnpackLow(even, odd)).Store((short*)pairs);
                    Isa.ConvertToVector256Int16(Sse2.UnpackHigh(even, odd)).Store((short*)(pairs + 32));
                }
            }
        }

        static void StoreRows(
            byte* stage,
            HorizontalPlan plan,
            HorizontalPlan.Tile tile,
            byte* target,
            PlanarRows layout
        )
        {
            for (int c = 0; c < plan.Channels; c++)
            {
                byte* columns = stage + (nint)c * plan.TileColumns * 16;
                byte* plane = target + (nint)c * layout.PlaneStride;
                for (int x = tile.From; x < tile.To; x += PlanarRows.ColumnBlock, columns += 32 * 16)
                {
                    ByteTranspose.TwoBlocks(columns, 16, 16 * 16, plane + x, layout.RowStride, 16);
                }
            }
        }

        static void Columns(byte* pairs, HorizontalPlan plan, HorizontalPlan.Tile tile, byte* stage)
        {
            int channels = plan.Channels;
            ResampleWeights weights = plan.Weights;
            for (int x = tile.From; x < tile.To; x++, stage += 16)
            {
                ReadOnlySpan<int> halves = weights.Pairs(x);
                byte* first = pairs + (nint)(weights.FirstPair(x) - tile.FirstPair) * channels * 64;
                for (int c = 0; c < channels; c++)
                {
                    Column(first + c * 64, channels * 64, halves).Store(stage + (nint)c * plan.TileColumns * 16);
                }
            }
        }

        // One target pixel of 16 rows.
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        static Vector128<byte> Column(byte* pixels, nint step, ReadOnlySpan<int> halves)
        {
            ref int half = ref MemoryMarshal.GetReference(halves);
            Vector256<int> high0 = Vector256<int>.Zero;
            Vector256<int> high1 = Vector256<int>.Zero;
            Vector256<int> low0 = Vector256.Create(ResampleWeights.Half);
            Vector256<int> low1 = low0;
            for (int p = 0; p < halves.Length; p += 2, pixels += step)
            {
                Vector256<short> high = Vector256.Create(Unsafe.Add(ref half, p)).AsInt16();
                Vector256<short> low = Vector256.Create(Unsafe.Add(ref half, p + 1)).AsInt16();
                Vector256<short> rows0 = Vector256.Load((short*)pixels);
                Vector256<short> rows1 = Vector256.Load((short*)(pixels + 32));
                high0 += Isa.MultiplyAddAdjacent(rows0, high);
                high1 += Isa.MultiplyAddAdjacent(rows1, high);
                low0 += Isa.MultiplyAddAdjacent(rows0, low);
                low1 += Isa.MultiplyAddAdjacent(rows1, low);
            }

            Vector256<int> sum0 = (low0 + (high0 << ResampleWeights.LowBits)) >> ResampleWeights.Precision;
            Vector256<int> sum1 = (low1 + (high1 << ResampleWeights.LowBits)) >> ResampleWeights.Precision;

            // Saturating twice clips to [0, 255]. Each 128-bit half has 4 rows of sum0, then 4 of sum1.
            Vector256<short> words = Isa.PackSignedSaturate(sum0, sum1);
            Vector256<uint> bytes = Isa.PackUnsignedSaturate(words, words).AsUInt32();
            return Sse2.UnpackLow(bytes.GetLower(), bytes.GetUpper()).AsByte();
        }
    }
}
