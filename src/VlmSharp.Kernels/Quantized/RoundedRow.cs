using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace VlmSharp.Kernels.Quantized;

/// <summary>A row of x rounded to signed bytes for products with integer codes: one record for each 32 columns.</summary>
/// <remarks>
/// A record is 32 bytes in [-127, 127], the f32 scale max|x| / 127, and what the <see cref="Scaling"/> of the weights asks for: minus
/// the offset times the sum of the bytes (of the first 16 and of the last 16 where these have scales of their own), or the sum times
/// the scale in f32, and 128 times the sum. A block that holds a NaN or an infinity has the scale NaN, which makes all outputs of the row NaN; one
/// below 2^-100 counts as zeros.
/// </remarks>
internal static unsafe class RoundedRow
{
    public const int ScaleAt = 32;
    public const int SumAt = 36;
    public const int Words = 12;
    public const int Bytes = Words * sizeof(float);

    const float Least = 7.888609e-31f; // 2^-100: the inverse of the scale stays finite
    const int InfinityBits = 0x7F80_0000;

    /// <summary>Rounds a row.</summary>
    /// <param name="x">[columns]</param>
    /// <param name="columns">A multiple of 32.</param>
    /// <param name="blocks">The format of the weights.</param>
    /// <param name="records">One for each 32 columns.</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Round(float* x, int columns, PanelBlocks blocks, byte* records)
    {
        Scaling scaling = blocks.Scaling;
        int factor = -blocks.Offset;
        Vector256<int> magnitude = Vector256.Create(int.MaxValue);
        Vector256<int> order = Vector256.Create(0, 4, 1, 5, 2, 6, 3, 7);
        for (int column = 0; column < columns; column += Square.Columns, records += Bytes)
        {
            // As integers magnitudes have the same order, and NaN comes above infinity.
            float* from = x + column;
            Vector256<float> a = Vector256.Load(from);
            Vector256<float> b = Vector256.Load(from + 8);
            Vector256<float> c = Vector256.Load(from + 16);
            Vector256<float> d = Vector256.Load(from + 24);
            Vector256<int> most = Avx2.Max(
                Avx2.Max(a.AsInt32() & magnitude, b.AsInt32() & magnitude),
                Avx2.Max(c.AsInt32() & magnitude, d.AsInt32() & magnitude)
            );
            Vector128<int> four = Sse41.Max(most.GetLower(), most.GetUpper());
            four = Sse41.Max(four, Vector128.Shuffle(four, Vector128.Create(2, 3, 0, 1)));
            four = Sse41.Max(four, Vector128.Shuffle(four, Vector128.Create(1, 0, 3, 2)));
            float largest = BitConverter.Int32BitsToSingle(four.ToScalar());

            bool finite = four.ToScalar() < InfinityBits;
            bool zero = !finite || largest < Least;
            Vector256<float> inverse = Vector256.Create(zero ? 0 : 127 / largest);
            if (zero)
            {
                (a, b, c, d) = (default, default, default, default); // NaN times 0 would not be 0
            }

            Vector256<short> low = Avx2.PackSignedSaturate(
                Avx.ConvertToVector256Int32(a * inverse),
                Avx.ConvertToVector256Int32(b * inverse)
            );
            Vector256<short> high = Avx2.PackSignedSaturate(
                Avx.ConvertToVector256Int32(c * inverse),
                Avx.ConvertToVector256Int32(d * inverse)
            );
            // Each pack works within 128 bits: fours of columns 0, 8, 16, 24 and then 4, 12, 20, 28.
            Vector256<sbyte> bytes = Avx2.PermuteVar8x32(Avx2.PackSignedSaturate(low, high).AsInt32(), order).AsSByte();
            bytes.Store((sbyte*)records);

            Vector256<int> sums = Avx2.MultiplyAddAdjacent(
                Avx2.MultiplyAddAdjacent(Vector256<byte>.One, bytes),
                Vector256<short>.One
            );
            int first = Vector128.Sum(sums.GetLower());
            int last = Vector128.Sum(sums.GetUpper());
            float scale =
                !finite ? float.NaN
                : zero ? 0
                : largest / 127;
            *(float*)(records + ScaleAt) = scale;
            if (scaling is Scaling.Least or Scaling.ZeroPoint)
            {
                *(float*)(records + SumAt) = scale * (first + last);
                *(int*)(records + SumAt + 4) = 128 * (first + last);
            }
            else if (scaling == Scaling.OffsetOfHalves)
            {
                *(int*)(records + SumAt) = factor * first;
                *(int*)(records + SumAt + 4) = factor * last;
            }
            else
            {
                *(int*)(records + SumAt) = factor * (first + last);
            }
        }
    }
}
