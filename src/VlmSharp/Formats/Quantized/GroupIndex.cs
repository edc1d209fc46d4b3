namespace VlmSharp.Formats.Quantized;

/// <summary>Reads the tensor that tells the group of every input, for layers whose inputs were quantised in another order.</summary>
static class GroupIndex
{
    /// <summary>The group of every input.</summary>
    /// <exception cref="CheckpointException">There is no such group.</exception>
    public static int[] Read(StoredTensor tensor, int groups)
    {
        int[] result = new int[tensor.Info.Count];
        ReadOnlySpan<uint> words = tensor.Words;
        for (int i = 0; i < result.Length; i++)
        {
            result[i] = (int)words[i];
            if (words[i] >= (uint)groups)
            {
                throw tensor.Error($"has group {result[i]} for input {i}, expected 0 .. {groups - 1}");
            }
        }

        return result;
    }
}
