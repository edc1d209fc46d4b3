using VlmSharp.Kernels;

namespace VlmSharp.Tensors;

public partial class CpuOps
{
    /// <summary>
    /// The adapters that rows use; null where no row uses any. What the products of an adapter add to a row is computed beside the base
    /// weights, for each run of neighbouring rows with the same adapter, so that it depends on no other row.
    /// </summary>
    public RowAdapters? Adapters { get; set; }

    readonly (WeightAdapter? Adapter, int Rows)[] noAdapter = new (WeightAdapter?, int)[1];

    void Multiply(Tensor x, Linear layer, Tensor y, bool accumulate)
    {
        Cancellation.ThrowIfCancellationRequested();
        ReadOnlySpan<(WeightAdapter? Adapter, int Rows)> runs = Runs(x.Rows);
        int start = 0; // of the rows that still need the product with the base weights
        int row = 0;
        foreach ((WeightAdapter? adapter, int rows) in runs)
        {
            if (adapter?.Find(layer) is { OnlyAdds: false } changed)
            {
                MultiplyBase(x.Slice(start, row - start), layer, layer.Bias, y.Slice(start, row - start), accumulate);
                Multiply(x.Slice(row, rows), changed, changed.Replacement ?? layer, y.Slice(row, rows), accumulate);
                start = row + rows;
            }

            row += rows;
        }

        MultiplyBase(x.Slice(start, row - start), layer, layer.Bias, y.Slice(start, row - start), accumulate);
        row = 0;
        foreach ((WeightAdapter? adapter, int rows) in runs)
        {
            if (adapter?.Find(layer) is { OnlyAdds: true } changed)
            {
                AddProducts(x.Slice(row, rows), changed, y.Slice(row, rows));
            }

            row += rows;
        }
    }

    void Multiply(Tensor x, LinearAdapter adapter, Linear layer, Tensor y, bool accumulate)
    {
        if (adapter.Gain is not { } gain)
        {
            MultiplyBase(x, layer, layer.Bias, y, accumulate);
            AddProducts(x, adapter, y);
            return;
        }

        Arena.Mark mark = arena.Position;
        Tensor z = arena.Allocate(x.Rows, layer.Outputs);
        MultiplyBase(x, layer, [], z, accumulate: false);
        AddProducts(x, adapter, z);
        ReadOnlySpan<float> bias = layer.Bias;
        for (int row = 0; row < x.Rows; row++)
        {
            ReadOnlySpan<float> product = z.Row(row);
            Span<float> result = y.Row(row);
            for (int i = 0; i < result.Length; i++)
            {
                float old = accumulate ? result[i] : 0;
                result[i] = old + (bias.IsEmpty ? 0 : bias[i]) + (gain[i] * product[i]);
            }
        }

        arena.Release(mark);
    }

    void AddProducts(Tensor x, LinearAdapter adapter, Tensor y)
    {
        Arena.Mark mark = arena.Position;
        foreach (LowRankProduct product in adapter.Products)
        {
            Tensor low = arena.Allocate(x.Rows, product.Down.Rows); // low: [rows, rank]
            MatMul.Apply(x.Data, x.Stride, product.Down, [], low.Data, low.Stride, x.Rows, Pool);
            Tensor part = y.Columns(product.FirstOutput, product.Up.Rows);
            MatMul.Apply(low.Data, low.Stride, product.Up, [], part.Data, part.Stride, x.Rows, Pool, accumulate: true);
            arena.Release(mark);
        }
    }

    // Neighbouring rows with the same adapter, in order.
    ReadOnlySpan<(WeightAdapter? Adapter, int Rows)> Runs(int rows)
    {
        if (Adapters is { } adapters)
        {
            return adapters.For(rows);
        }

        noAdapter[0] = (null, rows);
        return noAdapter;
    }
}
