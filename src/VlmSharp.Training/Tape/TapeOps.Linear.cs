using VlmSharp.Kernels;
using VlmSharp.Tensors;

namespace VlmSharp.Training;

public sealed partial class TapeOps
{
    /// <summary>Share of the inputs of trained low-rank products that is set to zero; 0 for none. What is recorded keeps its own.</summary>
    public double Dropout { get; set; }

    /// <summary>Decides which inputs those are.</summary>
    public ulong DropoutSeed { get; set; }

    /// <inheritdoc/>
    public override Tensor Linear(Tensor x, Linear layer) => Linear(Find(x), layer, null);

    /// <inheritdoc/>
    public override Tensor Linear(Tensor x, Linear layer, Tensor residual) => Linear(Find(x), layer, Find(residual));

    Tensor Linear(View input, Linear layer, View? residual)
    {
        TrainedMatrix[] parts = Matrices(layer);
        LoraLayer? lora = parameters.Lora?.Find(layer);
        DropoutMask? mask = Dropout > 0 ? new DropoutMask(Dropout, DropoutSeed) : null;
        // The residual stream is read by the norm before: the sum gets memory of its own, and takes over the gradient.
        return Record(
            residual is { Needs: true } || lora is not null || NeedsGradient(input, layer, parts),
            () =>
            {
                Tensor y = cpu.Allocate(input.Rows, layer.Outputs);
                if (residual is { } old)
                {
                    y.CopyFrom(old.Value);
                }

                Multiply(input.Value, layer, parts, layer.Bias, y, accumulate: residual is not null);
                if (lora is not null)
                {
                    AddProducts(input.Value, layer, parts, lora, mask, y);
                }

                return y;
            },
            y =>
            {
                LinearBackward(input, layer, parts, y.Gradient);
                if (lora is not null)
                {
                    ProductsBackward(input, layer, parts, lora, mask, y.Gradient);
                }

                if (residual is { } old)
                {
                    Give(old, y);
                }
            },
            input
        );
    }

    TrainedMatrix[] Matrices(Linear layer)
    {
        TrainedMatrix[] parts = new TrainedMatrix[layer.Parts.Length];
        for (int i = 0; i < parts.Length; i++)
        {
            parts[i] = parameters.Find(layer.Parts[i], layer.Name);
        }

        return parts;
    }

    // y (+)= W x + b
    void Multiply(
        Tensor x,
        Linear layer,
        TrainedMatrix[] parts,
        ReadOnlySpan<float> bias,
        Tensor y,
        bool accumulate = false
    )
    {
        Cancellation.ThrowIfCancellationRequested();
        int first = 0;
        for (int i = 0; i < parts.Length; i++)
        {
            int rows = layer.Parts[i].Rows;
            Tensor part = y.Columns(first, rows);
            MatMul.Apply(
                x.Data,
                x.Stride,
                MayRound ? parts[i].Rounded(pool) : layer.Parts[i],
                bias.IsEmpty ? [] : bias.Slice(first, rows),
                part.Data,
                part.Stride,
                x.Rows,
                pool,
                accumulate,
                MayRound
            );
            first += rows;
        }
    }

    bool NeedsGradient(View input, Linear layer, TrainedMatrix[] parts) =>
        input.Needs || Array.Exists(parts, p => p.Trained) || !parameters.Gradient(layer.BiasArray).IsEmpty;

    void LinearBackward(View x, Linear layer, TrainedMatrix[] parts, Tensor dy)
    {
        Cancellation.ThrowIfCancellationRequested();
        int first = 0;
        foreach (TrainedMatrix part in parts)
        {
            if (part.Trained)
            {
                part.AddGradient(x.Value, dy.Columns(first, part.Rows), pool, MayRound);
            }

            first += part.Rows;
        }

        Span<float> bias = parameters.Gradient(layer.BiasArray);
        if (!bias.IsEmpty)
        {
            ColumnSums.Add(dy.Data, dy.Stride, dy.Rows, bias, pool);
        }

        if (x.Needs)
        {
            Tensor dx = Target(x, out bool accumulate);
            MultiplyBack(parts, dy, dx, accumulate);
        }
    }

    // dx (+)= dy W
    void MultiplyBack(TrainedMatrix[] parts, Tensor dy, Tensor dx, bool accumulate)
    {
        int first = 0;
        foreach (TrainedMatrix part in parts)
        {
            Product(
                dy.Columns(first, part.Rows),
                part.Transpose(pool, MayRound),
                dx,
                accumulate || first > 0,
                MayRound
            );
            first += part.Rows;
        }
    }

    void Product(Tensor x, PackedMatrix weights, Tensor y, bool accumulate = false, bool mayRound = false) =>
        MatMul.Apply(x.Data, x.Stride, weights, [], y.Data, y.Stride, x.Rows, pool, accumulate, mayRound);
}
