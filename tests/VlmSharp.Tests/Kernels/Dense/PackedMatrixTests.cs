using System.Runtime.InteropServices;
using VlmSharp.Kernels;
using VlmSharp.Testing;
using Xunit;

namespace VlmSharp.Tests.Kernels.Dense;

public sealed class PackedMatrixTests
{
    public static MatrixTheoryData<ElementType, int> StoragesAndThreads => new(Enum.GetValues<ElementType>(), [1, 3]);

    [Theory, MemberData(nameof(StoragesAndThreads))]
    public void Rows_come_back_exactly_as_they_were_packed(ElementType storage, int threads)
    {
        using var pool = new WorkerPool(threads);
        foreach (int columns in new[] { 0, 1, 3, 63, 64, 65, 200 })
        {
            foreach (int rows in new[] { 1, 16, 17, 31, 32, 33, 100 })
            {
                var weights = new Weights(rows, columns, storage, pool, specials: true);
                AssertRows(weights.Packed, weights.Values);
            }
        }
    }

    [Theory, MemberData(nameof(StoragesAndThreads))]
    public void A_matrix_may_be_filled_in_pieces_that_share_panels(ElementType storage, int threads)
    {
        using var pool = new WorkerPool(threads);
        const int Rows = 150;
        const int Columns = 70;
        var weights = new Weights(Rows, Columns, storage, pool);
        int rowBytes = Columns * storage.Size();
        using var pieces = new PackedMatrix(Rows, Columns, storage);
        int[] cuts = [0, 1, 20, 33, 33, 64, 140, Rows];
        foreach (int i in new[] { 3, 0, 6, 1, 5, 2, 4 }) // any order
        {
            int count = cuts[i + 1] - cuts[i];
            pieces.PackRows(cuts[i], count, weights.Source.AsSpan(cuts[i] * rowBytes, count * rowBytes), storage, pool);
        }

        AssertRows(pieces, weights.Values);
        using var row = new GuardedMemory<float>(Columns);
        pieces.UnpackRow(Rows - 1, row.Span);
    }

    [Theory, MemberData(nameof(StoragesAndThreads))]
    public void Transposed_weights_are_packed_as_their_transpose(ElementType storage, int threads)
    {
        using var pool = new WorkerPool(threads);
        foreach (ElementType target in new[] { storage, ElementType.F32 })
        {
            foreach (
                (int rows, int columns) in new[] { (1, 1), (31, 5), (32, 64), (33, 7), (64, 3), (100, 65), (7, 0) }
            )
            {
                var weights = new Weights(rows, columns, storage, pool, specials: true);
                using var packed = new PackedMatrix(rows + 3, columns, target);
                // In two pieces that share a panel, from an odd address.
                foreach ((int first, int end) in new[] { (0, rows / 3), (rows / 3, rows) })
                {
                    using GuardedMemory<byte> source = Transposed(weights, first, end);
                    packed.PackTransposed(first, end - first, source.Span[1..], storage, pool);
                }

                float[] row = new float[columns];
                for (int r = 0; r < rows + 3; r++)
                {
                    packed.UnpackRow(r, row);
                    float[] expected =
                        r < rows ? weights.Values[(r * columns)..((r + 1) * columns)] : new float[columns];
                    Near.SameBits(expected, row, $"{rows} x {columns} {storage} as {target}, row {r}");
                }
            }
        }
    }

    static GuardedMemory<byte> Transposed(Weights weights, int first, int end)
    {
        int size = weights.Storage.Size();
        var source = new GuardedMemory<byte>((weights.Columns * (end - first) * size) + 1);
        for (int column = 0; column < weights.Columns; column++)
        {
            for (int row = first; row < end; row++)
            {
                int from = ((row * weights.Columns) + column) * size;
                int to = (((column * (end - first)) + row - first) * size) + 1;
                weights.Source.AsSpan(from, size).CopyTo(source.Span[to..]);
            }
        }

        return source;
    }

    [Theory, MemberData(nameof(StoragesAndThreads))]
    public void A_slice_multiplies_like_a_matrix_of_its_own(ElementType storage, int threads)
    {
        using var pool = new WorkerPool(threads);
        const int Columns = 37;
        var weights = new Weights(150, Columns, storage, pool);
        int rowBytes = Columns * storage.Size();
        float[] x = Numbers.Varied(1, 3 * Columns);
        foreach ((int first, int rows) in new[] { (0, 150), (32, 40), (64, 32), (96, 54), (128, 0) })
        {
            using PackedMatrix slice = weights.Packed.Slice(first, rows);
            using var own = new PackedMatrix(rows, Columns, storage);
            own.PackRows(0, rows, weights.Source.AsSpan(first * rowBytes, rows * rowBytes), storage, pool);
            AssertRows(slice, weights.Values[(first * Columns)..((first + rows) * Columns)]);
            float[] expected = new float[3 * rows];
            float[] actual = new float[3 * rows];
            MatMul.Apply(x, Columns, own, [], expected, rows, 3, pool);
            MatMul.Apply(x, Columns, slice, [], actual, rows, 3, pool);
            Near.SameBits(expected, actual);
        }

        // Disposing the slices freed nothing.
        AssertRows(weights.Packed, weights.Values);
        Assert.Throws<ArgumentOutOfRangeException>(() => weights.Packed.Slice(16, 10));
        Assert.Throws<ArgumentOutOfRangeException>(() => weights.Packed.Slice(128, 23));
        Assert.Throws<ArgumentOutOfRangeException>(() => weights.Packed.Slice(-32, 10));
    }

    [Theory]
    [InlineData(ElementType.BF16)]
    [InlineData(ElementType.F16)]
    public void Sixteen_bit_values_widen_to_f32_exactly(ElementType source)
    {
        using var pool = new WorkerPool(1);
        ushort[] bits = [.. Enumerable.Range(0, 65536).Select(i => (ushort)i)];
        using var matrix = new PackedMatrix(64, 1024, ElementType.F32);
        matrix.PackRows(0, 64, MemoryMarshal.AsBytes<ushort>(bits), source, pool);
        AssertRows(matrix, [.. bits.Select(b => Weights.Value(b, source))]);
    }

    [Theory]
    [InlineData(ElementType.F32, ElementType.BF16)]
    [InlineData(ElementType.F32, ElementType.F16)]
    [InlineData(ElementType.F16, ElementType.BF16)]
    [InlineData(ElementType.BF16, ElementType.F16)]
    public void A_conversion_that_would_round_is_refused(ElementType source, ElementType storage)
    {
        using var pool = new WorkerPool(1);
        using var matrix = new PackedMatrix(2, 3, storage);
        var error = Assert.Throws<ArgumentException>(() =>
            matrix.PackRows(0, 1, new byte[3 * source.Size()], source, pool)
        );
        Assert.Contains(
            $"{source} values do not fit into {storage} without rounding",
            error.Message,
            StringComparison.Ordinal
        );
    }

    [Fact]
    public void The_source_may_lie_at_any_address()
    {
        using var pool = new WorkerPool(1);
        foreach (ElementType type in Enum.GetValues<ElementType>())
        {
            var weights = new Weights(33, 65, type, pool);
            using var source = new GuardedMemory<byte>(weights.Source.Length + 1);
            Span<byte> odd = source.Span[1..];
            weights.Source.CopyTo(odd);
            using var matrix = new PackedMatrix(33, 65, type);
            matrix.PackRows(0, 33, odd, type, pool);
            AssertRows(matrix, weights.Values);
        }
    }

    [Fact]
    public void Size_is_that_of_whole_panels()
    {
        using var matrix = new PackedMatrix(33, 10, ElementType.BF16);
        Assert.Equal((33, 10, WeightFormat.BF16), (matrix.Rows, matrix.Columns, matrix.Storage));
        Assert.Equal(64 * 10 * 2, matrix.Bytes);
        using var empty = new PackedMatrix(0, 10, ElementType.F32);
        Assert.Equal(0, empty.Bytes);
    }

    [Fact]
    public void Wrong_rows_and_sizes_are_refused()
    {
        using var pool = new WorkerPool(1);
        using var matrix = new PackedMatrix(4, 3, ElementType.F32);
        void Pack(int first, int count, int bytes) =>
            matrix.PackRows(first, count, new byte[bytes], ElementType.F32, pool);
        Assert.Throws<ArgumentOutOfRangeException>(() => Pack(-1, 1, 12));
        Assert.Throws<ArgumentOutOfRangeException>(() => Pack(0, -1, 12));
        Assert.Throws<ArgumentOutOfRangeException>(() => Pack(3, 2, 24));
        Assert.Throws<ArgumentOutOfRangeException>(() => Pack(int.MaxValue, int.MaxValue, 24));
        Assert.Throws<ArgumentException>(() => Pack(0, 2, 23));
        Assert.Throws<ArgumentException>(() => Pack(0, 2, 25));
        Assert.Throws<ArgumentOutOfRangeException>(() => matrix.UnpackRow(4, new float[3]));
        Assert.Throws<ArgumentOutOfRangeException>(() => matrix.UnpackRow(-1, new float[3]));
        Assert.Throws<ArgumentException>(() => matrix.UnpackRow(0, new float[2]));
        Assert.Throws<ArgumentOutOfRangeException>(() => new PackedMatrix(-1, 3, ElementType.F32));
        Assert.Throws<ArgumentOutOfRangeException>(() => new PackedMatrix(1, -3, ElementType.F32));
        Assert.Throws<ArgumentOutOfRangeException>(() => new PackedMatrix(1, 3, (ElementType)7));
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

    public static TheoryData<WeightFormat> Formats => [.. Enum.GetValues<WeightFormat>()];

    [Theory, MemberData(nameof(Formats))]
    public void Saved_panels_are_read_as_they_were(WeightFormat format)
    {
        using var pool = new WorkerPool(3);
        using TemporaryDirectory directory = new();
        using var matrix = new PackedMatrix(70, 512, format);
        Random random = new(1);
        byte[] before = new byte[PackedMatrix.HeaderBytes + matrix.Bytes];
        random.NextBytes(before);
        using (var stream = new MemoryStream())
        {
            matrix.Save(stream);
            stream.ToArray().AsSpan(0, PackedMatrix.HeaderBytes).CopyTo(before);
        }

        File.WriteAllBytes(directory["panels"], [.. new byte[7], .. before]);
        using var file = File.OpenHandle(directory["panels"]);
        using PackedMatrix read = PackedMatrix.Load(file, 7, before.Length, pool);
        Assert.Equal((70, 512, format), (read.Rows, read.Columns, read.Storage));
        using var again = new MemoryStream();
        read.Save(again);
        Assert.Equal(before, again.ToArray());
    }
}
