using VlmSharp.Testing;

namespace VlmSharp.Tests.Kernels;

/// <summary>A guarded [rows, width] matrix whose rows lie <c>stride</c> apart; the gaps hold a NaN nobody may read or overwrite.</summary>
sealed class Strided : IDisposable
{
    static readonly float Gap = BitConverter.Int32BitsToSingle(0x7FC0BEEF);

    readonly GuardedMemory<float> memory;

    internal Strided(int rows, int width, int stride, Func<int, int, float>? value = null, bool guardBefore = false)
    {
        (Rows, Width, Stride) = (rows, width, stride);
        memory = new(rows == 0 ? 0 : ((rows - 1) * stride) + width, guardBefore);
        memory.Span.Fill(Gap);
        for (int r = 0; r < rows; r++)
        {
            for (int i = 0; i < width; i++)
            {
                memory.Span[(r * stride) + i] = value?.Invoke(r, i) ?? 0;
            }
        }
    }

    internal int Rows { get; }

    internal int Width { get; }

    internal int Stride { get; }

    internal Span<float> Span => memory.Span;

    internal Span<float> Row(int r) => memory.Span.Slice(r * Stride, Width);

    /// <summary>The elements without the gaps.</summary>
    internal float[] ToArray()
    {
        var values = new float[Rows * Width];
        for (int r = 0; r < Rows; r++)
        {
            Row(r).CopyTo(values.AsSpan(r * Width));
        }

        return values;
    }

    public void Dispose()
    {
        for (int i = 0; i < memory.Length; i++)
        {
            bool gap = i % Stride >= Width;
            if (gap && BitConverter.SingleToInt32Bits(memory.Span[i]) != BitConverter.SingleToInt32Bits(Gap))
            {
                throw new InvalidOperationException($"the gap behind row {i / Stride} was overwritten");
            }
        }

        memory.Dispose();
    }
}
