using VlmSharp.Kernels;
using Xunit;

namespace VlmSharp.Tests.Kernels.Pointwise;

public sealed class ExpertChoiceTests : IDisposable
{
    readonly WorkerPool pool = new(2);

    public void Dispose() => pool.Dispose();

    [Theory]
    [InlineData(1, 1)]
    [InlineData(8, 2)]
    [InlineData(7, 7)]
    [InlineData(128, 8)]
    public void Chooses_the_most_probable_and_renormalises(int experts, int count)
    {
        const int Rows = 333;
        var random = new Random(experts);
        using var logits = new Strided(Rows, experts, experts + 3, (_, _) => (random.NextSingle() - 0.5f) * 20);
        (int[] chosen, float[] weights) = Run(logits, count);
        for (int row = 0; row < Rows; row++)
        {
            float[] own = logits.Row(row).ToArray();
            double sum = own.Sum(v => Math.Exp(v));
            int[] best = [.. Enumerable.Range(0, experts).OrderByDescending(e => own[e]).Take(count)];
            double kept = best.Sum(e => Math.Exp(own[e]) / sum);
            Assert.Equal(best, chosen[(row * count)..((row + 1) * count)]);
            for (int j = 0; j < count; j++)
            {
                Assert.Equal(Math.Exp(own[best[j]]) / sum / kept, weights[(row * count) + j], 1e-7);
            }
        }
    }

    [Fact]
    public void Of_equal_experts_the_lower_ones_win()
    {
        using var logits = new Strided(2, 5, 5, (r, i) => r == 0 ? 1 : i % 2);
        (int[] chosen, float[] weights) = Run(logits, 3);
        Assert.Equal([0, 1, 2, 1, 3, 0], chosen);
        Assert.All(weights[..3], w => Assert.Equal(1 / 3f, w));
    }

    [Fact]
    public void Far_logits_do_not_overflow_and_wrong_ones_choose_something()
    {
        float[] bad = [float.NaN, float.PositiveInfinity, float.NegativeInfinity];
        using var logits = new Strided(4, 6, 6, (r, i) => r == 3 ? 1e38f * (i - 2) : bad[r]);
        (int[] chosen, float[] weights) = Run(logits, 2);
        Assert.Equal([5, 4], chosen[6..]);
        Assert.Equal([1, 0], weights[6..]);
        for (int row = 0; row < 3; row++)
        {
            Assert.Equal(2, chosen[(2 * row)..(2 * row + 2)].Where(e => e is >= 0 and < 6).Distinct().Count());
        }
    }

    [Fact]
    public void Wrong_shapes_are_refused()
    {
        Assert.Throws<ArgumentOutOfRangeException>(() => Run(6, 0, 6, 0));
        Assert.Throws<ArgumentOutOfRangeException>(() => Run(6, 4, 12, 12));
        Assert.Throws<ArgumentException>(() => Run(5, 1, 2, 2));
        Assert.Throws<ArgumentException>(() => Run(6, 2, 3, 4));
        Assert.Throws<ArgumentException>(() => Run(6, 2, 4, 5));
        Run(6, 2, 4, 4);

        void Run(int logits, int count, int chosen, int weights) =>
            ExpertChoice.Apply(new float[logits], 3, 2, 3, count, new int[chosen], new float[weights], pool);
    }

    (int[] Chosen, float[] Weights) Run(Strided logits, int count)
    {
        int[] chosen = new int[logits.Rows * count];
        float[] weights = new float[logits.Rows * count];
        ExpertChoice.Apply(logits.Span, logits.Stride, logits.Rows, logits.Width, count, chosen, weights, pool);
        return (chosen, weights);
    }
}
