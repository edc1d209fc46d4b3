namespace VlmSharp.Models.Blocks;

/// <summary>Brings a square table of positions to the size of another grid.</summary>
/// <remarks>
/// PyTorch's <c>F.interpolate(mode="bicubic", align_corners=False)</c>: Keys' cubic with a = -0.75, no wider when shrinking, the
/// border repeated.
/// </remarks>
public static class BicubicTable
{
    const double A = -0.75;

    /// <summary>The table at another size; a copy where it has that size already.</summary>
    /// <param name="table">[side * side, width], row-major.</param>
    /// <param name="side">Rows and columns of the table.</param>
    /// <param name="width">Values of each entry.</param>
    /// <param name="target">Rows and columns of the result.</param>
    /// <returns>[target * target, width]</returns>
    public static float[] Resize(ReadOnlySpan<float> table, int side, int width, int target)
    {
        if (side == target)
        {
            return table.ToArray();
        }

        (int Index, double Weight)[][] taps = [.. Enumerable.Range(0, target).Select(i => Taps(i, side, target))];
        float[] result = new float[checked(target * target * width)];
        double[] sum = new double[width];
        for (int y = 0; y < target; y++)
        {
            for (int x = 0; x < target; x++)
            {
                sum.AsSpan().Clear();
                foreach ((int row, double vertical) in taps[y])
                {
                    foreach ((int column, double horizontal) in taps[x])
                    {
                        ReadOnlySpan<float> entry = table.Slice(((row * side) + column) * width, width);
                        double weight = vertical * horizontal;
                        for (int i = 0; i < width; i++)
                        {
                            sum[i] += weight * entry[i];
                        }
                    }
                }

                Span<float> place = result.AsSpan(((y * target) + x) * width, width);
                for (int i = 0; i < width; i++)
                {
                    place[i] = (float)sum[i];
                }
            }
        }

        return result;
    }

    /// <summary>The four entries along one axis that make entry <paramref name="to"/>, and their weights.</summary>
    static (int Index, double Weight)[] Taps(int to, int side, int target)
    {
        double at = ((to + 0.5) * side / target) - 0.5;
        int before = (int)Math.Floor(at);
        double t = at - before;
        return
        [
            (Math.Clamp(before - 1, 0, side - 1), Far(t + 1)),
            (Math.Clamp(before, 0, side - 1), Near(t)),
            (Math.Clamp(before + 1, 0, side - 1), Near(1 - t)),
            (Math.Clamp(before + 2, 0, side - 1), Far(2 - t)),
        ];
    }

    static double Near(double x) => ((((A + 2) * x) - (A + 3)) * x * x) + 1;

    static double Far(double x) => (((((A * x) - (5 * A)) * x) + (8 * A)) * x) - (4 * A);
}
