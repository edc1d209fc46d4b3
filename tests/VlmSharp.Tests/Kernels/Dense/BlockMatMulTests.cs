using VlmSharp.Kernels;
using VlmSharp.Kernels.Quantized;
using VlmSharp.Testing;
using Xunit;

namespace VlmSharp.Tests.Kernels.Dense;

/// <summary>Products with weights that stay in blocks of integers.</summary>
public sealed class BlockMatMulTests
{
    static readonly string[] Rounding = [.. MatMul.Variants.SupportedNames.Where(RoundsBlocks)];

    public static TheoryData<WeightFormat> Formats => new(BlockWeights.Formats);

    public static TheoryData<GgmlType> FileTypes =>
        new(Enum.GetValues<GgmlType>().Where(type => type.Format() is not null));

    public static MatrixTheoryData<string, WeightFormat> Rounded =>
        Rounding.Length > 0
            ? new(Rounding.Select(name => name + MatMulTests.Rounding), BlockWeights.Formats)
            : new([NoVariant], [WeightFormat.Q8_0]);

    const string NoVariant = "none";

    public static MatrixTheoryData<string, WeightFormat> All =>
        new(
            [.. MatMul.Variants.SupportedNames, .. Rounding.Select(name => name + MatMulTests.Rounding)],
            BlockWeights.Formats
        );

    static bool RoundsBlocks(string variant) => variant != "portable";

    [Theory, MemberData(nameof(Formats))]
    public void Rows_come_back_with_the_bits_of_the_formats_definition(WeightFormat format)
    {
        using var pool = new WorkerPool(2);
        foreach (int blocks in new[] { 0, 1, 2, 5 })
        {
            foreach (int rows in new[] { 1, 16, 31, 32, 33, 70 })
            {
                var weights = new BlockWeights(rows, blocks * format.BlockColumns(), format, pool, seed: rows);
                AssertRows(weights.Packed, weights.Values);
                if (rows % 32 == 0 && BlockWeights.FileType(format) is not null)
                {
                    Assert.Equal(weights.Source.Length, weights.Packed.Bytes);
                }
            }
        }
    }

    // Scales that are infinite or NaN included.
    [Theory, MemberData(nameof(FileTypes))]
    public void Any_bytes_whatever_come_back_as_the_formats_definition_says(GgmlType type)
    {
        using var pool = new WorkerPool(1);
        int columns = 8 * type.BlockValues();
        byte[] source = new byte[64 * 8 * type.BlockBytes()];
        new Random(7).NextBytes(source);
        using var packed = new PackedMatrix(64, columns, type.Format()!.Value);
        packed.PackBlocks(0, 64, source, pool);
        float[] values = new float[64 * columns];
        Dequantize.Apply(type, source, values);
        AssertRows(packed, values);
    }

    [Theory, MemberData(nameof(Formats))]
    public void A_matrix_may_be_filled_in_pieces_and_cut_into_slices(WeightFormat format)
    {
        using var pool = new WorkerPool(3);
        var weights = new BlockWeights(150, 2 * format.BlockColumns(), format, pool);
        using var pieces = new PackedMatrix(150, weights.Columns, weights.Packed.Storage);
        int[] cuts = [0, 1, 20, 33, 33, 64, 140, 150];
        foreach (int i in new[] { 3, 0, 6, 1, 5, 2, 4 }) // any order
        {
            // From an odd address, up to the guard page.
            int bytes = (cuts[i + 1] - cuts[i]) * weights.RowBytes;
            using var source = new GuardedMemory<byte>(bytes + 1);
            weights.Source.AsSpan(cuts[i] * weights.RowBytes, bytes).CopyTo(source.Span[1..]);
            weights.Pack(pieces, cuts[i], cuts[i + 1] - cuts[i], source.Span[1..], pool);
        }

        AssertRows(pieces, weights.Values);
        using PackedMatrix slice = pieces.Slice(64, 70);
        AssertRows(slice, weights.Values[(64 * weights.Columns)..(134 * weights.Columns)]);
    }

    [Theory, MemberData(nameof(FileTypes))]
    public void What_does_not_fit_the_blocks_is_refused(GgmlType type)
    {
        using var pool = new WorkerPool(1);
        WeightFormat format = type.Format()!.Value;
        int columns = format.BlockColumns();
        Assert.Equal(type.BlockValues(), columns);
        Assert.Throws<ArgumentException>(() => new PackedMatrix(1, columns + 16, format));
        using var matrix = new PackedMatrix(3, columns, format);
        byte[] row = new byte[type.BlockBytes()];
        Assert.Throws<ArgumentException>(() => matrix.PackBlocks(0, 1, row.AsSpan(1), pool));
        Assert.Throws<ArgumentException>(() => matrix.PackBlocks(0, 2, row, pool));
        Assert.Throws<ArgumentOutOfRangeException>(() => matrix.PackBlocks(3, 1, row, pool));
        Assert.Throws<ArgumentException>(() => matrix.PackRows(0, 1, new byte[columns * 2], ElementType.F16, pool));
        Assert.Throws<InvalidOperationException>(() => matrix.PackGroups(0, 0, [], [], [], pool));
        using var plain = new PackedMatrix(3, columns, WeightFormat.F32);
        Assert.Throws<InvalidOperationException>(() => plain.PackBlocks(0, 1, row, pool));
    }

    [Fact]
    public void What_does_not_fit_the_groups_is_refused()
    {
        using var pool = new WorkerPool(1);
        WeightFormat format = WeightFormats.Groups(4, 64)!.Value;
        Assert.Null(WeightFormats.Groups(4, 96));
        Assert.Throws<ArgumentException>(() => new PackedMatrix(1, 96, format));
        using var matrix = new PackedMatrix(3, 128, format);
        void Pack(int codes, byte code, int groups, float scale) =>
            matrix.PackGroups(
                0,
                2,
                Enumerable.Repeat(code, codes).ToArray(),
                Enumerable.Repeat(scale, groups).ToArray(),
                new byte[groups],
                pool
            );
        Pack(256, 15, 4, 0.5f);
        Assert.Throws<ArgumentException>(() => Pack(255, 15, 4, 0.5f));
        Assert.Throws<ArgumentException>(() => Pack(256, 15, 3, 0.5f));
        Assert.Throws<ArgumentException>(() => Pack(256, 16, 4, 0.5f));
        Assert.Throws<ArgumentException>(() => Pack(256, 15, 4, 0.1f)); // no f16
        Assert.Throws<InvalidOperationException>(() => matrix.PackBlocks(0, 1, new byte[128], pool));
    }

    [Theory, MemberData(nameof(All))]
    public void Every_number_of_rows_matches_the_double_precision_reference(string variant, WeightFormat format)
    {
        using var pool = new WorkerPool(2);
        foreach (int outputs in new[] { 1, 33, 65 })
        {
            var weights = new BlockWeights(outputs, 2 * format.BlockColumns(), format, pool);
            // Few rows take the panels as they are, many in tiles.
            foreach (int rows in Enumerable.Range(0, 10).Concat(Enumerable.Range(64, 9)))
            {
                Check(variant, weights, rows, pool, rows % 3, bias: rows % 2 == 0, accumulate: rows % 4 < 2);
            }
        }
    }

    // Beyond blocks of columns, panels and rows of a part.
    [Theory, MemberData(nameof(All))]
    public void Shapes_beyond_every_block_match_the_double_precision_reference(string variant, WeightFormat format)
    {
        using var pool = new WorkerPool(2);
        (int Rows, int Columns, int Outputs)[] shapes =
        [
            (1, 0, 40),
            (1, 2048, 300),
            (3, 1536, 161),
            (7, 768, 200),
            (29, 1280, 65),
            (260, 256, 33),
        ];
        foreach ((int rows, int columns, int outputs) in shapes)
        {
            var weights = new BlockWeights(outputs, columns, format, pool);
            Check(variant, weights, rows, pool, padding: 3, bias: true, accumulate: true);
        }
    }

    // The largest sums there are, of all signs: codes and activations at their ends.
    [Theory, MemberData(nameof(All))]
    public void Integer_extremes_match_the_double_precision_reference(string variant, WeightFormat format)
    {
        using var pool = new WorkerPool(1);
        foreach (byte codes in new byte[] { 0, 0x7F, 0x80, 0xFF, 0x0F, 0xF0 })
        {
            var weights = new BlockWeights(33, 512, format, pool, codes: codes);
            foreach (int rows in new[] { 1, 2, 4, 70 })
            {
                float[] x = new float[rows * 512];
                for (int i = 0; i < x.Length; i++)
                {
                    x[i] = (i / 512 % 4) switch
                    {
                        0 => 3f,
                        1 => -3f,
                        2 => i % 2 == 0 ? 3f : -3f,
                        _ => i % 32 == 0 ? 3f : 1e-3f,
                    };
                }

                Check(variant, weights, x, 512, 33, rows, pool, bias: false, accumulate: false);
            }
        }
    }

    [Theory, MemberData(nameof(Rounded))]
    public void An_activation_that_is_no_number_makes_its_row_nan_and_no_other(string variant, WeightFormat format)
    {
        Assert.SkipWhen(variant == NoVariant, "portable code does not round");
        using var pool = new WorkerPool(2);
        int columns = 2 * format.BlockColumns();
        var weights = new BlockWeights(70, columns, format, pool);
        foreach (float special in new[] { float.NaN, float.PositiveInfinity, float.NegativeInfinity })
        {
            foreach (int rows in new[] { 1, 2, 5, 71 })
            {
                float[] x = Numbers.Varied(rows, rows * columns);
                float[] expected = Product(variant, weights, x, rows, pool);
                int row = rows / 2;
                x[(row * columns) + columns - 3] = special;
                float[] y = Product(variant, weights, x, rows, pool);
                expected.AsSpan(row * 70, 70).Fill(float.NaN);
                Near.SameBits(expected, y);
            }
        }
    }

    [Theory, MemberData(nameof(Rounded))]
    public void Tiny_and_huge_activations_keep_their_precision(string variant, WeightFormat format)
    {
        Assert.SkipWhen(variant == NoVariant, "portable code does not round");
        using var pool = new WorkerPool(1);
        int columns = 2 * format.BlockColumns();
        var weights = new BlockWeights(33, columns, format, pool);
        foreach (float size in new[] { 0f, float.Epsilon, 1e-38f, 1e-31f, 1e-30f, 1e-20f, 1e30f })
        {
            float[] x = [.. Numbers.Varied(3, 2 * columns).Select(v => Math.Clamp(v, -4, 4) * size)];
            Check(variant, weights, x, columns, 33, 2, pool, bias: false, accumulate: false);
        }
    }

    [Theory, MemberData(nameof(All))]
    public void The_bits_of_a_row_depend_on_nothing_but_that_row(string variant, WeightFormat format)
    {
        const int Rows = 140;
        const int Columns = 768;
        const int Outputs = 70;
        float[] x = Numbers.Varied(1, Rows * Columns);
        using var packing = new WorkerPool(1);
        var weights = new BlockWeights(Outputs, Columns, format, packing);
        float[] whole = Product(variant, weights, x, Rows, packing);
        foreach (int threads in new[] { 1, 3 })
        {
            using var pool = new WorkerPool(threads);
            foreach (int chunk in new[] { 1, 2, 3, 7, 33, 65, 71, Rows })
            {
                float[] y = new float[whole.Length];
                for (int first = 0; first < Rows; first += chunk)
                {
                    int count = Math.Min(chunk, Rows - first);
                    Product(variant, weights, x[(first * Columns)..((first + count) * Columns)], count, pool)
                        .CopyTo(y.AsSpan(first * Outputs));
                }

                Near.SameBits(whole, y, $"{threads} threads, {chunk} rows at a time");
            }
        }
    }

    [Theory, MemberData(nameof(Formats))]
    public void Variants_that_round_agree_to_the_last_bit(WeightFormat format)
    {
        using var pool = new WorkerPool(2);
        var weights = new BlockWeights(100, 768, format, pool);
        foreach (int rows in new[] { 1, 3, 20, 70 })
        {
            float[] x = Numbers.Varied(rows, rows * 768);
            float[][] all = [.. Rounding.Select(name => Product(name + MatMulTests.Rounding, weights, x, rows, pool))];
            Assert.All(all, y => Near.SameBits(all[0], y));
        }
    }

    [Theory, MemberData(nameof(All))]
    public void A_product_allocates_nothing(string variant, WeightFormat format)
    {
        using var pool = new WorkerPool(1);
        var weights = new BlockWeights(100, 512, format, pool);
        float[] x = new float[70 * 512];
        float[] y = new float[70 * 100];
        void Both()
        {
            MatMulTests.Run(variant, x, 512, weights.Packed, [], y, 100, 1, pool, accumulate: false);
            MatMulTests.Run(variant, x, 512, weights.Packed, [], y, 100, 70, pool, accumulate: false);
        }

        // Whatever the runtime does once, it does in one of the first rounds.
        long least = long.MaxValue;
        for (int round = 0; round < 5; round++)
        {
            long before = GC.GetAllocatedBytesForCurrentThread();
            for (int i = 0; i < 5; i++)
            {
                Both();
            }

            least = Math.Min(least, GC.GetAllocatedBytesForCurrentThread() - before);
        }

        Assert.Equal(0, least);
    }

    static float[] Product(string variant, BlockWeights weights, float[] x, int rows, WorkerPool pool)
    {
        float[] y = new float[rows * weights.Outputs];
        MatMulTests.Run(
            variant,
            x,
            weights.Columns,
            weights.Packed,
            [],
            y,
            weights.Outputs,
            rows,
            pool,
            accumulate: false
        );
        return y;
    }

    static void Check(
        string variant,
        BlockWeights weights,
        int rows,
        WorkerPool pool,
        int padding,
        bool bias,
        bool accumulate
    )
    {
        int stride = weights.Columns + padding;
        float[] x = Numbers.Varied(rows, Math.Max((rows - 1) * stride + weights.Columns, 0));
        Check(variant, weights, x, stride, weights.Outputs + padding, rows, pool, bias, accumulate);
    }

    // Exact products: as for plain numbers. Rounded ones: dot products of a block are exact, at most three roundings form what is added
    // to a sum, which itself is rounded at most twice a block. Against x that was not rounded, each value is off by half a step.
    static void Check(
        string variant,
        BlockWeights weights,
        float[] xValues,
        int xStride,
        int yStride,
        int rows,
        WorkerPool pool,
        bool bias,
        bool accumulate
    )
    {
        (int columns, int outputs) = (weights.Columns, weights.Outputs);
        string what = $"{variant} {weights.Format} [{rows}, {columns}] x [{outputs}], {pool.Threads} threads";
        bool before = rows % 3 == 0; // on which side the guard page is
        using GuardedMemory<float> x = GuardedMemory.Copy<float>(xValues, before);
        using GuardedMemory<float> b = GuardedMemory.Copy<float>(bias ? Numbers.Varied(outputs, outputs) : [], before);
        using GuardedMemory<float> y = GuardedMemory.Copy<float>(
            Numbers.Varied(~rows, rows == 0 ? 0 : (rows - 1) * yStride + outputs),
            before
        );
        float[] old = y.Span.ToArray();
        MatMulTests.Run(variant, x.Span, xStride, weights.Packed, b.Span, y.Span, yStride, rows, pool, accumulate);

        bool rounded = variant.EndsWith(MatMulTests.Rounding, StringComparison.Ordinal);
        double unit = Math.Pow(2, -24);
        for (int r = 0; r < rows; r++)
        {
            float[] row = xValues[(r * xStride)..(r * xStride + columns)];
            double[] step = [];
            double[] values = rounded ? BlockWeights.Round(row, out step) : Array.ConvertAll(row, v => (double)v);
            for (int o = 0; o < outputs; o++)
            {
                ReadOnlySpan<float> w = weights.Values.AsSpan(o * columns, columns);
                double start = (bias ? b.Span[o] : 0.0) + (accumulate ? old[(r * yStride) + o] : 0.0);
                double size =
                    (bias ? Math.Abs(b.Span[o]) : 0.0) + (accumulate ? Math.Abs(old[(r * yStride) + o]) : 0.0);
                (double sum, double unrounded, double noise) = (start, start, 0);
                for (int i = 0; i < columns; i++)
                {
                    sum += values[i] * w[i];
                    size += Math.Abs(values[i]) * (rounded ? weights.Sizes[(o * columns) + i] : Math.Abs(w[i]));
                    unrounded += (double)row[i] * w[i];
                    noise += rounded ? 0.501 * step[i] * Math.Abs(w[i]) : 0;
                }

                double tolerance =
                    ((rounded ? (columns / 16.0) + 8 : columns + 3) * size * unit)
                    + ((columns + 3) * Math.Pow(2, -149));
                double actual = y.Span[(r * yStride) + o];
                Assert.True(
                    Math.Abs(actual - sum) <= tolerance,
                    $"{what}: [{r}, {o}] is {actual:R}, expected {sum:R}, {Math.Abs(actual - sum):G3} apart, allowed {tolerance:G3}"
                );
                Assert.True(
                    Math.Abs(actual - unrounded) <= noise + tolerance + (columns * Math.Pow(2, -100) * 10),
                    $"{what}: [{r}, {o}] is {actual:R}, unrounded {unrounded:R}, allowed {noise:G3}"
                );
            }

            for (int i = (r * yStride) + outputs; i < Math.Min((r + 1) * yStride, old.Length); i++)
            {
                Assert.True(y.Span[i] == old[i], $"{what}: element {i} between the rows of y changed");
            }
        }
    }

    static void AssertRows(PackedMatrix matrix, float[] values)
    {
        float[] row = new float[matrix.Columns];
        for (int r = 0; r < matrix.Rows; r++)
        {
            matrix.UnpackRow(r, row);
            Near.SameBits(values.AsSpan(r * row.Length, row.Length), row, $"row {r}");
        }
    }
}
