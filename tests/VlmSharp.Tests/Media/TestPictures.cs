using System.Buffers.Binary;
using System.IO.Compression;
using System.Text;
using VlmSharp.Media.Images;
using VlmSharp.Media.Images.Vips;

namespace VlmSharp.Tests.Media;

/// <summary>Small files of every format, and of none.</summary>
static class TestPictures
{
    /// <summary>The formats, by the name <see cref="ImageInfo.Format"/> gives them.</summary>
    internal static readonly string[] Formats = ["JPEG", "PNG", "WebP", "GIF", "TIFF", "HEIF", "AVIF"];

    /// <summary>A smooth colour gradient with a dark disc off its centre: no two orientations look alike.</summary>
    internal static RgbImage Drawn(int width, int height, int shift = 0)
    {
        byte[] pixels = new byte[3 * width * height];
        for (int y = 0; y < height; y++)
        {
            for (int x = 0; x < width; x++)
            {
                (double u, double v) = ((x + 0.5) / width, (y + 0.5) / height);
                bool disc = Math.Pow(u - 0.3, 2) + Math.Pow(v - 0.25, 2) < 0.03;
                int at = 3 * ((y * width) + x);
                pixels[at] = (byte)(disc ? 20 : (40 + shift + (200 * u)) % 256);
                pixels[at + 1] = (byte)(disc ? 30 : 230 - (180 * v));
                pixels[at + 2] = (byte)(disc ? 90 : 60 + (100 * u * v));
            }
        }

        return new(width, height, pixels);
    }

    /// <summary>The picture in one of <see cref="Formats"/>.</summary>
    internal static byte[] Encode(RgbImage image, string format) =>
        format switch
        {
            "JPEG" => Save(image, "jpegsave_buffer", "Q=95"),
            "PNG" => Save(image, "pngsave_buffer", ""),
            "WebP" => Save(image, "webpsave_buffer", "lossless=true"),
            "GIF" => Save(image, "gifsave_buffer", "dither=0"),
            "TIFF" => Save(image, "tiffsave_buffer", "compression=deflate"),
            "HEIF" => Save(image, "heifsave_buffer", "compression=hevc,Q=90"),
            "AVIF" => Save(image, "heifsave_buffer", "compression=av1,Q=90"),
            _ => throw new ArgumentOutOfRangeException(nameof(format)),
        };

    internal static byte[] Save(RgbImage image, string saver, string options) =>
        Save(image.Pixels, image.Width, image.Height, 3, saver, options);

    internal static byte[] Save(
        ReadOnlySpan<byte> pixels,
        int width,
        int height,
        int bands,
        string saver,
        string options
    )
    {
        using VipsImage image = VipsImage.FromPixels(pixels, width, height, bands);
        return image.Save(saver, options) ?? throw new InvalidOperationException(VipsLibrary.TakeError());
    }

    /// <summary>Frames of one size as pages of one file.</summary>
    internal static unsafe byte[] SaveFrames(RgbImage[] frames, int[] delays, int loop, string saver, string options)
    {
        byte[] all = [.. frames.SelectMany(f => f.Pixels.ToArray())];
        using VipsImage image = VipsImage.FromPixels(all, frames[0].Width, frames[0].Height * frames.Length, 3);
        nint handle = image.DangerousGetHandle();
        var setInt = (delegate* unmanaged<nint, byte*, int, void>)VipsLibrary.Export("vips_image_set_int");
        var setInts = (delegate* unmanaged<nint, byte*, int*, int, void>)VipsLibrary.Export("vips_image_set_array_int");
        fixed (
            byte* pageHeight = "page-height\0"u8,
                loopName = "loop\0"u8,
                delayName = "delay\0"u8
        )
        {
            fixed (int* values = delays)
            {
                setInt(handle, pageHeight, frames[0].Height);
                setInt(handle, loopName, loop);
                setInts(handle, delayName, values, delays.Length);
            }
        }

        return image.Save(saver, options) ?? throw new InvalidOperationException(VipsLibrary.TakeError());
    }

    /// <summary>A PNG of any kind.</summary>
    /// <param name="width">As IHDR says.</param>
    /// <param name="height">As IHDR says.</param>
    /// <param name="depth">Bits of a sample.</param>
    /// <param name="colourType">0 grey, 2 RGB, 3 palette, 4 grey and alpha, 6 RGB and alpha.</param>
    /// <param name="rows">[height, bytes of a row], unfiltered; may be shorter than the header says.</param>
    /// <param name="chunks">Between IHDR and IDAT.</param>
    internal static byte[] Png(
        int width,
        int height,
        int depth,
        int colourType,
        byte[] rows,
        params (string Type, byte[] Data)[] chunks
    )
    {
        int samples = colourType switch
        {
            2 => 3,
            4 => 2,
            6 => 4,
            _ => 1,
        };
        int rowBytes = (int)(((long)width * samples * depth + 7) / 8);
        using MemoryStream packed = new();
        using (ZLibStream zlib = new(packed, CompressionLevel.Fastest))
        {
            for (int at = 0; at < rows.Length; at += rowBytes)
            {
                zlib.WriteByte(0);
                zlib.Write(rows.AsSpan(at, rowBytes));
            }
        }

        byte[] header = new byte[13];
        BinaryPrimitives.WriteInt32BigEndian(header, width);
        BinaryPrimitives.WriteInt32BigEndian(header.AsSpan(4), height);
        header[8] = (byte)depth;
        header[9] = (byte)colourType;
        using MemoryStream png = new();
        png.Write([0x89, 0x50, 0x4E, 0x47, 0x0D, 0x0A, 0x1A, 0x0A]);
        WriteChunk(png, "IHDR", header);
        foreach ((string type, byte[] data) in chunks)
        {
            WriteChunk(png, type, data);
        }

        WriteChunk(png, "IDAT", packed.ToArray());
        WriteChunk(png, "IEND", []);
        return png.ToArray();
    }

    /// <summary>A JPEG with an EXIF segment that holds nothing but the orientation.</summary>
    internal static byte[] WithOrientation(byte[] jpeg, int orientation)
    {
        byte[] exif =
        [
            .. "Exif\0\0"u8,
            .. "MM\0*"u8,
            .. (ReadOnlySpan<byte>)[0, 0, 0, 8],
            .. (ReadOnlySpan<byte>)[0, 1],
            .. (ReadOnlySpan<byte>)[0x01, 0x12, 0, 3, 0, 0, 0, 1, 0, (byte)orientation, 0, 0],
            .. (ReadOnlySpan<byte>)[0, 0, 0, 0],
        ];
        return [.. jpeg[..2], 0xFF, 0xE1, 0, (byte)(exif.Length + 2), .. exif, .. jpeg[2..]];
    }

    /// <summary>The mean of |a - b| over all samples, in 8-bit levels.</summary>
    internal static double MeanDifference(RgbImage a, RgbImage b)
    {
        long sum = 0;
        for (int i = 0; i < a.Pixels.Length; i++)
        {
            sum += Math.Abs(a.Pixels[i] - b.Pixels[i]);
        }

        return sum / (double)a.Pixels.Length;
    }

    static void WriteChunk(MemoryStream png, string type, byte[] data)
    {
        byte[] body = [.. Encoding.ASCII.GetBytes(type), .. data];
        Span<byte> word = stackalloc byte[4];
        BinaryPrimitives.WriteInt32BigEndian(word, data.Length);
        png.Write(word);
        png.Write(body);
        BinaryPrimitives.WriteUInt32BigEndian(word, Crc32(body));
        png.Write(word);
    }

    static uint Crc32(byte[] data)
    {
        uint crc = uint.MaxValue;
        foreach (byte b in data)
        {
            crc ^= b;
            for (int bit = 0; bit < 8; bit++)
            {
                crc = (crc >> 1) ^ ((crc & 1) * 0xEDB88320);
            }
        }

        return ~crc;
    }
}
