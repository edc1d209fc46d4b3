using VlmSharp.Tensors;

namespace VlmSharp.Training;

/// <summary>The memory of one result of an operation, and of the gradient that belongs to it.</summary>
/// <remarks>Views of a result (columns, rows, another shape) are views of its gradient in the same place.</remarks>
sealed class Region(Tensor value, int order)
{
    /// <summary>Where the values are now: a recomputed result lies elsewhere than at first.</summary>
    public Tensor Value { get; set; } = value;

    /// <summary>Regions are numbered as they are made.</summary>
    public int Order { get; } = order;

    /// <summary>Whether anything trained lies before it.</summary>
    public bool Needs { get; set; }

    /// <summary>Whether the values are read by a backward pass and so must stay as they are.</summary>
    public bool Saved { get; set; }

    /// <summary>Whether there is a gradient yet; without one it is zero.</summary>
    public bool HasGradient { get; set; }

    /// <summary>Of the shape of the values.</summary>
    public Tensor Gradient { get; set; }
}

/// <summary>A tensor that operations were given: a place in a region.</summary>
readonly record struct View(Region Region, long Offset, int Rows, int Width, int Stride)
{
    public bool Needs => Region.Needs;

    public bool IsWhole =>
        Offset == 0
        && (Stride == Width || Rows <= 1)
        && (long)Rows * Width == (long)Region.Value.Rows * Region.Value.Width;

    public Tensor Value => In(Region.Value);

    public Tensor Gradient => In(Region.Gradient);

    Tensor In(Tensor memory) => new(memory.Buffer, memory.Offset + Offset, Rows, Width, Stride);
}
