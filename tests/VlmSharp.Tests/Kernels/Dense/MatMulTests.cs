using System.Runtime.InteropServices;
using VlmSharp.Kernels;
using VlmSharp.Testing;
using Xunit;

namespace VlmSharp.Tests.Kernels.Dense;

public sealed class MatMulTests
{
    /// <summary>Behind the name of a variant: x may be rounded to the type of the weights.</summary>
    internal const string Rounding = " rounding";

    public static MatrixTheoryData<string, ElementType> VariantsAndStorages =>
        new(
            [
                .. MatMul.Variants.SupportedNames,
                .. MatMul.Variants.SupportedNames.Where(name => name == "avx512dot").Select(name => name + Rounding),
            ],
            Enum.GetValues<ElementType>()
        );

    [Theory, MemberData(nameof(VariantsAndStorages))]
    public void Every_number_of_rows_matches_the_double_precision_reference(string variant, ElementType storage)
    {
        using var pool = new WorkerPool(2);
        foreach (int columns in new[] { 0, 1, 7, 33 })
        {
            foreach (int outputs in new[] { 1, 33, 129, 257 })
            {
                var weights = new Weights(outputs, columns, storage, pool);
                for (int rows = 0; rows <= 33; rows++)
                {
                    Check(
                        variant,
                        weights,
                        rows,
                        pool,
                        padding: rows % 3,
                        bias: rows % 2 == 0,
                        accumulate: rows % 4 < 2
                    );
                }
            }
        }
    }

    [Theory, MemberData(nameof(VariantsAndStorages))]
    public void Every_number_of_columns_matches_the_double_precision_reference(string variant, ElementType storage)
    {
        using var pool = new WorkerPool(1);
        for (int columns = 0; columns <= 257; columns++)
        {
            var weights = new Weights(outputs: 40, columns, storage, pool);
            foreach (int rows in new[] { 1, 2, 5, 15 })
            {
                Check(
                    variant,
                    weights,
                    rows,
                    pool,
                    padding: columns % 5,
                    bias: columns % 2 == 0,
                    accumulate: rows == 5
                );
            }
        }
    }

    [Theory, MemberData(nameof(VariantsAndStorages))]
    public void Every_number_of_outputs_matches_the_double_precision_reference(string variant, ElementType storage)
    {
        using var pool = new WorkerPool(3);
        for (int outputs = 1; outputs <= 257; outputs++)
        {
            var weights = new Weights(outputs, columns: outputs % 23, storage, pool);
            foreach (int rows in new[] { 1, 3, 4, 8, 14, 17 })
            {
                Check(variant, weights, rows, pool, padding: 1, bias: true, accumulate: outputs % 2 == 0);
            }
        }
    }

    // Larger than the blocks of columns, than the rows and panels of a part, and (the last) than the packed rows of a round.
    [Theory, MemberData(nameof(VariantsAndStorages))]
    public void Shapes_beyond_every_block_match_the_double_precision_reference(string variant, ElementType storage)
    {
        using var pool = new WorkerPool(2);
        (int Rows, int Columns, int Outputs)[] shapes =
        [
            (1, 2000, 300),
            (7, 900, 200),
            (29, 385, 161),
            (260, 769, 65),
            (523, 40, 33),
            (600, 4100, 3),
        ];
        foreach ((int rows, int columns, int outputs) in shapes)
        {
            Check(
                variant,
                new Weights(outputs, columns, storage, pool),
                rows,
                pool,
                padding: 3,
                bias: true,
                accumulate: true
            );
        }
    }

    [Theory, MemberData(nameof(VariantsAndStorages))]
    public void Nan_and_infinity_spread_as_in_plain_arithmetic_and_not_further(string variant, ElementType storage)
    {
        using var pool = new WorkerPool(2);
        foreach (int rows in new[] { 1, 2, 4, 6, 9, 31 })
        {
            foreach (int outputs in new[] { 1, 31, 47, 100 })
            {
                const int Columns = 12;
                var weights = new Weights(outputs, Columns, storage, pool, specials: true);
                float[] x = Numbers.WithSpecials(rows, rows * Columns, every: 60);
                Check(variant, weights, x, Columns, Columns, outputs + 5, rows, pool, bias: true, accumulate: true);
            }
        }
    }

    public static MatrixTheoryData<string, ElementType> VariantsAnd16BitStorages =>
        new(MatMul.Variants.SupportedNames, [ElementType.F16, ElementType.BF16]);

    [Theory, MemberData(nameof(VariantsAnd16BitStorages))]
    public void Every_16_bit_pattern_is_widened_exactly(string variant, ElementType storage)
    {
        using var pool = new WorkerPool(1);
        ushort[] bits = [.. Enumerable.Range(0, 65536).Select(i => (ushort)i)];
        using var matrix = new PackedMatrix(65536, 1, storage);
        matrix.PackRows(0, 65536, MemoryMarshal.AsBytes<ushort>(bits), storage, pool);
        double[] expected = [.. bits.Select(b => (double)Weights.Value(b, storage))];
        foreach (int rows in new[] { 1, 2, 4, 8, 15 })
        {
            float[] x = new float[rows];
            Array.Fill(x, 1f);
            float[] y = new float[rows * 65536];
            Run(variant, x, 1, matrix, [], y, 65536, rows, pool, accumulate: false);
            for (int r = 0; r < rows; r++)
            {
                Near.Ulps(0, expected, y.AsSpan(r * 65536, 65536), $"row {r}");
            }
        }
    }

    [Theory, MemberData(nameof(VariantsAndStorages))]
    public void The_bits_of_a_row_depend_on_nothing_but_that_row(string variant, ElementType storage)
    {
        const int Rows = 290;
        const int Columns = 901;
        const int Outputs = 203;
        float[] x = Numbers.Varied(1, Rows * Columns);
        float[] bias = Numbers.Varied(2, Outputs);
        float[] before = Numbers.Varied(3, Rows * Outputs);
        using var packing = new WorkerPool(1);
        using var matrix = new Weights(Outputs, Columns, storage, packing).Packed;

        float[] whole = [.. before];
        Run(variant, x, Columns, matrix, bias, whole, Outputs, Rows, packing, accumulate: true);
        foreach (int threads in new[] { 1, 2, 3 })
        {
            using var pool = new WorkerPool(threads);
            foreach (int chunk in new[] { 1, 2, 3, 4, 5, 7, 8, 13, 14, 15, 28, 33, 100, Rows })
            {
                float[] y = [.. before];
                for (int first = 0; first < Rows; first += chunk)
                {
                    int count = Math.Min(chunk, Rows - first);
                    Span<float> part = y.AsSpan(first * Outputs, count * Outputs);
                    Run(
                        variant,
                        x.AsSpan(first * Columns),
                        Columns,
                        matrix,
                        bias,
                        part,
                        Outputs,
                        count,
                        pool,
                        accumulate: true
                    );
                }

                Near.SameBits(whole, y, $"{threads} threads, {chunk} rows at a time");
            }
        }
    }

    [Theory, MemberData(nameof(VariantsAndStorages))]
    public void Products_of_several_callers_and_from_inside_parts_do_not_disturb_each_other(
        string variant,
        ElementType storage
    )
    {
        using var pool = new WorkerPool(3);
        var weights = new Weights(outputs: 100, columns: 60, storage, pool);
        float[] x = Numbers.Varied(5, 30 * 60);
        float[] expected = new float[30 * 100];
        Run(variant, x, 60, weights.Packed, [], expected, 100, 30, pool, accumulate: false);
        Parallel.For(
            0,
            4,
            caller =>
            {
                var body = new NestedProduct(variant, x, weights.Packed, pool, expected);
                for (int i = 0; i < 10; i++)
                {
                    pool.Run(caller % 2 == 0 ? 6 : 1, ref body);
                    body.Run(0, 0);
                }
            }
        );
    }

    readonly struct NestedProduct(string variant, float[] x, PackedMatrix w, WorkerPool pool, float[] expected)
        : IParallelBody
    {
        public void Run(int part, int worker)
        {
            float[] y = new float[expected.Length];
            MatMulTests.Run(variant, x, 60, w, [], y, 100, 30, pool, accumulate: false);
            Near.SameBits(expected, y);
        }
    }

    [Theory]
    [InlineData(ElementType.F32)]
    [InlineData(ElementType.F16)]
    [InlineData(ElementType.BF16)]
    public void Both_fused_variants_agree_to_the_last_bit(ElementType storage)
    {
        Assert.SkipUnless(
            MatMul.Variants.SupportedNames.Contains("avx512") && MatMul.Variants.SupportedNames.Contains("avx2"),
            "needs a machine that runs both the avx512 and the avx2 variant"
        );
        using var pool = new WorkerPool(2);
        var weights = new Weights(outputs: 150, columns: 500, storage, pool);
        foreach (int rows in new[] { 1, 5, 40 })
        {
            float[] x = Numbers.Varied(rows, rows * 500);
            float[] bias = Numbers.Varied(9, 150);
            float[] wide = new float[rows * 150];
            float[] narrow = new float[rows * 150];
            Run("avx512", x, 500, weights.Packed, bias, wide, 150, rows, pool, accumulate: false);
            Run("avx2", x, 500, weights.Packed, bias, narrow, 150, rows, pool, accumulate: false);
            Near.SameBits(wide, narrow, $"{rows} rows");
        }
    }

    [Theory, MemberData(nameof(VariantsAndStorages))]
    public void A_product_allocates_nothing_on_any_thread(string variant, ElementType storage)
    {
        using var pool = new WorkerPool(2);
        var weights = new Weights(outputs: 300, columns: 100, storage, pool);
        float[] x = new float[40 * 100];
        float[] y = new float[40 * 300];
        long[] before = new long[2];
        long[] after = new long[2];
        int[] begun = new int[1];
        for (int repeat = 0; repeat < 3; repeat++)
        {
            ReadAllocations(pool, before, begun);
            for (int i = 0; i < 20; i++)
            {
                Run(variant, x, 100, weights.Packed, [], y, 300, 1, pool, accumulate: false);
                Run(variant, x, 100, weights.Packed, [], y, 300, 40, pool, accumulate: true);
            }

            ReadAllocations(pool, after, begun);
        }

        Assert.Equal(before, after);
    }

    [Fact]
    public void The_active_variant_is_what_apply_runs()
    {
        using var pool = new WorkerPool(2);
        var weights = new Weights(outputs: 50, columns: 70, ElementType.BF16, pool);
        float[] x = Numbers.Varied(4, 3 * 70);
        float[] expected = new float[3 * 50];
        float[] y = new float[3 * 50];
        Run(MatMul.Variants.ActiveName, x, 70, weights.Packed, [], expected, 50, 3, pool, accumulate: false);
        MatMul.Apply(x, 70, weights.Packed, [], y, 50, 3, pool);
        Near.SameBits(expected, y);
    }

    [Fact]
    public void Spans_and_strides_that_do_not_fit_the_sizes_are_refused()
    {
        using var pool = new WorkerPool(1);
        using var w = new PackedMatrix(5, 7, ElementType.F32);
        float[] x = new float[3 * 7];
        float[] y = new float[3 * 5];
        MatMul.Apply(x, 7, w, [], y, 5, 3, pool);
        Assert.Throws<ArgumentException>(() => MatMul.Apply(x, 6, w, [], y, 5, 1, pool));
        Assert.Throws<ArgumentException>(() => MatMul.Apply(x, 7, w, [], y, 4, 1, pool));
        Assert.Throws<ArgumentException>(() => MatMul.Apply(x, 8, w, [], y, 5, 3, pool));
        Assert.Throws<ArgumentException>(() => MatMul.Apply(x, 7, w, [], y, 6, 3, pool));
        Assert.Throws<ArgumentException>(() => MatMul.Apply(x, 7, w, [], y, 5, 4, pool));
        Assert.Throws<ArgumentException>(() => MatMul.Apply(x, int.MaxValue, w, [], y, 5, 3, pool));
        Assert.Throws<ArgumentException>(() => MatMul.Apply(x, 7, w, new float[4], y, 5, 3, pool));
        Assert.Throws<ArgumentOutOfRangeException>(() => MatMul.Apply(x, 7, w, [], y, 5, -1, pool));
        Assert.Throws<ArgumentNullException>(() => MatMul.Apply(x, 7, null!, [], y, 5, 3, pool));
        Assert.Throws<ArgumentNullException>(() => MatMul.Apply(x, 7, w, [], y, 5, 3, null!));
    }

    [Fact]
    public void A_disposed_matrix_is_refused()
    {
        using var pool = new WorkerPool(1);
        var w = new PackedMatrix(5, 7, ElementType.F32);
        w.Dispose();
        Assert.Throws<ObjectDisposedException>(() => MatMul.Apply(new float[7], 7, w, [], new float[5], 5, 1, pool));
    }

    static void Check(
        string variant,
        Weights weights,
        int rows,
        WorkerPool pool,
        int padding,
        bool bias,
        bool accumulate
    )
    {
        int stride = weights.Columns + padding;
        float[] x = Numbers.Varied(rows, Math.Max((rows - 1) * stride + weights.Columns, 0));
        Check(variant, weights, x, weights.Columns, stride, weights.Outputs + padding, rows, pool, bias, accumulate);
    }

    // Each fused step rounds once, each unfused one twice at half a unit of the running sum: (columns + 3) * 2^-24 of the magnitudes
    // holds for both to first order; 2^-149 is the last place of subnormal results.
    static void Check(
        string variant,
        Weights weights,
        float[] xValues,
        int columns,
        int xStride,
        int yStride,
        int rows,
        WorkerPool pool,
        bool bias,
        bool accumulate
    )
    {
        int outputs = weights.Outputs;
        string what = $"{variant} {weights.Storage} [{rows}, {columns}] x [{outputs}], {pool.Threads} threads";
        bool before = rows % 3 == 0; // on which side the guard page is
        using GuardedMemory<float> x = GuardedMemory.Copy<float>(xValues, before);
        using GuardedMemory<float> b = GuardedMemory.Copy<float>(bias ? Numbers.Varied(outputs, outputs) : [], before);
        using GuardedMemory<float> y = GuardedMemory.Copy<float>(
            Numbers.Varied(~rows, rows == 0 ? 0 : (rows - 1) * yStride + outputs),
            before
        );
        float[] yBefore = y.Span.ToArray();
        float[] old = accumulate ? Rows(yBefore, yStride, rows, outputs) : [];
        bool rounded = variant.EndsWith(Rounding, StringComparison.Ordinal) && weights.Storage == ElementType.BF16;
        (double[] expected, double[] magnitude) = Reference.MatMul(
            rounded ? Array.ConvertAll(x.Span.ToArray(), ToBF16) : x.Span,
            xStride,
            weights.Values,
            b.Span,
            old,
            rows,
            columns,
            outputs
        );

        Run(variant, x.Span, xStride, weights.Packed, b.Span, y.Span, yStride, rows, pool, accumulate);

        double[] tolerance =
        [
            .. magnitude.Select(m => m * (columns + 3) * Math.Pow(2, -24) + (columns + 3) * Math.Pow(2, -149)),
        ];
        Near.Within(tolerance, expected, Rows(y.Span, yStride, rows, outputs), what);
        for (int i = 0; i < yBefore.Length; i++)
        {
            if (i % yStride >= outputs)
            {
                Assert.True(y.Span[i] == yBefore[i], $"{what}: element {i} between the rows of y changed");
            }
        }
    }

    internal static void Run(
        string variant,
        ReadOnlySpan<float> x,
        int xStride,
        PackedMatrix w,
        ReadOnlySpan<float> bias,
        Span<float> y,
        int yStride,
        int rows,
        WorkerPool pool,
        bool accumulate
    )
    {
        bool mayRound = variant.EndsWith(Rounding, StringComparison.Ordinal);
        ReadOnlySpan<char> name = mayRound ? variant.AsSpan(0, variant.Length - Rounding.Length) : variant;
        MatMul.Signature? run = null;
        for (int i = 0; i < MatMul.Variants.Variants.Count; i++) // an enumerator would be on the heap
        {
            KernelVariant<MatMul.Signature> candidate = MatMul.Variants.Variants[i];
            run = name.SequenceEqual(candidate.Name) ? candidate.Run : run;
        }

        run!(
            new MatMul.Call
            {
                X = x,
                XStride = xStride,
                W = w,
                Bias = bias,
                Y = y,
                YStride = yStride,
                Rows = rows,
                Pool = pool,
                Accumulate = accumulate,
                MayRound = mayRound,
            }
        );
    }

    /// <summary>The nearest number with eight bits of mantissa, by definition: the neighbours are 2^-7 of its power of two apart.</summary>
    static float ToBF16(float value)
    {
        if (value == 0 || !float.IsFinite(value))
        {
            return value;
        }

        double unit = Math.Pow(2, Math.ILogB(value) - 7);
        return (float)(Math.Round(value / unit, MidpointRounding.ToEven) * unit);
    }

    static float[] Rows(ReadOnlySpan<float> values, int stride, int rows, int width)
    {
        float[] dense = new float[rows * width];
        for (int r = 0; r < rows; r++)
        {
            values.Slice(r * stride, width).CopyTo(dense.AsSpan(r * width));
        }

        return dense;
    }

    static void ReadAllocations(WorkerPool pool, long[] perWorker, int[] begun)
    {
        begun[0] = 0;
        var body = new ReadAllocation(pool, perWorker, begun);
        pool.Run(perWorker.Length, ref body);
    }

    // Each thread takes one part, because no part ends before all have begun.
    readonly struct ReadAllocation(WorkerPool pool, long[] perWorker, int[] begun) : IParallelBody
    {
        public void Run(int part, int worker)
        {
            Interlocked.Increment(ref begun[0]);
            SpinWait spin = default;
            while (Volatile.Read(ref begun[0]) < perWorker.Length)
            {
                spin.SpinOnce(sleep1Threshold: -1);
            }

            // A worker that had no part of a product so far would grow its scratch memory later.
            pool.Scratch(worker, 1 << 20);
            perWorker[worker] = GC.GetAllocatedBytesForCurrentThread();
        }
    }
}
