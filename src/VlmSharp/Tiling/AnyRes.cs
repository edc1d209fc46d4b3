using VlmSharp.Chat;
using VlmSharp.Media.Images;
using VlmSharp.Media.Images.Slides;
using VlmSharp.Models;
using VlmSharp.Vision;

namespace VlmSharp.Tiling;

/// <summary>How a picture is shown in one turn: the whole of it small, then its parts larger.</summary>
/// <param name="Overview">The whole picture.</param>
/// <param name="Tiles">Row by row, without overlaps; none where the overview shows every pixel already.</param>
/// <param name="Rows">Of tiles.</param>
/// <param name="Columns">Of tiles.</param>
public sealed record AnyResPlan(Tile Overview, IReadOnlyList<Tile> Tiles, int Rows, int Columns);

/// <summary>AnyRes: a global overview and a grid of tiles in one conversation turn, for pictures with more detail than a model takes at once.</summary>
/// <remarks>
/// The idea is that of LLaVA-NeXT (arXiv 2310.03744, 2401.13601) and InternVL 1.5 (arXiv 2404.16821), done with several pictures
/// instead of features cut from one, so that it works with any model that takes several. Nothing is padded or distorted.
/// </remarks>
public static class AnyRes
{
    /// <summary>Chooses the grid that shows the most detail; of equal ones that with the fewest tiles.</summary>
    /// <param name="width">Of the picture.</param>
    /// <param name="height">Of the picture.</param>
    /// <param name="side">Longest side of overview and tiles, in the pixels a model sees.</param>
    /// <param name="maxTiles">Tiles at most, the overview not counted; 0 for the overview alone.</param>
    public static AnyResPlan Plan(int width, int height, int side, int maxTiles)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(width, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(height, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(side, 1);
        ArgumentOutOfRangeException.ThrowIfNegative(maxTiles);
        (int rows, int columns, double best) = (1, 1, Scale(1, 1));
        Tile overview = new(0, 0, new(0, 0, width, height), Target(width, best), Target(height, best));
        for (int r = 1; r <= Math.Min(maxTiles, height); r++)
        {
            for (int c = 1; c <= Math.Min(maxTiles / r, width); c++)
            {
                double scale = Scale(r, c);
                if (scale > best || (scale == best && r * c < rows * columns))
                {
                    (rows, columns, best) = (r, c, scale);
                }
            }
        }

        if (rows * columns == 1)
        {
            return new(overview, [], 0, 0);
        }

        List<Tile> tiles = new(rows * columns);
        for (int row = 0; row < rows; row++)
        {
            (int top, int bottom) = (Edge(row, rows, height), Edge(row + 1, rows, height));
            for (int column = 0; column < columns; column++)
            {
                (int left, int right) = (Edge(column, columns, width), Edge(column + 1, columns, width));
                PixelArea area = new(left, top, right - left, bottom - top);
                tiles.Add(new(row, column, area, Target(area.Width, best), Target(area.Height, best)));
            }
        }

        return new(overview, tiles, rows, columns);

        // How small the picture gets for its parts to fit into the tiles of a grid; never enlarged.
        double Scale(int r, int c) =>
            Math.Min(1, Math.Min(side / Math.Ceiling((double)width / c), side / Math.Ceiling((double)height / r)));

        int Target(int size, double scale) => (int)Math.Clamp(Math.Round(size * scale), 1, Math.Min(side, size));

        static int Edge(int index, int count, int size) => (int)((long)index * size / count);
    }

    /// <summary>What a message shows of a picture: overview and tiles, each announced with its position; a question may follow.</summary>
    /// <param name="image">The picture.</param>
    /// <param name="processor">The model's.</param>
    /// <param name="maxTiles">Tiles at most, the overview not counted.</param>
    /// <param name="maxTokens">Tokens of all of them together at most, without the words between.</param>
    /// <param name="limits">Pixel limits they are shown with.</param>
    /// <param name="cancellation">Ends the reading.</param>
    /// <exception cref="VisionException">So many tiles do not fit into the tokens.</exception>
    /// <exception cref="MediaException">The picture cannot be decoded.</exception>
    public static IReadOnlyList<ChatContent> Show(
        LargeImage image,
        IMediaProcessor processor,
        int maxTiles,
        int maxTokens,
        PixelLimits limits = default,
        CancellationToken cancellation = default
    )
    {
        ArgumentNullException.ThrowIfNull(image);
        ArgumentNullException.ThrowIfNull(processor);
        TileSize size = TileSize.Largest(processor, limits, maxTokens / (maxTiles + 1));
        return Show(image, Plan(image.Width, image.Height, size.Side, maxTiles), limits, cancellation);
    }

    /// <summary>What a message shows of a picture: overview and tiles, each announced with its position; a question may follow.</summary>
    /// <param name="image">The picture.</param>
    /// <param name="plan">Which parts of it.</param>
    /// <param name="limits">Pixel limits they are shown with.</param>
    /// <param name="cancellation">Ends the reading.</param>
    /// <exception cref="MediaException">The picture cannot be decoded.</exception>
    public static IReadOnlyList<ChatContent> Show(
        LargeImage image,
        AnyResPlan plan,
        PixelLimits limits = default,
        CancellationToken cancellation = default
    )
    {
        ArgumentNullException.ThrowIfNull(image);
        ArgumentNullException.ThrowIfNull(plan);
        ChatMedia Picture(Tile tile, string what) =>
            new(MediaSource.Image(tile.Read(image, cancellation), $"{image.Name}, {what}"), limits);

        if (plan.Tiles.Count == 0)
        {
            return [Picture(plan.Overview, "whole")];
        }

        List<ChatContent> content =
        [
            new ChatText($"The whole picture, {image.Width}x{image.Height} pixels:\n"),
            Picture(plan.Overview, "overview"),
        ];
        foreach (Tile tile in plan.Tiles)
        {
            content.Add(new ChatText($"\nTile {tile.Position} of {image.Width}x{image.Height}:\n"));
            content.Add(Picture(tile, $"tile {tile.Position}"));
        }

        content.Add(new ChatText("\n"));
        return content;
    }
}
