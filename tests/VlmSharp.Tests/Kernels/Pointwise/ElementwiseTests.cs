using VlmSharp.Kernels;
using VlmSharp.Testing;
using Xunit;

namespace VlmSharp.Tests.Kernels.Pointwise;

public sealed class ElementwiseTests : IDisposable
{
    delegate void Function(Strided a, Strided b, Strided y, WorkerPool pool);

    // What is left where a sigmoid or a normal tail leaves the range of f32: variants may flush it to zero.
    const double Underflow = 1e-36;

    static readonly Case[] Cases =
    [
        new(
            SwiGlu.Variants,
            // The factor is rounded to f32 before the product, which shows when up is infinite.
            (gate, up) => (float)Reference.Silu(gate) * up,
            (gate, up) => (3e-7 * Math.Abs(Reference.Silu(gate) * up)) + (Underflow * Math.Max(1, Math.Abs(up))),
            (a, b, y, pool) => SwiGlu.Apply(a.Span, a.Stride, b.Span, b.Stride, y.Span, y.Stride, y.Rows, y.Width, pool)
        ),
        new(
            QuickGelu.Variants,
            (x, _) => x * Reference.Sigmoid(1.702 * x),
            // The product 1.702 x is rounded to f32, and so is 1.702; the exponential turns that into a relative error.
            (x, _) =>
                ((3e-7 + (1.2e-7 * Math.Max(0, -1.702 * x))) * Math.Abs(x * Reference.Sigmoid(1.702 * x))) + Underflow,
            (a, _, y, pool) => QuickGelu.Apply(a.Span, a.Stride, y.Span, y.Stride, y.Rows, y.Width, pool)
        ),
        new(
            Gelu.Variants,
            (x, _) => Reference.Gelu(x),
            (x, _) => ((x > -5 ? 3e-7 : 7e-7) * Math.Abs(Reference.Gelu(x))) + Underflow,
            (a, _, y, pool) => Gelu.Apply(a.Span, a.Stride, y.Span, y.Stride, y.Rows, y.Width, pool)
        ),
        new(
            GeluTanh.Variants,
            (x, _) => Reference.GeluTanh(x),
            // The argument of the exponential is rounded to f32, as it is in the reference.
            (x, _) =>
                (
                    (3e-7 + (2.4e-7 * Math.Max(0, -1.5957691 * (x + (0.044715 * x * x * x)))))
                    * Math.Abs(Reference.GeluTanh(x))
                ) + Underflow,
            (a, _, y, pool) => GeluTanh.Apply(a.Span, a.Stride, y.Span, y.Stride, y.Rows, y.Width, pool)
        ),
        new(
            Add.Variants,
            (a, b) => a + b,
            (_, _) => 0,
            (a, b, y, pool) => Add.Apply(a.Span, a.Stride, b.Span, b.Stride, y.Span, y.Stride, y.Rows, y.Width, pool)
        ),
    ];

    readonly WorkerPool pool = new(2);

    public static TheoryData<string, string> Variants =>
        [.. Cases.SelectMany(c => c.Table.SupportedNames, (c, v) => (c.Table.Name, v))];

    public void Dispose() => pool.Dispose();

    [Theory, MemberData(nameof(Variants))]
    public void Matches_double_precision_at_every_width(string name, string variant)
    {
        (Case c, ElementwiseKernel kernel) = Find(name, variant);
        for (int width = 0; width <= 257; width++)
        {
            bool guardBefore = width % 2 == 0;
            var random = new Random(width);
            float Draw(int row, int column) => (random.NextSingle() - 0.5f) * 16;
            using var a = new Strided(3, width, width + 3, Draw, guardBefore);
            using var b = new Strided(3, width, width + 5, Draw, guardBefore);
            using var y = new Strided(3, width, width + 1, Draw, guardBefore);
            Check(c, kernel, a, b, y, $"width {width}");
        }
    }

    [Theory, MemberData(nameof(Variants))]
    public void Keeps_its_relative_precision_over_the_whole_range(string name, string variant)
    {
        (Case c, ElementwiseKernel kernel) = Find(name, variant);
        var x = new List<float>();
        for (float magnitude = 1e-38f; magnitude < 1e38f; magnitude *= 1.07f)
        {
            x.AddRange([magnitude, -magnitude]);
        }

        for (float v = -120; v < 120; v += 0.0123f)
        {
            x.Add(v);
        }

        using var a = new Strided(1, x.Count, x.Count, (_, i) => x[i]);
        using var b = new Strided(1, x.Count, x.Count, (_, i) => (i % 7) - 3.5f);
        using var y = new Strided(1, x.Count, x.Count);
        Check(c, kernel, a, b, y, "range");
    }

    [Theory, MemberData(nameof(Variants))]
    public void Special_values_follow_the_formula(string name, string variant)
    {
        (Case c, ElementwiseKernel kernel) = Find(name, variant);
        float[] special =
        [
            0,
            -0f,
            1,
            -1,
            float.NaN,
            float.PositiveInfinity,
            float.NegativeInfinity,
            float.MaxValue,
            float.MinValue,
            float.Epsilon,
            -float.Epsilon,
        ];
        int n = special.Length;
        using var a = new Strided(n, n, n, (r, _) => special[r]);
        using var b = new Strided(n, n, n, (_, i) => special[i]);
        using var y = new Strided(n, n, n);
        Check(c, kernel, a, b, y, "special");
    }

    [Theory, MemberData(nameof(Variants))]
    public void The_output_may_be_an_input(string name, string variant)
    {
        (_, ElementwiseKernel kernel) = Find(name, variant);
        using var a = new Strided(5, 37, 40, (r, i) => r - (i / 7f));
        using var b = new Strided(5, 37, 40, (r, i) => i - (r / 3f));
        using var second = new Strided(5, 37, 40, (r, i) => i - (r / 3f));
        using var separate = new Strided(5, 37, 40);
        Apply(kernel, a, b, separate);
        Apply(kernel, a, b, b);
        Near.SameBits(separate.ToArray(), b.ToArray());
        Apply(kernel, a, second, a);
        Near.SameBits(separate.ToArray(), a.ToArray());
    }

    [Theory, MemberData(nameof(Variants))]
    public void An_elements_result_depends_on_its_operands_alone(string name, string variant)
    {
        (_, ElementwiseKernel kernel) = Find(name, variant);
        const int Rows = 301;
        const int Width = 263;
        static float A(int r, int i) => MathF.Sin((r * 1.3f) + i) * 5;
        static float B(int r, int i) => MathF.Cos((r * 0.7f) - i) * 3;
        using var a = new Strided(Rows, Width, Width, A);
        using var b = new Strided(Rows, Width, Width, B);
        using var together = new Strided(Rows, Width, Width);
        Apply(kernel, a, b, together); // enough rows for several parts
        using var a1 = new Strided(Rows * Width, 1, 1, (r, _) => A(r / Width, r % Width));
        using var b1 = new Strided(Rows * Width, 1, 1, (r, _) => B(r / Width, r % Width));
        using var single = new Strided(Rows * Width, 1, 1);
        Apply(kernel, a1, b1, single);
        Near.SameBits(together.ToArray(), single.ToArray());
    }

    [Theory, MemberData(nameof(Variants))]
    public void Nothing_is_allocated_after_the_first_call(string name, string variant)
    {
        (_, ElementwiseKernel kernel) = Find(name, variant);
        using var a = new Strided(40, 1000, 1000, (r, i) => r - i);
        using var y = new Strided(40, 1000, 1000);
        Apply(kernel, a, a, y);
        long before = GC.GetAllocatedBytesForCurrentThread();
        Apply(kernel, a, a, y);
        Assert.Equal(before, GC.GetAllocatedBytesForCurrentThread());
    }

    [Fact]
    public void The_public_functions_run_the_variant_in_use()
    {
        foreach (Case c in Cases)
        {
            using var a = new Strided(5, 37, 40, (r, i) => r - (i / 7f));
            using var b = new Strided(5, 37, 41, (r, i) => i - (r / 3f));
            using var expected = new Strided(5, 37, 42);
            using var y = new Strided(5, 37, 43);
            Apply(c.Table.Active, a, b, expected);
            c.Public(a, b, y, pool);
            Near.SameBits(expected.ToArray(), y.ToArray(), c.Table.Name);
        }
    }

    [Fact]
    public void Shapes_that_do_not_fit_are_refused()
    {
        var x = new float[20];
        var y = new float[20];
        Assert.Throws<ArgumentException>(() => Gelu.Apply(x, 4, y, 5, 3, 5, pool)); // rows of x overlap
        Assert.Throws<ArgumentException>(() => Gelu.Apply(x, 7, y, 5, 4, 5, pool)); // x ends early
        Assert.Throws<ArgumentException>(() => QuickGelu.Apply(x, 5, y, 6, 4, 5, pool)); // y ends early
        Assert.Throws<ArgumentException>(() => Gelu.Apply(x, 5, y, 5, 5, 5, pool)); // both end early
        Assert.Throws<ArgumentException>(() => SwiGlu.Apply(x, 5, x.AsSpan(1), 5, y, 5, 4, 5, pool));
        Assert.Throws<ArgumentOutOfRangeException>(() => Gelu.Apply(x, 5, y, 5, -1, 5, pool));
        Gelu.Apply(x, 5, y, 5, 4, 5, pool); // fits exactly
        Gelu.Apply([], 0, [], 0, 1, 0, pool);
    }

    void Check(Case c, ElementwiseKernel kernel, Strided a, Strided b, Strided y, string what)
    {
        float[] left = a.ToArray();
        float[] right = b.ToArray();
        var expected = new double[left.Length];
        var tolerance = new double[left.Length];
        for (int i = 0; i < expected.Length; i++)
        {
            expected[i] = (float)c.Expected(left[i], right[i]); // overflow to infinity included
            tolerance[i] = c.Tolerance(left[i], right[i]);
        }

        Apply(kernel, a, b, y);
        Near.Within(tolerance, expected, y.ToArray(), what);
    }

    void Apply(ElementwiseKernel kernel, Strided a, Strided b, Strided y) =>
        Elementwise.Apply(kernel, a.Span, a.Stride, b.Span, b.Stride, y.Span, y.Stride, y.Rows, y.Width, pool);

    static (Case Case, ElementwiseKernel Kernel) Find(string name, string variant)
    {
        Case c = Cases.Single(c => c.Table.Name == name);
        return (c, c.Table.Supported.Single(v => v.Name == variant).Run);
    }

    /// <summary>A kernel, what it should compute, and how far from that it may be, and how callers reach it.</summary>
    sealed record Case(
        KernelTable<ElementwiseKernel> Table,
        Func<double, double, double> Expected,
        Func<double, double, double> Tolerance,
        Function Public
    );
}
