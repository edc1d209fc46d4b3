using System.Runtime.InteropServices;
using VlmSharp.Formats.Quantized;
using VlmSharp.Kernels;
using VlmSharp.Testing;
using Xunit;

namespace VlmSharp.Tests.Kernels.Dense;

/// <summary>Products with weights that stay 8-bit floats: each is that with the same weights in f32, to the bit.</summary>
public sealed class Float8MatMulTests
{
    public static TheoryData<string> Variants => new(MatMul.Variants.SupportedNames);

    [Fact]
    public void Every_code_comes_back_as_the_format_defines_it()
    {
        using var pool = new WorkerPool(2);
        byte[] codes = [.. Enumerable.Range(0, 40 * 256).Select(i => (byte)(i + (i / 256)))];
        float[] scales = [.. Enumerable.Range(0, 80).Select(i => MathF.ScaleB(1.37f, i - 60))];
        using var matrix = new PackedMatrix(40, 256, WeightFormat.F8);
        matrix.PackFloat8(0, 17, codes.AsSpan(0, 17 * 256), scales.AsSpan(0, 34), pool);
        matrix.PackFloat8(17, 23, codes.AsSpan(17 * 256), scales.AsSpan(34), pool);
        float[] row = new float[256];
        for (int r = 0; r < 40; r++)
        {
            matrix.UnpackRow(r, row);
            float[] expected =
            [
                .. Enumerable
                    .Range(0, 256)
                    .Select(i => Fp8Rows.Value(codes[(r * 256) + i]) * scales[((r * 256) + i) / 128]),
            ];
            Near.SameBits(expected, row, $"row {r}");
        }
    }

    [Theory, MemberData(nameof(Variants))]
    public void A_product_has_the_bits_of_the_one_with_unpacked_weights(string variant)
    {
        using var pool = new WorkerPool(2);
        foreach ((int outputs, int columns) in new[] { (1, 128), (33, 256), (65, 1280), (161, 128) })
        {
            Random random = new(outputs);
            byte[] codes = new byte[outputs * columns];
            random.NextBytes(codes);
            for (int i = 0; i < codes.Length; i++)
            {
                codes[i] = (codes[i] & 0x7F) == 0x7F ? (byte)0 : codes[i]; // numbers only
            }

            float[] scales = [.. Enumerable.Range(0, codes.Length / 128).Select(_ => random.NextSingle() / 100)];
            using var packed = new PackedMatrix(outputs, columns, WeightFormat.F8);
            packed.PackFloat8(0, outputs, codes, scales, pool);
            float[] values = [.. codes.Select((code, i) => Fp8Rows.Value(code) * scales[i / 128])];
            using var plain = new PackedMatrix(outputs, columns, WeightFormat.F32);
            plain.PackRows(0, outputs, MemoryMarshal.AsBytes(values.AsSpan()), ElementType.F32, pool);
            foreach (int rows in Enumerable.Range(0, 10).Append(29).Append(260))
            {
                float[] x = Numbers.Varied(rows, rows * columns);
                float[] bias = Numbers.Varied(7, outputs);
                float[] expected = new float[rows * outputs];
                float[] actual = new float[rows * outputs];
                MatMulTests.Run(variant, x, columns, plain, bias, expected, outputs, rows, pool, false);
                MatMulTests.Run(variant, x, columns, packed, bias, actual, outputs, rows, pool, false);
                Near.SameBits(expected, actual, $"[{rows}, {columns}] x [{outputs}]");
            }
        }
    }

    [Fact]
    public void What_does_not_fit_is_refused()
    {
        using var pool = new WorkerPool(1);
        Assert.Throws<ArgumentException>(() => new PackedMatrix(4, 192, WeightFormat.F8));
        using var matrix = new PackedMatrix(4, 256, WeightFormat.F8);
        Assert.Throws<ArgumentException>(() => matrix.PackFloat8(0, 4, new byte[4 * 256], new float[4], pool));
        Assert.Throws<ArgumentException>(() => matrix.PackFloat8(0, 4, new byte[3 * 256], new float[8], pool));
        Assert.Throws<InvalidOperationException>(() => matrix.PackBlocks(0, 4, new byte[4], pool));
        using var other = new PackedMatrix(4, 256, WeightFormat.F32);
        Assert.Throws<InvalidOperationException>(() => other.PackFloat8(0, 4, new byte[1024], new float[8], pool));
    }
}
