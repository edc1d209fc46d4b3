using VlmSharp.Kernels;
using VlmSharp.Tensors;

namespace VlmSharp.Models.Blocks;

/// <summary>Attention of a block of a vision tower: rotary, without a mask, each frame or window a sequence of its own.</summary>
/// <param name="weights">Where the weights lie.</param>
/// <param name="name">What their names begin with, before <c>.qkv</c> and <c>.proj</c>.</param>
/// <param name="width">Width of a patch.</param>
/// <param name="heads">Heads, which divide it.</param>
sealed class VisionAttention(WeightSource weights, string name, int width, int heads) : IDisposable
{
    readonly Linear qkv = weights.Linear(width, bias: true, ($"{name}.qkv", 3 * width));
    readonly Linear output = weights.Linear(width, bias: true, ($"{name}.proj", width));
    readonly AttentionShape shape = new(heads, heads, width / heads);

    /// <summary>What patches take from those they see, added to residual: [patches, width].</summary>
    /// <param name="ops">Where it runs.</param>
    /// <param name="x">[patches, width], normalised.</param>
    /// <param name="residual">[patches, width]; consumed.</param>
    /// <param name="rotary">[patches]</param>
    /// <param name="sequences">Patches of each sequence, in the order of the rows.</param>
    public Tensor Forward(Ops ops, Tensor x, Tensor residual, Rotary rotary, ReadOnlySpan<int> sequences)
    {
        Tensor packed = ops.Linear(x, qkv); // packed: [patches, 3 * width], q before k before v
        Tensor q = ops.Rotate(packed.Columns(0, width), heads, rotary);
        Tensor k = ops.Rotate(packed.Columns(width, width), heads, rotary);
        Tensor v = packed.Columns(2 * width, width);
        Tensor attended = ops.FullAttention(q, k, v, shape, sequences); // attended: [patches, width]
        return ops.Linear(attended, output, residual);
    }

    /// <summary>Frees the weights.</summary>
    public void Dispose() => WeightSource.DisposeAll(qkv, output);
}
