using System.Security.Cryptography;
using System.Text.Json;
using VlmSharp.Media.Images;
using VlmSharp.Media.Images.Vips;
using VlmSharp.Testing;
using Xunit;

namespace VlmSharp.Tests.Media;

/// <summary>Pixels against those of Pillow and qwen-vl-utils, to the bit.</summary>
public sealed class GoldenPictureTests
{
    // Where this library means to differ: alpha of these is laid over white (the reference drops it unless the mode is RGBA),
    // and 16-bit grey is scaled (the reference clips it). Tests of their own say what comes out.
    static readonly HashSet<string> Different =
    [
        "media/gray-alpha.png",
        "media/palette-transparent.png",
        "media/gray16.png",
    ];

    static readonly HashSet<string> Refused = ["media/rgb.bmp"];

    public static TheoryData<string> Drawn() => new(Names(Goldens.Local("vision/pictures/pictures.json"), "media/"));

    public static TheoryData<string> Real() =>
        Goldens.HasShared("golden/vision/preprocess/cases.json")
            ? new(Names(Goldens.SharedPath("golden/vision/preprocess/cases.json"), "../"))
            : new("../shared is absent");

    [Theory, MemberData(nameof(Drawn))]
    public void A_drawn_picture_has_the_pixels_of_the_reference(string picture) =>
        Check(Goldens.Local("vision/pictures/pictures.json"), picture);

    [Theory, MemberData(nameof(Real))]
    public void A_real_photograph_has_the_pixels_of_the_reference(string picture) =>
        Check(Goldens.Shared("golden/vision/preprocess/cases.json"), picture);

    [Theory]
    [InlineData("gray-alpha.png", 2)]
    [InlineData("palette-transparent.png", 4)]
    public void Alpha_of_any_picture_is_laid_over_white(string picture, int samples)
    {
        string file = Goldens.Local($"vision/pictures/media/{picture}");
        byte[] bytes = File.ReadAllBytes(file);
        // The reference decoded the colours and dropped the alpha.
        RgbImage colours = ImageDecoder.DecodeFile(Goldens.Local($"vision/pictures/decoded/{picture}.png"));
        using VipsImage stored = VipsImage.Open("pngload_buffer", bytes, "")!;
        Assert.Equal(samples, stored.Bands);
        using VipsRows rows = new(stored);
        Assert.True(rows.TryRead(0, stored.Height, out ReadOnlySpan<byte> pixels));

        byte[] expected = new byte[colours.Pixels.Length];
        for (int i = 0; i < expected.Length; i++)
        {
            double alpha = pixels[(i / 3 * samples) + samples - 1] / 255.0;
            expected[i] = (byte)Math.Round((colours.Pixels[i] * alpha) + (255 * (1 - alpha)));
        }

        Assert.Contains(expected, v => v is not 255);
        Assert.Equal(expected, ImageDecoder.Decode(bytes, picture).Pixels);
    }

    [Fact]
    public void Sixteen_bit_grey_is_scaled_where_the_reference_clips()
    {
        RgbImage image = ImageDecoder.DecodeFile(Goldens.Local("vision/pictures/media/gray16.png"));
        RgbImage clipped = ImageDecoder.DecodeFile(Goldens.Local("vision/pictures/decoded/gray16.png.png"));

        // Clipping at 255 leaves nearly everything white; where it does not, the high byte is 0.
        Assert.True(Distinct(image) > 16);
        for (int i = 0; i < image.Pixels.Length; i++)
        {
            Assert.True(clipped.Pixels[i] is 255 || image.Pixels[i] is 0);
        }
    }

    [Fact]
    public void The_first_frame_of_an_animation_is_the_picture()
    {
        byte[] bytes = File.ReadAllBytes(Goldens.Local("vision/pictures/media/animated.gif"));
        RgbImage expected = ImageDecoder.DecodeFile(Goldens.Local("vision/pictures/decoded/animated.gif.png"));

        Assert.Equal(expected.Pixels, ImageDecoder.Decode(bytes, "animated.gif").Pixels);
        Assert.Equal(expected.Pixels, ImageDecoder.DecodeFrames(bytes, "animated.gif").Frames[0].Pixels);
        Assert.Equal(3, ImageDecoder.ReadInfo(bytes, "animated.gif").Frames);
    }

    static int Distinct(RgbImage image) => image.Pixels.ToArray().Distinct().Count();

    static IEnumerable<string> Names(string cases, string prefix)
    {
        using JsonDocument document = JsonDocument.Parse(File.ReadAllBytes(cases));
        return
        [
            .. document
                .RootElement.GetProperty("pictures")
                .EnumerateObject()
                .Select(p => p.Name)
                .Where(name => name.StartsWith(prefix, StringComparison.Ordinal)),
        ];
    }

    static void Check(string cases, string picture)
    {
        using JsonDocument document = JsonDocument.Parse(File.ReadAllBytes(cases));
        JsonElement expected = document.RootElement.GetProperty("pictures").GetProperty(picture);
        byte[] bytes = File.ReadAllBytes(Path.Combine(Path.GetDirectoryName(cases)!, picture));
        if (Refused.Contains(picture))
        {
            MediaException e = Assert.Throws<MediaException>(() => ImageDecoder.Decode(bytes, picture));
            Assert.Contains("not a picture in a format that is read", e.Message, StringComparison.Ordinal);
            return;
        }

        int width = expected.GetProperty("width").GetInt32();
        int height = expected.GetProperty("height").GetInt32();
        int orientation = expected.GetProperty("exif_orientation") is { ValueKind: JsonValueKind.Number } o
            ? o.GetInt32()
            : 1;
        string mode = expected.GetProperty("mode").GetString()!;

        ImageInfo info = ImageDecoder.ReadInfo(bytes, picture);
        Assert.Equal(orientation >= 5 ? (height, width) : (width, height), (info.Width, info.Height));
        Assert.Equal(orientation, info.Orientation);
        Assert.Equal(expected.GetProperty("frames").GetInt32(), info.Frames);

        RgbImage image = ImageDecoder.Decode(bytes, picture);
        Assert.Equal((info.Width, info.Height), (image.Width, image.Height));
        if (!Different.Contains(picture))
        {
            // load_image turns a picture upright and drops alpha; to_rgb lays alpha over white and turns nothing.
            string rule = mode is "RGBA" ? "qwen_vl_utils.to_rgb" : "load_image";
            Assert.Equal(
                expected.GetProperty("rgb_sha256").GetProperty(rule).GetString(),
                Convert.ToHexStringLower(SHA256.HashData(image.Pixels))
            );
        }
    }
}
