using VlmSharp.Formats;
using VlmSharp.Kernels;
using VlmSharp.Tensors;

namespace VlmSharp.Models.Blocks;

/// <summary>Takes weights out of a checkpoint, checked against the shapes the config implies, and packs them.</summary>
public sealed class WeightSource(Checkpoint checkpoint, WorkerPool pool, IProgress<double>? progress = null)
{
    readonly long total = checkpoint.Tensors.Sum(t => t.Count);
    long done;

    /// <summary>A vector of weights.</summary>
    /// <exception cref="CheckpointException">It is missing or of another shape.</exception>
    public Vector Vector(string name, int width) => new(name, Floats(name, width));

    /// <summary>A linear map made of one or several tensors <c>[outputs, inputs]</c> with the same input, stacked in their order.</summary>
    /// <param name="inputs">Width of the input.</param>
    /// <param name="bias">Whether each has a bias.</param>
    /// <param name="parts">Name without <c>.weight</c>, and outputs.</param>
    public Linear Linear(int inputs, bool bias, params ReadOnlySpan<(string Name, int Outputs)> parts)
    {
        // Every shape is checked before the first byte is allocated.
        int outputs = 0;
        ElementType? storage = null;
        foreach ((string name, int rows) in parts)
        {
            ElementType type = checkpoint.Get($"{name}.weight", rows, inputs).Type;
            storage = storage is null || storage == type ? type : ElementType.F32;
            outputs = checked(outputs + rows);
        }

        PackedMatrix packed = new(outputs, inputs, storage!.Value);
        float[] biases = bias ? new float[outputs] : [];
        int row = 0;
        foreach ((string name, int rows) in parts)
        {
            Pack(packed, row, $"{name}.weight", [rows, inputs]);
            if (bias)
            {
                Floats($"{name}.bias", rows).CopyTo(biases.AsSpan(row));
            }

            row += rows;
        }

        return new Linear($"{parts[0].Name}.weight", packed, biases);
    }

    /// <summary>A table or matrix <c>[rows, columns]</c>, whose shape in the file may have more axes behind the first.</summary>
    public PackedMatrix Matrix(string name, params ReadOnlySpan<int> shape)
    {
        CheckpointTensor tensor = checkpoint.Get(name, shape);
        int columns = 1;
        foreach (int extent in shape[1..])
        {
            columns = checked(columns * extent);
        }

        PackedMatrix packed = new(shape[0], columns, tensor.Type);
        Pack(packed, 0, name, shape);
        return packed;
    }

    /// <summary>A linear map made of rows of one tensor <c>[rows, inputs]</c> and of its bias, in another order or in part.</summary>
    /// <param name="weight">Name of the matrix.</param>
    /// <param name="bias">Name of the bias, [rows].</param>
    /// <param name="rows">Rows of the tensors.</param>
    /// <param name="inputs">Width of the input.</param>
    /// <param name="blocks">First row and number of rows of what becomes the outputs, one block after the other.</param>
    public Linear Rows(
        string weight,
        string bias,
        int rows,
        int inputs,
        params ReadOnlySpan<(int First, int Count)> blocks
    )
    {
        CheckpointTensor tensor = checkpoint.Get(weight, rows, inputs);
        float[] biases = checkpoint.Get(bias, rows).ToArray();
        int outputs = 0;
        foreach ((_, int count) in blocks)
        {
            outputs += count;
        }

        PackedMatrix packed = new(outputs, inputs, tensor.Type);
        float[] chosen = new float[outputs];
        int row = 0;
        foreach ((int first, int count) in blocks)
        {
            packed.PackRows(row, count, tensor.Rows(first, count).Bytes, tensor.Type, pool);
            biases.AsSpan(first, count).CopyTo(chosen.AsSpan(row));
            row += count;
        }

        Count(outputs * (inputs + 1L));
        return new Linear(weight, packed, chosen);
    }

    /// <summary>A linear map without bias whose tensor is stored <c>[inputs, outputs]</c>, as code has it that computes <c>x @ W</c>.</summary>
    public Linear Transposed(string name, int inputs, int outputs)
    {
        CheckpointTensor tensor = checkpoint.Get(name, inputs, outputs);
        int size = tensor.Type.Size();
        ReadOnlySpan<byte> stored = tensor.Bytes;
        byte[] turned = new byte[stored.Length];
        for (int input = 0; input < inputs; input++)
        {
            for (int output = 0; output < outputs; output++)
            {
                int from = ((input * outputs) + output) * size;
                int to = ((output * inputs) + input) * size;
                stored.Slice(from, size).CopyTo(turned.AsSpan(to));
            }
        }

        PackedMatrix packed = new(outputs, inputs, tensor.Type);
        packed.PackRows(0, outputs, turned, tensor.Type, pool);
        Count(tensor.Count);
        return new Linear(name, packed, []);
    }

    /// <summary>A table <c>[rows, width]</c> that is added and not multiplied with, widened to f32.</summary>
    public float[] Table(string name, int rows, int width)
    {
        CheckpointTensor tensor = checkpoint.Get(name, rows, width);
        float[] values = tensor.ToArray();
        Count(tensor.Count);
        return values;
    }

    void Pack(PackedMatrix packed, int firstRow, string name, ReadOnlySpan<int> shape)
    {
        CheckpointTensor tensor = checkpoint.Get(name, shape);
        int rows = shape[0];
        // Pieces keep spans below 2 GiB and the pages of the map that are in use at once few.
        int rowsAtOnce = (int)Math.Max(32, (256L << 20) / (packed.Columns * sizeof(float)) / 32 * 32);
        for (int row = 0; row < rows; row += rowsAtOnce)
        {
            int count = Math.Min(rowsAtOnce, rows - row);
            packed.PackRows(firstRow + row, count, tensor.Rows(row, count).Bytes, tensor.Type, pool);
        }

        Count(tensor.Count);
    }

    float[] Floats(string name, int width)
    {
        CheckpointTensor tensor = checkpoint.Get(name, width);
        float[] values = new float[width];
        tensor.CopyTo(values);
        Count(tensor.Count);
        return values;
    }

    /// <summary>Frees the weights of several maps.</summary>
    public static void DisposeAll(params ReadOnlySpan<Linear> linears)
    {
        foreach (Linear linear in linears)
        {
            linear.Dispose();
        }
    }

    void Count(long weights)
    {
        done += weights;
        progress?.Report(total == 0 ? 1 : (double)done / total);
    }
}
