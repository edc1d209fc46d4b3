using VlmSharp.Kernels;

namespace VlmSharp.Tensors;

/// <summary>A vector of f32 weights: the scale or shift of a norm.</summary>
public sealed class Vector(string name, float[] values)
{
    /// <summary>Name of the tensor in the checkpoint.</summary>
    public string Name { get; } = name;

    /// <summary>The weights, widened to f32.</summary>
    public ReadOnlySpan<float> Values => values;
}

/// <summary>An affine map <c>y = W x + b</c> that hides how W is stored.</summary>
/// <remarks>Several checkpoint tensors with the same input (q, k, v; gate, up) may be stacked into one.</remarks>
public sealed class Linear(string name, PackedMatrix weight, float[] bias) : IDisposable
{
    /// <summary>Name of the tensor, or of the first of the stacked ones, in the checkpoint.</summary>
    public string Name { get; } = name;

    /// <summary>W, packed: [outputs, inputs].</summary>
    public PackedMatrix Weight { get; } = weight;

    /// <summary>b: [outputs], or empty.</summary>
    public ReadOnlySpan<float> Bias => bias;

    /// <summary>Width of x.</summary>
    public int Inputs => Weight.Columns;

    /// <summary>Width of y.</summary>
    public int Outputs => Weight.Rows;

    /// <summary>Frees the packed weights.</summary>
    public void Dispose() => Weight.Dispose();
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
    public KvLayout Layout => new(KvHeads, HeadDim);
}
