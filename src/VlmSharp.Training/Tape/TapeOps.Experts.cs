using VlmSharp.Kernels;
using VlmSharp.Tensors;

namespace VlmSharp.Training;

public sealed partial class TapeOps
{
    readonly ExpertGroups groups = new();

    /// <summary>Experts that each token passed through in the last layer that has some; 0 where none has.</summary>
    public int ExpertsPerToken { get; private set; }

    /// <inheritdoc/>
    /// <remarks>The choice of experts hands nothing back, their weights do. What experts compute is computed again in the backward pass.</remarks>
    public override Tensor MixExperts(Tensor x, Tensor logits, Experts experts, Tensor residual)
    {
        View input = Find(x);
        View router = Find(logits);
        View old = Find(residual);
        ExpertsPerToken = experts.PerToken;
        bool trained = false;
        for (int expert = 0; expert < experts.Count; expert++)
        {
            trained |= GateUp(experts, expert).Trained || Down(experts, expert).Trained;
        }

        return Record(
            trained || input.Needs || router.Needs || old.Needs,
            () =>
            {
                Tensor sum = cpu.Allocate(old.Rows, old.Width);
                sum.CopyFrom(old.Value);
                return cpu.MixExperts(input.Value, router.Value, experts, sum);
            },
            y =>
            {
                MixBackward(input, router, experts, y.Gradient);
                Give(old, y);
            },
            input,
            router
        );
    }

    TrainedMatrix GateUp(Experts experts, int expert) =>
        parameters.Find(
            experts.GateUpStack,
            experts.Name,
            expert * Experts.Stacked(2 * experts.Width),
            2 * experts.Width
        );

    TrainedMatrix Down(Experts experts, int expert) =>
        parameters.Find(experts.DownStack, experts.Name, expert * Experts.Stacked(experts.Hidden), experts.Hidden);

    void MixBackward(View x, View router, Experts experts, Tensor dy)
    {
        int count = experts.PerToken;
        groups.Choose(router.Value, count, pool);
        Arena.Mark mark = cpu.Mark;
        int rows = checked(dy.Rows * count);
        Tensor h = cpu.Allocate(rows, x.Width); // the rows of an expert together, in all of these
        Tensor gateUp = cpu.Allocate(rows, 2 * experts.Width);
        Tensor product = cpu.Allocate(rows, experts.Width);
        Tensor outputs = cpu.Allocate(rows, x.Width);
        for (int expert = 0; expert < experts.Count; expert++)
        {
            int first = groups.First(expert);
            ReadOnlySpan<int> chosen = groups.Rows(expert);
            for (int i = 0; i < chosen.Length; i++)
            {
                x.Value.Row(chosen[i]).CopyTo(h.Row(first + i));
            }

            Product(h.Slice(first, chosen.Length), experts.GateUp(expert), gateUp.Slice(first, chosen.Length));
        }

        Tensor gate = gateUp.Columns(0, experts.Width);
        Tensor up = gateUp.Columns(experts.Width, experts.Width);
        Kernels.SwiGlu.Apply(
            gate.Data,
            gate.Stride,
            up.Data,
            up.Stride,
            product.Data,
            product.Stride,
            rows,
            experts.Width,
            pool
        );
        for (int expert = 0; expert < experts.Count; expert++)
        {
            int length = groups.Rows(expert).Length;
            int first = groups.First(expert);
            Product(product.Slice(first, length), experts.Down(expert), outputs.Slice(first, length));
        }

        float[] dWeights = new float[rows];
        WeightedRowsBackward.Apply(
            dy.Data,
            dy.Stride,
            groups.Places,
            groups.Weights,
            dWeights,
            count,
            outputs.Data,
            outputs.Stride,
            rows,
            dy.Rows,
            dy.Width,
            pool
        );
        if (router.Needs)
        {
            RouteBackward(router, experts.Count, count, dWeights);
        }

        // outputs hold their gradients now
        Tensor dProduct = cpu.Allocate(rows, experts.Width);
        for (int expert = 0; expert < experts.Count; expert++)
        {
            int length = groups.Rows(expert).Length;
            int first = groups.First(expert);
            TrainedMatrix down = Down(experts, expert);
            Tensor dOutput = outputs.Slice(first, length);
            if (down.Trained && length > 0)
            {
                down.AddGradient(product.Slice(first, length), dOutput, pool);
            }

            Product(dOutput, down.Transpose(pool), dProduct.Slice(first, length));
        }

        SwiGluBackward.Apply(
            gateUp.Data,
            gateUp.Stride,
            dProduct.Data,
            dProduct.Stride,
            gateUp.Data,
            gateUp.Stride,
            rows,
            experts.Width,
            pool
        );
        for (int expert = 0; expert < experts.Count; expert++)
        {
            int length = groups.Rows(expert).Length;
            int first = groups.First(expert);
            TrainedMatrix matrix = GateUp(experts, expert);
            Tensor dGateUp = gateUp.Slice(first, length);
            if (matrix.Trained && length > 0)
            {
                matrix.AddGradient(h.Slice(first, length), dGateUp, pool);
            }

            if (x.Needs)
            {
                Product(dGateUp, matrix.Transpose(pool), outputs.Slice(first, length));
            }
        }

        if (x.Needs)
        {
            GatherBackward(x, outputs, count);
        }

        cpu.Release(mark, default);
    }

    // dx of a row is the sum of what its experts hand back.
    void GatherBackward(View x, Tensor outputs, int count)
    {
        float[] ones = new float[groups.Places.Length];
        ones.AsSpan().Fill(1);
        Tensor sum = cpu.Allocate(x.Rows, x.Width);
        WeightedRows.Apply(
            outputs.Data,
            outputs.Stride,
            outputs.Rows,
            groups.Places,
            ones,
            count,
            sum.Data,
            sum.Stride,
            sum.Rows,
            sum.Width,
            pool
        );
        AddTo(x, sum);
    }

    // The weights are the softmax of the chosen logits: the sum over all experts cancels when they are divided by theirs.
    void RouteBackward(View router, int experts, int count, float[] dWeights)
    {
        Tensor target = Zeroed(router);
        int[] chosen = new int[dWeights.Length];
        for (int expert = 0; expert < experts; expert++)
        {
            int first = groups.First(expert);
            int length = groups.Rows(expert).Length;
            for (int n = 0; n < chosen.Length; n++)
            {
                int place = groups.Places[n];
                if (place >= first && place < first + length)
                {
                    chosen[n] = expert;
                }
            }
        }

        for (int row = 0; row < router.Rows; row++)
        {
            double mean = 0;
            for (int n = row * count; n < (row + 1) * count; n++)
            {
                mean += (double)groups.Weights[n] * dWeights[n];
            }

            Span<float> to = target.Row(row);
            for (int n = row * count; n < (row + 1) * count; n++)
            {
                to[chosen[n]] += (float)(groups.Weights[n] * (dWeights[n] - mean));
            }
        }
    }
}
