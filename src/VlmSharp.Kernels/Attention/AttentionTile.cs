using System.Numerics;
using System.Runtime.CompilerServices;

namespace VlmSharp.Kernels;

/// <summary>Attention of some consecutive queries of one sequence and one key/value head; the code under <see cref="Attention"/>.</summary>
internal unsafe delegate void AttentionKernel(AttentionTile tile, byte* scratch);

/// <summary>The inner loops of attention for one instruction set. All matrices are tiles of at most <see cref="Rows"/> query rows.</summary>
/// <remarks>What is computed for one row never depends on how many rows the tile has.</remarks>
internal unsafe interface IAttentionMath
{
    /// <summary>Query rows per tile, at most <see cref="AttentionTile.MaxRows"/>: as many as accumulators fit into registers.</summary>
    static abstract int Rows { get; }

    /// <summary>scores[r, key] = sum over i of q[i, r] * keys[i, key], for one panel of keys.</summary>
    /// <param name="rows">Rows in use.</param>
    /// <param name="q">[headDim][Rows]</param>
    /// <param name="keys">[headDim][32]</param>
    /// <param name="headDim">Channels.</param>
    /// <param name="scores">[rows][32], rows <see cref="AttentionTile.ScoreStride"/> apart</param>
    static abstract void Scores(int rows, float* q, float* keys, int headDim, float* scores);

    /// <summary>Turns the scores a row sees into weights 2^(score - max), and those behind them, up to a multiple of 16, into zeros.</summary>
    /// <param name="scores">The row's scores.</param>
    /// <param name="visible">How many of them it sees, at least 1.</param>
    /// <param name="max">The largest score seen, and never below the smallest finite number.</param>
    /// <returns>The sum of the weights.</returns>
    static abstract float Weights(float* scores, int visible, out float max);

    /// <summary>keep[r] = 2^(max[r] - m), add[r] = 2^(blockMax[r] - m), m = max(max[r], blockMax[r]), which becomes max[r]; for <see cref="AttentionTile.MaxRows"/> rows.</summary>
    static abstract void Factors(float* max, float* blockMax, float* keep, float* add);

    /// <summary>y[r] = y[r] * keep[r] + add[r] * (sum over the keys it sees of weights[r, key] * values[key]), for one panel of channels.</summary>
    /// <param name="rows">Rows in use.</param>
    /// <param name="weights">[rows][keys], rows <see cref="AttentionTile.ScoreStride"/> apart</param>
    /// <param name="pages">Where each page's panel of values begins: [tokens][width].</param>
    /// <param name="width">32 or 16 channels.</param>
    /// <param name="visible">[rows], ascending: how many keys each row sees. A row that sees none (zero or less) is left alone.</param>
    /// <param name="keep">[rows]</param>
    /// <param name="add">[rows]</param>
    /// <param name="y">[rows][width], rows <paramref name="yStride"/> apart</param>
    /// <param name="yStride">Elements from one row of y to the next.</param>
    static abstract void Values(
        int rows,
        float* weights,
        float** pages,
        int width,
        int* visible,
        float* keep,
        float* add,
        float* y,
        int yStride
    );
}

/// <summary>A piece of work: consecutive queries of one sequence, all query heads that share one key/value head.</summary>
/// <remarks>
/// <para>
/// Row r is query r / Group with head r % Group, so that a grouped decode fills a tile as a prefill does. Keys are taken in
/// blocks of <see cref="BlockKeys"/> at absolute positions. Each block is computed on its own (largest score, sum of weights,
/// weighted sum of values, each from zero) and then merged into the running result, in ascending order.
/// </para>
/// <para>
/// So a row's result is a fixed expression of its query and the keys it sees: channels in order inside a score, keys in order
/// inside a block, blocks in order. Nothing else, such as the rows beside it, where a prefill was cut, or where the pages lie,
/// can change a bit of it. Keys it does not see take part in nothing, whatever their values are.
/// </para>
/// </remarks>
internal readonly unsafe struct AttentionTile
{
    /// <summary>Keys per block.</summary>
    internal const int BlockKeys = 256;

    /// <summary>Elements from one row of scores to the next: padding keeps equal columns of a tile's rows in different cache sets.</summary>
    internal const int ScoreStride = BlockKeys + 16;

    /// <summary>Upper bound of <see cref="IAttentionMath.Rows"/>; per-row numbers are stored in one vector of this length.</summary>
    internal const int MaxRows = 16;

    const int BlockPages = BlockKeys / KvLayout.PageTokens;

    /// <summary>[queries, heads, headDim]: the first query, first head of the group</summary>
    internal float* Q { get; init; }

    internal int QStride { get; init; }

    /// <summary>[queries, heads, headDim]: likewise; may be Q</summary>
    internal float* Y { get; init; }

    internal int YStride { get; init; }

    /// <summary>All pages, at the first page's part for this key/value head.</summary>
    internal float* Pages { get; init; }

    internal int PageFloats { get; init; }

    /// <summary>The sequence's page table.</summary>
    internal int* PageTable { get; init; }

    internal KvLayout Layout { get; init; }

    internal int Queries { get; init; }

    /// <summary>Query heads per key/value head.</summary>
    internal int Group { get; init; }

    /// <summary>How many keys the first query sees; may be negative under a causal mask.</summary>
    internal int FirstVisible { get; init; }

    /// <summary>How many more each following query sees: 1 under a causal mask, else 0.</summary>
    internal int VisibleStep { get; init; }

    /// <summary>What scores are multiplied by, times log2(e): weights are powers of two.</summary>
    internal float Scale { get; init; }

    /// <summary>Scratch memory for this many query rows.</summary>
    internal static int ScratchBytes(int rows, KvLayout layout)
    {
        // Any tile height: a tile more than needed for the lowest, MaxRows elements for the highest.
        long tiles = rows;
        long q = (rows + MaxRows) * (long)layout.HeadDim;
        long y = rows * (long)layout.ValueChannels;
        return checked((int)(sizeof(float) * (Align(q) + y + (tiles * 3 * MaxRows) + (MaxRows * ScoreStride))));
    }

    static long Align(long floats) => (floats + 15) & ~15L;

    /// <summary>Computes y for this piece.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    internal static void Run<TMath>(AttentionTile tile, byte* scratch)
        where TMath : struct, IAttentionMath
    {
        int rows = tile.Queries * tile.Group;
        int tiles = (rows + TMath.Rows - 1) / TMath.Rows;
        int headDim = tile.Layout.HeadDim;
        int channels = tile.Layout.ValueChannels;

        float* q = (float*)scratch; // [tiles][headDim][TMath.Rows]
        float* y = q + Align((long)tiles * TMath.Rows * headDim); // [rows][channels]
        float* max = y + ((nint)rows * channels); // [tiles][MaxRows], as are sum and visible
        float* sum = max + (tiles * MaxRows);
        int* visible = (int*)(sum + (tiles * MaxRows));
        float* scores = (float*)(visible + (tiles * MaxRows)); // [TMath.Rows][ScoreStride]

        tile.PackQueries(q, visible, TMath.Rows);
        new Span<float>(y, rows * channels).Clear();
        new Span<float>(sum, tiles * MaxRows).Clear();
        new Span<float>(max, tiles * MaxRows).Fill(float.MinValue);

        float** keys = stackalloc float*[BlockPages];
        float** values = stackalloc float*[BlockPages];
        int end = tile.Visible(rows - 1);
        for (int start = 0; start < end; start += BlockKeys)
        {
            tile.FindPages(start, Math.Min(end - start, BlockKeys), keys);
            for (int t = 0; t < tiles; t++)
            {
                int tileRows = Math.Min(TMath.Rows, rows - (t * TMath.Rows));
                tile.MergeBlock<TMath>(
                    start,
                    tileRows,
                    q + ((nint)t * TMath.Rows * headDim),
                    visible + (t * MaxRows),
                    max + (t * MaxRows),
                    sum + (t * MaxRows),
                    y + ((nint)t * TMath.Rows * channels),
                    keys,
                    values,
                    scores
                );
            }
        }

        for (int r = 0; r < rows; r++)
        {
            int at = (r / TMath.Rows * MaxRows) + (r % TMath.Rows);
            tile.WriteRow(r, y + ((nint)r * channels), sum[at]);
        }
    }

    /// <summary>Computes one block of keys for one tile of rows and merges it.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    void MergeBlock<TMath>(
        int start,
        int rows,
        float* q,
        int* visible,
        float* max,
        float* sum,
        float* y,
        float** keys,
        float** values,
        float* scores
    )
        where TMath : struct, IAttentionMath
    {
        int* seen = stackalloc int[MaxRows];
        for (int r = 0; r < rows; r++)
        {
            seen[r] = Math.Min(visible[r] - start, BlockKeys);
        }

        int end = seen[rows - 1];
        if (end <= 0)
        {
            return;
        }

        int headDim = Layout.HeadDim;
        for (int key = 0; key < end; key += KvLayout.KeyPanel)
        {
            float* page = keys[key / KvLayout.PageTokens];
            TMath.Scores(rows, q, page + ((nint)(key % KvLayout.PageTokens) * headDim), headDim, scores + key);
        }

        float* blockMax = stackalloc float[MaxRows];
        float* blockSum = stackalloc float[MaxRows];
        float* keep = stackalloc float[MaxRows];
        float* add = stackalloc float[MaxRows];
        for (int r = 0; r < MaxRows; r++)
        {
            // A row that sees nothing here keeps everything and adds nothing.
            blockMax[r] = float.NegativeInfinity;
            blockSum[r] = 0;
            if (r < rows && seen[r] > 0)
            {
                blockSum[r] = TMath.Weights(scores + (r * ScoreStride), seen[r], out blockMax[r]);
            }
        }

        TMath.Factors(max, blockMax, keep, add);
        for (int r = 0; r < rows; r++)
        {
            sum[r] = (sum[r] * keep[r]) + (blockSum[r] * add[r]);
        }

        int channels = Layout.ValueChannels;
        int offset = Layout.ValueOffset;
        for (int channel = 0; channel < channels; channel += KvLayout.ValuePanel)
        {
            for (int i = 0; i * KvLayout.PageTokens < end; i++)
            {
                values[i] = keys[i] + offset + (channel * KvLayout.PageTokens);
            }

            int width = Math.Min(KvLayout.ValuePanel, channels - channel);
            TMath.Values(rows, scores, values, width, seen, keep, add, y + channel, channels);
        }
    }

    /// <summary>How many keys a row sees.</summary>
    int Visible(int row) => FirstVisible + (row / Group * VisibleStep);

    void FindPages(int start, int count, float** keys)
    {
        for (int i = 0; i * KvLayout.PageTokens < count; i++)
        {
            keys[i] = Pages + ((nint)PageTable[(start / KvLayout.PageTokens) + i] * PageFloats);
        }
    }

    /// <summary>Transposes the scaled queries into [tiles][headDim][tileRows], so that one step of a score reads neighbours.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    void PackQueries(float* packed, int* visible, int tileRows)
    {
        int headDim = Layout.HeadDim;
        int rows = Queries * Group;
        for (int r = 0; r < rows; r++)
        {
            (int t, int column) = Math.DivRem(r, tileRows);
            (int query, int head) = Math.DivRem(r, Group);
            float* from = Q + ((nint)query * QStride) + ((nint)head * headDim);
            float* to = packed + ((nint)t * tileRows * headDim) + column;
            for (int i = 0; i < headDim; i++, to += tileRows)
            {
                *to = from[i] * Scale;
            }

            visible[(t * MaxRows) + column] = Visible(r);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    void WriteRow(int row, float* y, float sum)
    {
        (int query, int head) = Math.DivRem(row, Group);
        float* to = Y + ((nint)query * YStride) + ((nint)head * Layout.HeadDim);
        if (Visible(row) <= 0)
        {
            new Span<float>(to, Layout.HeadDim).Clear();
            return;
        }

        int channel = 0;
        for (; channel <= Layout.HeadDim - Vector<float>.Count; channel += Vector<float>.Count)
        {
            Vector.Store(Vector.Load(y + channel) / new Vector<float>(sum), to + channel);
        }

        for (; channel < Layout.HeadDim; channel++)
        {
            to[channel] = y[channel] / sum;
        }
    }
}
