using VlmSharp.Formats.Gguf;
using VlmSharp.Kernels;
using VlmSharp.Kernels.Quantized;

namespace VlmSharp.Formats;

/// <summary>The rows of a tensor of a checkpoint; those of a vector are one row.</summary>
sealed class TensorRows(CheckpointTensor tensor) : IRowSource
{
    public int Rows { get; } = tensor.Shape.Length > 1 ? tensor.Shape[0] : 1;

    public int Columns { get; } = checked((int)(tensor.Count / (tensor.Shape.Length > 1 ? tensor.Shape[0] : 1)));

    public long StoredCount => tensor.Count;

    public void Read(int first, int count, Span<float> destination) =>
        (tensor.Shape.Length > 1 ? tensor.Rows(first, count) : tensor).CopyTo(destination);
}

/// <summary>One frame of a patch convolution: <c>[width, channels, 2, rows, columns]</c> without its third dimension.</summary>
/// <param name="tensor">The convolution.</param>
/// <param name="frame">0 or 1.</param>
sealed class FrameRows(CheckpointTensor tensor, int frame) : IRowSource
{
    readonly int window = tensor.Shape[3] * tensor.Shape[4];

    public int Rows => tensor.Shape[0];

    public int Columns => tensor.Shape[1] * window;

    public long StoredCount => tensor.Count / 2;

    public void Read(int first, int count, Span<float> destination)
    {
        ReadOnlySpan<float> both = tensor.Rows(first, count).ToArray();
        for (int i = 0; i < destination.Length / window; i++)
        {
            both.Slice(((2 * i) + frame) * window, window).CopyTo(destination.Slice(i * window, window));
        }
    }
}

/// <summary>Some outputs of all experts, one expert after the other, of a tensor <c>[experts, inputs, outputs]</c>.</summary>
/// <param name="tensor">Stored for x @ W, so that a row of the result is a column of it.</param>
/// <param name="start">The first output that is taken.</param>
/// <param name="outputs">How many are.</param>
sealed class ExpertRows(CheckpointTensor tensor, int start, int outputs) : IRowSource
{
    public int Rows => checked(tensor.Shape[0] * outputs);

    public int Columns => tensor.Shape[1];

    public long StoredCount => (long)Rows * Columns;

    public void Read(int first, int count, Span<float> destination)
    {
        (int inputs, int all) = (tensor.Shape[1], tensor.Shape[2]);
        int element = tensor.Type.Size();
        GgmlType type = tensor.Type switch
        {
            ElementType.F16 => GgmlType.F16,
            ElementType.BF16 => GgmlType.BF16,
            _ => GgmlType.F32,
        };
        float[] run = new float[Math.Min(count, outputs)];
        for (int row = first; row < first + count; )
        {
            (int expert, int output) = Math.DivRem(row, outputs);
            int rows = Math.Min(outputs - output, first + count - row);
            ReadOnlySpan<byte> bytes = tensor.Rows(expert, 1).Bytes;
            for (int input = 0; input < inputs; input++)
            {
                long at = (((long)input * all) + start + output) * element;
                Dequantize.Apply(type, bytes.Slice((int)at, rows * element), run.AsSpan(0, rows));
                for (int i = 0; i < rows; i++)
                {
                    destination[((row - first + i) * inputs) + input] = run[i];
                }
            }

            row += rows;
        }
    }
}

/// <summary>The rows of a tensor of a GGUF file; those of a vector are one row.</summary>
sealed class GgufRows(GgufTensor tensor) : IRowSource
{
    public int Rows => checked((int)(tensor.Count / Columns));

    public int Columns => tensor.Shape.Length > 0 ? tensor.Shape[^1] : 1;

    public long StoredCount => tensor.Count;

    public void Read(int first, int count, Span<float> destination) =>
        tensor.CopyTo((long)first * Columns, destination[..(count * Columns)]);
}
