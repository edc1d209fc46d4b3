using System.Numerics;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;

namespace VlmSharp.Generation;

/// <summary>Passes over the scores of a vocabulary.</summary>
/// <remarks>
/// Always 256 bits wide and the last lanes padded, so that every element goes through the same exponential and every sum has one order
/// whatever the machine's widest registers are. Elements are f32 as in the references; sums are f64.
/// </remarks>
static class ScoreMath
{
    const int Width = 8;
    const int Block = 128 * Width;

    static ReadOnlySpan<Vector256<float>> Vectors(ReadOnlySpan<float> values) =>
        MemoryMarshal.Cast<float, Vector256<float>>(values);

    static Span<Vector256<float>> Vectors(Span<float> values) => MemoryMarshal.Cast<float, Vector256<float>>(values);

    /// <summary>The elements behind the last whole vector, in the low lanes.</summary>
    static Vector256<float> Tail(ReadOnlySpan<float> values, float padding)
    {
        Span<float> lanes = stackalloc float[Width];
        lanes.Fill(padding);
        values[(values.Length & -Width)..].CopyTo(lanes);
        return Vector256.Create<float>(lanes);
    }

    static void StoreTail(Vector256<float> tail, Span<float> values)
    {
        Span<float> lanes = stackalloc float[Width];
        tail.CopyTo(lanes);
        lanes[..(values.Length % Width)].CopyTo(values[(values.Length & -Width)..]);
    }

    /// <summary>The index of the largest element, the first of equal ones.</summary>
    /// <exception cref="ArgumentException">An element is NaN.</exception>
    public static int ArgMax(ReadOnlySpan<float> values)
    {
        // Block by block, so that the position is looked for in one block only.
        float best = float.NegativeInfinity;
        int bestStart = 0;
        for (int start = 0; start < values.Length; start += Block)
        {
            ReadOnlySpan<float> block = values[start..Math.Min(start + Block, values.Length)];
            if (!TryMax(block, out float max))
            {
                throw NotANumber(values);
            }

            if (max > best)
            {
                (best, bestStart) = (max, start);
            }
        }

        for (int i = bestStart; i < values.Length; i++)
        {
            if (values[i] == best)
            {
                return i;
            }
        }

        throw new ArgumentException("There are no scores to choose from.", nameof(values));
    }

    /// <summary>The largest element; negative infinity of nothing.</summary>
    /// <exception cref="ArgumentException">An element is NaN.</exception>
    public static float Max(ReadOnlySpan<float> values) =>
        TryMax(values, out float max) ? max : throw NotANumber(values);

    /// <summary>False when an element is NaN.</summary>
    static bool TryMax(ReadOnlySpan<float> values, out float max)
    {
        ReadOnlySpan<Vector256<float>> vectors = Vectors(values);
        Vector256<float> tail = Tail(values, float.NegativeInfinity);
        Vector256<float> best = tail;
        Vector256<float> numbers = Vector256.Equals(tail, tail);
        foreach (Vector256<float> x in vectors)
        {
            best = Vector256.MaxNative(best, x);
            numbers &= Vector256.Equals(x, x);
        }

        max = best[0];
        for (int lane = 1; lane < Width; lane++)
        {
            max = Math.Max(max, best[lane]);
        }

        return Vector256.EqualsAll(numbers.AsInt32(), Vector256<int>.AllBitsSet);
    }

    static ArgumentException NotANumber(ReadOnlySpan<float> values)
    {
        int count = 0;
        int first = -1;
        for (int i = 0; i < values.Length; i++)
        {
            if (float.IsNaN(values[i]))
            {
                count++;
                first = first < 0 ? i : first;
            }
        }

        return new ArgumentException(
            $"{count} of {values.Length} logits are NaN, the first at token {first}; the model's numbers overflowed or its weights are damaged."
        );
    }

    /// <summary>weights[i] = exp(scores[i] - max), their sum returned.</summary>
    /// <remarks>Where max is infinity the infinite scores share the mass equally: the limit of the distribution.</remarks>
    public static double Exponentials(ReadOnlySpan<float> scores, float max, Span<float> weights)
    {
        ReadOnlySpan<Vector256<float>> source = Vectors(scores);
        Span<Vector256<float>> target = Vectors(weights[..scores.Length]);
        Vector256<float> tail = Exponential(Tail(scores, float.NegativeInfinity), max);
        StoreTail(tail, weights[..scores.Length]);
        Vector256<double> sum = Widened(tail);
        for (int i = 0; i < source.Length; i++)
        {
            Vector256<float> e = Exponential(source[i], max);
            target[i] = e;
            sum += Widened(e);
        }

        return Vector256.Sum(sum);
    }

    /// <summary>log(sum(exp(scores))).</summary>
    /// <exception cref="ArgumentException">A score is NaN.</exception>
    public static double LogSumExp(ReadOnlySpan<float> scores)
    {
        float max = Max(scores);
        if (float.IsInfinity(max))
        {
            return max;
        }

        Vector256<double> sum = Widened(Exponential(Tail(scores, float.NegativeInfinity), max));
        foreach (Vector256<float> x in Vectors(scores))
        {
            sum += Widened(Exponential(x, max));
        }

        return max + Math.Log(Vector256.Sum(sum));
    }

    static Vector256<float> Exponential(Vector256<float> x, float max)
    {
        if (float.IsPositiveInfinity(max))
        {
            return Vector256.ConditionalSelect(
                Vector256.Equals(x, Vector256.Create(max)),
                Vector256<float>.One,
                Vector256<float>.Zero
            );
        }

        // In f64: the exponential for f32 is an ulp off, also at 0, where the best token needs exactly 1.
        (Vector256<double> low, Vector256<double> high) = Vector256.Widen(x - Vector256.Create(max));
        return Vector256.Narrow(Vector256.Exp(low), Vector256.Exp(high));
    }

    static Vector256<double> Widened(Vector256<float> x)
    {
        (Vector256<double> low, Vector256<double> high) = Vector256.Widen(x);
        return low + high;
    }

    /// <summary>The sum of a run of weights.</summary>
    public static double Sum(ReadOnlySpan<float> weights)
    {
        Vector256<double> sum = Widened(Tail(weights, 0));
        foreach (Vector256<float> x in Vectors(weights))
        {
            sum += Widened(x);
        }

        return Vector256.Sum(sum);
    }

    /// <summary>Softmax in f32; the largest probability is returned.</summary>
    public static float Probabilities(ReadOnlySpan<float> scores, Span<float> probabilities)
    {
        float sum = (float)Exponentials(scores, Max(scores), probabilities);
        Divide(probabilities[..scores.Length], sum);
        return 1 / sum;
    }

    /// <summary>log(softmax(scores)) in f32.</summary>
    public static void LogProbabilities(ReadOnlySpan<float> scores, Span<float> logProbabilities)
    {
        float max = Max(scores);
        float logSum = (float)Math.Log(Exponentials(scores, max, logProbabilities));
        for (int i = 0; i < scores.Length; i++)
        {
            // Subtracting the two one after the other keeps small differences of large scores.
            logProbabilities[i] = scores[i] - max - logSum;
        }
    }

    /// <summary>The entropy in nats of a distribution given by probabilities and their logarithms; 0 log 0 is 0.</summary>
    public static float Entropy(ReadOnlySpan<float> probabilities, ReadOnlySpan<float> logProbabilities)
    {
        double sum = 0;
        for (int i = 0; i < probabilities.Length; i++)
        {
            sum -= probabilities[i] > 0 ? probabilities[i] * logProbabilities[i] : 0;
        }

        return (float)sum;
    }

    /// <summary>values[i] /= divisor.</summary>
    public static void Divide(Span<float> values, float divisor)
    {
        Span<Vector256<float>> vectors = Vectors(values);
        Vector256<float> tail = Tail(values, 0);
        for (int i = 0; i < vectors.Length; i++)
        {
            vectors[i] /= divisor;
        }

        StoreTail(tail / divisor, values);
    }

    /// <summary>Removes the scores whose key is below a threshold.</summary>
    public static void RemoveBelow(Span<float> scores, ReadOnlySpan<float> keys, float threshold)
    {
        Span<Vector256<float>> vectors = Vectors(scores);
        ReadOnlySpan<Vector256<float>> keyVectors = Vectors(keys[..scores.Length]);
        Vector256<float> limit = Vector256.Create(threshold);
        Vector256<float> removed = Vector256.Create(float.NegativeInfinity);
        Vector256<float> tail = Vector256.ConditionalSelect(
            Vector256.LessThan(Tail(keys[..scores.Length], 0), limit),
            removed,
            Tail(scores, 0)
        );
        for (int i = 0; i < vectors.Length; i++)
        {
            vectors[i] = Vector256.ConditionalSelect(Vector256.LessThan(keyVectors[i], limit), removed, vectors[i]);
        }

        StoreTail(tail, scores);
    }

    /// <summary>How many values are above a threshold.</summary>
    public static int CountAbove(ReadOnlySpan<float> values, float threshold)
    {
        Vector256<float> limit = Vector256.Create(threshold);
        Vector256<int> counts = -Vector256.GreaterThan(Tail(values, float.NegativeInfinity), limit).AsInt32();
        foreach (Vector256<float> x in Vectors(values))
        {
            counts -= Vector256.GreaterThan(x, limit).AsInt32();
        }

        return Vector256.Sum(counts);
    }

    /// <summary>The first index from <paramref name="start"/> on whose value is at or above a threshold; the length where there is none.</summary>
    public static int NextAtLeast(ReadOnlySpan<float> values, float threshold, int start)
    {
        Vector256<float> limit = Vector256.Create(threshold);
        for (; start + Width <= values.Length; start += Width)
        {
            uint lanes = Vector256
                .GreaterThanOrEqual(Vector256.Create(values.Slice(start, Width)), limit)
                .ExtractMostSignificantBits();
            if (lanes != 0)
            {
                return start + BitOperations.TrailingZeroCount(lanes);
            }
        }

        while (start < values.Length && !(values[start] >= threshold))
        {
            start++;
        }

        return start;
    }

    /// <summary>Copies the values at or above a threshold to the front of a buffer, in order; it may be the same memory.</summary>
    /// <returns>How many there are.</returns>
    public static int Gather(ReadOnlySpan<float> values, float threshold, Span<float> found) =>
        Gather(values, values, threshold, found, []);

    /// <summary>
    /// Copies the values whose key is at or above a threshold to the front of a buffer, in order, and their keys to another unless it is
    /// empty. The buffers may be the memory of values and keys.
    /// </summary>
    /// <returns>How many there are.</returns>
    public static int Gather(
        ReadOnlySpan<float> values,
        ReadOnlySpan<float> keys,
        float threshold,
        Span<float> found,
        Span<float> foundKeys
    )
    {
        int count = 0;
        int start = 0;
        Vector256<float> limit = Vector256.Create(threshold);
        foreach (Vector256<float> key in Vectors(keys[..values.Length]))
        {
            for (
                uint lanes = Vector256.GreaterThanOrEqual(key, limit).ExtractMostSignificantBits();
                lanes != 0;
                lanes &= lanes - 1, count++
            )
            {
                int i = start + BitOperations.TrailingZeroCount(lanes);
                found[count] = values[i];
                if (!foundKeys.IsEmpty)
                {
                    foundKeys[count] = keys[i];
                }
            }

            start += Width;
        }

        for (int i = start; i < values.Length; i++)
        {
            if (keys[i] >= threshold)
            {
                found[count] = values[i];
                if (!foundKeys.IsEmpty)
                {
                    foundKeys[count] = keys[i];
                }

                count++;
            }
        }

        return count;
    }

    /// <summary>Moves the scores that are left to the front, in order, and their ids with them.</summary>
    /// <param name="scores">scores, removed ones negative infinity</param>
    /// <param name="ids">the ids of the scores; written, and read unless <paramref name="dense"/></param>
    /// <param name="dense">the id of a score is its index</param>
    /// <returns>How many are left.</returns>
    public static int Compact(Span<float> scores, Span<int> ids, bool dense)
    {
        int count = 0;
        int start = 0;
        Vector256<float> removed = Vector256.Create(float.NegativeInfinity);
        foreach (Vector256<float> x in Vectors(scores))
        {
            for (
                uint lanes = ~Vector256.Equals(x, removed).ExtractMostSignificantBits() & ((1u << Width) - 1);
                lanes != 0;
                lanes &= lanes - 1, count++
            )
            {
                int i = start + BitOperations.TrailingZeroCount(lanes);
                scores[count] = scores[i];
                ids[count] = dense ? i : ids[i];
            }

            start += Width;
        }

        for (int i = start; i < scores.Length; i++)
        {
            if (!float.IsNegativeInfinity(scores[i]))
            {
                scores[count] = scores[i];
                ids[count] = dense ? i : ids[i];
                count++;
            }
        }

        return count;
    }
}
