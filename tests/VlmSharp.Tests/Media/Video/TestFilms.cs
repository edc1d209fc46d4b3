using System.Buffers.Binary;
using VlmSharp.Media.Images;
using VlmSharp.Media.Processes;
using Xunit;

namespace VlmSharp.Tests.Media.Video;

/// <summary>Films in which every frame shows its own number, in blocks that survive coding.</summary>
static class TestFilms
{
    public const int Width = 96;
    public const int Height = 64;
    const int Block = 16;

    static readonly ExternalProgram Ffmpeg = new("ffmpeg", "ffmpeg");

    /// <summary>Makes a film.</summary>
    /// <param name="path">Where; the extension decides the container.</param>
    /// <param name="frames">How many.</param>
    /// <param name="rate">Frames per second, as ffmpeg reads it.</param>
    /// <param name="options">How it is coded.</param>
    public static string Make(string path, int frames, string rate, params string[] options)
    {
        byte[] raw = new byte[frames * 3 * Width * Height];
        for (int i = 0; i < frames; i++)
        {
            Draw(i, raw.AsSpan(i * 3 * Width * Height, 3 * Width * Height));
        }

        string[] arguments =
        [
            .. (string[])["-v", "error", "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", $"{Width}x{Height}", "-r", rate],
            .. (string[])["-i", "pipe:0", .. options, "-y", "file:" + Path.GetFullPath(path)],
        ];
        ChildProcess.Run(Ffmpeg, arguments, path, new(TimeSpan.FromMinutes(2), 1 << 20), raw);
        return path;
    }

    /// <summary>H.264 with B-frames and a key frame at least every second.</summary>
    public static string[] H264 => ["-c:v", "libx264", "-crf", "10", "-g", "25", "-bf", "3", "-pix_fmt", "yuv420p"];

    /// <summary>The number a frame shows; fails where it shows none.</summary>
    public static int Number(RgbImage frame)
    {
        Assert.Equal((Width, Height), (frame.Width, frame.Height));
        int number = 0;
        for (int bit = 0; bit < 16; bit++)
        {
            int at = 3 * (((((bit / 4) * Block) + (Block / 2)) * Width) + ((bit % 4) * Block) + (Block / 2));
            int grey = (frame.Pixels[at] + frame.Pixels[at + 1] + frame.Pixels[at + 2]) / 3;
            Assert.True(grey is < 60 or > 195, $"bit {bit} has a grey of {grey}");
            number |= (grey > 128 ? 1 : 0) << bit;
        }

        // The last bit guards against a frame of one colour.
        Assert.True((number >> 15) == 1, "not a numbered frame");
        return number & 0x7FFF;
    }

    /// <summary>A frame turned clockwise by 0, 90, 180 or 270 degrees.</summary>
    public static RgbImage Turn(RgbImage image, int degrees)
    {
        (int width, int height) = degrees % 180 == 0 ? (image.Width, image.Height) : (image.Height, image.Width);
        byte[] pixels = new byte[3 * width * height];
        for (int y = 0; y < image.Height; y++)
        {
            for (int x = 0; x < image.Width; x++)
            {
                (int tx, int ty) = degrees switch
                {
                    90 => (image.Height - 1 - y, x),
                    180 => (image.Width - 1 - x, image.Height - 1 - y),
                    270 => (y, image.Width - 1 - x),
                    _ => (x, y),
                };
                image.Pixels.Slice(3 * ((y * image.Width) + x), 3).CopyTo(pixels.AsSpan(3 * ((ty * width) + tx)));
            }
        }

        return new(width, height, pixels);
    }

    /// <summary>Writes into an MP4 that players shall turn its frames clockwise.</summary>
    public static void SetRotation(string path, int degrees)
    {
        byte[] bytes = File.ReadAllBytes(path);
        Span<byte> matrix = bytes.AsSpan(bytes.AsSpan().IndexOf("tkhd"u8) + 44, 36);
        (int a, int b) = degrees switch
        {
            90 => (0, 1),
            180 => (-1, 0),
            270 => (0, -1),
            _ => (1, 0),
        };
        int[] values = [a, b, 0, -b, a, 0, 0, 0];
        for (int i = 0; i < values.Length; i++)
        {
            BinaryPrimitives.WriteInt32BigEndian(matrix[(4 * i)..], values[i] << 16);
        }

        File.WriteAllBytes(path, bytes);
    }

    static void Draw(int number, Span<byte> rgb)
    {
        int code = number | 0x8000;
        for (int y = 0; y < Height; y++)
        {
            for (int x = 0; x < Width; x++)
            {
                Span<byte> pixel = rgb.Slice(3 * ((y * Width) + x), 3);
                if (x < 4 * Block)
                {
                    pixel.Fill((byte)(((code >> ((y / Block * 4) + (x / Block))) & 1) == 1 ? 235 : 20));
                }
                else
                {
                    // Something that moves, and tells up from down.
                    pixel[0] = (byte)(4 * y);
                    pixel[1] = (byte)(8 * (x + number));
                    pixel[2] = (byte)(2 * (y + (3 * number)));
                }
            }
        }
    }
}
