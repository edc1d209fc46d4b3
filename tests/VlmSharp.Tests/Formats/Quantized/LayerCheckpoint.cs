using System.Text.Json.Nodes;
using VlmSharp.Formats;
using VlmSharp.Kernels;
using VlmSharp.Models.Blocks;
using VlmSharp.Tensors;
using VlmSharp.Testing;

namespace VlmSharp.Tests.Formats.Quantized;

/// <summary>A checkpoint directory of a few layers without a model: <c>quantization_config</c> and one file of tensors.</summary>
sealed class LayerCheckpoint : IDisposable
{
    readonly TemporaryDirectory directory = new();

    /// <summary>Links a file of tensors.</summary>
    public LayerCheckpoint(JsonNode? quantization, string file)
    {
        WriteConfig(quantization);
        File.CreateSymbolicLink(directory["model.safetensors"], Path.GetFullPath(file));
    }

    /// <summary>Writes a file of tensors.</summary>
    public LayerCheckpoint(JsonNode? quantization, SafetensorsWriter file)
    {
        WriteConfig(quantization);
        file.Save(directory["model.safetensors"]);
    }

    /// <summary>Opens it.</summary>
    public Checkpoint Open() => Checkpoint.Open(directory.Path);

    /// <summary>Loads one layer as a model does, and returns its weights [outputs, inputs].</summary>
    public float[] Load(string name, int inputs, int outputs, bool bias = false, int threads = 1)
    {
        using Checkpoint checkpoint = Open();
        using WorkerPool pool = new(threads);
        using Linear linear = new WeightSource(checkpoint, pool).Linear(inputs, bias, (name, outputs));
        return Rows(linear);
    }

    /// <summary>The weights of a linear map: [outputs, inputs].</summary>
    public static float[] Rows(Linear linear)
    {
        float[] rows = new float[linear.Outputs * linear.Inputs];
        for (int row = 0; row < linear.Outputs; row++)
        {
            linear.UnpackRow(row, rows.AsSpan(row * linear.Inputs, linear.Inputs));
        }

        return rows;
    }

    public void Dispose() => directory.Dispose();

    void WriteConfig(JsonNode? quantization) =>
        File.WriteAllText(
            directory["config.json"],
            new JsonObject
            {
                ["architectures"] = new JsonArray("Layers"),
                ["quantization_config"] = quantization,
            }.ToJsonString()
        );
}
