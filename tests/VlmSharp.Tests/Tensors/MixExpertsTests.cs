using System.Runtime.InteropServices;
using VlmSharp.Kernels;
using VlmSharp.Tensors;
using VlmSharp.Testing;
using Xunit;

namespace VlmSharp.Tests.Tensors;

public sealed class MixExpertsTests : IDisposable
{
    readonly WorkerPool pool = new(2);
    readonly CpuOps ops;
    readonly Random random = new(1);

    public MixExpertsTests() => ops = new CpuOps(pool);

    public void Dispose()
    {
        ops.Dispose();
        pool.Dispose();
    }

    [Theory]
    [InlineData(1, 1, 1, 7, 5)]
    [InlineData(1, 8, 2, 32, 16)]
    [InlineData(40, 8, 2, 33, 17)] // sizes that end inside of a panel
    [InlineData(100, 5, 5, 40, 24)]
    [InlineData(13, 64, 6, 20, 48)]
    public void Equals_its_definition(int rows, int count, int perToken, int hidden, int width)
    {
        using Experts experts = Draw(count, perToken, hidden, width);
        (Tensor x, Tensor logits, Tensor residual) = (Draw(rows, hidden), Draw(rows, count), Draw(rows, hidden));
        float[] expected = new ReferenceOps().MixExperts(x, logits, experts, residual).ToArray();
        float[] ours = ops.MixExperts(x, logits, experts, residual).ToArray();
        Near.RelativeToLargest(2e-6, Array.ConvertAll(expected, v => (double)v), ours);
    }

    [Fact]
    public void A_row_has_the_same_bits_alone_as_among_any_others()
    {
        const int Rows = 61;
        using Experts experts = Draw(count: 16, perToken: 4, hidden: 48, width: 24);
        (Tensor x, Tensor logits, Tensor residual) = (Draw(Rows, 48), Draw(Rows, 16), Draw(Rows, 48));
        logits.Slice(0, 20).CopyFrom(Repeated(logits.Slice(0, 1), 20)); // experts with many rows and with few
        float[] before = residual.ToArray();
        float[] together = ops.MixExperts(x, logits, experts, residual).ToArray();
        for (int row = 0; row < Rows; row++)
        {
            Tensor own = Draw(1, 48);
            before.AsSpan(row * 48, 48).CopyTo(own.Row(0));
            float[] alone = ops.MixExperts(x.Slice(row, 1), logits.Slice(row, 1), experts, own).ToArray();
            Assert.Equal(together[(row * 48)..((row + 1) * 48)], alone);
        }
    }

    [Fact]
    public void Experts_of_equal_weight_are_averaged_and_the_others_do_not_matter()
    {
        using Experts experts = Draw(count: 4, perToken: 2, hidden: 8, width: 8);
        Tensor logits = Draw(1, 4);
        new float[] { -3, 2, 2, float.NegativeInfinity }.CopyTo(logits.Row(0));
        Tensor x = Draw(1, 8);
        float[] mixed = ops.MixExperts(x, logits, experts, Zero(1, 8)).ToArray();
        double[] expected = new double[8];
        foreach (int expert in new[] { 1, 2 })
        {
            Tensor gateUp = ops.Linear(x, new Linear("", experts.GateUp(expert), []));
            float[] own = ops.Linear(ops.SwiGlu(gateUp), new Linear("", experts.Down(expert), [])).ToArray();
            expected = [.. expected.Zip(own, (sum, v) => sum + (v / 2.0))];
        }

        Near.RelativeToLargest(1e-6, expected, mixed);
    }

    [Fact]
    public void Nothing_is_allocated_after_the_first_step()
    {
        using Experts experts = Draw(count: 8, perToken: 2, hidden: 32, width: 16);
        (Tensor x, Tensor logits, Tensor residual) = (Draw(3, 32), Draw(3, 8), Draw(3, 32));
        ops.MixExperts(x, logits, experts, residual);
        void Step() => ops.MixExperts(x.Slice(0, 2), logits.Slice(1, 2), experts, residual.Slice(0, 2));
        Assert.Equal(0, Allocations.InSteadyState(Step, times: 1));
    }

    [Fact]
    public void A_pass_ends_between_two_experts_when_it_is_cancelled()
    {
        using Experts experts = Draw(count: 2, perToken: 1, hidden: 8, width: 8);
        using CancellationTokenSource source = new();
        ops.Cancellation = source.Token;
        source.Cancel();
        Assert.Throws<OperationCanceledException>(() => ops.MixExperts(Draw(1, 8), Draw(1, 2), experts, Draw(1, 8)));
    }

    [Fact]
    public void Rows_are_added_in_place_and_shapes_that_differ_are_refused()
    {
        Tensor x = Draw(5, 6);
        Tensor rows = Draw(2, 9).Columns(2, 6); // rows that lie apart
        float[] expected = x.ToArray();
        for (int i = 0; i < 12; i++)
        {
            expected[18 + i] += rows.Row(i / 6)[i % 6];
        }

        Assert.Equal(expected, ops.AddRows(x, 3, rows).ToArray());
        Assert.Throws<ArgumentException>(() => ops.Add(x, rows));
        Assert.ThrowsAny<ArgumentException>(() => ops.AddRows(x, 4, rows));
        Assert.Throws<ArgumentException>(() => ops.AddRows(x, 0, Draw(2, 5)));
    }

    [Fact]
    public void Tensors_lie_side_by_side()
    {
        Tensor a = Draw(3, 2);
        Tensor b = Draw(3, 5).Columns(1, 3);
        Tensor y = ops.Concatenate(a, b);
        for (int row = 0; row < 3; row++)
        {
            Assert.Equal([.. a.Row(row), .. b.Row(row)], y.Row(row).ToArray());
        }
    }

    Experts Draw(int count, int perToken, int hidden, int width) =>
        new("experts", count, perToken, Stack(count, 2 * width, hidden), Stack(count, hidden, width));

    PackedMatrix Stack(int count, int rows, int columns)
    {
        PackedMatrix stack = new(count * Experts.Stacked(rows), columns, ElementType.F32);
        for (int i = 0; i < count; i++)
        {
            float[] values = Values(rows * columns);
            stack.PackRows(
                i * Experts.Stacked(rows),
                rows,
                MemoryMarshal.AsBytes(values.AsSpan()),
                ElementType.F32,
                pool
            );
        }

        return stack;
    }

    Tensor Draw(int rows, int width)
    {
        Tensor tensor = Zero(rows, width);
        Values(rows * width).CopyTo(tensor.Data);
        return tensor;
    }

    static Tensor Repeated(Tensor row, int count)
    {
        Tensor tensor = Zero(count, row.Width);
        for (int i = 0; i < count; i++)
        {
            row.Row(0).CopyTo(tensor.Row(i));
        }

        return tensor;
    }

    static Tensor Zero(int rows, int width) =>
        new(new AlignedBuffer((long)rows * width * sizeof(float)), 0, rows, width, width);

    float[] Values(int count) => [.. Enumerable.Range(0, count).Select(_ => (random.NextSingle() - 0.5f) * 2)];
}
