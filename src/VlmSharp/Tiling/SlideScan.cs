using System.Globalization;
using System.Text;
using VlmSharp.Chat;
using VlmSharp.Engine;
using VlmSharp.Generation;
using VlmSharp.Grounding;
using VlmSharp.Media.Images;
using VlmSharp.Media.Images.Slides;
using VlmSharp.Models;
using VlmSharp.Vision;

namespace VlmSharp.Tiling;

/// <summary>Looks at a picture of any size tile by tile, and puts the answers together.</summary>
/// <remarks>One tile is in memory at a time. Each is asked about alone: the model gets its picture and the question, nothing else.</remarks>
public static class SlideScan
{
    /// <summary>Scans a picture.</summary>
    /// <param name="image">The picture.</param>
    /// <param name="options">Question, tiles, overlap.</param>
    /// <param name="model">Who is asked.</param>
    /// <param name="onProgress">Told before and after each tile and before each merging prompt.</param>
    /// <param name="cancellation">Ends the scan; what is done until then was told to <paramref name="onProgress"/>.</param>
    /// <exception cref="VisionException">More tiles would be needed than allowed.</exception>
    /// <exception cref="MediaException">A tile cannot be decoded.</exception>
    /// <exception cref="CacheFullException">The question takes more than half of the text that fits into a prompt.</exception>
    /// <exception cref="OperationCanceledException">Cancelled.</exception>
    public static ScanResult Run(
        LargeImage image,
        ScanOptions options,
        ITileModel model,
        Action<ScanProgress>? onProgress = null,
        CancellationToken cancellation = default
    )
    {
        ArgumentNullException.ThrowIfNull(image);
        ArgumentNullException.ThrowIfNull(options);
        ArgumentNullException.ThrowIfNull(model);
        IReadOnlyList<Tile> plan = SlidingWindow.Plan(
            image.Width,
            image.Height,
            options.TileSide,
            options.Downsample,
            options.Overlap,
            options.MaxTiles
        );
        AnswerMerger merger = new(image.Width, image.Height, options.Question, model);
        List<ScannedTile> tiles = new(plan.Count);
        foreach (Tile tile in plan)
        {
            onProgress?.Invoke(new(ScanStep.Tile, tiles.Count, plan.Count));
            cancellation.ThrowIfCancellationRequested();
            ScannedTile scanned = Look(image, tile, options, model, cancellation);
            tiles.Add(scanned);
            onProgress?.Invoke(new(ScanStep.TileDone, tiles.Count, plan.Count, scanned));
        }

        IReadOnlyList<FoundItem> items = options.Duplicates.Merge(
            [.. tiles.Select(t => t.Items)],
            [.. tiles.Select(t => t.Tile.Area)],
            image.Width,
            image.Height
        );
        (string? answer, FinishReason? finish) = merger.Merge(
            tiles,
            items,
            done => onProgress?.Invoke(new(ScanStep.Merging, done, 0)),
            cancellation
        );
        return new(
            image.Name,
            image.Width,
            image.Height,
            image.MicronsPerPixel,
            options.Question,
            tiles,
            items,
            answer,
            finish
        );
    }

    static ScannedTile Look(
        LargeImage image,
        Tile tile,
        ScanOptions options,
        ITileModel model,
        CancellationToken cancellation
    )
    {
        RgbImage pixels = tile.Read(image, cancellation);
        if (options.Background?.IsBackground(pixels) ?? false)
        {
            return new(tile, null, null, [], null);
        }

        ChatMedia picture = new(MediaSource.Image(pixels, $"{image.Name}, tile {tile.Position}"), options.Limits);
        TileReply reply = model.Ask([picture, new ChatText(options.Question)], cancellation);
        GroundedItem[] items = [.. reply.Items.Select(item => item.Through(tile.ToPicture))];
        return new(tile, reply.Text, reply.Finish, items, Rewrite(reply.Text, items));
    }

    /// <summary>Puts coordinates of the picture in the place of those of the tile.</summary>
    static string Rewrite(string text, GroundedItem[] items)
    {
        StringBuilder rewritten = new();
        int from = 0;
        foreach (GroundedItem item in items.OrderBy(i => i.CoordinateRange.Start))
        {
            TextRange range = item.CoordinateRange;
            if (range.Length == 0 || range.Start < from || range.End > text.Length)
            {
                continue;
            }

            rewritten.Append(text, from, range.Start - from);
            rewritten.AppendJoin(
                ", ",
                item.Coordinates.Select(c => Math.Round(c).ToString("0", CultureInfo.InvariantCulture))
            );
            from = range.End;
        }

        return rewritten.Append(text, from, text.Length - from).ToString();
    }
}
