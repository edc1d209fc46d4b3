using System.Buffers;
using VlmSharp.Grounding;
using VlmSharp.Media.Images;

namespace VlmSharp.Training.Synthesis;

/// <summary>A picture while it is drawn: outlines filled with smooth edges, and text at any angle.</summary>
/// <remarks>
/// Positions are real: 0 is the left or upper edge, the first pixel's middle is at 0.5. A pixel takes the share of the colour that an
/// outline covers, which is exact: areas under the edges are added up along each row. What lies outside is cut off.
/// </remarks>
sealed class Painting(int width, int height)
{
    /// <summary>Fainter edges of letters are not counted as ink.</summary>
    public const int Visible = 24;

    public int Width { get; } = width;

    public int Height { get; } = height;

    /// <summary>[height, width, 3].</summary>
    public byte[] Pixels { get; private set; } = new byte[3 * width * height];

    /// <summary>The picture as drawn; the painting must not be used afterwards.</summary>
    public RgbImage ToImage() => new(Width, Height, Pixels);

    /// <summary>Goes on with other pixels of the same size.</summary>
    public void Replace(byte[] pixels) => Pixels = pixels;

    /// <summary>Fills closed outlines; one that runs the other way round cuts a hole.</summary>
    public Box Fill(Colour colour, params ReadOnlySpan<PointXY[]> outlines)
    {
        Box box = Box.Around(outlines[0]);
        foreach (PointXY[] outline in outlines[1..])
        {
            box = box.With(Box.Around(outline));
        }

        int left = (int)Math.Floor(box.X1);
        int top = (int)Math.Floor(box.Y1);
        int columns = (int)Math.Ceiling(box.X2) - left + 2;
        int rows = (int)Math.Ceiling(box.Y2) - top;
        float[] area = ArrayPool<float>.Shared.Rent(Math.Max(1, columns * rows));
        area.AsSpan(0, columns * rows).Clear();
        foreach (PointXY[] outline in outlines)
        {
            for (int i = 0; i < outline.Length; i++)
            {
                PointXY from = outline[i];
                PointXY to = outline[(i + 1) % outline.Length];
                AddEdge(area, columns, from.X - left, from.Y - top, to.X - left, to.Y - top);
            }
        }

        for (int y = Math.Max(0, -top); y < Math.Min(rows, Height - top); y++)
        {
            float sum = 0;
            for (int x = 0; x < columns; x++)
            {
                sum += area[(y * columns) + x];
                if (left + x >= 0 && left + x < Width)
                {
                    Blend(left + x, top + y, colour, Math.Min(1, Math.Abs(sum)));
                }
            }
        }

        ArrayPool<float>.Shared.Return(area);
        return box;
    }

    public Box Fill(Colour colour, Box box) => Fill(colour, Outlines.Rectangle(box));

    /// <summary>A line with straight ends.</summary>
    public Box Line(Colour colour, PointXY from, PointXY to, double lineWidth) =>
        Fill(colour, Outlines.Line(from, to, lineWidth));

    /// <summary>Four lines inside the edge of a box.</summary>
    public void Frame(Colour colour, Box box, double lineWidth) =>
        Fill(colour, Outlines.Rectangle(box), [.. Outlines.Rectangle(box.Grown(-lineWidth)).Reverse()]);

    /// <summary>Lays letters over the picture, their upper left corner at a pixel.</summary>
    /// <returns>Around the visible ink.</returns>
    public Box Lay(Lettering letters, int left, int top, Colour colour)
    {
        for (int y = Math.Max(0, -top); y < Math.Min(letters.Height, Height - top); y++)
        {
            for (int x = Math.Max(0, -left); x < Math.Min(letters.Width, Width - left); x++)
            {
                byte share = letters.Coverage[(y * letters.Width) + x];
                if (share != 0)
                {
                    Blend(left + x, top + y, colour, share * (1f / 255));
                }
            }
        }

        Box ink = letters.Ink;
        return new(left + ink.X1, top + ink.Y1, left + ink.X2, top + ink.Y2);
    }

    /// <summary>Lays letters with the middle of their ink as near to a point as whole pixels allow.</summary>
    public Box LayAt(Lettering letters, PointXY middle, Colour colour)
    {
        PointXY own = letters.Ink.Middle;
        return Lay(letters, (int)Math.Round(middle.X - own.X), (int)Math.Round(middle.Y - own.Y), colour);
    }

    /// <summary>Lays letters with their ink beginning at a column, around the middle of a line.</summary>
    public Box LayLeft(Lettering letters, double left, double middle, Colour colour) =>
        LayAt(letters, new(left + (letters.Ink.Width / 2), middle), colour);

    void Blend(int x, int y, Colour colour, float share)
    {
        int at = 3 * ((y * Width) + x);
        Pixels[at] = Mix(Pixels[at], colour.Red, share);
        Pixels[at + 1] = Mix(Pixels[at + 1], colour.Green, share);
        Pixels[at + 2] = Mix(Pixels[at + 2], colour.Blue, share);
    }

    static byte Mix(byte under, byte over, float share) => (byte)(under + ((over - under) * share) + 0.5f);

    // How much of each pixel lies right of an edge, as differences along the row: the sum over a row gives the covered share.
    static void AddEdge(Span<float> area, int columns, double x0, double y0, double x1, double y1)
    {
        if (y0 == y1)
        {
            return;
        }

        double direction = y0 < y1 ? 1 : -1;
        if (y0 > y1)
        {
            (x0, y0, x1, y1) = (x1, y1, x0, y0);
        }

        double slope = (x1 - x0) / (y1 - y0);
        double x = x0;
        for (int row = (int)y0; row < (int)Math.Ceiling(y1); row++)
        {
            Span<float> line = area.Slice(row * columns, columns);
            double part = Math.Min(row + 1, y1) - Math.Max(row, y0);
            double next = x + (slope * part);
            double height = direction * part;
            (double low, double high) = x < next ? (x, next) : (next, x);
            int first = (int)low;
            int end = Math.Max(first + 1, (int)Math.Ceiling(high));
            if (end == first + 1)
            {
                double right = ((low + high) / 2) - first;
                line[first] += (float)(height * (1 - right));
                line[first + 1] += (float)(height * right);
            }
            else
            {
                // The edge crosses several pixels of the row, and of its height each gets what is crossed before its right side.
                double perPixel = height / (high - low);
                (double crossed, double previous) = (0, 0);
                for (int column = first; column < end; column++)
                {
                    double from = Math.Max(low - column, 0);
                    double to = Math.Min(high - column, 1);
                    double covered = crossed + (perPixel * (to - from) * (1 - ((from + to) / 2)));
                    line[column] += (float)(covered - previous);
                    previous = covered;
                    crossed += perPixel * (to - from);
                }

                line[end] += (float)(height - previous);
            }

            x = next;
        }
    }
}
