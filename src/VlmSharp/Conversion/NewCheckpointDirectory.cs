using System.Text.Json;
using System.Text.Json.Nodes;

namespace VlmSharp.Conversion;

/// <summary>Makes a checkpoint directory out of another one with other weights.</summary>
static class NewCheckpointDirectory
{
    static readonly string[] Copied = [".json", ".txt", ".jinja", ".tiktoken", ".md"];

    // What config.json or a file of its own says about the way quantised layers were stored: they are no longer.
    const string Quantization = "quantization_config";
    const string QuantizationFile = "quantize_config.json";

    /// <summary>Writes the directory, which appears when it is complete.</summary>
    /// <param name="source">The checkpoint whose other files are copied.</param>
    /// <param name="target">A directory that does not exist.</param>
    /// <param name="writeWeights">Writes weights into a directory.</param>
    /// <exception cref="IOException">The target is there already, or cannot be written.</exception>
    public static void Write(string source, string target, Action<string> writeWeights)
    {
        if (Path.Exists(target))
        {
            throw new IOException($"{target} is there already; remove it or choose another name");
        }

        string unfinished = $"{Path.TrimEndingDirectorySeparator(Path.GetFullPath(target))}.unfinished";
        if (Directory.Exists(unfinished))
        {
            Directory.Delete(unfinished, recursive: true);
        }

        Directory.CreateDirectory(unfinished);
        try
        {
            writeWeights(unfinished);
            CopyFiles(source, unfinished);
            Directory.Move(unfinished, target);
        }
        catch
        {
            Directory.Delete(unfinished, recursive: true);
            throw;
        }
    }

    static void CopyFiles(string source, string target)
    {
        foreach (string file in Directory.GetFiles(source))
        {
            string name = Path.GetFileName(file);
            bool index = name.EndsWith(".safetensors.index.json", StringComparison.Ordinal);
            if (Copied.Contains(Path.GetExtension(name)) && !index && name != QuantizationFile)
            {
                File.Copy(file, Path.Combine(target, name));
            }
        }

        string config = Path.Combine(target, "config.json");
        JsonObject json = JsonNode.Parse(File.ReadAllBytes(config))!.AsObject();
        if (json.Remove(Quantization))
        {
            File.WriteAllText(config, json.ToJsonString(new JsonSerializerOptions { WriteIndented = true }));
        }
    }
}
