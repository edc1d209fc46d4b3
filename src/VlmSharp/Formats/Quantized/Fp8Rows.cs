using System.Runtime.CompilerServices;
using VlmSharp.Kernels;

namespace VlmSharp.Formats.Quantized;

/// <summary>A layer of 8-bit floats (e4m3fn) with one scale for each block, each row or the whole: W[o, i] = weight * scale.</summary>
/// <remarks>
/// Blocks are counted from the first row and column; the last ones may be smaller. The format has no infinity: 0x7F and 0xFF are NaN,
/// 0x7E is 448. <c>weight_scale_inv</c> is multiplied with, in spite of its name. Sources: arXiv 2209.05433, transformers 4.57.6.
/// </remarks>
sealed class Fp8Rows : IRowSource
{
    static readonly float[] Values = [.. Enumerable.Range(0, 256).Select(bits => Value((byte)bits))];

    // Columns that have a scale of their own in a matrix.
    static readonly int ScaledColumns = WeightFormat.F8.BlockColumns();

    // Rows that are packed at a time.
    const int PackedRows = 1024;

    readonly StoredTensor tensor; // [rows, columns]
    readonly float[] scales; // [ceil(rows / blockRows), ceil(columns / blockColumns)]
    readonly int blockRows;
    readonly int blockColumns;

    Fp8Rows(StoredTensor weight, float[] scales, int blockRows, int blockColumns)
    {
        (tensor, this.scales, this.blockRows, this.blockColumns) = (weight, scales, blockRows, blockColumns);
        (Rows, Columns) = (weight.Info.Shape[0], weight.Info.Shape[1]);
        StoredCount = weight.Info.Count + scales.Length;
        bool whole = Columns % ScaledColumns == 0 && (blockColumns % ScaledColumns == 0 || blockColumns >= Columns);
        Format = whole ? WeightFormat.F8 : WeightFormat.F32;
    }

    /// <inheritdoc/>
    public WeightFormat Format { get; }

    /// <inheritdoc/>
    public int Rows { get; }

    /// <inheritdoc/>
    public int Columns { get; }

    /// <inheritdoc/>
    public long StoredCount { get; }

    /// <summary>Takes <c>weight</c> and <c>weight_scale_inv</c> or <c>weight_scale</c> of a layer.</summary>
    /// <exception cref="CheckpointException">One is missing, of another type or of another shape than these sizes imply.</exception>
    public static Fp8Rows Open(Checkpoint checkpoint, Quantization how, string name, int rows, int columns)
    {
        StoredTensor weight = checkpoint.Stored(
            $"{name}.weight",
            SafetensorsType.F8_E4M3,
            "outputs and inputs",
            rows,
            columns
        );
        string scale = $"{name}.weight_scale_inv";
        if (!checkpoint.Contains(scale))
        {
            scale = $"{name}.weight_scale";
            if (!checkpoint.Contains(scale))
            {
                throw weight.Error("is F8_E4M3 and has no 'weight_scale_inv' or 'weight_scale' beside it");
            }
        }

        // Of a fixed scale for the input, which stays f32 here.
        checkpoint.Ignore($"{name}.input_scale", "activations are not quantised");
        int[] shape = checkpoint.Info(scale).Shape;
        if (shape.Length <= 1 && checkpoint.Info(scale).Count == 1)
        {
            return new Fp8Rows(weight, checkpoint.Get(scale, shape).ToArray(), rows, columns);
        }

        (int down, int across) = how.Block ?? (shape is [1, 1] ? (rows, columns) : (1, columns));
        return new Fp8Rows(
            weight,
            checkpoint.Get(scale, Blocks(rows, down), Blocks(columns, across)).ToArray(),
            down,
            across
        );
    }

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)] // each layer is decoded once: there is no later call
    public void Read(int first, int count, Span<float> destination)
    {
        ReadOnlySpan<byte> stored = tensor.Bytes.Slice(first * Columns, count * Columns);
        int across = Blocks(Columns, blockColumns);
        for (int row = 0; row < count; row++)
        {
            ReadOnlySpan<byte> from = stored.Slice(row * Columns, Columns);
            Span<float> to = destination.Slice(row * Columns, Columns);
            for (int block = 0; block < across; block++)
            {
                float scale = scales[((first + row) / blockRows * across) + block];
                int end = (int)Math.Min(Columns, (block + 1L) * blockColumns);
                for (int i = block * blockColumns; i < end; i++)
                {
                    to[i] = Values[from[i]] * scale;
                }
            }
        }
    }

    /// <inheritdoc/>
    public void Pack(PackedMatrix packed, int firstRow, WorkerPool pool)
    {
        int groups = Columns / ScaledColumns;
        int across = Blocks(Columns, blockColumns);
        float[] spread = new float[Math.Min(PackedRows, Rows) * groups];
        for (int row = 0; row < Rows; row += PackedRows)
        {
            int count = Math.Min(PackedRows, Rows - row);
            for (int i = 0; i < count * groups; i++)
            {
                int block = i % groups * ScaledColumns / blockColumns;
                spread[i] = scales[((row + (i / groups)) / blockRows * across) + block];
            }

            packed.PackFloat8(
                firstRow + row,
                count,
                tensor.Bytes.Slice(row * Columns, count * Columns),
                spread.AsSpan(0, count * groups),
                pool
            );
        }
    }

    static int Blocks(int size, int block) => (int)((size + (long)block - 1) / block);

    // 1 bit of sign, 4 of exponent with a bias of 7, 3 of mantissa.
    internal static float Value(byte bits)
    {
        int exponent = (bits >> 3) & 15;
        int mantissa = bits & 7;
        float magnitude =
            (bits & 0x7F) == 0x7F ? float.NaN
            : exponent == 0 ? mantissa / 512f
            : MathF.ScaleB(8 + mantissa, exponent - 10);
        return bits < 128 ? magnitude : -magnitude;
    }
}
