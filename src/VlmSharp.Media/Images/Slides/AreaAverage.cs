namespace VlmSharp.Media.Images.Slides;

/// <summary>Shrinks a rectangle by averaging: each target pixel is the mean of the area it covers, fractions of pixels included.</summary>
/// <remarks>
/// Source blocks may come in any order and are not kept, so memory is that of the target: four bytes for each of its samples. Where
/// source and target pixels coincide the result is the source, bit for bit. Sums in f32: at most 0.01 levels off for any factor.
/// </remarks>
internal sealed class AreaAverage
{
    readonly Axis columns;
    readonly Axis rows;
    readonly float[] sums; // [height, width, 3]
    float[] line = [];

    /// <summary>Nothing added yet.</summary>
    /// <param name="left">Edge of the rectangle in source pixels; so are the next three.</param>
    /// <param name="top">The upper edge.</param>
    /// <param name="width">At least the target's, but for rounding.</param>
    /// <param name="height">At least the target's, but for rounding.</param>
    /// <param name="targetWidth">Pixels in a row of the result.</param>
    /// <param name="targetHeight">Rows of the result.</param>
    internal AreaAverage(double left, double top, double width, double height, int targetWidth, int targetHeight)
    {
        columns = new(left, width / targetWidth, targetWidth);
        rows = new(top, height / targetHeight, targetHeight);
        sums = new float[3 * targetWidth * targetHeight];
    }

    /// <summary>Adds a block; together blocks must cover the rectangle, as far as there is a source, each pixel once.</summary>
    /// <param name="rgb">[height, width, 3].</param>
    /// <param name="x">Of the block's first pixel.</param>
    /// <param name="y">Of the block's first pixel.</param>
    /// <param name="width">Pixels in a row of the block.</param>
    /// <param name="height">Rows of the block.</param>
    internal void Add(ReadOnlySpan<byte> rgb, int x, int y, int width, int height)
    {
        (int first, int end) = columns.Targets(x, x + width);
        int samples = 3 * (end - first);
        if (line.Length < samples)
        {
            line = new float[samples];
        }

        for (int row = 0; row < height; row++)
        {
            ReadOnlySpan<byte> source = rgb.Slice(3 * row * width, 3 * width);
            for (int target = first; target < end; target++)
            {
                columns.Cover(target, out double from, out double to);
                // Pixels that are covered as a whole, then the parts of those at the edges.
                (int firstWhole, int endWhole) = ((int)Math.Ceiling(from), (int)Math.Floor(to));
                (int red, int green, int blue) = (0, 0, 0);
                int stop = Math.Min(endWhole, x + width);
                for (int column = Math.Max(firstWhole, x); column < stop; column++)
                {
                    int at = 3 * (column - x);
                    red += source[at];
                    green += source[at + 1];
                    blue += source[at + 2];
                }

                (float r, float g, float b) = (red, green, blue);
                AddPart(source, firstWhole - 1 - x, Math.Min(firstWhole, to) - from, ref r, ref g, ref b);
                if (endWhole >= firstWhole)
                {
                    AddPart(source, endWhole - x, to - endWhole, ref r, ref g, ref b);
                }

                int slot = 3 * (target - first);
                line[slot] = r;
                line[slot + 1] = g;
                line[slot + 2] = b;
            }

            (int firstRow, int endRow) = rows.Targets(y + row, y + row + 1);
            for (int target = firstRow; target < endRow; target++)
            {
                rows.Cover(target, out double from, out double to);
                float weight = (float)(Math.Min(to, y + row + 1) - Math.Max(from, y + row));
                Span<float> sum = sums.AsSpan(3 * ((target * columns.Count) + first), samples);
                for (int i = 0; i < samples; i++)
                {
                    sum[i] += weight * line[i];
                }
            }
        }
    }

    static void AddPart(ReadOnlySpan<byte> row, int column, double weight, ref float r, ref float g, ref float b)
    {
        int at = 3 * column;
        if (weight > 0 && at >= 0 && at < row.Length)
        {
            r += (float)weight * row[at];
            g += (float)weight * row[at + 1];
            b += (float)weight * row[at + 2];
        }
    }

    /// <summary>The averages, rounded to nearest: [targetHeight, targetWidth, 3].</summary>
    /// <param name="sourceWidth">Where the source ends: what would lie beyond does not count.</param>
    /// <param name="sourceHeight">Where the source ends.</param>
    internal byte[] Finish(int sourceWidth, int sourceHeight)
    {
        byte[] result = GC.AllocateUninitializedArray<byte>(sums.Length);
        for (int row = 0, at = 0; row < rows.Count; row++)
        {
            double height = rows.Covered(row, sourceHeight);
            for (int column = 0; column < columns.Count; column++)
            {
                float scale = (float)(1 / (height * columns.Covered(column, sourceWidth)));
                for (int i = 0; i < 3; i++, at++)
                {
                    result[at] = (byte)Math.Clamp((sums[at] * scale) + 0.5f, 0, 255);
                }
            }
        }

        return result;
    }

    /// <summary>One direction: target pixel i covers the source from start + i * step to start + (i + 1) * step.</summary>
    readonly record struct Axis(double Start, double Step, int Count)
    {
        internal void Cover(int target, out double from, out double to) =>
            (from, to) = (Start + (target * Step), Start + ((target + 1) * Step));

        /// <summary>How much of a target pixel has a source; a little where rounding put it just beyond the edge.</summary>
        internal double Covered(int target, int sourceSize)
        {
            Cover(target, out double from, out double to);
            return Math.Max(Math.Min(to, sourceSize) - Math.Max(from, 0), 1e-6);
        }

        /// <summary>Target pixels that cover part of a run of source pixels.</summary>
        internal (int First, int End) Targets(int from, int to)
        {
            int first = (int)Math.Clamp(Math.Floor((from - Start) / Step), 0, Count);
            int end = (int)Math.Clamp(Math.Ceiling((to - Start) / Step), first, Count);
            return (first, end);
        }
    }
}
