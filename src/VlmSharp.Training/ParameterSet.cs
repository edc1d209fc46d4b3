using System.Runtime.CompilerServices;
using VlmSharp.Formats;
using VlmSharp.Kernels;
using VlmSharp.Models.Blocks;

namespace VlmSharp.Training;

/// <summary>The tensors of a model in f32, with their gradients, and how they get to where the forward pass reads them.</summary>
/// <remarks>
/// Filled while a model is loaded. Matrices are packed again after an update; norms, biases and tables are the very arrays that
/// operations read.
/// </remarks>
/// <param name="wanted">Which tensors are trained; null for all. What stands beside none of them stays in the model alone, as it is stored.</param>
public sealed class ParameterSet(Func<string, bool>? wanted = null) : IWeightListener, IDisposable
{
    sealed record Master(float[] Values, float[] Gradient);

    sealed record TrainedArray(float[] Gradient, List<Parameter> Parameters);

    readonly List<Parameter> all = [];
    readonly Dictionary<string, Parameter> byName = [];
    readonly Dictionary<(PackedMatrix, int), TrainedMatrix> matrices = [];
    readonly Dictionary<(PackedMatrix, int), Master> masters = [];
    readonly Dictionary<float[], TrainedArray> arrays = new(ReferenceComparer.Instance);
    readonly Dictionary<string, Master> whole = []; // tensors of several matrices

    /// <summary>All of them, in the order in which the model took them.</summary>
    public IReadOnlyList<Parameter> All => all;

    /// <summary>Those that are trained.</summary>
    public IEnumerable<Parameter> Trained => all.Where(p => p.Trained);

    /// <summary>What is trained beside frozen weights; null for nothing.</summary>
    internal LoraSet? Lora { get; set; }

    /// <summary>The parameter of this name.</summary>
    /// <exception cref="KeyNotFoundException">There is none.</exception>
    public Parameter this[string name] => byName[name];

    /// <summary>Whether there is a parameter of this name.</summary>
    public bool Contains(string name) => byName.ContainsKey(name);

    /// <summary>Sets all gradients to zero.</summary>
    public void ZeroGradients()
    {
        foreach (Parameter parameter in all)
        {
            parameter.Gradient.Clear();
        }
    }

    /// <summary>Hands changed values to the forward pass.</summary>
    /// <remarks>Of matrices without a trained tensor nothing is packed.</remarks>
    public void Repack(WorkerPool pool)
    {
        foreach (TrainedMatrix matrix in matrices.Values)
        {
            if (matrix.Trained)
            {
                matrix.Repack(pool);
            }
        }

        Lora?.Changed();
    }

    /// <inheritdoc/>
    bool IWeightListener.Wants(string tensor) => wanted?.Invoke(tensor) ?? true;

    /// <inheritdoc/>
    void IWeightListener.Placed(in WeightPlace place)
    {
        (PackedMatrix, int) key = (place.Matrix, place.ProductRow);
        CheckpointTensor tensor = place.Tensor;
        int columns = place.Matrix.Columns;
        if (place.Item >= 0)
        {
            int size = checked(columns * place.Rows);
            Master master = Whole(tensor);
            TrainedMatrix item = new(
                place.Matrix,
                place.FirstRow,
                place.Rows,
                master.Values,
                master.Gradient,
                place.Item * size,
                turned: true
            );
            item.Add(byName[tensor.Name]);
            matrices.Add(key, item);
            return;
        }

        if (!masters.TryGetValue(key, out Master? product))
        {
            product = NewMaster(checked(place.ProductRows * columns));
            masters.Add(key, product);
            matrices.Add(
                key,
                new TrainedMatrix(
                    place.Matrix,
                    place.ProductRow,
                    place.ProductRows,
                    product.Values,
                    product.Gradient,
                    0,
                    turned: false
                )
            );
        }

        int offset = (place.FirstRow - place.ProductRow) * columns;
        tensor.CopyTo(product.Values.AsSpan(offset, checked((int)tensor.Count)));
        matrices[key].Add(Add(tensor, product, offset));
    }

    /// <inheritdoc/>
    void IWeightListener.Placed(float[] values, int first, CheckpointTensor tensor)
    {
        if (!arrays.TryGetValue(values, out TrainedArray? array))
        {
            array = new TrainedArray(new float[values.Length], []);
            arrays.Add(values, array);
        }

        array.Parameters.Add(Add(tensor, new Master(values, array.Gradient), first));
    }

    Master Whole(CheckpointTensor tensor)
    {
        if (!whole.TryGetValue(tensor.Name, out Master? master))
        {
            master = NewMaster(checked((int)tensor.Count));
            tensor.CopyTo(master.Values);
            whole.Add(tensor.Name, master);
            Add(tensor, master, 0);
        }

        return master;
    }

    /// <summary>Adds a matrix that is in no checkpoint.</summary>
    internal (Parameter Parameter, TrainedMatrix Matrix) Add(string name, PackedMatrix packed, float[] values)
    {
        Master master = new(values, new float[values.Length]);
        TrainedMatrix matrix = new(packed, 0, packed.Rows, master.Values, master.Gradient, 0, turned: false);
        Parameter parameter = Add(name, [packed.Rows, packed.Columns], master, 0);
        matrix.Add(parameter);
        matrices.Add((packed, 0), matrix);
        return (parameter, matrix);
    }

    /// <summary>Adds values that are in no checkpoint.</summary>
    internal Parameter Add(string name, int[] shape, float[] values) =>
        Add(name, shape, new Master(values, new float[values.Length]), 0);

    static Master NewMaster(int count) => new(new float[count], new float[count]);

    Parameter Add(CheckpointTensor tensor, Master master, int offset)
    {
        Parameter parameter = Add(tensor.Name, tensor.Shape, master, offset);
        parameter.Trained = wanted?.Invoke(tensor.Name) ?? true;
        return parameter;
    }

    Parameter Add(string name, int[] shape, Master master, int offset)
    {
        Parameter parameter = new(name, shape, master.Values, master.Gradient, offset);
        all.Add(parameter);
        byName.Add(parameter.Name, parameter);
        return parameter;
    }

    /// <summary>The matrix that a product reads.</summary>
    /// <param name="matrix">The matrix, or a stack.</param>
    /// <param name="name">For messages.</param>
    /// <param name="productRow">First row in a stack.</param>
    /// <param name="rows">Rows in a stack.</param>
    /// <exception cref="NotSupportedException">It is stored in a way that cannot be trained.</exception>
    internal TrainedMatrix Find(PackedMatrix matrix, string name, int productRow = 0, int? rows = null)
    {
        if (matrices.TryGetValue((matrix, productRow), out TrainedMatrix? found))
        {
            return found;
        }

        if (wanted is null)
        {
            throw new NotSupportedException(
                $"{name}: layers that are stored quantised or in another order cannot be trained."
            );
        }

        TrainedMatrix frozen = TrainedMatrix.Frozen(matrix, productRow, rows ?? matrix.Rows);
        matrices.Add((matrix, productRow), frozen);
        return frozen;
    }

    /// <summary>The gradient of an array that operations read; empty where nothing of it is trained.</summary>
    internal Span<float> Gradient(float[] values) =>
        arrays.TryGetValue(values, out TrainedArray? array) && array.Parameters.Exists(p => p.Trained)
            ? array.Gradient
            : [];

    /// <summary>Frees the transposes.</summary>
    public void Dispose()
    {
        foreach (TrainedMatrix matrix in matrices.Values)
        {
            matrix.Dispose();
        }

        Lora?.Dispose();
    }

    sealed class ReferenceComparer : IEqualityComparer<float[]>
    {
        public static readonly ReferenceComparer Instance = new();

        public bool Equals(float[]? x, float[]? y) => ReferenceEquals(x, y);

        public int GetHashCode(float[] values) => RuntimeHelpers.GetHashCode(values);
    }
}
