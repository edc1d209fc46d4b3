using System.Runtime.InteropServices;
using VlmSharp.Formats;

namespace VlmSharp.Adapters;

/// <summary>A LoRA adapter in PEFT's layout, read whole: a directory with <c>adapter_config.json</c> and <c>adapter_model.safetensors</c>.</summary>
/// <remarks>Source: arXiv 2106.09685, <c>save_pretrained</c> of PEFT 0.21. Values are widened to f32.</remarks>
public sealed class Adapter
{
    /// <summary>The name of the config in an adapter's directory.</summary>
    public const string ConfigFile = "adapter_config.json";

    /// <summary>The name of the weights in an adapter's directory.</summary>
    public const string WeightsFile = "adapter_model.safetensors";

    const string Prefix = "base_model.model.";
    const string Down = ".lora_A";
    const string Up = ".lora_B";
    const string Magnitude = ".lora_magnitude_vector";
    const string Weight = ".weight";

    /// <summary>An adapter of values in memory.</summary>
    /// <param name="directory">What messages call it.</param>
    /// <param name="config">Ranks and scales.</param>
    /// <param name="modules">The low-rank products.</param>
    /// <param name="tensors">What is stored in full.</param>
    public Adapter(
        string directory,
        AdapterConfig config,
        IReadOnlyList<AdapterModule> modules,
        IReadOnlyList<AdapterTensor> tensors
    ) => (Directory, Config, Modules, Tensors) = (directory, config, modules, tensors);

    /// <summary>Where it was read.</summary>
    public string Directory { get; }

    /// <summary>What its config says.</summary>
    public AdapterConfig Config { get; }

    /// <summary>The low-rank products, in the order of their names.</summary>
    public IReadOnlyList<AdapterModule> Modules { get; }

    /// <summary>What takes the place of tensors of the checkpoint.</summary>
    public IReadOnlyList<AdapterTensor> Tensors { get; }

    /// <summary>Reads an adapter.</summary>
    /// <param name="directory">In PEFT's layout.</param>
    /// <exception cref="CheckpointException">A file is missing or damaged, contradicts the other one, or asks for something that is not implemented.</exception>
    public static Adapter Open(string directory)
    {
        if (!System.IO.Directory.Exists(directory))
        {
            throw new CheckpointException(directory, $"there is no such directory; expected one with {ConfigFile}");
        }

        AdapterConfig config = AdapterConfig.Read(JsonObjectReader.Open(Path.Combine(directory, ConfigFile)));
        using SafetensorsFile file = SafetensorsFile.Open(Path.Combine(directory, WeightsFile));
        SortedDictionary<string, Found> modules = new(StringComparer.Ordinal);
        List<AdapterTensor> tensors = [];
        foreach (TensorInfo tensor in file.Tensors)
        {
            string name = tensor.Name.StartsWith(Prefix, StringComparison.Ordinal)
                ? tensor.Name[Prefix.Length..]
                : throw new CheckpointException(
                    file.Name,
                    $"tensor '{Short(tensor)}' belongs to no module, expected names that begin with {Prefix}"
                );
            (string module, string part) = Split(name);
            if (part.Length > 0)
            {
                Found found = modules.TryGetValue(module, out Found? known) ? known : modules[module] = new Found();
                if (part is not (Down or Up or Magnitude) || !found.Parts.TryAdd(part, tensor))
                {
                    throw new CheckpointException(
                        file.Name,
                        $"tensor '{Short(tensor)}' is not implemented; expected lora_A.weight, lora_B.weight or lora_magnitude_vector, each once"
                    );
                }
            }
            else if (config.Saves(module))
            {
                tensors.Add(new AdapterTensor(module, tensor.Shape, file.Floats(tensor.Name)));
            }
            else
            {
                throw new CheckpointException(
                    file.Name,
                    $"tensor '{Short(tensor)}' is none of an adapter, nor does {ConfigFile} name it in 'modules_to_save' or 'bias'"
                );
            }
        }

        return modules.Count + tensors.Count > 0
            ? new Adapter(directory, config, [.. modules.Select(m => m.Value.Read(file, config, m.Key))], tensors)
            : throw new CheckpointException(file.Name, "holds no tensors, expected those of an adapter");
    }

    // A module's name with what stands behind it; a tensor's name and nothing where it is stored in full.
    static (string Module, string Part) Split(string name)
    {
        int lora = name.IndexOf(".lora_", StringComparison.Ordinal);
        if (lora >= 0)
        {
            string part = name[lora..].Replace(".default", "", StringComparison.Ordinal);
            return (
                name[..lora],
                part.EndsWith(Weight, StringComparison.Ordinal) ? part[..^Weight.Length]
                : part == Magnitude ? part
                : name[lora..]
            );
        }

        string plain = name.Replace(".modules_to_save.default.", ".", StringComparison.Ordinal)
            .Replace(".modules_to_save.", ".", StringComparison.Ordinal)
            .Replace(".base_layer.", ".", StringComparison.Ordinal);
        return (plain, "");
    }

    // Names from files may be absurdly long.
    static string Short(TensorInfo tensor) => tensor.Name.Length <= 120 ? tensor.Name : tensor.Name[..117] + "...";

    sealed class Found
    {
        public Dictionary<string, TensorInfo> Parts { get; } = [];

        public AdapterModule Read(SafetensorsFile file, AdapterConfig config, string name)
        {
            int rank = config.RankOf(name);
            TensorInfo a = Get(file, name, Down, rank, null);
            TensorInfo b = Get(file, name, Up, null, rank);
            float[]? magnitude = null;
            if (config.Magnitudes != Parts.ContainsKey(Magnitude))
            {
                throw new CheckpointException(
                    file.Name,
                    $"module '{name}' has {(config.Magnitudes ? "no" : "a")} lora_magnitude_vector, {ConfigFile} says use_dora {(config.Magnitudes ? "true" : "false")}"
                );
            }

            if (config.Magnitudes)
            {
                TensorInfo m = Parts[Magnitude];
                magnitude =
                    m.Shape is [var outputs] && outputs == b.Shape[0]
                        ? file.Floats(m.Name)
                        : throw new CheckpointException(file.Name, $"holds {m}, expected [{b.Shape[0]}]");
            }

            return new AdapterModule(
                name,
                rank,
                config.ScaleOf(name),
                file.Floats(a.Name),
                file.Floats(b.Name),
                magnitude
            );
        }

        TensorInfo Get(SafetensorsFile file, string name, string part, int? rows, int? columns)
        {
            if (!Parts.TryGetValue(part, out TensorInfo? tensor))
            {
                throw new CheckpointException(file.Name, $"module '{name}' has no {part[1..]}.weight");
            }

            return
                tensor.Shape is [> 0, > 0]
                && (rows ?? tensor.Shape[0]) == tensor.Shape[0]
                && (columns ?? tensor.Shape[1]) == tensor.Shape[1]
                ? tensor
                : throw new CheckpointException(
                    file.Name,
                    $"holds {tensor}, expected [{rows?.ToString() ?? "outputs"}, {columns?.ToString() ?? "inputs"}]: {ConfigFile} gives it rank {rows ?? columns}"
                );
        }
    }

    /// <summary>Writes it in PEFT's layout, weights in f32.</summary>
    /// <param name="directory">It is made where it is not there; files in it stay until whole ones take their place.</param>
    /// <exception cref="IOException">It cannot be written.</exception>
    public void Save(string directory)
    {
        System.IO.Directory.CreateDirectory(directory);
        (string Name, int[] Shape, float[] Values)[] all =
        [
            .. Modules.SelectMany(Parts).Concat(Tensors.Select(t => (Prefix + Stored(t.Name), t.Shape, t.Values))),
        ];
        using SafetensorsOutput output = new(
            Path.Combine(directory, WeightsFile),
            all.Select(t => (t.Name, SafetensorsType.F32, (IReadOnlyList<int>)t.Shape))
        );
        foreach ((_, _, float[] values) in all)
        {
            output.Write(MemoryMarshal.AsBytes(values.AsSpan()));
        }

        output.Finish();
        string config = Path.Combine(directory, ConfigFile);
        File.WriteAllText($"{config}.writing", Config.ToJson());
        File.Move($"{config}.writing", config, overwrite: true);
    }

    // PEFT puts layers with products into others, under this name.
    string Stored(string tensor)
    {
        const string Bias = ".bias";
        return tensor.EndsWith(Bias, StringComparison.Ordinal) && Modules.Any(m => m.Name == tensor[..^Bias.Length])
            ? $"{tensor[..^Bias.Length]}.base_layer{Bias}"
            : tensor;
    }

    static IEnumerable<(string Name, int[] Shape, float[] Values)> Parts(AdapterModule module)
    {
        string name = Prefix + module.Name;
        yield return (name + Down + Weight, [module.Rank, module.Inputs], module.A);
        yield return (name + Up + Weight, [module.Outputs, module.Rank], module.B);
        if (module.Magnitude is { } magnitude)
        {
            yield return (name + Magnitude, [module.Outputs], magnitude);
        }
    }
}
