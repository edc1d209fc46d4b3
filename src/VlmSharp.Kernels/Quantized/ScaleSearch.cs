using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using static System.Runtime.Intrinsics.Vector256;

namespace VlmSharp.Kernels.Quantized;

/// <summary>Searches scales of eight groups of values at once: lane g of every vector belongs to group g, so no sum runs across lanes.</summary>
/// <remarks>
/// <para>For a given scale the best integers are the nearest ones, and for given integers the best scale (and least value) solves a linear
/// least-squares problem. A search tries scales of a grid around the one that just covers the extremes, solves for each the
/// least-squares problem of its integers, keeps the best, and then alternates between the two steps.</para>
/// <para>Every vector is of 256 bits and every operation rounds the same way everywhere, so results have the same bits on every machine.</para>
/// </remarks>
static unsafe class ScaleSearch
{
    /// <summary>Groups that are searched at once.</summary>
    public const int Lanes = 8;

    // Less than the smallest half by far: such groups are zeros in every type.
    const float Negligible = 1e-20f;
    const int Refinements = 2;

    /// <summary>Levels of the IQ4 types are distinguished at the middles between them: a tree of 15 thresholds, in the order of a heap.</summary>
    static readonly float[] Thresholds = Heap();

    static readonly float[] Levels = [.. LevelBlocks.UnevenLevels.ToArray().Select(level => (float)level)];

    /// <summary>x ~ scale * q with integers q.</summary>
    /// <param name="x">[count][lanes]</param>
    /// <param name="w">[count][lanes], weights of the squared errors, more than 0 in all for each lane.</param>
    /// <param name="count">Values of a group.</param>
    /// <param name="lowest">The lowest integer, less than minus the highest.</param>
    /// <param name="highest">The highest integer.</param>
    /// <returns>Scales of either sign; 0 for zeros.</returns>
    public static Vector256<float> Symmetric(float* x, float* w, int count, int lowest, int highest)
    {
        Vector256<float> extreme = Extreme(x, count, out Vector256<float> negligible);
        Vector256<float> gain = Vector256<float>.Zero;
        Vector256<float> scale = Vector256<float>.Zero;
        // The extreme becomes the lowest integer times 0.75 .. 1.2, or the highest one: with few levels it pays to cut extremes off.
        float step = -lowest >= 32 ? 0.25f : 0.3f;
        int below =
            -lowest >= 32 ? 10
            : -lowest >= 16 ? 8
            : 6;
        for (int sign = -1; sign <= 1; sign += 2)
        {
            float bound = sign < 0 ? lowest : highest;
            for (int k = -below; k <= 4; k++)
            {
                Vector256<float> inverse = Create(bound + (sign * step * k)) / extreme;
                Fit(x, w, count, AndNot(inverse, negligible), lowest, highest, ref gain, ref scale);
            }
        }

        for (int i = 0; i < Refinements; i++)
        {
            Fit(x, w, count, Inverse(scale), lowest, highest, ref gain, ref scale);
        }

        return scale;
    }

    /// <summary>x ~ scale * level with the uneven levels of the IQ4 types.</summary>
    /// <inheritdoc cref="Symmetric"/>
    public static Vector256<float> Uneven(float* x, float* w, int count)
    {
        Vector256<float> extreme = Extreme(x, count, out Vector256<float> negligible);
        Vector256<float> gain = Vector256<float>.Zero;
        Vector256<float> scale = Vector256<float>.Zero;
        for (int sign = -1; sign <= 1; sign += 2)
        {
            float bound = sign < 0 ? Levels[0] : Levels[^1];
            for (int k = -7; k <= 5; k++)
            {
                Vector256<float> inverse = Create(bound * (1 + (0.035f * k))) / extreme;
                FitUneven(x, w, count, AndNot(inverse, negligible), ref gain, ref scale);
            }
        }

        for (int i = 0; i < Refinements; i++)
        {
            FitUneven(x, w, count, Inverse(scale), ref gain, ref scale);
        }

        return scale;
    }

    /// <summary>x ~ scale * q + least with integers q from 0.</summary>
    /// <param name="x">[count][lanes]</param>
    /// <param name="w">[count][lanes], as for <see cref="Symmetric"/>.</param>
    /// <param name="count">Values of a group.</param>
    /// <param name="highest">The highest integer.</param>
    /// <param name="atMostZero">Whether <paramref name="least"/> must not be above 0.</param>
    /// <param name="least">What integer 0 stands for.</param>
    /// <returns>The scales, 0 or more.</returns>
    public static Vector256<float> Affine(
        float* x,
        float* w,
        int count,
        int highest,
        bool atMostZero,
        out Vector256<float> least
    )
    {
        Vector256<float> low = Load(x);
        Vector256<float> high = low;
        Vector256<float> sum = Vector256<float>.Zero;
        Vector256<float> weights = Vector256<float>.Zero;
        for (int i = 0; i < count; i++)
        {
            Vector256<float> v = Load(x + (i * Lanes));
            Vector256<float> weight = Load(w + (i * Lanes));
            low = MinNative(low, v);
            high = MaxNative(high, v);
            weights += weight;
            sum = FusedMultiplyAdd(weight, v, sum);
        }

        low = atMostZero ? MinNative(low, Vector256<float>.Zero) : low;
        Vector256<float> range = high - low;
        Vector256<float> negligible = LessThan(range, Create(Negligible));
        AffineFit best = new()
        {
            Weights = weights,
            Sum = sum,
            AtMostZero = atMostZero,
            Least = sum / weights,
        };
        best.Least = atMostZero ? MinNative(best.Least, Vector256<float>.Zero) : best.Least;
        best.Gain = best.Least * ((sum + sum) - (best.Least * weights));
        // Each end of the range moves in by as much as 1.5 steps of 15, or out by a little.
        float unit = highest < 16 ? 0.03f : 0.015f;
        for (int lower = -1; lower <= 3; lower++)
        {
            for (int upper = -1; upper <= 3; upper++)
            {
                Vector256<float> start = FusedMultiplyAdd(range, Create(unit * lower), low);
                Vector256<float> inverse = Create(highest / (1 - (unit * (lower + upper)))) / range;
                best.Try(x, w, count, start, AndNot(inverse, negligible), highest);
            }
        }

        for (int i = 0; i < Refinements; i++)
        {
            best.Try(x, w, count, best.Least, Inverse(best.Scale), highest);
        }

        least = best.Least;
        return best.Scale;
    }

    /// <summary>The squared errors of x ~ scale * q + least with the nearest integers q.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> Error(
        float* x,
        float* w,
        int count,
        Vector256<float> scale,
        Vector256<float> least,
        int lowest,
        int highest
    )
    {
        Vector256<float> inverse = Inverse(scale);
        Vector256<float> low = Create((float)lowest);
        Vector256<float> high = Create((float)highest);
        Vector256<float> error = Vector256<float>.Zero;
        for (int i = 0; i < count; i++)
        {
            Vector256<float> v = Load(x + (i * Lanes)) - least;
            Vector256<float> q = MinNative(MaxNative(Round(v * inverse), low), high);
            Vector256<float> difference = FusedMultiplyAdd(scale, q, -v);
            error = FusedMultiplyAdd(Load(w + (i * Lanes)) * difference, difference, error);
        }

        return error;
    }

    /// <summary>The nearest integers, as floats.</summary>
    /// <param name="x">[count][lanes]</param>
    /// <param name="q">[count][lanes]</param>
    /// <param name="count">Values of a group.</param>
    /// <param name="scale">Of the groups.</param>
    /// <param name="least">What integer 0 stands for.</param>
    /// <param name="lowest">The lowest integer.</param>
    /// <param name="highest">The highest integer.</param>
    public static void Integers(
        float* x,
        float* q,
        int count,
        Vector256<float> scale,
        Vector256<float> least,
        int lowest,
        int highest
    )
    {
        Vector256<float> inverse = Inverse(scale);
        Vector256<float> low = Create((float)lowest);
        Vector256<float> high = Create((float)highest);
        for (int i = 0; i < count; i++)
        {
            Vector256<float> v = (Load(x + (i * Lanes)) - least) * inverse;
            MinNative(MaxNative(Round(v), low), high).Store(q + (i * Lanes));
        }
    }

    /// <summary>The places of the nearest uneven levels, as floats.</summary>
    public static void UnevenPlaces(float* x, float* q, int count, Vector256<float> scale)
    {
        Vector256<float> inverse = Inverse(scale);
        fixed (float* thresholds = Thresholds)
        {
            for (int i = 0; i < count; i++)
            {
                Vector256<int> place = Place(Load(x + (i * Lanes)) * inverse, Load(thresholds), Load(thresholds + 8));
                ConvertToSingle(place).Store(q + (i * Lanes));
            }
        }
    }

    /// <summary>1 / scale, or 0 where that is too large to calculate with.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static Vector256<float> Inverse(Vector256<float> scale) =>
        AndNot(Vector256<float>.One / scale, LessThan(Abs(scale), Create(Negligible)));

    // The value of the largest magnitude, with its sign; 1 where that is negligible.
    static Vector256<float> Extreme(float* x, int count, out Vector256<float> negligible)
    {
        Vector256<float> extreme = Load(x);
        for (int i = 1; i < count; i++)
        {
            Vector256<float> v = Load(x + (i * Lanes));
            extreme = ConditionalSelect(GreaterThan(Abs(v), Abs(extreme)), v, extreme);
        }

        negligible = LessThan(Abs(extreme), Create(Negligible));
        return ConditionalSelect(negligible, Vector256<float>.One, extreme);
    }

    static void Fit(
        float* x,
        float* w,
        int count,
        Vector256<float> inverse,
        int lowest,
        int highest,
        ref Vector256<float> gain,
        ref Vector256<float> scale
    )
    {
        Vector256<float> low = Create((float)lowest);
        Vector256<float> high = Create((float)highest);
        Vector256<float> xq = Vector256<float>.Zero;
        Vector256<float> qq = Vector256<float>.Zero;
        for (int i = 0; i < count; i++)
        {
            Vector256<float> v = Load(x + (i * Lanes));
            Vector256<float> q = MinNative(MaxNative(Round(v * inverse), low), high);
            Vector256<float> wq = Load(w + (i * Lanes)) * q;
            xq = FusedMultiplyAdd(wq, v, xq);
            qq = FusedMultiplyAdd(wq, q, qq);
        }

        Keep(xq, qq, ref gain, ref scale);
    }

    static void FitUneven(
        float* x,
        float* w,
        int count,
        Vector256<float> inverse,
        ref Vector256<float> gain,
        ref Vector256<float> scale
    )
    {
        Vector256<float> xq = Vector256<float>.Zero;
        Vector256<float> qq = Vector256<float>.Zero;
        fixed (
            float* thresholds = Thresholds,
                levels = Levels
        )
        {
            Vector256<float> upper = Load(thresholds);
            Vector256<float> lower = Load(thresholds + 8);
            Vector256<float> negative = Load(levels);
            Vector256<float> positive = Load(levels + 8);
            for (int i = 0; i < count; i++)
            {
                Vector256<float> v = Load(x + (i * Lanes));
                Vector256<int> place = Place(v * inverse, upper, lower);
                Vector256<float> q = ConditionalSelect(
                    GreaterThan(place, Create(7)).AsSingle(),
                    ShuffleNative(positive, place - Create(8)),
                    ShuffleNative(negative, place)
                );
                Vector256<float> wq = Load(w + (i * Lanes)) * q;
                xq = FusedMultiplyAdd(wq, v, xq);
                qq = FusedMultiplyAdd(wq, q, qq);
            }
        }

        Keep(xq, qq, ref gain, ref scale);
    }

    // The least-squares scale and how much smaller than x^2 it makes the error.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static void Keep(Vector256<float> xq, Vector256<float> qq, ref Vector256<float> gain, ref Vector256<float> scale)
    {
        Vector256<float> found = AndNot(xq / qq, LessThanOrEqual(qq, Vector256<float>.Zero));
        Vector256<float> better = GreaterThan(found * xq, gain);
        gain = ConditionalSelect(better, found * xq, gain);
        scale = ConditionalSelect(better, found, scale);
    }

    // Down a tree with 15 nodes: node n has the children 2n and 2n + 1, its leaves are 16 .. 31.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static Vector256<int> Place(Vector256<float> v, Vector256<float> upper, Vector256<float> lower)
    {
        Vector256<int> node = Vector256<int>.One;
        for (int depth = 0; depth < 3; depth++)
        {
            // A comparison that holds is -1.
            node = node + node - GreaterThan(v, ShuffleNative(upper, node)).AsInt32();
        }

        node = node + node - GreaterThan(v, ShuffleNative(lower, node - Create(8))).AsInt32();
        return node - Create(16);
    }

    // Middles between neighbouring levels, node 1 the one in the middle; entry 0 is not used.
    static float[] Heap()
    {
        float[] heap = new float[16];
        for (int depth = 0; depth < 4; depth++)
        {
            for (int i = 0; i < 1 << depth; i++)
            {
                int right = ((2 * i) + 1) << (3 - depth);
                heap[(1 << depth) + i] = (LevelBlocks.UnevenLevels[right - 1] + LevelBlocks.UnevenLevels[right]) / 2f;
            }
        }

        return heap;
    }

    /// <summary>The best solution so far of x ~ scale * q + least.</summary>
    struct AffineFit
    {
        public Vector256<float> Weights;
        public Vector256<float> Sum;
        public Vector256<float> Gain;
        public Vector256<float> Scale;
        public Vector256<float> Least;
        public bool AtMostZero;

        public void Try(float* x, float* w, int count, Vector256<float> start, Vector256<float> inverse, int highest)
        {
            Vector256<float> high = Create((float)highest);
            Vector256<float> q1 = Vector256<float>.Zero;
            Vector256<float> q2 = Vector256<float>.Zero;
            Vector256<float> xq = Vector256<float>.Zero;
            for (int i = 0; i < count; i++)
            {
                Vector256<float> v = Load(x + (i * Lanes));
                Vector256<float> q = MinNative(MaxNative(Round((v - start) * inverse), Vector256<float>.Zero), high);
                Vector256<float> wq = Load(w + (i * Lanes)) * q;
                q1 += wq;
                q2 = FusedMultiplyAdd(wq, q, q2);
                xq = FusedMultiplyAdd(wq, v, xq);
            }

            Vector256<float> determinant = (Weights * q2) - (q1 * q1);
            Vector256<float> scale = ((Weights * xq) - (Sum * q1)) / determinant;
            Vector256<float> least = ((q2 * Sum) - (q1 * xq)) / determinant;
            // Integers that are all the same leave the two open.
            Vector256<float> open = LessThanOrEqual(determinant, Create(1e-6f) * Weights * q2);
            if (AtMostZero)
            {
                Vector256<float> above = GreaterThan(least, Vector256<float>.Zero) | open;
                least = AndNot(least, above);
                scale = ConditionalSelect(above, xq / q2, scale);
            }
            else
            {
                scale = AndNot(scale, open);
            }

            // NaN, where all integers are 0, is not greater than anything.
            Vector256<float> gain = (scale * xq) + (least * Sum);
            Vector256<float> better = GreaterThan(gain, Gain) & GreaterThan(scale, Vector256<float>.Zero);
            Gain = ConditionalSelect(better, gain, Gain);
            Scale = ConditionalSelect(better, scale, Scale);
            Least = ConditionalSelect(better, least, Least);
        }
    }
}
