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
        Assert.Equal((33, 10, ElementType.BF16), (matrix.Rows, matrix.Columns, matrix.Storage));
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
}
