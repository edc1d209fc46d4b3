namespace VlmSharp.Formats;

/// <summary>Opens the weight files of a checkpoint: one <c>model.safetensors</c>, or the shards its index names.</summary>
static class WeightFiles
{
    const string SingleName = "model.safetensors";
    const string IndexName = "model.safetensors.index.json";

    // 90 000 tensors, the most published so far, make an index of 9 MB.
    const long MaxIndexBytes = 64 << 20;

    /// <summary>The opened files, which the caller owns, and the file to name when a tensor is missing from all of them.</summary>
    /// <remarks>As in transformers, the single file counts where both are present.</remarks>
    public static (SafetensorsFile[] Files, string Name) Open(string directory)
    {
        string single = Path.Combine(directory, SingleName);
        if (Path.Exists(single))
        {
            return ([SafetensorsFile.Open(single)], SingleName);
        }

        string index = Path.Combine(directory, IndexName);
        return Path.Exists(index)
            ? (OpenShards(directory, index), IndexName)
            : throw new CheckpointException(
                SingleName,
                $"neither it nor {IndexName} is in {Path.GetFullPath(directory)}; weights in other formats (.bin, .pth, .gguf) are not read"
            );
    }

    static SafetensorsFile[] OpenShards(string directory, string indexPath)
    {
        // The index also has metadata.total_size. It is wrong in published checkpoints (half of the size in Qwen-VL's) and is not used.
        JsonObjectReader index = JsonObjectReader.Open(indexPath, MaxIndexBytes);
        JsonObjectReader map = index.Object("weight_map");
        Dictionary<string, List<string>> shards = new(StringComparer.Ordinal);
        foreach (string tensor in map.Names)
        {
            string shard = map.Text(tensor);
            if (!shards.TryGetValue(shard, out List<string>? tensors))
            {
                CheckName(map, tensor, shard);
                if (!File.Exists(Path.Combine(directory, shard)))
                {
                    throw Error(map, tensor, shard, $"which is not in {Path.GetFullPath(directory)}");
                }

                shards.Add(shard, tensors = []);
            }

            tensors.Add(tensor);
        }

        if (shards.Count == 0)
        {
            throw index.Error("weight_map", "is empty, expected the file of every tensor");
        }

        List<SafetensorsFile> files = [];
        try
        {
            foreach ((string shard, List<string> tensors) in shards.OrderBy(pair => pair.Key, StringComparer.Ordinal))
            {
                SafetensorsFile file = SafetensorsFile.Open(Path.Combine(directory, shard));
                files.Add(file);
                CheckTensors(map, file, tensors);
            }

            return [.. files];
        }
        catch
        {
            files.ForEach(file => file.Dispose());
            throw;
        }
    }

    // A name, never a path: what an index says must not lead out of the checkpoint's directory.
    static void CheckName(JsonObjectReader map, string tensor, string shard)
    {
        if (!shard.EndsWith(".safetensors") || shard.AsSpan().ContainsAny("/\\:") || shard.Any(char.IsControl))
        {
            throw Error(map, tensor, shard, "expected the plain name of a .safetensors file in the same directory");
        }
    }

    // Both ways: what the index promises is in the shard, and the shard holds nothing that the index puts elsewhere or does not know.
    static void CheckTensors(JsonObjectReader map, SafetensorsFile file, List<string> promised)
    {
        foreach (string tensor in promised)
        {
            if (!file.Contains(tensor))
            {
                throw Error(map, tensor, file.Name, "which has no such tensor");
            }
        }

        if (file.Tensors.Count != promised.Count)
        {
            string extra = file.Tensors.Select(tensor => tensor.Name).Except(promised).First();
            throw new CheckpointException(
                file.Name,
                map.Has(extra)
                    ? $"has the tensor {Quote.Name(extra)}, which {map.File} says is in {Quote.Name(map.Text(extra))}"
                    : $"has the tensor {Quote.Name(extra)}, which {map.File} does not list"
            );
        }
    }

    static CheckpointException Error(JsonObjectReader map, string tensor, string shard, string message) =>
        new(map.File, $"weight_map puts tensor {Quote.Name(tensor)} into {Quote.Name(shard)}, {message}");
}
