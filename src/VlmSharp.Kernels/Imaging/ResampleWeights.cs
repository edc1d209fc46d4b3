using System.Runtime.InteropServices;

namespace VlmSharp.Kernels.Imaging;

/// <summary>Whose fixed point weights are rounded to.</summary>
public enum ResampleArithmetic
{
    /// <summary>22 fractional bits. Source: <c>normalize_coeffs_8bpc</c> of Pillow 12.</summary>
    Pillow,

    /// <summary>
    /// As many fractional bits, up to 22, as let the axis' largest weight fit into 16 bits. Source: the antialiased uint8 resize of
    /// PyTorch 2 (<c>upsample_avx_bilinear_bicubic_uint8</c>), which torchvision calls and the reference resizes videos with.
    /// </summary>
    Torch,
}

/// <summary>What every target pixel along one axis takes from which source pixels, in fixed point.</summary>
/// <remarks>
/// Weights are scaled by 2^22 and rounded half away from zero, so a target pixel is
/// <c>clip((sum(pixel * weight) + 2^21) >> 22)</c> in 32-bit arithmetic. Weights that are rounded to p fewer bits are multiples of 2^p, which
/// is the same as their own shift and rounding term. Source: <c>precompute_coeffs</c> of Pillow 12. Weights of zero at either end
/// are dropped: they change no sum.
/// </remarks>
public sealed class ResampleWeights
{
    /// <summary>Fractional bits of a weight.</summary>
    internal const int Precision = 22;

    /// <summary>Bits of the lower half when a weight is split for 16-bit multiplies: <c>weight == (high &lt;&lt; 15) + low</c>.</summary>
    internal const int LowBits = 15;

    /// <summary>The rounding term that every sum starts with.</summary>
    internal const int Half = 1 << (Precision - 1);

    readonly int[] first;
    readonly int[] count;
    readonly int[] values;
    readonly int[] pairs;
    readonly int maxTaps;
    readonly int maxPairs;

    /// <summary>Weights for resizing <c>[from, to)</c> of an axis with <paramref name="sourceSize"/> pixels to <paramref name="targetSize"/>.</summary>
    /// <param name="sourceSize">pixels along the source axis</param>
    /// <param name="from">start of the region, in source pixels; single precision as in Pillow's box</param>
    /// <param name="to">end of the region</param>
    /// <param name="targetSize">pixels along the target axis</param>
    /// <param name="filter">the kernel; its support grows with the scale when shrinking</param>
    /// <param name="arithmetic">how weights are rounded</param>
    /// <exception cref="ArgumentOutOfRangeException">a size below 1, or a region that is empty or outside the source</exception>
    public ResampleWeights(
        int sourceSize,
        float from,
        float to,
        int targetSize,
        ResampleFilter filter,
        ResampleArithmetic arithmetic = ResampleArithmetic.Pillow
    )
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(sourceSize, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(targetSize, 1);
        if (!(from >= 0 && to > from && to <= sourceSize))
        {
            throw new ArgumentOutOfRangeException(
                nameof(from),
                $"the region [{from}, {to}) is empty or outside the {sourceSize} source pixels"
            );
        }

        SourceSize = sourceSize;
        TargetSize = targetSize;
        first = new int[targetSize];
        count = new int[targetSize];

        double scale = (double)(to - from) / targetSize;
        double filterScale = Math.Max(scale, 1.0);
        double support = ResampleFilters.Support(filter) * filterScale;
        double inverse = 1.0 / filterScale;

        // One more than the widest window, because both of its ends are rounded.
        int window = (int)Math.Min(2.0 * Math.Ceiling(support) + 1.0, sourceSize);
        values = new int[checked(targetSize * window)];
        maxTaps = window;
        double[] shapes = new double[values.Length];
        double largest = 0;
        for (int i = 0; i < targetSize; i++)
        {
            Span<double> shape = shapes.AsSpan(i * window, window);
            double center = from + (i + 0.5) * scale;
            int start = Math.Max((int)(center - support + 0.5), 0);
            int taps = Math.Min((int)(center + support + 0.5), sourceSize) - start;
            double sum = 0.0;
            for (int k = 0; k < taps; k++)
            {
                shape[k] = ResampleFilters.Evaluate(filter, (k + start - center + 0.5) * inverse);
                sum += shape[k];
            }

            for (int k = 0; k < taps; k++)
            {
                shape[k] = sum != 0.0 ? shape[k] / sum : shape[k];
                largest = Math.Max(largest, shape[k]);
            }

            first[i] = start;
            count[i] = taps;
        }

        int precision = arithmetic == ResampleArithmetic.Pillow ? Precision : BitsFor16(largest);
        for (int i = 0; i < targetSize; i++)
        {
            Span<int> row = values.AsSpan(i * window, window);
            for (int k = 0; k < count[i]; k++)
            {
                double weight = shapes[(i * window) + k];
                row[k] = (int)(weight * (1 << precision) + (weight < 0 ? -0.5 : 0.5)) << (Precision - precision);
            }

            Trim(row, ref first[i], ref count[i]);
        }

        (pairs, maxPairs) = Pair();
    }

    /// <summary>Weights for resizing a whole axis.</summary>
    public ResampleWeights(
        int sourceSize,
        int targetSize,
        ResampleFilter filter,
        ResampleArithmetic arithmetic = ResampleArithmetic.Pillow
    )
        : this(sourceSize, 0, sourceSize, targetSize, filter, arithmetic) { }

    /// <summary>Pixels along the source axis.</summary>
    public int SourceSize { get; }

    /// <summary>Pixels along the target axis.</summary>
    public int TargetSize { get; }

    /// <summary>The first source pixel that target pixel <paramref name="i"/> reads.</summary>
    internal int First(int i) => first[i];

    /// <summary>One past the last source pixel that target pixel <paramref name="i"/> reads.</summary>
    internal int End(int i) => first[i] + count[i];

    /// <summary>The weights of target pixel <paramref name="i"/>, for the source pixels from <see cref="First"/> on.</summary>
    internal ReadOnlySpan<int> Taps(int i) => values.AsSpan(i * maxTaps, count[i]);

    /// <summary>The first pair of target pixel <paramref name="i"/>; pair p stands for the source pixels 2p and 2p + 1.</summary>
    internal int FirstPair(int i) => first[i] / 2;

    /// <summary>One past the last pair of target pixel <paramref name="i"/>.</summary>
    internal int EndPair(int i) => (End(i) + 1) / 2;

    /// <summary>
    /// The weights of target pixel <paramref name="i"/> as 16-bit halves: per pair one integer with the high halves of both
    /// weights and one with the low halves, the even pixel's in the lower 16 bits. A pixel outside the window weighs zero.
    /// </summary>
    internal ReadOnlySpan<int> Pairs(int i) => pairs.AsSpan(i * maxPairs * 2, (EndPair(i) - FirstPair(i)) * 2);

    /// <summary>The source pixels that the target pixels <c>[from, to)</c> read.</summary>
    /// <remarks>Trimmed zeros may make single windows end before their neighbours', hence the search.</remarks>
    internal (int First, int End) Range(int from, int to)
    {
        int low = int.MaxValue;
        int high = 0;
        for (int i = from; i < to; i++)
        {
            low = Math.Min(low, first[i]);
            high = Math.Max(high, End(i));
        }

        return (low, high);
    }

    /// <summary>The most fractional bits with which a weight of this size, rounded, stays below 2^15.</summary>
    static int BitsFor16(double largest)
    {
        int bits = 0;
        while (bits < Precision && (int)(0.5 + largest * (1 << (bits + 1))) < 1 << 15)
        {
            bits++;
        }

        return bits;
    }

    static void Trim(Span<int> row, ref int start, ref int taps)
    {
        int lead = 0;
        while (lead < taps - 1 && row[lead] == 0)
        {
            lead++;
        }

        while (taps > lead + 1 && row[taps - 1] == 0)
        {
            taps--;
        }

        row[lead..taps].CopyTo(row);
        start += lead;
        taps -= lead;
    }

    (int[] Pairs, int MaxPairs) Pair()
    {
        int widest = 0;
        for (int i = 0; i < TargetSize; i++)
        {
            widest = Math.Max(widest, EndPair(i) - FirstPair(i));
        }

        int[] all = new int[checked(TargetSize * widest * 2)];
        Span<short> halves = MemoryMarshal.Cast<int, short>(all.AsSpan());
        for (int i = 0; i < TargetSize; i++)
        {
            int at = i * widest * 4;
            int skip = first[i] & 1;
            ReadOnlySpan<int> taps = Taps(i);
            for (int k = 0; k < taps.Length; k++)
            {
                int slot = at + (k + skip) / 2 * 4 + ((k + skip) & 1);
                halves[slot] = (short)(taps[k] >> LowBits);
                halves[slot + 2] = (short)(taps[k] & ((1 << LowBits) - 1));
            }
        }

        return (all, widest);
    }
}
