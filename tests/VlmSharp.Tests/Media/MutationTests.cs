using VlmSharp.Media.Images;
using Xunit;

namespace VlmSharp.Tests.Media;

/// <summary>Damaged files of every format: pixels within the limits or an error in words, never anything else.</summary>
public sealed class MutationTests
{
    static readonly ImageLimits Small = new(
        MaxBytes: 100_000,
        MaxPixels: 40_000,
        MaxFrames: 12,
        MaxTotalPixels: 80_000
    );

    public static TheoryData<string> Seeds() =>
        new([
            .. TestPictures.Formats,
            "progressive JPEG",
            "interlaced PNG",
            "palette PNG",
            "animated GIF",
            "animated WebP",
            "tiled TIFF",
            "TIFF of JPEG",
        ]);

    [Theory, MemberData(nameof(Seeds))]
    public void A_damaged_file_gives_pixels_or_an_error(string seed)
    {
        byte[] valid = Seed(seed);
        Random random = new(seed.Length);
        (int images, int errors) = (0, 0);
        for (int i = 0; i < 150; i++)
        {
            byte[] mutated = Mutate(valid, random);
            bool partial = random.Next(2) is 0;
            try
            {
                IReadOnlyList<RgbImage> frames = random.Next(2) is 0
                    ? [ImageDecoder.Decode(mutated, seed, Small, partial)]
                    : ImageDecoder.DecodeFrames(mutated, seed, Small, partial).Frames;
                Assert.InRange(frames.Count, 1, Small.MaxFrames);
                Assert.All(frames, f => Assert.InRange((long)f.Width * f.Height, 1, Small.MaxPixels));
                Assert.InRange(frames.Sum(f => (long)f.Width * f.Height), 1, Small.MaxTotalPixels);
                images++;
            }
            catch (MediaException e)
            {
                Assert.StartsWith(seed, e.Message, StringComparison.Ordinal);
                errors++;
            }
        }

        // The mutations reach behind the signature, and not all of them are harmless.
        Assert.True(images > 0 && errors > 0, $"{images} pictures, {errors} errors");
    }

    internal static byte[] Seed(string seed)
    {
        RgbImage drawn = TestPictures.Drawn(61, 47);
        RgbImage[] frames = [drawn, TestPictures.Drawn(61, 47, 40), TestPictures.Drawn(61, 47, 90)];
        return seed switch
        {
            "progressive JPEG" => TestPictures.Save(drawn, "jpegsave_buffer", "interlace=true"),
            "interlaced PNG" => TestPictures.Save(drawn, "pngsave_buffer", "interlace=true"),
            "palette PNG" => TestPictures.Save(drawn, "pngsave_buffer", "palette=true"),
            "animated GIF" => TestPictures.SaveFrames(frames, [1, 2, 3], 0, "gifsave_buffer", ""),
            "animated WebP" => TestPictures.SaveFrames(frames, [1, 2, 3], 0, "webpsave_buffer", ""),
            "tiled TIFF" => TestPictures.Save(
                drawn,
                "tiffsave_buffer",
                "tile=true,tile-width=16,tile-height=16,compression=lzw"
            ),
            "TIFF of JPEG" => TestPictures.Save(drawn, "tiffsave_buffer", "compression=jpeg"),
            _ => TestPictures.Encode(drawn, seed),
        };
    }

    internal static byte[] Mutate(byte[] valid, Random random)
    {
        byte[] bytes = [.. valid];
        switch (random.Next(5))
        {
            case 0:
                return bytes[..random.Next(bytes.Length)];
            case 1:
                for (int n = random.Next(1, 9); n > 0; n--)
                {
                    bytes[random.Next(bytes.Length)] ^= (byte)(1 << random.Next(8));
                }

                return bytes;
            case 2:
                // The header, where sizes and offsets are.
                for (int n = random.Next(1, 4); n > 0; n--)
                {
                    bytes[random.Next(4, Math.Min(bytes.Length, 200))] = (byte)random.Next(256);
                }

                return bytes;
            case 3:
                int[] extremes = [0, 1, -1, int.MaxValue, int.MinValue, 0xFFFF, 0x10000, 0x00FFFFFF];
                int at = random.Next(bytes.Length - 4);
                BitConverter.GetBytes(extremes[random.Next(extremes.Length)]).CopyTo(bytes, at);
                return bytes;
            default:
                // A piece is repeated or lost, so that everything behind it stands elsewhere.
                int from = random.Next(bytes.Length);
                int to = random.Next(bytes.Length);
                return [.. bytes[..from], .. bytes[to..]];
        }
    }
}
