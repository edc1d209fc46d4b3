using VlmSharp.Formats;
using VlmSharp.Training.Scratch;

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
            NewTokenizer.Write(Path, RandomTokenizer.Pairs(shape.Vocabulary));
            NewCheckpoint.WriteConfigs(Path, shape, (4 * 28 * 28, 16384 * 28 * 28));
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

    void WriteWeights((string Name, int[] Shape)[] tensors, Action<double> onProgress)
    {
        using SafetensorsOutput file = new(
            System.IO.Path.Combine(Path, "model.safetensors"),
            tensors.Select(t => (t.Name, SafetensorsType.BF16, (IReadOnlyList<int>)t.Shape))
        );
        long total = 2 * tensors.Sum(t => t.Shape.Aggregate(1L, (count, extent) => count * extent));
        byte[] block = RandomWeights();
        for (long written = 0; written < total; written += block.Length)
        {
            file.Write(block.AsSpan(0, (int)Math.Min(block.Length, total - written)));
            onProgress((double)written / total);
        }

        file.Finish();
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
