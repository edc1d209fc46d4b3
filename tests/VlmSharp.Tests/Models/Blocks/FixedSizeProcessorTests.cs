using VlmSharp.Kernels;
using VlmSharp.Media.Images;
using VlmSharp.Models;
using VlmSharp.Models.Blocks;
using VlmSharp.Vision;
using Xunit;

namespace VlmSharp.Tests.Models.Blocks;

public sealed class FixedSizeProcessorTests
{
    static readonly FixedSizeProcessor Processor = new(size: 30, patchSize: 7, tokens: 16);

    [Theory]
    [InlineData(1, 1)]
    [InlineData(1, 900)]
    [InlineData(640, 480)]
    public void Every_picture_becomes_the_same_square(int width, int height)
    {
        MediaPlan plan = Processor.Plan(new MediaShape(MediaKind.Image, width, height), default);
        Assert.Equal(
            (width, height, 30, 30),
            (plan.OriginalWidth, plan.OriginalHeight, plan.ResizedWidth, plan.ResizedHeight)
        );
        Assert.Equal(new GridThw(1, 4, 4), plan.Grid);
        Assert.Equal(16, plan.Tokens);

        using WorkerPool pool = new(1);
        using PreparedMedia media = Processor.Prepare(Grey(width, height, 255), default, pool);
        Assert.Equal((16, 3 * 7 * 7), (media.Pixels.Rows, media.Pixels.Width));
        Assert.Equal((1f - 0.48145466f) / 0.26862954f, media.Pixels.Row(0)[0]);
        Assert.Equal((1f - 0.40821073f) / 0.27577711f, media.Pixels.Row(15)[^1]);
    }

    [Fact]
    public void Patches_come_in_reading_order_each_as_channel_row_and_column()
    {
        byte[] pixels = new byte[30 * 30 * 3];
        (int y, int x, int channel) = (7 + 2, 14 + 5, 1); // patch 6, row 2, column 5
        pixels[(((y * 30) + x) * 3) + channel] = 255;
        using WorkerPool pool = new(1);
        using PreparedMedia media = Processor.Prepare(MediaSource.Image(new RgbImage(30, 30, pixels)), default, pool);
        float[] values = media.Pixels.ToArray();
        int brightest = Array.IndexOf(values, values.Max());
        Assert.Equal((6, (1 * 49) + (2 * 7) + 5), Math.DivRem(brightest, 147));
    }

    [Fact]
    public void Alpha_is_dropped()
    {
        byte[] white = [.. Enumerable.Repeat((byte)255, 12)];
        byte[] black = new byte[12];
        using WorkerPool pool = new(1);
        using PreparedMedia media = Processor.Prepare(
            MediaSource.Image(new RgbImage(2, 2, white, withoutAlpha: black)),
            default,
            pool
        );
        Assert.True(media.Pixels.Row(0)[0] < 0);
    }

    [Fact]
    public void What_it_cannot_do_is_said()
    {
        MediaShape video = new(MediaKind.Video, 30, 30) { Frames = 2 };
        Assert.Contains("pictures only", Assert.Throws<VisionException>(() => Processor.Plan(video, default)).Message);
        MediaShape picture = new(MediaKind.Image, 30, 30);
        Processor.Plan(picture, new PixelLimits(900, 900));
        foreach (PixelLimits limits in (PixelLimits[])[new(901), new(null, 899)])
        {
            Assert.Contains("30 x 30", Assert.Throws<VisionException>(() => Processor.Plan(picture, limits)).Message);
        }
    }

    static MediaSource Grey(int width, int height, byte level)
    {
        byte[] pixels = new byte[width * height * 3];
        pixels.AsSpan().Fill(level);
        return MediaSource.Image(new RgbImage(width, height, pixels));
    }
}
