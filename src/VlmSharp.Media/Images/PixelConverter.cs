using System.Runtime.InteropServices;
using VlmSharp.Media.Images.Vips;

namespace VlmSharp.Media.Images;

/// <summary>Stored samples to 8-bit RGB, with Pillow's arithmetic so that pixels agree with the reference to the bit.</summary>
/// <remarks>
/// 16-bit samples keep their high byte, as Pillow does for RGB and RGBA; it clips 16-bit grey at 255 instead, which turns nearly
/// everything white and is not followed. ICC profiles are not applied: neither does the reference.
/// </remarks>
/// <param name="Colours">1 grey, 3 RGB, 4 CMYK.</param>
/// <param name="Alpha">Whether one more sample follows, unassociated.</param>
/// <param name="Wide">16-bit samples in the machine's byte order.</param>
internal readonly record struct PixelConverter(int Colours, bool Alpha, bool Wide)
{
    /// <summary>Drops alpha, as Pillow's <c>convert("RGB")</c> does, where it is laid over white otherwise.</summary>
    internal bool DropsAlpha { get; init; }

    /// <summary>Bytes of a stored pixel.</summary>
    internal int Stride => (Colours + (Alpha ? 1 : 0)) * (Wide ? 2 : 1);

    /// <summary>For the pixels of an image.</summary>
    /// <exception cref="MediaException">Samples or a colour space for which there is no rule.</exception>
    internal static PixelConverter For(VipsImage image, string name)
    {
        (VipsInterpretation space, VipsFormat format, int bands) = (image.Interpretation, image.Format, image.Bands);
        int colours = space switch
        {
            VipsInterpretation.Grey or VipsInterpretation.Grey16 => 1,
            VipsInterpretation.Rgb or VipsInterpretation.Srgb or VipsInterpretation.Rgb16 => 3,
            VipsInterpretation.Cmyk => 4,
            _ => 0,
        };
        bool alpha = colours is 1 or 3 && bands == colours + 1;
        return
            image.IsPlain
            && colours > 0
            && (alpha || bands == colours)
            && format is VipsFormat.UInt8 or VipsFormat.UInt16
            ? new(colours, alpha, format == VipsFormat.UInt16)
            : throw new MediaException(
                name,
                $"pixels of {bands} {format} samples in colour space {space} are not read; 8 or 16-bit grey, RGB (both with or without alpha) and CMYK are. Convert the picture to RGB first"
            );
    }

    /// <summary>Converts a run of pixels.</summary>
    /// <param name="source">[pixels, Stride] bytes.</param>
    /// <param name="rgb">[pixels, 3].</param>
    internal void Convert(ReadOnlySpan<byte> source, Span<byte> rgb)
    {
        if (Wide)
        {
            ConvertWide(MemoryMarshal.Cast<byte, ushort>(source), rgb);
            return;
        }

        switch (Colours, Alpha)
        {
            case (3, false):
                source.CopyTo(rgb);
                break;
            case (3, true) when DropsAlpha:
                RgbaColours(source, rgb);
                break;
            case (3, true):
                RgbaOverWhite(source, rgb);
                break;
            case (1, false):
                Grey(source, rgb);
                break;
            case (1, true) when DropsAlpha:
                GreyAlphaColours(source, rgb);
                break;
            case (1, true):
                GreyAlphaOverWhite(source, rgb);
                break;
            default:
                Cmyk(source, rgb);
                break;
        }
    }

    void ConvertWide(ReadOnlySpan<ushort> source, Span<byte> rgb)
    {
        const int Pixels = 1024;
        PixelConverter narrow = this with { Wide = false };
        Span<byte> buffer = stackalloc byte[Pixels * narrow.Stride];
        while (source.Length > 0)
        {
            Span<byte> high = buffer[..Math.Min(source.Length, buffer.Length)];
            for (int i = 0; i < high.Length; i++)
            {
                high[i] = (byte)(source[i] >> 8);
            }

            narrow.Convert(high, rgb);
            source = source[high.Length..];
            rgb = rgb[(3 * high.Length / narrow.Stride)..];
        }
    }

    static void Grey(ReadOnlySpan<byte> source, Span<byte> rgb)
    {
        for (int i = 0, o = 0; i < source.Length; i++, o += 3)
        {
            rgb[o] = rgb[o + 1] = rgb[o + 2] = source[i];
        }
    }

    static void GreyAlphaOverWhite(ReadOnlySpan<byte> source, Span<byte> rgb)
    {
        for (int i = 0, o = 0; i < source.Length; i += 2, o += 3)
        {
            rgb[o] = rgb[o + 1] = rgb[o + 2] = OverWhite(source[i], source[i + 1]);
        }
    }

    static void GreyAlphaColours(ReadOnlySpan<byte> source, Span<byte> rgb)
    {
        for (int i = 0, o = 0; i < source.Length; i += 2, o += 3)
        {
            rgb[o] = rgb[o + 1] = rgb[o + 2] = source[i];
        }
    }

    static void RgbaColours(ReadOnlySpan<byte> source, Span<byte> rgb)
    {
        for (int i = 0, o = 0; i < source.Length; i += 4, o += 3)
        {
            source.Slice(i, 3).CopyTo(rgb[o..]);
        }
    }

    static void RgbaOverWhite(ReadOnlySpan<byte> source, Span<byte> rgb)
    {
        for (int i = 0, o = 0; i < source.Length; i += 4, o += 3)
        {
            byte alpha = source[i + 3];
            rgb[o] = OverWhite(source[i], alpha);
            rgb[o + 1] = OverWhite(source[i + 1], alpha);
            rgb[o + 2] = OverWhite(source[i + 2], alpha);
        }
    }

    /// <summary>255 is full ink. r = (1 - c)(1 - k), rounded the way Pillow does: what the ink takes away is rounded, not what is left.</summary>
    static void Cmyk(ReadOnlySpan<byte> source, Span<byte> rgb)
    {
        for (int i = 0, o = 0; i < source.Length; i += 4, o += 3)
        {
            int paper = 255 - source[i + 3];
            rgb[o] = (byte)(paper - DivideBy255(source[i] * paper));
            rgb[o + 1] = (byte)(paper - DivideBy255(source[i + 1] * paper));
            rgb[o + 2] = (byte)(paper - DivideBy255(source[i + 2] * paper));
        }
    }

    /// <summary>Pillow's paste through a mask onto white, which is how qwen-vl-utils loads RGBA.</summary>
    static byte OverWhite(int value, int alpha) => (byte)DivideBy255((value * alpha) + (255 * (255 - alpha)));

    /// <summary>value / 255 rounded to nearest, for 0 to 255 * 255.</summary>
    static int DivideBy255(int value)
    {
        int v = value + 128;
        return ((v >> 8) + v) >> 8;
    }
}
