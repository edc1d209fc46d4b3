using VlmSharp.Media.Images;
using Xunit;

namespace VlmSharp.Tests.Media;

public sealed class TruncationTests
{
    public static TheoryData<string> Formats() => new(TestPictures.Formats);

    [Theory, MemberData(nameof(Formats))]
    public void A_file_that_is_cut_off_is_an_error(string format)
    {
        byte[] whole = TestPictures.Encode(TestPictures.Drawn(320, 240), format);
        for (int tenth = 1; tenth < 10; tenth++)
        {
            MediaException e = Assert.Throws<MediaException>(() =>
                ImageDecoder.Decode(whole[..(whole.Length * tenth / 10)], "photo")
            );
            Assert.StartsWith($"photo: this {format} ", e.Message, StringComparison.Ordinal);
        }
    }

    [Theory]
    [InlineData("PNG", "at byte 41 needs")]
    [InlineData("WebP", "its header says")]
    [InlineData("JPEG", "bytes end before the JPEG's end marker")]
    [InlineData("HEIF", "the box at byte")]
    [InlineData("AVIF", "the box at byte")]
    public void The_error_says_what_was_expected(string format, string expected)
    {
        byte[] whole = TestPictures.Encode(TestPictures.Drawn(320, 240), format);
        int length = whole.Length * 2 / 3;
        MediaException e = Assert.Throws<MediaException>(() => ImageDecoder.Decode(whole[..length], "photo"));
        Assert.Contains("the file is cut off, ", e.Message, StringComparison.Ordinal);
        Assert.Contains(format is "PNG" ? "the chunk at byte" : expected, e.Message, StringComparison.Ordinal);
        Assert.Contains($"{length}", e.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("JPEG")]
    [InlineData("PNG")]
    [InlineData("TIFF")]
    [InlineData("GIF")]
    public void What_is_there_can_be_accepted(string format)
    {
        RgbImage drawn = TestPictures.Drawn(320, 240);
        // A TIFF's directory may stand at its end; this one's pixels do, in strips.
        byte[] file = format is "TIFF" ? RewriteFirst(drawn) : TestPictures.Encode(drawn, format);
        RgbImage whole = ImageDecoder.Decode(file, "whole");
        byte[] cut = file[..(file.Length * 6 / 10)];

        Assert.Throws<MediaException>(() => ImageDecoder.Decode(cut, "cut"));
        RgbImage part = ImageDecoder.Decode(cut, "cut", acceptTruncated: true);
        Assert.Equal((320, 240), (part.Width, part.Height));
        Assert.True(part.Pixels[..(3 * 320 * 60)].SequenceEqual(whole.Pixels[..(3 * 320 * 60)]));
        Assert.False(part.Pixels.SequenceEqual(whole.Pixels));
        if (format is "PNG" or "TIFF")
        {
            Assert.True(part.Pixels[(3 * 320 * 200)..].IndexOfAnyExcept((byte)255) < 0, "missing rows are white");
        }
    }

    [Fact]
    public void Accepting_parts_changes_nothing_about_a_whole_file()
    {
        byte[] file = TestPictures.Encode(TestPictures.Drawn(320, 240), "JPEG");
        Assert.Equal(
            ImageDecoder.Decode(file, "p").Pixels,
            ImageDecoder.Decode(file, "p", acceptTruncated: true).Pixels
        );
    }

    [Fact]
    public void A_file_without_any_rows_is_an_error_even_when_parts_are_accepted()
    {
        byte[] png = TestPictures.Encode(TestPictures.Drawn(320, 240), "PNG");
        Assert.Throws<MediaException>(() => ImageDecoder.Decode(png[..60], "p", acceptTruncated: true));
    }

    [Fact]
    public void Frames_that_are_there_can_be_accepted()
    {
        RgbImage[] frames = [.. Enumerable.Range(0, 6).Select(i => TestPictures.Drawn(120, 90, 20 * i))];
        byte[] gif = TestPictures.SaveFrames(frames, [20, 20, 20, 20, 20, 20], 0, "gifsave_buffer", "dither=0");
        AnimatedImage whole = ImageDecoder.DecodeFrames(gif, "whole");
        byte[] cut = gif[..(gif.Length / 2)];

        Assert.Throws<MediaException>(() => ImageDecoder.DecodeFrames(cut, "cut"));
        AnimatedImage part = ImageDecoder.DecodeFrames(cut, "cut", acceptTruncated: true);
        Assert.InRange(part.Frames.Count, 2, 5);
        Assert.Equal(part.Frames.Count, part.Delays.Count);
        Assert.Equal(whole.Frames[0].Pixels, part.Frames[0].Pixels);
    }

    /// <summary>A TIFF whose directory comes before its pixels, in strips of 16 rows: libvips writes BigTIFF and pyramids so, not plain files.</summary>
    static byte[] RewriteFirst(RgbImage image)
    {
        (int width, int height, int strip) = (image.Width, image.Height, 16);
        int strips = (height + strip - 1) / strip;
        int directory = 8;
        int tables = directory + 2 + (12 * 10) + 4;
        int pixels = tables + 6 + (8 * strips);
        using MemoryStream stream = new();
        using BinaryWriter writer = new(stream);
        writer.Write("II*\0"u8);
        writer.Write(directory);
        writer.Write((ushort)10);
        foreach (
            (ushort tag, ushort type, int count, int value) in new (ushort, ushort, int, int)[]
            {
                (256, 4, 1, width),
                (257, 4, 1, height),
                (258, 3, 3, tables),
                (259, 3, 1, 1),
                (262, 3, 1, 2),
                (273, 4, strips, tables + 6),
                (277, 3, 1, 3),
                (278, 4, 1, strip),
                (279, 4, strips, tables + 6 + (4 * strips)),
                (284, 3, 1, 1),
            }
        )
        {
            writer.Write(tag);
            writer.Write(type);
            writer.Write(count);
            writer.Write(value);
        }

        writer.Write(0);
        for (int i = 0; i < 3; i++)
        {
            writer.Write((ushort)8);
        }

        for (int i = 0; i < strips; i++)
        {
            writer.Write(pixels + (i * strip * width * 3));
        }

        for (int i = 0; i < strips; i++)
        {
            writer.Write(Math.Min(strip, height - (i * strip)) * width * 3);
        }

        writer.Write(image.Pixels);
        return stream.ToArray();
    }
}
