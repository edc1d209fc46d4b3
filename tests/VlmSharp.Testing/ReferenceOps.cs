using VlmSharp.Kernels;
using VlmSharp.Tensors;

namespace VlmSharp.Testing;

/// <summary>Every operation as its definition says it, in double precision, one number after the other: slow and obvious.</summary>
/// <remarks>Results are rounded to f32 where they are stored. Keys and values are kept by sequence, not in pages.</remarks>
public class ReferenceOps : Ops
{
    readonly Dictionary<(int Layer, int FirstPage), List<(float[] K, float[] V)>> caches = [];

    public override Tensor Allocate(int rows, int width) =>
        new(new AlignedBuffer(Math.Max(1, (long)rows * width) * sizeof(float)), 0, rows, width, width);

    public override Arena.Mark Mark => default;

    public override Tensor Release(Arena.Mark mark, Tensor keep) => keep;

    public override Tensor Embed(PackedMatrix table, ReadOnlySpan<int> tokens)
    {
        Tensor y = Allocate(tokens.Length, table.Columns);
        for (int row = 0; row < tokens.Length; row++)
        {
            table.UnpackRow(tokens[row], y.Row(row));
        }

        return y;
    }

    public override Tensor ReplaceRows(Tensor x, int firstRow, Tensor rows)
    {
        for (int row = 0; row < rows.Rows; row++)
        {
            rows.Row(row).CopyTo(x.Row(firstRow + row));
        }

        return x;
    }

    public override Tensor AddRows(Tensor x, int firstRow, Tensor rows)
    {
        Tensor target = x.Slice(firstRow, rows.Rows);
        target.CopyFrom(Map(target, rows, (a, b) => a + b));
        return x;
    }

    public override Tensor TakeRows(Tensor x, ReadOnlySpan<int> indices)
    {
        Tensor y = Allocate(indices.Length, x.Width);
        for (int row = 0; row < indices.Length; row++)
        {
            x.Row(indices[row]).CopyTo(y.Row(row));
        }

        return y;
    }

    public override Tensor Concatenate(params ReadOnlySpan<Tensor> parts)
    {
        Tensor[] all = parts.ToArray();
        Tensor y = Allocate(all[0].Rows, all.Sum(p => p.Width));
        for (int row = 0; row < y.Rows; row++)
        {
            all.SelectMany(p => p.Row(row).ToArray()).ToArray().CopyTo(y.Row(row));
        }

        return y;
    }

    public override Tensor Blend(LookupTable table, ReadOnlySpan<int> indices, ReadOnlySpan<float> weights, int count)
    {
        Tensor y = Allocate(indices.Length / count, table.Width);
        for (int row = 0; row < y.Rows; row++)
        {
            for (int i = 0; i < y.Width; i++)
            {
                double sum = 0;
                for (int j = row * count; j < (row + 1) * count; j++)
                {
                    sum += (double)weights[j] * table.Values[(indices[j] * table.Width) + i];
                }

                y.Row(row)[i] = (float)sum;
            }
        }

        return y;
    }

    public override Tensor MixExperts(Tensor x, Tensor logits, Experts experts, Tensor residual)
    {
        Tensor y = Allocate(x.Rows, x.Width);
        for (int row = 0; row < x.Rows; row++)
        {
            double[] powers = [.. Numbers(logits, row).Select(Math.Exp)];
            int[] chosen =
            [
                .. Enumerable.Range(0, experts.Count).OrderByDescending(e => powers[e]).Take(experts.PerToken),
            ];
            double[] sum = Numbers(residual, row);
            foreach (int expert in chosen)
            {
                Linear gateUp = new(experts.Name, experts.GateUp(expert), []);
                Linear down = new(experts.Name, experts.Down(expert), []);
                Tensor result = Linear(SwiGlu(Linear(x.Slice(row, 1), gateUp)), down);
                double weight = powers[expert] / chosen.Sum(e => powers[e]);
                sum = [.. sum.Zip(Numbers(result, 0), (a, b) => a + (weight * b))];
            }

            sum.Select(v => (float)v).ToArray().CopyTo(y.Row(row));
        }

        return y;
    }

    public override Tensor Linear(Tensor x, Linear layer)
    {
        Tensor y = Allocate(x.Rows, layer.Outputs);
        float[] weights = new float[layer.Inputs];
        for (int output = 0; output < layer.Outputs; output++)
        {
            layer.UnpackRow(output, weights);
            for (int row = 0; row < x.Rows; row++)
            {
                double sum = layer.Bias.IsEmpty ? 0 : layer.Bias[output];
                for (int i = 0; i < weights.Length; i++)
                {
                    sum += (double)x.Row(row)[i] * weights[i];
                }

                y.Row(row)[output] = (float)sum;
            }
        }

        return y;
    }

    public override Tensor Linear(Tensor x, Linear layer, Tensor residual) =>
        Map(Linear(x, layer), residual, (a, b) => a + b);

    public override Tensor RmsNorm(Tensor x, Vector weight, float epsilon)
    {
        Tensor y = Allocate(x.Rows, x.Width);
        for (int row = 0; row < x.Rows; row++)
        {
            double scale = 1 / Math.Sqrt(Numbers(x, row).Average(v => v * v) + epsilon);
            for (int i = 0; i < x.Width; i++)
            {
                y.Row(row)[i] = (float)(x.Row(row)[i] * scale * weight.Values[i]);
            }
        }

        return y;
    }

    public override Tensor RmsNormHeads(Tensor x, Vector weight, float epsilon)
    {
        int width = weight.Values.Length;
        Tensor y = Allocate(x.Rows, x.Width);
        for (int at = 0; at < x.Width; at += width)
        {
            y.Columns(at, width).CopyFrom(RmsNorm(x.Columns(at, width), weight, epsilon));
        }

        return y;
    }

    public override Tensor LayerNorm(Tensor x, Vector weight, Vector bias, float epsilon)
    {
        Tensor y = Allocate(x.Rows, x.Width);
        for (int row = 0; row < x.Rows; row++)
        {
            double mean = Numbers(x, row).Average();
            double scale = 1 / Math.Sqrt(Numbers(x, row).Average(v => (v - mean) * (v - mean)) + epsilon);
            for (int i = 0; i < x.Width; i++)
            {
                y.Row(row)[i] = (float)(((x.Row(row)[i] - mean) * scale * weight.Values[i]) + bias.Values[i]);
            }
        }

        return y;
    }

    public override Tensor Rotate(Tensor x, int heads, Rotary rotary)
    {
        int half = x.Width / heads / 2;
        Tensor y = Allocate(x.Rows, x.Width);
        for (int row = 0; row < x.Rows; row++)
        {
            for (int i = 0; i < heads * half; i++)
            {
                (int head, int pair) = Math.DivRem(i, half);
                int at = (2 * head * half) + pair;
                double a = x.Row(row)[at];
                double b = x.Row(row)[at + half];
                double cos = rotary.Cos.Row(row)[pair];
                double sin = rotary.Sin.Row(row)[pair];
                y.Row(row)[at] = (float)((a * cos) - (b * sin));
                y.Row(row)[at + half] = (float)((b * cos) + (a * sin));
            }
        }

        return y;
    }

    public override Tensor SwiGlu(Tensor gateUp)
    {
        int width = gateUp.Width / 2;
        return Map(gateUp.Columns(0, width), gateUp.Columns(width, width), (gate, up) => Reference.Silu(gate) * up);
    }

    public override Tensor QuickGelu(Tensor x) => Map(x, x, (v, _) => v * Reference.Sigmoid(1.702 * v));

    public override Tensor Gelu(Tensor x) => Map(x, x, (v, _) => Reference.Gelu(v));

    public override Tensor GeluTanh(Tensor x) => Map(x, x, (v, _) => Reference.GeluTanh(v));

    public override Tensor CrossAttention(
        Tensor q,
        Tensor k,
        Tensor v,
        AttentionShape shape,
        ReadOnlySpan<int> queryLengths,
        ReadOnlySpan<int> keyLengths
    )
    {
        CheckLengths(q, k, queryLengths, keyLengths);
        Tensor y = Allocate(q.Rows, q.Width);
        (int query, int key) = (0, 0);
        for (int sequence = 0; sequence < keyLengths.Length; sequence++)
        {
            int length = keyLengths[sequence];
            var keys = Enumerable.Range(key, length).Select(i => (k.Row(i).ToArray(), v.Row(i).ToArray())).ToList();
            for (int row = query; length > 0 && row < query + queryLengths[sequence]; row++)
            {
                Attend(q.Row(row), keys, length, shape, y.Row(row));
            }

            query += queryLengths[sequence];
            key += length;
        }

        return y;
    }

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
        foreach (AttentionSequence sequence in placement.Sequences)
        {
            (int, int) key = (layer, placement.PageTable[sequence.PageStart]);
            if (!caches.TryGetValue(key, out var keys))
            {
                caches[key] = keys = [];
            }

            keys.RemoveRange(
                sequence.KeyCount - sequence.QueryCount,
                keys.Count - (sequence.KeyCount - sequence.QueryCount)
            );
            for (int i = 0; i < sequence.QueryCount; i++)
            {
                int row = sequence.QueryStart + i;
                keys.Add((k.Row(row).ToArray(), v.Row(row).ToArray()));
                Attend(q.Row(row), keys, keys.Count, shape, y.Row(row));
            }
        }

        return y;
    }

    static void Attend(
        ReadOnlySpan<float> q,
        List<(float[] K, float[] V)> keys,
        int count,
        AttentionShape shape,
        Span<float> y
    )
    {
        int width = shape.HeadDim;
        for (int head = 0; head < shape.Heads; head++)
        {
            int at = head / (shape.Heads / shape.KvHeads) * width;
            double[] scores = new double[count];
            for (int key = 0; key < count; key++)
            {
                for (int i = 0; i < width; i++)
                {
                    scores[key] += (double)q[(head * width) + i] * keys[key].K[at + i];
                }

                scores[key] *= 1 / Math.Sqrt(width);
            }

            double max = scores.Max();
            double sum = scores.Sum(s => Math.Exp(s - max));
            for (int i = 0; i < width; i++)
            {
                double value = 0;
                for (int key = 0; key < count; key++)
                {
                    value += Math.Exp(scores[key] - max) / sum * keys[key].V[at + i];
                }

                y[(head * width) + i] = (float)value;
            }
        }
    }

    Tensor Map(Tensor a, Tensor b, Func<double, double, double> f)
    {
        Tensor y = Allocate(a.Rows, a.Width);
        for (int row = 0; row < a.Rows; row++)
        {
            for (int i = 0; i < a.Width; i++)
            {
                y.Row(row)[i] = (float)f(a.Row(row)[i], b.Row(row)[i]);
            }
        }

        return y;
    }

    static double[] Numbers(Tensor x, int row) => [.. x.Row(row).ToArray().Select(v => (double)v)];
}
