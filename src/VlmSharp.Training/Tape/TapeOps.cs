using VlmSharp.Kernels;
using VlmSharp.Tensors;

namespace VlmSharp.Training;

/// <summary>Runs operations as inference does and records them, so that gradients can be handed back through all of them.</summary>
/// <remarks>
/// <para>
/// A step is a packed batch of whole sequences: <see cref="CachedAttention"/> takes place within the rows of each, and no cache is
/// read. Results live until <see cref="Reset"/>. An argument that is documented as consumed is overwritten only where no recorded
/// operation needs its values; otherwise it is copied, and its gradient passes to the copy.
/// </para>
/// <para>
/// With <see cref="Recompute"/>, what lies between a mark and its release is freed as in inference and computed again, by the
/// same operations, when its gradients are wanted: they have the same bits then.
/// </para>
/// </remarks>
public sealed partial class TapeOps : Ops, IDisposable
{
    sealed record Operation(Region Result, bool Creates, Func<Tensor>? Forward, Action<Region>? Backward);

    sealed class Scope
    {
        public required Arena.Mark Position { get; set; } // everything behind it is freed
        public required int Operation { get; set; }
        public required int Live { get; set; }
    }

    readonly CpuOps cpu;
    readonly Arena gradients = new();
    readonly ParameterSet parameters;
    readonly WorkerPool pool;
    readonly List<Operation> operations = [];
    readonly List<Region> live = [];
    readonly List<Scope> scopes = [];
    readonly List<(int First, int End)> segments = [];
    readonly Dictionary<(int, int), Stack<Tensor>> idle = [];
    int regions;
    int sealedBelow; // regions of a lower order are inputs of what may be computed again

    /// <summary>An empty tape.</summary>
    /// <param name="parameters">What gets gradients.</param>
    /// <param name="pool">Threads.</param>
    public TapeOps(ParameterSet parameters, WorkerPool pool)
    {
        this.parameters = parameters;
        this.pool = pool;
        cpu = new CpuOps(pool);
    }

    /// <summary>Frees what lies between marks and computes it again in the backward pass. May change between two blocks of a model.</summary>
    public bool Recompute { get; set; }

    /// <summary>Lets the products of linear layers, forward and backward, round both factors to bf16, beside which experts and attention stay f32. Sums are f32.</summary>
    public bool MayRound { get; set; }

    /// <summary>Ends a pass between two matrix products with an <see cref="OperationCanceledException"/>.</summary>
    public CancellationToken Cancellation
    {
        get => cpu.Cancellation;
        set => cpu.Cancellation = value;
    }

    /// <summary>Forgets what was recorded and frees all tensors; keeps the memory.</summary>
    public void Reset()
    {
        operations.Clear();
        live.Clear();
        scopes.Clear();
        segments.Clear();
        idle.Clear();
        negated.Clear();
        tapped.Clear();
        regions = 0;
        sealedBelow = 0;
        gradients.Release(default);
        cpu.Reset();
    }

    /// <summary>Numbers whose gradient is wanted, beside those of parameters.</summary>
    /// <param name="rows">Rows.</param>
    /// <param name="values">[rows, width]</param>
    public Tensor Variable(int rows, ReadOnlySpan<float> values)
    {
        Tensor tensor = cpu.Allocate(rows, values.Length / rows);
        values.CopyTo(tensor.Data);
        Region region = Add(tensor);
        region.Needs = true;
        region.Saved = true;
        return tensor;
    }

    /// <summary>After a backward pass the gradient of a <see cref="Variable"/>: [rows, width].</summary>
    public float[] Gradient(Tensor variable)
    {
        View view = Find(variable);
        return view.Region.HasGradient ? view.Gradient.ToArray() : new float[variable.Rows * variable.Width];
    }

    /// <summary>Adds to the gradient of a result: where a loss begins.</summary>
    /// <param name="x">A result that is still there.</param>
    /// <param name="gradient">[rows, width] of it.</param>
    public void Seed(Tensor x, ReadOnlySpan<float> gradient) => Seed(Find(x), gradient);

    void Seed(View x, ReadOnlySpan<float> gradient)
    {
        if (!x.Needs)
        {
            return;
        }

        Tensor target = Zeroed(x);
        for (int row = 0; row < x.Rows; row++)
        {
            Span<float> to = target.Row(row);
            ReadOnlySpan<float> from = gradient.Slice(row * x.Width, x.Width);
            for (int i = 0; i < to.Length; i++)
            {
                to[i] += from[i];
            }
        }
    }

    /// <summary>The sum of the cross-entropies of rows of logits, whose gradient begins here.</summary>
    /// <param name="logits">[rows, vocabulary], a whole result; afterwards it holds its gradient.</param>
    /// <param name="labels">[rows]; negative for a row that counts for nothing.</param>
    /// <param name="scale">Factor of the gradient: 1 / labels where their mean is minimised.</param>
    /// <param name="smoothing">Share of every label that is spread over the vocabulary.</param>
    /// <param name="rowLosses">[rows]: the loss of each; or empty.</param>
    public double CrossEntropy(
        Tensor logits,
        ReadOnlySpan<int> labels,
        double scale,
        double smoothing = 0,
        Span<double> rowLosses = default
    )
    {
        View view = Find(logits);
        if (!view.IsWhole || view.Region.HasGradient || labels.Length != logits.Rows)
        {
            throw new ArgumentException(
                $"{labels.Length} labels for logits [{logits.Rows}, {logits.Width}], which must be one whole result without a gradient."
            );
        }

        double loss = Kernels.CrossEntropy.Apply(
            logits.Data,
            logits.Stride,
            labels,
            logits.Width,
            scale,
            pool,
            smoothing,
            rowLosses
        );
        view.Region.Gradient = view.Region.Value;
        view.Region.HasGradient = true;
        return loss;
    }

    /// <summary>Hands the gradients that losses have begun with back to the parameters, to which they are added.</summary>
    public void Backward()
    {
        int segment = segments.Count - 1;
        Arena.Mark mark = default;
        for (int i = operations.Count - 1; i >= 0; i--)
        {
            if (segment >= 0 && i == segments[segment].End - 1)
            {
                mark = cpu.Mark;
                // The last result is what the segment was left with; nothing in it reads that.
                for (int j = segments[segment].First; j < i; j++)
                {
                    Run(operations[j]);
                }
            }

            Operation operation = operations[i];
            if (operation.Result.HasGradient)
            {
                operation.Backward?.Invoke(operation.Result);
            }

            if (operation.Creates)
            {
                Free(operation.Result);
            }

            if (segment >= 0 && i == segments[segment].First)
            {
                cpu.Release(mark, default);
                segment--;
            }
        }
    }

    /// <inheritdoc/>
    public override Tensor Allocate(int rows, int width)
    {
        // Somebody is going to write into it: there is no way to compute that again.
        Tensor tensor = cpu.Allocate(rows, width);
        Region region = Add(tensor);
        operations.Add(new Operation(region, Creates: true, null, null));
        return tensor;
    }

    /// <inheritdoc/>
    public override Arena.Mark Mark
    {
        get
        {
            scopes.Add(
                new Scope
                {
                    Position = cpu.Mark,
                    Operation = operations.Count,
                    Live = live.Count,
                }
            );
            sealedBelow = Recompute ? regions : 0;
            return new Arena.Mark(-1, scopes.Count - 1); // a number, no position: results stay
        }
    }

    /// <inheritdoc/>
    public override Tensor Release(Arena.Mark mark, Tensor keep)
    {
        Scope scope = scopes[(int)mark.Used];
        scopes.RemoveRange((int)mark.Used + 1, scopes.Count - (int)mark.Used - 1);
        int first = scope.Operation;
        bool needs = operations.FindIndex(first, o => o.Backward is not null) >= 0;
        View kept = Find(keep);
        bool own = kept.Region.Order >= 0 && live.IndexOf(kept.Region) >= scope.Live;
        bool free =
            first < operations.Count
            && (!own || kept.IsWhole)
            && (
                !needs
                || (Recompute && Repeatable(first) && operations[^1].Result == kept.Region && operations[^1].Creates)
            );
        if (free)
        {
            keep = cpu.Release(scope.Position, keep);
            live.RemoveRange(scope.Live, live.Count - scope.Live);
            if (own)
            {
                kept.Region.Value = keep;
                live.Add(kept.Region);
            }

            if (needs)
            {
                segments.Add((first, operations.Count));
            }
            else
            {
                operations.RemoveRange(first, operations.Count - first);
            }

            scope.Position = cpu.Mark;
            scope.Live = live.Count;
        }

        scope.Operation = operations.Count;
        sealedBelow = Recompute ? regions : 0;
        return keep;
    }

    // Not where results were written by hand, or where a part is a segment of its own.
    bool Repeatable(int first) =>
        operations.FindIndex(first, o => o.Forward is null) < 0 && (segments.Count == 0 || segments[^1].End <= first);

    /// <summary>Frees memory.</summary>
    public void Dispose()
    {
        cpu.Dispose();
        gradients.Dispose();
    }

    Region Add(Tensor value)
    {
        Region region = new(value, regions++);
        live.Add(region);
        return region;
    }

    /// <summary>Where a tensor lies. What is not of this tape (pixels) is data without a gradient.</summary>
    View Find(Tensor x)
    {
        for (int i = live.Count - 1; i >= 0; i--)
        {
            Tensor value = live[i].Value;
            long offset = x.Offset - value.Offset;
            if (ReferenceEquals(value.Buffer, x.Buffer) && offset >= 0 && offset < (long)value.Rows * value.Width)
            {
                return new View(live[i], offset, x.Rows, x.Width, x.Stride);
            }
        }

        return new View(new Region(x, -1), 0, x.Rows, x.Width, x.Stride);
    }

    static void Run(Operation operation)
    {
        Tensor value = operation.Forward!();
        if (operation.Creates)
        {
            operation.Result.Value = value;
        }
    }

    /// <summary>Computes a result of its own memory.</summary>
    Tensor Record(bool needs, Func<Tensor> forward, Action<Region> backward, params ReadOnlySpan<View> saved)
    {
        Tensor value = forward();
        Region region = Add(value);
        region.Needs = needs;
        operations.Add(new Operation(region, Creates: true, forward, needs ? backward : null));
        if (needs || Recompute)
        {
            foreach (View view in saved)
            {
                view.Region.Saved = true;
            }
        }

        return value;
    }

    /// <summary>Changes a tensor where it stands.</summary>
    void RecordInPlace(View target, bool needs, Action forward, Action backward)
    {
        forward();
        target.Region.Needs |= needs;
        operations.Add(
            new Operation(
                target.Region,
                Creates: false,
                () =>
                {
                    forward();
                    return default;
                },
                target.Needs ? _ => backward() : null
            )
        );
    }

    /// <summary>A consumed argument as something that may be written to: itself, or a copy where its values are needed.</summary>
    Tensor Writable(Tensor x)
    {
        View view = Find(x);
        if (!view.Region.Saved && view.Region.Order >= sealedBelow)
        {
            return x;
        }

        return Record(
            view.Needs,
            () =>
            {
                Tensor copy = cpu.Allocate(view.Rows, view.Width);
                copy.CopyFrom(view.Value);
                return copy;
            },
            y => Give(view, y)
        );
    }

    /// <summary>Memory of the shape of a region, undefined.</summary>
    Tensor Rent(int rows, int width) =>
        idle.TryGetValue((rows, width), out Stack<Tensor>? free) && free.TryPop(out Tensor tensor)
            ? tensor
            : gradients.Allocate(rows, width);

    void Return(Tensor tensor)
    {
        if (!idle.TryGetValue((tensor.Rows, tensor.Width), out Stack<Tensor>? free))
        {
            idle.Add((tensor.Rows, tensor.Width), free = new Stack<Tensor>());
        }

        free.Push(tensor);
    }

    void Free(Region region)
    {
        if (region.HasGradient)
        {
            Return(region.Gradient);
            region.HasGradient = false;
        }
    }

    /// <summary>Where the gradient of x is to be added to, or written where there is none yet.</summary>
    Tensor Target(View x, out bool accumulate)
    {
        accumulate = x.Region.HasGradient || !x.IsWhole;
        if (!x.Region.HasGradient)
        {
            x.Region.Gradient = Rent(x.Region.Value.Rows, x.Region.Value.Width);
            x.Region.HasGradient = true;
            if (accumulate)
            {
                x.Region.Gradient.Data.Clear();
            }
        }

        return x.Gradient;
    }

    /// <summary>Where the gradient of x is to be added to.</summary>
    Tensor Zeroed(View x)
    {
        Tensor target = Target(x, out bool accumulate);
        if (!accumulate)
        {
            target.Data.Clear();
        }

        return target;
    }

    /// <summary>Adds dy to the gradient of x.</summary>
    void AddTo(View x, Tensor dy)
    {
        if (!x.Needs)
        {
            return;
        }

        Tensor target = Target(x, out bool accumulate);
        if (accumulate)
        {
            Kernels.Add.Apply(
                target.Data,
                target.Stride,
                dy.Data,
                dy.Stride,
                target.Data,
                target.Stride,
                dy.Rows,
                dy.Width,
                pool
            );
        }
        else
        {
            target.CopyFrom(dy);
        }
    }

    /// <summary>Hands the gradient of y over to x, of the same shape: without a copy where x has none yet.</summary>
    void Give(View x, Region y)
    {
        if (!x.Needs)
        {
            return;
        }

        if (!x.Region.HasGradient && x.IsWhole)
        {
            x.Region.Gradient = y.Gradient.Reshape(x.Region.Value.Rows, x.Region.Value.Width);
            x.Region.HasGradient = true;
            y.HasGradient = false;
        }
        else
        {
            AddTo(x, y.Gradient.Reshape(x.Rows, x.Width));
        }
    }
}
