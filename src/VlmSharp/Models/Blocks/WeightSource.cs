using System.Runtime.InteropServices;
using VlmSharp.Formats;
using VlmSharp.Formats.Quantized;
using VlmSharp.Kernels;
using VlmSharp.Kernels.Quantized;
using VlmSharp.Tensors;

namespace VlmSharp.Models.Blocks;

/// <summary>Takes weights out of a checkpoint, checked against the shapes the config implies, and packs them.</summary>
/// <param name="checkpoint">The weights.</param>
/// <param name="pool">Threads to pack with.</param>
/// <param name="progress">Told the share of bytes done, 0 to 1.</param>
/// <param name="listener">Told where the values go that it wants. Matrices with any are stored as f32: it is going to change them.</param>
/// <param name="recorder">Told what the model takes, to write it as it is.</param>
public sealed class WeightSource(
    Checkpoint checkpoint,
    WorkerPool pool,
    IProgress<double>? progress = null,
    IWeightListener? listener = null,
    IWeightRecorder? recorder = null
)
{
    // Rows that one thread decodes at a time, and how often it does before they are packed: while they are in its cache.
    const int DecodedRows = PackedMatrix.PanelRows;
    const int DecodedTimes = 4;

    // Bytes of f32 that are packed at a time, and weights after which the pages they came from are given back: what loading takes
    // beyond the packed weights.
    const long PieceBytes = 64 << 20;
    const long ReleaseAfter = 16 << 20;

    readonly long total = checkpoint.HasPanels
        ? checkpoint.Weights.Sum(w => w.Count)
        : checkpoint.Tensors.Sum(t => t.Count);
    readonly Dictionary<string, int> taken = []; // matrices taken under each name
    readonly RowEncoder encoder = new(pool);
    readonly List<Linear> linears = [];
    readonly List<Vector> vectors = [];
    float[] decoded = [];
    long done;
    long released;

    /// <summary>The linear layers that were taken so far.</summary>
    public IReadOnlyList<Linear> Linears => linears;

    /// <summary>The vectors that were taken so far.</summary>
    public IReadOnlyList<Vector> Vectors => vectors;

    /// <summary>A vector of weights.</summary>
    /// <exception cref="CheckpointException">It is missing or of another shape.</exception>
    public Vector Vector(string name, int width)
    {
        float[] values = new float[width];
        Read(name, values, 0, width);
        Vector vector = new(name, values);
        vectors.Add(vector);
        return vector;
    }

    /// <summary>A linear map made of one or several tensors <c>[outputs, inputs]</c> with the same input, stacked in their order.</summary>
    /// <remarks>
    /// Weights stay as the file stores them where kernels read that, else they are decoded to f32. Where there is no bias, one of zeros beside a
    /// quantised layer is left out.
    /// </remarks>
    /// <param name="inputs">Width of the input.</param>
    /// <param name="bias">Whether each has a bias.</param>
    /// <param name="parts">Name without <c>.weight</c>, and outputs.</param>
    public Linear Linear(int inputs, bool bias, params ReadOnlySpan<(string Name, int Outputs)> parts)
    {
        int outputs = 0;
        foreach ((_, int count) in parts)
        {
            outputs = checked(outputs + count);
        }

        string name = $"{parts[0].Name}.weight";
        PackedMatrix[] packed = checkpoint.HasPanels
            ? ReadPanels(name, outputs, inputs)
            : PackParts(name, inputs, bias, parts);
        float[] biases = bias ? new float[outputs] : [];
        List<LinearModule> modules = [];
        int row = 0;
        foreach ((string part, int count) in parts)
        {
            if (bias)
            {
                Read($"{part}.bias", biases, row, count);
            }

            modules.Add(new LinearModule(part, row, count));
            row += count;
        }

        Linear linear = new(name, packed, biases) { Modules = modules };
        linears.Add(linear);
        return linear;
    }

    // The matrices of a product, as the panels of the file have them.
    PackedMatrix[] ReadPanels(string name, int outputs, int inputs)
    {
        List<PackedMatrix> read = [];
        for (int rows = 0; rows < outputs; rows += read[^1].Rows)
        {
            int n = taken[name] = taken.GetValueOrDefault(name, -1) + 1;
            PackedMatrix matrix = checkpoint.Panels(name, n, pool);
            read.Add(matrix);
            if (matrix.Columns != inputs || matrix.Rows == 0 || matrix.Rows > outputs - rows)
            {
                throw new CheckpointException(
                    checkpoint.Directory,
                    $"the panels '{name}' are {matrix.Rows} x {matrix.Columns}, {checkpoint.Config.File} asks for {outputs - rows} x {inputs}"
                );
            }

            recorder?.Packed(name, matrix);
            Count((long)matrix.Rows * matrix.Columns);
        }

        return [.. read];
    }

    // A matrix that is one in the file too.
    PackedMatrix ReadPanel(string name, int rows, int columns)
    {
        PackedMatrix[] read = ReadPanels(name, rows, columns);
        return read.Length == 1
            ? read[0]
            : throw new CheckpointException(
                checkpoint.Directory,
                $"the panels '{name}' are {read.Length} matrices, expected one of {rows} x {columns}"
            );
    }

    PackedMatrix Recorded(string name, PackedMatrix matrix)
    {
        recorder?.Packed(name, matrix);
        return matrix;
    }

    PackedMatrix[] PackParts(string name, int inputs, bool bias, ReadOnlySpan<(string Name, int Outputs)> parts)
    {
        // Every shape is checked before the first byte is allocated.
        Part[] found = new Part[parts.Length];
        for (int i = 0; i < found.Length; i++)
        {
            found[i] = Find(parts[i].Name, parts[i].Outputs, inputs, bias);
        }

        if (Array.Exists(found, part => part.Told))
        {
            found = Array.ConvertAll(found, part => part with { Told = true });
        }

        List<PackedMatrix> packed = [];
        for (int first = 0, end; first < found.Length; first = end)
        {
            // Neighbours that are stored alike make one matrix.
            end = first + 1;
            WeightFormat format = Format(found[first]);
            while (end < found.Length && Format(found[end]) == format)
            {
                end++;
            }

            ReadOnlySpan<Part> alike = found.AsSpan(first, end - first);
            PackedMatrix matrix = new(Outputs(alike), inputs, format);
            packed.Add(matrix);
            int row = 0;
            foreach (Part part in alike)
            {
                Pack(matrix, (0, matrix.Rows), row, part);
                row += part.Outputs;
            }

            recorder?.Packed(name, matrix);
        }

        return [.. packed];
    }

    /// <summary>A table or matrix <c>[rows, columns]</c>, whose shape in the file may have more axes behind the first.</summary>
    public PackedMatrix Matrix(string name, params ReadOnlySpan<int> shape)
    {
        int columns = 1;
        foreach (int extent in shape[1..])
        {
            columns = checked(columns * extent);
        }

        if (checkpoint.HasPanels)
        {
            return ReadPanel(name, shape[0], columns);
        }

        Part part = new(
            name,
            shape[0],
            checkpoint.Get(name, shape),
            null,
            checkpoint.PackedType(name, shape),
            Listener(name) is not null
        );
        PackedMatrix packed = new(shape[0], columns, Format(part));
        Pack(packed, (0, shape[0]), 0, part);
        return Recorded(name, packed);
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
        float[] biases = new float[rows];
        Read(bias, biases, 0, rows);
        int outputs = 0;
        foreach ((_, int count) in blocks)
        {
            outputs += count;
        }

        float[] chosen = new float[outputs];
        int row = 0;
        foreach ((int first, int count) in blocks)
        {
            biases.AsSpan(first, count).CopyTo(chosen.AsSpan(row));
            row += count;
        }

        if (checkpoint.HasPanels)
        {
            return new Linear(weight, ReadPanel(weight, outputs, inputs), chosen);
        }

        CheckpointTensor tensor = checkpoint.Get(weight, rows, inputs);
        PackedMatrix packed = new(outputs, inputs, tensor.Type);
        row = 0;
        foreach ((int first, int count) in blocks)
        {
            packed.PackRows(row, count, tensor.Rows(first, count).Bytes, tensor.Type, pool);
            row += count;
        }

        Count((long)outputs * inputs);
        return new Linear(weight, Recorded(weight, packed), chosen);
    }

    /// <summary>A linear map without bias whose tensor is stored <c>[inputs, outputs]</c>, as code has it that computes <c>x @ W</c>.</summary>
    public Linear Transposed(string name, int inputs, int outputs)
    {
        if (checkpoint.HasPanels)
        {
            return new Linear(name, ReadPanel(name, outputs, inputs), []);
        }

        CheckpointTensor tensor = checkpoint.Get(name, inputs, outputs);
        PackedMatrix packed = new(outputs, inputs, tensor.Type);
        packed.PackTransposed(0, outputs, tensor.Bytes, tensor.Type, pool);
        Count(tensor.Count);
        return new Linear(name, Recorded(name, packed), []);
    }

    /// <summary>A table <c>[rows, width]</c> that is added and not multiplied with, widened to f32.</summary>
    public float[] Table(string name, int rows, int width)
    {
        CheckpointTensor tensor = checkpoint.Get(name, rows, width);
        float[] values = tensor.ToArray();
        Count(tensor.Count);
        Listener(name)?.Placed(values, 0, tensor);
        recorder?.Read(tensor, values);
        return values;
    }

    /// <summary>A convolution whose windows do not overlap: a linear map of the flattened window.</summary>
    /// <param name="name">Name without <c>.weight</c> and <c>.bias</c>.</param>
    /// <param name="bias">Whether it has a bias.</param>
    /// <param name="shape">[outputs, channels, ...]</param>
    public Linear Convolution(string name, bool bias, params ReadOnlySpan<int> shape)
    {
        PackedMatrix matrix = Matrix($"{name}.weight", shape);
        float[] biases = bias ? new float[shape[0]] : [];
        if (bias)
        {
            Read($"{name}.bias", biases, 0, biases.Length);
        }

        return new Linear($"{name}.weight", matrix, biases);
    }

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
        int step = Tensors.Experts.Stacked(outputs);
        if (checkpoint.HasPanels)
        {
            return ReadPanel(name, checked(count * step), inputs);
        }

        CheckpointTensor tensor = checkpoint.Get(name, count, inputs, outputs);
        Part part = new(
            name,
            outputs,
            tensor,
            null,
            checkpoint.PackedType(name, count, inputs, outputs),
            Listener(name) is not null
        );
        PackedMatrix packed = new(checked(count * step), inputs, Format(part));
        for (int i = 0; i < count; i++)
        {
            if (part.Packed is { } blocks && blocks.Format() == packed.Storage)
            {
                Pack(packed, i * step, name, new ExpertRows(tensor.Rows(i, 1), 0, outputs), blocks);
                continue;
            }

            packed.PackTransposed(i * step, outputs, tensor.Rows(i, 1).Bytes, tensor.Type, pool);
            Listener(name)?.Placed(new WeightPlace(packed, i * step, outputs, i * step, outputs, tensor, i));
            Count(tensor.Count / count);
        }

        return Recorded(name, packed);
    }

    // Of each expert one tensor [outputs, inputs] or several, one below the other.
    PackedMatrix Stack(string name, int count, int inputs, params (string Name, int Outputs)[] parts)
    {
        int outputs = parts.Sum(p => p.Outputs);
        int step = Tensors.Experts.Stacked(outputs);
        string first = $"{name}.{parts[0].Name}";
        if (checkpoint.HasPanels)
        {
            return ReadPanel(first, checked(count * step), inputs);
        }

        Part[] found =
        [
            .. Enumerable
                .Range(0, count)
                .SelectMany(i => parts.Select(p => Find($"{name}.{i}.{p.Name}", p.Outputs, inputs, bias: false))),
        ];
        WeightFormat format = Format(found[0]);
        bool alike = Array.TrueForAll(found, part => Format(part) == format);
        PackedMatrix packed = new(checked(count * step), inputs, alike ? format : WeightFormat.F32);
        for (int i = 0; i < count; i++)
        {
            int row = i * step;
            foreach (Part part in found.AsSpan(i * parts.Length, parts.Length))
            {
                Pack(packed, (i * step, outputs), row, part);
                row += part.Outputs;
            }
        }

        return Recorded(first, packed);
    }

    // A matrix [outputs, inputs] as the file has it: its values, or rows that have to be decoded.
    Part Find(string name, int outputs, int inputs, bool bias)
    {
        string weight = $"{name}.weight";
        GgmlType? packed = checkpoint.PackedType(weight, outputs, inputs);
        IRowSource? quantised = QuantizedLayer.Open(checkpoint, name, outputs, inputs);
        if (quantised is null)
        {
            CheckpointTensor stored = checkpoint.Get(weight, outputs, inputs);
            return new Part(name, outputs, stored, null, packed, Listener(weight) is not null);
        }

        // Some tools write one for every layer.
        string superfluous = $"{name}.bias";
        if (!bias && checkpoint.Contains(superfluous))
        {
            CheckpointTensor tensor = checkpoint.Get(superfluous, outputs);
            if (tensor.ToArray().AsSpan().ContainsAnyExcept(0f))
            {
                throw new CheckpointException(
                    checkpoint.Info(superfluous).File,
                    $"tensor '{superfluous}' is not zero everywhere, but {checkpoint.Architecture} has no bias there"
                );
            }

            checkpoint.Ignore(superfluous, "zeros, where the architecture has no bias");
        }

        return checkpoint.Changes(weight)
            ? new Part(name, outputs, checkpoint.Changed(weight, quantised), null, packed, false)
            : new Part(name, outputs, default, quantised, packed, false);
    }

    static int Outputs(ReadOnlySpan<Part> parts)
    {
        int outputs = 0;
        foreach (Part part in parts)
        {
            outputs = checked(outputs + part.Outputs);
        }

        return outputs;
    }

    // What the user asked for, else the format that keeps its values: blocks as they are, as far as the kernels read them.
    static WeightFormat Format(Part part) =>
        part.Told ? WeightFormat.F32 : part.Packed?.Format() ?? part.Decoded?.Format ?? part.Stored.Format;

    // Into the format of the part, or into f32. product: first row and rows of the map it becomes a part of
    void Pack(PackedMatrix packed, (int First, int Rows) product, int firstRow, Part part)
    {
        if (part.Packed is { } type && type.Format() == packed.Storage)
        {
            Pack(packed, firstRow, part.Name, part.Decoded ?? new TensorRows(part.Stored), type);
        }
        else if (part.Decoded is { } rows && packed.Storage != WeightFormat.F32)
        {
            rows.Pack(packed, firstRow, pool);
            Count(rows.StoredCount);
        }
        else if (part.Decoded is { } decoded)
        {
            Pack(packed, firstRow, decoded);
        }
        else
        {
            Pack(packed, product, firstRow, part.Stored, part.Told);
        }
    }

    void Pack(PackedMatrix packed, (int First, int Rows) product, int firstRow, CheckpointTensor tensor, bool told)
    {
        int rows = tensor.Shape[0];
        int rowsAtOnce = (int)Math.Max(32, PieceBytes / (Math.Max(packed.Columns, 1) * sizeof(float)) / 32 * 32);
        for (int row = 0; row < rows; row += rowsAtOnce)
        {
            CheckpointTensor piece = tensor.Rows(row, Math.Min(rowsAtOnce, rows - row));
            if (piece.Blocks?.Format() == packed.Storage)
            {
                packed.PackBlocks(firstRow + row, piece.Shape[0], piece.BlockBytes, pool);
            }
            else
            {
                packed.PackRows(firstRow + row, piece.Shape[0], piece.Bytes, piece.Type, pool);
            }

            Count(piece.Count);
        }

        if (told)
        {
            listener!.Placed(new WeightPlace(packed, product.First, product.Rows, firstRow, rows, tensor));
        }
    }

    void Pack(PackedMatrix packed, int firstRow, string name, IRowSource source, GgmlType type)
    {
        encoder.Encode(
            name,
            source,
            source.Columns,
            type,
            importance: [],
            (row, count, blocks) => packed.PackBlocks(firstRow + row, count, blocks, pool)
        );
        Count(source.StoredCount);
    }

    void Pack(PackedMatrix packed, int firstRow, IRowSource source)
    {
        int columns = source.Columns;
        int rowsAtOnce = DecodedRows * DecodedTimes * pool.Threads;
        int most = checked(Math.Min(rowsAtOnce, source.Rows) * columns);
        if (decoded.Length < most)
        {
            decoded = GC.AllocateUninitializedArray<float>(most);
        }

        for (int row = 0; row < source.Rows; row += rowsAtOnce)
        {
            int count = Math.Min(rowsAtOnce, source.Rows - row);
            var body = new DecodeBody(source, row, count, decoded);
            pool.Run((count + DecodedRows - 1) / DecodedRows, ref body);
            ReadOnlySpan<byte> bytes = MemoryMarshal.AsBytes(decoded.AsSpan(0, count * columns));
            packed.PackRows(firstRow + row, count, bytes, ElementType.F32, pool);
        }

        Count(source.StoredCount);
    }

    readonly struct DecodeBody(IRowSource source, int first, int count, float[] values) : IParallelBody
    {
        public void Run(int part, int worker)
        {
            int row = part * DecodedRows;
            int rows = Math.Min(DecodedRows, count - row);
            source.Read(first + row, rows, values.AsSpan(row * source.Columns, rows * source.Columns));
        }
    }

    readonly record struct Part(
        string Name,
        int Outputs,
        CheckpointTensor Stored,
        IRowSource? Decoded,
        GgmlType? Packed,
        bool Told // whether the listener is
    );

    IWeightListener? Listener(string tensor) => listener?.Wants(tensor) == true ? listener : null;

    void Read(string name, float[] values, int first, int count)
    {
        CheckpointTensor tensor = checkpoint.Get(name, count);
        tensor.CopyTo(values.AsSpan(first, count));
        Listener(name)?.Placed(values, first, tensor);
        recorder?.Read(tensor, values.AsSpan(first, count));
        Count(tensor.Count);
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
        if (done - released >= ReleaseAfter)
        {
            checkpoint.ReleasePages();
            released = done;
        }

        progress?.Report(total == 0 ? 1 : (double)done / total);
    }
}
