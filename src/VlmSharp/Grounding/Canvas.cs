using VlmSharp.Media.Images;

namespace VlmSharp.Grounding;

/// <summary>A copy of a picture to draw on. Edges are smooth: a pixel takes the share of the colour that covers it.</summary>
/// <remarks>
/// Positions are real: 0 is the left or upper edge of the picture, the first pixel's middle is at 0.5. Axis-aligned rectangles are
/// exact; elsewhere the share is taken from the distance of the pixel's middle to the shape's edge. What lies outside is cut off.
/// </remarks>
sealed class Canvas
{
    readonly byte[] pixels;

    internal Canvas(RgbImage image)
    {
        Width = image.Width;
        Height = image.Height;
        pixels = image.Pixels.ToArray();
    }

    internal int Width { get; }

    internal int Height { get; }

    /// <summary>The width of lines that suits the picture; even, so that a line between two pixels covers whole ones.</summary>
    internal int LineWidth => 2 * Math.Max(1, (int)Math.Round(Math.Min(Width, Height) / 400.0));

    /// <summary>The picture as drawn; the canvas must not be used afterwards.</summary>
    internal RgbImage ToImage() => new(Width, Height, pixels);

    internal void FillRectangle(Region region, Colour colour) => Frame(region, new(0, 0, 0, 0), colour);

    /// <summary>Four lines whose middle runs along the edge of a box; at the edge of the picture they lie inside, so that they are seen.</summary>
    internal void StrokeRectangle(Region box, double lineWidth, Colour colour)
    {
        double left = Math.Clamp(box.X - (lineWidth / 2), 0, Math.Max(0, Width - lineWidth));
        double top = Math.Clamp(box.Y - (lineWidth / 2), 0, Math.Max(0, Height - lineWidth));
        double right = Math.Clamp(box.X + box.Width + (lineWidth / 2), Math.Min(lineWidth, Width), Width);
        double bottom = Math.Clamp(box.Y + box.Height + (lineWidth / 2), Math.Min(lineWidth, Height), Height);
        Region outer = new(left, top, right - left, bottom - top);
        Region inner = new(
            left + lineWidth,
            top + lineWidth,
            Math.Max(0, outer.Width - (2 * lineWidth)),
            Math.Max(0, outer.Height - (2 * lineWidth))
        );
        Frame(outer, inner, colour);
    }

    /// <summary>A line with round ends.</summary>
    internal void Line(PointXY from, PointXY to, double lineWidth, Colour colour)
    {
        double radius = lineWidth / 2;
        double reach = radius + 0.5;
        (double dx, double dy) = (to.X - from.X, to.Y - from.Y);
        double length = Math.Sqrt((dx * dx) + (dy * dy));
        (int top, int bottom) = Span(Math.Min(from.Y, to.Y) - reach, Math.Max(from.Y, to.Y) + reach, Height);
        for (int y = top; y < bottom; y++)
        {
            // The stretch of this row that the line can reach: two round ends and two sides.
            double middle = y + 0.5;
            (double low, double high) = (double.MaxValue, double.MinValue);
            foreach (PointXY end in (ReadOnlySpan<PointXY>)[from, to])
            {
                double square = (reach * reach) - ((middle - end.Y) * (middle - end.Y));
                if (square >= 0)
                {
                    (low, high) = (Math.Min(low, end.X - Math.Sqrt(square)), Math.Max(high, end.X + Math.Sqrt(square)));
                }
            }

            foreach (int side in (ReadOnlySpan<int>)[-1, 1])
            {
                (double awayX, double awayY) =
                    length > 0 ? (-dy / length * reach * side, dx / length * reach * side) : (0, 0);
                double share = (middle - from.Y - awayY) / dy;
                if (share is >= 0 and <= 1)
                {
                    double x = from.X + awayX + (share * dx);
                    (low, high) = (Math.Min(low, x), Math.Max(high, x));
                }
            }

            (int left, int right) = Span(low, high, Width);
            for (int x = left; x < right; x++)
            {
                Blend(x, y, colour, radius + 0.5 - Distance(new(x + 0.5, middle)));
            }
        }

        double Distance(PointXY at)
        {
            double share =
                length > 0
                    ? Math.Clamp((((at.X - from.X) * dx) + ((at.Y - from.Y) * dy)) / (length * length), 0, 1)
                    : 0;
            return Math.Sqrt(Square(at.X - from.X - (share * dx)) + Square(at.Y - from.Y - (share * dy)));
        }
    }

    internal void FillDisc(PointXY middle, double radius, Colour colour) => Line(middle, middle, 2 * radius, colour);

    internal void StrokeCircle(PointXY middle, double radius, double lineWidth, Colour colour)
    {
        double reach = radius + (lineWidth / 2) + 0.5;
        (int top, int bottom) = Span(middle.Y - reach, middle.Y + reach, Height);
        (int left, int right) = Span(middle.X - reach, middle.X + reach, Width);
        for (int y = top; y < bottom; y++)
        {
            for (int x = left; x < right; x++)
            {
                double distance = Math.Sqrt(Square(x + 0.5 - middle.X) + Square(y + 0.5 - middle.Y));
                Blend(x, y, colour, (lineWidth / 2) + 0.5 - Math.Abs(distance - radius));
            }
        }
    }

    internal void FillTriangle(PointXY a, PointXY b, PointXY c, Colour colour)
    {
        // Corners clockwise, so that inside is on the right of every side.
        if (((b.X - a.X) * (c.Y - a.Y)) - ((b.Y - a.Y) * (c.X - a.X)) < 0)
        {
            (b, c) = (c, b);
        }

        (int top, int bottom) = Span(
            Math.Min(a.Y, Math.Min(b.Y, c.Y)) - 1,
            Math.Max(a.Y, Math.Max(b.Y, c.Y)) + 1,
            Height
        );
        (int left, int right) = Span(
            Math.Min(a.X, Math.Min(b.X, c.X)) - 1,
            Math.Max(a.X, Math.Max(b.X, c.X)) + 1,
            Width
        );
        for (int y = top; y < bottom; y++)
        {
            for (int x = left; x < right; x++)
            {
                PointXY at = new(x + 0.5, y + 0.5);
                Blend(x, y, colour, 0.5 + Math.Min(Inside(a, b, at), Math.Min(Inside(b, c, at), Inside(c, a, at))));
            }
        }

        static double Inside(PointXY from, PointXY to, PointXY at)
        {
            (double dx, double dy) = (to.X - from.X, to.Y - from.Y);
            double length = Math.Sqrt((dx * dx) + (dy * dy));
            return length > 0 ? ((dx * (at.Y - from.Y)) - (dy * (at.X - from.X))) / length : double.MinValue;
        }
    }

    /// <summary>Lays text over the picture.</summary>
    /// <param name="text">The letters.</param>
    /// <param name="left">Of the text, in whole pixels.</param>
    /// <param name="top">Of the text, in whole pixels.</param>
    /// <param name="colour">Of the letters.</param>
    internal void Text(TextImage text, int left, int top, Colour colour)
    {
        for (int y = Math.Max(0, -top); y < Math.Min(text.Height, Height - top); y++)
        {
            for (int x = Math.Max(0, -left); x < Math.Min(text.Width, Width - left); x++)
            {
                Blend(left + x, top + y, colour, text.Coverage[(y * text.Width) + x] / 255.0);
            }
        }
    }

    /// <summary>A rectangle without the one inside it.</summary>
    void Frame(Region outer, Region inner, Colour colour)
    {
        (int top, int bottom) = Span(outer.Y, outer.Y + outer.Height, Height);
        (int left, int right) = Span(outer.X, outer.X + outer.Width, Width);
        (int innerLeft, int innerRight) = ((int)Math.Ceiling(inner.X), (int)Math.Floor(inner.X + inner.Width));
        for (int y = top; y < bottom; y++)
        {
            double outerRow = Share(outer.Y, outer.Height, y);
            double innerRow = Share(inner.Y, inner.Height, y);
            for (int x = left; x < right; x++)
            {
                if (innerRow >= 1 && x >= innerLeft && x < innerRight)
                {
                    x = innerRight - 1; // nothing to draw in between
                    continue;
                }

                Blend(
                    x,
                    y,
                    colour,
                    (outerRow * Share(outer.X, outer.Width, x)) - (innerRow * Share(inner.X, inner.Width, x))
                );
            }
        }

        static double Share(double start, double size, int pixel) =>
            Math.Max(0, Math.Min(start + size, pixel + 1) - Math.Max(start, pixel));
    }

    void Blend(int x, int y, Colour colour, double share)
    {
        if (!(share > 0))
        {
            return;
        }

        share = Math.Min(share, 1);
        Span<byte> pixel = pixels.AsSpan(3 * ((y * Width) + x), 3);
        pixel[0] = Mix(pixel[0], colour.Red, share);
        pixel[1] = Mix(pixel[1], colour.Green, share);
        pixel[2] = Mix(pixel[2], colour.Blue, share);
    }

    static byte Mix(byte under, byte over, double share) => (byte)Math.Round(under + ((over - under) * share));

    static double Square(double value) => value * value;

    /// <summary>Pixels that a stretch touches.</summary>
    static (int First, int End) Span(double low, double high, int size) =>
        ((int)Math.Clamp(Math.Floor(low), 0, size), (int)Math.Clamp(Math.Ceiling(high), 0, size));
}
