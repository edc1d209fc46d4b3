using System.Text;
using VlmSharp.Media.Images;
using Xunit;

namespace VlmSharp.Tests.Media;

public sealed class ImageDecoderTests
{
    // EXIF with nothing but orientation 6.
    static readonly byte[] QuarterTurn =
    [
        .. "MM\0*"u8,
        .. (ReadOnlySpan<byte>)[0, 0, 0, 8, 0, 1, 0x01, 0x12, 0, 3, 0, 0, 0, 1, 0, 6, 0, 0, 0, 0, 0, 0],
    ];

    public static TheoryData<string> Formats() => new(TestPictures.Formats);

    [Theory, MemberData(nameof(Formats))]
    public void Every_format_is_told_from_its_content_and_decoded(string format)
    {
        RgbImage drawn = TestPictures.Drawn(66, 43);
        byte[] bytes = TestPictures.Encode(drawn, format);

        Assert.Equal(
            new ImageInfo(format, 66, 43, Orientation: 1, Frames: 1, HasAlpha: false),
            ImageDecoder.ReadInfo(bytes, "misleading.bmp")
        );
        RgbImage decoded = ImageDecoder.Decode(bytes, "misleading.bmp");
        Assert.Equal((66, 43), (decoded.Width, decoded.Height));
        if (format is "PNG" or "TIFF" or "WebP")
        {
            Assert.Equal(drawn.Pixels, decoded.Pixels);
        }

        // GIF has 256 colours; the others lose a little. A picture of anything else is 50 levels away.
        Assert.InRange(TestPictures.MeanDifference(drawn, decoded), 0, format is "GIF" ? 8 : 4);
    }

    [Theory, MemberData(nameof(Formats))]
    public void A_picture_of_one_pixel_decodes(string format)
    {
        // HEVC pictures of odd size or below a coding block are padded inside; 4:4:4 chroma keeps the sample.
        RgbImage one = new(1, 1, [200, 60, 30]);
        byte[] bytes =
            format is "HEIF" ? TestPictures.Save(one, "heifsave_buffer", "compression=hevc,subsample-mode=off")
            : format is "AVIF" ? TestPictures.Save(one, "heifsave_buffer", "compression=av1,subsample-mode=off")
            : TestPictures.Encode(one, format);

        RgbImage decoded = ImageDecoder.Decode(bytes, "one");
        Assert.Equal((1, 1), (decoded.Width, decoded.Height));
        Assert.InRange(TestPictures.MeanDifference(one, decoded), 0, 12);
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
    public void A_turned_picture_taller_than_a_strip_stands_upright(int orientation)
    {
        byte[] jpeg = TestPictures.Encode(TestPictures.Drawn(701, 823), "JPEG");
        RgbImage stored = ImageDecoder.Decode(jpeg, "stored");
        byte[] turned = TestPictures.WithOrientation(jpeg, orientation);

        RgbImage upright = ImageDecoder.Decode(turned, "turned");
        ImageInfo info = ImageDecoder.ReadInfo(turned, "turned");
        Assert.Equal((info.Width, info.Height, orientation), (upright.Width, upright.Height, info.Orientation));

        // EXIF names the sides of the upright picture on which the first stored row and the first stored column lie.
        (int w, int h) = (stored.Width, stored.Height);
        byte[] expected = new byte[3 * w * h];
        for (int y = 0; y < h; y++)
        {
            for (int x = 0; x < w; x++)
            {
                (int u, int v) = orientation switch
                {
                    1 => (x, y),
                    2 => (w - 1 - x, y),
                    3 => (w - 1 - x, h - 1 - y),
                    4 => (x, h - 1 - y),
                    5 => (y, x),
                    6 => (h - 1 - y, x),
                    7 => (h - 1 - y, w - 1 - x),
                    _ => (y, w - 1 - x),
                };
                stored.Pixels.Slice(3 * ((y * w) + x), 3).CopyTo(expected.AsSpan(3 * ((v * upright.Width) + u)));
            }
        }

        Assert.True(upright.Pixels.SequenceEqual(expected));
    }

    [Fact]
    public void An_orientation_that_does_not_exist_turns_nothing()
    {
        byte[] jpeg = TestPictures.Encode(TestPictures.Drawn(20, 12), "JPEG");
        Assert.Equal(
            ImageDecoder.Decode(jpeg, "plain").Pixels,
            ImageDecoder.Decode(TestPictures.WithOrientation(jpeg, 9), "nonsense").Pixels
        );
    }

    [Theory]
    [InlineData(0, 1)]
    [InlineData(2, 3)]
    [InlineData(4, 2)]
    [InlineData(6, 4)]
    public void Sixteen_bit_samples_keep_their_high_byte(int colourType, int samples)
    {
        // The low bytes would round up if they counted; alpha is opaque.
        byte[] rows = new byte[5 * 3 * samples * 2];
        byte[] expected = new byte[5 * 3 * 3];
        for (int pixel = 0; pixel < 15; pixel++)
        {
            for (int s = 0; s < samples; s++)
            {
                byte high = samples is 2 or 4 && s == samples - 1 ? (byte)255 : (byte)((pixel * 17) + s);
                rows[2 * ((pixel * samples) + s)] = high;
                rows[(2 * ((pixel * samples) + s)) + 1] = 0xFF;
            }

            for (int c = 0; c < 3; c++)
            {
                expected[(3 * pixel) + c] = (byte)((pixel * 17) + (samples >= 3 ? c : 0));
            }
        }

        Assert.Equal(expected, ImageDecoder.Decode(TestPictures.Png(5, 3, 16, colourType, rows), "deep.png").Pixels);
    }

    [Theory]
    [InlineData(1, new byte[] { 0b0110_0000 }, new byte[] { 0, 255, 255, 0 })]
    [InlineData(2, new byte[] { 0b0001_1011 }, new byte[] { 0, 85, 170, 255 })]
    [InlineData(4, new byte[] { 0x05, 0xAF }, new byte[] { 0, 85, 170, 255 })]
    public void Grey_of_few_bits_spans_black_to_white(int depth, byte[] row, byte[] expected)
    {
        byte[] rgb = [.. expected.SelectMany(v => new[] { v, v, v })];
        Assert.Equal(rgb, ImageDecoder.Decode(TestPictures.Png(4, 1, depth, 0, row), "few.png").Pixels);
    }

    [Fact]
    public void Every_value_under_every_alpha_is_rounded_to_nearest_over_white()
    {
        byte[] samples = new byte[256 * 256 * 4];
        for (int i = 0; i < 256 * 256; i++)
        {
            (samples[4 * i], samples[(4 * i) + 1], samples[(4 * i) + 2]) = ((byte)i, (byte)(255 - i), 7);
            samples[(4 * i) + 3] = (byte)(i >> 8);
        }

        RgbImage image = ImageDecoder.Decode(TestPictures.Png(256, 256, 8, 6, samples), "alpha.png");
        for (int i = 0; i < 256 * 256; i++)
        {
            double alpha = (i >> 8) / 255.0;
            double expected = ((i & 255) * alpha) + (255 * (1 - alpha));
            Assert.Equal((int)Math.Round(expected), image.Pixels[3 * i]);
        }
    }

    [Fact]
    public void A_colour_of_a_PNG_that_is_declared_transparent_is_white()
    {
        byte[] rows = [10, 20, 30, 40, 50, 60];
        byte[] png = TestPictures.Png(2, 1, 8, 2, rows, ("tRNS", [0, 10, 0, 20, 0, 30]));

        RgbImage image = ImageDecoder.Decode(png, "key.png");
        Assert.Equal([255, 255, 255, 40, 50, 60], image.Pixels.ToArray());
        Assert.Equal(rows, image.WithoutAlpha.ToArray());
        Assert.True(ImageDecoder.ReadInfo(png, "key.png").HasAlpha);
    }

    [Theory]
    [InlineData(6, new byte[] { 10, 20, 30, 0, 40, 50, 60, 128 }, new byte[] { 10, 20, 30, 40, 50, 60 })]
    [InlineData(4, new byte[] { 10, 0, 40, 128 }, new byte[] { 10, 10, 10, 40, 40, 40 })]
    [InlineData(2, new byte[] { 10, 20, 30, 40, 50, 60 }, new byte[] { 10, 20, 30, 40, 50, 60 })]
    public void Colours_are_kept_for_models_that_drop_alpha(int colourType, byte[] rows, byte[] colours)
    {
        RgbImage image = ImageDecoder.Decode(TestPictures.Png(2, 1, 8, colourType, rows), "alpha.png");
        Assert.Equal(colours, image.WithoutAlpha.ToArray());
        Assert.Equal(colourType == 2, image.Pixels.SequenceEqual(image.WithoutAlpha));
    }

    [Fact]
    public void Dropping_alpha_follows_the_orientation()
    {
        byte[] rows = [10, 20, 30, 0, 40, 50, 60, 128];
        RgbImage image = ImageDecoder.Decode(TestPictures.Png(2, 1, 8, 6, rows, ("eXIf", QuarterTurn)), "alpha.png");
        Assert.Equal((1, 2), (image.Width, image.Height));
        Assert.Equal([10, 20, 30, 40, 50, 60], image.WithoutAlpha.ToArray());
    }

    [Fact]
    public void The_orientation_of_a_PNG_counts_too()
    {
        byte[] png = TestPictures.Png(2, 1, 8, 0, [10, 200], ("eXIf", QuarterTurn));

        RgbImage image = ImageDecoder.Decode(png, "turned.png");
        Assert.Equal((1, 2), (image.Width, image.Height));
        Assert.Equal([10, 10, 10, 200, 200, 200], image.Pixels.ToArray());
    }

    [Theory]
    [InlineData("<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>", "3C73766720786D6C")]
    [InlineData("%PDF-1.4\n", "255044462D312E34")]
    [InlineData("P6 1 1 255 abc", "5036203120312032")]
    [InlineData("x", "78")]
    public void Anything_else_is_refused_with_its_first_bytes(string content, string hex)
    {
        MediaException e = Assert.Throws<MediaException>(() =>
            ImageDecoder.Decode(Encoding.ASCII.GetBytes(content), "photo.jpg")
        );
        Assert.Equal(
            $"photo.jpg: not a picture in a format that is read (JPEG, PNG, WebP, GIF, TIFF, HEIF, AVIF); it begins with {hex}",
            e.Message
        );
    }

    [Fact]
    public void An_empty_file_is_said_to_be_empty() =>
        Assert.Equal(
            "photo.jpg: the file is empty",
            Assert.Throws<MediaException>(() => ImageDecoder.Decode([], "photo.jpg")).Message
        );

    [Fact]
    public void A_header_that_claims_too_many_pixels_is_refused_with_both_numbers()
    {
        byte[] png = TestPictures.Png(60000, 60000, 8, 2, []);
        Assert.Equal(
            "photo.jpg: 60000 x 60000 pixels, at most 268435456 in all are accepted (ImageLimits.MaxPixels)",
            Assert.Throws<MediaException>(() => ImageDecoder.Decode(png, "photo.jpg")).Message
        );
        Assert.Throws<MediaException>(() => ImageDecoder.DecodeFrames(png, "photo.jpg"));
    }

    [Theory, MemberData(nameof(Formats))]
    public void The_pixel_limit_holds_for_every_format_and_is_inclusive(string format)
    {
        byte[] bytes = TestPictures.Encode(TestPictures.Drawn(32, 24), format);
        ImageLimits exact = ImageLimits.Default with { MaxPixels = 32 * 24 };
        ImageLimits below = exact with { MaxPixels = (32 * 24) - 1 };

        Assert.Equal(32, ImageDecoder.Decode(bytes, "p", exact).Width);
        Assert.Equal(
            "p: 32 x 24 pixels, at most 767 in all are accepted (ImageLimits.MaxPixels)",
            Assert.Throws<MediaException>(() => ImageDecoder.Decode(bytes, "p", below)).Message
        );
        Assert.Throws<MediaException>(() => ImageDecoder.DecodeFrames(bytes, "p", below, acceptTruncated: true));
    }

    [Fact]
    public void Limits_no_array_can_hold_are_not_believed()
    {
        byte[] png = TestPictures.Png(60000, 60000, 8, 2, []);
        ImageLimits endless = new(long.MaxValue, long.MaxValue, int.MaxValue, long.MaxValue);
        Assert.Contains(
            "60000 x 60000 pixels, at most",
            Assert.Throws<MediaException>(() => ImageDecoder.Decode(png, "p", endless)).Message,
            StringComparison.Ordinal
        );
    }

    [Fact]
    public void A_file_of_too_many_bytes_is_refused_with_both_numbers()
    {
        byte[] png = TestPictures.Encode(TestPictures.Drawn(32, 24), "PNG");
        ImageLimits limits = ImageLimits.Default with { MaxBytes = 100 };
        string expected = $"{png.Length} bytes, at most 100 are accepted (ImageLimits.MaxBytes)";

        Assert.Equal(
            $"p: {expected}",
            Assert.Throws<MediaException>(() => ImageDecoder.Decode(png, "p", limits)).Message
        );
        string path = Path.GetTempFileName();
        try
        {
            File.WriteAllBytes(path, png);
            Assert.Equal(
                $"{path}: {expected}",
                Assert.Throws<MediaException>(() => ImageDecoder.DecodeFile(path, limits)).Message
            );
        }
        finally
        {
            File.Delete(path);
        }
    }

    [Fact]
    public void A_file_that_is_not_there_is_named()
    {
        string path = Path.Combine(Path.GetTempPath(), "no-such-picture.png");
        MediaException e = Assert.Throws<MediaException>(() => ImageDecoder.DecodeFile(path));
        Assert.StartsWith($"{path}: the file cannot be read:", e.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_JPEG_of_endless_scans_is_refused()
    {
        byte[] jpeg = TestPictures.Save(TestPictures.Drawn(64, 64), "jpegsave_buffer", "interlace=true");
        Assert.Equal(64, ImageDecoder.Decode(jpeg, "p").Width);

        // The last scan refines; repeated, it costs time and changes nothing a viewer could see.
        int last = jpeg.AsSpan().LastIndexOf<byte>([0xFF, 0xDA]);
        byte[] scan = jpeg[last..^2];
        byte[] bomb = [.. jpeg[..^2], .. Enumerable.Repeat(scan, 200).SelectMany(s => s), 0xFF, 0xD9];
        MediaException e = Assert.Throws<MediaException>(() => ImageDecoder.Decode(bomb, "p"));
        Assert.Contains("progressive scans, at most 100 are accepted", e.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Floating_point_samples_are_refused_in_words()
    {
        byte[] half = BitConverter.GetBytes(0.5f);
        byte[] tiff = Tiff(half, width: 1, samples: 1, photometric: 1, bits: 32, sampleFormat: 3);
        MediaException e = Assert.Throws<MediaException>(() => ImageDecoder.Decode(tiff, "scan.tif"));
        Assert.Contains("1 Float samples", e.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_TIFF_of_CMYK_follows_the_same_rule_as_a_JPEG()
    {
        // Ink 255 is full; black 255 leaves nothing.
        byte[] tiff = Tiff([255, 0, 0, 0, 0, 0, 0, 255, 100, 50, 25, 12], width: 3, samples: 4, photometric: 5);
        // 243 - round(100 * 243 / 255) = 243 - 95; 243 - round(47.6); 243 - round(23.8)
        Assert.Equal([0, 255, 255, 0, 0, 0, 148, 195, 219], ImageDecoder.Decode(tiff, "print.tif").Pixels.ToArray());
    }

    [Fact]
    public void Encoders_write_what_decoders_read()
    {
        RgbImage drawn = TestPictures.Drawn(97, 61);
        Assert.Equal(drawn.Pixels, ImageDecoder.Decode(ImageEncoder.Png(drawn), "p").Pixels);
        Assert.InRange(
            TestPictures.MeanDifference(drawn, ImageDecoder.Decode(ImageEncoder.Jpeg(drawn, 95), "p")),
            0,
            3
        );
    }

    [Fact]
    public void An_array_of_the_wrong_size_is_no_picture() =>
        Assert.Throws<ArgumentException>(() => new RgbImage(2, 2, new byte[11]));

    [Fact]
    public void Many_threads_decode_at_once()
    {
        (byte[] Bytes, byte[] Pixels)[] files =
        [
            .. TestPictures.Formats.Select(
                (format, i) =>
                {
                    byte[] bytes = TestPictures.Encode(TestPictures.Drawn(60 + i, 50, 10 * i), format);
                    return (bytes, ImageDecoder.Decode(bytes, format).Pixels.ToArray());
                }
            ),
        ];

        Parallel.For(
            0,
            20 * files.Length,
            new ParallelOptions { MaxDegreeOfParallelism = 8 },
            i =>
            {
                (byte[] bytes, byte[] pixels) = files[i % files.Length];
                Assert.True(ImageDecoder.Decode(bytes, "p").Pixels.SequenceEqual(pixels));
                Assert.Throws<MediaException>(() => ImageDecoder.Decode(bytes[..(bytes.Length / 2)], "half"));
            }
        );
    }

    /// <summary>A little-endian TIFF of one uncompressed row.</summary>
    static byte[] Tiff(
        byte[] row,
        int width,
        ushort samples,
        ushort photometric,
        ushort bits = 8,
        ushort sampleFormat = 1
    )
    {
        // Per-sample fields with more than two values would need a place of their own; one value is read for all.
        (ushort Tag, ushort Type, int Value)[] fields =
        [
            (256, 4, width),
            (257, 4, 1),
            (258, 3, bits),
            (259, 3, 1),
            (262, 3, photometric),
            (273, 4, 8),
            (277, 3, samples),
            (278, 4, 1),
            (279, 4, row.Length),
            (284, 3, 1),
            (339, 3, sampleFormat),
        ];
        using MemoryStream stream = new();
        using BinaryWriter writer = new(stream);
        writer.Write("II*\0"u8);
        writer.Write(8 + row.Length + (row.Length & 1));
        writer.Write(row);
        stream.SetLength(8 + row.Length + (row.Length & 1));
        stream.Position = stream.Length;
        writer.Write((ushort)fields.Length);
        foreach ((ushort tag, ushort type, int value) in fields)
        {
            writer.Write(tag);
            writer.Write(type);
            writer.Write(1);
            writer.Write(value);
        }

        writer.Write(0);
        return stream.ToArray();
    }
}
