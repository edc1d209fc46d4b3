using VlmSharp.Kernels.Imaging;
using VlmSharp.Testing;
using Xunit;

namespace VlmSharp.Tests.Kernels.Imaging;

public sealed class ResamplingTests
{
    static readonly int[] Sizes = [1, 2, 3, 5, 15, 16, 17, 31, 32, 33, 63, 64, 65, 100, 257];

    public static TheoryData<string> HorizontalVariants => [.. HorizontalPass.Variants.SupportedNames];

    public static TheoryData<string> VerticalVariants => [.. VerticalPass.Variants.SupportedNames];

    [Theory, MemberData(nameof(HorizontalVariants))]
    public void Rows_equal_the_sum_written_out(string variant)
    {
        HorizontalPass.Signature run = HorizontalPass.Variants.Supported.First(v => v.Name == variant).Run;
        var random = new Random(11);
        foreach (int sourceWidth in Sizes)
        {
            foreach (int targetWidth in Sizes)
            {
                ResampleFilter filter = AnyFilter(random);
                for (int channels = 1; channels <= 4; channels++)
                {
                    CheckRows(run, random, sourceWidth, targetWidth, random.Next(1, 40), channels, filter);
                }
            }
        }

        CheckRows(run, random, 5000, 3, 17, 3, ResampleFilter.Bicubic);
        CheckRows(run, random, 3, 5000, 16, 3, ResampleFilter.Bicubic);
    }

    [Theory, MemberData(nameof(VerticalVariants))]
    public void Columns_equal_the_sum_written_out(string variant)
    {
        VerticalPass.Signature run = VerticalPass.Variants.Supported.First(v => v.Name == variant).Run;
        var random = new Random(12);
        for (int length = 0; length <= 257; length++)
        {
            int height = Sizes[random.Next(Sizes.Length)];
            int target = Sizes[random.Next(Sizes.Length)];
            CheckColumns(run, random, height, target, length, AnyFilter(random));
        }
    }

    [Theory]
    [InlineData(100, 100)]
    [InlineData(100, 37)]
    [InlineData(37, 100)]
    [InlineData(4000, 1148)]
    public void Weights_of_a_pixel_add_up_to_one(int source, int target)
    {
        foreach (ResampleFilter filter in Enum.GetValues<ResampleFilter>())
        {
            var weights = new ResampleWeights(source, target, filter);
            for (int i = 0; i < target; i++)
            {
                int sum = weights.Taps(i).ToArray().Sum();
                Assert.InRange(sum, (1 << 22) - weights.Taps(i).Length, (1 << 22) + weights.Taps(i).Length);
                Assert.InRange(weights.First(i), 0, source - 1);
                Assert.InRange(weights.End(i), 1, source);
            }
        }
    }

    [Fact]
    public void The_same_size_takes_each_pixel_as_it_is()
    {
        foreach (ResampleFilter filter in Enum.GetValues<ResampleFilter>())
        {
            var weights = new ResampleWeights(50, 50, filter);
            for (int i = 0; i < 50; i++)
            {
                Assert.Equal((i, i + 1), (weights.First(i), weights.End(i)));
            }
        }
    }

    [Fact]
    public void A_split_weight_is_the_weight()
    {
        foreach (ResampleFilter filter in Enum.GetValues<ResampleFilter>())
        {
            var weights = new ResampleWeights(301, 83, filter);
            for (int i = 0; i < 83; i++)
            {
                ReadOnlySpan<int> pairs = weights.Pairs(i);
                for (int k = weights.FirstPair(i) * 2; k < weights.EndPair(i) * 2; k++)
                {
                    int at = (k / 2 - weights.FirstPair(i)) * 2;
                    int shift = k % 2 * 16;
                    int joined =
                        ((short)(pairs[at] >> shift) << ResampleWeights.LowBits) + (short)(pairs[at + 1] >> shift);
                    bool inside = k >= weights.First(i) && k < weights.End(i);
                    Assert.Equal(inside ? weights.Taps(i)[k - weights.First(i)] : 0, joined);
                }
            }
        }
    }

    [Theory]
    [InlineData(0, 5)]
    [InlineData(5, 0)]
    public void A_size_of_zero_is_refused(int source, int target) =>
        Assert.Throws<ArgumentOutOfRangeException>(() => new ResampleWeights(source, target, ResampleFilter.Bicubic));

    static ResampleFilter AnyFilter(Random random) => (ResampleFilter)random.Next((int)ResampleFilter.Lanczos + 1);

    // Extremes as well as noise: clipping and the largest sums happen at hard edges.
    static byte[] Pixels(Random random, int length)
    {
        byte[] pixels = new byte[length];
        random.NextBytes(pixels);
        for (int i = random.Next(64); i < length; i += random.Next(1, 64))
        {
            pixels.AsSpan(i, Math.Min(random.Next(20), length - i)).Fill((byte)(random.Next(2) * 255));
        }

        return pixels;
    }

    static byte Expected(ReadOnlySpan<int> taps, Func<int, byte> pixel)
    {
        long sum = 1 << 21;
        for (int k = 0; k < taps.Length; k++)
        {
            sum += (long)pixel(k) * taps[k];
        }

        return (byte)Math.Clamp(Math.Floor(sum / 4194304.0), 0, 255);
    }

    static void CheckRows(
        HorizontalPass.Signature run,
        Random random,
        int sourceWidth,
        int targetWidth,
        int rows,
        int channels,
        ResampleFilter filter
    )
    {
        byte[] pixels = Pixels(random, rows * sourceWidth * channels);
        var weights = new ResampleWeights(sourceWidth, targetWidth, filter);
        var plan = new HorizontalPlan(weights, channels);
        var layout = new PlanarRows(targetWidth, channels);
        using var source = new GuardedMemory<byte>(pixels, guardBefore: random.Next(2) == 0);
        using var target = new GuardedMemory<byte>((rows + 15) / 16 * 16 * layout.RowStride);
        using var scratch = new GuardedMemory<byte>(plan.ScratchBytes);
        random.NextBytes(scratch.Span);
        run(source.Span, rows, plan, target.Span, layout, scratch.Span);
        for (int r = 0; r < rows; r++)
        {
            for (int c = 0; c < channels; c++)
            {
                for (int x = 0; x < targetWidth; x++)
                {
                    int at = (r * sourceWidth + weights.First(x)) * channels + c;
                    byte expected = Expected(weights.Taps(x), k => pixels[at + k * channels]);
                    byte actual = target.Span[r * layout.RowStride + c * layout.PlaneStride + x];
                    if (expected != actual)
                    {
                        Assert.Fail(
                            $"{filter} {sourceWidth} -> {targetWidth}, {channels} channels, {rows} rows: [{r}, {x}, {c}] is {actual}, not {expected}"
                        );
                    }
                }
            }
        }
    }

    static void CheckColumns(
        VerticalPass.Signature run,
        Random random,
        int height,
        int targetHeight,
        int length,
        ResampleFilter filter
    )
    {
        // The rows start with an odd or even row of the whole axis and end with the last one that is read.
        var weights = new ResampleWeights(height, targetHeight, filter);
        int y = random.Next(targetHeight);
        int firstRow = random.Next(weights.First(y) + 1);
        int stride = length + random.Next(3);
        byte[] pixels = Pixels(random, (weights.End(y) - 1 - firstRow) * stride + length);
        using var rows = new GuardedMemory<byte>(pixels, guardBefore: random.Next(2) == 0);
        using var target = new GuardedMemory<byte>(length);
        run(rows.Span, stride, firstRow, weights, y, target.Span);
        for (int i = 0; i < length; i++)
        {
            int at = (weights.First(y) - firstRow) * stride + i;
            byte expected = Expected(weights.Taps(y), k => pixels[at + k * stride]);
            if (expected != target.Span[i])
            {
                Assert.Fail(
                    $"{filter} {height} -> {targetHeight}: [{y}, {i} of {length}] is {target.Span[i]}, not {expected}"
                );
            }
        }
    }
}
