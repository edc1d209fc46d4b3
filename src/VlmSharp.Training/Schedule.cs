namespace VlmSharp.Training;

/// <summary>How the learning rate changes: factors of the peak rate for update k, counted from 0.</summary>
/// <remarks>As the functions of the same names in <c>transformers.optimization</c>. All begin with k / warmup while k is below it.</remarks>
public static class Schedule
{
    /// <summary>The peak rate after the warm-up.</summary>
    public static Func<int, double> Constant(int warmup = 0) => k => k < warmup ? (double)k / warmup : 1;

    /// <summary>Straight down to zero at <paramref name="total"/>.</summary>
    public static Func<int, double> Linear(int warmup, int total) =>
        After(warmup, k => Math.Max(0, (double)(total - k) / Math.Max(1, total - warmup)));

    /// <summary>floor + (1 - floor) * (1 + cos(2 pi * cycles * progress)) / 2; half a cycle ends at the floor.</summary>
    public static Func<int, double> Cosine(int warmup, int total, double cycles = 0.5, double floor = 0) =>
        After(
            warmup,
            k =>
            {
                double wave = 0.5 * (1 + Math.Cos(2 * Math.PI * cycles * Progress(k, warmup, total)));
                return Math.Max(0, (wave * (1 - floor)) + floor);
            }
        );

    /// <summary>Half a cosine, several times from the peak on; zero from <paramref name="total"/> on.</summary>
    public static Func<int, double> CosineWithRestarts(int warmup, int total, int cycles) =>
        After(
            warmup,
            k =>
            {
                double progress = Progress(k, warmup, total);
                return progress >= 1 ? 0 : 0.5 * (1 + Math.Cos(Math.PI * (cycles * progress % 1)));
            }
        );

    /// <summary>end + (1 - end) * (1 - progress)^power, and the end from <paramref name="total"/> on.</summary>
    public static Func<int, double> Polynomial(int warmup, int total, double end, double power) =>
        After(warmup, k => k > total ? end : ((1 - end) * Math.Pow(1 - Progress(k, warmup, total), power)) + end);

    /// <summary>1 / sqrt((k + shift) / scale) with shift = scale - warmup; the scale is the warm-up unless it is given.</summary>
    public static Func<int, double> InverseSquareRoot(int warmup, int? scale = null)
    {
        int timescale = scale ?? (warmup > 0 ? warmup : 10_000);
        return After(warmup, k => 1 / Math.Sqrt((double)(k + timescale - warmup) / timescale));
    }

    /// <summary>Warm-up from the floor, a stable phase, then half a cosine down to the floor.</summary>
    public static Func<int, double> WarmupStableDecay(int warmup, int stable, int decay, double floor) =>
        k =>
        {
            double factor =
                k < warmup ? (double)k / warmup
                : k < warmup + stable ? 1
                : k < warmup + stable + decay
                    ? 0.5 * (1 + Math.Cos(Math.PI * (k - warmup - stable) / Math.Max(1, decay)))
                : 0;
            return (factor * (1 - floor)) + floor;
        };

    static Func<int, double> After(int warmup, Func<int, double> then) =>
        k => k < warmup ? (double)k / warmup : then(k);

    static double Progress(int k, int warmup, int total) => (double)(k - warmup) / Math.Max(1, total - warmup);
}
