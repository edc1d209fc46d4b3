using VlmSharp.Grounding;
using VlmSharp.Tiling;
using Xunit;

namespace VlmSharp.Tests.Tiling;

public sealed class DuplicatesTests
{
    // Two tiles side by side with 200 pixels in common.
    static readonly PixelArea[] Pair = [new(0, 0, 1000, 1000), new(800, 0, 1000, 1000)];

    static GroundedItem Box(string? label, double x1, double y1, double x2, double y2, double? score = null) =>
        new(label, GroundedKind.Box, [x1, y1, x2, y2], default, default, score);

    static GroundedItem Point(string label, double x, double y) =>
        new(label, GroundedKind.Point, [x, y], default, default);

    static IReadOnlyList<FoundItem> Merge(GroundedItem[] first, GroundedItem[] second) =>
        new Duplicates().Merge([first, second], Pair, 1800, 1000);

    [Fact]
    public void What_two_tiles_show_in_their_overlap_is_one()
    {
        FoundItem only = Assert.Single(Merge([Box("cell", 850, 100, 900, 150)], [Box(" Cell", 852, 99, 903, 149)]));
        Assert.Equal([1, 0], only.Tiles); // the larger counts
        Assert.Equal(852, only.Item.Coordinates[0]);
    }

    [Fact]
    public void The_higher_score_counts_where_all_have_one()
    {
        FoundItem only = Assert.Single(
            Merge([Box("cell", 850, 100, 900, 150, 0.9)], [Box("cell", 850, 100, 910, 150, 0.8)])
        );
        Assert.Equal([0, 1], only.Tiles);
        Assert.Equal(0.9, only.Item.Score);
    }

    [Fact]
    public void What_a_tile_cuts_off_is_found_to_be_what_its_neighbour_shows_whole()
    {
        FoundItem only = Assert.Single(
            Merge([Box("vessel", 950, 100, 1000, 300)], [Box("vessel", 950, 100, 1400, 300)])
        );
        Assert.Equal([950, 100, 1400, 300], only.Item.Coordinates);
    }

    [Fact]
    public void What_both_tiles_cut_off_grows_to_its_union()
    {
        FoundItem only = Assert.Single(
            Merge([Box("vessel", 300, 100, 999, 300)], [Box("vessel", 801, 102, 1300, 299)])
        );
        Assert.Equal([300, 100, 1300, 300], only.Item.Coordinates);
    }

    [Fact]
    public void Names_kinds_and_places_that_differ_stay_apart()
    {
        Assert.Equal(2, Merge([Box("cell", 850, 100, 900, 150)], [Box("nucleus", 850, 100, 900, 150)]).Count);
        Assert.Equal(2, Merge([Box("cell", 850, 100, 900, 150)], [Point("cell", 875, 125)]).Count);
        Assert.Equal(2, Merge([Box("cell", 850, 100, 900, 150)], [Box("cell", 890, 100, 940, 150)]).Count);
        // A small thing in a large one, both whole in the overlap.
        Assert.Equal(2, Merge([Box("cell", 820, 100, 980, 260)], [Box("cell", 850, 120, 880, 150)]).Count);
        // One beyond the overlap cannot be what the other tile shows.
        Assert.Equal(2, Merge([Box("cell", 100, 100, 200, 200)], [Box("cell", 1100, 100, 1200, 200)]).Count);
    }

    [Fact]
    public void Finds_of_one_tile_are_never_taken_for_each_other() =>
        Assert.Equal(2, Merge([Box("cell", 850, 100, 900, 150), Box("cell", 850, 100, 900, 150)], []).Count);

    [Fact]
    public void Points_are_one_when_they_are_near()
    {
        Assert.Single(Merge([Point("cell", 900, 500)], [Point("cell", 907, 495)]));
        Assert.Equal(2, Merge([Point("cell", 900, 500)], [Point("cell", 915, 500)]).Count);
        Assert.Single(Merge([Point("cell", 797, 500)], [Point("cell", 801, 500)])); // rounding put one outside
    }

    [Fact]
    public void A_thing_where_four_tiles_meet_counts_once_and_the_order_stays()
    {
        PixelArea[] four =
        [
            new(0, 0, 1000, 1000),
            new(800, 0, 1000, 1000),
            new(0, 800, 1000, 1000),
            new(800, 800, 1000, 1000),
        ];
        GroundedItem[] finds =
        [
            Box("a", 850, 850, 950, 950),
            Box("a", 850, 851, 950, 950),
            Box("a", 849, 850, 950, 950),
            Box("a", 850, 850, 949, 950),
        ];
        IReadOnlyList<FoundItem> merged = new Duplicates().Merge(
            [
                .. finds.Select(
                    (f, i) =>
                        (GroundedItem[])[Box($"own {i}", four[i].X + 1, four[i].Y + 1, four[i].X + 9, four[i].Y + 9), f]
                ),
            ],
            four,
            1800,
            1800
        );
        Assert.Equal(["own 0", "own 1", "own 2", "a", "own 3"], merged.Select(m => m.Item.Label));
        Assert.Equal([2, 0, 1, 3], merged[3].Tiles);
    }
}
