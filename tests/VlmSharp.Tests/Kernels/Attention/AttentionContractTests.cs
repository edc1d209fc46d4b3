using VlmSharp.Kernels;
using Xunit;

namespace VlmSharp.Tests.Kernels;

public sealed class AttentionContractTests : IDisposable
{
    static readonly KvLayout Layout = new(2, 12);

    readonly WorkerPool pool = new(2);
    readonly float[] q = new float[10 * 48];
    readonly float[] y = new float[10 * 48];
    readonly float[] pages = new float[4 * Layout.PageFloats];

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

    [Theory]
    [InlineData(1, 1)]
    [InlineData(3, 12)]
    [InlineData(2, 40)]
    [InlineData(2, 64)]
    [InlineData(1, 80)]
    public void A_stored_token_is_found_where_the_layout_says_and_no_other_is_touched(int kvHeads, int headDim)
    {
        var layout = new KvLayout(kvHeads, headDim);
        int width = kvHeads * headDim;
        using var k = new Strided(3, width, width + 1, (r, i) => (1000 * (r + 1)) + i);
        using var v = new Strided(3, width, width + 2, (r, i) => -((1000 * (r + 1)) + i));
        var memory = new float[2 * layout.PageFloats];
        Array.Fill(memory, float.NaN);
        int[] slots = [0, (KvLayout.PageTokens * 2) - 1, 37];
        KeyValueStore.Write(k.Span, k.Stride, v.Span, v.Stride, 3, layout, memory, slots, pool);

        int written = 0;
        for (int r = 0; r < 3; r++)
        {
            int page = slots[r] / KvLayout.PageTokens;
            int token = slots[r] % KvLayout.PageTokens;
            for (int i = 0; i < width; i++)
            {
                int head = (page * layout.PageFloats) + (i / headDim * layout.HeadFloats);
                int channel = i % headDim;
                int key = head + (token / 32 * 32 * headDim) + (channel * 32) + (token % 32);
                int panel = channel / 32;
                int panelWidth = Math.Min(32, layout.ValueChannels - (panel * 32));
                int value =
                    head
                    + layout.ValueOffset
                    + (panel * 32 * KvLayout.PageTokens)
                    + (token * panelWidth)
                    + (channel % 32);
                Assert.Equal(k.Row(r)[i], memory[key]);
                Assert.Equal(v.Row(r)[i], memory[value]);
                written += 2;
            }
        }

        int padding = 3 * kvHeads * (layout.ValueChannels - headDim);
        Assert.Equal(written, memory.Count(m => m is not 0 and not float.NaN));
        Assert.Equal(padding, memory.Count(m => m == 0));
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
