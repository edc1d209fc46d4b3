using VlmSharp.Grounding;

namespace VlmSharp.Training.Synthesis;

/// <summary>Closed outlines for <see cref="Painting.Fill(Colour, ReadOnlySpan{PointXY[]})"/>. Angles are clockwise from the right, in radians.</summary>
static class Outlines
{
    public static PointXY[] Rectangle(Box box) =>
        [new(box.X1, box.Y1), new(box.X2, box.Y1), new(box.X2, box.Y2), new(box.X1, box.Y2)];

    public static PointXY[] Line(PointXY from, PointXY to, double lineWidth)
    {
        double length = Math.Sqrt(((to.X - from.X) * (to.X - from.X)) + ((to.Y - from.Y) * (to.Y - from.Y)));
        double x = -(to.Y - from.Y) / length * lineWidth / 2;
        double y = (to.X - from.X) / length * lineWidth / 2;
        return
        [
            new(from.X + x, from.Y + y),
            new(to.X + x, to.Y + y),
            new(to.X - x, to.Y - y),
            new(from.X - x, from.Y - y),
        ];
    }

    public static PointXY Around(PointXY middle, double radius, double angle) =>
        new(middle.X + (radius * Math.Cos(angle)), middle.Y + (radius * Math.Sin(angle)));

    public static PointXY[] Disc(PointXY middle, double radius) => Ellipse(middle, radius, radius);

    public static PointXY[] Ellipse(PointXY middle, double across, double down)
    {
        int sides = Math.Clamp((int)(3 * Math.Max(across, down)), 16, 96);
        PointXY[] points = new PointXY[sides];
        for (int i = 0; i < sides; i++)
        {
            PointXY unit = Around(default, 1, 2 * Math.PI * i / sides);
            points[i] = new(middle.X + (across * unit.X), middle.Y + (down * unit.Y));
        }

        return points;
    }

    public static PointXY[] Polygon(PointXY middle, double radius, int corners, double turn) =>
        [.. Enumerable.Range(0, corners).Select(i => Around(middle, radius, turn + (2 * Math.PI * i / corners)))];

    public static PointXY[] Star(PointXY middle, double radius, double turn) =>
        [
            .. Enumerable
                .Range(0, 10)
                .Select(i => Around(middle, i % 2 == 0 ? radius : 0.42 * radius, turn + (Math.PI * i / 5))),
        ];

    public static PointXY[] Cross(PointXY middle, double radius, double turn)
    {
        // Twelve corners of a plus with arms a third of its size.
        ReadOnlySpan<(double X, double Y)> corners =
        [
            (1, 3),
            (1, 1),
            (3, 1),
            (3, -1),
            (1, -1),
            (1, -3),
            (-1, -3),
            (-1, -1),
            (-3, -1),
            (-3, 1),
            (-1, 1),
            (-1, 3),
        ];
        PointXY[] points = new PointXY[corners.Length];
        (double sine, double cosine) = Math.SinCos(turn);
        for (int i = 0; i < points.Length; i++)
        {
            (double x, double y) = (corners[i].X * radius / 3.2, corners[i].Y * radius / 3.2);
            points[i] = new(middle.X + (x * cosine) - (y * sine), middle.Y + (x * sine) + (y * cosine));
        }

        return points;
    }

    /// <summary>A piece of a disc, or of a ring where an inner radius is given.</summary>
    public static PointXY[] Sector(PointXY middle, double radius, double start, double end, double inner = 0)
    {
        int steps = Math.Max(2, (int)Math.Ceiling(Math.Abs(end - start) / 0.1));
        IEnumerable<double> angles = Enumerable.Range(0, steps + 1).Select(i => start + ((end - start) * i / steps));
        return
        [
            .. angles.Select(angle => Around(middle, radius, angle)),
            .. inner > 0 ? angles.Reverse().Select(angle => Around(middle, inner, angle)) : [middle],
        ];
    }
}
