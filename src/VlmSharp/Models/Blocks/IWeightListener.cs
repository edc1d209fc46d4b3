using VlmSharp.Formats;
using VlmSharp.Kernels;

namespace VlmSharp.Models.Blocks;

/// <summary>Is told where the values of a checkpoint's tensors go while a model is loaded: what training keeps up to date.</summary>
/// <remarks>Tensors borrow the checkpoint's mapping: their values are copied now or never. Layers stored quantised are not reported.</remarks>
public interface IWeightListener
{
    /// <summary>Whether it is to be told of a tensor, which is then stored as f32 with those of the same product.</summary>
    bool Wants(string tensor) => true;

    /// <summary>A tensor, or one item of it, became rows of a matrix.</summary>
    void Placed(in WeightPlace place);

    /// <summary>A tensor became values <c>[first, first + tensor.Count)</c> of an array that operations read: a norm, a bias, a table.</summary>
    void Placed(float[] values, int first, CheckpointTensor tensor);
}

/// <summary>Where a tensor went.</summary>
/// <param name="Matrix">The matrix, or the stack of matrices.</param>
/// <param name="ProductRow">First row of the product it belongs to; 0 unless matrices are stacked.</param>
/// <param name="ProductRows">Rows of that product.</param>
/// <param name="FirstRow">First row of the matrix that holds it.</param>
/// <param name="Rows">Rows that hold it.</param>
/// <param name="Tensor">The whole tensor.</param>
/// <param name="Item">
/// -1 where the tensor holds these rows in their order; otherwise it is [items, columns, rows] and this item of it holds their transpose.
/// </param>
public readonly record struct WeightPlace(
    PackedMatrix Matrix,
    int ProductRow,
    int ProductRows,
    int FirstRow,
    int Rows,
    CheckpointTensor Tensor,
    int Item = -1
);
