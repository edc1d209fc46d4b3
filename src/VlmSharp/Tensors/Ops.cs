using VlmSharp.Kernels;

namespace VlmSharp.Tensors;

/// <summary>The seam between models and kernels: every operation a model's forward pass is made of.</summary>
/// <remarks>
/// One virtual call for an operation, never for an element. An argument that is documented as consumed may be overwritten
/// by the result; a model does not use it afterwards. An implementation decides where results live and whether they are
/// recorded. <see cref="CpuOps"/> runs inference.
/// </remarks>
public abstract class Ops
{
    /// <summary>An uninitialised tensor that lives until the mark below it is released.</summary>
    public abstract Tensor Allocate(int rows, int width);

    /// <summary>The position to which <see cref="Release"/> goes back.</summary>
    public abstract Arena.Mark Mark { get; }

    /// <summary>Frees everything allocated since the mark but one tensor, whose new place is returned.</summary>
    public abstract Tensor Release(Arena.Mark mark, Tensor keep);

    /// <summary>Rows of the table for the tokens: [tokens, width].</summary>
    public abstract Tensor Embed(PackedMatrix table, ReadOnlySpan<int> tokens);

    /// <summary><paramref name="x"/> with its rows from <paramref name="firstRow"/> on replaced by those of another tensor.</summary>
    /// <param name="x">Consumed.</param>
    /// <param name="firstRow">First row that is replaced.</param>
    /// <param name="rows">[count, width]: what takes their place.</param>
    public abstract Tensor ReplaceRows(Tensor x, int firstRow, Tensor rows);

    /// <summary><paramref name="x"/> with rows of another tensor added to its rows from <paramref name="firstRow"/> on.</summary>
    /// <param name="x">Consumed.</param>
    /// <param name="firstRow">First row that something is added to.</param>
    /// <param name="rows">[count, width]: what is added.</param>
    public abstract Tensor AddRows(Tensor x, int firstRow, Tensor rows);

    /// <summary>The sum of two tensors of one shape.</summary>
    /// <param name="x">Consumed.</param>
    /// <param name="y">[rows, width], as <paramref name="x"/>.</param>
    /// <exception cref="ArgumentException">The shapes differ.</exception>
    public Tensor Add(Tensor x, Tensor y) =>
        x.Rows == y.Rows
            ? AddRows(x, 0, y)
            : throw new ArgumentException($"[{y.Rows}, {y.Width}] cannot be added to [{x.Rows}, {x.Width}].");

    /// <summary>The listed rows, in their order: [indices, width].</summary>
    public abstract Tensor TakeRows(Tensor x, ReadOnlySpan<int> indices);

    /// <summary>Tensors side by side, in their order: [rows, sum of their widths].</summary>
    /// <param name="parts">Each [rows, width of its own].</param>
    public abstract Tensor Concatenate(params ReadOnlySpan<Tensor> parts);

    /// <summary>For each result the weighted sum of some rows of a table: [rows, table width].</summary>
    /// <param name="table">The rows.</param>
    /// <param name="indices">[rows, count]</param>
    /// <param name="weights">[rows, count]</param>
    /// <param name="count">Rows of the table in each sum.</param>
    public abstract Tensor Blend(LookupTable table, ReadOnlySpan<int> indices, ReadOnlySpan<float> weights, int count);

    /// <summary>W x + b for every row: [rows, outputs].</summary>
    public abstract Tensor Linear(Tensor x, Linear layer);

    /// <summary>W x + b + residual: [rows, outputs].</summary>
    /// <param name="x">[rows, inputs]</param>
    /// <param name="layer">The map.</param>
    /// <param name="residual">[rows, outputs]; consumed.</param>
    public abstract Tensor Linear(Tensor x, Linear layer, Tensor residual);

    /// <summary>x / sqrt(mean(x^2) + epsilon) * weight, by rows.</summary>
    public abstract Tensor RmsNorm(Tensor x, Vector weight, float epsilon);

    /// <summary><see cref="RmsNorm"/> of every head on its own.</summary>
    /// <param name="x">[rows, heads * headDim]; consumed.</param>
    /// <param name="weight">[headDim]: the heads share it, and its length tells their width.</param>
    /// <param name="epsilon">Added to the mean square.</param>
    public abstract Tensor RmsNormHeads(Tensor x, Vector weight, float epsilon);

    /// <summary>(x - mean) / sqrt(variance + epsilon) * weight + bias, by rows, with the biased variance.</summary>
    public abstract Tensor LayerNorm(Tensor x, Vector weight, Vector bias, float epsilon);

    /// <summary>Rotates pairs (i, i + headDim / 2) of every head by the row's angles.</summary>
    /// <param name="x">[rows, heads * headDim]; consumed.</param>
    /// <param name="heads">Heads in a row.</param>
    /// <param name="rotary">The angles.</param>
    public abstract Tensor Rotate(Tensor x, int heads, Rotary rotary);

    /// <summary>silu(gate) * up, where a row holds the gate in its first half and up in the second: [rows, width / 2].</summary>
    public abstract Tensor SwiGlu(Tensor gateUp);

    /// <summary>What the experts of each row make of it, weighted, plus residual: [rows, hidden].</summary>
    /// <remarks>
    /// An expert is a gated MLP, down(silu(gate(x)) * up(x)). A row passes through the <see cref="Experts.PerToken"/> ones with the largest
    /// logits; their weights are their probabilities, divided by the sum of these.
    /// </remarks>
    /// <param name="x">[rows, hidden]</param>
    /// <param name="logits">[rows, experts]: the router's.</param>
    /// <param name="experts">The MLPs.</param>
    /// <param name="residual">[rows, hidden]; consumed.</param>
    public abstract Tensor MixExperts(Tensor x, Tensor logits, Experts experts, Tensor residual);

    /// <summary>x * sigmoid(1.702 x).</summary>
    /// <param name="x">Consumed.</param>
    public abstract Tensor QuickGelu(Tensor x);

    /// <summary>x * (1 + erf(x / sqrt(2))) / 2.</summary>
    /// <param name="x">Consumed.</param>
    public abstract Tensor Gelu(Tensor x);

    /// <summary>x * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3))) / 2.</summary>
    /// <param name="x">Consumed.</param>
    public abstract Tensor GeluTanh(Tensor x);

    /// <summary>Attention within packed sequences, every row seeing all rows of its own sequence.</summary>
    /// <param name="q">[rows, heads * headDim]</param>
    /// <param name="k">[rows, kvHeads * headDim]</param>
    /// <param name="v">[rows, kvHeads * headDim]</param>
    /// <param name="shape">Heads.</param>
    /// <param name="lengths">Rows of each sequence; their sum is the number of rows.</param>
    /// <returns>[rows, heads * headDim]</returns>
    public Tensor FullAttention(Tensor q, Tensor k, Tensor v, AttentionShape shape, ReadOnlySpan<int> lengths) =>
        CrossAttention(q, k, v, shape, lengths, lengths);

    /// <summary>Attention within packed sequences, every query seeing all keys of its own sequence.</summary>
    /// <param name="q">[queries, heads * headDim]</param>
    /// <param name="k">[keys, kvHeads * headDim]</param>
    /// <param name="v">[keys, kvHeads * headDim]</param>
    /// <param name="shape">Heads.</param>
    /// <param name="queryLengths">Queries of each sequence; their sum is the number of rows of q.</param>
    /// <param name="keyLengths">Keys of each sequence; their sum is the number of rows of k and v.</param>
    /// <returns>[queries, heads * headDim]; zeros for a sequence without keys.</returns>
    /// <exception cref="ArgumentException">The lengths do not add up to the rows, or are not of as many sequences.</exception>
    public abstract Tensor CrossAttention(
        Tensor q,
        Tensor k,
        Tensor v,
        AttentionShape shape,
        ReadOnlySpan<int> queryLengths,
        ReadOnlySpan<int> keyLengths
    );

    /// <summary>Checks what <see cref="CrossAttention"/> says of its lengths.</summary>
    protected static void CheckLengths(Tensor q, Tensor k, ReadOnlySpan<int> queryLengths, ReadOnlySpan<int> keyLengths)
    {
        long queries = 0;
        long keys = 0;
        foreach (int length in queryLengths)
        {
            queries += length;
        }

        foreach (int length in keyLengths)
        {
            keys += length;
        }

        if (queryLengths.Length != keyLengths.Length || queries != q.Rows || keys != k.Rows)
        {
            throw new ArgumentException(
                $"{queryLengths.Length} sequences of {queries} queries and {keyLengths.Length} of {keys} keys do not fit {q.Rows} queries and {k.Rows} keys."
            );
        }
    }

    /// <summary>Causal attention over the cached keys and values of each sequence, to which k and v are added first.</summary>
    /// <param name="q">[rows, heads * headDim]</param>
    /// <param name="k">[rows, kvHeads * headDim]</param>
    /// <param name="v">[rows, kvHeads * headDim]</param>
    /// <param name="shape">Heads.</param>
    /// <param name="cache">The pages.</param>
    /// <param name="layer">Which layer's pages.</param>
    /// <param name="placement">Which rows belong to which sequence, and where its keys lie.</param>
    /// <returns>[rows, heads * headDim]</returns>
    public abstract Tensor CachedAttention(
        Tensor q,
        Tensor k,
        Tensor v,
        AttentionShape shape,
        KvCache cache,
        int layer,
        KvPlacement placement
    );

    /// <summary>Marks a named intermediate result; an implementation may look at it, or put another in its place.</summary>
    /// <param name="name">The name golden cases use: <c>vision.block.0</c>, <c>text.norm</c>, ...</param>
    /// <param name="x">Consumed.</param>
    public virtual Tensor Tap(string name, Tensor x) => x;

    /// <summary>Marks named numbers that decide how a pass runs (an order, bounds): an implementation may look at them.</summary>
    public virtual void Tap(string name, ReadOnlySpan<int> values) { }

    /// <summary>Marks named numbers that decide how a pass runs (frequencies): an implementation may look at them.</summary>
    public virtual void Tap(string name, ReadOnlySpan<float> values) { }
}
