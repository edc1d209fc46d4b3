using VlmSharp.Datasets;
using VlmSharp.Grounding;

namespace VlmSharp.Training.Synthesis;

/// <summary>A rectangle in pixels of the picture: 0 is its left or upper edge.</summary>
readonly record struct Box(double X1, double Y1, double X2, double Y2)
{
    public double Width => X2 - X1;

    public double Height => Y2 - Y1;

    public PointXY Middle => new((X1 + X2) / 2, (Y1 + Y2) / 2);

    /// <summary>The smallest box around some points.</summary>
    public static Box Around(IEnumerable<PointXY> points)
    {
        Box box = new(double.MaxValue, double.MaxValue, double.MinValue, double.MinValue);
        foreach (PointXY p in points)
        {
            box = new(Math.Min(box.X1, p.X), Math.Min(box.Y1, p.Y), Math.Max(box.X2, p.X), Math.Max(box.Y2, p.Y));
        }

        return box;
    }

    public Box Grown(double by) => new(X1 - by, Y1 - by, X2 + by, Y2 + by);

    public Box With(Box other) =>
        new(Math.Min(X1, other.X1), Math.Min(Y1, other.Y1), Math.Max(X2, other.X2), Math.Max(Y2, other.Y2));

    public bool Touches(Box other) => X1 < other.X2 && other.X1 < X2 && Y1 < other.Y2 && other.Y1 < Y2;

    /// <summary>As an answer has it; tenths of a pixel are exact enough, and never outside the box's own pixels.</summary>
    public BoxPart Part(int image = 0) => new([Round(X1), Round(Y1), Round(X2), Round(Y2)], image);

    /// <summary>Its middle as an answer has it.</summary>
    public BoxPart Point(int image = 0) => new([Round(Middle.X), Round(Middle.Y)], image);

    static double Round(double value) => Math.Round(value, 1);
}
