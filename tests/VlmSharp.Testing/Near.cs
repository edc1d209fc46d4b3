using Xunit;

namespace VlmSharp.Testing;

/// <summary>Comparisons of computed f32 values with references in double precision.</summary>
/// <remarks>
/// NaN is near NaN only, an infinity near the same infinity only; so a kernel cannot hide behind a comparison with NaN. The
/// failure names the worst element, both values and the distance.
/// </remarks>
public static class Near
{
    /// <summary>How many representable f32 values lie between the two; 0 for equal values, also for 0 and -0.</summary>
    public static long UlpDistance(float a, float b)
    {
        if (float.IsNaN(a) || float.IsNaN(b))
        {
            return float.IsNaN(a) && float.IsNaN(b) ? 0 : long.MaxValue;
        }

        return Math.Abs(Ordered(a) - Ordered(b));

        // Maps the bits so that the order of integers is the order of floats.
        static long Ordered(float x)
        {
            int bits = BitConverter.SingleToInt32Bits(x);
            return bits >= 0 ? bits : -(long)(bits & int.MaxValue);
        }
    }

    /// <summary>Each value is at most <paramref name="ulps"/> f32 steps from the reference rounded to f32.</summary>
    public static void Ulps(long ulps, ReadOnlySpan<double> expected, ReadOnlySpan<float> actual, string? what = null)
    {
        Assert.Equal(expected.Length, actual.Length);
        for (int i = 0; i < actual.Length; i++)
        {
            long distance = UlpDistance((float)expected[i], actual[i]);
            if (distance > ulps)
            {
                Assert.Fail(
                    $"{what} [{i}]: {actual[i]:R}, expected {expected[i]:R}, {distance} ulp apart, allowed {ulps}"
                );
            }
        }
    }

    /// <summary>Each value is within its own absolute tolerance of the reference.</summary>
    public static void Within(
        ReadOnlySpan<double> tolerance,
        ReadOnlySpan<double> expected,
        ReadOnlySpan<float> actual,
        string? what = null
    )
    {
        Assert.Equal(expected.Length, actual.Length);
        Assert.Equal(expected.Length, tolerance.Length);
        for (int i = 0; i < actual.Length; i++)
        {
            if (!Agrees(expected[i], actual[i], tolerance[i]))
            {
                Assert.Fail(
                    $"{what} [{i}]: {actual[i]:R}, expected {expected[i]:R}, {Math.Abs(actual[i] - expected[i]):G3} apart, allowed {tolerance[i]:G3}"
                );
            }
        }
    }

    /// <summary>Each value is within <paramref name="tolerance"/> times the largest finite |expected| of the reference.</summary>
    public static void RelativeToLargest(
        double tolerance,
        ReadOnlySpan<double> expected,
        ReadOnlySpan<float> actual,
        string? what = null
    )
    {
        Assert.Equal(expected.Length, actual.Length);
        double largest = 0;
        foreach (double value in expected)
        {
            largest = double.IsFinite(value) ? Math.Max(largest, Math.Abs(value)) : largest;
        }

        for (int i = 0; i < actual.Length; i++)
        {
            if (!Agrees(expected[i], actual[i], tolerance * largest))
            {
                Assert.Fail(
                    $"{what} [{i}]: {actual[i]:R}, expected {expected[i]:R}, {Math.Abs(actual[i] - expected[i]) / largest:G3} of the largest apart, allowed {tolerance:G3}"
                );
            }
        }
    }

    /// <summary>The same bits everywhere (a NaN may be any NaN).</summary>
    public static void SameBits(ReadOnlySpan<float> expected, ReadOnlySpan<float> actual, string? what = null)
    {
        Assert.Equal(expected.Length, actual.Length);
        for (int i = 0; i < actual.Length; i++)
        {
            bool same =
                BitConverter.SingleToInt32Bits(expected[i]) == BitConverter.SingleToInt32Bits(actual[i])
                || (float.IsNaN(expected[i]) && float.IsNaN(actual[i]));
            if (!same)
            {
                Assert.Fail($"{what} [{i}]: {actual[i]:R}, expected exactly {expected[i]:R}");
            }
        }
    }

    static bool Agrees(double expected, float actual, double tolerance)
    {
        if (double.IsNaN(expected) || double.IsInfinity(expected))
        {
            return expected.Equals(actual); // Equals, unlike ==, finds NaN equal to NaN
        }

        return Math.Abs(actual - expected) <= tolerance;
    }
}
