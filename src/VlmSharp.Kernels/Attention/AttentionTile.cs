using System.Numerics;
using System.Runtime.CompilerServices;

namespace VlmSharp.Kernels;

/// <summary>Attention of some consecutive queries of one sequence and one key/value head; the code under <see cref="Attention"/>.</summary>
internal unsafe delegate void AttentionKernel(AttentionTile tile, byte* scratch);

/// <summary>How much of a piece of attention is computed at once.</summary>
internal enum AttentionPhase
{
    /// <summary>All blocks of keys, each merged into the running result.</summary>
    Whole,

    /// <summary>One block of keys, whose result is left for <see cref="Merge"/>.</summary>
    Block,

    /// <summary>The results of all blocks.</summary>
    Merge,
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
/// inside a block, blocks in order. Nothing else, such as the rows beside it, where a prefill was cut, where the pages lie, or
/// whether blocks were computed one after the other or side by side, can change a bit of it. Keys it does not see take part in
/// nothing, whatever their values are.
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
    internal byte* Pages { get; init; }

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

    /// <summary>Whether queries and weights may be rounded to bf16 where keys and values are stored in fewer bits than f32.</summary>
    internal bool MayRound { get; init; }

    internal AttentionPhase Phase { get; init; }

    /// <summary>Which block, in <see cref="AttentionPhase.Block"/>.</summary>
    internal int Block { get; init; }

    /// <summary>Results of blocks: that of this block, or in <see cref="AttentionPhase.Merge"/> of all.</summary>
    internal float* Partials { get; init; }

    /// <summary>Floats from one of them to the next, at least <see cref="PartialFloats"/>.</summary>
    internal long PartialStride { get; init; }

    int Rows => Queries * Group;

    /// <summary>Scratch memory for this many query rows.</summary>
    internal static int ScratchBytes(int rows, KvLayout layout)
    {
        // Any tile height: a tile more than needed for the lowest, MaxRows elements for the highest.
        long q = (rows + (2 * MaxRows)) * (long)layout.HeadDim;
        long state = PartialFloats(rows, layout) + (rows * (long)MaxRows);
        long scores = MaxRows * ScoreStride;
        long wide =
            layout.Storage == KvStorage.F32 ? 0 : BlockPages * (layout with { Storage = KvStorage.F32 }).HeadBytes;
        return checked((int)((sizeof(float) * (Align(q) + state + scores)) + wide));
    }

    /// <summary>Floats of a result of this many query rows: largest scores, sums of weights, weighted sums of values.</summary>
    internal static long PartialFloats(int rows, KvLayout layout) => rows * ((2L * MaxRows) + layout.ValueChannels);

    static long Align(long floats) => (floats + 15) & ~15L;

    /// <summary>Computes what <see cref="Phase"/> says of this piece.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    internal static void Run<TMath>(AttentionTile tile, byte* scratch)
        where TMath : struct, IAttentionMath
    {
        KvLayout wide = tile.Layout with { Storage = TMath.Reads };
        int rows = tile.Rows;
        int tiles = (rows + TMath.Rows - 1) / TMath.Rows;
        int depth = wide.Depth;
        int channels = wide.ValueChannels;

        float* result = (float*)scratch; // as partials
        int* visible = (int*)(result + PartialFloats(rows, wide)); // [tiles][MaxRows]
        float* scores = (float*)(visible + (rows * MaxRows)); // [TMath.Rows][ScoreStride]
        byte* widened = (byte*)(scores + (MaxRows * ScoreStride)); // [BlockPages], where pages are stored otherwise
        float* unpacked = (float*)(widened + (tile.Layout.Storage == TMath.Reads ? 0 : BlockPages * wide.HeadBytes));
        float* q = unpacked + Align((long)MaxRows * depth); // [tiles][depth][TMath.Rows]
        for (int r = 0; r < rows; r++)
        {
            visible[(r / TMath.Rows * MaxRows) + (r % TMath.Rows)] = tile.Visible(r);
        }

        bool alone = tile.Phase == AttentionPhase.Block;
        float* max = alone ? tile.Partials : result; // [tiles][MaxRows], as is sum
        float* sum = max + (rows * MaxRows);
        float* y = sum + (rows * MaxRows); // [rows][channels]
        new Span<float>(max, tiles * MaxRows).Fill(alone ? float.NegativeInfinity : float.MinValue);
        new Span<float>(sum, tiles * MaxRows).Clear();
        // A block alone is added to -0, which changes no bit of it.
        new Span<float>(y, rows * channels).Fill(alone ? -0f : 0);

        if (tile.Phase == AttentionPhase.Merge)
        {
            tile.MergeBlocks<TMath>(visible, max, sum, y);
        }
        else
        {
            tile.PackQueries<TMath>(q, unpacked, depth);
            float** keys = stackalloc float*[BlockPages];
            int end = tile.Visible(rows - 1);
            int start = alone ? tile.Block * BlockKeys : 0;
            end = alone ? Math.Min(end, start + BlockKeys) : end;
            for (; start < end; start += BlockKeys)
            {
                tile.FindPages<TMath>(wide, start, Math.Min(end - start, BlockKeys), keys, widened);
                for (int t = 0; t < tiles; t++)
                {
                    tile.AddBlock<TMath>(
                        wide,
                        start,
                        Math.Min(TMath.Rows, rows - (t * TMath.Rows)),
                        q + ((nint)t * TMath.Rows * depth),
                        visible + (t * MaxRows),
                        max + (t * MaxRows),
                        sum + (t * MaxRows),
                        y + ((nint)t * TMath.Rows * channels),
                        keys,
                        scores
                    );
                }
            }
        }

        for (int r = 0; r < rows && !alone; r++)
        {
            int at = (r / TMath.Rows * MaxRows) + (r % TMath.Rows);
            tile.WriteRow(r, y + ((nint)r * channels), sum[at], TMath.Reads != KvStorage.F32);
        }
    }

    /// <summary>Computes one block of keys for one tile of rows and merges it, or leaves it as it is.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    void AddBlock<TMath>(
        KvLayout wide,
        int start,
        int rows,
        float* q,
        int* visible,
        float* max,
        float* sum,
        float* y,
        float** keys,
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

        int depth = wide.Depth;
        for (int key = 0; key < end; key += KvLayout.KeyPanel)
        {
            float* page = keys[key / KvLayout.PageTokens];
            TMath.Scores(rows, q, page + ((nint)(key % KvLayout.PageTokens) * depth), depth, scores + key);
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

        if (Phase == AttentionPhase.Block)
        {
            for (int r = 0; r < MaxRows; r++)
            {
                max[r] = blockMax[r];
                sum[r] = blockSum[r];
                keep[r] = 1;
                add[r] = 1;
            }
        }
        else
        {
            TMath.Factors(max, blockMax, keep, add);
            AddSums(rows, sum, blockSum, keep, add);
        }

        float** values = stackalloc float*[BlockPages];
        int channels = wide.ValueChannels;
        int words = wide.ValueOffset / sizeof(float);
        for (int channel = 0; channel < channels; channel += KvLayout.ValuePanel)
        {
            for (int i = 0; i * KvLayout.PageTokens < end; i++)
            {
                values[i] = keys[i] + words;
            }

            int width = wide.PanelWidth(channel);
            TMath.Values(rows, scores, values, width, seen, keep, add, y + channel, channels);
            words += KvLayout.PageTokens * width / (TMath.Reads == KvStorage.F32 ? 1 : 2);
        }
    }

    /// <summary>Merges the results of all blocks as <see cref="AddBlock"/> does.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    void MergeBlocks<TMath>(int* visible, float* max, float* sum, float* y)
        where TMath : struct, IAttentionMath
    {
        float* keep = stackalloc float[MaxRows];
        float* add = stackalloc float[MaxRows];
        int channels = Layout.ValueChannels;
        int end = Visible(Rows - 1);
        float* blockMax = Partials;
        for (int start = 0; start < end; start += BlockKeys, blockMax += PartialStride)
        {
            float* blockSum = blockMax + (Rows * MaxRows);
            float* sums = blockSum + (Rows * MaxRows);
            for (int first = 0, at = 0; first < Rows; first += TMath.Rows, at += MaxRows)
            {
                int rows = Math.Min(TMath.Rows, Rows - first);
                TMath.Factors(max + at, blockMax + at, keep, add);
                AddSums(rows, sum + at, blockSum + at, keep, add);
                for (int r = 0; r < rows; r++)
                {
                    if (visible[at + r] > start)
                    {
                        nint row = (nint)(first + r) * channels;
                        TMath.Merge(y + row, sums + row, channels, keep[r], add[r]);
                    }
                }
            }
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static void AddSums(int rows, float* sum, float* blockSum, float* keep, float* add)
    {
        for (int r = 0; r < rows; r++)
        {
            sum[r] = (sum[r] * keep[r]) + (blockSum[r] * add[r]);
        }
    }

    /// <summary>How many keys a row sees.</summary>
    int Visible(int row) => FirstVisible + (row / Group * VisibleStep);

    /// <summary>The head's part of each page of a block; where it is not stored as the kernel reads it, a wider copy.</summary>
    void FindPages<TMath>(KvLayout wide, int start, int count, float** keys, byte* widened)
        where TMath : struct, IAttentionMath
    {
        int pageBytes = Layout.PageBytes;
        for (int i = 0; i * KvLayout.PageTokens < count; i++)
        {
            byte* head = Pages + ((nint)PageTable[(start / KvLayout.PageTokens) + i] * pageBytes);
            if (Layout.Storage != TMath.Reads)
            {
                byte* copy = widened + ((nint)i * wide.HeadBytes);
                if (TMath.Reads == KvStorage.F32)
                {
                    KvPages.WidenToF32(Layout, head, (float*)copy);
                }
                else
                {
                    KvPages.Q8ToBF16(Layout, head, (uint*)copy);
                }

                head = copy;
            }

            keys[i] = (float*)head;
        }
    }

    /// <summary>The queries, tile after tile.</summary>
    void PackQueries<TMath>(float* packed, float* scratch, int depth)
        where TMath : struct, IAttentionMath
    {
        float** from = stackalloc float*[MaxRows];
        for (int first = 0; first < Rows; first += TMath.Rows, packed += TMath.Rows * (nint)depth)
        {
            int rows = Math.Min(TMath.Rows, Rows - first);
            for (int r = 0; r < rows; r++)
            {
                (int query, int head) = Math.DivRem(first + r, Group);
                from[r] = Q + ((nint)query * QStride) + ((nint)head * Layout.HeadDim);
            }

            TMath.PackQueries(from, rows, Layout.HeadDim, Scale, packed, scratch);
        }
    }

    /// <summary>Divides a row by its sum of weights. Where rounding makes its bits depend on which zeros were added, every zero is +0.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    void WriteRow(int row, float* y, float sum, bool positiveZeros)
    {
        (int query, int head) = Math.DivRem(row, Group);
        float* to = Y + ((nint)query * YStride) + ((nint)head * Layout.HeadDim);
        if (Visible(row) <= 0)
        {
            new Span<float>(to, Layout.HeadDim).Clear();
            return;
        }

        float zero = positiveZeros ? 0f : -0f;
        int channel = 0;
        for (; channel <= Layout.HeadDim - Vector<float>.Count; channel += Vector<float>.Count)
        {
            Vector<float> quotient = Vector.Load(y + channel) / new Vector<float>(sum);
            Vector.Store(quotient + new Vector<float>(zero), to + channel);
        }

        for (; channel < Layout.HeadDim; channel++)
        {
            to[channel] = (y[channel] / sum) + zero;
        }
    }
}
