using System.Text;
using VlmSharp.Media.Images;
using VlmSharp.Testing;
using Xunit;

namespace VlmSharp.Tests.Media;

public sealed class FrameTests
{
    [Theory]
    [InlineData("gifsave_buffer", "dither=0", 9)]
    [InlineData("webpsave_buffer", "lossless=true", 0)]
    public void An_animation_gives_its_frames_with_their_delays(string saver, string options, int tolerance)
    {
        // 47 rows: not a multiple of any strip a decoder works in.
        RgbImage[] drawn = [.. Enumerable.Range(0, 5).Select(i => TestPictures.Drawn(61, 47, 30 * i))];
        int[] delays = [100, 40, 250, 70, 1000];
        byte[] bytes = TestPictures.SaveFrames(drawn, delays, loop: 3, saver, options);

        Assert.Equal((61, 47, 5), Size(ImageDecoder.ReadInfo(bytes, "a")));
        AnimatedImage animation = ImageDecoder.DecodeFrames(bytes, "a");
        Assert.Equal(delays, animation.Delays.Select(d => (int)d.TotalMilliseconds));
        Assert.Equal(3, animation.LoopCount);
        Assert.Equal(5, animation.Frames.Count);
        for (int i = 0; i < 5; i++)
        {
            Assert.Equal((61, 47), (animation.Frames[i].Width, animation.Frames[i].Height));
            Assert.InRange(TestPictures.MeanDifference(drawn[i], animation.Frames[i]), 0, tolerance);
        }

        Assert.Equal(animation.Frames[0].Pixels, ImageDecoder.Decode(bytes, "a").Pixels);
    }

    [Fact]
    public void A_small_frame_is_composed_with_what_stays_and_what_is_disposed()
    {
        // 4 x 2 pixels, colours 0 red, 1 green, 2 blue, 3 transparent.
        byte[] gif =
        [
            .. "GIF89a"u8,
            .. (ReadOnlySpan<byte>)[4, 0, 2, 0, 0x91, 0, 0],
            .. (ReadOnlySpan<byte>)[255, 0, 0, 0, 255, 0, 0, 0, 255, 9, 9, 9],
            // All red, stays. Then one green pixel at (1, 0), cleared afterwards. Then one blue pixel at (3, 1).
            .. Frame(0, 0, 4, 2, disposal: 1, delay: 5, 0),
            .. Frame(1, 0, 1, 1, disposal: 2, delay: 0, 1),
            .. Frame(3, 1, 1, 1, disposal: 1, delay: 7, 2),
            0x3B,
        ];

        AnimatedImage animation = ImageDecoder.DecodeFrames(gif, "composed.gif");
        Assert.Equal([50, 0, 70], animation.Delays.Select(d => (int)d.TotalMilliseconds));
        Assert.Equal(["rrrr/rrrr", "rgrr/rrrr", "rwrr/rrrb"], animation.Frames.Select(Letters));
        Assert.Equal("rrrr/rrrr", Letters(ImageDecoder.Decode(gif, "composed.gif")));
    }

    [Fact]
    public void Frames_are_limited_together_and_before_decoding()
    {
        RgbImage[] drawn = [.. Enumerable.Range(0, 5).Select(i => TestPictures.Drawn(40, 30, 30 * i))];
        byte[] bytes = TestPictures.SaveFrames(drawn, [1, 1, 1, 1, 1], 0, "webpsave_buffer", "");
        ImageLimits exact = new(bytes.Length, 1200, 5, 6000);

        Assert.Equal(5, ImageDecoder.DecodeFrames(bytes, "a", exact).Frames.Count);
        Assert.Equal(
            "a: 5 frames, at most 4 are accepted (ImageLimits.MaxFrames)",
            Message(() => ImageDecoder.DecodeFrames(bytes, "a", exact with { MaxFrames = 4 }))
        );
        Assert.Equal(
            "a: 6000 pixels in 5 frames, at most 5999 in all are accepted (ImageLimits.MaxTotalPixels)",
            Message(() => ImageDecoder.DecodeFrames(bytes, "a", exact with { MaxTotalPixels = 5999 }))
        );
        // One frame is asked for, so the number of frames does not matter.
        Assert.Equal(40, ImageDecoder.Decode(bytes, "a", exact with { MaxFrames = 1, MaxTotalPixels = 1200 }).Width);
    }

    [Fact]
    public void Twelve_thousand_frames_of_a_WebP_are_counted()
    {
        byte[] bytes = WebPOfPixels(12_000);
        Assert.Equal((1, 1, 12_000), Size(ImageDecoder.ReadInfo(bytes, "a.webp")));
        Assert.Equal(
            "a.webp: 12000 frames, at most 4096 are accepted (ImageLimits.MaxFrames)",
            Message(() => ImageDecoder.DecodeFrames(bytes, "a.webp"))
        );
    }

    [Fact]
    public void A_GIF_of_more_frames_than_are_read_is_refused_instead_of_shortened()
    {
        byte[] frame = Frame(0, 0, 1, 1, disposal: 1, delay: 1, 0);
        byte[] gif =
        [
            .. "GIF89a"u8,
            .. (ReadOnlySpan<byte>)[1, 0, 1, 0, 0x91, 0, 0],
            .. (ReadOnlySpan<byte>)[255, 0, 0, 0, 255, 0, 0, 0, 255, 9, 9, 9],
            .. Enumerable.Repeat(frame, 5_000).SelectMany(f => f),
            0x3B,
        ];
        Assert.Equal(
            "a.gif: more than 4096 frames, which is all that is read of a GIF",
            Message(() => ImageDecoder.DecodeFrames(gif, "a.gif", ImageLimits.Default with { MaxFrames = 100_000 }))
        );
    }

    [Fact]
    public void A_still_picture_is_one_frame()
    {
        byte[] png = TestPictures.Encode(TestPictures.Drawn(20, 10), "PNG");
        AnimatedImage image = ImageDecoder.DecodeFrames(png, "p");
        Assert.Equal(ImageDecoder.Decode(png, "p").Pixels, Assert.Single(image.Frames).Pixels);
        Assert.Equal(TimeSpan.Zero, Assert.Single(image.Delays));
        Assert.Equal(1, image.LoopCount);
    }

    [Fact]
    public void The_pages_of_a_TIFF_are_read_when_asked_for()
    {
        RgbImage[] drawn = [.. Enumerable.Range(0, 3).Select(i => TestPictures.Drawn(40, 30, 30 * i))];
        byte[] tiff = TestPictures.SaveFrames(drawn, [0, 0, 0], 0, "tiffsave_buffer", "compression=lzw");

        Assert.Equal((40, 30, 3), Size(ImageDecoder.ReadInfo(tiff, "scan.tif")));
        Assert.Equal(drawn[0].Pixels, ImageDecoder.Decode(tiff, "scan.tif").Pixels);
        IReadOnlyList<RgbImage> pages = ImageDecoder.DecodeFrames(tiff, "scan.tif").Frames;
        Assert.Equal(drawn.Select(d => d.Pixels.ToArray()), pages.Select(p => p.Pixels.ToArray()));
        Assert.Equal(
            "scan.tif: 2400 pixels in 3 frames, at most 2399 in all are accepted (ImageLimits.MaxTotalPixels)",
            Message(() =>
                ImageDecoder.DecodeFrames(tiff, "scan.tif", ImageLimits.Default with { MaxTotalPixels = 2399 })
            )
        );
    }

    [Fact]
    public void A_directory_is_read_in_the_order_of_its_numbers()
    {
        using FrameDirectory directory = new();
        RgbImage[] drawn = [.. Enumerable.Range(0, 12).Select(i => TestPictures.Drawn(16, 12, 15 * i))];
        for (int i = 0; i < 12; i++)
        {
            // Content decides the format, not the name.
            directory.Write($"frame{i}.png", TestPictures.Encode(drawn[i], i % 2 is 0 ? "PNG" : "TIFF"));
        }

        directory.Write(".DS_Store", [1, 2, 3]);
        Directory.CreateDirectory(Path.Combine(directory.Path, "0"));

        IReadOnlyList<RgbImage> frames = ImageDecoder.DecodeFrameDirectory(directory.Path);
        Assert.Equal(drawn.Select(d => d.Pixels.ToArray()), frames.Select(f => f.Pixels.ToArray()));
    }

    [Fact]
    public void A_directory_of_the_goldens_is_read()
    {
        string clip = Goldens.Shared("golden/qwen2-vl/media/clip1-84x56");
        IReadOnlyList<RgbImage> frames = ImageDecoder.DecodeFrameDirectory(clip);
        Assert.Equal(Directory.GetFiles(clip).Length, frames.Count);
        Assert.Equal(ImageDecoder.DecodeFile(Path.Combine(clip, "001.png")).Pixels, frames[1].Pixels);
    }

    [Fact]
    public void A_frame_of_another_size_is_named_with_both_sizes()
    {
        using FrameDirectory directory = new();
        directory.Write("1.png", TestPictures.Encode(TestPictures.Drawn(16, 12), "PNG"));
        directory.Write("2.png", TestPictures.Encode(TestPictures.Drawn(16, 13), "PNG"));
        Assert.Equal(
            $"{Path.Combine(directory.Path, "2.png")}: 16 x 13 pixels, the first frame, 1.png, has 16 x 12; the frames of a video have one size",
            Message(() => ImageDecoder.DecodeFrameDirectory(directory.Path))
        );
    }

    [Fact]
    public void A_file_among_the_frames_that_is_no_picture_is_named()
    {
        using FrameDirectory directory = new();
        directory.Write("1.png", TestPictures.Encode(TestPictures.Drawn(16, 12), "PNG"));
        directory.Write("notes.txt", "hello"u8.ToArray());
        Assert.StartsWith(
            Path.Combine(directory.Path, "notes.txt") + ": not a picture",
            Message(() => ImageDecoder.DecodeFrameDirectory(directory.Path)),
            StringComparison.Ordinal
        );
    }

    [Fact]
    public void A_directory_is_limited_as_an_animation_is()
    {
        using FrameDirectory directory = new();
        for (int i = 0; i < 3; i++)
        {
            directory.Write($"{i}.png", TestPictures.Encode(TestPictures.Drawn(16, 12), "PNG"));
        }

        ImageLimits limits = new(10_000, 192, 3, 576);
        Assert.Equal(3, ImageDecoder.DecodeFrameDirectory(directory.Path, limits).Count);
        Assert.Contains(
            "3 frames, at most 2",
            Message(() => ImageDecoder.DecodeFrameDirectory(directory.Path, limits with { MaxFrames = 2 })),
            StringComparison.Ordinal
        );
        Assert.Contains(
            "576 pixels in 3 frames, at most 575",
            Message(() => ImageDecoder.DecodeFrameDirectory(directory.Path, limits with { MaxTotalPixels = 575 })),
            StringComparison.Ordinal
        );
    }

    [Fact]
    public void A_directory_without_files_or_that_is_not_there_is_named()
    {
        using FrameDirectory directory = new();
        Assert.StartsWith(
            $"{directory.Path}: the directory has no files",
            Message(() => ImageDecoder.DecodeFrameDirectory(directory.Path)),
            StringComparison.Ordinal
        );
        string absent = Path.Combine(directory.Path, "absent");
        Assert.StartsWith(
            $"{absent}: the directory cannot be listed",
            Message(() => ImageDecoder.DecodeFrameDirectory(absent)),
            StringComparison.Ordinal
        );
    }

    [Fact]
    public void Names_are_ordered_by_their_numbers()
    {
        string[] expected =
        [
            "01.png",
            "1.png",
            "2.png",
            "10.png",
            "a1b2",
            "a1b10",
            "a2b1",
            "a99999999999999999999",
            "b",
        ];
        for (int seed = 0; seed < 20; seed++)
        {
            string[] shuffled = [.. expected];
            new Random(seed).Shuffle(shuffled);
            Assert.Equal(expected, shuffled.Order(NaturalOrder.Instance));
        }
    }

    static string Message(Action action) => Assert.Throws<MediaException>(action).Message;

    static (int Width, int Height, int Frames) Size(ImageInfo info) => (info.Width, info.Height, info.Frames);

    static string Letters(RgbImage image) =>
        string.Join(
            '/',
            image
                .Pixels.ToArray()
                .Chunk(3)
                .Select(p =>
                    (p[0], p[1], p[2]) switch
                    {
                        (255, 0, 0) => 'r',
                        (0, 255, 0) => 'g',
                        (0, 0, 255) => 'b',
                        (255, 255, 255) => 'w',
                        _ => '?',
                    }
                )
                .Chunk(image.Width)
                .Select(row => new string(row))
        );

    /// <summary>An animated WebP of 1 x 1 pixels.</summary>
    static byte[] WebPOfPixels(int count)
    {
        byte[] still = TestPictures.Encode(new RgbImage(1, 1, [9, 99, 199]), "WebP");
        int at = still.AsSpan().IndexOf("VP8L"u8);
        int length = BitConverter.ToInt32(still, at + 4);
        still = still[at..(at + 8 + length + (length & 1))];
        byte[] frame = Chunk("ANMF", [.. new byte[12], 50, 0, 0, 0, .. still]);
        byte[] body =
        [
            .. "WEBP"u8,
            .. Chunk("VP8X", [2, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
            .. Chunk("ANIM", [0, 0, 0, 0, 0, 0]),
            .. Enumerable.Repeat(frame, count).SelectMany(f => f),
        ];
        return Chunk("RIFF", body);

        static byte[] Chunk(string type, byte[] data) =>
            [.. Encoding.ASCII.GetBytes(type), .. BitConverter.GetBytes(data.Length), .. data];
    }

    /// <summary>A frame of one colour, with index 3 transparent.</summary>
    static byte[] Frame(byte left, byte top, byte width, byte height, int disposal, byte delay, int colour)
    {
        // LZW with 2-bit data: codes of 3 bits, 4 clears, 5 ends; clearing before every pixel keeps them at 3 bits.
        List<int> codes = [];
        for (int i = 0; i < width * height; i++)
        {
            codes.AddRange([4, colour]);
        }

        codes.Add(5);
        byte[] packed = new byte[((3 * codes.Count) + 7) / 8];
        for (int bit = 0; bit < 3 * codes.Count; bit++)
        {
            packed[bit / 8] |= (byte)(((codes[bit / 3] >> (bit % 3)) & 1) << (bit % 8));
        }

        return
        [
            0x21,
            0xF9,
            4,
            (byte)((disposal << 2) | 1),
            delay,
            0,
            3,
            0,
            0x2C,
            left,
            0,
            top,
            0,
            width,
            0,
            height,
            0,
            0,
            2,
            (byte)packed.Length,
            .. packed,
            0,
        ];
    }

    sealed class FrameDirectory : IDisposable
    {
        internal string Path { get; } = Directory.CreateTempSubdirectory("vlm-frames").FullName;

        internal void Write(string name, byte[] bytes) => File.WriteAllBytes(System.IO.Path.Combine(Path, name), bytes);

        public void Dispose() => Directory.Delete(Path, recursive: true);
    }
}
