namespace VlmSharp.Media.Images;

/// <summary>Where the pixels of a stored picture go so that it stands upright.</summary>
/// <remarks>EXIF 2.32, tag 0x0112: 2 to 8 mirror and turn; 5 to 8 exchange width and height.</remarks>
/// <param name="Value">1 to 8.</param>
/// <param name="StoredWidth">Pixels in a stored row.</param>
/// <param name="StoredHeight">Stored rows.</param>
internal readonly record struct Orientation(int Value, int StoredWidth, int StoredHeight)
{
    internal int Width => Value >= 5 ? StoredHeight : StoredWidth;

    internal int Height => Value >= 5 ? StoredWidth : StoredHeight;

    /// <summary>Whether stored pixels are already in their places.</summary>
    internal bool IsUpright => Value is 1;

    /// <summary>Where the pixels of an upright rectangle are stored.</summary>
    /// <param name="x">Of the upright picture.</param>
    /// <param name="y">Of the upright picture.</param>
    /// <param name="width">Of the upright rectangle.</param>
    /// <param name="height">Of the upright rectangle.</param>
    internal (int X, int Y, int Width, int Height) Stored(int x, int y, int width, int height)
    {
        (int right, int below) = (Width - x - width, Height - y - height);
        return Value switch
        {
            2 => (right, y, width, height),
            3 => (right, below, width, height),
            4 => (x, below, width, height),
            5 => (y, x, height, width),
            6 => (y, right, height, width),
            7 => (below, right, height, width),
            8 => (below, x, height, width),
            _ => (x, y, width, height),
        };
    }

    /// <summary>Puts some stored rows in their places.</summary>
    /// <param name="rows">[count, StoredWidth, 3].</param>
    /// <param name="top">The first stored row.</param>
    /// <param name="upright">[Height, Width, 3].</param>
    internal void Place(ReadOnlySpan<byte> rows, int top, Span<byte> upright)
    {
        (int w, int h) = (StoredWidth, StoredHeight);
        // Stored (x, y) goes to pixel origin + x * stepX + y * stepY.
        (long origin, long stepX, long stepY) = Value switch
        {
            2 => (w - 1L, -1L, (long)w),
            3 => ((long)w * h - 1, -1, -w),
            4 => ((long)w * (h - 1), 1, -w),
            5 => (0, h, 1),
            6 => (h - 1L, h, -1),
            7 => ((long)w * h - 1, -h, -1),
            8 => ((long)h * (w - 1), -h, 1),
            _ => (0, 1, w),
        };
        int count = rows.Length / (3 * w);
        if (stepX is 1)
        {
            for (int y = 0; y < count; y++)
            {
                rows.Slice(3 * w * y, 3 * w).CopyTo(upright[(int)(3 * (origin + ((top + y) * stepY)))..]);
            }

            return;
        }

        // The loop over the shorter steps in the upright picture is the inner one, for the sake of the cache.
        if (Value >= 5)
        {
            for (int x = 0; x < w; x++)
            {
                int to = (int)(3 * (origin + (x * stepX) + (top * stepY)));
                for (int y = 0, from = 3 * x; y < count; y++, from += 3 * w, to += 3 * (int)stepY)
                {
                    Copy(rows, from, upright, to);
                }
            }
        }
        else
        {
            for (int y = 0; y < count; y++)
            {
                int to = (int)(3 * (origin + ((top + y) * stepY)));
                for (int x = 0, from = 3 * w * y; x < w; x++, from += 3, to -= 3)
                {
                    Copy(rows, from, upright, to);
                }
            }
        }
    }

    static void Copy(ReadOnlySpan<byte> source, int from, Span<byte> target, int to)
    {
        target[to + 2] = source[from + 2];
        target[to + 1] = source[from + 1];
        target[to] = source[from];
    }
}
