using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace VlmSharp.Kernels.Imaging;

partial class HorizontalPass
{
    internal static unsafe class Avx512
    {
        public static void Apply(
            ReadOnlySpan<byte> source,
            int rows,
            HorizontalPlan plan,
            Span<byte> target,
            PlanarRows layout,
            Span<byte> scratch
        ) => Avx2.Blocks(source, rows, plan, target, layout, scratch, plan.Channels == 3 ? ThreeChannels : AnyChannels);

        static void AnyChannels(byte* pairs, HorizontalPlan plan, HorizontalPlan.Tile tile, byte* stage)
        {
            int channels = plan.Channels;
            ResampleWeights weights = plan.Weights;
            for (int x = tile.From; x < tile.To; x++, stage += 16)
            {
                ReadOnlySpan<int> halves = weights.Pairs(x);
                ref int half = ref MemoryMarshal.GetReference(halves);
                byte* first = pairs + (nint)(weights.FirstPair(x) - tile.FirstPair) * channels * 64;
                for (int c = 0; c < channels; c++)
                {
                    Vector512<int> highSum = Vector512<int>.Zero;
                    Vector512<int> lowSum = Vector512.Create(ResampleWeights.Half);
                    byte* pixels = first + c * 64;
                    for (int p = 0; p < halves.Length; p += 2, pixels += channels * 64)
                    {
                        Vector512<short> rows = Vector512.Load((short*)pixels);
                        highSum += Multiply(rows, Unsafe.Add(ref half, p));
                        lowSum += Multiply(rows, Unsafe.Add(ref half, p + 1));
                    }

                    Store(highSum, lowSum, stage + (nint)c * plan.TileColumns * 16);
                }
            }
        }

        // The common case with its weights loaded once for three channels.
        static void ThreeChannels(byte* pairs, HorizontalPlan plan, HorizontalPlan.Tile tile, byte* stage)
        {
            ResampleWeights weights = plan.Weights;
            nint planeBytes = (nint)plan.TileColumns * 16;
            for (int x = tile.From; x < tile.To; x++, stage += 16)
            {
                ReadOnlySpan<int> halves = weights.Pairs(x);
                ref int half = ref MemoryMarshal.GetReference(halves);
                byte* pixels = pairs + (nint)(weights.FirstPair(x) - tile.FirstPair) * (3 * 64);
                Vector512<int> high0 = Vector512<int>.Zero;
                Vector512<int> high1 = Vector512<int>.Zero;
                Vector512<int> high2 = Vector512<int>.Zero;
                Vector512<int> low0 = Vector512.Create(ResampleWeights.Half);
                Vector512<int> low1 = low0;
                Vector512<int> low2 = low0;
                for (int p = 0; p < halves.Length; p += 2, pixels += 3 * 64)
                {
                    Vector512<short> high = Vector512.Create(Unsafe.Add(ref half, p)).AsInt16();
                    Vector512<short> low = Vector512.Create(Unsafe.Add(ref half, p + 1)).AsInt16();
                    Vector512<short> rows0 = Vector512.Load((short*)pixels);
                    Vector512<short> rows1 = Vector512.Load((short*)(pixels + 64));
                    Vector512<short> rows2 = Vector512.Load((short*)(pixels + 128));
                    high0 += Avx512BW.MultiplyAddAdjacent(rows0, high);
                    high1 += Avx512BW.MultiplyAddAdjacent(rows1, high);
                    high2 += Avx512BW.MultiplyAddAdjacent(rows2, high);
                    low0 += Avx512BW.MultiplyAddAdjacent(rows0, low);
                    low1 += Avx512BW.MultiplyAddAdjacent(rows1, low);
                    low2 += Avx512BW.MultiplyAddAdjacent(rows2, low);
                }

                Store(high0, low0, stage);
                Store(high1, low1, stage + planeBytes);
                Store(high2, low2, stage + 2 * planeBytes);
            }
        }

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        static Vector512<int> Multiply(Vector512<short> rows, int weights) =>
            Avx512BW.MultiplyAddAdjacent(rows, Vector512.Create(weights).AsInt16());

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        static void Store(Vector512<int> high, Vector512<int> low, byte* target)
        {
            Vector512<int> sum = (low + (high << ResampleWeights.LowBits)) >> ResampleWeights.Precision;
            Vector512<uint> positive = Avx512F.Max(sum, Vector512<int>.Zero).AsUInt32();
            Avx512F.ConvertToVector128ByteWithSaturation(positive).Store(target);
        }
    }
}
