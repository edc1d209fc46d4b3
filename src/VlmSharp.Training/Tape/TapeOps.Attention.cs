using VlmSharp.Kernels;
using VlmSharp.Tensors;

namespace VlmSharp.Training;

public sealed partial class TapeOps
{
    /// <inheritdoc/>
    public override Tensor CrossAttention(
        Tensor q,
        Tensor k,
        Tensor v,
        AttentionShape shape,
        ReadOnlySpan<int> queryLengths,
        ReadOnlySpan<int> keyLengths
    ) => Attend(q, k, v, shape, queryLengths.ToArray(), keyLengths.ToArray(), causal: false);

    /// <inheritdoc/>
    /// <remarks>Within the rows of each sequence: in training there is nothing in a cache, and none is written.</remarks>
    /// <exception cref="ArgumentException">A sequence has cached tokens, or rows belong to none.</exception>
    public override Tensor CachedAttention(
        Tensor q,
        Tensor k,
        Tensor v,
        AttentionShape shape,
        KvCache cache,
        int layer,
        KvPlacement placement
    )
    {
        int[] lengths = new int[placement.Sequences.Length];
        int row = 0;
        for (int i = 0; i < lengths.Length; i++)
        {
            AttentionSequence sequence = placement.Sequences[i];
            if (sequence.QueryStart != row || sequence.KeyCount != sequence.QueryCount)
            {
                throw new ArgumentException($"{sequence} is not a whole sequence that begins with row {row}.");
            }

            lengths[i] = sequence.QueryCount;
            row += sequence.QueryCount;
        }

        return Attend(q, k, v, shape, lengths, lengths, causal: true);
    }

    Tensor Attend(Tensor q, Tensor k, Tensor v, AttentionShape shape, int[] queryLengths, int[] keyLengths, bool causal)
    {
        View queries = Find(q);
        View keys = Find(k);
        View values = Find(v);
        return Record(
            queries.Needs || keys.Needs || values.Needs,
            () => cpu.PackedAttention(queries.Value, keys.Value, values.Value, shape, queryLengths, keyLengths, causal),
            y => AttendBackward(queries, keys, values, shape, Sequences(queryLengths, keyLengths), causal, y.Gradient),
            queries,
            keys,
            values
        );
    }

    void AttendBackward(
        View q,
        View k,
        View v,
        AttentionShape shape,
        PackedSequence[] sequences,
        bool causal,
        Tensor dy
    )
    {
        Tensor dq = Zeroed(q);
        Tensor dk = Zeroed(k);
        Tensor dv = Zeroed(v);
        AttentionBackward.Apply(
            q.Value.Data,
            q.Stride,
            k.Value.Data,
            k.Stride,
            v.Value.Data,
            v.Stride,
            dy.Data,
            dy.Stride,
            dq.Data,
            dq.Stride,
            dk.Data,
            dk.Stride,
            dv.Data,
            dv.Stride,
            shape.Heads,
            shape.KvHeads,
            shape.HeadDim,
            sequences,
            causal,
            shape.Scale,
            pool
        );
    }

    static PackedSequence[] Sequences(int[] queryLengths, int[] keyLengths)
    {
        PackedSequence[] sequences = new PackedSequence[queryLengths.Length];
        int query = 0;
        int key = 0;
        for (int i = 0; i < sequences.Length; i++)
        {
            sequences[i] = new PackedSequence(query, queryLengths[i], key, keyLengths[i]);
            query += queryLengths[i];
            key += keyLengths[i];
        }

        return sequences;
    }
}
