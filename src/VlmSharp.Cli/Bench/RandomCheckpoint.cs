using System.Text.Json;
using System.Text.Json.Nodes;

namespace VlmSharp.Cli.Bench;

/// <summary>A checkpoint directory with random bf16 weights in the shapes of a published model. A temporary one is deleted when it is disposed.</summary>
sealed class RandomCheckpoint : IDisposable
{
    const int BlockBytes = 16 << 20;

    readonly bool temporary;

    /// <summary>Writes config, processor, tokenizer and weights.</summary>
    /// <param name="shape">The sizes.</param>
    /// <param name="directory">Where: a directory that does not exist yet, which stays; null for a temporary one.</param>
    /// <param name="onProgress">Told the share of bytes written.</param>
    /// <exception cref="IOException">There is no room for the files, or something there already.</exception>
    public RandomCheckpoint(ModelShape shape, string? directory, Action<double> onProgress)
    {
        if (System.IO.Path.Exists(directory))
        {
            throw new IOException($"{directory} is there already; name a directory that does not exist");
        }

        temporary = directory is null;
        Path = directory is null
            ? Directory.CreateTempSubdirectory($"vlm-{shape.Name}-").FullName
            : Directory.CreateDirectory(directory).FullName;
        try
        {
            RandomTokenizer.Write(Path);
            File.WriteAllText(InDirectory("config.json"), shape.Config.ToJsonString());
            File.WriteAllText(InDirectory("preprocessor_config.json"), Processor(shape).ToJsonString());
            WriteWeights([.. shape.Tensors()], onProgress);
        }
        catch
        {
            Directory.Delete(Path, recursive: true);
            throw;
        }
    }

    /// <summary>The directory.</summary>
    public string Path { get; }

    string InDirectory(string name) => System.IO.Path.Combine(Path, name);

    static JsonObject Processor(ModelShape shape) =>
        new()
        {
            ["min_pixels"] = 4 * 28 * 28,
            ["max_pixels"] = 16384 * 28 * 28,
            ["patch_size"] = shape.PatchSize,
            ["temporal_patch_size"] = 2,
            ["merge_size"] = 2,
            ["image_mean"] = new JsonArray(0.5, 0.5, 0.5),
            ["image_std"] = new JsonArray(0.5, 0.5, 0.5),
        };

    void WriteWeights((string Name, int[] Shape)[] tensors, Action<double> onProgress)
    {
        JsonObject header = [];
        long total = 0;
        foreach ((string name, int[] shape) in tensors)
        {
            long end = total + (2 * shape.Aggregate(1L, (count, extent) => count * extent));
            header[name] = new JsonObject
            {
                ["dtype"] = "BF16",
                ["shape"] = new JsonArray([.. shape.Select(extent => (JsonNode)extent)]),
                ["data_offsets"] = new JsonArray(total, end),
            };
            total = end;
        }

        byte[] json = JsonSerializer.SerializeToUtf8Bytes(header);
        using FileStream file = new(
            InDirectory("model.safetensors"),
            FileMode.Create,
            FileAccess.Write,
            FileShare.None,
            0
        );
        file.Write(BitConverter.GetBytes((long)json.Length));
        file.Write(json);
        byte[] block = RandomWeights();
        for (long written = 0; written < total; written += block.Length)
        {
            file.Write(block, 0, (int)Math.Min(block.Length, total - written));
            onProgress((double)written / total);
        }
    }

    /// <summary>bf16 values of both signs between 2^-8 and 2^-4, as weights are: neither denormal nor growing from layer to layer.</summary>
    static byte[] RandomWeights()
    {
        byte[] block = new byte[BlockBytes];
        Random random = new(1);
        random.NextBytes(block);
        for (int i = 1; i < block.Length; i += 2)
        {
            block[i] = (byte)((block[i] & 0x80) | (0x3B + (block[i] & 1))); // sign, and the upper bits of the exponent
        }

        return block;
    }

    /// <summary>Deletes a temporary directory.</summary>
    public void Dispose()
    {
        if (temporary)
        {
            Directory.Delete(Path, recursive: true);
        }
    }
}
