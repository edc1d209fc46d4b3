namespace VlmSharp.Training;

/// <summary>One tensor of the checkpoint in f32, as training changes it.</summary>
/// <remarks>Values and gradient lie in arrays that tensors with the same input share, so that one matrix product serves all of them.</remarks>
public sealed class Parameter
{
    readonly float[] values;
    readonly float[] gradient;
    readonly int offset;

    internal Parameter(string name, int[] shape, float[] values, float[] gradient, int offset)
    {
        Name = name;
        Shape = shape;
        Count = shape.Aggregate(1, (a, b) => checked(a * b));
        this.values = values;
        this.gradient = gradient;
        this.offset = offset;
    }

    /// <summary>Its name in the checkpoint.</summary>
    public string Name { get; }

    /// <summary>Its shape in the checkpoint.</summary>
    public IReadOnlyList<int> Shape { get; }

    /// <summary>Number of elements.</summary>
    public int Count { get; }

    /// <summary>The master values, row-major. After a change <see cref="ParameterSet.Repack"/> hands them to the forward pass.</summary>
    public Span<float> Values => values.AsSpan(offset, Count);

    /// <summary>The gradient added up since <see cref="ParameterSet.ZeroGradients"/>; without meaning where it is not trained.</summary>
    public Span<float> Gradient => gradient.AsSpan(offset, Count);

    /// <summary>Whether it takes part in training. What lies before the first trained tensor needs no backward pass at all.</summary>
    public bool Trained { get; set; } = true;

    /// <inheritdoc/>
    public override string ToString() => $"{Name} [{string.Join(", ", Shape)}]";
}
