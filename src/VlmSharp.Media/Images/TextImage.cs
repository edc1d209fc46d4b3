using System.Security;
using System.Text;
using VlmSharp.Media.Images.Vips;

namespace VlmSharp.Media.Images;

/// <summary>A line of text as a mask, to be laid over a picture: set by Pango with the machine's fonts, in any script.</summary>
public sealed class TextImage
{
    /// <summary>Longer text is cut here; it then ends with an ellipsis.</summary>
    public const int MaxCharacters = 200;

    readonly byte[] coverage;

    TextImage(int width, int height, byte[] coverage)
    {
        Width = width;
        Height = height;
        this.coverage = coverage;
    }

    /// <summary>Pixels in a row; nothing is left free on the sides.</summary>
    public int Width { get; }

    /// <summary>Rows; nothing is left free above and below.</summary>
    public int Height { get; }

    /// <summary>[height, width]: 0 outside the letters, 255 inside.</summary>
    public ReadOnlySpan<byte> Coverage => coverage;

    /// <summary>Sets a line of text.</summary>
    /// <param name="text">Untrusted: it is no markup, line breaks and control characters are blanks, and it may be cut.</param>
    /// <param name="size">Font size in pixels, 1 to 1000.</param>
    /// <param name="maxWidth">Text that would be wider is cut and ends with an ellipsis.</param>
    /// <param name="face">The font; letters that it lacks are taken from others. <see cref="FontFace.Default"/> where not given.</param>
    /// <returns>Null where there is nothing to see, or not even one character fits.</returns>
    /// <exception cref="MediaException">libvips is not on the machine, or cannot set text.</exception>
    public static TextImage? Render(string text, double size, int maxWidth = int.MaxValue, FontFace? face = null)
    {
        ArgumentNullException.ThrowIfNull(text);
        ArgumentOutOfRangeException.ThrowIfLessThan(size, 1);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(size, 1000);
        List<Rune> line = Clean(text, out bool cut);
        while (line.Count > 0 && maxWidth > 0)
        {
            TextImage? image = RenderLine(
                string.Concat(line) + (cut ? "…" : ""),
                (face ?? FontFace.Default).Describe(size)
            );
            if (image is null || image.Width <= maxWidth)
            {
                return image;
            }

            // Fewer than there are; letters differ in width, so it may take some rounds.
            int fitting = (int)((long)line.Count * maxWidth / image.Width);
            line.RemoveRange(fitting, line.Count - fitting);
            cut = true;
        }

        return null;
    }

    static List<Rune> Clean(string text, out bool cut)
    {
        List<Rune> line = [];
        foreach (Rune rune in text.Trim().EnumerateRunes())
        {
            if (line.Count == MaxCharacters)
            {
                cut = true;
                return line;
            }

            line.Add(Rune.IsControl(rune) || Rune.IsWhiteSpace(rune) ? new Rune(' ') : rune);
        }

        cut = false;
        return line;
    }

    static TextImage? RenderLine(string line, string font)
    {
        using VipsImage? image = VipsImage.Text(SecurityElement.Escape(line), font);
        if (image is null)
        {
            string said = VipsLibrary.TakeError();
            return said.Contains("no text to render", StringComparison.Ordinal)
                ? null
                : throw new MediaException("text", $"cannot be drawn (libvips: {said}); it needs a libvips with Pango");
        }

        using VipsRows rows = new(image);
        return rows.TryRead(0, image.Height, out ReadOnlySpan<byte> samples)
            ? new(image.Width, image.Height, samples.ToArray())
            : throw new MediaException("text", $"cannot be drawn (libvips: {VipsLibrary.TakeError()})");
    }
}
