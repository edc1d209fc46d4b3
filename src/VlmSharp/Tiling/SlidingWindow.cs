using VlmSharp.Vision;

namespace VlmSharp.Tiling;

/// <summary>Covers a picture with windows of one size, each overlapping the next.</summary>
public static class SlidingWindow
{
    /// <summary>Places windows: every pixel is in one, neighbours share at least the overlap, and none reaches beyond the picture.</summary>
    /// <remarks>
    /// Windows stand a step apart; the last of a row or column is moved back inside instead of being padded, so it overlaps its
    /// neighbour more. A picture smaller than a window is one tile of its own size.
    /// </remarks>
    /// <param name="width">Of the picture.</param>
    /// <param name="height">Of the picture.</param>
    /// <param name="side">Of a tile, in the pixels a model sees.</param>
    /// <param name="downsample">Pixels of the picture to one of a tile, at least 1.</param>
    /// <param name="overlap">Share of a window that it has in common with the next, 0 to 0.9.</param>
    /// <param name="maxTiles">More are refused.</param>
    /// <returns>Row by row.</returns>
    /// <exception cref="VisionException">More tiles would be needed than allowed.</exception>
    public static IReadOnlyList<Tile> Plan(
        int width,
        int height,
        int side,
        double downsample,
        double overlap,
        int maxTiles
    )
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(width, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(height, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(side, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(maxTiles, 1);
        if (!(downsample >= 1 && double.IsFinite(downsample)))
        {
            throw new ArgumentOutOfRangeException(nameof(downsample), downsample, "expected at least 1");
        }

        if (!(overlap is >= 0 and <= 0.9))
        {
            throw new ArgumentOutOfRangeException(nameof(overlap), overlap, "expected 0 .. 0.9");
        }

        Axis across = new(width, side, downsample, overlap);
        Axis down = new(height, side, downsample, overlap);
        if (across.Count * down.Count > maxTiles)
        {
            throw new VisionException(
                $"{width} x {height} pixels take {across.Count * down.Count} tiles ({down.Count} rows of {across.Count}), at most {maxTiles} are allowed; allow more, look at a smaller scale, or let tiles overlap less"
            );
        }

        List<Tile> tiles = new((int)(across.Count * down.Count));
        for (int row = 0; row < down.Count; row++)
        {
            for (int column = 0; column < across.Count; column++)
            {
                PixelArea area = new(across.Start(column), down.Start(row), across.Window, down.Window);
                tiles.Add(new(row, column, area, across.Target, down.Target));
            }
        }

        return tiles;
    }

    /// <summary>Windows along one direction.</summary>
    readonly struct Axis
    {
        readonly int size;
        readonly int step;

        internal Axis(int size, int side, double downsample, double overlap)
        {
            this.size = size;
            Window = (int)Math.Min(size, Math.Max(1, Math.Round(side * downsample)));
            step = Math.Max(1, Window - (int)Math.Ceiling(Window * overlap));
            Count = (((long)size - Window + step - 1) / step) + 1;
            Target = (int)Math.Clamp(Math.Round(Window / downsample), 1, Math.Min(side, Window));
        }

        internal int Window { get; }

        internal long Count { get; }

        internal int Target { get; }

        internal int Start(int index) => (int)Math.Min((long)index * step, size - Window);
    }
}
