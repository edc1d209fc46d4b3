using System.Runtime.InteropServices;
using System.Text.Json;
using System.Text.Json.Nodes;
using VlmSharp.Formats;
using VlmSharp.Text;

namespace VlmSharp.Training.Scratch;

/// <summary>Writes checkpoints that nobody has trained yet, in the layout of published ones.</summary>
public static class NewCheckpoint
{
    static readonly JsonSerializerOptions Indented = new() { WriteIndented = true };

    /// <summary>Writes config, processor, tokenizer and initial weights in f32.</summary>
    /// <param name="directory">Where; it exists.</param>
    /// <param name="shape">The sizes; its vocabulary is replaced by the given one.</param>
    /// <param name="pairs">The vocabulary, without special tokens.</param>
    /// <param name="limits">Pixels of a picture after resizing.</param>
    /// <param name="seed">Of the weights.</param>
    public static void Write(string directory, ModelShape shape, BytePairs pairs, (int Min, int Max) limits, int seed)
    {
        NewTokenizer.Write(directory, pairs);
        shape = shape.WithVocabulary(pairs.Tokens.Count);
        WriteConfigs(directory, shape, limits);
        (string Name, int[] Shape)[] tensors = [.. shape.Tensors()];
        using SafetensorsOutput output = new(
            Path.Combine(directory, "model.safetensors"),
            tensors.Select(t => (t.Name, SafetensorsType.F32, (IReadOnlyList<int>)t.Shape))
        );
        foreach ((string name, int[] extents) in tensors)
        {
            float[] values = new float[extents.Aggregate(1, (count, extent) => checked(count * extent))];
            InitialWeights.Fill(name, extents, seed, values);
            output.Write(MemoryMarshal.AsBytes<float>(values));
        }

        output.Finish();
    }

    /// <summary>Writes config.json and preprocessor_config.json.</summary>
    public static void WriteConfigs(string directory, ModelShape shape, (int Min, int Max) limits)
    {
        JsonObject processor = new()
        {
            ["image_processor_type"] = "Qwen2VLImageProcessor",
            ["min_pixels"] = limits.Min,
            ["max_pixels"] = limits.Max,
            ["patch_size"] = shape.PatchSize,
            ["temporal_patch_size"] = 2,
            ["merge_size"] = 2,
            ["image_mean"] = new JsonArray(0.5, 0.5, 0.5),
            ["image_std"] = new JsonArray(0.5, 0.5, 0.5),
        };
        File.WriteAllText(Path.Combine(directory, "config.json"), shape.Config.ToJsonString(Indented));
        File.WriteAllText(Path.Combine(directory, "preprocessor_config.json"), processor.ToJsonString(Indented));
    }
}
