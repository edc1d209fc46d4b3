namespace VlmSharp.Formats;

/// <summary>Changes weights of a checkpoint on their way into a model: what merging an adapter is.</summary>
public interface IWeightChange
{
    /// <summary>Whether it changes a tensor.</summary>
    /// <param name="name">The tensor's name in the checkpoint; that of the matrix, <c>X.weight</c>, where a layer is stored quantised.</param>
    bool Changes(string name);

    /// <summary>Changes the values.</summary>
    /// <param name="name">One that it <see cref="Changes"/>.</param>
    /// <param name="shape">Outermost dimension first.</param>
    /// <param name="values">All values of the tensor, row-major.</param>
    /// <exception cref="CheckpointException">The tensor has another shape than the change is made for.</exception>
    void Apply(string name, ReadOnlySpan<int> shape, Span<float> values);
}
