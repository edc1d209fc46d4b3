using VlmSharp.Formats;
using VlmSharp.Kernels;

namespace VlmSharp.Models.Blocks;

/// <summary>Is told what a model takes while it is loaded, in its order: everything that loading it again needs.</summary>
public interface IWeightRecorder
{
    /// <summary>A matrix was packed.</summary>
    /// <param name="name">The first tensor in it; a name may come again.</param>
    /// <param name="matrix">Belongs to the model.</param>
    void Packed(string name, PackedMatrix matrix);

    /// <summary>A norm, a bias or a table was read; a name may come again with the same values.</summary>
    void Read(CheckpointTensor tensor, ReadOnlySpan<float> values);
}
