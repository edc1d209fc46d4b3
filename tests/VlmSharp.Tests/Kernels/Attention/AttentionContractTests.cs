using VlmSharp.Kernels;
using VlmSharp.Testing;
using Xunit;

namespace VlmSharp.Tests.Kernels;

public sealed class AttentionContractTests : IDisposable
{
    static readonly KvLayout Layout = new(2, 12);

    readonly WorkerPool pool = new(2);
    readonly float[] q = new float[10 * 48];
    readonly float[] y = new float[10 * 48];
    readonly byte[] pages = new byte[4 * Layout.PageBytes];

    public void Dispose() => pool.Dispose();

    [Theory]
    [InlineData(0, 10, 70, 0)] // fits
    [InlineData(9, 1, 190, 1)] // fits
    [InlineData(0, 0, 0, 4)] // fits
    [InlineData(0, 11, 70, 0, "y")]
    [InlineData(10, 1, 70, 0, "q")]
    [InlineData(0, 1, 257, 0, "page table")]
    [InlineData(0, 1, 190, 2, "page 7")]
    [InlineData(0, 1, 100, 4, "page table")]
    [InlineData(-1, 1, 1, 0, "negative")]
    [InlineData(0, -1, 1, 0, "negative")]
    [InlineData(0, 1, -1, 0, "negative")]
    [InlineData(0, 1, 1, -1, "negative")]
    public void A_sequence_may_only_name_rows_and_pages_that_exist(
        int queryStart,
        int queries,
        int keys,
        int pageStart,
        string? problem = null
    )
    {
        int[] table = [3, 0, 1, 2, 7];
        table = problem == "page 7" ? table : table[..4];
        Action apply = () =>
            Apply(4, 48, table, new(queryStart, queries, keys, pageStart), problem == "y" ? q.Length + 48 : q.Length);
        if (problem is null)
        {
            apply();
        }
        else
        {
            Assert.Contains(problem, Assert.ThrowsAny<ArgumentException>(apply).Message, StringComparison.Ordinal);
        }
    }

    [Fact]
    public void Heads_and_strides_that_do_not_fit_are_refused()
    {
        Assert.Throws<ArgumentException>(() => Apply(3, 48, [0], new(0, 1, 1, 0)));
        Assert.Throws<ArgumentException>(() => Apply(0, 48, [0], new(0, 1, 1, 0)));
        Assert.Throws<ArgumentException>(() => Apply(4, 47, [0], new(0, 1, 1, 0)));
        Assert.Throws<ArgumentException>(() => Write(24, [0, 4 * KvLayout.PageTokens]));
        Assert.Throws<ArgumentException>(() => Write(24, [0, -1]));
        Assert.Throws<ArgumentException>(() => Write(24, [0]));
        Assert.Throws<ArgumentException>(() => Write(23, [0, 1]));
        Write(24, [0, (4 * KvLayout.PageTokens) - 1]);
    }

    [Fact]
    public void Nothing_is_allocated_after_the_first_call()
    {
        AttentionSequence[] sequences = [new(0, 1, 100, 0), new(1, 9, 90, 2)];
        int[] table = [0, 1, 2, 3];
        int[] slots = [5, 70];
        Step();
        long before = GC.GetAllocatedBytesForCurrentThread();
        Step();
        Assert.Equal(before, GC.GetAllocatedBytesForCurrentThread());

        void Step()
        {
            KeyValueStore.Write(q, 24, q, 24, 2, Layout, pages, slots, pool);
            Attention.Apply(q, 48, 4, Layout, pages, table, sequences, true, 0.3f, y, 48, pool);
        }
    }

    [Fact]
    public void Blocks_side_by_side_allocate_nothing_after_the_first_call()
    {
        var layout = new KvLayout(1, 128, KvStorage.BF16);
        var memory = new byte[16 * layout.PageBytes];
        float[] x = new float[6 * 128];
        int[] table = [.. Enumerable.Range(0, 16)];
        AttentionSequence[] sequences = [new(0, 1, 1000, 0)];
        Assert.Equal(0, Allocations.InSteadyState(Step, 10, 6));

        void Step() =>
            Attention.Apply(x, 768, 6, layout, memory, table, sequences, true, 0.3f, x, 768, pool, mayRound: true);
    }

    [Fact]
    public void Keys_used_once_are_rounded_where_they_may_be_and_dot_products_read_them()
    {
        bool dots = Attention.Variants.ActiveName == "avx512bf16";
        Assert.Equal(dots ? KvStorage.BF16 : KvStorage.F32, Attention.FastestStorage(mayRound: true));
        Assert.Equal(KvStorage.F32, Attention.FastestStorage(mayRound: false));
    }

    void Apply(int heads, int stride, int[] table, AttentionSequence sequence, int? queryLength = null) =>
        Attention.Apply(
            queryLength is { } n ? new float[n] : q,
            stride,
            heads,
            Layout,
            pages,
            table,
            [sequence],
            true,
            0.3f,
            y,
            stride,
            pool
        );

    void Write(int stride, int[] slots) => KeyValueStore.Write(q, stride, q, 24, 2, Layout, pages, slots, pool);
}
