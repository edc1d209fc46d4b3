using VlmSharp.Grounding;
using VlmSharp.Media.Images;

namespace VlmSharp.Training.Synthesis;

/// <summary>A line of text as a mask, with the box of what is visible of it.</summary>
sealed class Lettering
{
    Lettering(int width, int height, byte[] coverage)
    {
        (Width, Height, Coverage) = (width, height, coverage);
        Ink = FindInk();
    }

    public int Width { get; }

    public int Height { get; }

    /// <summary>[height, width]: 0 outside the letters, 255 inside.</summary>
    public byte[] Coverage { get; }

    /// <summary>Around all pixels that are covered visibly, in pixels of this mask.</summary>
    public Box Ink { get; }

    /// <summary>The size, from a few, in which a font is set before it is shrunk to another size.</summary>
    /// <remarks>Pango keeps 256 fonts ready, each in one size; setting up another takes ten times as long as setting the text.</remarks>
    public static int ReadySize(double size)
    {
        int ready = 64;
        while (ready < size)
        {
            ready *= 2;
        }

        return ready;
    }

    /// <summary>Shrinks a line of text.</summary>
    /// <param name="image">Set in a larger size.</param>
    /// <param name="share">How large it becomes, at most 1.</param>
    /// <param name="angle">Turned clockwise by so much, in radians.</param>
    public static Lettering From(TextImage image, double share, double angle)
    {
        Lettering letters = Shrink(image, share);
        return angle == 0 ? letters : Turn(letters.Coverage, letters.Width, letters.Height, angle);
    }

    // Every pixel is the average of the area it covers, along rows and then along columns.
    static Lettering Shrink(TextImage image, double share)
    {
        int width = (int)Math.Ceiling(image.Width * share);
        int height = (int)Math.Ceiling(image.Height * share);
        float[] narrow = new float[width * image.Height];
        for (int x = 0; x < width; x++)
        {
            (double from, double to) = (x / share, Math.Min((x + 1) / share, image.Width));
            for (int column = (int)from; column < to; column++)
            {
                float part = (float)((Math.Min(to, column + 1) - Math.Max(from, column)) * share);
                for (int y = 0; y < image.Height; y++)
                {
                    narrow[(y * width) + x] += part * image.Coverage[(y * image.Width) + column];
                }
            }
        }

        float[] row = new float[width];
        byte[] coverage = new byte[width * height];
        for (int y = 0; y < height; y++)
        {
            Array.Clear(row);
            (double from, double to) = (y / share, Math.Min((y + 1) / share, image.Height));
            for (int line = (int)from; line < to; line++)
            {
                float part = (float)((Math.Min(to, line + 1) - Math.Max(from, line)) * share);
                for (int x = 0; x < width; x++)
                {
                    row[x] += part * narrow[(line * width) + x];
                }
            }

            for (int x = 0; x < width; x++)
            {
                coverage[(y * width) + x] = (byte)Math.Min(row[x] + 0.5f, 255);
            }
        }

        return new(width, height, coverage);
    }

    static Lettering Turn(ReadOnlySpan<byte> from, int width, int height, double angle)
    {
        (double sine, double cosine) = Math.SinCos(angle);
        int newWidth = (int)Math.Ceiling((width * Math.Abs(cosine)) + (height * Math.Abs(sine))) + 2;
        int newHeight = (int)Math.Ceiling((width * Math.Abs(sine)) + (height * Math.Abs(cosine))) + 2;
        byte[] to = new byte[newWidth * newHeight];
        for (int y = 0; y < newHeight; y++)
        {
            for (int x = 0; x < newWidth; x++)
            {
                (double dx, double dy) = (x + 0.5 - (newWidth / 2.0), y + 0.5 - (newHeight / 2.0));
                to[(y * newWidth) + x] = Sample(
                    from,
                    width,
                    height,
                    (dx * cosine) + (dy * sine) + (width / 2.0) - 0.5,
                    (dy * cosine) - (dx * sine) + (height / 2.0) - 0.5
                );
            }
        }

        return new(newWidth, newHeight, to);
    }

    // Between the four nearest pixels' middles; outside is empty.
    static byte Sample(ReadOnlySpan<byte> from, int width, int height, double x, double y)
    {
        if (x <= -1 || y <= -1 || x >= width || y >= height)
        {
            return 0;
        }

        (int left, int top) = ((int)Math.Floor(x), (int)Math.Floor(y));
        (double right, double bottom) = (x - left, y - top);
        double upper = (At(from, left, top) * (1 - right)) + (At(from, left + 1, top) * right);
        double lower = (At(from, left, top + 1) * (1 - right)) + (At(from, left + 1, top + 1) * right);
        return (byte)((upper * (1 - bottom)) + (lower * bottom) + 0.5);

        double At(ReadOnlySpan<byte> pixels, int column, int row) =>
            column >= 0 && row >= 0 && column < width && row < height ? pixels[(row * width) + column] : 0;
    }

    Box FindInk()
    {
        (int left, int top, int right, int bottom) = (Width, Height, 0, 0);
        for (int y = 0; y < Height; y++)
        {
            ReadOnlySpan<byte> row = Coverage.AsSpan(y * Width, Width);
            int first = row.IndexOfAnyInRange((byte)Painting.Visible, byte.MaxValue);
            if (first >= 0)
            {
                (left, right) = (
                    Math.Min(left, first),
                    Math.Max(right, row.LastIndexOfAnyInRange((byte)Painting.Visible, byte.MaxValue) + 1)
                );
                (top, bottom) = (Math.Min(top, y), y + 1);
            }
        }

        // Letters too thin to be visible have the box of their mask.
        return right > left ? new(left, top, right, bottom) : new(0, 0, Width, Height);
    }
}
