using VlmSharp.Kernels;
using VlmSharp.Tensors;
using VlmSharp.Testing;
using Xunit;

namespace VlmSharp.Tests.Tensors;

public sealed class CrossAttentionTests
{
    [Theory]
    [InlineData(new[] { 1 }, new[] { 1 })]
    [InlineData(new[] { 16 }, new[] { 300 })]
    [InlineData(new[] { 256 }, new[] { 64 })]
    [InlineData(new[] { 3, 70, 0, 5 }, new[] { 65, 7, 9, 128 })]
    [InlineData(new[] { 4, 4 }, new[] { 0, 3 })]
    public void Queries_see_all_keys_of_their_sequence_and_no_others(int[] queries, int[] keys)
    {
        AttentionShape shape = new(Heads: 4, KvHeads: 2, HeadDim: 24);
        using WorkerPool pool = new(2);
        using CpuOps ops = new(pool);
        using CpuOps rounding = new(pool) { MayRound = true };
        Random random = new(5);
        Tensor q = Fill(queries.Sum(), shape.Heads * shape.HeadDim);
        Tensor k = Fill(keys.Sum(), shape.KvHeads * shape.HeadDim);
        Tensor v = Fill(keys.Sum(), shape.KvHeads * shape.HeadDim);

        float[] ours = ops.CrossAttention(q, k, v, shape, queries, keys).ToArray();
        float[] expected = new ReferenceOps().CrossAttention(q, k, v, shape, queries, keys).ToArray();
        double[] exact = Array.ConvertAll(expected, x => (double)x);
        Near.RelativeToLargest(2e-6, exact, ours);
        Near.RelativeToLargest(2e-2, exact, rounding.CrossAttention(q, k, v, shape, queries, keys).ToArray());

        Tensor Fill(int rows, int width)
        {
            Tensor x = ops.Allocate(rows, width);
            foreach (ref float value in x.Data)
            {
                value = (random.NextSingle() * 4) - 2;
            }

            return x;
        }
    }

    [Fact]
    public void Lengths_that_are_not_those_of_the_rows_are_refused()
    {
        AttentionShape shape = new(1, 1, 8);
        using WorkerPool pool = new(1);
        using CpuOps ops = new(pool);
        Tensor x = ops.Allocate(4, 8);
        Assert.Throws<ArgumentException>(() => ops.CrossAttention(x, x, x, shape, [4], [3]));
        Assert.Throws<ArgumentException>(() => ops.CrossAttention(x, x, x, shape, [3], [4]));
        Assert.Throws<ArgumentException>(() => ops.CrossAttention(x, x, x, shape, [4], [2, 2]));
    }
}
