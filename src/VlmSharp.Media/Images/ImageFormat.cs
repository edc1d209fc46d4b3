using System.Buffers.Binary;

namespace VlmSharp.Media.Images;

/// <summary>One of the formats that are read, told from the first bytes and never from a file's name.</summary>
/// <param name="Name">As people write it.</param>
/// <param name="Loader">libvips' operation for bytes in memory.</param>
/// <param name="CanBePartial">Whether part of the picture can be had when the file is cut off.</param>
internal sealed record ImageFormat(string Name, string Loader, bool CanBePartial)
{
    internal static readonly ImageFormat Jpeg = new("JPEG", "jpegload_buffer", CanBePartial: true);
    internal static readonly ImageFormat Png = new("PNG", "pngload_buffer", CanBePartial: true);
    internal static readonly ImageFormat WebP = new("WebP", "webpload_buffer", CanBePartial: false);
    internal static readonly ImageFormat Gif = new("GIF", "gifload_buffer", CanBePartial: true);
    internal static readonly ImageFormat Tiff = new("TIFF", "tiffload_buffer", CanBePartial: true);
    internal static readonly ImageFormat Heif = new("HEIF", "heifload_buffer", CanBePartial: false);
    internal static readonly ImageFormat Avif = new("AVIF", "heifload_buffer", CanBePartial: false);

    /// <summary>Frames of these share a canvas and have delays; TIFF and HEIF have pages, each a picture of its own.</summary>
    internal bool IsAnimation => this == Gif || this == WebP;

    /// <summary>The format of a file.</summary>
    /// <exception cref="MediaException">None of those that are read.</exception>
    internal static ImageFormat Of(ReadOnlySpan<byte> bytes, string name)
    {
        if (bytes.StartsWith<byte>([0xFF, 0xD8, 0xFF]))
        {
            return Jpeg;
        }

        if (bytes.StartsWith<byte>([0x89, 0x50, 0x4E, 0x47, 0x0D, 0x0A, 0x1A, 0x0A]))
        {
            return Png;
        }

        if (bytes.Length >= 12 && bytes.StartsWith("RIFF"u8) && bytes[8..].StartsWith("WEBP"u8))
        {
            return WebP;
        }

        if (bytes.StartsWith("GIF87a"u8) || bytes.StartsWith("GIF89a"u8))
        {
            return Gif;
        }

        // Little and big endian; + (43) instead of * (42) is BigTIFF.
        if (
            bytes.StartsWith("II*\0"u8)
            || bytes.StartsWith("MM\0*"u8)
            || bytes.StartsWith("II+\0"u8)
            || bytes.StartsWith("MM\0+"u8)
        )
        {
            return Tiff;
        }

        return OfBrand(bytes)
            ?? throw new MediaException(
                name,
                bytes.IsEmpty
                    ? "the file is empty"
                    : $"not a picture in a format that is read (JPEG, PNG, WebP, GIF, TIFF, HEIF, AVIF); it begins with {Convert.ToHexString(bytes[..Math.Min(8, bytes.Length)])}"
            );
    }

    /// <summary>ISO base media files say in a first box, ftyp, which brands a reader must know.</summary>
    static ImageFormat? OfBrand(ReadOnlySpan<byte> bytes)
    {
        if (bytes.Length < 16 || !bytes[4..].StartsWith("ftyp"u8))
        {
            return null;
        }

        long box = BinaryPrimitives.ReadUInt32BigEndian(bytes);
        ReadOnlySpan<byte> brands = bytes[8..(int)Math.Clamp(box, 12, Math.Min(bytes.Length, 256))];
        ImageFormat? format = null;
        for (int i = 0; i + 4 <= brands.Length; i += 4)
        {
            ReadOnlySpan<byte> brand = brands[i..(i + 4)];
            if (brand.SequenceEqual("avif"u8) || brand.SequenceEqual("avis"u8))
            {
                return Avif;
            }

            // mif1 and msf1 are the container; hei? and hev? say that the codec is HEVC.
            if (
                brand.SequenceEqual("mif1"u8)
                || brand.SequenceEqual("msf1"u8)
                || brand.StartsWith("hei"u8)
                || brand.StartsWith("hev"u8)
            )
            {
                format = Heif;
            }
        }

        return format;
    }
}
