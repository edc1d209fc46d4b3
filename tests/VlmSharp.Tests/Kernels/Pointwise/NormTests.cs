using VlmSharp.Kernels;
using VlmSharp.Testing;
using Xunit;

namespace VlmSharp.Tests.Kernels.Pointwise;

public sealed class NormTests : IDisposable
{
    readonly WorkerPool pool = new(2);

    public static TheoryData<string> RmsVariants => [.. RmsNorm.Variants.SupportedNames];

    public static TheoryData<string> LayerVariants => [.. LayerNorm.Variants.SupportedNames];

    public void Dispose() => pool.Dispose();

    // Tolerances: 5e-7 of the largest expected value, about 4 units in the last place.
    [Theory, MemberData(nameof(RmsVariants))]
    public void Rms_norm_matches_double_precision_at_every_width(string variant)
    {
        foreach (int width in Enumerable.Range(0, 258).Append(1536).Append(16384))
        {
            using var x = Draw(3, width, width + 3, width);
            using var weight = Draw(1, width, width, width + 1);
            using var y = new Strided(3, width, width + 2);
            Rms(variant, x, weight, y, 1e-6f);
            Near.RelativeToLargest(5e-7, ExpectRms(x, weight, 1e-6f), y.ToArray(), $"width {width}");
        }
    }

    [Theory, MemberData(nameof(RmsVariants))]
    public void Every_head_of_a_row_is_normalised_as_a_row_of_its_own(string variant)
    {
        const int Rows = 37;
        foreach ((int heads, int width) in new[] { (1, 128), (3, 32), (5, 7), (2, 80), (16, 1), (7, 33) })
        {
            using var x = Draw(Rows, heads * width, (heads * width) + 3, width);
            using var weight = Draw(1, width, width, width + 1);
            using var rows = new Strided(
                Rows * heads,
                width,
                width,
                (r, i) => x.Row(r / heads)[(r % heads * width) + i]
            );
            using var expected = new Strided(Rows * heads, width, width);
            Rms(variant, rows, weight, expected, 1e-6f);
            Rms(variant, x, weight, x, 1e-6f);
            Near.SameBits(expected.ToArray(), x.ToArray(), $"{heads} heads of {width}");
        }
    }

    [Fact]
    public void The_public_function_for_heads_takes_their_width_from_the_weight()
    {
        using var x = Draw(4, 24, 30, 1);
        using var weight = Draw(1, 8, 8, 2);
        using var expected = new Strided(4, 24, 24);
        Rms(RmsNorm.Variants.ActiveName, x, weight, expected, 1e-6f);
        RmsNorm.ApplyToHeads(x.Span, x.Stride, weight.Span, x.Span, x.Stride, 4, heads: 3, 1e-6f, pool);
        Near.SameBits(expected.ToArray(), x.ToArray());
        Assert.Throws<ArgumentException>(() =>
            RmsNorm.ApplyToHeads(new float[47], 24, new float[8], new float[48], 24, 2, heads: 3, 1e-6f, pool)
        );
    }

    [Theory, MemberData(nameof(LayerVariants))]
    public void Layer_norm_matches_double_precision_at_every_width(string variant)
    {
        foreach (int width in Enumerable.Range(0, 258).Append(1280).Append(16384))
        {
            using var x = Draw(3, width, width + 3, width);
            using var weight = Draw(1, width, width, width + 1);
            using var bias = Draw(1, width, width, width + 2);
            using var y = new Strided(3, width, width + 2);
            Layer(variant, x, weight, bias, y, 1e-5f);
            Near.RelativeToLargest(5e-7, ExpectLayer(x, weight, bias, 1e-5f), y.ToArray(), $"width {width}");
        }
    }

    [Theory, MemberData(nameof(LayerVariants))]
    public void Layer_norm_keeps_its_precision_far_from_zero(string variant)
    {
        // The mean is a thousand deviations away and no f32: a mean rounded to f32 alone would cost 1e-5 here.
        using var x = new Strided(4, 1000, 1000, (r, i) => 1000.3f + (r * 0.37f) + MathF.Sin(i * (r + 1)));
        using var weight = new Strided(1, 1000, 1000, (_, _) => 1);
        using var bias = new Strided(1, 1000, 1000);
        using var y = new Strided(4, 1000, 1000);
        Layer(variant, x, weight, bias, y, 1e-6f);
        Near.RelativeToLargest(5e-7, ExpectLayer(x, weight, bias, 1e-6f), y.ToArray());
    }

    [Theory, MemberData(nameof(LayerVariants))]
    public void A_constant_row_becomes_the_bias(string variant)
    {
        using var x = new Strided(1, 77, 77, (_, _) => 0.1f);
        using var weight = new Strided(1, 77, 77, (_, i) => i);
        using var bias = new Strided(1, 77, 77, (_, i) => -i);
        using var y = new Strided(1, 77, 77);
        Layer(variant, x, weight, bias, y, 1e-5f);
        Near.RelativeToLargest(5e-7, [.. bias.ToArray().Select(b => (double)b)], y.ToArray());
    }

    [Theory, MemberData(nameof(RmsVariants))]
    public void Special_values_stay_in_their_row_and_follow_the_formula(string variant)
    {
        float[] special = [float.NaN, float.PositiveInfinity, float.NegativeInfinity, 0];
        using var x = new Strided(special.Length + 1, 19, 20, (r, i) => i == 17 && r < special.Length ? special[r] : i);
        using var weight = new Strided(1, 19, 19, (_, _) => 1);
        using var bias = new Strided(1, 19, 19, (_, i) => i);
        using var y = new Strided(special.Length + 1, 19, 21);
        Rms(variant, x, weight, y, 1e-6f);
        Near.RelativeToLargest(5e-7, ExpectRms(x, weight, 1e-6f), y.ToArray());
        Layer(variant, x, weight, bias, y, 1e-6f);
        Near.RelativeToLargest(5e-7, ExpectLayer(x, weight, bias, 1e-6f), y.ToArray());
    }

    [Theory, MemberData(nameof(RmsVariants))]
    public void The_output_may_be_the_input_and_rows_do_not_influence_each_other(string variant)
    {
        const int Rows = 500;
        using var x = Draw(Rows, 100, 103, 1);
        using var weight = Draw(1, 100, 100, 2);
        using var bias = Draw(1, 100, 100, 3);
        using var y = new Strided(Rows, 100, 100);
        using var single = new Strided(1, 100, 100);

        Rms(variant, x, weight, y, 1e-6f);
        using var inPlace = Draw(Rows, 100, 103, 1);
        Rms(variant, inPlace, weight, inPlace, 1e-6f);
        Near.SameBits(y.ToArray(), inPlace.ToArray());
        using var lastRow = new Strided(1, 100, 100, (_, i) => x.Row(Rows - 1)[i]);
        Rms(variant, lastRow, weight, single, 1e-6f);
        Near.SameBits(y.Row(Rows - 1), single.Span);

        Layer(variant, x, weight, bias, y, 1e-6f);
        using var layerInPlace = Draw(Rows, 100, 103, 1);
        Layer(variant, layerInPlace, weight, bias, layerInPlace, 1e-6f);
        Near.SameBits(y.ToArray(), layerInPlace.ToArray());
        Layer(variant, lastRow, weight, bias, single, 1e-6f);
        Near.SameBits(y.Row(Rows - 1), single.Span);
    }

    [Fact]
    public void Nothing_is_allocated_after_the_first_call()
    {
        using var x = Draw(100, 1000, 1000, 1);
        using var weight = Draw(1, 1000, 1000, 2);
        Norms();
        long before = GC.GetAllocatedBytesForCurrentThread();
        Norms();
        Assert.Equal(before, GC.GetAllocatedBytesForCurrentThread());

        void Norms()
        {
            RmsNorm.Apply(x.Span, 1000, weight.Span, x.Span, 1000, 100, 1000, 1e-6f, pool);
            LayerNorm.Apply(x.Span, 1000, weight.Span, weight.Span, x.Span, 1000, 100, 1000, 1e-6f, pool);
        }
    }

    [Fact]
    public void Shapes_that_do_not_fit_are_refused()
    {
        var x = new float[20];
        var w = new float[5];
        var y = new float[20];
        Assert.Throws<ArgumentException>(() => RmsNorm.Apply(x, 5, w.AsSpan(1), y, 5, 4, 5, 1e-6f, pool));
        Assert.Throws<ArgumentException>(() => RmsNorm.Apply(x, 4, w, y, 5, 4, 5, 1e-6f, pool));
        Assert.Throws<ArgumentException>(() => RmsNorm.Apply(x, 5, w, y.AsSpan(1), 5, 4, 5, 1e-6f, pool));
        Assert.Throws<ArgumentException>(() => LayerNorm.Apply(x, 5, w, w.AsSpan(1), y, 5, 4, 5, 1e-6f, pool));
        Assert.Throws<ArgumentException>(() => LayerNorm.Apply(x.AsSpan(1), 5, w, w, y, 5, 4, 5, 1e-6f, pool));
    }

    static Strided Draw(int rows, int width, int stride, int seed)
    {
        var random = new Random(seed);
        return new(rows, width, stride, (_, _) => (random.NextSingle() * 4) - 1.5f, guardBefore: width % 2 == 0);
    }

    void Rms(string variant, Strided x, Strided weight, Strided y, float epsilon) =>
        RmsNorm.Apply(
            RmsNorm.Variants.Supported.Single(v => v.Name == variant).Run,
            x.Span,
            x.Stride,
            weight.Span,
            y.Span,
            y.Stride,
            y.Rows,
            heads: y.Width == 0 ? 1 : y.Width / weight.Width,
            weight.Width,
            epsilon,
            pool
        );

    void Layer(string variant, Strided x, Strided weight, Strided bias, Strided y, float epsilon) =>
        LayerNorm.Apply(
            LayerNorm.Variants.Supported.Single(v => v.Name == variant).Run,
            x.Span,
            x.Stride,
            weight.Span,
            bias.Span,
            y.Span,
            y.Stride,
            y.Rows,
            y.Width,
            epsilon,
            pool
        );

    static double[] ExpectRms(Strided x, Strided weight, float epsilon)
    {
        var y = new List<double>();
        for (int r = 0; r < x.Rows; r++)
        {
            double[] row = [.. x.Row(r).ToArray().Select(v => (double)v)];
            double root = Math.Sqrt(row.Select(v => v * v).DefaultIfEmpty().Average() + epsilon);
            y.AddRange(row.Select((v, i) => v / root * weight.Span[i]));
        }

        return [.. y];
    }

    static double[] ExpectLayer(Strided x, Strided weight, Strided bias, float epsilon)
    {
        var y = new List<double>();
        for (int r = 0; r < x.Rows; r++)
        {
            double[] row = [.. x.Row(r).ToArray().Select(v => (double)v)];
            double mean = row.DefaultIfEmpty().Average();
            double root = Math.Sqrt(row.Select(v => (v - mean) * (v - mean)).DefaultIfEmpty().Average() + epsilon);
            y.AddRange(row.Select((v, i) => ((v - mean) / root * weight.Span[i]) + bias.Span[i]));
        }

        return [.. y];
    }
}
