using System.Runtime.InteropServices;
using VlmSharp.Kernels;

namespace VlmSharp.Tensors;

/// <summary>Runs operations at once, on the CPU, with results in an arena.</summary>
public partial class CpuOps(WorkerPool pool) : Ops, IDisposable
{
    readonly Arena arena = new();
    readonly KvPlacement packed = new();
    readonly List<int> pages = [];
    readonly KvStorage? cacheStorage;

    /// <summary>The threads operations run on.</summary>
    public WorkerPool Pool { get; } = pool;

    /// <summary>Ends a pass between two matrix products with an <see cref="OperationCanceledException"/>.</summary>
    public CancellationToken Cancellation { get; set; }

    /// <summary>
    /// Lets matrix products round activations to the 16 bits of the weights, and attention queries, keys, values and weights, where
    /// that is faster, as the published models do when they run in bf16. Off, activations are f32 throughout, but for what
    /// <see cref="CacheStorage"/> rounds. Either way a result depends on no other row of a step.
    /// </summary>
    public bool MayRound { get; init; }

    /// <summary>How caches for these operations store keys and values: bf16 where <see cref="MayRound"/>, else f32, unless it is set.</summary>
    public KvStorage CacheStorage
    {
        get => cacheStorage ?? DefaultCacheStorage(MayRound);
        init => cacheStorage = value;
    }

    /// <summary>What <see cref="CacheStorage"/> is if nobody sets it.</summary>
    public static KvStorage DefaultCacheStorage(bool mayRound) => mayRound ? KvStorage.BF16 : KvStorage.F32;

    /// <inheritdoc/>
    public override Tensor Allocate(int rows, int width) => arena.Allocate(rows, width);

    /// <inheritdoc/>
    public override Arena.Mark Mark => arena.Position;

    /// <inheritdoc/>
    public override Tensor Release(Arena.Mark mark, Tensor keep) => arena.Release(mark, keep);

    /// <summary>Frees all tensors of the step.</summary>
    public void Reset() => arena.Release(default);

    /// <inheritdoc/>
    public override Tensor Embed(PackedMatrix table, ReadOnlySpan<int> tokens)
    {
        Tensor y = Allocate(tokens.Length, table.Columns);
        for (int row = 0; row < tokens.Length; row++)
        {
            table.UnpackRow(tokens[row], y.Row(row));
        }

        return y;
    }

    /// <inheritdoc/>
    public override Tensor ReplaceRows(Tensor x, int firstRow, Tensor rows)
    {
        x.Slice(firstRow, rows.Rows).CopyFrom(rows);
        return x;
    }

    /// <inheritdoc/>
    public override Tensor AddRows(Tensor x, int firstRow, Tensor rows)
    {
        Tensor y = x.Slice(firstRow, rows.Rows);
        if (rows.Width != x.Width)
        {
            throw new ArgumentException($"Rows of {rows.Width} cannot be added to rows of {x.Width}.");
        }

        Kernels.Add.Apply(y.Data, y.Stride, rows.Data, rows.Stride, y.Data, y.Stride, y.Rows, y.Width, Pool);
        return x;
    }

    /// <inheritdoc/>
    public override Tensor TakeRows(Tensor x, ReadOnlySpan<int> indices)
    {
        Tensor y = Allocate(indices.Length, x.Width);
        for (int row = 0; row < indices.Length; row++)
        {
            x.Row(indices[row]).CopyTo(y.Row(row));
        }

        return y;
    }

    /// <inheritdoc/>
    public override Tensor Concatenate(params ReadOnlySpan<Tensor> parts)
    {
        int width = 0;
        foreach (Tensor part in parts)
        {
            width += part.Width;
        }

        Tensor y = Allocate(parts[0].Rows, width);
        int column = 0;
        foreach (Tensor part in parts)
        {
            y.Columns(column, part.Width).CopyFrom(part);
            column += part.Width;
        }

        return y;
    }

    /// <inheritdoc/>
    public override Tensor Blend(LookupTable table, ReadOnlySpan<int> indices, ReadOnlySpan<float> weights, int count)
    {
        Tensor y = Allocate(indices.Length / count, table.Width);
        WeightedRows.Apply(
            table.Values,
            table.Width,
            table.Rows,
            indices,
            weights,
            count,
            y.Data,
            y.Stride,
            y.Rows,
            y.Width,
            Pool
        );
        return y;
    }

    /// <inheritdoc/>
    public override Tensor Linear(Tensor x, Linear layer)
    {
        Tensor y = Allocate(x.Rows, layer.Outputs);
        Multiply(x, layer, y, accumulate: false);
        return y;
    }

    /// <inheritdoc/>
    public override Tensor Linear(Tensor x, Linear layer, Tensor residual)
    {
        Multiply(x, layer, residual, accumulate: true);
        return residual;
    }

    void MultiplyBase(Tensor x, Linear layer, ReadOnlySpan<float> biases, Tensor y, bool accumulate)
    {
        int first = 0; // output of the part
        foreach (PackedMatrix part in layer.Parts)
        {
            ReadOnlySpan<float> bias = biases.IsEmpty ? default : biases.Slice(first, part.Rows);
            Tensor outputs = y.Columns(first, part.Rows);
            MatMul.Apply(
                x.Data,
                x.Stride,
                part,
                bias,
                outputs.Data,
                outputs.Stride,
                x.Rows,
                Pool,
                accumulate,
                mayRound: MayRound
            );
            first += part.Rows;
        }
    }

    /// <inheritdoc/>
    public override Tensor RmsNorm(Tensor x, Vector weight, float epsilon)
    {
        Tensor y = Allocate(x.Rows, x.Width);
        int row = 0;
        foreach ((WeightAdapter? adapter, int rows) in Runs(x.Rows))
        {
            Tensor from = x.Slice(row, rows);
            Tensor to = y.Slice(row, rows);
            ReadOnlySpan<float> own = (adapter?.Find(weight) ?? weight).Values;
            Kernels.RmsNorm.Apply(from.Data, from.Stride, own, to.Data, to.Stride, rows, x.Width, epsilon, Pool);
            row += rows;
        }

        return y;
    }

    /// <inheritdoc/>
    public override Tensor RmsNormHeads(Tensor x, Vector weight, float epsilon)
    {
        int heads = x.Width / weight.Values.Length;
        int row = 0;
        foreach ((WeightAdapter? adapter, int rows) in Runs(x.Rows))
        {
            Tensor own = x.Slice(row, rows);
            ReadOnlySpan<float> weights = (adapter?.Find(weight) ?? weight).Values;
            Kernels.RmsNorm.ApplyToHeads(own.Data, x.Stride, weights, own.Data, x.Stride, rows, heads, epsilon, Pool);
            row += rows;
        }

        return x;
    }

    /// <inheritdoc/>
    public override Tensor LayerNorm(Tensor x, Vector weight, Vector bias, float epsilon)
    {
        Tensor y = Allocate(x.Rows, x.Width);
        int row = 0;
        foreach ((WeightAdapter? adapter, int rows) in Runs(x.Rows))
        {
            Tensor from = x.Slice(row, rows);
            Tensor to = y.Slice(row, rows);
            Kernels.LayerNorm.Apply(
                from.Data,
                from.Stride,
                (adapter?.Find(weight) ?? weight).Values,
                (adapter?.Find(bias) ?? bias).Values,
                to.Data,
                to.Stride,
                rows,
                x.Width,
                epsilon,
                Pool
            );
            row += rows;
        }

        return y;
    }

    /// <inheritdoc/>
    public override Tensor Rotate(Tensor x, int heads, Rotary rotary)
    {
        Rope.Apply(x.Data, x.Stride, x.Rows, heads, x.Width / heads, rotary.Cos.Data, rotary.Sin.Data, Pool);
        return x;
    }

    /// <inheritdoc/>
    public override Tensor SwiGlu(Tensor gateUp)
    {
        int width = gateUp.Width / 2;
        Tensor gate = gateUp.Columns(0, width);
        Tensor up = gateUp.Columns(width, width);
        Tensor y = Allocate(gateUp.Rows, width);
        Kernels.SwiGlu.Apply(gate.Data, gate.Stride, up.Data, up.Stride, y.Data, y.Stride, y.Rows, width, Pool);
        return y;
    }

    /// <inheritdoc/>
    public override Tensor QuickGelu(Tensor x)
    {
        Kernels.QuickGelu.Apply(x.Data, x.Stride, x.Data, x.Stride, x.Rows, x.Width, Pool);
        return x;
    }

    /// <inheritdoc/>
    public override Tensor GeluTanh(Tensor x)
    {
        Kernels.GeluTanh.Apply(x.Data, x.Stride, x.Data, x.Stride, x.Rows, x.Width, Pool);
        return x;
    }

    /// <inheritdoc/>
    public override Tensor Gelu(Tensor x)
    {
        Kernels.Gelu.Apply(x.Data, x.Stride, x.Data, x.Stride, x.Rows, x.Width, Pool);
        return x;
    }

    /// <inheritdoc/>
    public override Tensor CrossAttention(
        Tensor q,
        Tensor k,
        Tensor v,
        AttentionShape shape,
        ReadOnlySpan<int> queryLengths,
        ReadOnlySpan<int> keyLengths
    ) => PackedAttention(q, k, v, shape, queryLengths, keyLengths, causal: false);

    /// <summary><see cref="CrossAttention"/>, or with <paramref name="causal"/> attention of sequences of which nothing is cached.</summary>
    internal Tensor PackedAttention(
        Tensor q,
        Tensor k,
        Tensor v,
        AttentionShape shape,
        ReadOnlySpan<int> queryLengths,
        ReadOnlySpan<int> keyLengths,
        bool causal
    )
    {
        CheckLengths(q, k, queryLengths, keyLengths);
        // The kernel reads keys and values from pages, so they are laid into some, each sequence from a page of its own on.
        packed.Clear();
        int pageCount = 0;
        int firstQuery = 0;
        for (int sequence = 0; sequence < keyLengths.Length; sequence++)
        {
            int count = KvLayout.PagesFor(keyLengths[sequence]);
            pages.Clear();
            for (int i = 0; i < count; i++)
            {
                pages.Add(pageCount++);
            }

            packed.Add(CollectionsMarshal.AsSpan(pages), firstQuery, queryLengths[sequence], 0, keyLengths[sequence]);
            firstQuery += queryLengths[sequence];
        }

        Tensor y = Allocate(q.Rows, q.Width);
        Arena.Mark mark = Mark;
        KvLayout layout = shape.Layout(Kernels.Attention.FastestStorage(MayRound));
        Tensor store = Allocate(pageCount, layout.PageBytes / sizeof(float));
        Attend(q, k, v, shape, layout, MemoryMarshal.AsBytes(store.Data), packed, causal, y);
        arena.Release(mark);
        return y;
    }

    /// <inheritdoc/>
    public override Tensor CachedAttention(
        Tensor q,
        Tensor k,
        Tensor v,
        AttentionShape shape,
        KvCache cache,
        int layer,
        KvPlacement placement
    )
    {
        Tensor y = Allocate(q.Rows, q.Width);
        Attend(q, k, v, shape, cache.Layout, cache.Layer(layer), placement, causal: true, y);
        return y;
    }

    void Attend(
        Tensor q,
        Tensor k,
        Tensor v,
        AttentionShape shape,
        KvLayout layout,
        Span<byte> store,
        KvPlacement placement,
        bool causal,
        Tensor y
    )
    {
        KeyValueStore.Write(k.Data, k.Stride, v.Data, v.Stride, k.Rows, layout, store, placement.Slots, Pool);
        Kernels.Attention.Apply(
            q.Data,
            q.Stride,
            shape.Heads,
            layout,
            store,
            placement.PageTable,
            placement.Sequences,
            causal,
            shape.Scale,
            y.Data,
            y.Stride,
            Pool,
            MayRound
        );
    }

    /// <summary>Frees the arena.</summary>
    public void Dispose()
    {
        Dispose(disposing: true);
        GC.SuppressFinalize(this);
    }

    /// <summary>Frees the arena.</summary>
    protected virtual void Dispose(bool disposing)
    {
        if (disposing)
        {
            arena.Dispose();
        }
    }
}
