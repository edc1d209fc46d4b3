using VlmSharp.Kernels;

namespace VlmSharp.Tensors;

public partial class CpuOps
{
    readonly ExpertGroups groups = new();

    /// <inheritdoc/>
    public override Tensor MixExperts(Tensor x, Tensor logits, Experts experts, Tensor residual)
    {
        groups.Choose(logits, experts.PerToken, Pool);
        Arena.Mark mark = Mark;
        // outputs: [rows * perToken, hidden], the rows of an expert together
        Tensor outputs = Allocate(x.Rows * experts.PerToken, x.Width);
        for (int expert = 0; expert < experts.Count; expert++)
        {
            ReadOnlySpan<int> rows = groups.Rows(expert);
            if (rows.IsEmpty)
            {
                continue; // its weights are not even touched
            }

            Cancellation.ThrowIfCancellationRequested();
            Arena.Mark own = Mark;
            Tensor h = TakeRows(x, rows); // h: [rows of this expert, hidden]
            h = SwiGlu(Product(h, experts.GateUp(expert), Allocate(h.Rows, 2 * experts.Width))); // h: [.., width]
            Product(h, experts.Down(expert), outputs.Slice(groups.First(expert), h.Rows));
            arena.Release(own);
        }

        // A row adds up its experts by probability, so its sum does not depend on what else is in the step.
        Tensor sum = Allocate(x.Rows, x.Width);
        WeightedRows.Apply(
            outputs.Data,
            outputs.Stride,
            outputs.Rows,
            groups.Places,
            groups.Weights,
            experts.PerToken,
            sum.Data,
            sum.Stride,
            sum.Rows,
            sum.Width,
            Pool
        );
        residual = Add(residual, sum);
        arena.Release(mark);
        return residual;
    }

    /// <summary>W x of a matrix of an expert, for the rows that pass through it: [rows, outputs].</summary>
    /// <param name="x">[rows, inputs]</param>
    /// <param name="weights">W.</param>
    /// <param name="y">[rows, outputs]: where the result goes.</param>
    protected virtual Tensor Product(Tensor x, PackedMatrix weights, Tensor y)
    {
        MatMul.Apply(x.Data, x.Stride, weights, [], y.Data, y.Stride, x.Rows, Pool, mayRound: MayRound);
        return y;
    }
}

/// <summary>The rows of a step grouped by the experts they pass through. Reused, so that a steady state allocates nothing.</summary>
sealed class ExpertGroups
{
    int[] chosen = []; // [rows, perToken]: experts
    float[] weights = []; // [rows, perToken]
    int[] places = []; // [rows, perToken]: where the result of each stands among those of all experts
    int[] rows = []; // [rows * perToken]: of expert 0, of expert 1, ...
    int[] starts = []; // [experts + 1]
    int count;

    /// <summary>[rows, perToken]: where the results that make up a row stand, the most probable expert's first.</summary>
    public ReadOnlySpan<int> Places => places.AsSpan(0, count);

    /// <summary>[rows, perToken]: how much each counts.</summary>
    public ReadOnlySpan<float> Weights => weights.AsSpan(0, count);

    /// <summary>The rows that pass through an expert, ascending.</summary>
    public ReadOnlySpan<int> Rows(int expert) => rows.AsSpan(starts[expert]..starts[expert + 1]);

    /// <summary>Where the results of an expert begin among those of all.</summary>
    public int First(int expert) => starts[expert];

    /// <summary>Chooses the experts of every row.</summary>
    /// <param name="logits">[rows, experts]</param>
    /// <param name="perToken">Experts of a row.</param>
    /// <param name="pool">Threads to choose with.</param>
    public void Choose(Tensor logits, int perToken, WorkerPool pool)
    {
        int experts = logits.Width;
        count = checked(logits.Rows * perToken);
        if (chosen.Length < count)
        {
            chosen = new int[count];
            weights = new float[count];
            places = new int[count];
            rows = new int[count];
        }

        if (starts.Length < experts + 1)
        {
            starts = new int[experts + 1];
        }

        ExpertChoice.Apply(
            logits.Data,
            logits.Stride,
            logits.Rows,
            experts,
            perToken,
            chosen.AsSpan(0, count),
            weights.AsSpan(0, count),
            pool
        );

        // A counting sort: it keeps the rows of an expert in their order.
        starts.AsSpan().Clear();
        for (int i = 0; i < count; i++)
        {
            starts[chosen[i] + 1]++;
        }

        for (int expert = 0; expert < experts; expert++)
        {
            starts[expert + 1] += starts[expert];
        }

        for (int i = 0; i < count; i++)
        {
            int place = starts[chosen[i]]++;
            places[i] = place;
            rows[place] = i / perToken;
        }

        // Each start has moved to where the next expert begins.
        starts.AsSpan(0, experts).CopyTo(starts.AsSpan(1));
        starts[0] = 0;
    }
}
