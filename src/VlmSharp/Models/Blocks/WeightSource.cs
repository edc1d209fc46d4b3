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

        Count(tensor);
    }

    float[] Floats(string name, int width)
    {
        CheckpointTensor tensor = checkpoint.Get(name, width);
        float[] values = new float[width];
        tensor.CopyTo(values);
        Count(tensor);
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

    void Count(CheckpointTensor tensor)
    {
        done += tensor.Count;
        progress?.Report(total == 0 ? 1 : (double)done / total);
    }
}
