namespace VlmSharp.Media.Images;

/// <summary>A picture as models want it: 8-bit red, green, blue, upright, alpha laid over white or dropped.</summary>
public sealed class RgbImage
{
    readonly byte[] pixels;
    readonly byte[]? withoutAlpha;

    /// <summary>Takes over an array of pixels; it is not copied and must not be written to afterwards.</summary>
    /// <param name="width">Pixels in a row, at least 1.</param>
    /// <param name="height">Rows, at least 1.</param>
    /// <param name="pixels">[height, width, 3], row-major.</param>
    /// <exception cref="ArgumentException">The array's length is not 3 * width * height.</exception>
    public RgbImage(int width, int height, byte[] pixels)
    {
        ArgumentNullException.ThrowIfNull(pixels);
        ArgumentOutOfRangeException.ThrowIfLessThan(width, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(height, 1);
        if (pixels.LongLength != 3L * width * height)
        {
            throw new ArgumentException(
                $"{width} x {height} pixels take {3L * width * height} bytes, the array has {pixels.LongLength}",
                nameof(pixels)
            );
        }

        Width = width;
        Height = height;
        this.pixels = pixels;
    }

    /// <summary>A picture that had alpha.</summary>
    /// <param name="width">Pixels in a row, at least 1.</param>
    /// <param name="height">Rows, at least 1.</param>
    /// <param name="pixels">[height, width, 3]: laid over white.</param>
    /// <param name="withoutAlpha">[height, width, 3]: the colours as they are stored.</param>
    /// <exception cref="ArgumentException">An array's length is not 3 * width * height.</exception>
    public RgbImage(int width, int height, byte[] pixels, byte[] withoutAlpha)
        : this(width, height, pixels)
    {
        ArgumentNullException.ThrowIfNull(withoutAlpha);
        if (withoutAlpha.Length != pixels.Length)
        {
            throw new ArgumentException(
                $"{width} x {height} pixels take {pixels.Length} bytes, the array has {withoutAlpha.Length}",
                nameof(withoutAlpha)
            );
        }

        this.withoutAlpha = withoutAlpha;
    }

    /// <summary>Pixels in a row.</summary>
    public int Width { get; }

    /// <summary>Rows.</summary>
    public int Height { get; }

    /// <summary>[height, width, 3], row-major; alpha is laid over white.</summary>
    public ReadOnlySpan<byte> Pixels => pixels;

    /// <summary>The same with alpha dropped, also where it hides a colour: what models see whose reference drops it.</summary>
    public ReadOnlySpan<byte> WithoutAlpha => withoutAlpha ?? pixels;

    /// <summary>The same bytes, for code that keeps them beyond a call.</summary>
    public ReadOnlyMemory<byte> Memory => pixels;
}
