using System.Runtime.InteropServices;
using VlmSharp.Formats;
using VlmSharp.Kernels;

namespace VlmSharp.Adapters;

/// <summary>Adds an adapter to the weights of a checkpoint: W + scale * B A, or what takes their place.</summary>
public sealed class AdapterMerge : IWeightChange
{
    static readonly string[] Quantised = [".weight", ".qweight", ".weight_packed"];

    readonly Adapter adapter;
    readonly WorkerPool pool;
    readonly Dictionary<string, AdapterModule> modules = new(StringComparer.Ordinal); // by the names of weights
    readonly Dictionary<string, AdapterTensor> tensors = new(StringComparer.Ordinal);

    /// <summary>Finds out which tensors an adapter changes.</summary>
    /// <param name="adapter">The adapter.</param>
    /// <param name="checkpoint">The checkpoint, to whose <see cref="Checkpoint.Change"/> this can be given.</param>
    /// <param name="pool">Threads to compute with.</param>
    /// <exception cref="CheckpointException">The adapter names something that the checkpoint does not have.</exception>
    public AdapterMerge(Adapter adapter, Checkpoint checkpoint, WorkerPool pool)
    {
        ArgumentNullException.ThrowIfNull(adapter);
        ArgumentNullException.ThrowIfNull(checkpoint);
        (this.adapter, this.pool) = (adapter, pool);
        foreach (AdapterModule module in adapter.Modules)
        {
            string found =
                ModuleNames.Find(module.Name, name => Array.Exists(Quantised, end => checkpoint.Contains(name + end)))
                ?? throw Missing(module.Name, checkpoint);
            if (!modules.TryAdd($"{found}.weight", module))
            {
                throw new CheckpointException(adapter.Directory, $"adapts '{found}' twice, under two names");
            }
        }

        foreach (AdapterTensor tensor in adapter.Tensors)
        {
            string found = ModuleNames.Find(tensor.Name, checkpoint.Contains) ?? throw Missing(tensor.Name, checkpoint);
            if (!tensors.TryAdd(found, tensor))
            {
                throw new CheckpointException(adapter.Directory, $"holds '{found}' twice, under two names");
            }
        }
    }

    CheckpointException Missing(string name, Checkpoint checkpoint) =>
        new(
            adapter.Directory,
            name.Contains(".experts", StringComparison.Ordinal)
                ? $"adapts '{name}': adapters of experts are not implemented"
                : $"adapts '{name}', which {checkpoint.Directory} does not have: it is made for another model"
        );

    /// <summary>The tensors of the checkpoint that it changes.</summary>
    public IEnumerable<string> Names => modules.Keys.Concat(tensors.Keys);

    /// <inheritdoc/>
    public bool Changes(string name) => modules.ContainsKey(name) || tensors.ContainsKey(name);

    /// <inheritdoc/>
    public void Apply(string name, ReadOnlySpan<int> shape, Span<float> values)
    {
        if (tensors.TryGetValue(name, out AdapterTensor? tensor))
        {
            if (!shape.SequenceEqual(tensor.Shape))
            {
                throw Shape(tensor.Name, tensor.Shape, name, shape);
            }

            tensor.Values.CopyTo(values);
        }

        if (modules.TryGetValue(name, out AdapterModule? module))
        {
            if (!shape.SequenceEqual([module.Outputs, module.Inputs]))
            {
                throw Shape(module.Name, [module.Outputs, module.Inputs], name, shape);
            }

            Add(module, values);
        }
    }

    CheckpointException Shape(string own, ReadOnlySpan<int> shape, string name, ReadOnlySpan<int> expected) =>
        new(
            adapter.Directory,
            $"'{own}' is made for [{string.Join(", ", shape.ToArray())}], '{name}' is [{string.Join(", ", expected.ToArray())}]: it belongs to another model"
        );

    void Add(AdapterModule module, Span<float> values)
    {
        int inputs = module.Inputs;
        using PackedMatrix turned = new(inputs, module.Rank, ElementType.F32); // A^T
        turned.PackTransposed(0, inputs, MemoryMarshal.AsBytes(module.A.AsSpan()), ElementType.F32, pool);
        float[] b = module.ScaledB();
        MatMul.Apply(b, module.Rank, turned, [], values, inputs, module.Outputs, pool, accumulate: true);
        if (module.Magnitude is { } magnitude)
        {
            for (int row = 0; row < module.Outputs; row++)
            {
                Span<float> w = values.Slice(row * inputs, inputs);
                float gain = magnitude[row] / AdapterModule.Norm(w);
                foreach (ref float value in w)
                {
                    value *= gain;
                }
            }
        }
    }
}
