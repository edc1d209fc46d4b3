using System.Runtime.InteropServices;
using VlmSharp.Formats;
using VlmSharp.Kernels;
using VlmSharp.Models;
using VlmSharp.Models.Blocks;

namespace VlmSharp.Conversion;

/// <summary>Writes a checkpoint whose matrices lie in the file as they lie in memory, so that loading is reading.</summary>
/// <remarks>The other files of the directory go with it. Only this program reads the weights, and only in builds with the same layout of panels.</remarks>
public static class PackedExport
{
    /// <summary>Writes the directory, which appears when it is complete.</summary>
    /// <param name="checkpoint">A directory in Hugging Face layout; <see cref="Checkpoint.PackTo"/> says what its matrices are packed to.</param>
    /// <param name="target">A directory that does not exist.</param>
    /// <param name="pool">Threads to pack with.</param>
    /// <param name="progress">Told the share of weights that are packed, 0 to 1.</param>
    /// <returns>For each format the number of matrices and their bytes.</returns>
    /// <exception cref="CheckpointException">The checkpoint is a pair of GGUF files or packed already, or cannot be loaded.</exception>
    /// <exception cref="IOException">The target is there already, or cannot be written.</exception>
    public static IReadOnlyList<(WeightFormat Format, int Matrices, long Bytes)> Write(
        Checkpoint checkpoint,
        string target,
        WorkerPool pool,
        IProgress<double>? progress = null
    )
    {
        if (checkpoint.Gguf.Count > 0 || checkpoint.HasPanels)
        {
            string what = checkpoint.HasPanels ? "is packed already" : "is a GGUF file";
            throw new CheckpointException(checkpoint.Directory, $"{what}; panels are made of a checkpoint directory");
        }

        Recorder recorder = new();
        NewCheckpointDirectory.Write(
            checkpoint.Directory,
            target,
            unfinished =>
            {
                using (
                    ModelRegistry
                        .Open(checkpoint)
                        .Load(new WeightSource(checkpoint, pool, progress, recorder: recorder))
                )
                {
                    recorder.Save(Path.Combine(unfinished, "model.safetensors"));
                }
            }
        );
        return
        [
            .. recorder
                .Matrices.GroupBy(matrix => matrix.Matrix.Storage)
                .Select(group => (group.Key, group.Count(), group.Sum(matrix => matrix.Matrix.Bytes))),
        ];
    }

    sealed class Recorder : IWeightRecorder
    {
        readonly Dictionary<string, int> taken = [];
        readonly Dictionary<string, (int[] Shape, float[] Values)> arrays = [];
        readonly List<(string Name, PackedMatrix Matrix)> matrices = [];

        public IReadOnlyList<(string Name, PackedMatrix Matrix)> Matrices => matrices;

        public void Packed(string name, PackedMatrix matrix)
        {
            int n = taken[name] = taken.GetValueOrDefault(name, -1) + 1;
            matrices.Add((PackedTensor.Name(name, n), matrix));
        }

        public void Read(CheckpointTensor tensor, ReadOnlySpan<float> values) =>
            arrays[tensor.Name] = (tensor.Shape, values.ToArray());

        // Matrices first: headers are of 64 bytes, and so each stays at a multiple of 64.
        public void Save(string path)
        {
            using SafetensorsOutput output = new(
                path,
                [
                    .. matrices.Select(m =>
                        (m.Name, SafetensorsType.U8, (IReadOnlyList<int>)[Rows(m.Matrix), PackedMatrix.HeaderBytes])
                    ),
                    .. arrays.Select(a => (a.Key, SafetensorsType.F32, (IReadOnlyList<int>)a.Value.Shape)),
                ],
                (PackedTensor.MetadataKey, PackedTensor.Version)
            );
            matrices.ForEach(m => output.Write(m.Matrix.Save));
            foreach ((_, float[] values) in arrays.Values)
            {
                output.Write(MemoryMarshal.AsBytes(values.AsSpan()));
            }

            output.Finish();

            // The shape says nothing: a file has no extents beyond those of an integer.
            static int Rows(PackedMatrix matrix) => checked((int)((matrix.Bytes / PackedMatrix.HeaderBytes) + 1));
        }
    }
}
