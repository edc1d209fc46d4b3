namespace VlmSharp.Kernels.Imaging;

/// <summary>The tiles in which <see cref="HorizontalPass"/> walks along a row, and the scratch memory one of them needs.</summary>
/// <remarks>
/// The vector variants turn 16 rows of a tile's source pixels into columns, so that one register holds the same pixel of 16
/// rows and all of them share a weight. A tile is sized to keep those columns in the first-level cache.
/// </remarks>
sealed class HorizontalPlan
{
    /// <summary>Rows that are resampled together.</summary>
    public const int BlockRows = 16;

    const int TileSourcePixels = 192;

    public HorizontalPlan(ResampleWeights weights, int channels)
    {
        Weights = weights;
        Channels = channels;
        int perBlock = (int)((long)PlanarRows.ColumnBlock * weights.SourceSize / weights.TargetSize);
        int columns = PlanarRows.ColumnBlock * Math.Max(1, TileSourcePixels / Math.Max(1, perBlock));
        columns = Math.Min(columns, 8 * PlanarRows.ColumnBlock);
        TileColumns = columns;
        Tiles = new Tile[(weights.TargetSize + columns - 1) / columns];
        int mostPairs = 0;
        for (int i = 0; i < Tiles.Length; i++)
        {
            int from = i * columns;
            int to = Math.Min(from + columns, weights.TargetSize);
            (int first, int end) = weights.Range(from, to);
            Tiles[i] = new Tile(from, to, first / 2, (end + 1) / 2);
            mostPairs = Math.Max(mostPairs, Tiles[i].EndPair - Tiles[i].FirstPair);
        }

        PairBytes = checked(mostPairs * channels * BlockRows * 4);
        ColumnBytes = checked((mostPairs * 2 * channels + 31) / 32 * 32 * BlockRows);
        StageBytes = columns * channels * BlockRows;
        ScratchBytes = checked(PairBytes + ColumnBytes + StageBytes + EdgeBytes);
    }

    public ResampleWeights Weights { get; }
    public int Channels { get; }
    public int TileColumns { get; }
    public Tile[] Tiles { get; }

    /// <summary>[pair, channel, row] of two 16-bit pixels.</summary>
    public int PairBytes { get; }

    /// <summary>[source byte, row] of one byte.</summary>
    public int ColumnBytes { get; }

    /// <summary>[channel, target column, row] of one byte.</summary>
    public int StageBytes { get; }

    /// <summary>[row, 32] of source bytes where fewer than 16 rows or 32 bytes are left.</summary>
    public const int EdgeBytes = BlockRows * 32;

    /// <summary>All of it together.</summary>
    public int ScratchBytes { get; }

    /// <summary>Target columns [From, To), which read the source pixel pairs [FirstPair, EndPair).</summary>
    public readonly record struct Tile(int From, int To, int FirstPair, int EndPair);
}
