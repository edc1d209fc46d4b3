using VlmSharp.Kernels;

namespace VlmSharp.Tensors;

/// <summary>A vector of f32 weights: the scale or shift of a norm.</summary>
public sealed class Vector(string name, float[] values)
{
    /// <summary>Name of the tensor in the checkpoint.</summary>
    public string Name { get; } = name;

    /// <summary>The weights, widened to f32.</summary>
    public ReadOnlySpan<float> Values => values;

    internal float[] Array => values;
}

/// <summary>An affine map <c>y = W x + b</c> that hides how W is stored.</summary>
/// <remarks>
/// Several checkpoint tensors with the same input (q, k, v; gate, up) may be stacked into one map. Where they are stored differently, W is
/// cut into several matrices, one below the other.
/// </remarks>
public sealed class Linear : IDisposable
{
    readonly PackedMatrix[] parts;
    readonly float[] bias;

    /// <summary>Takes over weights.</summary>
    /// <param name="name">Name of the tensor, or of the first of the stacked ones, in the checkpoint.</param>
    /// <param name="weight">W, packed: [outputs, inputs].</param>
    /// <param name="bias">b: [outputs], or empty.</param>
    public Linear(string name, PackedMatrix weight, float[] bias)
        : this(name, [weight], bias) { }

    /// <summary>Takes over weights.</summary>
    /// <param name="name">Name of the tensor, or of the first of the stacked ones, in the checkpoint.</param>
    /// <param name="parts">W from top to bottom, at least one matrix: [some of the outputs, inputs] each.</param>
    /// <param name="bias">b: [outputs], or empty.</param>
    public Linear(string name, PackedMatrix[] parts, float[] bias)
    {
        Name = name;
        this.parts = parts;
        this.bias = bias;
        Inputs = parts[0].Columns;
        Outputs = checked(parts.Sum(part => part.Rows));
    }

    /// <summary>Name of the tensor, or of the first of the stacked ones, in the checkpoint.</summary>
    public string Name { get; }

    /// <summary>W from top to bottom: [some of the outputs, inputs] each.</summary>
    public ReadOnlySpan<PackedMatrix> Parts => parts;

    /// <summary>The linear layers of the checkpoint whose outputs these are, in their order; empty where they are others in part or in another order.</summary>
    public IReadOnlyList<LinearModule> Modules { get; init; } = [];

    /// <summary>b: [outputs], or empty.</summary>
    public ReadOnlySpan<float> Bias => bias;

    internal float[] BiasArray => bias;

    /// <summary>Width of x.</summary>
    public int Inputs { get; }

    /// <summary>Width of y.</summary>
    public int Outputs { get; }

    /// <summary>Reads a row of W.</summary>
    /// <param name="output">Which one.</param>
    /// <param name="destination">[inputs]</param>
    /// <exception cref="ArgumentOutOfRangeException">There is no such output.</exception>
    public void UnpackRow(int output, Span<float> destination)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(output, Outputs);
        int row = output;
        int part = 0;
        for (; row >= parts[part].Rows; part++)
        {
            row -= parts[part].Rows;
        }

        parts[part].UnpackRow(row, destination);
    }

    /// <summary>Frees the packed weights.</summary>
    public void Dispose() => Array.ForEach(parts, static part => part.Dispose());
}

/// <summary>A linear layer of the checkpoint as outputs of a <see cref="Linear"/>.</summary>
/// <param name="Name">Without <c>.weight</c>.</param>
/// <param name="FirstOutput">Its first output.</param>
/// <param name="Outputs">How many outputs it has.</param>
public readonly record struct LinearModule(string Name, int FirstOutput, int Outputs);

/// <summary>A table of f32 weights that rows are looked up in and blended.</summary>
/// <param name="name">Name of the tensor in the checkpoint.</param>
/// <param name="values">[rows, width]</param>
/// <param name="width">Numbers in a row.</param>
public sealed class LookupTable(string name, float[] values, int width)
{
    /// <summary>Name of the tensor in the checkpoint.</summary>
    public string Name { get; } = name;

    /// <summary>[rows, width], widened to f32.</summary>
    public ReadOnlySpan<float> Values => values;

    internal float[] Array => values;

    /// <summary>Numbers in a row.</summary>
    public int Width { get; } = width;

    /// <summary>Number of rows.</summary>
    public int Rows => Width == 0 ? 0 : values.Length / Width;
}

/// <summary>Gated MLPs of which each token passes through a few: their weights, stacked so that each begins a panel.</summary>
public sealed class Experts : IDisposable
{
    readonly PackedMatrix gateUp;
    readonly PackedMatrix down;
    readonly PackedMatrix[] gateUps;
    readonly PackedMatrix[] downs;

    /// <summary>Takes over stacks of matrices.</summary>
    /// <param name="name">What the names of the tensors in the checkpoint begin with.</param>
    /// <param name="count">Number of experts.</param>
    /// <param name="perToken">Experts that each token passes through.</param>
    /// <param name="gateUp">[count * Stacked(2 * width), hidden]: of each expert the rows of the gate, then those of up.</param>
    /// <param name="down">[count * Stacked(hidden), width]</param>
    public Experts(string name, int count, int perToken, PackedMatrix gateUp, PackedMatrix down)
    {
        Name = name;
        PerToken = perToken;
        (this.gateUp, this.down) = (gateUp, down);
        gateUps = Slices(gateUp, count, 2 * down.Columns);
        downs = Slices(down, count, gateUp.Columns);
    }

    /// <summary>What the names of the tensors in the checkpoint begin with.</summary>
    public string Name { get; }

    /// <summary>Number of experts.</summary>
    public int Count => gateUps.Length;

    /// <summary>Experts that each token passes through.</summary>
    public int PerToken { get; }

    /// <summary>Width of x and of the result.</summary>
    public int Hidden => gateUp.Columns;

    /// <summary>Width between gate and down projection.</summary>
    public int Width => down.Columns;

    /// <summary>Gate and up of an expert: [2 * width, hidden].</summary>
    public PackedMatrix GateUp(int expert) => gateUps[expert];

    /// <summary>Down projection of an expert: [hidden, width].</summary>
    public PackedMatrix Down(int expert) => downs[expert];

    internal PackedMatrix GateUpStack => gateUp;

    internal PackedMatrix DownStack => down;

    /// <summary>Rows that a matrix takes in a stack: up to the next whole panel.</summary>
    public static int Stacked(int rows) =>
        checked((rows + PackedMatrix.PanelRows - 1) / PackedMatrix.PanelRows * PackedMatrix.PanelRows);

    static PackedMatrix[] Slices(PackedMatrix stack, int count, int rows) =>
        [.. Enumerable.Range(0, count).Select(i => stack.Slice(i * Stacked(rows), rows))];

    /// <summary>Frees the packed weights.</summary>
    public void Dispose()
    {
        gateUp.Dispose();
        down.Dispose();
    }
}

/// <summary>Cosines and sines for rotary positions: one row for each token.</summary>
/// <param name="Cos">[rows, headDim / 2]</param>
/// <param name="Sin">[rows, headDim / 2]</param>
public readonly record struct Rotary(Tensor Cos, Tensor Sin);

/// <summary>Heads of an attention layer.</summary>
/// <param name="Heads">Query heads.</param>
/// <param name="KvHeads">Key and value heads; a divisor of <paramref name="Heads"/>.</param>
/// <param name="HeadDim">Width of a head.</param>
public readonly record struct AttentionShape(int Heads, int KvHeads, int HeadDim)
{
    /// <summary>1 / sqrt(head dimension).</summary>
    public float Scale => (float)(1 / Math.Sqrt(HeadDim));

    /// <summary>How keys and values lie in a page.</summary>
    /// <param name="storage">How a number is stored.</param>
    public KvLayout Layout(KvStorage storage) => new(KvHeads, HeadDim, storage);
}
