using VlmSharp.Generation;
using Xunit;

namespace VlmSharp.Tests.Generation;

public class SelectionTests
{
    [Fact]
    public void The_kth_largest_is_that_of_the_sorted_values()
    {
        Random random = new(2);
        foreach (int length in new[] { 1, 2, 7, 8, 9, 255, 256, 1023, 1024, 1025, 5000, 40_000 })
        {
            foreach (Func<int, float> value in Shapes(random))
            {
                float[] values = [.. Enumerable.Range(0, length).Select(value)];
                float[] sorted = [.. values.OrderDescending()];
                foreach (int k in new[] { 1, 2, 20, 39, 40, length / 2, length }.Where(k => k >= 1 && k <= length))
                {
                    Assert.Equal(sorted[k - 1], Selection.KthLargest(values, k, new float[length]));
                }
            }
        }
    }

    [Fact]
    public void The_first_key_above_a_sum_is_that_of_the_sorted_keys()
    {
        Random random = new(3);
        foreach (int length in new[] { 1, 2, 9, 300, 5000 })
        {
            foreach (Func<int, float> value in Shapes(random))
            {
                float[] keys = [.. Enumerable.Range(0, length).Select(value)];

                // Multiples of a power of two add up without rounding, in any order.
                float[] weights = [.. keys.Select(_ => random.Next(0, 64) / 1024f)];
                int[] order = [.. Enumerable.Range(0, length).OrderBy(i => keys[i])];
                double total = weights.Sum(weight => (double)weight);
                foreach (double share in new[] { 0, 0.1, 0.5, 0.9, 1 })
                {
                    float limit = (float)(share * total);
                    double before = 0;
                    float expected = float.PositiveInfinity;
                    foreach (IGrouping<float, int> equal in order.GroupBy(i => keys[i]))
                    {
                        double mass = equal.Sum(i => (double)weights[i]);
                        if ((float)(before + mass) > limit)
                        {
                            expected = equal.Key;
                            break;
                        }

                        before += mass;
                    }

                    double sum = 0;
                    Assert.Equal(expected, Selection.FirstAbove(keys, weights, ref sum, limit));
                    Assert.Equal(before, sum);
                }
            }
        }
    }

    [Fact]
    public void Descending_keys_sort_by_falling_value_and_rising_index()
    {
        float[] values = [1, -0f, float.NegativeInfinity, 0f, 3, 3, -2, float.PositiveInfinity];
        ulong[] keys = [.. values.Select(Selection.DescendingKey)];
        Array.Sort(keys);
        Assert.Equal([7, 4, 5, 0, 1, 3, 6, 2], keys.Select(Selection.IndexOf));
    }

    [Fact]
    public void The_best_is_the_first_of_equal_ones_at_every_length()
    {
        for (int length = 1; length <= 300; length++)
        {
            float[] values = new float[length];
            Array.Fill(values, -5f);
            values[length / 2] = 2;
            values[length - 1] = 2;
            Assert.Equal(length / 2, ScoreMath.ArgMax(values));
            values[0] = 2;
            Assert.Equal(0, ScoreMath.ArgMax(values));
        }

        float[] large = new float[151_936];
        large[100_000] = large[150_000] = 1;
        Assert.Equal(100_000, ScoreMath.ArgMax(large));
    }

    [Fact]
    public void Probabilities_are_those_of_double_precision_at_every_length()
    {
        Random random = new(4);
        for (int length = 1; length <= 257; length++)
        {
            float[] scores =
            [
                .. Enumerable
                    .Range(0, length)
                    .Select(i => i % 7 == 6 ? float.NegativeInfinity : random.NextSingle() * 40 - 20),
            ];

            // The distance from the best is rounded to f32, as in the references.
            double[] exponentials = [.. scores.Select(score => Math.Exp(score - scores.Max()))];
            float[] probabilities = new float[length];
            float best = ScoreMath.Probabilities(scores, probabilities);
            Assert.Equal(probabilities.Max(), best);
            for (int i = 0; i < length; i++)
            {
                double expected = exponentials[i] / exponentials.Sum();
                Assert.True(
                    Math.Abs(probabilities[i] - expected) <= 1e-6 * expected + 1e-38,
                    $"{probabilities[i]} for {expected}"
                );
            }
        }
    }

    static IEnumerable<Func<int, float>> Shapes(Random random) =>
        [
            _ => random.NextSingle() * 20 - 10,
            _ => random.Next(-3, 4),
            _ => 0.25f,
            i => i,
            i => -i,
            i => i % 3 == 0 ? float.NegativeInfinity : i % 11,
            _ => 1 + random.Next(0, 50) * MathF.BitIncrement(0),
            i => i % 2 == 0 ? -0f : 0f,
        ];
}
