using VlmSharp.Kernels;

namespace VlmSharp.Formats;

/// <summary>A matrix <c>[outputs, inputs]</c> whose file stores something else than its values: rows are decoded to f32 where they are needed.</summary>
/// <remarks>Borrows the file's mapping. Everything that can be wrong with the stored tensors was checked when it was made.</remarks>
interface IRowSource
{
    /// <summary>Outputs of the linear map.</summary>
    int Rows { get; }

    /// <summary>Inputs of the linear map.</summary>
    int Columns { get; }

    /// <summary>Elements of all tensors it is decoded from, as <see cref="TensorInfo.Count"/> has them: for progress.</summary>
    long StoredCount { get; }

    /// <summary>Writes the values of some rows; may be called from several threads.</summary>
    /// <param name="first">First row.</param>
    /// <param name="count">Number of rows.</param>
    /// <param name="destination">[count, <see cref="Columns"/>], row-major.</param>
    void Read(int first, int count, Span<float> destination);

    /// <summary>The format in which a matrix holds what is stored, unchanged; <see cref="WeightFormat.F32"/> where rows have to be decoded.</summary>
    WeightFormat Format => WeightFormat.F32;

    /// <summary>Packs all rows as they are stored into a matrix of <see cref="Format"/>, where that is not <see cref="WeightFormat.F32"/>.</summary>
    /// <param name="packed">The matrix.</param>
    /// <param name="firstRow">Where the first row goes.</param>
    /// <param name="pool">Threads to share the work.</param>
    void Pack(PackedMatrix packed, int firstRow, WorkerPool pool) => throw new NotSupportedException();
}
