using VlmSharp.Adapters;
using VlmSharp.Formats;

namespace VlmSharp.Tests.Adapters;

/// <summary>Adapters of random values for a checkpoint, of each kind.</summary>
static class RandomAdapters
{
    /// <summary>Writes a plain one, one with magnitudes, and one that stores modules in full; their directories.</summary>
    public static IEnumerable<string> Write(string directory, string checkpoint)
    {
        yield return Write(Path.Combine(directory, "plain"), checkpoint, 3, new AdapterConfig { Rank = 3, Alpha = 6 });
        yield return Write(
            Path.Combine(directory, "dora"),
            checkpoint,
            4,
            new AdapterConfig
            {
                Rank = 2,
                Alpha = 5,
                RankStabilised = true,
                Magnitudes = true,
            }
        );
        yield return Write(
            Path.Combine(directory, "modules"),
            checkpoint,
            5,
            new AdapterConfig
            {
                Rank = 4,
                Alpha = 4,
                Saved = ["merger", "input_layernorm"],
            }
        );
    }

    static string Write(string directory, string path, int seed, AdapterConfig config)
    {
        config = config with
        {
            TargetPattern = @".*(self_attn\.(q_proj|v_proj|o_proj)|mlp\.(up_proj|down_proj)|attn\.qkv)",
        };
        using Checkpoint checkpoint = Checkpoint.Open(path);
        Random random = new(seed);
        List<AdapterModule> modules = [];
        List<AdapterTensor> tensors = [];
        foreach (TensorInfo tensor in checkpoint.Tensors.OrderBy(t => t.Name, StringComparer.Ordinal))
        {
            string name = ModuleNames.Current(tensor.Name);
            string module = name.EndsWith(".weight", StringComparison.Ordinal) ? name[..^".weight".Length] : name;
            if (config.Saves(name))
            {
                tensors.Add(new AdapterTensor(name, tensor.Shape, Values((int)tensor.Count, 0.3)));
            }
            else if (config.Adapts(module) && tensor.Shape is [var outputs, var inputs])
            {
                modules.Add(
                    new AdapterModule(
                        module,
                        config.Rank,
                        config.ScaleOf(module),
                        Values(config.Rank * inputs, 0.3),
                        Values(outputs * config.Rank, 0.3),
                        config.Magnitudes ? Values(outputs, 1) : null
                    )
                );
            }
        }

        new Adapter(directory, config, modules, tensors).Save(directory);
        return directory;

        float[] Values(int count, double size) =>
            [.. Enumerable.Range(0, count).Select(_ => (float)(size * ((2 * random.NextDouble()) - 1)))];
    }
}
