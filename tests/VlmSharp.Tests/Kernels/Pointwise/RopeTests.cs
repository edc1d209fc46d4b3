using VlmSharp.Kernels;
using VlmSharp.Testing;
using Xunit;

namespace VlmSharp.Tests.Kernels.Pointwise;

public sealed class RopeTests : IDisposable
{
    readonly WorkerPool pool = new(2);

    public static TheoryData<string> Variants => [.. Rope.Variants.SupportedNames];

    public void Dispose() => pool.Dispose();

    // Tolerance: 1.2e-7 of the largest value: two roundings of products and one of their sum.
    [Theory, MemberData(nameof(Variants))]
    public void Matches_double_precision_at_every_head_size(string variant)
    {
        for (int half = 0; half <= 129; half++)
        {
            int width = 3 * 2 * half;
            var random = new Random(half);
            float Draw(int row, int column) => (random.NextSingle() * 2) - 1;
            using var x = new Strided(4, width, width + 7, Draw, half % 2 == 0);
            using var angle = new Strided(4, half, half, (_, _) => random.NextSingle() * 6);
            Check(variant, x, angle, 3, half);
        }
    }

    [Theory, MemberData(nameof(Variants))]
    public void Special_values_reach_only_their_own_pair(string variant)
    {
        float[] special = [float.NaN, float.PositiveInfinity, float.NegativeInfinity];
        using var x = new Strided(3, 80, 80, (r, i) => i == 41 ? special[r] : i);
        using var angle = new Strided(3, 20, 20, (_, i) => i + 0.5f);
        Check(variant, x, angle, 2, 20);
    }

    [Theory, MemberData(nameof(Variants))]
    public void Rows_do_not_influence_each_other(string variant)
    {
        const int Rows = 300;
        static float Value(int r, int i) => MathF.Sin((r * 3) + i);
        using var x = new Strided(Rows, 72, 75, Value);
        using var cos = new Strided(Rows, 12, 12, (r, i) => MathF.Cos(r + i));
        using var sin = new Strided(Rows, 12, 12, (r, i) => MathF.Sin(r + i));
        using var last = new Strided(1, 72, 72, (_, i) => Value(Rows - 1, i));
        RopeKernel kernel = Find(variant);
        Rope.Apply(kernel, x.Span, x.Stride, Rows, 3, 24, cos.Span, sin.Span, pool);
        Rope.Apply(kernel, last.Span, 72, 1, 3, 24, cos.Row(Rows - 1), sin.Row(Rows - 1), pool);
        Near.SameBits(x.Row(Rows - 1), last.Span);
    }

    [Fact]
    public void Shapes_that_do_not_fit_are_refused_and_nothing_is_allocated()
    {
        var x = new float[40];
        var angle = new float[20];
        Assert.Throws<ArgumentException>(() => Rope.Apply(x, 15, 2, 3, 5, angle, angle, pool)); // odd
        Assert.Throws<ArgumentException>(() => Rope.Apply(x, 19, 2, 2, 10, angle, angle, pool));
        Assert.Throws<ArgumentException>(() => Rope.Apply(x, 20, 2, 2, 10, angle.AsSpan(11), angle, pool));
        Assert.Throws<ArgumentException>(() => Rope.Apply(x, 20, 2, 2, 10, angle, angle.AsSpan(11), pool));
        Rope.Apply(x, 20, 2, 2, 10, angle, angle, pool);
        long before = GC.GetAllocatedBytesForCurrentThread();
        Rope.Apply(x, 20, 2, 2, 10, angle, angle, pool);
        Assert.Equal(before, GC.GetAllocatedBytesForCurrentThread());
    }

    void Check(string variant, Strided x, Strided angle, int heads, int half)
    {
        using var cos = new Strided(x.Rows, half, half, (r, i) => MathF.Cos(angle.Row(r)[i]));
        using var sin = new Strided(x.Rows, half, half, (r, i) => MathF.Sin(angle.Row(r)[i]));
        var expected = new double[x.Rows * heads * half * 2];
        for (int r = 0; r < x.Rows; r++)
        {
            for (int h = 0; h < heads; h++)
            {
                for (int i = 0; i < half; i++)
                {
                    int at = (h * 2 * half) + i;
                    (double x1, double x2) = (x.Row(r)[at], x.Row(r)[at + half]);
                    (double c, double s) = (cos.Row(r)[i], sin.Row(r)[i]);
                    expected[(r * x.Width) + at] = (x1 * c) - (x2 * s);
                    expected[(r * x.Width) + at + half] = (x2 * c) + (x1 * s);
                }
            }
        }

        Rope.Apply(Find(variant), x.Span, x.Stride, x.Rows, heads, 2 * half, cos.Span, sin.Span, pool);
        Near.RelativeToLargest(1.2e-7, expected, x.ToArray(), $"half {half}");
    }

    static RopeKernel Find(string variant) => Rope.Variants.Supported.Single(v => v.Name == variant).Run;
}
