using System.Runtime.InteropServices;
using VlmSharp.Adapters;
using VlmSharp.Formats;
using VlmSharp.Kernels;
using VlmSharp.Tensors;
using VlmSharp.Training.Synthesis;

namespace VlmSharp.Training;

/// <summary>The trained adapter of a model whose weights are frozen.</summary>
/// <remarks>
/// Its parameters have the names that <see cref="Adapter.Save"/> gives tensors. A begins uniform in +-1 / sqrt(inputs), B with zeros,
/// magnitudes with the norms of the rows of W, as in PEFT.
/// </remarks>
public sealed class LoraSet : IDisposable
{
    const string Prefix = "base_model.model.";

    readonly Dictionary<Linear, LoraLayer> layers = [];
    readonly List<LoraProduct> products = [];
    readonly ParameterSet parameters;
    readonly WorkerPool pool;
    int count;

    /// <summary>Puts products beside the linear layers that a config names.</summary>
    /// <param name="config">Which, and their sizes.</param>
    /// <param name="linears">The linear maps of the model.</param>
    /// <param name="parameters">Get those of the adapter; what is saved in full is there already.</param>
    /// <param name="start">An adapter whose values training begins with; null for new values.</param>
    /// <param name="seed">Decides new values.</param>
    /// <param name="pool">Threads.</param>
    /// <exception cref="CheckpointException">The config names no layer, or the adapter to start from has others.</exception>
    internal LoraSet(
        AdapterConfig config,
        IReadOnlyList<Linear> linears,
        ParameterSet parameters,
        Adapter? start,
        ulong seed,
        WorkerPool pool
    )
    {
        Config = config;
        this.parameters = parameters;
        this.pool = pool;
        Dictionary<string, AdapterModule> given = start?.Modules.ToDictionary(m => m.Name) ?? [];
        foreach (Linear linear in linears)
        {
            List<LoraProduct> beside = [];
            foreach (LinearModule module in linear.Modules)
            {
                string name = ModuleNames.Current(module.Name);
                if (start is not null)
                {
                    string? own = given.Keys.FirstOrDefault(key =>
                        ModuleNames.Find(key, n => n == module.Name) is not null
                    );
                    if (own is not null)
                    {
                        beside.Add(New(given[own], linear, module));
                        given.Remove(own);
                    }
                }
                else if (config.Adapts(name))
                {
                    beside.Add(New(Begin(name, linear, module, seed), linear, module));
                }
            }

            if (beside.Count > 0)
            {
                layers.Add(linear, new LoraLayer(linear, beside));
                products.AddRange(beside);
            }
        }

        if (given.Count > 0 || products.Count == 0)
        {
            throw new CheckpointException(
                start?.Directory ?? "the adapter",
                given.Count > 0
                    ? $"adapts '{given.Keys.First()}', which is no linear layer of this model that can be trained"
                    : "names no linear layer of this model in its targets"
            );
        }
    }

    /// <summary>Ranks and scales.</summary>
    public AdapterConfig Config { get; }

    /// <summary>The product beside a linear map; null for none.</summary>
    internal LoraLayer? Find(Linear layer) => layers.GetValueOrDefault(layer);

    AdapterModule Begin(string name, Linear linear, LinearModule module, ulong seed)
    {
        int rank = Config.RankOf(name);
        float bound = (float)(1 / Math.Sqrt(linear.Inputs));
        CounterRandom random = new(seed, (ulong)count);
        float[] a = new float[checked(rank * linear.Inputs)];
        foreach (ref float value in a.AsSpan())
        {
            value = (float)random.Number(-bound, bound);
        }

        float[]? magnitude = Config.Magnitudes
            ? new LoraLayer(linear, []).RowNorms().AsSpan(module.FirstOutput, module.Outputs).ToArray()
            : null;
        return new AdapterModule(
            name,
            rank,
            Config.ScaleOf(name),
            a,
            new float[checked(module.Outputs * rank)],
            magnitude
        );
    }

    LoraProduct New(AdapterModule from, Linear linear, LinearModule module)
    {
        if (from.Inputs != linear.Inputs || from.Outputs != module.Outputs)
        {
            throw new CheckpointException(
                "the adapter",
                $"has '{from.Name}' for [{from.Outputs}, {from.Inputs}], the model has [{module.Outputs}, {linear.Inputs}]"
            );
        }

        return new LoraProduct(
            from.Name,
            count++,
            module,
            (float)from.Scale,
            Matrix($"{from.Name}.lora_A.weight", from.A, from.Rank),
            Matrix($"{from.Name}.lora_B.weight", from.B, from.Outputs),
            from.Magnitude is { } magnitude
                ? parameters.Add($"{Prefix}{from.Name}.lora_magnitude_vector", [from.Outputs], magnitude)
                : null
        );
    }

    LoraMatrix Matrix(string name, float[] values, int rows)
    {
        PackedMatrix packed = new(rows, values.Length / rows, ElementType.F32);
        packed.PackRows(0, rows, MemoryMarshal.AsBytes(values.AsSpan()), ElementType.F32, pool);
        (Parameter parameter, TrainedMatrix trained) = parameters.Add(Prefix + name, packed, values);
        return new LoraMatrix(parameter, packed, trained);
    }

    /// <summary>Hands changed values to the forward pass.</summary>
    internal void Changed()
    {
        foreach (LoraLayer layer in layers.Values)
        {
            layer.Changed();
        }
    }

    /// <summary>The adapter as it is now, to save it.</summary>
    /// <param name="directory">What messages call it.</param>
    public Adapter ToAdapter(string directory) =>
        new(
            directory,
            Config,
            [
                .. products
                    .Select(p => new AdapterModule(
                        p.Name,
                        p.A.Packed.Rows,
                        p.Scale,
                        p.A.Parameter.Values.ToArray(),
                        p.B.Parameter.Values.ToArray(),
                        p.Magnitude?.Values.ToArray()
                    ))
                    .OrderBy(m => m.Name, StringComparer.Ordinal),
            ],
            [
                .. parameters
                    .Trained.Where(p => !p.Name.StartsWith(Prefix, StringComparison.Ordinal))
                    .Select(p => new AdapterTensor(ModuleNames.Current(p.Name), [.. p.Shape], p.Values.ToArray())),
            ]
        );

    /// <summary>Frees the packed values.</summary>
    public void Dispose() =>
        products.ForEach(p =>
        {
            p.A.Packed.Dispose();
            p.B.Packed.Dispose();
        });
}
