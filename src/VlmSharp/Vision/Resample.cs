using VlmSharp.Kernels;
using VlmSharp.Kernels.Imaging;

namespace VlmSharp.Vision;

/// <summary>What the bytes of a pixel are. The value is their number.</summary>
public enum PixelLayout
{
    /// <summary>Grey (Pillow's L).</summary>
    Gray = 1,

    /// <summary>Grey and alpha (LA).</summary>
    GrayAlpha = 2,

    /// <summary>Red, green, blue.</summary>
    Rgb = 3,

    /// <summary>Red, green, blue, alpha.</summary>
    Rgba = 4,
}

/// <summary>A region in pixels, [Left, Right) x [Top, Bottom); fractions are allowed. Single precision, as in Pillow.</summary>
public readonly record struct ResampleBox(float Left, float Top, float Right, float Bottom);

/// <summary>Resizing as Pillow 12 does it, bit for bit.</summary>
/// <remarks>
/// Pictures with alpha are multiplied by it, resized and divided again. Pillow 13 turns the order of the passes round for some
/// sizes; models were trained with, and goldens follow, the older one: horizontal first.
/// </remarks>
public static class Resample
{
    /// <summary>Resizes a picture with an interpolating filter: Pillow's <c>Image.resize</c>.</summary>
    /// <param name="pixels">[height, width, layout]</param>
    /// <param name="width">of the picture</param>
    /// <param name="height">of the picture</param>
    /// <param name="layout">what a pixel is</param>
    /// <param name="targetWidth">the new width</param>
    /// <param name="targetHeight">the new height</param>
    /// <param name="filter">the kernel</param>
    /// <param name="pool">the threads; their number does not change the result</param>
    /// <param name="box">the region to resize; the whole picture if absent</param>
    /// <param name="reducingGap">
    /// when given, the picture is first reduced by whole factors, so far that at least this many times the target size is left;
    /// faster and less exact. Ignored with alpha, as in Pillow
    /// </param>
    /// <returns>[targetHeight, targetWidth, layout]</returns>
    /// <exception cref="ArgumentException">sizes below 1, a box outside the picture, a wrong number of bytes, a gap below 1</exception>
    public static byte[] Resize(
        ReadOnlySpan<byte> pixels,
        int width,
        int height,
        PixelLayout layout,
        int targetWidth,
        int targetHeight,
        ResampleFilter filter,
        WorkerPool pool,
        ResampleBox? box = null,
        double? reducingGap = null
    )
    {
        byte[] target = Target(pixels, width, height, layout, targetWidth, targetHeight);
        var whole = new ResampleBox(0, 0, width, height);
        ResampleBox region = box ?? whole;
        if (region == whole && (targetWidth, targetHeight) == (width, height))
        {
            pixels.CopyTo(target);
            return target;
        }

        if (layout is PixelLayout.GrayAlpha or PixelLayout.Rgba)
        {
            byte[] premultiplied = Premultiply(pixels, (int)layout);
            Passes(premultiplied, width, height, layout, targetWidth, targetHeight, filter, pool, region, target);
            Unpremultiply(target, (int)layout);
            return target;
        }

        if (reducingGap is { } gap)
        {
            if (!(gap >= 1))
            {
                throw new ArgumentOutOfRangeException(nameof(reducingGap), gap, "must be at least 1");
            }

            int factorX = Math.Max((int)((region.Right - (double)region.Left) / targetWidth / gap), 1);
            int factorY = Math.Max((int)((region.Bottom - (double)region.Top) / targetHeight / gap), 1);
            if (factorX > 1 || factorY > 1)
            {
                (int left, int top, int right, int bottom) = Reach(
                    region,
                    width,
                    height,
                    targetWidth,
                    targetHeight,
                    filter
                );
                byte[] reduced = Reduce(pixels, width, height, layout, factorX, factorY, left, top, right, bottom);
                var rest = new ResampleBox(
                    (float)((region.Left - (double)left) / factorX),
                    (float)((region.Top - (double)top) / factorY),
                    (float)((region.Right - (double)left) / factorX),
                    (float)((region.Bottom - (double)top) / factorY)
                );
                (int w, int h) = (Steps(right - left, factorX), Steps(bottom - top, factorY));
                Passes(reduced, w, h, layout, targetWidth, targetHeight, filter, pool, rest, target);
                return target;
            }
        }

        Passes(pixels, width, height, layout, targetWidth, targetHeight, filter, pool, region, target);
        return target;
    }

    /// <summary>Resizes a picture by taking the nearest source pixel; alpha is a channel like the others.</summary>
    /// <returns>[targetHeight, targetWidth, layout]</returns>
    /// <inheritdoc cref="Resize"/>
    public static byte[] Nearest(
        ReadOnlySpan<byte> pixels,
        int width,
        int height,
        PixelLayout layout,
        int targetWidth,
        int targetHeight,
        ResampleBox? box = null
    )
    {
        byte[] target = Target(pixels, width, height, layout, targetWidth, targetHeight);
        ResampleBox region = box ?? new ResampleBox(0, 0, width, height);
        int[] columns = NearestSource(width, region.Left, region.Right, targetWidth);
        int[] rows = NearestSource(height, region.Top, region.Bottom, targetHeight);
        int size = (int)layout;
        int at = 0;
        foreach (int y in rows)
        {
            ReadOnlySpan<byte> row = pixels.Slice(y * width * size, width * size);
            foreach (int x in columns)
            {
                row.Slice(x * size, size).CopyTo(target.AsSpan(at));
                at += size;
            }
        }

        return target;
    }

    /// <summary>Averages blocks of whole pixels: Pillow's <c>Image.reduce</c>. Blocks at the right and bottom may be smaller.</summary>
    /// <param name="pixels">[height, width, layout]</param>
    /// <param name="width">of the picture</param>
    /// <param name="height">of the picture</param>
    /// <param name="layout">what a pixel is</param>
    /// <param name="factorX">width of a block</param>
    /// <param name="factorY">height of a block</param>
    /// <returns>[ceil(height / factorY), ceil(width / factorX), layout]</returns>
    /// <exception cref="ArgumentException">sizes or factors below 1, a wrong number of bytes</exception>
    public static byte[] Reduce(
        ReadOnlySpan<byte> pixels,
        int width,
        int height,
        PixelLayout layout,
        int factorX,
        int factorY
    )
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(factorX, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(factorY, 1);
        Check(pixels, width, height, layout);
        bool alpha = layout is PixelLayout.GrayAlpha or PixelLayout.Rgba;
        if (!alpha || (factorX, factorY) == (1, 1))
        {
            return Reduce(pixels, width, height, layout, factorX, factorY, 0, 0, width, height);
        }

        byte[] premultiplied = Premultiply(pixels, (int)layout);
        byte[] reduced = Reduce(premultiplied, width, height, layout, factorX, factorY, 0, 0, width, height);
        Unpremultiply(reduced, (int)layout);
        return reduced;
    }

    static void Passes(
        ReadOnlySpan<byte> pixels,
        int width,
        int height,
        PixelLayout layout,
        int targetWidth,
        int targetHeight,
        ResampleFilter filter,
        WorkerPool pool,
        ResampleBox box,
        Span<byte> target
    )
    {
        var columns = new ResampleWeights(width, box.Left, box.Right, targetWidth, filter);
        var rows = new ResampleWeights(height, box.Top, box.Bottom, targetHeight, filter);
        Resampling.Resize(pixels, (int)layout, columns, rows, target, pool);
    }

    static byte[] Target(
        ReadOnlySpan<byte> pixels,
        int width,
        int height,
        PixelLayout layout,
        int toWidth,
        int toHeight
    )
    {
        Check(pixels, width, height, layout);
        long bytes = (long)toWidth * toHeight * (int)layout;
        if (toWidth < 1 || toHeight < 1 || bytes > Array.MaxLength)
        {
            throw new ArgumentException($"{toWidth} x {toHeight} pixels is not a size to resize to");
        }

        return new byte[bytes];
    }

    static void Check(ReadOnlySpan<byte> pixels, int width, int height, PixelLayout layout)
    {
        if (layout is < PixelLayout.Gray or > PixelLayout.Rgba)
        {
            throw new ArgumentOutOfRangeException(nameof(layout), layout, "not a pixel layout");
        }

        if (width < 1 || height < 1 || pixels.Length != (long)width * height * (int)layout)
        {
            throw new ArgumentException(
                $"{pixels.Length} bytes are not {width} x {height} pixels of {(int)layout} bytes"
            );
        }
    }

    // The whole pixels around a box that its resampling reads.
    static (int Left, int Top, int Right, int Bottom) Reach(
        ResampleBox box,
        int width,
        int height,
        int targetWidth,
        int targetHeight,
        ResampleFilter filter
    )
    {
        double support = ResampleFilters.Support(filter) - 0.5;
        double x = support * (((double)box.Right - box.Left) / targetWidth);
        double y = support * (((double)box.Bottom - box.Top) / targetHeight);
        return (
            Math.Max(0, (int)(box.Left - x)),
            Math.Max(0, (int)(box.Top - y)),
            Math.Min(width, (int)Math.Ceiling(box.Right + x)),
            Math.Min(height, (int)Math.Ceiling(box.Bottom + y))
        );
    }

    static int Steps(int size, int factor) => (size - 1) / factor + 1;

    static byte[] Reduce(
        ReadOnlySpan<byte> pixels,
        int width,
        int height,
        PixelLayout layout,
        int factorX,
        int factorY,
        int left,
        int top,
        int right,
        int bottom
    )
    {
        int size = (int)layout;
        (int targetWidth, int targetHeight) = (Steps(right - left, factorX), Steps(bottom - top, factorY));
        byte[] target = new byte[targetWidth * targetHeight * size];
        int at = 0;
        for (int y = 0; y < targetHeight; y++)
        {
            int fromY = top + y * factorY;
            int toY = (int)Math.Min((long)fromY + factorY, bottom);
            for (int x = 0; x < targetWidth; x++)
            {
                int fromX = left + x * factorX;
                int toX = (int)Math.Min((long)fromX + factorX, right);
                uint count = (uint)((toY - fromY) * (toX - fromX));
                uint reciprocal = (uint)((1L << 32) / (256.0 * count)); // of the division, in 24 fractional bits
                for (int c = 0; c < size; c++)
                {
                    uint sum = count / 2;
                    for (int j = fromY; j < toY; j++)
                    {
                        for (int i = fromX; i < toX; i++)
                        {
                            sum += pixels[(j * width + i) * size + c];
                        }
                    }

                    target[at++] = (byte)((sum * reciprocal) >> 24);
                }
            }
        }

        return target;
    }

    static int[] NearestSource(int size, float from, float to, int targetSize)
    {
        if (!(from >= 0 && to > from && to <= size))
        {
            throw new ArgumentException($"the region [{from}, {to}) is empty or outside the {size} source pixels");
        }

        // Summed up step by step: the reference accumulates the same rounding errors.
        double step = (double)(to - from) / targetSize;
        double at = from + step * 0.5;
        int[] source = new int[targetSize];
        for (int i = 0; i < targetSize; i++, at += step)
        {
            source[i] = Math.Min((int)at, size - 1);
        }

        return source;
    }

    // Alpha is the last byte of a pixel.
    static byte[] Premultiply(ReadOnlySpan<byte> pixels, int size)
    {
        byte[] target = new byte[pixels.Length];
        for (int i = 0; i < pixels.Length; i += size)
        {
            int alpha = pixels[i + size - 1];
            for (int c = 0; c < size - 1; c++)
            {
                int product = pixels[i + c] * alpha + 128;
                target[i + c] = (byte)((product + (product >> 8)) >> 8);
            }

            target[i + size - 1] = (byte)alpha;
        }

        return target;
    }

    static void Unpremultiply(Span<byte> pixels, int size)
    {
        for (int i = 0; i < pixels.Length; i += size)
        {
            int alpha = pixels[i + size - 1];
            if (alpha is 0 or 255)
            {
                continue;
            }

            for (int c = 0; c < size - 1; c++)
            {
                pixels[i + c] = (byte)Math.Min(255 * pixels[i + c] / alpha, 255);
            }
        }
    }
}
