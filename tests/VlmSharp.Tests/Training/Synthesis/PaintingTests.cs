using VlmSharp.Grounding;
using VlmSharp.Training.Synthesis;
using Xunit;

namespace VlmSharp.Tests.Training.Synthesis;

public sealed class PaintingTests
{
    /// <summary>SplitMix64 worked out by hand (with integers of any size), so that the data of a seed never changes unnoticed.</summary>
    [Theory]
    [InlineData(0, 0, 0x568a9b0b1a2c05ec, 0x44e5b8b147ef718b)]
    [InlineData(1, 2, 0x8c647d4bc9d6b599, 0xfe65f7266b2d228b)]
    [InlineData(7, 1L << 40, 0xf174f996a91cc8bd, 0xa89542d212b76b60)]
    public void Random_numbers_are_those_of_SplitMix64(ulong seed, ulong index, ulong first, ulong second)
    {
        CounterRandom random = new(seed, index);
        Assert.Equal(first, random.Bits());
        Assert.Equal(second, random.Bits());
    }

    [Fact]
    public void Integers_reach_both_ends_and_every_value_about_equally_often()
    {
        CounterRandom random = new(1, 1);
        int[] counts = new int[7];
        for (int i = 0; i < 70_000; i++)
        {
            counts[random.Int(-3, 3) + 3]++;
        }

        Assert.All(counts, count => Assert.InRange(count, 9_500, 10_500));
    }

    [Fact]
    public void An_outline_covers_each_pixel_with_the_share_that_lies_inside()
    {
        CounterRandom random = new(3, 0);
        for (int round = 0; round < 60; round++)
        {
            int corners = random.Int(3, 9);
            PointXY middle = new(random.Number(5, 35), random.Number(5, 25));
            PointXY[] outline =
                round % 2 == 0
                    ? Outlines.Polygon(middle, random.Number(2, 18), corners, random.Number(0, 6))
                    : Outlines.Star(middle, random.Number(2, 18), random.Number(0, 6));
            Painting painting = new(40, 30);
            painting.Fill(new(255, 255, 255), outline);
            for (int y = 0; y < 30; y++)
            {
                for (int x = 0; x < 40; x++)
                {
                    Assert.Equal(255 * Share(outline, x, y), painting.Pixels[3 * ((y * 40) + x)], 255 * 0.03);
                }
            }
        }

        // 32 x 32 points in the pixel, each in or out by how often a ray from it crosses the outline.
        static double Share(PointXY[] outline, int x, int y)
        {
            int inside = 0;
            for (int i = 0; i < 32 * 32; i++)
            {
                (double px, double py) = (x + (((i % 32) + 0.5) / 32), y + (((i / 32) + 0.5) / 32));
                bool isIn = false;
                for (int j = 0; j < outline.Length; j++)
                {
                    (PointXY a, PointXY b) = (outline[j], outline[(j + 1) % outline.Length]);
                    isIn ^= a.Y > py != b.Y > py && px < a.X + ((py - a.Y) / (b.Y - a.Y) * (b.X - a.X));
                }

                inside += isIn ? 1 : 0;
            }

            return inside / 1024.0;
        }
    }

    [Fact]
    public void An_outline_that_runs_the_other_way_round_cuts_a_hole()
    {
        Painting painting = new(20, 20);
        painting.Frame(new(200, 100, 50), new(2, 3, 18, 15), 2);
        Assert.Equal([200, 100, 50], painting.Pixels.Chunk(3).ElementAt((4 * 20) + 3));
        Assert.Equal([0, 0, 0], painting.Pixels.Chunk(3).ElementAt((8 * 20) + 9));
        Assert.Equal((20 * 20) - ((16 * 12) - (12 * 8)), painting.Pixels.Chunk(3).Count(pixel => pixel[0] == 0));
    }

    [Fact]
    public void What_lies_outside_the_picture_is_cut_off()
    {
        Painting painting = new(10, 10);
        painting.Fill(new(255, 0, 0), Outlines.Disc(new(0, 0), 40));
        Assert.All(painting.Pixels.Chunk(3), pixel => Assert.Equal(255, pixel[0]));
        painting.Fill(new(0, 255, 0), new Box(-50, -50, -20, -20));
        painting.Fill(new(0, 255, 0), new Box(30, 3, 50, 5));
        Assert.All(painting.Pixels.Chunk(3), pixel => Assert.Equal(0, pixel[1]));
    }
}
