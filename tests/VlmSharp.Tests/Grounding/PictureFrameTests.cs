using VlmSharp.Grounding;
using VlmSharp.Media.Images;
using VlmSharp.Tests.Media;
using Xunit;

namespace VlmSharp.Tests.Grounding;

public sealed class PictureFrameTests
{
    static readonly CoordinateSpace[] Spaces = Enum.GetValues<CoordinateSpace>();

    public static TheoryData<int, int, int, int> Sizes =>
        new()
        {
            { 640, 480, 644, 476 },
            { 97, 61, 112, 84 },
            { 30, 200, 28, 196 },
            { 4000, 3000, 1176, 868 },
            { 1, 1, 28, 28 },
            { 1, 200, 28, 5600 },
            { 12000, 60, 3556, 28 },
            { 65535, 400, 16380, 112 },
        };

    [Theory, MemberData(nameof(Sizes))]
    public void A_position_comes_back_through_every_space(int width, int height, int resizedWidth, int resizedHeight)
    {
        PictureFrame frame = new(width, height, resizedWidth, resizedHeight);
        Random random = new(1);
        for (int i = 0; i < 200; i++)
        {
            PointXY start = new(random.NextDouble() * width, random.NextDouble() * height);
            PointXY at = start;
            CoordinateSpace space = CoordinateSpace.OriginalPixels;
            foreach (CoordinateSpace next in random.GetItems(Spaces, 8).Append(CoordinateSpace.OriginalPixels))
            {
                at = frame.Map(space, next).Apply(at);
                space = next;
            }

            Assert.Equal(start.X, at.X, 1e-9 * width);
            Assert.Equal(start.Y, at.Y, 1e-9 * height);
        }
    }

    [Theory, MemberData(nameof(Sizes))]
    public void Edges_map_to_edges_exactly(int width, int height, int resizedWidth, int resizedHeight)
    {
        PictureFrame frame = new(width, height, resizedWidth, resizedHeight);
        foreach (CoordinateSpace from in Spaces)
        {
            foreach (CoordinateSpace to in Spaces)
            {
                Assert.Equal(frame.Extent(to), frame.Map(from, to).Apply(frame.Extent(from)));
                Assert.Equal(frame.Map(to, from), frame.Map(from, to).Inverse);
            }
        }
    }

    [Theory, MemberData(nameof(Sizes))]
    public void Rounded_coordinates_are_off_by_no_more_than_the_bound(
        int width,
        int height,
        int resizedWidth,
        int resizedHeight
    )
    {
        PictureFrame frame = new(width, height, resizedWidth, resizedHeight);
        Random random = new(2);
        foreach (CoordinateSpace space in Spaces)
        {
            PointXY bound = frame.RoundingError(space);
            Mapping there = frame.Map(CoordinateSpace.OriginalPixels, space);
            for (int i = 0; i < 200; i++)
            {
                PointXY start = new(random.NextDouble() * width, random.NextDouble() * height);
                PointXY exact = there.Apply(start);
                PointXY written = new(Math.Round(exact.X), Math.Round(exact.Y));
                PointXY back = there.Inverse.Apply(written);
                Assert.InRange(Math.Abs(back.X - start.X), 0, bound.X + 1e-9);
                Assert.InRange(Math.Abs(back.Y - start.Y), 0, bound.Y + 1e-9);
            }
        }
    }

    [Fact]
    public void The_bound_is_half_a_unit_of_the_space()
    {
        PictureFrame frame = new(4000, 3000, 1176, 868);
        Assert.Equal(new PointXY(2, 1.5), frame.RoundingError(CoordinateSpace.Thousandths));
        Assert.Equal(new PointXY(0.5, 0.5), frame.RoundingError(CoordinateSpace.OriginalPixels));
        Assert.Equal(4000.0 / 1176 / 2, frame.RoundingError(CoordinateSpace.ResizedPixels).X);
    }

    [Fact]
    public void A_tile_of_a_slide_on_a_page_is_three_mappings_in_a_row()
    {
        PictureFrame tile = new(512, 512, 504, 504);
        Mapping onSlide = new(tile.Extent(CoordinateSpace.OriginalPixels), new(1024, 2048, 256, 256));
        // Page points count upwards from the lower left corner.
        Mapping onPage = new(new(0, 0, 8192, 4096), new(0, 842, 595, -842));
        Mapping all = tile.Map(CoordinateSpace.Thousandths, CoordinateSpace.OriginalPixels).Then(onSlide).Then(onPage);

        PointXY middle = all.Apply(new PointXY(500, 500));
        Assert.Equal((1024 + 128) / 8192.0 * 595, middle.X, 1e-9);
        Assert.Equal(842 - ((2048 + 128) / 4096.0 * 842), middle.Y, 1e-9);

        PointXY back = all.Inverse.Apply(middle);
        Assert.Equal(500, back.X, 1e-9);
        Assert.Equal(500, back.Y, 1e-9);
    }

    [Fact]
    public void A_box_keeps_its_corners_in_order_where_an_axis_is_turned_around()
    {
        GroundedItem item = new("a", GroundedKind.Box, [10, 20, 30, 40], default, default);
        GroundedItem turned = item.Through(new(new(0, 0, 100, 100), new(0, 100, 100, -100)));
        Assert.Equal([10, 60, 30, 80], turned.Coordinates);
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    [InlineData(4)]
    [InlineData(5)]
    [InlineData(6)]
    [InlineData(7)]
    [InlineData(8)]
    public void Original_means_upright(int orientation)
    {
        // A white square on black; what a model says of the upright picture finds it there, whatever EXIF says of the file.
        byte[] pixels = new byte[3 * 64 * 32];
        for (int y = 4; y < 12; y++)
        {
            pixels.AsSpan(3 * ((y * 64) + 40), 3 * 8).Fill(255);
        }

        byte[] jpeg = TestPictures.WithOrientation(ImageEncoder.Jpeg(new(64, 32, pixels)), orientation);
        RgbImage upright = ImageDecoder.Decode(jpeg, "turned.jpg");
        Assert.Equal(orientation >= 5 ? (32, 64) : (64, 32), (upright.Width, upright.Height));

        (double sumX, double sumY, double sum) = (0, 0, 0);
        for (int i = 0; i < upright.Width * upright.Height; i++)
        {
            double light = upright.Pixels[3 * i];
            sumX += light * ((i % upright.Width) + 0.5);
            sumY += light * ((i / upright.Width) + 0.5);
            sum += light;
        }

        PointXY middle = new(sumX / sum, sumY / sum);
        PictureFrame frame = new(upright.Width, upright.Height, upright.Width * 7 / 4, upright.Height * 7 / 4);
        foreach (CoordinateSpace space in Spaces)
        {
            Mapping map = frame.Map(CoordinateSpace.OriginalPixels, space);
            PointXY seen = map.Apply(middle);
            PointXY found = map.Inverse.Apply(new PointXY(Math.Round(seen.X), Math.Round(seen.Y)));
            Assert.InRange(found.X, middle.X - 1, middle.X + 1);
            Assert.InRange(found.Y, middle.Y - 1, middle.Y + 1);
            Assert.True(upright.Pixels[3 * (((int)found.Y * upright.Width) + (int)found.X)] > 200);
        }
    }
}
