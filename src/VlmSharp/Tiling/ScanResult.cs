using VlmSharp.Generation;
using VlmSharp.Grounding;
using VlmSharp.Media.Images;

namespace VlmSharp.Tiling;

/// <summary>What a scan found.</summary>
/// <param name="Name">The picture.</param>
/// <param name="Width">Of the picture, in pixels.</param>
/// <param name="Height">Of the picture, in pixels.</param>
/// <param name="MicronsPerPixel">Micrometres between neighbouring pixels, where the file tells.</param>
/// <param name="Question">What was asked.</param>
/// <param name="Tiles">Row by row.</param>
/// <param name="Items">What the answers point at, in pixels of the picture, duplicates taken together.</param>
/// <param name="Answer">For the whole picture; null where all of it is background.</param>
/// <param name="Finish">Why the answer ended; null where there is none.</param>
public sealed record ScanResult(
    string Name,
    int Width,
    int Height,
    double? MicronsPerPixel,
    string Question,
    IReadOnlyList<ScannedTile> Tiles,
    IReadOnlyList<FoundItem> Items,
    string? Answer,
    FinishReason? Finish
)
{
    /// <summary>Draws what was found on an overview.</summary>
    /// <param name="overview">The whole picture at any scale; not changed.</param>
    /// <exception cref="MediaException">libvips is not on the machine, or cannot set text.</exception>
    public RgbImage Draw(RgbImage overview)
    {
        ArgumentNullException.ThrowIfNull(overview);
        Mapping shrink = new(new(0, 0, Width, Height), new(0, 0, overview.Width, overview.Height));
        return Overlay.Draw(overview, [.. Items.Select(found => found.Item.Through(shrink))]);
    }
}

/// <summary>A tile and what was said about it.</summary>
/// <param name="Tile">Where it is.</param>
/// <param name="Answer">As the model wrote it, coordinates and all; null where the tile was skipped as background.</param>
/// <param name="Finish">Why the answer ended.</param>
/// <param name="Items">What it points at, in pixels of the picture.</param>
/// <param name="AnswerInPicture">The answer with its coordinates in pixels of the picture, rounded.</param>
public sealed record ScannedTile(
    Tile Tile,
    string? Answer,
    FinishReason? Finish,
    IReadOnlyList<GroundedItem> Items,
    string? AnswerInPicture
);
