using VlmSharp.Media.Images;
using VlmSharp.Media.Images.Slides;
using VlmSharp.Media.Images.Vips;
using VlmSharp.Testing;
using Xunit;

namespace VlmSharp.Tests.Media.Slides;

public sealed class LargeImageTests : IDisposable
{
    const int Width = 20_000;
    const int Height = 15_000;

    static readonly int[] Pyramid = [1, 2, 4, 8, 16, 32, 64];

    readonly TemporaryDirectory directory = new();

    public void Dispose() => directory.Dispose();

    LargeImage Slide(TestSlides.Layout layout)
    {
        TestSlides.Write(directory["slide.tif"], layout);
        return LargeImage.Open(directory["slide.tif"]);
    }

    [Theory]
    [InlineData(false, false)]
    [InlineData(true, false)]
    [InlineData(false, true)]
    [InlineData(true, true)]
    public void A_part_of_a_slide_is_the_mean_of_what_it_covers(bool big, bool nested)
    {
        using LargeImage slide = Slide(
            new(Width, Height)
            {
                Factors = Pyramid,
                Big = big,
                Nested = nested,
            }
        );
        Assert.Equal((Width, Height), (slide.Width, slide.Height));
        Assert.Equal(Pyramid, slide.Levels.Select(l => (int)l.DownsampleX));
        Assert.True(slide.HasRandomAccess);
        Random random = new(1);
        foreach (double scale in (double[])[1, 1.5, 2, 2.7, 4, 11.3, 32, 70])
        {
            (int targetWidth, int targetHeight) = (random.Next(5, 40), random.Next(5, 40));
            (int w, int h) = ((int)(targetWidth * scale), (int)(targetHeight * scale));
            (int x, int y) = (random.Next(Width - w + 1), random.Next(Height - h + 1));
            RgbImage part = slide.ReadRegion(x, y, w, h, targetWidth, targetHeight);
            Assert.Equal((targetWidth, targetHeight), (part.Width, part.Height));
            AssertMeans(part, x, y, (double)w / targetWidth, (double)h / targetHeight, tolerance: scale == 1 ? 0 : 1.5);
        }
    }

    static void AssertMeans(RgbImage part, int x, int y, double stepX, double stepY, double tolerance)
    {
        int level = 1 << (int)Math.Log2(Math.Min(stepX, stepY) * 1.001);
        for (int row = 0; row < part.Height; row++)
        {
            for (int column = 0; column < part.Width; column++)
            {
                (double left, double top) = (x + (column * stepX), y + (row * stepY));
                double[] mean = TestSlides.Mean(left, top, left + stepX, top + stepY);
                // A stored level has averaged over its own pixels already: where a ramp falls back to 0 that moves a mean.
                double jumps =
                    Math.Abs(stepX % level) < 1e-9 && Math.Abs(stepY % level) < 1e-9 && x % level == 0 && y % level == 0
                        ? 0
                        : 255.0 * level / Math.Min(stepX, stepY);
                for (int i = 0; i < 3; i++)
                {
                    double allowed = tolerance + (Falls(i, left, top, stepX, stepY, level) ? jumps : level * 1.0);
                    Assert.InRange(
                        part.Pixels[(3 * ((row * part.Width) + column)) + i],
                        mean[i] - allowed,
                        mean[i] + allowed
                    );
                }
            }
        }
    }

    static bool Falls(int channel, double left, double top, double stepX, double stepY, int level)
    {
        bool inRow = (int)(left - level) >> 8 != (int)(left + stepX + level) >> 8;
        bool inColumn = (int)(top - level) >> 8 != (int)(top + stepY + level) >> 8;
        return channel == 0 ? inRow
            : channel == 1 ? inColumn
            : inRow || inColumn;
    }

    [Fact]
    public void The_smallest_level_that_is_large_enough_is_read()
    {
        using LargeImage slide = Slide(
            new(4096, 3000)
            {
                Factors = [1, 2, 8],
                Kind = (_, _, _) => 0,
                // Each level has a grey of its own.
                Paint = (factor, _) => Filled(10 * factor),
            }
        );
        foreach (
            (double scale, int factor) in (ReadOnlySpan<(double, int)>)
                [(1, 1), (1.9, 1), (2, 2), (7.9, 2), (8, 8), (30, 8)]
        )
        {
            RgbImage part = slide.ReadRegion(100, 200, 2000, 1600, (int)(2000 / scale), (int)(1600 / scale));
            Assert.Equal(10 * factor, part.Pixels[0]);
        }

        Assert.Equal(10, slide.ReadRegion(0, 0, 4096, 3000, 512, 1600).Pixels[0]); // the finer direction counts
    }

    static byte[] Filled(int value)
    {
        byte[] tile = new byte[3 * TestSlides.TileSide * TestSlides.TileSide];
        Array.Fill(tile, (byte)value);
        return tile;
    }

    [Fact]
    public void Pages_that_are_no_smaller_copies_are_no_levels()
    {
        using LargeImage pages = Slide(new(2048, 2048) { Factors = [1, 2], LevelKind = 2 });
        Assert.Single(pages.Levels);
        using LargeImage masks = Slide(new(2048, 2048) { Factors = [1, 2], LevelKind = 5 });
        Assert.Single(masks.Levels);
    }

    [Theory]
    [InlineData("")]
    [InlineData(",subifd=true")]
    [InlineData(",bigtiff=true,compression=jpeg,Q=95")]
    public void Pyramids_that_libvips_writes_are_read(string options)
    {
        RgbImage drawn = TestPictures.Drawn(1501, 1003);
        string path = directory.Write(
            "vips.tif",
            TestPictures.Save(
                drawn,
                "tiffsave_buffer",
                "tile=true,tile-width=128,tile-height=128,pyramid=true,compression=deflate,resunit=cm,xres=400,yres=400"
                    + options
            )
        );
        using LargeImage image = LargeImage.Open(path);
        Assert.Equal(5, image.Levels.Count); // down to one tile
        Assert.All(image.Levels, (level, i) => Assert.Equal(1 << i, level.DownsampleX));
        Assert.Equal(2.5, image.MicronsPerPixel!.Value, 6); // 400 pixels a millimetre
        AssertSame(
            drawn,
            image,
            3,
            5,
            700,
            600,
            tolerance: options.Contains("jpeg", StringComparison.Ordinal) ? 12 : 0
        );
        RgbImage overview = image.ReadOverview(200);
        Assert.Equal((200, 134), (overview.Width, overview.Height));
        Assert.InRange(TestPictures.MeanDifference(overview, TestPictures.Drawn(200, 134)), 0, 3);
    }

    static void AssertSame(RgbImage whole, LargeImage image, int x, int y, int width, int height, int tolerance = 0)
    {
        RgbImage part = image.ReadRegion(x, y, width, height, width, height);
        int most = 0;
        for (int row = 0; row < height; row++)
        {
            ReadOnlySpan<byte> expected = whole.Pixels.Slice(3 * (((y + row) * whole.Width) + x), 3 * width);
            ReadOnlySpan<byte> actual = part.Pixels.Slice(3 * row * width, 3 * width);
            for (int i = 0; i < expected.Length; i++)
            {
                most = Math.Max(most, Math.Abs(actual[i] - expected[i]));
            }
        }

        Assert.InRange(most, 0, tolerance);
    }

    [Fact]
    public void Tiles_of_JPEG_are_read()
    {
        using LargeImage slide = Slide(new(3000, 2000) { Compression = 7 });
        RgbImage part = slide.ReadRegion(300, 520, 200, 200, 200, 200); // within one tile: ramps do not fall
        for (int i = 0; i < 200; i++)
        {
            (int r, int g, int b) = TestSlides.At(300 + i, 520 + i);
            int at = 3 * 201 * i;
            Assert.InRange(part.Pixels[at], r - 5, r + 5);
            Assert.InRange(part.Pixels[at + 1], g - 5, g + 5);
            Assert.InRange(part.Pixels[at + 2], b - 5, b + 5);
        }
    }

    [Fact]
    public void Alpha_is_laid_over_white()
    {
        using LargeImage slide = Slide(new(1000, 800) { Samples = 4 });
        RgbImage part = slide.ReadRegion(256, 256, 256, 256, 256, 256);
        Assert.Equal([10, 20, TestSlides.At(266, 276).B], Pixel(part, 10, 20));
        Assert.Equal([255, 255, 255], Pixel(part, 200, 20));
    }

    static int[] Pixel(RgbImage image, int x, int y) =>
        [.. image.Pixels.Slice(3 * ((y * image.Width) + x), 3).ToArray().Select(b => (int)b)];

    public static TheoryData<int> Orientations() => new(Enumerable.Range(1, 8));

    [Theory, MemberData(nameof(Orientations))]
    public void Pictures_stand_upright(int orientation)
    {
        TestSlides.Write(directory["turned.tif"], new(700, 500) { Orientation = orientation });
        directory.Write(
            "turned.jpg",
            TestPictures.WithOrientation(TestPictures.Encode(TestPictures.Drawn(700, 500), "JPEG"), orientation)
        );
        foreach (string name in (string[])["turned.tif", "turned.jpg"])
        {
            RgbImage whole = ImageDecoder.DecodeFile(directory[name]);
            using LargeImage image = LargeImage.Open(directory[name]);
            Assert.Equal((whole.Width, whole.Height), (image.Width, image.Height));
            AssertSame(whole, image, 33, 21, 340, 401);
            // Shrunk to another size in each direction: the same as shrinking the upright picture.
            RgbImage small = image.ReadRegion(10, 20, 400, 300, 100, 150);
            AreaAverage average = new(10, 20, 400, 300, 100, 150);
            average.Add(whole.Pixels, 0, 0, whole.Width, whole.Height);
            Assert.InRange(
                TestPictures.MeanDifference(new(100, 150, average.Finish(whole.Width, whole.Height)), small),
                0,
                0.01
            );
        }
    }

    [Theory]
    [InlineData("jpegsave_buffer", "Q=90", "JPEG")]
    [InlineData("jpegsave_buffer", "Q=90,interlace=true", "JPEG")]
    [InlineData("pngsave_buffer", "", "PNG")]
    [InlineData("pngsave_buffer", "interlace=true", "PNG")]
    [InlineData("tiffsave_buffer", "compression=lzw", "TIFF")]
    [InlineData("webpsave_buffer", "lossless=true", "WebP")]
    [InlineData("gifsave_buffer", "", "GIF")]
    public void Formats_without_tiles_are_read_too(string saver, string options, string format)
    {
        string path = directory.Write("p", TestPictures.Save(TestPictures.Drawn(1300, 900), saver, options));
        using LargeImage image = LargeImage.Open(path);
        Assert.Equal(format, image.Format);
        Assert.False(image.HasRandomAccess);
        RgbImage whole = ImageDecoder.DecodeFile(path);
        AssertSame(whole, image, 700, 800, 600, 100);
        AssertSame(whole, image, 0, 0, 1300, 900);
        AssertSame(whole, image, 5, 3, 1, 1);
    }

    [Fact]
    public void A_slide_of_a_microscope_is_read_through_OpenSlide()
    {
        Assert.SkipUnless(OpenSlideLibrary.IsInstalled, "needs libopenslide0");
        using LargeImage slide = Slide(
            new(Width, Height)
            {
                Factors = [1, 4, 16],
                LevelKind = 0,
                Description =
                    "Aperio Image Library v11.2.1\r\n20000x15000 [0,0 20000x15000] (256x256)|AppMag = 20|MPP = 0.4990",
            }
        );
        Assert.Equal("slide (aperio)", slide.Format);
        Assert.Equal(0.499, slide.MicronsPerPixel!.Value, 6);
        Assert.Equal([1, 4, 16], slide.Levels.Select(l => (int)Math.Round(l.DownsampleX)));
        RgbImage part = slide.ReadRegion(5000, 7000, 300, 200, 300, 200);
        for (int i = 0; i < 200; i++)
        {
            (int r, int g, int b) = TestSlides.At(5000 + i, 7000 + i);
            Assert.Equal([r, g, b], Pixel(part, i, i));
        }

        AssertMeans(slide.ReadRegion(5120, 7168, 512, 384, 128, 96), 5120, 7168, 4, 4, tolerance: 2);
    }

    [Fact]
    public void A_file_in_no_known_format_is_refused_by_name()
    {
        string path = directory.Write("notes.svs", "some text that is no picture");
        Assert.StartsWith(
            $"{path}: not a picture",
            Assert.Throws<MediaException>(() => LargeImage.Open(path)).Message,
            StringComparison.Ordinal
        );
        Assert.StartsWith(
            directory["absent"],
            Assert.Throws<MediaException>(() => LargeImage.Open(directory["absent"])).Message,
            StringComparison.Ordinal
        );
    }

    [Fact]
    public void Sizes_beyond_a_limit_are_refused_with_the_limit()
    {
        TestSlides.Write(directory["tiles.tif"], new(3000, 3000) { ClaimedTile = 65536 });
        Assert.Contains("MaxStoredTilePixels", Refusal("tiles.tif"), StringComparison.Ordinal);
        TestSlides.Write(directory["wide.tif"], new(3000, 3000));
        Assert.Contains(
            "MaxPixels",
            Refusal("wide.tif", LargeImageLimits.Default with { MaxPixels = 8_999_999 }),
            StringComparison.Ordinal
        );
        directory.Write("claims.png", TestPictures.Png(60000, 60000, 8, 2, []));
        Assert.Contains("MaxSpooledPixels", Refusal("claims.png"), StringComparison.Ordinal);

        using LargeImage flat = LargeImage.Open(
            directory["wide.tif"],
            LargeImageLimits.Default with
            {
                MaxDecodedPixels = 1_000_000,
                MaxRegionPixels = 10_000,
            }
        );
        Assert.Contains(
            "MaxDecodedPixels",
            Assert.Throws<MediaException>(() => flat.ReadOverview(50)).Message,
            StringComparison.Ordinal
        );
        Assert.Contains(
            "MaxRegionPixels",
            Assert.Throws<MediaException>(() => flat.ReadRegion(0, 0, 200, 200, 200, 200)).Message,
            StringComparison.Ordinal
        );
    }

    string Refusal(string name, LargeImageLimits? limits = null)
    {
        string message = Assert.Throws<MediaException>(() => LargeImage.Open(directory[name], limits)).Message;
        Assert.StartsWith(directory[name], message, StringComparison.Ordinal);
        return message;
    }

    [Theory]
    [InlineData(-1, 0, 10, 10, 10, 10)]
    [InlineData(0, 0, 0, 10, 1, 10)]
    [InlineData(95, 0, 10, 10, 10, 10)]
    [InlineData(0, 95, 10, 10, 10, 10)]
    [InlineData(0, 0, 10, 10, 11, 10)]
    [InlineData(0, 0, 10, 10, 10, 0)]
    [InlineData(int.MaxValue, 0, int.MaxValue, 10, 10, 10)]
    public void A_part_beyond_the_picture_is_refused(int x, int y, int w, int h, int targetWidth, int targetHeight)
    {
        using LargeImage slide = Slide(new(100, 100));
        Assert.Throws<ArgumentOutOfRangeException>(() => slide.ReadRegion(x, y, w, h, targetWidth, targetHeight));
    }

    [Theory]
    [InlineData("tiled")]
    [InlineData("JPEG")]
    [InlineData("PNG")]
    [InlineData("TIFF")]
    public void A_file_that_is_cut_off_is_an_error_that_names_it(string kind)
    {
        string path = directory["cut"];
        if (kind == "tiled")
        {
            // A directory before the tiles: the end that is missing holds pixels.
            directory.Write(
                "cut",
                TestPictures.Save(TestPictures.Drawn(900, 700), "tiffsave_buffer", "tile=true,compression=lzw")
            );
        }
        else
        {
            directory.Write("cut", TestPictures.Encode(TestPictures.Drawn(900, 700), kind));
        }

        byte[] bytes = File.ReadAllBytes(path);
        for (int tenths = 1; tenths < 10; tenths++)
        {
            File.WriteAllBytes(path, bytes[..(bytes.Length * tenths / 10)]);
            MediaException e = Assert.Throws<MediaException>(() =>
            {
                using LargeImage image = LargeImage.Open(path);
                image.ReadOverview(100);
            });
            Assert.StartsWith(path, e.Message, StringComparison.Ordinal);
        }
    }

    [Theory]
    [InlineData(false, null)]
    [InlineData(true, null)]
    [InlineData(false, "Aperio Image Library v11|MPP = 0.5")]
    public void A_damaged_slide_gives_pixels_or_an_error(bool big, string? description)
    {
        TestSlides.Write(
            directory["whole.tif"],
            new(1200, 900)
            {
                Factors = [1, 2, 4],
                Big = big,
                Nested = description is null,
                LevelKind = description is null ? 1 : 0,
                Description = description,
            }
        );
        byte[] whole = File.ReadAllBytes(directory["whole.tif"]);
        LargeImageLimits limits = new(1 << 22, 1 << 22, 1 << 18, 1 << 20, 1 << 22);
        Random random = new(7);
        (int read, int refused) = (0, 0);
        for (int i = 0; i < 200; i++)
        {
            byte[] mutated = [.. whole];
            for (int k = random.Next(1, 6); k > 0; k--)
            {
                // Mostly directories, which stand behind the tiles.
                int at =
                    random.Next(4) == 0
                        ? random.Next(mutated.Length)
                        : mutated.Length - 1 - random.Next(Math.Min(mutated.Length, 1500));
                mutated[at] = (byte)random.Next(256);
            }

            string path = directory.Write("damaged.tif", mutated);
            try
            {
                using LargeImage image = LargeImage.Open(path, limits);
                image.ReadOverview(64);
                image.ReadRegion(0, 0, Math.Min(300, image.Width), Math.Min(200, image.Height), 1, 1);
                read++;
            }
            catch (MediaException e)
            {
                Assert.StartsWith(path, e.Message, StringComparison.Ordinal);
                refused++;
            }
        }

        Assert.True(read > 0 && refused > 0, $"{read} read, {refused} refused");
    }

    [Fact]
    public void A_chain_of_directories_that_bites_its_tail_is_an_error()
    {
        TestSlides.Write(directory["loop.tif"], new(300, 300));
        byte[] bytes = File.ReadAllBytes(directory["loop.tif"]);
        bytes.AsSpan(4, 4).CopyTo(bytes.AsSpan(bytes.Length - 4)); // the last link points at the first directory
        directory.Write("loop.tif", bytes);
        Assert.Contains("comes twice", Refusal("loop.tif"), StringComparison.Ordinal);
    }

    [Fact]
    public void Reading_ends_when_it_is_cancelled()
    {
        using LargeImage tiled = Slide(new(3000, 2000));
        Assert.ThrowsAny<OperationCanceledException>(() => tiled.ReadOverview(100, new(canceled: true)));
        using LargeImage picture = LargeImage.Open(
            directory.Write("p.jpg", TestPictures.Encode(TestPictures.Drawn(300, 200), "JPEG"))
        );
        Assert.ThrowsAny<OperationCanceledException>(() => picture.ReadOverview(100, new(canceled: true)));
        Assert.Equal(100, picture.ReadOverview(100).Width);
    }
}

/// <summary>Alone in the process: what it measures belongs to the whole of it.</summary>
[Collection(nameof(VipsProcessState))]
public sealed class LargeImageMemoryTests : IDisposable
{
    const long Mebibyte = 1 << 20;

    readonly TemporaryDirectory directory = new();

    public void Dispose() => directory.Dispose();

    [Theory]
    [InlineData(true, "")]
    [InlineData(false, "")]
    [InlineData(true, "Aperio Image Library v11|MPP = 0.5")]
    public void A_slide_of_a_gigabyte_takes_the_memory_of_a_part(bool pyramid, string description)
    {
        Assert.SkipUnless(OperatingSystem.IsLinux(), "reads /proc");
        const int width = 20_000;
        const int height = 15_000;
        TestSlides.Write(
            directory["slide.tif"],
            new(width, height)
            {
                Factors = pyramid ? [1, 4, 16] : [1],
                LevelKind = description.Length > 0 ? 0 : 1,
                Description = description,
            }
        );
        using LargeImage slide = LargeImage.Open(directory["slide.tif"]);
        slide.ReadRegion(0, 0, 512, 512, 512, 512); // what is allocated once
        GC.Collect();
        long before = Peak(reset: true);
        slide.ReadOverview(1024);
        for (int i = 0; i < 6; i++)
        {
            slide.ReadRegion(i * 3000, i * 2300, 1024, 1024, 1024, 1024);
            slide.ReadRegion(i * 3000, i * 2100, 4000, 4000, 1000, 1000);
        }

        // All pixels are 900 MB. A row of tiles is 15 MiB, and the two that are kept can be on their way out and in.
        Assert.InRange(Peak(reset: false), 0, before + (160 * Mebibyte));
        GC.KeepAlive(slide);
        Assert.InRange((long)Native.vips_tracked_get_mem(), 0, 64 * Mebibyte);
    }

    /// <summary>The most memory this process has had in RAM since the last reset.</summary>
    static long Peak(bool reset)
    {
        if (reset)
        {
            File.WriteAllText("/proc/self/clear_refs", "5");
        }

        string line = File.ReadLines("/proc/self/status").First(l => l.StartsWith("VmHWM:", StringComparison.Ordinal));
        return 1024 * long.Parse(line.Split(' ', StringSplitOptions.RemoveEmptyEntries)[1]);
    }
}
