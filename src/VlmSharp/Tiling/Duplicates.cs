using VlmSharp.Grounding;

namespace VlmSharp.Tiling;

/// <summary>Something found on a picture that was looked at in tiles.</summary>
/// <param name="Item">In pixels of the picture. <see cref="GroundedItem.Range"/> refers to the answer about the first of the tiles.</param>
/// <param name="Tiles">The tiles that show it, by their index: first that whose answer counts.</param>
public sealed record FoundItem(GroundedItem Item, IReadOnlyList<int> Tiles);

/// <summary>Finds what several tiles show of the same thing, and counts it once.</summary>
/// <remarks>
/// Non-maximum suppression within overlaps. Two finds of different tiles are one thing if they have the same name (case and
/// surrounding blanks do not count) and agree where both tiles can see: the parts of their boxes in the area that the tiles share
/// have an intersection over union of at least <see cref="MinAgreement"/>. So a thing that one tile cuts off is still found to be
/// the one that its neighbour shows whole. Points are one if both are in the shared area, or nearer to it than
/// <see cref="PointDistance"/>, and no farther apart than that. Finds of one tile are never taken for each other, nor are points for shapes.
/// Of duplicates the one with the higher score counts, where both have one, else the larger; if its tile cuts it off, its box
/// grows to the union of all.
/// </remarks>
/// <param name="MinAgreement">Intersection over union from which boxes are one.</param>
/// <param name="PointDistance">Share of a tile's longer side within which points are one.</param>
public sealed record Duplicates(double MinAgreement = 0.5, double PointDistance = 0.01)
{
    // Coordinates of a model are rounded, to thousandths at the coarsest: nearer to an edge than this share of a tile is at it.
    const double EdgeShare = 0.003;

    /// <summary>Takes duplicates together.</summary>
    /// <param name="finds">What each tile shows, in pixels of the picture.</param>
    /// <param name="areas">Where each tile is.</param>
    /// <param name="width">Of the picture.</param>
    /// <param name="height">Of the picture.</param>
    /// <returns>In the order of the tiles and of their answers.</returns>
    public IReadOnlyList<FoundItem> Merge(
        IReadOnlyList<IReadOnlyList<GroundedItem>> finds,
        IReadOnlyList<PixelArea> areas,
        int width,
        int height
    )
    {
        ArgumentNullException.ThrowIfNull(finds);
        ArgumentNullException.ThrowIfNull(areas);
        List<Find> all = [];
        for (int tile = 0; tile < finds.Count; tile++)
        {
            foreach (GroundedItem item in finds[tile])
            {
                all.Add(new(item, tile, all.Count, Bounds(item)));
            }
        }

        // Scores are comparable only where all have one.
        bool scored = all.TrueForAll(find => find.Item.Score is not null);
        List<Kept>[] kept = [.. areas.Select(_ => new List<Kept>())];
        int[][] neighbours = Neighbours(areas);
        foreach (
            Find find in all.OrderByDescending(f => scored ? f.Item.Score!.Value : f.Box.Width * f.Box.Height)
                .ThenBy(f => f.Order)
        )
        {
            Kept? same = neighbours[find.Tile]
                .SelectMany(other => kept[other])
                .FirstOrDefault(k => AreOne(k.First, find, areas));
            if (same is null)
            {
                kept[find.Tile].Add(new(find));
            }
            else
            {
                same.Others.Add(find);
            }
        }

        return
        [
            .. kept.SelectMany(k => k)
                .OrderBy(k => k.First.Order)
                .Select(k => new FoundItem(
                    Whole(k, areas[k.First.Tile], width, height),
                    [k.First.Tile, .. k.Others.Select(o => o.Tile).Distinct().Order()]
                )),
        ];
    }

    /// <summary>For each area those that overlap it.</summary>
    static int[][] Neighbours(IReadOnlyList<PixelArea> areas)
    {
        // By cells as large as the largest area: what overlaps is in the same cell or one beside it.
        int width = areas.Count == 0 ? 1 : areas.Max(a => a.Width);
        int height = areas.Count == 0 ? 1 : areas.Max(a => a.Height);
        ILookup<(int, int), int> cells = Enumerable
            .Range(0, areas.Count)
            .ToLookup(i => (areas[i].X / width, areas[i].Y / height));
        int[][] neighbours = new int[areas.Count][];
        for (int i = 0; i < neighbours.Length; i++)
        {
            PixelArea area = areas[i];
            (int column, int row) = (area.X / width, area.Y / height);
            List<int> found = [];
            for (int y = row - 1; y <= row + 1; y++)
            {
                for (int x = column - 1; x <= column + 1; x++)
                {
                    found.AddRange(cells[(x, y)].Where(o => o != i && area.Common(areas[o]) is not null));
                }
            }

            neighbours[i] = [.. found.Order()];
        }

        return neighbours;
    }

    bool AreOne(Find a, Find b, IReadOnlyList<PixelArea> areas)
    {
        bool points = a.Item.Kind == GroundedKind.Point;
        if (points != (b.Item.Kind == GroundedKind.Point) || !SameName(a.Item.Label, b.Item.Label))
        {
            return false;
        }

        PixelArea common = areas[a.Tile].Common(areas[b.Tile])!.Value;
        if (points)
        {
            double reach = PointDistance * Math.Max(areas[a.Tile].Width, areas[a.Tile].Height);
            return Near(a.Box, common, reach)
                && Near(b.Box, common, reach)
                && Math.Max(Math.Abs(a.Box.X - b.Box.X), Math.Abs(a.Box.Y - b.Box.Y)) <= reach;
        }

        Region seen = new(common.X, common.Y, common.Width, common.Height);
        (Region seenA, Region seenB) = (Intersection(a.Box, seen), Intersection(b.Box, seen));
        double both = Size(Intersection(seenA, seenB));
        return both > 0 && both >= MinAgreement * (Size(seenA) + Size(seenB) - both);
    }

    static bool SameName(string? a, string? b) =>
        string.Equals((a ?? "").Trim(), (b ?? "").Trim(), StringComparison.OrdinalIgnoreCase);

    static bool Near(Region point, PixelArea area, double reach) =>
        point.X >= area.X - reach
        && point.X <= area.Right + reach
        && point.Y >= area.Y - reach
        && point.Y <= area.Bottom + reach;

    static GroundedItem Whole(Kept kept, PixelArea tile, int width, int height)
    {
        GroundedItem item = kept.First.Item;
        Region box = kept.First.Box;
        double slack = EdgeShare * Math.Max(tile.Width, tile.Height);
        bool isCut =
            (tile.X > 0 && box.X <= tile.X + slack)
            || (tile.Y > 0 && box.Y <= tile.Y + slack)
            || (tile.Right < width && box.X + box.Width >= tile.Right - slack)
            || (tile.Bottom < height && box.Y + box.Height >= tile.Bottom - slack);
        if (item.Kind != GroundedKind.Box || !isCut || kept.Others.Count == 0)
        {
            return item;
        }

        Region[] boxes = [box, .. kept.Others.Select(o => o.Box)];
        return item with
        {
            Coordinates =
            [
                boxes.Min(b => b.X),
                boxes.Min(b => b.Y),
                boxes.Max(b => b.X + b.Width),
                boxes.Max(b => b.Y + b.Height),
            ],
        };
    }

    static Region Bounds(GroundedItem item)
    {
        IReadOnlyList<PointXY> corners = item.Corners;
        (double left, double top) = (corners.Min(c => c.X), corners.Min(c => c.Y));
        return new(left, top, corners.Max(c => c.X) - left, corners.Max(c => c.Y) - top);
    }

    static Region Intersection(Region a, Region b)
    {
        (double x, double y) = (Math.Max(a.X, b.X), Math.Max(a.Y, b.Y));
        double right = Math.Min(a.X + a.Width, b.X + b.Width);
        double bottom = Math.Min(a.Y + a.Height, b.Y + b.Height);
        return new(x, y, Math.Max(0, right - x), Math.Max(0, bottom - y));
    }

    static double Size(Region region) => region.Width * region.Height;

    /// <summary>A find and the smallest rectangle around it.</summary>
    sealed record Find(GroundedItem Item, int Tile, int Order, Region Box);

    sealed record Kept(Find First)
    {
        internal List<Find> Others { get; } = [];
    }
}
