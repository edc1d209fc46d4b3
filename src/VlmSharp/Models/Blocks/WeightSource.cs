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
        PackedMatrix packed = new(outputs, inputs, tensor.Type);
        packed.PackTransposed(0, outputs, tensor.Bytes, tensor.Type, pool);
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

    /// <summary>A convolution whose windows do not overlap, with a bias: a linear map of the flattened window.</summary>
    /// <param name="name">Name without <c>.weight</c> and <c>.bias</c>.</param>
    /// <param name="shape">[outputs, channels, ...]</param>
    public Linear Convolution(string name, params ReadOnlySpan<int> shape) =>
        new($"{name}.weight", Matrix($"{name}.weight", shape), Floats($"{name}.bias", shape[0]));

    /// <summary>A table <c>[rows, width]</c> to look rows up in.</summary>
    public LookupTable Lookup(string name, int rows, int width) => new(name, Table(name, rows, width), width);

    /// <summary>The output matrix: <c>lm_head</c>, or the embedding where the config ties the two.</summary>
    /// <param name="embeddingName">Name of the embedding.</param>
    /// <param name="embedding">[vocabulary, hidden]</param>
    /// <param name="tied">Whether it is the output matrix as well.</param>
    public Linear Head(string embeddingName, PackedMatrix embedding, bool tied)
    {
        if (!tied)
        {
            return Linear(embedding.Columns, bias: false, ("lm_head", embedding.Rows));
        }

        // Some tools write a tied matrix twice.
        checkpoint.Ignore("lm_head.weight", "the config ties the head to the embedding");
        return new Linear(embeddingName, embedding, []);
    }

    /// <summary>The experts of a layer, stacked: all in two tensors for x @ W, or three tensors for each.</summary>
    /// <param name="name">What the names of the tensors begin with: <c>....mlp.experts</c>.</param>
    /// <param name="count">Number of experts.</param>
    /// <param name="perToken">Experts that each token passes through.</param>
    /// <param name="hidden">Width of their input and output.</param>
    /// <param name="width">Width between gate and down projection.</param>
    public Experts Experts(string name, int count, int perToken, int hidden, int width) =>
        checkpoint.Contains($"{name}.gate_up_proj")
            ? new Experts(
                name,
                count,
                perToken,
                Stack($"{name}.gate_up_proj", count, 2 * width, hidden),
                Stack($"{name}.down_proj", count, hidden, width)
            )
            : new Experts(
                name,
                count,
                perToken,
                Stack(name, count, hidden, ("gate_proj", width), ("up_proj", width)),
                Stack(name, count, width, ("down_proj", hidden))
            );

    // [count, inputs, outputs] in one tensor, packed from the map as it stands: no copy of it is ever whole.
    PackedMatrix Stack(string name, int count, int outputs, int inputs)
    {
        CheckpointTensor tensor = checkpoint.Get(name, count, inputs, outputs);
        int step = Tensors.Experts.Stacked(outputs);
        PackedMatrix packed = new(checked(count * step), inputs, tensor.Type);
        for (int i = 0; i < count; i++)
        {
            packed.PackTransposed(i * step, outputs, tensor.Rows(i, 1).Bytes, tensor.Type, pool);
        }

        Count(tensor.Count);
        return packed;
    }

    // Of each expert one tensor [outputs, inputs] or several, one below the other.
    PackedMatrix Stack(string name, int count, int inputs, params (string Name, int Outputs)[] parts)
    {
        ElementType? storage = null;
        for (int i = 0; i < count; i++)
        {
            foreach ((string part, int outputs) in parts)
            {
                ElementType type = checkpoint.Get($"{name}.{i}.{part}.weight", outputs, inputs).Type;
                storage = storage is null || storage == type ? type : ElementType.F32;
            }
        }

        int step = Tensors.Experts.Stacked(parts.Sum(p => p.Outputs));
        PackedMatrix packed = new(checked(count * step), inputs, storage!.Value);
        for (int i = 0; i < count; i++)
        {
            int row = i * step;
            foreach ((string part, int outputs) in parts)
            {
                Pack(packed, row, $"{name}.{i}.{part}.weight", [outputs, inputs]);
                row += outputs;
            }
        }

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
