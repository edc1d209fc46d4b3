using System.Runtime.InteropServices;
using VlmSharp.Formats;
using VlmSharp.Kernels;
using VlmSharp.Tensors;

namespace VlmSharp.Adapters;

/// <summary>Makes an adapter ready to be used beside the weights of a model that is in memory.</summary>
public static class AdapterLoader
{
    /// <summary>Packs an adapter.</summary>
    /// <param name="name">What people call it.</param>
    /// <param name="adapter">The adapter.</param>
    /// <param name="linears">The linear maps of the model.</param>
    /// <param name="vectors">Its vectors.</param>
    /// <param name="pool">Threads to pack with.</param>
    /// <exception cref="CheckpointException">It is made for another model, or changes something that can only be merged.</exception>
    public static WeightAdapter Load(
        string name,
        Adapter adapter,
        IReadOnlyList<Linear> linears,
        IReadOnlyList<Vector> vectors,
        WorkerPool pool
    )
    {
        ArgumentNullException.ThrowIfNull(adapter);
        Dictionary<string, (Linear Layer, LinearModule Module)> modules = [];
        foreach (Linear linear in linears)
        {
            foreach (LinearModule module in linear.Modules)
            {
                modules.TryAdd(module.Name, (linear, module));
            }
        }

        Dictionary<string, Vector> known = vectors.ToDictionary(v => v.Name);
        Dictionary<Linear, Changes> changes = [];
        Dictionary<Vector, Vector> replaced = [];
        foreach (AdapterTensor tensor in adapter.Tensors)
        {
            Replace(tensor);
        }

        foreach (AdapterModule product in adapter.Modules)
        {
            string found = ModuleNames.Find(product.Name, modules.ContainsKey) ?? throw Missing(adapter, product.Name);
            (Linear layer, LinearModule module) = modules[found];
            if (product.Inputs != layer.Inputs || product.Outputs != module.Outputs)
            {
                throw new CheckpointException(
                    adapter.Directory,
                    $"'{product.Name}' is made for [{product.Outputs}, {product.Inputs}], '{found}' is [{module.Outputs}, {layer.Inputs}]: it belongs to another model"
                );
            }

            Of(layer).Products.Add((module, product));
        }

        return new WeightAdapter(name, changes.ToDictionary(c => c.Key, c => c.Value.Pack(c.Key, pool)), replaced);

        Changes Of(Linear layer) =>
            changes.TryGetValue(layer, out Changes? known) ? known : changes[layer] = new Changes();

        void Replace(AdapterTensor tensor)
        {
            if (ModuleNames.Find(tensor.Name, known.ContainsKey) is { } vector)
            {
                Check(tensor, [known[vector].Values.Length]);
                replaced.Add(known[vector], new Vector(vector, tensor.Values));
                return;
            }

            int dot = tensor.Name.LastIndexOf('.');
            string part = tensor.Name[(dot + 1)..];
            string? found = part is "weight" or "bias"
                ? ModuleNames.Find(tensor.Name[..dot], modules.ContainsKey)
                : null;
            (Linear layer, LinearModule module) = modules[found ?? throw Missing(adapter, tensor.Name)];
            if (part == "weight")
            {
                Check(tensor, [module.Outputs, layer.Inputs]);
                Of(layer).Weights.Add((module, tensor.Values));
            }
            else
            {
                Check(tensor, layer.Bias.IsEmpty ? [] : [module.Outputs]);
                Of(layer).Biases.Add((module, tensor.Values));
            }
        }

        void Check(AdapterTensor tensor, int[] shape)
        {
            if (!tensor.Shape.SequenceEqual(shape))
            {
                throw new CheckpointException(
                    adapter.Directory,
                    $"'{tensor.Name}' is [{string.Join(", ", tensor.Shape)}], the model has [{string.Join(", ", shape)}]"
                );
            }
        }
    }

    static CheckpointException Missing(Adapter adapter, string name) =>
        new(
            adapter.Directory,
            $"changes '{name}', which is no linear layer or norm of this model that an adapter in memory can change; where the checkpoint has it, merge the adapter while the model is loaded (--adapter)"
        );

    sealed class Changes
    {
        public List<(LinearModule Module, AdapterModule Product)> Products { get; } = [];

        public List<(LinearModule Module, float[] Values)> Weights { get; } = [];

        public List<(LinearModule Module, float[] Values)> Biases { get; } = [];

        public LinearAdapter Pack(Linear layer, WorkerPool pool)
        {
            Linear? replacement = Replacement(layer, pool);
            return new LinearAdapter
            {
                Products =
                [
                    .. Products.Select(p => new LowRankProduct(
                        p.Module.FirstOutput,
                        Matrix(p.Product.A, p.Product.Rank, pool),
                        Matrix(p.Product.ScaledB(), p.Product.Outputs, pool)
                    )),
                ],
                Replacement = replacement,
                OwnsReplacement = Weights.Count > 0,
                Gain = Products.Exists(p => p.Product.Magnitude is not null) ? Gain(replacement ?? layer) : null,
            };
        }

        Linear? Replacement(Linear layer, WorkerPool pool)
        {
            if (Weights.Count + Biases.Count == 0)
            {
                return null;
            }

            float[] bias = layer.Bias.ToArray();
            foreach ((LinearModule module, float[] values) in Biases)
            {
                values.CopyTo(bias, module.FirstOutput);
            }

            if (Weights.Count == 0)
            {
                return new Linear(layer.Name, layer.Parts.ToArray(), bias);
            }

            float[] weights = new float[checked(layer.Outputs * layer.Inputs)];
            for (int output = 0; output < layer.Outputs; output++)
            {
                layer.UnpackRow(output, weights.AsSpan(output * layer.Inputs, layer.Inputs));
            }

            foreach ((LinearModule module, float[] values) in Weights)
            {
                values.CopyTo(weights, module.FirstOutput * layer.Inputs);
            }

            return new Linear(layer.Name, Matrix(weights, layer.Outputs, pool), bias);
        }

        // m / n of each output; 1 where there are no magnitudes.
        float[] Gain(Linear layer)
        {
            float[] gain = new float[layer.Outputs];
            Array.Fill(gain, 1f);
            float[] row = new float[layer.Inputs];
            foreach ((LinearModule module, AdapterModule product) in Products)
            {
                if (product.Magnitude is not { } magnitude)
                {
                    continue;
                }

                float[] b = product.ScaledB();
                for (int output = 0; output < module.Outputs; output++)
                {
                    layer.UnpackRow(module.FirstOutput + output, row);
                    product.AddRow(b, output, row);
                    gain[module.FirstOutput + output] = magnitude[output] / AdapterModule.Norm(row);
                }
            }

            return gain;
        }

        static PackedMatrix Matrix(float[] values, int rows, WorkerPool pool)
        {
            PackedMatrix packed = new(rows, values.Length / rows, ElementType.F32);
            packed.PackRows(0, rows, MemoryMarshal.AsBytes(values.AsSpan()), ElementType.F32, pool);
            return packed;
        }
    }
}
