using VlmSharp.Chat;
using VlmSharp.Formats;
using VlmSharp.Grounding;
using VlmSharp.Media.Images;
using VlmSharp.Media.Images.Slides;
using VlmSharp.Models;
using VlmSharp.Testing;
using VlmSharp.Tests.Engine;
using VlmSharp.Tests.Media;
using VlmSharp.Tiling;
using VlmSharp.Vision;
using Xunit;

namespace VlmSharp.Tests.Tiling;

public sealed class TilePlanTests
{
    static readonly IMediaProcessor Processor = Describe();

    static IMediaProcessor Describe()
    {
        using Checkpoint checkpoint = Checkpoint.Open(Goldens.Local("qwen2-vl/checkpoint"));
        return ModelRegistry.Describe(checkpoint).Processor;
    }

    [Fact]
    public void Windows_cover_every_pixel_overlap_as_asked_and_stay_inside()
    {
        Random random = new(1);
        for (int i = 0; i < 2000; i++)
        {
            (int width, int height) = (random.Next(1, 5000), random.Next(1, 5000));
            int side = random.Next(1, 700);
            double downsample = 1 + (random.Next(3) * random.NextDouble() * 4);
            double overlap = random.Next(3) * 0.3 * random.NextDouble();
            IReadOnlyList<Tile> tiles;
            try
            {
                tiles = SlidingWindow.Plan(width, height, side, downsample, overlap, 2000);
            }
            catch (VisionException)
            {
                continue;
            }

            Assert.All(tiles, tile => AssertFits(tile, width, height, side));
            foreach (
                (int size, List<(int Start, int End)> spans) in (ReadOnlySpan<(int, List<(int, int)>)>)
                    [
                        (width, [.. tiles.Where(t => t.Row == 0).Select(t => (t.Area.X, t.Area.Right))]),
                        (height, [.. tiles.Where(t => t.Column == 0).Select(t => (t.Area.Y, t.Area.Bottom))]),
                    ]
            )
            {
                Assert.Equal(0, spans[0].Start);
                Assert.Equal(size, spans[^1].End);
                for (int k = 1; k < spans.Count; k++)
                {
                    int window = spans[k].End - spans[k].Start;
                    Assert.True(spans[k].Start > spans[k - 1].Start);
                    Assert.True(spans[k - 1].End - spans[k].Start >= Math.Min(window - 1, overlap * window));
                }
            }

            // A full grid: what holds along both edges holds everywhere.
            Assert.Equal((tiles.Max(t => t.Row) + 1) * (tiles.Max(t => t.Column) + 1), tiles.Count);
            Assert.All(tiles, t => Assert.Equal(tiles.First(o => o.Column == t.Column).Area.X, t.Area.X));
            Assert.All(tiles, t => Assert.Equal(tiles.First(o => o.Row == t.Row).Area.Y, t.Area.Y));
        }
    }

    static void AssertFits(Tile tile, int width, int height, int side)
    {
        Assert.InRange(tile.Area.X, 0, width - 1);
        Assert.InRange(tile.Area.Y, 0, height - 1);
        Assert.InRange(tile.Area.Right, tile.Area.X + 1, width);
        Assert.InRange(tile.Area.Bottom, tile.Area.Y + 1, height);
        Assert.InRange(tile.Width, 1, Math.Min(side, tile.Area.Width));
        Assert.InRange(tile.Height, 1, Math.Min(side, tile.Area.Height));
    }

    [Fact]
    public void The_last_window_is_moved_inside()
    {
        IReadOnlyList<Tile> tiles = SlidingWindow.Plan(1000, 300, 256, 1.5, 0.25, 100);
        // Windows of 384 pixels, 288 apart; 300 rows are fewer than a window.
        Assert.Equal([0, 288, 576, 616], tiles.Select(t => t.Area.X));
        Assert.All(tiles, t => Assert.Equal((384, 300, 256, 200), (t.Area.Width, t.Area.Height, t.Width, t.Height)));
    }

    [Fact]
    public void More_windows_than_allowed_are_refused_with_their_number()
    {
        VisionException e = Assert.Throws<VisionException>(() => SlidingWindow.Plan(100_000, 80_000, 1000, 1, 0, 100));
        Assert.Contains("8000 tiles (80 rows of 100)", e.Message, StringComparison.Ordinal);
        Assert.Throws<VisionException>(() => SlidingWindow.Plan(int.MaxValue, int.MaxValue, 1, 1, 0.9, int.MaxValue));
    }

    [Theory]
    [InlineData(0.5, 0)]
    [InlineData(double.NaN, 0)]
    [InlineData(1, 0.95)]
    [InlineData(1, double.NaN)]
    public void Impossible_scales_and_overlaps_are_refused(double downsample, double overlap) =>
        Assert.Throws<ArgumentOutOfRangeException>(() => SlidingWindow.Plan(10, 10, 5, downsample, overlap, 10));

    [Fact]
    public void A_grid_covers_every_pixel_once_within_the_budget()
    {
        Random random = new(2);
        for (int i = 0; i < 2000; i++)
        {
            (int width, int height) = (random.Next(1, 6000), random.Next(1, 6000));
            int side = random.Next(20, 1200);
            int maxTiles = random.Next(0, 20);
            AnyResPlan plan = AnyRes.Plan(width, height, side, maxTiles);
            Assert.InRange(plan.Tiles.Count, 0, maxTiles);
            Assert.NotEqual(1, plan.Tiles.Count);
            AssertFits(plan.Overview, width, height, side);
            Assert.Equal(new PixelArea(0, 0, width, height), plan.Overview.Area);
            Assert.All(plan.Tiles, tile => AssertFits(tile, width, height, side));
            if (plan.Tiles.Count > 0)
            {
                Assert.Equal((long)width * height, plan.Tiles.Sum(t => (long)t.Area.Width * t.Area.Height));
                Assert.Equal(plan.Rows * plan.Columns, plan.Tiles.Count);
                foreach (Tile tile in plan.Tiles)
                {
                    Assert.Equal(tile.Column == 0 ? 0 : plan.Tiles[tile.Column - 1].Area.Right, tile.Area.X);
                    Assert.Equal(
                        tile.Row == 0 ? 0 : plan.Tiles[(tile.Row - 1) * plan.Columns].Area.Bottom,
                        tile.Area.Y
                    );
                    // One scale for all, in both directions.
                    double scale = (double)plan.Tiles[0].Width / plan.Tiles[0].Area.Width;
                    Assert.InRange(tile.Width, (tile.Area.Width * scale) - 2, (tile.Area.Width * scale) + 2);
                }

                Assert.True(
                    plan.Tiles.Sum(t => (long)t.Width * t.Height) > (long)plan.Overview.Width * plan.Overview.Height
                );
            }
        }
    }

    [Theory]
    [InlineData(900, 700, 1000, 9, 0, 0)] // fits as it is
    [InlineData(2000, 1000, 1000, 9, 1, 2)] // two tiles show every pixel
    [InlineData(4000, 1000, 1000, 4, 1, 4)]
    [InlineData(1000, 4000, 1000, 4, 4, 1)]
    [InlineData(40_000, 30_000, 1000, 12, 3, 4)]
    [InlineData(40_000, 30_000, 1000, 13, 3, 4)] // a thirteenth shows nothing more
    public void The_grid_follows_the_picture_s_shape(
        int width,
        int height,
        int side,
        int maxTiles,
        int rows,
        int columns
    )
    {
        AnyResPlan plan = AnyRes.Plan(width, height, side, maxTiles);
        Assert.Equal((rows, columns), (plan.Rows, plan.Columns));
    }

    [Fact]
    public void A_tile_is_the_largest_square_that_the_model_does_not_shrink()
    {
        foreach (int tokens in (int[])[4, 5, 16, 100, 1280, 5000, 20_000, 1_000_000])
        {
            foreach (PixelLimits limits in (PixelLimits[])[default, new(null, 1_000_000), new(3136, 100_000)])
            {
                TileSize size = TileSize.Largest(Processor, limits, tokens);
                MediaPlan plan = Processor.Plan(new(MediaKind.Image, size.Side, size.Side), limits);
                Assert.Equal((size.Side, size.Side), (plan.ResizedWidth, plan.ResizedHeight));
                Assert.Equal(size.Tokens, plan.Tokens);
                Assert.InRange(size.Tokens, 1, tokens);
                int larger = size.Side + 28;
                MediaPlan next = Processor.Plan(new(MediaKind.Image, larger, larger), limits);
                Assert.True(next.Tokens > tokens || next.ResizedWidth < larger);
            }
        }

        Assert.Contains(
            "at least 4 tokens",
            Assert.Throws<VisionException>(() => TileSize.Largest(Processor, default, 3)).Message,
            StringComparison.Ordinal
        );
    }

    [Fact]
    public void Boxes_of_tiles_land_on_the_picture_within_a_pixel()
    {
        Random random = new(3);
        foreach (double downsample in (double[])[1, 1.7, 4])
        {
            foreach (Tile tile in SlidingWindow.Plan(20_011, 15_007, 980, downsample, 0.1, 1000))
            {
                // A pixel of the picture, seen on the tile, and back.
                PointXY point = new(
                    tile.Area.X + (random.NextDouble() * tile.Area.Width),
                    tile.Area.Y + (random.NextDouble() * tile.Area.Height)
                );
                PointXY seen = tile.ToPicture.Inverse.Apply(point);
                Assert.InRange(seen.X, 0, tile.Width);
                Assert.InRange(seen.Y, 0, tile.Height);
                PointXY back = tile.ToPicture.Apply(seen);
                Assert.Equal(point.X, back.X, 6);
                Assert.Equal(point.Y, back.Y, 6);
                // The scale asked for, within what rounding the tile's size changes.
                Assert.InRange(seen.X - ((point.X - tile.Area.X) / downsample), -1, 1);
            }
        }
    }

    [Fact]
    public void Every_tile_is_announced_with_its_position_before_its_picture()
    {
        using TemporaryDirectory directory = new();
        TestSlides.Write(directory["s.tif"], new(4000, 3000) { Factors = [1, 2, 4] });
        using LargeImage image = LargeImage.Open(directory["s.tif"]);
        IReadOnlyList<ChatContent> content = AnyRes.Show(image, Processor, 6, 7 * 100);
        Assert.Equal((2 * 7) + 1, content.Count); // words before each, and a line break at the end
        Assert.Equal("The whole picture, 4000x3000 pixels:\n", Assert.IsType<ChatText>(content[0]).Text);
        Assert.Equal(
            "\nTile row 2, column 3: x 2666-4000, y 1500-3000 of 4000x3000:\n",
            Assert.IsType<ChatText>(content[12]).Text
        );
        ChatMedia[] media = [.. content.OfType<ChatMedia>()];
        Assert.Equal(7, media.Length);
        Assert.All(media, m => Assert.InRange(Processor.Plan(m.Source.Shape, m.Limits).Tokens, 1, 100));
        // The pixels are those of the place.
        RgbImage last = media[6].Source.Frames[0];
        Assert.InRange(
            TestPictures.MeanDifference(last, image.ReadRegion(2666, 1500, 1334, 1500, last.Width, last.Height)),
            0,
            0
        );
    }

    [Fact]
    public void A_picture_that_fits_is_shown_once_without_words()
    {
        using TemporaryDirectory directory = new();
        string path = directory.Write("p.png", TestPictures.Encode(TestPictures.Drawn(200, 100), "PNG"));
        using LargeImage image = LargeImage.Open(path);
        ChatMedia only = Assert.IsType<ChatMedia>(Assert.Single(AnyRes.Show(image, Processor, 4, 2000)));
        Assert.Equal(200, only.Source.Shape.Width);
    }

    [Fact]
    public void A_model_takes_overview_and_tiles_in_one_turn()
    {
        using TemporaryDirectory directory = new();
        TestSlides.Write(directory["s.tif"], new(4000, 3000) { Factors = [1, 2, 4] });
        using LargeImage image = LargeImage.Open(directory["s.tif"]);
        using ChatModel chat = TinyModel.Load();
        using Conversation conversation = new(chat, 1024);
        ChatAnswer answer = conversation.Ask(
            ChatMessage.User([
                .. AnyRes.Show(image, chat.Model.Info.Processor, maxTiles: 4, maxTokens: 500),
                new ChatText("What is there?"),
            ]),
            chat.DefaultSampling with
            {
                MaxNewTokens = 2,
            }
        );
        Assert.Equal(5, answer.Media.Count);
        Assert.InRange(answer.Media.Sum(m => m.Plan.Tokens), 300, 500);
        Assert.All(answer.Media, m => Assert.True(m.Plan.ResizedWidth >= m.Plan.OriginalWidth - 28)); // nothing is shrunk
    }

    [Fact]
    public void Background_is_nearly_one_colour_whatever_it_is()
    {
        BackgroundRule rule = new();
        Random random = new(4);
        foreach (int grey in (int[])[0, 128, 240, 255])
        {
            Assert.True(rule.IsBackground(Noise(grey, 8)));
            Assert.False(rule.IsBackground(Noise(grey, 60)));
            Assert.True(rule.IsBackground(WithSpot(grey, 8)));
            Assert.False(rule.IsBackground(WithSpot(grey, 20)));
        }

        Assert.True(rule.IsBackground(new(1, 1, [1, 2, 3])));

        RgbImage Noise(int grey, int range, int spot = 0)
        {
            byte[] pixels = new byte[3 * 512 * 512];
            for (int i = 0; i < pixels.Length; i++)
            {
                pixels[i] = (byte)Math.Clamp(grey + random.Next(-range, range + 1), 0, 255);
                (int x, int y) = (i / 3 % 512, i / 3 / 512);
                if (x < spot && y < spot)
                {
                    pixels[i] = (byte)(grey ^ 128);
                }
            }

            return new(512, 512, pixels);
        }

        RgbImage WithSpot(int grey, int side) => Noise(grey, 8, side);
    }
}
