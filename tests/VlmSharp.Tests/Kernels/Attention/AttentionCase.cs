using VlmSharp.Kernels;
using VlmSharp.Testing;

namespace VlmSharp.Tests.Kernels;

/// <summary>Sequences with their keys and values, laid out in shuffled pages, and the double-precision answer.</summary>
sealed class AttentionCase
{
    readonly Random random;

    /// <param name="heads">Query heads.</param>
    /// <param name="kvHeads">Key/value heads.</param>
    /// <param name="headDim">Channels per head.</param>
    /// <param name="sequences">For each sequence how many queries and how many keys it has.</param>
    /// <param name="seed">Of the numbers drawn.</param>
    internal AttentionCase(int heads, int kvHeads, int headDim, (int Queries, int Keys)[] sequences, int seed = 1)
    {
        random = new Random(seed);
        Heads = heads;
        Layout = new KvLayout(kvHeads, headDim);
        Scale = 1 / MathF.Sqrt(headDim);
        Lengths = sequences;
        Q = Draw(sequences.Sum(s => s.Queries) * heads * headDim);
        Keys = [.. sequences.Select(s => Draw(s.Keys * kvHeads * headDim))];
        Values = [.. sequences.Select(s => Draw(s.Keys * kvHeads * headDim))];
    }

    internal int Heads { get; }

    /// <summary>Heads; a way of computing says how they are stored.</summary>
    internal KvLayout Layout { get; }

    internal float Scale { get; set; }

    internal bool Causal { get; init; } = true;

    internal (int Queries, int Keys)[] Lengths { get; }

    /// <summary>[tokens, heads, headDim]</summary>
    internal float[] Q { get; }

    /// <summary>Per sequence [keys, kvHeads, headDim]</summary>
    internal float[][] Keys { get; }

    /// <summary>Per sequence [keys, kvHeads, headDim]</summary>
    internal float[][] Values { get; }

    int Width => Heads * Layout.HeadDim;

    /// <summary>The queries of one sequence, or some of them.</summary>
    internal float[] Queries(int sequence, int first, int count)
    {
        int start = Lengths.Take(sequence).Sum(s => s.Queries) + first;
        return Q[(start * Width)..((start + count) * Width)];
    }

    /// <summary>Everything in one call. Rows of q and y are <paramref name="gap"/> elements further apart than they need to be.</summary>
    internal float[] Run(Way way, WorkerPool pool, int gap = 0, int shuffle = 1) =>
        Run(way, pool, Q, [.. Lengths.Select((l, i) => (i, l.Queries, l.Keys))], gap, shuffle);

    /// <summary>The given queries; each piece names a sequence, a number of queries and how many of its keys are there so far.</summary>
    internal float[] Run(
        Way way,
        WorkerPool pool,
        float[] q,
        (int Sequence, int Queries, int Keys)[] pieces,
        int gap = 0,
        int shuffle = 1
    )
    {
        // The pages of all pieces, in random order, with some that nobody uses in between; NaN wherever nothing was written.
        const int PageTokens = KvLayout.PageTokens;
        KvLayout layout = Layout with { Storage = way.Storage };
        int[] used = [.. pieces.Select(p => (p.Keys + PageTokens - 1) / PageTokens)];
        int pageCount = used.Sum() + 2;
        int[] order = [.. Enumerable.Range(0, pageCount)];
        new Random(shuffle).Shuffle(order);
        int[] table = [-1, .. order[..used.Sum()]];
        using var pages = new GuardedMemory<byte>(pageCount * layout.PageBytes);
        pages.Span.Fill(0xFF);

        int stride = Width + gap;
        int tokens = pieces.Sum(p => p.Queries);
        using var from = new Strided(tokens, Width, stride, (r, i) => q[(r * Width) + i]);
        using var to = new Strided(tokens, Width, stride + gap, (_, _) => float.NaN);
        var sequences = new AttentionSequence[pieces.Length];
        int row = 0;
        int page = 1;
        for (int i = 0; i < pieces.Length; i++)
        {
            (int s, int queries, int keys) = pieces[i];
            sequences[i] = new(row, queries, keys, page);
            int first = page;
            int[] slots =
            [
                .. Enumerable
                    .Range(0, keys)
                    .Select(t => (table[first + (t / PageTokens)] * PageTokens) + (t % PageTokens)),
            ];
            int width = Layout.KvHeads * Layout.HeadDim;
            KeyValueStore.Write(way.Writer, Keys[s], width, Values[s], width, keys, layout, pages.Span, slots, pool);
            row += queries;
            page += used[i];
        }

        Attention.Apply(
            way.Kernel,
            from.Span,
            from.Stride,
            Heads,
            layout,
            pages.Span,
            table,
            sequences,
            Causal,
            Scale,
            to.Span,
            to.Stride,
            pool,
            way.MayRound
        );
        return to.ToArray();
    }

    /// <summary>softmax(scale * q k^T) v over what is stored of k and v, one query and head after the other. Zeros where there is no key.</summary>
    internal double[] Expected(KvStorage storage)
    {
        int d = Layout.HeadDim;
        int group = Heads / Layout.KvHeads;
        float[][] storedKeys = Array.ConvertAll(Keys, k => StoredNumbers.Of(storage, k, d));
        float[][] storedValues = Array.ConvertAll(Values, v => StoredNumbers.Of(storage, v, d));
        var y = new double[Q.Length];
        int row = 0;
        for (int s = 0; s < Lengths.Length; s++)
        {
            (int queries, int keys) = Lengths[s];
            for (int query = 0; query < queries; query++, row++)
            {
                int visible = Causal ? Math.Max(0, keys - queries + query + 1) : keys;
                for (int head = 0; head < Heads; head++)
                {
                    int at = ((row * Heads) + head) * d;
                    var scores = new double[visible];
                    for (int key = 0; key < visible; key++)
                    {
                        int k = ((key * Layout.KvHeads) + (head / group)) * d;
                        for (int i = 0; i < d; i++)
                        {
                            scores[key] += (double)Q[at + i] * storedKeys[s][k + i] * Scale;
                        }
                    }

                    double max = scores.DefaultIfEmpty().Max();
                    double sum = scores.Sum(score => Math.Exp(score - max));
                    for (int key = 0; key < visible; key++)
                    {
                        int v = ((key * Layout.KvHeads) + (head / group)) * d;
                        double weight = Math.Exp(scores[key] - max) / sum;
                        for (int i = 0; i < d; i++)
                        {
                            y[at + i] += weight * storedValues[s][v + i];
                        }
                    }
                }
            }
        }

        return y;
    }

    float[] Draw(int count)
    {
        var values = new float[count];
        for (int i = 0; i < count; i++)
        {
            values[i] = (random.NextSingle() * 4) - 2;
        }

        return values;
    }
}
