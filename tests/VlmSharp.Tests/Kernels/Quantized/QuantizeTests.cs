using VlmSharp.Formats;
using VlmSharp.Kernels.Quantized;
using VlmSharp.Testing;
using Xunit;

namespace VlmSharp.Tests.Kernels.Quantized;

public sealed class QuantizeTests
{
    const int Columns = 1024;

    public static TheoryData<GgmlType> All => [.. Enum.GetValues<GgmlType>().Where(Quantize.Supports)];

    public static TheoryData<GgmlType> Blocks =>
        [.. Enum.GetValues<GgmlType>().Where(Quantize.Supports).Where(IsBlock)];

    [Theory]
    [InlineData(GgmlType.F16)]
    [InlineData(GgmlType.BF16)]
    [InlineData(GgmlType.Q4_0)]
    [InlineData(GgmlType.Q4_1)]
    [InlineData(GgmlType.Q5_0)]
    [InlineData(GgmlType.Q5_1)]
    [InlineData(GgmlType.Q8_0)]
    public void Rounded_types_have_the_reference_s_bytes(GgmlType type)
    {
        using SafetensorsFile golden = SafetensorsFile.Open(Goldens.Shared("golden/gguf/quantize.safetensors"));
        byte[] blocks = Pack(type, golden.Floats($"{type}.input"), 256);
        Assert.Equal(golden.Bytes($"{type}.bytes").ToArray(), blocks);
    }

    // The first number is the relative error on normal values, the second its share of that of the nearest rounding to extremes.
    [Theory]
    [InlineData(GgmlType.Q4_K, 0.0705, 0.94)]
    [InlineData(GgmlType.Q5_K, 0.0348, 0.96)]
    [InlineData(GgmlType.Q6_K, 0.0168, 0.97)]
    [InlineData(GgmlType.IQ4_NL, 0.0735, 0.97)]
    public void A_search_finds_scales_with_less_error_than_the_extremes_have(GgmlType type, double most, double share)
    {
        float[] values = Normal(1, 64 * Columns);
        double error = Error(values, Unpack(type, Pack(type, values, Columns)), []);
        double norm = Math.Sqrt(values.Sum(v => (double)v * v));
        double naive = Error(values, Naive(type, values), []);
        Assert.True(error / norm < most, $"{type}: {error / norm:f5}");
        Assert.True(error < share * naive, $"{type}: {error / norm:f5}, nearest {naive / norm:f5}");
    }

    [Theory, MemberData(nameof(Blocks))]
    public void Importance_moves_the_error_to_columns_that_count_less(GgmlType type)
    {
        float[] values = Normal(2, 64 * Columns);
        float[] importance = [.. Normal(3, Columns).Select(v => v * v * v * v)];
        double without = Error(values, Unpack(type, Pack(type, values, Columns)), importance);
        double with = Error(values, Unpack(type, Pack(type, values, Columns, importance)), importance);
        Assert.True(type == GgmlType.Q8_0 ? with == without : with < 0.96 * without, $"{type}: {with} of {without}");
        // Columns that never count leave the others exactly as they would be, and nothing to divide by.
        float[] none = new float[Columns];
        Assert.Equal(Pack(type, values, Columns, [.. none.Select(_ => 1f)]), Pack(type, values, Columns, none));
    }

    [Theory, MemberData(nameof(All))]
    public void A_row_s_blocks_depend_on_that_row_alone_and_memory_beside_is_not_touched(GgmlType type)
    {
        int block = type.BlockValues();
        // Short types come in eights; what is left over at the end of a row is packed too.
        foreach (int columns in (int[])[block, 3 * block, 8 * block, 11 * block])
        {
            float[] values = Numbers.Varied(columns, 3 * columns);
            byte[] all = Pack(type, values, columns);
            int rowBytes = all.Length / 3;
            for (int row = 0; row < 3; row++)
            {
                foreach (bool before in (bool[])[false, true])
                {
                    using var source = GuardedMemory.Copy<float>(values.AsSpan(row * columns, columns), before);
                    using GuardedMemory<byte> target = new(rowBytes, before);
                    Quantize.Rows(type, source.Span, columns, target.Span);
                    Assert.True(target.Span.SequenceEqual(all.AsSpan(row * rowBytes, rowBytes)));
                }
            }
        }
    }

    [Theory, MemberData(nameof(Blocks))]
    public void Zeros_constants_tiny_and_large_values_stay_what_they_are(GgmlType type)
    {
        foreach (
            float[] importance in (float[][])
                [
                    [],
                    [.. Enumerable.Repeat(2f, 256)],
                ]
        )
        {
            foreach (float value in (float[])[0, 1, -1, 0.0625f, -3e4f, 1e-3f])
            {
                float[] constant = [.. Enumerable.Repeat(value, 256)];
                float[] found = Unpack(type, Pack(type, constant, 256, importance));
                Assert.All(found, v => Assert.InRange(Math.Abs(v - value), 0, Math.Abs(value) / 100));
            }

            // A half holds no scale for these: they become zeros, never NaN.
            foreach (float value in (float[])[1e-12f, float.Epsilon, -1e-38f])
            {
                float[] tiny = [.. Enumerable.Repeat(value, 256)];
                Assert.All(Unpack(type, Pack(type, tiny, 256, importance)), v => Assert.Equal(0, v));
            }

            float[] mixed = [.. Normal(4, 256).Select((v, i) => i % 32 < 16 ? v : v * 1e-5f)];
            float[] unpacked = Unpack(type, Pack(type, mixed, 256, importance));
            Assert.All(unpacked, v => Assert.True(float.IsFinite(v)));
            Assert.InRange(Error(mixed, unpacked, []), 0, 0.1 * Math.Sqrt(mixed.Sum(v => (double)v * v)));
        }
    }

    [Theory, MemberData(nameof(All))]
    public void Values_that_are_not_finite_do_no_harm(GgmlType type)
    {
        foreach (
            float[] importance in (float[][])
                [
                    [],
                    [.. Enumerable.Repeat(2f, 256)],
                ]
        )
        {
            Pack(type, Numbers.WithSpecials(5, 16 * 256, every: 100), 256, importance);
            Pack(type, [.. Enumerable.Repeat(float.NaN, 256)], 256, importance);
            Pack(type, [.. Enumerable.Repeat(float.MaxValue, 256)], 256, importance);
        }
    }

    [Fact]
    public void Lengths_that_do_not_belong_together_and_types_without_a_packer_are_refused()
    {
        Assert.Throws<ArgumentException>(() => Quantize.Rows(GgmlType.Q4_K, new float[128], 128, new byte[144]));
        Assert.Throws<ArgumentException>(() => Quantize.Rows(GgmlType.Q4_0, new float[96], 64, new byte[54]));
        Assert.Throws<ArgumentException>(() => Quantize.Rows(GgmlType.Q4_0, new float[64], 64, new byte[35]));
        Assert.Throws<ArgumentException>(() =>
            Quantize.Rows(GgmlType.Q4_0, new float[64], 64, new byte[36], new float[32])
        );
        Assert.Throws<ArgumentOutOfRangeException>(() => Quantize.Rows(GgmlType.Q4_0, [], 0, []));
        Assert.Throws<NotSupportedException>(() => Quantize.Rows(GgmlType.Q2_K, new float[256], 256, new byte[84]));
    }

    static bool IsBlock(GgmlType type) => type.BlockValues() > 1;

    static byte[] Pack(GgmlType type, ReadOnlySpan<float> rows, int columns, float[]? importance = null)
    {
        byte[] blocks = new byte[rows.Length / type.BlockValues() * type.BlockBytes()];
        Quantize.Rows(type, rows, columns, blocks, importance);
        return blocks;
    }

    static float[] Unpack(GgmlType type, byte[] blocks)
    {
        float[] values = new float[blocks.Length / type.BlockBytes() * type.BlockValues()];
        Dequantize.Apply(type, blocks, values);
        return values;
    }

    static double Error(float[] values, float[] found, float[] importance)
    {
        double sum = 0;
        for (int i = 0; i < values.Length; i++)
        {
            double difference = (double)values[i] - found[i];
            sum += difference * difference * (importance.Length > 0 ? importance[i % importance.Length] : 1);
        }

        return Math.Sqrt(sum);
    }

    static float[] Normal(int seed, int count)
    {
        Random random = new(seed);
        float[] values = new float[count];
        for (int i = 0; i < count; i++)
        {
            double radius = Math.Sqrt(-2 * Math.Log(1 - random.NextDouble()));
            values[i] = (float)(radius * Math.Cos(2 * Math.PI * random.NextDouble()));
        }

        return values;
    }

    // Scales from the extremes of each group, in double precision and not rounded to the types' small scales: less error than any encoder
    // that does not search can have.
    static float[] Naive(GgmlType type, float[] values)
    {
        float[] levels = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];
        int group = type == GgmlType.Q6_K ? 16 : 32;
        float[] found = new float[values.Length];
        for (int first = 0; first < values.Length; first += group)
        {
            float[] part = values[first..(first + group)];
            double least = Math.Min(0, part.Min());
            double extreme = part.MaxBy(Math.Abs);
            double scale = type switch
            {
                GgmlType.Q6_K => extreme / -32,
                GgmlType.IQ4_NL => extreme / -127,
                _ => (part.Max() - least) / (type == GgmlType.Q4_K ? 15 : 31),
            };
            for (int i = 0; i < group; i++)
            {
                found[first + i] = (float)(
                    type switch
                    {
                        GgmlType.Q6_K => scale * Math.Clamp(Math.Round(part[i] / scale), -32, 31),
                        GgmlType.IQ4_NL => scale * levels.MinBy(level => Math.Abs((part[i] / scale) - level)),
                        _ => (scale * Math.Round((part[i] - least) / scale)) + least,
                    }
                );
            }
        }

        return found;
    }
}
