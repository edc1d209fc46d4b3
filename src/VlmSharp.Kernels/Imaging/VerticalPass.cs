namespace VlmSharp.Kernels.Imaging;

/// <summary>The second pass of the separable resampling: across the rows.</summary>
/// <remarks>
/// <c>target[i] = clip((sum_k rows[first(y) + k, i] * weight[y, k] + 2^21) >> 22)</c>. Columns are bytes, whatever they stand for.
/// Integer arithmetic: all variants agree in every bit.
/// </remarks>
static partial class VerticalPass
{
    internal delegate void Signature(
        ReadOnlySpan<byte> rows,
        int stride,
        int firstRow,
        ResampleWeights weights,
        int y,
        Span<byte> target
    );

    internal static readonly KernelTable<Signature> Variants = new(
        "resample_columns",
        ("avx512", InstructionSets.Avx512, Avx512.Apply),
        ("avx2", InstructionSets.Avx2, Avx2.Apply),
        ("portable", true, Portable)
    );

    /// <summary>Computes one target row, or a strip of it.</summary>
    /// <param name="rows">source rows from <paramref name="firstRow"/> on, the last one may end with the strip</param>
    /// <param name="stride">bytes from one source row to the next</param>
    /// <param name="firstRow">which source row <paramref name="rows"/> starts with</param>
    /// <param name="weights">weights along the columns</param>
    /// <param name="y">the target row</param>
    /// <param name="target">as many bytes as are computed</param>
    public static void Apply(
        ReadOnlySpan<byte> rows,
        int stride,
        int firstRow,
        ResampleWeights weights,
        int y,
        Span<byte> target
    )
    {
        if (stride < target.Length || (uint)y >= (uint)weights.TargetSize)
        {
            throw new ArgumentException(
                $"row {y} of {weights.TargetSize}: {target.Length} columns from rows of {stride} bytes"
            );
        }

        int end = weights.End(y);
        if (weights.First(y) < firstRow || rows.Length < (long)(end - 1 - firstRow) * stride + target.Length)
        {
            throw new ArgumentException(
                $"row {y} reads the source rows [{weights.First(y)}, {end}); there are {rows.Length} bytes from row {firstRow} on"
            );
        }

        Variants.Active(rows, stride, firstRow, weights, y, target);
    }

    static void Portable(
        ReadOnlySpan<byte> rows,
        int stride,
        int firstRow,
        ResampleWeights weights,
        int y,
        Span<byte> target
    )
    {
        ReadOnlySpan<int> taps = weights.Taps(y);
        int start = (weights.First(y) - firstRow) * stride;
        for (int i = 0; i < target.Length; i++)
        {
            int sum = ResampleWeights.Half;
            for (int k = 0; k < taps.Length; k++)
            {
                sum += rows[start + k * stride + i] * taps[k];
            }

            target[i] = (byte)Math.Clamp(sum >> ResampleWeights.Precision, 0, 255);
        }
    }
}
