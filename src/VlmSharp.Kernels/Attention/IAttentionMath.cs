namespace VlmSharp.Kernels;

/// <summary>The inner loops of attention for one instruction set. All matrices are tiles of at most <see cref="Rows"/> query rows.</summary>
/// <remarks>
/// <para>What is computed for one row never depends on how many rows the tile has.</para>
/// <para>
/// A word is 32 bits: an f32, or a pair of bf16 where <see cref="Reads"/> says so. Loops over pairs move the same words in the
/// same order; only the multiplication differs.
/// </para>
/// </remarks>
internal unsafe interface IAttentionMath
{
    /// <summary>Query rows per tile, at most <see cref="AttentionTile.MaxRows"/>: as many as accumulators fit into registers.</summary>
    static abstract int Rows { get; }

    /// <summary>The storage of keys and values that the loops read: f32 or bf16.</summary>
    static abstract KvStorage Reads { get; }

    /// <summary>Scales query rows and transposes them to packed[depth, Rows], so that one step of a score reads neighbours.</summary>
    /// <param name="from">[rows]: where each row begins.</param>
    /// <param name="rows">Rows in use; the columns of the others stay undefined.</param>
    /// <param name="headDim">Numbers in a row.</param>
    /// <param name="scale">Factor.</param>
    /// <param name="packed">[depth][Rows] words; a depth is a channel or a pair of them</param>
    /// <param name="scratch">[MaxRows][depth] words; a vector behind them may be read</param>
    static abstract void PackQueries(float** from, int rows, int headDim, float scale, float* packed, float* scratch);

    /// <summary>scores[r, key] = sum over i of q[i, r] * keys[i, key], for one panel of keys.</summary>
    /// <param name="rows">Rows in use.</param>
    /// <param name="q">[depth][Rows] words</param>
    /// <param name="keys">[depth][32] words</param>
    /// <param name="depth">Words of a row.</param>
    /// <param name="scores">[rows][32], rows <see cref="AttentionTile.ScoreStride"/> apart</param>
    static abstract void Scores(int rows, float* q, float* keys, int depth, float* scores);

    /// <summary>Turns the scores a row sees into weights 2^(score - max), and those behind them, up to a multiple of 16, into zeros.</summary>
    /// <param name="scores">The row's scores; the weights take their place as words, from the first one on.</param>
    /// <param name="visible">How many of them it sees, at least 1.</param>
    /// <param name="max">The largest score seen, and never below the smallest finite number.</param>
    /// <returns>The sum of the weights.</returns>
    static abstract float Weights(float* scores, int visible, out float max);

    /// <summary>keep[r] = 2^(max[r] - m), add[r] = 2^(blockMax[r] - m), m = max(max[r], blockMax[r]), which becomes max[r]; for <see cref="AttentionTile.MaxRows"/> rows.</summary>
    static abstract void Factors(float* max, float* blockMax, float* keep, float* add);

    /// <summary>y[r] = y[r] * keep[r] + add[r] * (sum over the keys it sees of weights[r, key] * values[key]), for one panel of channels.</summary>
    /// <param name="rows">Rows in use.</param>
    /// <param name="weights">[rows][keys], rows <see cref="AttentionTile.ScoreStride"/> apart</param>
    /// <param name="pages">Where each page's panel of values begins: [tokens][width], or pairs of tokens.</param>
    /// <param name="width">32 or 16 channels.</param>
    /// <param name="visible">[rows], ascending by <see cref="Rows"/> - 1 at most: how many keys each row sees. For a row that sees none (zero or less) nothing is added.</param>
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

    /// <summary>y = y * keep + add * sums with the roundings of <see cref="Values"/>.</summary>
    /// <param name="y">[channels]</param>
    /// <param name="sums">[channels]</param>
    /// <param name="channels">A multiple of 16.</param>
    /// <param name="keep">Factor of y.</param>
    /// <param name="add">Factor of the sums.</param>
    static abstract void Merge(float* y, float* sums, int channels, float keep, float add);
}
