using VlmSharp.Kernels;
using VlmSharp.Tensors;

namespace VlmSharp.Training;

public sealed partial class TapeOps
{
    readonly Dictionary<Region, Tensor> negated = []; // sines of the angles that turn back

    /// <inheritdoc/>
    public override Tensor Embed(PackedMatrix table, ReadOnlySpan<int> tokens)
    {
        TrainedMatrix matrix = parameters.Find(table, "embedding");
        int[] ids = tokens.ToArray();
        return Record(
            matrix.Trained,
            () => cpu.Embed(table, ids),
            y => Scatter(y.Gradient, ids, [], 1, matrix.GradientRows, table.Columns, table.Rows)
        );
    }

    /// <inheritdoc/>
    public override Tensor ReplaceRows(Tensor x, int firstRow, Tensor rows)
    {
        x = Writable(x);
        View target = Find(x);
        View part = Find(x.Slice(firstRow, rows.Rows));
        View from = Find(rows);
        RecordInPlace(
            target,
            from.Needs,
            () => cpu.ReplaceRows(target.Value, firstRow, from.Value),
            () =>
            {
                AddTo(from, part.Gradient);
                Clear(part.Gradient);
            }
        );
        return x;
    }

    /// <inheritdoc/>
    public override Tensor AddRows(Tensor x, int firstRow, Tensor rows)
    {
        x = Writable(x);
        View target = Find(x);
        View part = Find(x.Slice(firstRow, rows.Rows));
        View from = Find(rows);
        RecordInPlace(
            target,
            from.Needs,
            () => cpu.AddRows(target.Value, firstRow, from.Value),
            () => AddTo(from, part.Gradient)
        );
        return x;
    }

    /// <inheritdoc/>
    public override Tensor TakeRows(Tensor x, ReadOnlySpan<int> indices)
    {
        View from = Find(x);
        int[] rows = indices.ToArray();
        return Record(
            from.Needs,
            () => cpu.TakeRows(from.Value, rows),
            y =>
            {
                Tensor target = Zeroed(from);
                Scatter(y.Gradient, rows, [], 1, target.Data, target.Stride, target.Rows);
            }
        );
    }

    /// <inheritdoc/>
    public override Tensor Concatenate(params ReadOnlySpan<Tensor> parts)
    {
        View[] views = new View[parts.Length];
        for (int i = 0; i < views.Length; i++)
        {
            views[i] = Find(parts[i]);
        }

        return Record(
            Array.Exists(views, v => v.Needs),
            () => cpu.Concatenate([.. views.Select(v => v.Value)]),
            y =>
            {
                int column = 0;
                foreach (View view in views)
                {
                    AddTo(view, y.Gradient.Columns(column, view.Width));
                    column += view.Width;
                }
            }
        );
    }

    /// <inheritdoc/>
    public override Tensor Blend(LookupTable table, ReadOnlySpan<int> indices, ReadOnlySpan<float> weights, int count)
    {
        int[] rows = indices.ToArray();
        float[] shares = weights.ToArray();
        return Record(
            !parameters.Gradient(table.Array).IsEmpty,
            () => cpu.Blend(table, rows, shares, count),
            y => Scatter(y.Gradient, rows, shares, count, parameters.Gradient(table.Array), table.Width, table.Rows)
        );
    }

    /// <inheritdoc/>
    public override Tensor RmsNorm(Tensor x, Vector weight, float epsilon)
    {
        View input = Find(x);
        return Record(
            input.Needs || !parameters.Gradient(weight.Array).IsEmpty,
            () => cpu.RmsNorm(input.Value, weight, epsilon),
            y => RmsNormBackward(input, weight, epsilon, y.Gradient),
            input
        );
    }

    /// <inheritdoc/>
    public override Tensor RmsNormHeads(Tensor x, Vector weight, float epsilon)
    {
        View input = Find(x);
        return Record(
            input.Needs || !parameters.Gradient(weight.Array).IsEmpty,
            () =>
            {
                Tensor y = cpu.Allocate(input.Rows, input.Width);
                y.CopyFrom(input.Value);
                return cpu.RmsNormHeads(y, weight, epsilon);
            },
            y => RmsNormBackward(input, weight, epsilon, y.Gradient),
            input
        );
    }

    void RmsNormBackward(View x, Vector weight, float epsilon, Tensor dy)
    {
        bool accumulate = false;
        Tensor dx = x.Needs ? Target(x, out accumulate) : default;
        Tensor value = x.Value;
        Kernels.RmsNormBackward.Apply(
            value.Data,
            value.Stride,
            weight.Values,
            dy.Data,
            dy.Stride,
            x.Needs ? dx.Data : [],
            dx.Stride,
            accumulate,
            parameters.Gradient(weight.Array),
            value.Rows,
            value.Width / weight.Values.Length,
            epsilon,
            pool
        );
    }

    /// <inheritdoc/>
    public override Tensor LayerNorm(Tensor x, Vector weight, Vector bias, float epsilon)
    {
        View input = Find(x);
        return Record(
            input.Needs || !parameters.Gradient(weight.Array).IsEmpty || !parameters.Gradient(bias.Array).IsEmpty,
            () => cpu.LayerNorm(input.Value, weight, bias, epsilon),
            y =>
            {
                bool accumulate = false;
                Tensor dx = input.Needs ? Target(input, out accumulate) : default;
                Tensor value = input.Value;
                LayerNormBackward.Apply(
                    value.Data,
                    value.Stride,
                    weight.Values,
                    y.Gradient.Data,
                    y.Gradient.Stride,
                    input.Needs ? dx.Data : [],
                    dx.Stride,
                    accumulate,
                    parameters.Gradient(weight.Array),
                    parameters.Gradient(bias.Array),
                    value.Rows,
                    epsilon,
                    pool
                );
            },
            input
        );
    }

    /// <inheritdoc/>
    public override Tensor Rotate(Tensor x, int heads, Rotary rotary)
    {
        x = Writable(x);
        View target = Find(x);
        View cos = Find(rotary.Cos);
        View sin = Find(rotary.Sin);
        RecordInPlace(
            target,
            needs: false,
            () => cpu.Rotate(target.Value, heads, new Rotary(cos.Value, sin.Value)),
            () =>
            {
                Tensor gradient = target.Gradient;
                Rope.Apply(
                    gradient.Data,
                    gradient.Stride,
                    gradient.Rows,
                    heads,
                    gradient.Width / heads,
                    cos.Value.Data,
                    Negated(sin).Data,
                    pool
                );
            }
        );
        return x;
    }

    Tensor Negated(View sin)
    {
        if (!negated.TryGetValue(sin.Region, out Tensor result))
        {
            result = gradients.Allocate(sin.Rows, sin.Width);
            ReadOnlySpan<float> from = sin.Value.Data;
            Span<float> to = result.Data;
            for (int i = 0; i < to.Length; i++)
            {
                to[i] = -from[i];
            }

            negated.Add(sin.Region, result);
        }

        return result;
    }

    /// <inheritdoc/>
    public override Tensor SwiGlu(Tensor gateUp)
    {
        View input = Find(gateUp);
        return Record(
            input.Needs,
            () => cpu.SwiGlu(input.Value),
            y =>
                Write(
                    input,
                    (value, dx) =>
                        SwiGluBackward.Apply(
                            value.Data,
                            value.Stride,
                            y.Gradient.Data,
                            y.Gradient.Stride,
                            dx.Data,
                            dx.Stride,
                            value.Rows,
                            value.Width / 2,
                            pool
                        )
                ),
            input
        );
    }

    delegate void Activation(
        ReadOnlySpan<float> x,
        int xStride,
        Span<float> y,
        int yStride,
        int rows,
        int width,
        WorkerPool pool
    );

    delegate void ActivationBackward(
        ReadOnlySpan<float> dy,
        int dyStride,
        ReadOnlySpan<float> x,
        int xStride,
        Span<float> dx,
        int dxStride,
        int rows,
        int width,
        WorkerPool pool
    );

    /// <inheritdoc/>
    public override Tensor QuickGelu(Tensor x) => Activate(x, Kernels.QuickGelu.Apply, QuickGeluBackward.Apply);

    /// <inheritdoc/>
    public override Tensor Gelu(Tensor x) => Activate(x, Kernels.Gelu.Apply, GeluBackward.Apply);

    /// <inheritdoc/>
    public override Tensor GeluTanh(Tensor x) => Activate(x, Kernels.GeluTanh.Apply, GeluTanhBackward.Apply);

    Tensor Activate(Tensor x, Activation forward, ActivationBackward backward)
    {
        View input = Find(x);
        return Record(
            input.Needs,
            () =>
            {
                Tensor value = input.Value;
                Tensor y = cpu.Allocate(value.Rows, value.Width);
                forward(value.Data, value.Stride, y.Data, y.Stride, y.Rows, y.Width, pool);
                return y;
            },
            y =>
            {
                Tensor dy = y.Gradient;
                Tensor value = input.Value;
                backward(dy.Data, dy.Stride, value.Data, value.Stride, dy.Data, dy.Stride, dy.Rows, dy.Width, pool);
                Give(input, y);
            },
            input
        );
    }

    /// <summary>Lets a kernel write the gradient of x, or add what it writes.</summary>
    void Write(View x, Action<Tensor, Tensor> write)
    {
        Tensor target = Target(x, out bool accumulate);
        if (!accumulate)
        {
            write(x.Value, target);
            return;
        }

        Tensor own = Rent(x.Rows, x.Width);
        write(x.Value, own);
        AddTo(x, own);
        Return(own);
    }

    void Scatter(
        Tensor rows,
        int[] indices,
        float[] weights,
        int count,
        Span<float> table,
        int tableStride,
        int tableRows
    ) =>
        ScatterRows.Apply(
            rows.Data,
            rows.Stride,
            indices,
            weights,
            count,
            table,
            tableStride,
            tableRows,
            rows.Width,
            pool
        );

    static void Clear(Tensor x)
    {
        for (int row = 0; row < x.Rows; row++)
        {
            x.Row(row).Clear();
        }
    }
}
