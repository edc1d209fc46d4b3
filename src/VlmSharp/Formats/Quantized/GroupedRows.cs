using System.Buffers;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;

namespace VlmSharp.Formats.Quantized;

/// <summary>Integers of 4 or 8 bits, one scale and one zero point for each output and group of inputs: W[o, i] = (q - z) * s.</summary>
/// <remarks>
/// Integers this small are exact in f32, and so is their difference: the product is the only rounding. Sources of the formats: the code
/// published with AutoAWQ 0.2.9, AutoGPTQ 0.7.1, gptqmodel 7.7.0 and compressed-tensors 0.20.0.
/// </remarks>
abstract class GroupedRows : IRowSource
{
    readonly float[] scales;
    readonly float[] zeros;
    readonly int groups;

    // Neighbouring inputs of one group: where each run of them ends, and the group.
    readonly (int End, int Group)[] runs;

    /// <param name="rows">Outputs.</param>
    /// <param name="columns">Inputs.</param>
    /// <param name="groups">Groups of each row.</param>
    /// <param name="scales">[rows, groups]</param>
    /// <param name="zeros">[rows, groups], whole numbers.</param>
    /// <param name="groupOf">[columns], each below <paramref name="groups"/>.</param>
    /// <param name="storedCount">Elements of all tensors.</param>
    protected GroupedRows(
        int rows,
        int columns,
        int groups,
        float[] scales,
        float[] zeros,
        ReadOnlySpan<int> groupOf,
        long storedCount
    )
    {
        (Rows, Columns, StoredCount) = (rows, columns, storedCount);
        (this.scales, this.zeros, this.groups) = (scales, zeros, groups);
        List<(int, int)> found = [];
        for (int end = 1; end <= columns; end++)
        {
            if (end == columns || groupOf[end] != groupOf[end - 1])
            {
                found.Add((end, groupOf[end - 1]));
            }
        }

        runs = [.. found];
    }

    /// <inheritdoc/>
    public int Rows { get; }

    /// <inheritdoc/>
    public int Columns { get; }

    /// <inheritdoc/>
    public long StoredCount { get; }

    /// <summary>Writes the integers of some rows.</summary>
    /// <param name="first">First row.</param>
    /// <param name="count">Number of rows.</param>
    /// <param name="quants">[count, <see cref="Columns"/>]</param>
    protected abstract void Unpack(int first, int count, Span<byte> quants);

    /// <inheritdoc/>
    public void Read(int first, int count, Span<float> destination)
    {
        byte[] rented = ArrayPool<byte>.Shared.Rent(checked(count * Columns));
        Unpack(first, count, rented.AsSpan(0, count * Columns));
        for (int row = 0; row < count; row++)
        {
            ReadOnlySpan<float> scale = scales.AsSpan((first + row) * groups, groups);
            ReadOnlySpan<float> zero = zeros.AsSpan((first + row) * groups, groups);
            ReadOnlySpan<byte> quants = rented.AsSpan(row * Columns, Columns);
            Span<float> values = destination.Slice(row * Columns, Columns);
            int start = 0;
            foreach ((int end, int group) in runs)
            {
                Scale(quants[start..end], zero[group], scale[group], values[start..end]);
                start = end;
            }
        }

        ArrayPool<byte>.Shared.Return(rented);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)] // each layer is decoded once: there is no later call
    static void Scale(ReadOnlySpan<byte> quants, float zero, float scale, Span<float> values)
    {
        ref byte from = ref MemoryMarshal.GetReference(quants);
        ref float to = ref MemoryMarshal.GetReference(values);
        int i = 0;
        for (; i <= quants.Length - Vector128<byte>.Count; i += Vector128<byte>.Count)
        {
            (Vector128<ushort> low, Vector128<ushort> high) = Vector128.Widen(Vector128.LoadUnsafe(ref from, (nuint)i));
            Eight(low, i, ref to);
            Eight(high, i + 8, ref to);
        }

        for (; i < quants.Length; i++)
        {
            values[i] = (quants[i] - zero) * scale;
        }

        void Eight(Vector128<ushort> q, int at, ref float to)
        {
            (Vector128<uint> low, Vector128<uint> high) = Vector128.Widen(q);
            Vector256<float> whole = Vector256.ConvertToSingle(Vector256.Create(low.AsInt32(), high.AsInt32()));
            ((whole - Vector256.Create(zero)) * Vector256.Create(scale)).StoreUnsafe(ref to, (nuint)at);
        }
    }
}
