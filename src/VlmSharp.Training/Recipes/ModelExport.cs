using System.Runtime.InteropServices;
using System.Text.Json.Nodes;
using VlmSharp.Formats;
using VlmSharp.Kernels;

namespace VlmSharp.Training.Recipes;

/// <summary>Writes a trained model as a checkpoint in Hugging Face layout, which every command takes.</summary>
public static class ModelExport
{
    const int PieceValues = 1 << 22;

    /// <summary>Writes weights, and copies config, tokenizer, processor and template from the checkpoint that training began with.</summary>
    /// <param name="directory">Where; it may hold other files. A model that is there is replaced only by a whole one.</param>
    /// <param name="start">The checkpoint training began with, a directory.</param>
    /// <param name="parameters">The values.</param>
    /// <param name="type">F32 or BF16, to which values are rounded.</param>
    /// <param name="pool">Threads to round with.</param>
    /// <exception cref="IOException">It cannot be written.</exception>
    public static void Write(
        string directory,
        string start,
        ParameterSet parameters,
        SafetensorsType type,
        WorkerPool pool
    )
    {
        ArgumentNullException.ThrowIfNull(parameters);
        if (type is not (SafetensorsType.F32 or SafetensorsType.BF16))
        {
            throw new ArgumentException($"{type} is not written, only F32 and BF16.", nameof(type));
        }

        Directory.CreateDirectory(directory);
        foreach (string file in Directory.GetFiles(start))
        {
            if (!HoldsWeights(file))
            {
                Copy(file, Path.Combine(directory, Path.GetFileName(file)), type);
            }
        }

        using SafetensorsOutput output = new(
            Path.Combine(directory, "model.safetensors"),
            parameters.All.Select(p => (p.Name, type, p.Shape))
        );
        ushort[] rounded = [];
        foreach (Parameter parameter in parameters.All)
        {
            for (int first = 0; first < parameter.Count; first += PieceValues)
            {
                Span<float> values = parameter.Values[first..Math.Min(parameter.Count, first + PieceValues)];
                if (type == SafetensorsType.F32)
                {
                    output.Write(MemoryMarshal.AsBytes(values));
                    continue;
                }

                if (rounded.Length < values.Length)
                {
                    rounded = new ushort[values.Length];
                }

                Span<ushort> halves = rounded.AsSpan(0, values.Length);
                Narrow.ToBF16(values, halves, pool);
                output.Write(MemoryMarshal.AsBytes(halves));
            }
        }

        output.Finish();
        DirectoryEntries.Sync(directory);
    }

    static bool HoldsWeights(string file) =>
        Path.GetExtension(file) is ".safetensors" or ".bin" or ".pt" or ".pth" or ".gguf"
        || file.EndsWith(".index.json", StringComparison.Ordinal);

    static void Copy(string from, string to, SafetensorsType type)
    {
        string copy = $"{to}.writing";
        byte[] bytes = File.ReadAllBytes(from);
        if (Path.GetFileName(from) == "config.json")
        {
            JsonNode config = JsonNode.Parse(bytes)!;
            Retype(config, type == SafetensorsType.F32 ? "float32" : "bfloat16");
            bytes = System.Text.Encoding.UTF8.GetBytes(config.ToJsonString(new() { WriteIndented = true }) + "\n");
        }

        File.WriteAllBytes(copy, bytes);
        File.Move(copy, to, overwrite: true);
    }

    // Other programs load weights as the type that stands here.
    static void Retype(JsonNode config, string type)
    {
        foreach ((string name, JsonNode? value) in config.AsObject().ToArray())
        {
            if (name is "torch_dtype" or "dtype")
            {
                config[name] = type;
            }
            else if (value is JsonObject inner)
            {
                Retype(inner, type);
            }
        }
    }
}
