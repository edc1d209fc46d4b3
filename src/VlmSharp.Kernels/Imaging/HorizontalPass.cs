namespace VlmSharp.Kernels.Imaging;

/// <summary>The first pass of the separable resampling: along the rows, from interleaved to planar pixels.</summary>
/// <remarks>
/// <c>target[r, c, x] = clip((sum_k source[r, first(x) + k, c] * weight[x, k] + 2^21) >> 22)</c>. Integer arithmetic: all variants
/// agree in every bit.
/// </remarks>
static partial class HorizontalPass
{
    internal delegate void Signature(
        ReadOnlySpan<byte> source,
        int rows,
        HorizontalPlan plan,
        Span<byte> target,
        PlanarRows layout,
        Span<byte> scratch
    );

    internal static readonly KernelTable<Signature> Variants = new(
        "resample_rows",
        ("avx512", InstructionSets.Avx512, Avx512.Apply),
        ("avx2", InstructionSets.Avx2, Avx2.Apply),
        ("portable", true, Portable)
    );

    /// <summary>Resamples whole rows.</summary>
    /// <param name="source">[rows, sourceWidth, channels], interleaved, without padding</param>
    /// <param name="rows">number of rows</param>
    /// <param name="plan">weights and tiles</param>
    /// <param name="target">[rows rounded up to 16] rows in <paramref name="layout"/>; the rows past the last one are scratch</param>
    /// <param name="layout">planar layout of the target's width</param>
    /// <param name="scratch"><see cref="HorizontalPlan.ScratchBytes"/> bytes, undefined before and after</param>
    public static void Apply(
        ReadOnlySpan<byte> source,
        int rows,
        HorizontalPlan plan,
        Span<byte> target,
        PlanarRows layout,
        Span<byte> scratch
    )
    {
        long sourceBytes = (long)rows * plan.Weights.SourceSize * plan.Channels;
        if (rows < 0 || source.Length != sourceBytes)
        {
            throw new ArgumentException($"{source.Length} bytes of source for {rows} rows of {sourceBytes} bytes");
        }

        if (layout.Width != plan.Weights.TargetSize || layout.Channels != plan.Channels)
        {
            throw new ArgumentException($"{layout} does not fit {plan.Weights.TargetSize} x {plan.Channels} pixels");
        }

        long blockRows = (rows + HorizontalPlan.BlockRows - 1L) / HorizontalPlan.BlockRows * HorizontalPlan.BlockRows;
        if (target.Length < blockRows * layout.RowStride || scratch.Length < plan.ScratchBytes)
        {
            throw new ArgumentException(
                $"{target.Length} bytes of target and {scratch.Length} of scratch, {blockRows * layout.RowStride} and {plan.ScratchBytes} needed"
            );
        }

        Variants.Active(source, rows, plan, target, layout, scratch);
    }

    static void Portable(
        ReadOnlySpan<byte> source,
        int rows,
        HorizontalPlan plan,
        Span<byte> target,
        PlanarRows layout,
        Span<byte> scratch
    )
    {
        ResampleWeights weights = plan.Weights;
        int channels = plan.Channels;
        int sourceStride = weights.SourceSize * channels;
        for (int r = 0; r < rows; r++)
        {
            ReadOnlySpan<byte> row = source.Slice(r * sourceStride, sourceStride);
            Span<byte> planes = target.Slice(r * layout.RowStride, layout.RowStride);
            for (int x = 0; x < weights.TargetSize; x++)
            {
                ReadOnlySpan<int> taps = weights.Taps(x);
                for (int c = 0; c < channels; c++)
                {
                    int at = weights.First(x) * channels + c;
                    int sum = ResampleWeights.Half;
                    for (int k = 0; k < taps.Length; k++, at += channels)
                    {
                        sum += row[at] * taps[k];
                    }

                    planes[c * layout.PlaneStride + x] = (byte)Math.Clamp(sum >> ResampleWeights.Precision, 0, 255);
                }
            }
        }
    }
}
