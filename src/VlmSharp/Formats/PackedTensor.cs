using Microsoft.Win32.SafeHandles;
using VlmSharp.Kernels;

namespace VlmSharp.Formats;

/// <summary>A matrix in a safetensors file as it lies in memory: a U8 tensor of what <see cref="PackedMatrix.Save"/> wrote.</summary>
/// <remarks>
/// A file of them says so in its metadata. The other tensors of such a file (norms, biases, tables) are ordinary ones. A product of several
/// tensors of the published checkpoint is one matrix under the name of the first; where it is several matrices, or several products read one
/// tensor, they are counted: <c>name#0</c>, <c>name#1</c>, in the order in which the model takes them.
/// </remarks>
static class PackedTensor
{
    /// <summary>Key of the metadata; its value is the version of the naming.</summary>
    public const string MetadataKey = "vlmsharp.panels";

    /// <summary>The value.</summary>
    public const string Version = "1";

    /// <summary>The name of the matrix that is the n-th taken under a name.</summary>
    public static string Name(string name, int n) => $"{name}#{n}";

    /// <summary>Whether the tensors of a file are packed.</summary>
    /// <exception cref="CheckpointException">They are, in another version.</exception>
    public static bool IsIn(SafetensorsFile file) =>
        file.Metadata.TryGetValue(MetadataKey, out string? version)
        && (
            version == Version
                ? true
                : throw new CheckpointException(
                    file.Name,
                    $"{MetadataKey} is {Quote.Name(version)}, this build reads {Version}: pack the weights again"
                )
        );

    /// <summary>What the header of a packed tensor says; its size in memory.</summary>
    /// <exception cref="CheckpointException">It is damaged or of another version.</exception>
    public static WeightSize Size(SafetensorsFile file, TensorInfo tensor)
    {
        try
        {
            ReadOnlySpan<byte> header = file.Slice(
                tensor.Name,
                tensor.Offset,
                Math.Min(tensor.Size, PackedMatrix.HeaderBytes)
            );
            (int rows, int columns, WeightFormat storage) = PackedMatrix.ReadHeader(header, tensor.Size);
            return new WeightSize(tensor.Name, (long)rows * columns, tensor.Size - PackedMatrix.HeaderBytes, storage);
        }
        catch (InvalidDataException e)
        {
            throw Error(tensor, e);
        }
    }

    /// <summary>Reads a packed tensor into memory of its own.</summary>
    /// <param name="directory">Of the file.</param>
    /// <param name="tensor">The tensor.</param>
    /// <param name="pool">Threads to read with.</param>
    /// <exception cref="CheckpointException">It is damaged, or the file cannot be read.</exception>
    public static PackedMatrix Read(string directory, TensorInfo tensor, WorkerPool pool)
    {
        try
        {
            using SafeFileHandle file = File.OpenHandle(Path.Combine(directory, tensor.File));
            return PackedMatrix.Load(file, tensor.Offset, tensor.Size, pool);
        }
        catch (Exception e) when (e is InvalidDataException or IOException or UnauthorizedAccessException)
        {
            throw Error(tensor, e);
        }
    }

    static CheckpointException Error(TensorInfo tensor, Exception e) =>
        new(tensor.File, $"tensor {Quote.Name(tensor.Name)}: {e.Message}");
}
