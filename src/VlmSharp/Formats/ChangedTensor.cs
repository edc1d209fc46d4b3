using System.Runtime.InteropServices;
using VlmSharp.Kernels;

namespace VlmSharp.Formats;

/// <summary>The values of a tensor after <see cref="IWeightChange"/>s, computed when they are first read.</summary>
/// <param name="file">The file that holds what they are computed from, for messages.</param>
/// <param name="type">F32, F16 or BF16, to which they are rounded.</param>
/// <param name="compute">Computes them.</param>
sealed class ChangedTensor(string file, SafetensorsType type, Func<float[]> compute) : ITensorBytes
{
    float[]? values;
    ushort[]? rounded;

    public string Name => file;

    public ReadOnlySpan<byte> Slice(string tensor, long offset, long size)
    {
        if (values is null && rounded is null)
        {
            values = compute();
            if (type != SafetensorsType.F32)
            {
                rounded = Array.ConvertAll<float, ushort>(values, type == SafetensorsType.F16 ? ToHalf : Narrow.ToBF16);
                values = null;
            }
        }

        if (size > int.MaxValue)
        {
            throw new CheckpointException(
                file,
                $"tensor {Quote.Name(tensor)} has {size} bytes, more than the {int.MaxValue} that are read at once: read it by rows"
            );
        }

        return rounded is null
            ? MemoryMarshal.AsBytes(values.AsSpan((int)(offset / sizeof(float)), (int)(size / sizeof(float))))
            : MemoryMarshal.AsBytes(rounded.AsSpan((int)(offset / sizeof(ushort)), (int)(size / sizeof(ushort))));
    }

    static ushort ToHalf(float value) => BitConverter.HalfToUInt16Bits((Half)value);
}
