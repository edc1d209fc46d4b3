using VlmSharp.Kernels;
using VlmSharp.Tensors;

namespace VlmSharp.Training;

public sealed partial class TapeOps
{
    // y += scale * B A x, with magnitudes y += (g - 1) * W x + g * scale * B A x; x is what dropout leaves of it.
    void AddProducts(Tensor x, Linear layer, TrainedMatrix[] parts, LoraLayer lora, DropoutMask? mask, Tensor y)
    {
        Arena.Mark mark = cpu.Mark;
        foreach (LoraProduct product in lora.Products)
        {
            Tensor input = Dropped(x, mask, product);
            Tensor low = Low(input, product);
            Tensor own = y.Columns(product.Module.FirstOutput, product.Module.Outputs);
            if (product.Magnitude is null)
            {
                Product(low, product.B.Packed, own, accumulate: true);
            }
            else
            {
                (Tensor weights, Tensor added) = Terms(input, low, layer, parts, product);
                ReadOnlySpan<float> gain = Own(lora.Gain(pool), product);
                for (int row = 0; row < y.Rows; row++)
                {
                    Span<float> to = own.Row(row);
                    ReadOnlySpan<float> w = weights.Row(row);
                    ReadOnlySpan<float> p = added.Row(row);
                    for (int i = 0; i < to.Length; i++)
                    {
                        to[i] += ((gain[i] - 1) * w[i]) + (gain[i] * p[i]);
                    }
                }
            }

            cpu.Release(mark, default);
        }
    }

    // W x and scale * B A x: [rows, outputs of the product] each.
    (Tensor Weights, Tensor Added) Terms(Tensor x, Tensor low, Linear layer, TrainedMatrix[] parts, LoraProduct product)
    {
        Tensor all = cpu.Allocate(x.Rows, layer.Outputs);
        Multiply(x, layer, parts, [], all);
        Tensor added = cpu.Allocate(x.Rows, product.Module.Outputs);
        Product(low, product.B.Packed, added);
        return (all.Columns(product.Module.FirstOutput, product.Module.Outputs), added);
    }

    Tensor Dropped(Tensor x, DropoutMask? mask, LoraProduct product)
    {
        if (mask is not { } some)
        {
            return x;
        }

        Tensor copy = cpu.Allocate(x.Rows, x.Width);
        copy.CopyFrom(x);
        some.Apply(copy, product.Number);
        return copy;
    }

    // scale * A x: [rows, rank]
    Tensor Low(Tensor x, LoraProduct product)
    {
        Tensor low = cpu.Allocate(x.Rows, product.A.Packed.Rows);
        Product(x, product.A.Packed, low);
        Scale(low, product.Scale);
        return low;
    }

    static void Scale(Tensor x, float scale)
    {
        foreach (ref float value in x.Data)
        {
            value *= scale;
        }
    }

    static ReadOnlySpan<float> Own(ReadOnlySpan<float> outputs, LoraProduct product) =>
        outputs.Slice(product.Module.FirstOutput, product.Module.Outputs);

    void ProductsBackward(View x, Linear layer, TrainedMatrix[] parts, LoraLayer lora, DropoutMask? mask, Tensor dy)
    {
        Arena.Mark mark = cpu.Mark;
        foreach (LoraProduct product in lora.Products)
        {
            Tensor input = Dropped(x.Value, mask, product);
            Tensor low = Low(input, product);
            Tensor own = dy.Columns(product.Module.FirstOutput, product.Module.Outputs);
            Tensor dx = x.Needs ? cpu.Allocate(x.Rows, x.Width) : default;
            bool begun = false; // whether dx holds anything yet
            if (product.Magnitude is not null)
            {
                own = MagnitudesBackward(input, low, layer, parts, lora, product, own, dx);
                begun = x.Needs;
            }

            product.B.Trained.AddGradient(low, own, pool);
            Tensor dLow = cpu.Allocate(x.Rows, low.Width);
            Product(own, product.B.Trained.Transpose(pool), dLow);
            Scale(dLow, product.Scale);
            product.A.Trained.AddGradient(input, dLow, pool);
            if (x.Needs)
            {
                Product(dLow, product.A.Trained.Transpose(pool), dx, begun);
                mask?.Apply(dx, product.Number);
                AddTo(x, dx);
            }

            cpu.Release(mark, default);
        }
    }

    // The gradients of the magnitudes, and of x by (g - 1) * W x; returns g * dy, that of scale * B A x.
    Tensor MagnitudesBackward(
        Tensor x,
        Tensor low,
        Linear layer,
        TrainedMatrix[] parts,
        LoraLayer lora,
        LoraProduct product,
        Tensor dy,
        Tensor dx
    )
    {
        Tensor result = cpu.Allocate(dy.Rows, dy.Width);
        Tensor dWeights = cpu.Allocate(dy.Rows, layer.Outputs);
        dWeights.Data.Clear();
        (Tensor weights, Tensor added) = Terms(x, low, layer, parts, product);
        ReadOnlySpan<float> gain = Own(lora.Gain(pool), product);
        double[] sums = new double[dy.Width];
        for (int row = 0; row < dy.Rows; row++)
        {
            ReadOnlySpan<float> from = dy.Row(row);
            ReadOnlySpan<float> w = weights.Row(row);
            ReadOnlySpan<float> p = added.Row(row);
            Span<float> scaled = result.Row(row);
            Span<float> toWeights = dWeights.Row(row).Slice(product.Module.FirstOutput, dy.Width);
            for (int i = 0; i < from.Length; i++)
            {
                sums[i] += (double)from[i] * (w[i] + p[i]);
                scaled[i] = gain[i] * from[i];
                toWeights[i] = (gain[i] - 1) * from[i];
            }
        }

        Span<float> gradient = product.Magnitude!.Gradient;
        ReadOnlySpan<float> norms = Own(lora.Norms(pool), product);
        for (int i = 0; i < sums.Length; i++)
        {
            gradient[i] += (float)(sums[i] / norms[i]);
        }

        if (dx.Rows > 0)
        {
            MultiplyBack(parts, dWeights, dx, accumulate: false);
        }

        return result;
    }
}
