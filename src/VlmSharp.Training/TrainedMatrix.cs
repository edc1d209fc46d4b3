using System.Runtime.InteropServices;
using VlmSharp.Kernels;

namespace VlmSharp.Training;

/// <summary>A matrix W [rows, columns] that products read, with the master values it is packed from, its gradient, and its transpose.</summary>
/// <param name="matrix">What the forward pass reads, or a stack of which it reads some rows.</param>
/// <param name="firstRow">First row in the stack.</param>
/// <param name="rows">Outputs.</param>
/// <param name="values">Holds the master values.</param>
/// <param name="gradient">Holds the gradient, likewise.</param>
/// <param name="offset">Where both begin.</param>
/// <param name="turned">Whether they are [columns, rows] there.</param>
sealed class TrainedMatrix(
    PackedMatrix matrix,
    int firstRow,
    int rows,
    float[] values,
    float[] gradient,
    int offset,
    bool turned
) : IDisposable
{
    readonly List<Parameter> parameters = [];
    PackedMatrix? transpose;
    bool transposeIsStale = true;

    public int Columns => matrix.Columns;

    public bool Trained => parameters.Exists(p => p.Trained);

    public void Add(Parameter parameter) => parameters.Add(parameter);

    /// <summary>The gradient as a table of rows, to add to.</summary>
    public Span<float> GradientRows =>
        turned
            ? throw new InvalidOperationException($"{parameters[0]} holds a transpose and no rows.")
            : gradient.AsSpan(offset, rows * Columns);

    /// <summary>W^T, packed: [columns, rows]. Made when it is first asked for after a change.</summary>
    public PackedMatrix Transpose(WorkerPool pool)
    {
        transpose ??= new PackedMatrix(Columns, rows, ElementType.F32);
        if (transposeIsStale)
        {
            if (turned)
            {
                transpose.PackRows(0, Columns, Bytes, ElementType.F32, pool);
            }
            else
            {
                transpose.PackTransposed(0, Columns, Bytes, ElementType.F32, pool);
            }

            transposeIsStale = false;
        }

        return transpose;
    }

    /// <summary>Hands the master values to the forward pass.</summary>
    public void Repack(WorkerPool pool)
    {
        if (turned)
        {
            matrix.PackTransposed(firstRow, rows, Bytes, ElementType.F32, pool);
        }
        else
        {
            matrix.PackRows(firstRow, rows, Bytes, ElementType.F32, pool);
        }

        transposeIsStale = true;
    }

    /// <summary>Adds what the rows of x and of the gradient of W x tell about W.</summary>
    public void AddGradient(Tensors.Tensor x, Tensors.Tensor dy, WorkerPool pool)
    {
        (Tensors.Tensor a, Tensors.Tensor b) = turned ? (x, dy) : (dy, x);
        MatMul.ApplyTransposed(
            a.Data,
            a.Stride,
            b.Data,
            b.Stride,
            gradient.AsSpan(offset, rows * Columns),
            b.Width,
            a.Rows,
            a.Width,
            b.Width,
            pool,
            accumulate: true
        );
    }

    ReadOnlySpan<byte> Bytes => MemoryMarshal.AsBytes(values.AsSpan(offset, rows * Columns));

    public void Dispose() => transpose?.Dispose();
}
