namespace VlmSharp.Kernels.Imaging;

/// <summary>The interpolation kernels of Pillow's separable resampling.</summary>
public enum ResampleFilter
{
    /// <summary>Area average: every source pixel whose centre falls into the target pixel, equally.</summary>
    Box,

    /// <summary>Triangle of support 1.</summary>
    Bilinear,

    /// <summary>Hamming-windowed sinc of support 1.</summary>
    Hamming,

    /// <summary>Keys' cubic with a = -0.5, support 2.</summary>
    Bicubic,

    /// <summary>Lanczos-windowed sinc of support 3.</summary>
    Lanczos,
}

/// <summary>The kernels' shapes, evaluated in double.</summary>
/// <remarks>
/// The weights are rounded to fixed point afterwards, so the order of operations matters here: it is the one of Pillow's
/// <c>Resample.c</c>, and so is the single precision of the Hamming constants.
/// </remarks>
public static class ResampleFilters
{
    /// <summary>Half the width of the kernel: in source pixels when enlarging, in target pixels when shrinking.</summary>
    public static double Support(ResampleFilter filter) =>
        filter switch
        {
            ResampleFilter.Box => 0.5,
            ResampleFilter.Bilinear or ResampleFilter.Hamming => 1.0,
            ResampleFilter.Bicubic => 2.0,
            ResampleFilter.Lanczos => 3.0,
            _ => throw new ArgumentOutOfRangeException(nameof(filter), filter, "not a resampling filter"),
        };

    internal static double Evaluate(ResampleFilter filter, double x) =>
        filter switch
        {
            ResampleFilter.Box => x is > -0.5 and <= 0.5 ? 1.0 : 0.0,
            ResampleFilter.Bilinear => Bilinear(Math.Abs(x)),
            ResampleFilter.Hamming => Hamming(Math.Abs(x)),
            ResampleFilter.Bicubic => Bicubic(Math.Abs(x)),
            ResampleFilter.Lanczos => x is >= -3.0 and < 3.0 ? Sinc(x) * Sinc(x / 3.0) : 0.0,
            _ => throw new ArgumentOutOfRangeException(nameof(filter), filter, "not a resampling filter"),
        };

    static double Bilinear(double x) => x < 1.0 ? 1.0 - x : 0.0;

    static double Bicubic(double x)
    {
        const double a = -0.5;
        return x < 1.0 ? ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0
            : x < 2.0 ? (((x - 5.0) * x + 8.0) * x - 4.0) * a
            : 0.0;
    }

    static double Hamming(double x)
    {
        if (x == 0.0)
        {
            return 1.0;
        }

        if (x >= 1.0)
        {
            return 0.0;
        }

        double angle = x * Math.PI;
        return Math.Sin(angle) / angle * (0.54f + 0.46f * Math.Cos(angle));
    }

    static double Sinc(double x)
    {
        if (x == 0.0)
        {
            return 1.0;
        }

        double angle = x * Math.PI;
        return Math.Sin(angle) / angle;
    }
}
