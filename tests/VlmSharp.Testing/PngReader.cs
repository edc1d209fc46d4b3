using System.Buffers.Binary;
using System.IO.Compression;
using System.Text;

namespace VlmSharp.Testing;

/// <summary>Reads the channels of a PNG file as they are stored: 8 bits, not interlaced, no conversion of any kind.</summary>
/// <remarks>For golden pictures, so that tests of resizing do not depend on the decoder under test elsewhere.</remarks>
public sealed record PngReader(int Width, int Height, int Channels, byte[] Pixels)
{
    /// <summary>Reads a file; palettes become RGB.</summary>
    public static PngReader Read(string path)
    {
        ReadOnlySpan<byte> file = File.ReadAllBytes(path);
        (int width, int height, int colorType) = (0, 0, 0);
        byte[] palette = [];
        using var compressed = new MemoryStream();
        for (int at = 8; at < file.Length; )
        {
            int length = BinaryPrimitives.ReadInt32BigEndian(file[at..]);
            string type = Encoding.ASCII.GetString(file.Slice(at + 4, 4));
            ReadOnlySpan<byte> data = file.Slice(at + 8, length);
            switch (type)
            {
                case "IHDR":
                    width = BinaryPrimitives.ReadInt32BigEndian(data);
                    height = BinaryPrimitives.ReadInt32BigEndian(data[4..]);
                    colorType = data[9];
                    if (data[8] != 8 || data[12] != 0)
                    {
                        throw new NotSupportedException($"{path}: depth {data[8]}, interlacing {data[12]}");
                    }

                    break;
                case "PLTE":
                    palette = data.ToArray();
                    break;
                case "IDAT":
                    compressed.Write(data);
                    break;
            }

            at += 12 + length;
        }

        int channels = colorType switch
        {
            0 or 3 => 1,
            2 => 3,
            4 => 2,
            6 => 4,
            _ => throw new NotSupportedException($"{path}: colour type {colorType}"),
        };
        byte[] pixels = Unfilter(compressed, width * channels, height, channels);
        return colorType == 3
            ? new PngReader(width, height, 3, [.. pixels.SelectMany(i => palette.AsSpan(i * 3, 3).ToArray())])
            : new PngReader(width, height, channels, pixels);
    }

    static byte[] Unfilter(MemoryStream compressed, int stride, int height, int step)
    {
        compressed.Position = 0;
        using var zlib = new ZLibStream(compressed, CompressionMode.Decompress);
        byte[] pixels = new byte[stride * height];
        for (int y = 0; y < height; y++)
        {
            int filter = zlib.ReadByte();
            Span<byte> row = pixels.AsSpan(y * stride, stride);
            zlib.ReadExactly(row);
            for (int x = 0; x < stride; x++)
            {
                int left = x >= step ? row[x - step] : 0;
                int up = y > 0 ? pixels[(y - 1) * stride + x] : 0;
                int corner = x >= step && y > 0 ? pixels[(y - 1) * stride + x - step] : 0;
                row[x] += (byte)(
                    filter switch
                    {
                        0 => 0,
                        1 => left,
                        2 => up,
                        3 => (left + up) / 2,
                        4 => Paeth(left, up, corner),
                        _ => throw new InvalidDataException($"filter {filter}"),
                    }
                );
            }
        }

        return pixels;
    }

    static int Paeth(int left, int up, int corner)
    {
        int estimate = left + up - corner;
        (int a, int b, int c) = (Math.Abs(estimate - left), Math.Abs(estimate - up), Math.Abs(estimate - corner));
        return a <= b && a <= c ? left
            : b <= c ? up
            : corner;
    }
}
