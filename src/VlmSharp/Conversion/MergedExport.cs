using VlmSharp.Formats;

namespace VlmSharp.Conversion;

/// <summary>Writes a checkpoint as it is after <see cref="Checkpoint.Change"/>, in the layout in which it was published.</summary>
public static class MergedExport
{
    const int PieceBytes = 1 << 28;

    /// <summary>Writes the directory, which appears when it is complete. Tensors keep their types.</summary>
    /// <param name="checkpoint">A directory in Hugging Face layout that is not quantised.</param>
    /// <param name="target">A directory that does not exist.</param>
    /// <param name="progress">Told the share of weights that are written, 0 to 1.</param>
    /// <exception cref="CheckpointException">The checkpoint is quantised, or a pair of GGUF files.</exception>
    /// <exception cref="IOException">The target is there already, or cannot be written.</exception>
    public static void Write(Checkpoint checkpoint, string target, IProgress<double>? progress = null)
    {
        ArgumentNullException.ThrowIfNull(checkpoint);
        if (
            checkpoint.Gguf.Count > 0
            || checkpoint.Tensors.FirstOrDefault(t =>
                t.Type is not (SafetensorsType.F32 or SafetensorsType.F16 or SafetensorsType.BF16)
            )
                is not null
        )
        {
            throw new CheckpointException(
                checkpoint.Directory,
                "is quantised; adapters are merged into the checkpoint it was made of, or while a model is loaded"
            );
        }

        long total = checkpoint.Tensors.Sum(tensor => tensor.Count);
        long done = 0;
        NewCheckpointDirectory.Write(checkpoint.Directory, target, directory => Save(checkpoint, directory, Done));

        void Done(long count) => progress?.Report((double)(done += count) / Math.Max(1, total));
    }

    static void Save(Checkpoint checkpoint, string directory, Action<long> written)
    {
        using SafetensorsOutput output = new(
            Path.Combine(directory, "model.safetensors"),
            checkpoint.Tensors.Select(t => (t.Name, t.Type, (IReadOnlyList<int>)t.Shape))
        );
        foreach (TensorInfo info in checkpoint.Tensors)
        {
            CheckpointTensor tensor = checkpoint.Get(info.Name, info.Shape);
            if (info.Size <= PieceBytes || info.Shape.Length == 0)
            {
                output.Write(tensor.Bytes);
            }
            else
            {
                int rows = (int)Math.Max(1, PieceBytes / (info.Size / info.Shape[0]));
                for (int row = 0; row < info.Shape[0]; row += rows)
                {
                    output.Write(tensor.Rows(row, Math.Min(rows, info.Shape[0] - row)).Bytes);
                }
            }

            written(info.Count);
            checkpoint.ReleasePages();
        }

        output.Finish();
    }
}
