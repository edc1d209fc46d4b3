using VlmSharp.Kernels;
using VlmSharp.Testing;
using Xunit;

namespace VlmSharp.Tests.Kernels.Pointwise;

public sealed class WeightedRowsTests : IDisposable
{
    const int TableRows = 11;
    readonly WorkerPool pool = new(2);

    public static TheoryData<string> Variants => [.. WeightedRows.Variants.SupportedNames];

    public void Dispose() => pool.Dispose();

    [Theory, MemberData(nameof(Variants))]
    public void Equals_the_sum_in_ascending_order_bit_for_bit_at_every_width(string variant)
    {
        for (int width = 0; width <= 257; width++)
        {
            int count = 1 + (width % 5);
            using var table = Draw(TableRows, width, width + 3, width);
            using var y = new Strided(3, width, width + 1, guardBefore: width % 2 == 0);
            (int[] indices, float[] weights) = Choose(3, count, width);
            Apply(variant, table, indices, weights, count, y);
            for (int r = 0; r < 3; r++)
            {
                for (int i = 0; i < width; i++)
                {
                    float sum = weights[r * count] * table.Row(indices[r * count])[i];
                    for (int j = 1; j < count; j++)
                    {
                        float product = weights[(r * count) + j] * table.Row(indices[(r * count) + j])[i];
                        sum += product;
                    }

                    Assert.Equal(sum, y.Row(r)[i]);
                }
            }
        }
    }

    [Theory, MemberData(nameof(Variants))]
    public void A_row_depends_on_its_own_operands_alone(string variant)
    {
        const int Rows = 501;
        using var table = Draw(TableRows, 100, 100, 1);
        using var together = new Strided(Rows, 100, 100);
        using var single = new Strided(1, 100, 100);
        (int[] indices, float[] weights) = Choose(Rows, 4, 2);
        Apply(variant, table, indices, weights, 4, together);
        foreach (int row in new[] { 0, 250, Rows - 1 })
        {
            Apply(variant, table, indices[(row * 4)..((row * 4) + 4)], weights[(row * 4)..((row * 4) + 4)], 4, single);
            Near.SameBits(together.Row(row), single.Span);
        }
    }

    [Fact]
    public void Indices_outside_of_the_table_and_wrong_shapes_are_refused()
    {
        float[] table = new float[12];
        float[] y = new float[8];
        void Run(int[] indices, float[] weights, int tableRows = 3, int rows = 2) =>
            WeightedRows.Apply(table, 4, tableRows, indices, weights, 1, y, 4, rows, 4, pool);
        Run([0, 2], [1, 1]);
        Assert.Throws<ArgumentException>(() => Run([0, 3], [1, 1]));
        Assert.Throws<ArgumentException>(() => Run([0, -1], [1, 1]));
        Assert.Throws<ArgumentException>(() => Run([0], [1, 1]));
        Assert.Throws<ArgumentException>(() => Run([0, 1], [1]));
        Assert.Throws<ArgumentException>(() => Run([0, 1], [1, 1], tableRows: 4));
        Assert.Throws<ArgumentException>(() => Run([0, 1, 2], [1, 1, 1], rows: 3));
    }

    [Fact]
    public void The_public_function_runs_the_variant_in_use()
    {
        using var table = Draw(TableRows, 37, 40, 1);
        using var expected = new Strided(5, 37, 38);
        using var y = new Strided(5, 37, 41);
        (int[] indices, float[] weights) = Choose(5, 3, 4);
        Apply(WeightedRows.Variants.ActiveName, table, indices, weights, 3, expected);
        WeightedRows.Apply(table.Span, 40, TableRows, indices, weights, 3, y.Span, 41, 5, 37, pool);
        Near.SameBits(expected.ToArray(), y.ToArray());
    }

    static Strided Draw(int rows, int width, int stride, int seed)
    {
        var random = new Random(seed);
        return new(rows, width, stride, (_, _) => (random.NextSingle() * 4) - 2, guardBefore: width % 2 == 0);
    }

    static (int[] Indices, float[] Weights) Choose(int rows, int count, int seed)
    {
        var random = new Random(seed);
        return (
            [.. Enumerable.Range(0, rows * count).Select(_ => random.Next(TableRows))],
            [.. Enumerable.Range(0, rows * count).Select(_ => random.NextSingle() - 0.3f)]
        );
    }

    void Apply(string variant, Strided table, int[] indices, float[] weights, int count, Strided y) =>
        WeightedRows.Apply(
            WeightedRows.Variants.Supported.Single(v => v.Name == variant).Run,
            table.Span,
            table.Stride,
            table.Rows,
            indices,
            weights,
            count,
            y.Span,
            y.Stride,
            y.Rows,
            y.Width,
            pool
        );
}
