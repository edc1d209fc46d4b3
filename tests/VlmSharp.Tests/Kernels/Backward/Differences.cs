using VlmSharp.Testing;
using Xunit;

namespace VlmSharp.Tests.Kernels.Backward;

/// <summary>Gradients by central differences of a function in double precision: the oracle of every backward kernel.</summary>
static class Differences
{
    /// <summary>The gradient of f at x.</summary>
    public static double[] Of(Func<double[], double> f, ReadOnlySpan<float> x)
    {
        double[] at = Doubles(x);
        double[] gradient = new double[at.Length];
        for (int i = 0; i < at.Length; i++)
        {
            double centre = at[i];
            double step = 1e-5 * Math.Max(1, Math.Abs(centre));
            at[i] = centre + step;
            double above = f(at);
            at[i] = centre - step;
            double below = f(at);
            at[i] = centre;
            gradient[i] = (above - below) / (2 * step);
        }

        return gradient;
    }

    public static double[] Doubles(ReadOnlySpan<float> x)
    {
        double[] values = new double[x.Length];
        for (int i = 0; i < values.Length; i++)
        {
            values[i] = x[i];
        }

        return values;
    }

    public static float[] Normal(int seed, int count, double scale = 1)
    {
        Random random = new(seed);
        float[] values = new float[count];
        for (int i = 0; i < count; i++)
        {
            double normal =
                Math.Sqrt(-2 * Math.Log(1 - random.NextDouble())) * Math.Cos(2 * Math.PI * random.NextDouble());
            values[i] = (float)(scale * normal);
        }

        return values;
    }

    /// <summary>Within a share of the largest expected value, or of the terms that cancel in it.</summary>
    public static void Near(
        double[] expected,
        ReadOnlySpan<float> actual,
        string what,
        double tolerance = 3e-6,
        double terms = 0
    )
    {
        double[] allowed = new double[expected.Length];
        double largest = Math.Max(terms, expected.Length == 0 ? 0 : expected.Max(Math.Abs));
        Array.Fill(allowed, (tolerance * largest) + 1e-9);
        Testing.Near.Within(allowed, expected, actual, what);
    }
}
