using System.Buffers.Binary;
using VlmSharp.Kernels;
using VlmSharp.Kernels.Quantized;

namespace VlmSharp.Tests.Kernels.Dense;

/// <summary>Random blocks of one format: packed, and as the f32 values that they stand for.</summary>
sealed class BlockWeights
{
    /// <param name="codes">Every byte but those of the scales; null for random ones.</param>
    public BlockWeights(int outputs, int columns, GgmlType type, WorkerPool pool, int seed = 1, byte? codes = null)
    {
        Outputs = outputs;
        Columns = columns;
        Type = type;
        Source = new byte[outputs * columns / type.BlockValues() * type.BlockBytes()];
        var random = new Random(seed);
        random.NextBytes(Source);
        if (codes is { } code)
        {
            Array.Fill(Source, code);
        }

        for (int block = 0; block < Source.Length; block += type.BlockBytes())
        {
            foreach (int at in Halves(type))
            {
                // Mostly of the same size, now and then 0, negative or subnormal.
                double scale = random.Next(20) switch
                {
                    0 => 0,
                    1 => -1,
                    2 => 1e-6,
                    _ => 0.5 + random.NextDouble(),
                };
                BinaryPrimitives.WriteHalfLittleEndian(Source.AsSpan(block + at), (Half)(scale * 0.01));
            }
        }

        Values = new float[outputs * columns];
        Dequantize.Apply(type, Source, Values);
        Packed = new PackedMatrix(outputs, columns, type.Format()!.Value);
        Packed.PackBlocks(0, outputs, Source, pool);
    }

    public int Outputs { get; }
    public int Columns { get; }
    public GgmlType Type { get; }

    /// <summary>[outputs, blocks] as in a file.</summary>
    public byte[] Source { get; }

    /// <summary>Bytes of one row of <see cref="Source"/>.</summary>
    public int RowBytes => Columns / Type.BlockValues() * Type.BlockBytes();

    /// <summary>[outputs, columns]</summary>
    public float[] Values { get; }

    public PackedMatrix Packed { get; }

    /// <summary>Where a block's f16 numbers stand.</summary>
    static int[] Halves(GgmlType type) =>
        type switch
        {
            GgmlType.Q4_K or GgmlType.Q5_K or GgmlType.Q4_1 or GgmlType.Q5_1 => [0, 2],
            GgmlType.Q6_K => [208],
            _ => [0],
        };

    /// <summary>Activations as fast products round them: to 255 steps for each 32 columns.</summary>
    /// <param name="x">[rows, columns]</param>
    /// <param name="step">Of each value, the distance from one step to the next.</param>
    public static double[] Round(ReadOnlySpan<float> x, out double[] step)
    {
        double[] rounded = new double[x.Length];
        step = new double[x.Length];
        for (int first = 0; first < x.Length; first += 32)
        {
            float largest = 0;
            for (int i = first; i < first + 32; i++)
            {
                largest = Math.Max(largest, Math.Abs(x[i])); // NaN stays
            }

            float scale =
                !float.IsFinite(largest) ? float.NaN
                : largest < MathF.Pow(2, -100) ? 0
                : largest / 127;
            for (int i = first; i < first + 32; i++)
            {
                rounded[i] = scale == 0 ? 0 : scale * Math.Round(x[i] * (127 / largest), MidpointRounding.ToEven);
                step[i] = scale;
            }
        }

        return rounded;
    }
}
