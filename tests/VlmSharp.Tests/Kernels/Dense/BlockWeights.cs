using System.Buffers.Binary;
using VlmSharp.Kernels;
using VlmSharp.Kernels.Quantized;

namespace VlmSharp.Tests.Kernels.Dense;

/// <summary>Random blocks of one format: packed, and as the f32 values that they stand for.</summary>
sealed class BlockWeights
{
    readonly float[] scales = []; // of groups
    readonly byte[] zeros = [];

    /// <param name="codes">Every byte but those of the scales; null for random ones.</param>
    public BlockWeights(
        int outputs,
        int columns,
        WeightFormat format,
        WorkerPool pool,
        int seed = 1,
        byte? codes = null
    )
    {
        Outputs = outputs;
        Columns = columns;
        Format = format;
        Values = new float[outputs * columns];
        Sizes = new float[outputs * columns];
        var random = new Random(seed);
        if (FileType(format) is { } type)
        {
            RowBytes = columns / type.BlockValues() * type.BlockBytes();
            Source = Random(random, outputs * RowBytes, codes);
            for (int block = 0; block < Source.Length; block += type.BlockBytes())
            {
                foreach (int at in Halves(type))
                {
                    BinaryPrimitives.WriteHalfLittleEndian(Source.AsSpan(block + at), Scale(random));
                }
            }

            Dequantize.Apply(type, Source, Values);
            for (int i = 0; i < Values.Length; i++)
            {
                int block = i / type.BlockValues() * type.BlockBytes();
                float least = Halves(type) is [_, int at]
                    ? (float)BinaryPrimitives.ReadHalfLittleEndian(Source.AsSpan(block + at))
                    : 0;
                int most = type is GgmlType.Q4_K or GgmlType.Q5_K ? 63 : 1;
                Sizes[i] = Math.Abs(Values[i]) + (2 * most * Math.Abs(least));
            }
        }
        else
        {
            int group = format.BlockColumns();
            RowBytes = columns;
            Source = Random(random, outputs * columns, codes);
            bool four = format is WeightFormat.U4G32 or WeightFormat.U4G64 or WeightFormat.U4G128;
            for (int i = 0; i < Source.Length && four; i++)
            {
                Source[i] &= 15;
            }

            scales = [.. Enumerable.Range(0, Source.Length / group).Select(_ => (float)Scale(random))];
            zeros = [.. scales.Select(_ => (byte)random.Next(four ? 17 : 256))];
            for (int i = 0; i < Values.Length; i++)
            {
                Values[i] = (Source[i] - zeros[i / group]) * scales[i / group];
                Sizes[i] = (Source[i] + zeros[i / group]) * Math.Abs(scales[i / group]);
            }
        }

        Packed = new PackedMatrix(outputs, columns, format);
        Pack(Packed, 0, outputs, Source, pool);
    }

    /// <summary>Every format of blocks of integers.</summary>
    public static WeightFormat[] Formats { get; } = [.. PanelBlocks.All.Select(blocks => blocks.Format)];

    public int Outputs { get; }
    public int Columns { get; }
    public WeightFormat Format { get; }

    /// <summary>[outputs, blocks] as in a file; of groups only the codes.</summary>
    public byte[] Source { get; }

    /// <summary>Bytes of one row of <see cref="Source"/>.</summary>
    public int RowBytes { get; }

    /// <summary>[outputs, columns]</summary>
    public float[] Values { get; }

    /// <summary>[outputs, columns] bounds of the numbers whose difference is a value: products are added up before zero points come off.</summary>
    public float[] Sizes { get; }

    public PackedMatrix Packed { get; }

    /// <summary>Packs some rows.</summary>
    /// <param name="source">Those rows of <see cref="Source"/>.</param>
    public void Pack(PackedMatrix matrix, int first, int count, ReadOnlySpan<byte> source, WorkerPool pool)
    {
        if (FileType(Format) is not null)
        {
            matrix.PackBlocks(first, count, source, pool);
            return;
        }

        int groups = Columns / Format.BlockColumns();
        matrix.PackGroups(
            first,
            count,
            source,
            scales.AsSpan(first * groups, count * groups),
            zeros.AsSpan(first * groups, count * groups),
            pool
        );
    }

    /// <summary>The type of GGUF files that has such blocks.</summary>
    public static GgmlType? FileType(WeightFormat format) =>
        Enum.TryParse(format.ToString(), out GgmlType type) ? type : null;

    static byte[] Random(Random random, int count, byte? same)
    {
        byte[] bytes = new byte[count];
        random.NextBytes(bytes);
        if (same is { } value)
        {
            Array.Fill(bytes, value);
        }

        return bytes;
    }

    // Mostly of the same size, now and then 0, negative or subnormal.
    static Half Scale(Random random) =>
        (Half)(
            0.01
            * random.Next(20) switch
            {
                0 => 0,
                1 => -1,
                2 => 1e-4,
                _ => 0.5 + random.NextDouble(),
            }
        );

    // Where a block's f16 numbers stand.
    static int[] Halves(GgmlType type) =>
        type switch
        {
            GgmlType.Q4_K or GgmlType.Q5_K or GgmlType.Q4_1 or GgmlType.Q5_1 => [0, 2],
            GgmlType.Q6_K => [208],
            _ => [0],
        };

    /// <summary>Activations as fast products round them: to 255 steps for each 32 columns.</summary>
    /// <param name="x">[columns]</param>
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
