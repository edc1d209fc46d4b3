using VlmSharp.Models;

namespace VlmSharp.Tiling;

/// <summary>How a picture is scanned.</summary>
public sealed record ScanOptions
{
    /// <summary>Asked about each tile, and answered for the whole at the end.</summary>
    public required string Question { get; init; }

    /// <summary>Side of a tile in the pixels the model sees; see <see cref="TileSize"/>.</summary>
    public required int TileSide { get; init; }

    /// <summary>Pixels of the picture to one of a tile, at least 1.</summary>
    public double Downsample { get; init; } = 1;

    /// <summary>Share of a tile that it has in common with the next, 0 to 0.9. A thing is surely seen whole if it is no larger than that.</summary>
    public double Overlap { get; init; } = 0.125;

    /// <summary>More tiles than this are refused before the first is read.</summary>
    public int MaxTiles { get; init; } = 1024;

    /// <summary>Which tiles are skipped; null asks about all.</summary>
    public BackgroundRule? Background { get; init; } = new();

    /// <summary>Which finds are one thing.</summary>
    public Duplicates Duplicates { get; init; } = new();

    /// <summary>Pixel limits the tiles are shown with.</summary>
    public PixelLimits Limits { get; init; }
}

/// <summary>What a scan is doing.</summary>
public enum ScanStep
{
    /// <summary>A tile is read and, unless it is background, asked about.</summary>
    Tile,

    /// <summary>A tile is done, whether it was asked about or skipped.</summary>
    TileDone,

    /// <summary>Answers are merged into one.</summary>
    Merging,
}

/// <summary>How far a scan has got.</summary>
/// <param name="Step">What it is doing.</param>
/// <param name="Done">Tiles that are done, or merging prompts that are answered.</param>
/// <param name="Total">Of how many tiles; 0 while merging.</param>
/// <param name="Tile">The tile that is done.</param>
public readonly record struct ScanProgress(ScanStep Step, int Done, int Total, ScannedTile? Tile = null);
