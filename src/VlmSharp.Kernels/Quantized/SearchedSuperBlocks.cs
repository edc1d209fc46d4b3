using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using static System.Runtime.Intrinsics.Vector256;

namespace VlmSharp.Kernels.Quantized;

/// <summary>Packs blocks of 256 values, whose groups have scales (and least values) that are integers with a scale of their own.</summary>
/// <remarks>
/// Scales are searched for each group alone and rounded. Then, with the groups' scales as they will be read, each integer scale is
/// compared with its neighbours, and the block's own scale is solved for again; the best of these rounds is kept.
/// </remarks>
static unsafe class SearchedSuperBlocks
{
    const int Size = 256;
    const int Lanes = ScaleSearch.Lanes;
    const int Rounds = 2;

    /// <summary>A row of Q4_K or Q5_K: 8 groups of 32.</summary>
    [SkipLocalsInit]
    public static void Q4OrQ5(GgmlType type, ReadOnlySpan<float> row, Span<byte> blocks, ReadOnlySpan<float> importance)
    {
        const int group = 32;
        float* x = stackalloc float[Size];
        float* w = stackalloc float[Size];
        float* q = stackalloc float[Size];
        int highest = type == GgmlType.Q4_K ? 15 : 31;
        int bytes = type.BlockBytes();
        for (int column = 0; column < row.Length; column += Size, blocks = blocks[bytes..])
        {
            Groups.Gather(row[column..], x, group, Lanes);
            Groups.Weights(importance.IsEmpty ? [] : importance[column..], w, group, Lanes);
            Vector256<float> scale = ScaleSearch.Affine(x, w, group, highest, atMostZero: true, out var least);
            Packed best = default;
            float unit = Groups.Half(Largest(scale) / 63);
            float leastUnit = Groups.Half(Largest(-least) / 63);
            Vector256<float> scales = Integers(scale, unit);
            Vector256<float> leasts = Integers(-least, leastUnit);
            for (int round = 0; round <= Rounds; round++)
            {
                Vector256<float> errors = Neighbours(x, w, group, highest, unit, leastUnit, ref scales, ref leasts);
                float error = Sum(errors);
                if (round > 0 && !(error < best.Error))
                {
                    break;
                }

                best = new(error, unit, leastUnit, scales, leasts);
                if (round < Rounds)
                {
                    ScaleSearch.Integers(x, q, group, scales * unit, leasts * -leastUnit, 0, highest);
                    (unit, leastUnit) = Solve(x, w, q, group, scales, leasts, unit, leastUnit);
                }
            }

            ScaleSearch.Integers(x, q, group, best.Scales * best.Unit, best.Leasts * -best.LeastUnit, 0, highest);
            Write(type, q, best, blocks);
        }
    }

    /// <summary>A row of Q6_K: 16 groups of 16, without least values.</summary>
    [SkipLocalsInit]
    public static void Q6(ReadOnlySpan<float> row, Span<byte> blocks, ReadOnlySpan<float> importance)
    {
        const int group = 16;
        float* x = stackalloc float[Size];
        float* w = stackalloc float[Size];
        float* q = stackalloc float[Size];
        Vector256<float>* scales = stackalloc Vector256<float>[2];
        for (int column = 0; column < row.Length; column += Size, blocks = blocks[210..])
        {
            float largest = 0;
            for (int half = 0; half < 2; half++)
            {
                int first = half * Size / 2;
                Groups.Gather(row[(column + first)..], x + first, group, Lanes);
                Groups.Weights(importance.IsEmpty ? [] : importance[(column + first)..], w + first, group, Lanes);
                scales[half] = ScaleSearch.Symmetric(x + first, w + first, group, -32, 31);
                largest = MathF.Max(largest, Largest(Abs(scales[half])));
            }

            float unit = Groups.Half(largest / 127);
            scales[0] = SignedIntegers(scales[0], unit);
            scales[1] = SignedIntegers(scales[1], unit);
            (float Error, float Unit, Vector256<float> First, Vector256<float> Second) best = default;
            for (int round = 0; round <= Rounds; round++)
            {
                float error =
                    Sum(SignedNeighbours(x, w, group, unit, ref scales[0]))
                    + Sum(SignedNeighbours(x + (Size / 2), w + (Size / 2), group, unit, ref scales[1]));
                if (round > 0 && !(error < best.Error))
                {
                    break;
                }

                best = (error, unit, scales[0], scales[1]);
                if (round < Rounds)
                {
                    Quantise(unit);
                    unit = Solve(x, w, q, group, scales, unit);
                }
            }

            (scales[0], scales[1]) = (best.First, best.Second);
            Quantise(best.Unit);
            Write(q, scales, best.Unit, blocks);
        }

        void Quantise(float unit)
        {
            for (int half = 0; half < 2; half++)
            {
                int first = half * Size / 2;
                ScaleSearch.Integers(x + first, q + first, group, scales[half] * unit, Vector256<float>.Zero, -32, 31);
            }
        }
    }

    // Of each lane the best of nine: both integers as they are, one less, one more.
    static Vector256<float> Neighbours(
        float* x,
        float* w,
        int group,
        int highest,
        float unit,
        float leastUnit,
        ref Vector256<float> scales,
        ref Vector256<float> leasts
    )
    {
        Vector256<float> error = Create(float.PositiveInfinity);
        (Vector256<float> fromScales, Vector256<float> fromLeasts) = (scales, leasts);
        for (int i = 0; i < 9; i++)
        {
            // Unchanged integers come first, so that ties keep them.
            Vector256<float> s = Clamp(fromScales + Create(Move(i / 3)), 0, 63);
            Vector256<float> l = Clamp(fromLeasts + Create(Move(i % 3)), 0, 63);
            Vector256<float> found = ScaleSearch.Error(x, w, group, s * unit, l * -leastUnit, 0, highest);
            Vector256<float> better = LessThan(found, error);
            error = ConditionalSelect(better, found, error);
            scales = ConditionalSelect(better, s, scales);
            leasts = ConditionalSelect(better, l, leasts);
        }

        return error;
    }

    static Vector256<float> SignedNeighbours(float* x, float* w, int group, float unit, ref Vector256<float> scales)
    {
        Vector256<float> error = Create(float.PositiveInfinity);
        Vector256<float> from = scales;
        for (int i = 0; i < 3; i++)
        {
            Vector256<float> s = Clamp(from + Create(Move(i)), -128, 127);
            Vector256<float> found = ScaleSearch.Error(x, w, group, s * unit, Vector256<float>.Zero, -32, 31);
            Vector256<float> better = LessThan(found, error);
            error = ConditionalSelect(better, found, error);
            scales = ConditionalSelect(better, s, scales);
        }

        return error;
    }

    static float Move(int i) =>
        i switch
        {
            0 => 0,
            1 => -1,
            _ => 1,
        };

    // The two units that fit best when all integers stay: x ~ unit * (s q) - leastUnit * l.
    static (float Unit, float LeastUnit) Solve(
        float* x,
        float* w,
        float* q,
        int group,
        Vector256<float> scales,
        Vector256<float> leasts,
        float unit,
        float leastUnit
    )
    {
        (double aa, double ab, double bb, double ax, double bx) = (0, 0, 0, 0, 0);
        for (int i = 0; i < group; i++)
        {
            for (int lane = 0; lane < Lanes; lane++)
            {
                double weight = w[(i * Lanes) + lane];
                double value = x[(i * Lanes) + lane];
                double a = scales[lane] * q[(i * Lanes) + lane];
                double b = -leasts[lane];
                aa += weight * a * a;
                ab += weight * a * b;
                bb += weight * b * b;
                ax += weight * a * value;
                bx += weight * b * value;
            }
        }

        double determinant = (aa * bb) - (ab * ab);
        (double u, double l) =
            determinant > 1e-9 * aa * bb
                ? (((ax * bb) - (bx * ab)) / determinant, ((bx * aa) - (ax * ab)) / determinant)
            : aa > 0 ? (ax / aa, leastUnit)
            : (unit, leastUnit);
        return (Groups.Half((float)Math.Max(0, u)), Groups.Half((float)Math.Max(0, l)));
    }

    static float Solve(float* x, float* w, float* q, int group, Vector256<float>* scales, float unit)
    {
        (double aa, double ax) = (0, 0);
        for (int i = 0; i < 2 * group; i++)
        {
            for (int lane = 0; lane < Lanes; lane++)
            {
                double a = scales[i / group][lane] * q[(i * Lanes) + lane];
                aa += w[(i * Lanes) + lane] * a * a;
                ax += w[(i * Lanes) + lane] * a * x[(i * Lanes) + lane];
            }
        }

        return aa > 0 ? Groups.Half((float)Math.Max(0, ax / aa)) : unit;
    }

    static float Largest(Vector256<float> values)
    {
        float largest = 0;
        for (int lane = 0; lane < Lanes; lane++)
        {
            largest = MathF.Max(largest, values[lane]);
        }

        return largest;
    }

    // In the order of lanes: Vector256.Sum has another one on each machine.
    static float Sum(Vector256<float> values)
    {
        float sum = 0;
        for (int lane = 0; lane < Lanes; lane++)
        {
            sum += values[lane];
        }

        return sum;
    }

    static Vector256<float> Integers(Vector256<float> values, float unit) =>
        unit == 0 ? Vector256<float>.Zero : Clamp(Round(values / unit), 0, 63);

    static Vector256<float> SignedIntegers(Vector256<float> values, float unit) =>
        unit == 0 ? Vector256<float>.Zero : Clamp(Round(values / unit), -128, 127);

    static Vector256<float> Clamp(Vector256<float> values, float low, float high) =>
        MinNative(MaxNative(values, Create(low)), Create(high));

    [SkipLocalsInit]
    static void Write(GgmlType type, float* q, in Packed block, Span<byte> bytes)
    {
        PlainNumbers.WriteHalf(bytes, block.Unit);
        PlainNumbers.WriteHalf(bytes[2..], block.LeastUnit);
        Span<byte> scales = bytes.Slice(4, 12);
        for (int place = 0; place < 4; place++)
        {
            // The inverse of SuperBlocks.ScaleAndLeast.
            (int low, int high) = ((int)block.Scales[place], (int)block.Scales[place + 4]);
            (int lowLeast, int highLeast) = ((int)block.Leasts[place], (int)block.Leasts[place + 4]);
            scales[place] = (byte)(low | high >> 4 << 6);
            scales[4 + place] = (byte)(lowLeast | highLeast >> 4 << 6);
            scales[8 + place] = (byte)((high & 15) | (highLeast & 15) << 4);
        }

        Span<byte> fifth = bytes.Slice(16, type == GgmlType.Q5_K ? 32 : 0);
        Span<byte> fours = bytes.Slice(16 + fifth.Length, 128);
        fifth.Clear();
        for (int i = 0; i < 32; i++)
        {
            for (int pair = 0; pair < 4; pair++)
            {
                int low = (int)q[(i * Lanes) + (2 * pair)];
                int high = (int)q[(i * Lanes) + (2 * pair) + 1];
                fours[(32 * pair) + i] = (byte)((low & 15) | (high & 15) << 4);
                if (!fifth.IsEmpty)
                {
                    fifth[i] |= (byte)((low >> 4 << (2 * pair)) | (high >> 4 << ((2 * pair) + 1)));
                }
            }
        }
    }

    static void Write(float* q, Vector256<float>* scales, float unit, Span<byte> bytes)
    {
        bytes[..192].Clear();
        for (int value = 0; value < Size; value++)
        {
            // Group g of the file is lane g % 8 of half g / 8.
            int group = value / 16;
            int level = (int)q[(group / 8 * Size / 2) + (value % 16 * Lanes) + (group % 8)] + 32;
            (int part, int within) = Math.DivRem(value, 128);
            (int quarter, int place) = Math.DivRem(within, 32);
            bytes[(64 * part) + (quarter % 2 * 32) + place] |= (byte)((level & 15) << (quarter / 2 * 4));
            bytes[128 + (32 * part) + place] |= (byte)(level >> 4 << (2 * quarter));
        }

        for (int group = 0; group < 16; group++)
        {
            bytes[192 + group] = (byte)(sbyte)scales[group / 8][group % 8];
        }

        PlainNumbers.WriteHalf(bytes[208..], unit);
    }

    readonly record struct Packed(
        float Error,
        float Unit,
        float LeastUnit,
        Vector256<float> Scales,
        Vector256<float> Leasts
    );
}
