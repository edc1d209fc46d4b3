using VlmSharp.Grounding;
using VlmSharp.Media.Images;
using Xunit;

namespace VlmSharp.Tests.Grounding;

public sealed class OverlayTests
{
    [Fact]
    public void Items_are_drawn_on_a_copy()
    {
        RgbImage image = Grey(320, 240);
        RgbImage drawn = Overlay.Draw(image, [Item("dog", GroundedKind.Box, 50, 60, 150, 200)]);
        Assert.All(image.Pixels.ToArray(), v => Assert.Equal(128, v));
        Assert.Equal((320, 240), (drawn.Width, drawn.Height));
        Assert.Equal(Colour.Numbered(0), At(drawn, 50, 100));
        Assert.Equal(Colour.Numbered(0), At(drawn, 100, 200));
        Assert.Equal(new Colour(128, 128, 128), At(drawn, 100, 120));
    }

    [Fact]
    public void One_label_is_one_colour()
    {
        RgbImage drawn = Overlay.Draw(
            Grey(320, 240),
            [
                Item("dog", GroundedKind.Box, 50, 100, 90, 200),
                Item("cat", GroundedKind.Quad, 110, 100, 150, 100, 150, 200, 110, 200),
                Item("dog", GroundedKind.Polygon, 170, 100, 210, 100, 210, 200, 170, 200),
                Item(null, GroundedKind.Point, 250, 150),
            ]
        );
        Assert.Equal(
            [Colour.Numbered(0), Colour.Numbered(1), Colour.Numbered(0), Colour.Numbered(2)],
            [At(drawn, 50, 150), At(drawn, 110, 150), At(drawn, 170, 150), At(drawn, 250, 150)]
        );
    }

    [Theory]
    [InlineData(0, 0, 10, 10)]
    [InlineData(310, 230, 320, 240)]
    [InlineData(0, 230, 0, 240)]
    [InlineData(315, 0, 320, 5)]
    public void A_plate_at_the_edge_lies_wholly_inside(double left, double top, double right, double bottom)
    {
        // The same plate in the middle and at the edge covers as many pixels.
        GroundedItem middle = Item("label", GroundedKind.Box, 100, 100, 110, 110);
        GroundedItem edge = Item("label", GroundedKind.Box, left, top, right, bottom);
        int Plate(GroundedItem item) =>
            Changed(Overlay.Draw(Grey(320, 240), [item]))
            - Changed(Overlay.Draw(Grey(320, 240), [item with { Label = null }]));
        Assert.InRange(Plate(edge), Plate(middle) / 2, int.MaxValue);
        Assert.True(Plate(middle) > 200);
    }

    [Fact]
    public void Plates_of_equal_boxes_do_not_hide_each_other()
    {
        GroundedItem[] items = [.. "abcd".Select(c => Item($"label {c}", GroundedKind.Box, 100, 100, 200, 150))];
        int one = Changed(Overlay.Draw(Grey(320, 240), items[..1]));
        int outline = Changed(Overlay.Draw(Grey(320, 240), [items[0] with { Label = null }]));
        int all = Changed(Overlay.Draw(Grey(320, 240), items));
        Assert.True(all - outline > 3 * (one - outline), $"{one} pixels for one plate, {all} for four");
    }

    [Theory]
    [InlineData(1, 1)]
    [InlineData(3, 200)]
    [InlineData(400, 2)]
    [InlineData(20, 20)]
    public void The_smallest_pictures_can_be_drawn_on(int width, int height)
    {
        foreach (GroundedKind kind in Enum.GetValues<GroundedKind>())
        {
            GroundedItem item = kind switch
            {
                GroundedKind.Box => Item("dog", kind, 0, 0, width, height),
                GroundedKind.Point => Item("dog", kind, width, height),
                _ => Item("dog", kind, 0, 0, width, 0, width, height, 0, height),
            };
            Assert.True(Changed(Overlay.Draw(Grey(width, height), [item])) > 0);
        }
    }

    [Fact]
    public void Untrusted_labels_are_only_text()
    {
        string[] labels =
        [
            "<span size='9999999'>x</span>",
            new string('m', 100_000),
            "\0\u001b",
            "\ud800",
            "&amp;&#0;",
            "",
            " ",
            "猫 🐈 كلب",
            string.Concat(Enumerable.Repeat("a\u0301\u0302\u0303", 500)),
        ];
        RgbImage drawn = Overlay.Draw(
            Grey(320, 240),
            [
                .. labels.Select(
                    (label, i) => Item(label, GroundedKind.Box, 10 * i, 10 * i, (10 * i) + 50, (10 * i) + 50)
                ),
            ]
        );
        Assert.Equal(320, drawn.Width);
    }

    [Fact]
    public void The_score_stands_behind_the_label()
    {
        GroundedItem item = Item("dog", GroundedKind.Box, 100, 100, 200, 150);
        Assert.True(
            Changed(Overlay.Draw(Grey(320, 240), [item with { Score = 0.5 }]))
                > Changed(Overlay.Draw(Grey(320, 240), [item]))
        );
    }

    [Fact]
    public void Lines_grow_with_the_picture()
    {
        GroundedItem item = Item(null, GroundedKind.Box, 100, 100, 900, 900);
        RgbImage drawn = Overlay.Draw(Grey(1000, 1000), [item]);
        Assert.Equal(
            [false, false, true, true, true, true, false],
            Enumerable.Range(96, 7).Select(x => At(drawn, x, 500) == Colour.Numbered(0))
        );
    }

    [Fact]
    public void A_picture_of_another_size_is_refused_with_both_sizes()
    {
        GroundingResult result = new([], GroundingError.None, new(640, 480, 644, 476));
        ArgumentException error = Assert.Throws<ArgumentException>(() => Overlay.Draw(Grey(644, 476), result));
        Assert.Contains("644 x 476", error.Message, StringComparison.Ordinal);
        Assert.Contains("640 x 480", error.Message, StringComparison.Ordinal);
    }

    internal static RgbImage Grey(int width, int height)
    {
        byte[] pixels = new byte[3 * width * height];
        pixels.AsSpan().Fill(128);
        return new(width, height, pixels);
    }

    internal static int Changed(RgbImage image)
    {
        int changed = 0;
        for (int i = 0; i < image.Pixels.Length; i += 3)
        {
            changed += image.Pixels.Slice(i, 3).SequenceEqual((byte[])[128, 128, 128]) ? 0 : 1;
        }

        return changed;
    }

    internal static Colour At(RgbImage image, int x, int y)
    {
        ReadOnlySpan<byte> pixel = image.Pixels.Slice(3 * ((y * image.Width) + x), 3);
        return new(pixel[0], pixel[1], pixel[2]);
    }

    static GroundedItem Item(string? label, GroundedKind kind, params double[] coordinates) =>
        new(label, kind, coordinates, default, default);
}
