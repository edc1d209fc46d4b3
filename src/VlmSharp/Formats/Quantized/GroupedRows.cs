using System.Buffers;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using VlmSharp.Kernels;

namespace VlmSharp.Formats.Quantized;

/// <summary>Integers of 4 or 8 bits, one scale and one zero point for each output and group of inputs: W[o, i] = (q - z) * s.</summary>
/// <remarks>
/// Integers this small are exact in f32, and so is their difference: the product is the only rounding. Sources of the formats: the code
/// published with AutoAWQ 0.2.9, AutoGPTQ 0.7.1, gptqmodel 7.7.0 and compressed-tensors 0.20.0.
/// </remarks>
abstract class GroupedRows : IRowSource
{
    // Rows that one thread unpacks at a time, and how often it does before they are packed.
    const int UnpackedRows = PackedMatrix.PanelRows;
    const int UnpackedTimes = 4;

    readonly Groups groups;
    readonly int packedGroup; // columns of a group as a matrix holds it

    // Neighbouring inputs of one group: where each run of them ends, and the group.
    readonly (int End, int Group)[] runs;

    /// <summary>The groups of a layer.</summary>
    /// <param name="Rows">Outputs.</param>
    /// <param name="Columns">Inputs.</param>
    /// <param name="Count">Groups of each row.</param>
    protected sealed record Groups(int Rows, int Columns, int Count)
    {
        /// <summary>Bits of an integer.</summary>
        public required int Bits { get; init; }

        /// <summary>[rows, groups]</summary>
        public required float[] Scales { get; init; }

        /// <summary>[rows, groups], whole numbers.</summary>
        public required float[] Zeros { get; init; }

        /// <summary>[columns], each below <see cref="Count"/>.</summary>
        public required int[] Of { get; init; }

        /// <summary>Elements of all tensors of the layer.</summary>
        public required long StoredCount { get; init; }
    }

    protected GroupedRows(Groups groups)
    {
        this.groups = groups;
        List<(int, int)> found = [];
        for (int end = 1; end <= groups.Columns; end++)
        {
            if (end == groups.Columns || groups.Of[end] != groups.Of[end - 1])
            {
                found.Add((end, groups.Of[end - 1]));
            }
        }

        runs = [.. found];
        packedGroup = PackedGroup();
        Format = packedGroup == 0 ? WeightFormat.F32 : WeightFormats.Groups(groups.Bits, packedGroup)!.Value;
    }

    // The longest run of columns that share a group everywhere, of those a matrix knows; 0 where there is none: groups that are out of
    // order or too short, and scales that are no f16.
    int PackedGroup()
    {
        foreach (int columns in (ReadOnlySpan<int>)[128, 64, 32])
        {
            if (
                WeightFormats.Groups(groups.Bits, columns) is not null
                && Columns % columns == 0
                && Array.TrueForAll(runs, run => run.End % columns == 0)
            )
            {
                return PackedMatrix.HoldsScales(groups.Scales) ? columns : 0;
            }
        }

        return 0;
    }

    /// <inheritdoc/>
    public int Rows => groups.Rows;

    /// <inheritdoc/>
    public int Columns => groups.Columns;

    /// <inheritdoc/>
    public long StoredCount => groups.StoredCount;

    /// <inheritdoc/>
    public WeightFormat Format { get; }

    /// <inheritdoc/>
    public void Pack(PackedMatrix packed, int firstRow, WorkerPool pool)
    {
        int across = Columns / packedGroup;
        int rowsAtOnce = Math.Min(UnpackedRows * UnpackedTimes * pool.Threads, Rows);
        byte[] codes = ArrayPool<byte>.Shared.Rent(checked(rowsAtOnce * Columns));
        float[] scales = new float[rowsAtOnce * across];
        byte[] zeros = new byte[rowsAtOnce * across];
        for (int row = 0; row < Rows; row += rowsAtOnce)
        {
            int count = Math.Min(rowsAtOnce, Rows - row);
            UnpackBody body = new(this, row, count, codes);
            pool.Run((count + UnpackedRows - 1) / UnpackedRows, ref body);
            for (int r = 0; r < count; r++)
            {
                int first = (row + r) * groups.Count;
                int at = r * across;
                foreach ((int end, int group) in runs)
                {
                    for (; at < (r * across) + (end / packedGroup); at++)
                    {
                        scales[at] = groups.Scales[first + group];
                        zeros[at] = (byte)groups.Zeros[first + group];
                    }
                }
            }

            packed.PackGroups(
                firstRow + row,
                count,
                codes.AsSpan(0, count * Columns),
                scales.AsSpan(0, count * across),
                zeros.AsSpan(0, count * across),
                pool
            );
        }

        ArrayPool<byte>.Shared.Return(codes);
    }

    readonly struct UnpackBody(GroupedRows source, int first, int count, byte[] codes) : IParallelBody
    {
        public void Run(int part, int worker)
        {
            int row = part * UnpackedRows;
            int rows = Math.Min(UnpackedRows, count - row);
            source.Unpack(first + row, rows, codes.AsSpan(row * source.Columns, rows * source.Columns));
        }
    }

    /// <summary>[groups, rows], as some formats have it, to [rows, groups].</summary>
    protected static float[] ByRow(ReadOnlySpan<float> byGroup, int groups)
    {
        float[] values = new float[byGroup.Length];
        int rows = values.Length / groups;
        for (int i = 0; i < values.Length; i++)
        {
            values[i] = byGroup[(i % groups * rows) + (i / groups)];
        }

        return values;
    }

    /// <summary>The group of every input, where so many neighbours at a time share one.</summary>
    protected static int[] InOrder(int columns, int group) => [.. Enumerable.Range(0, columns).Select(i => i / group)];

    /// <summary>Writes the integers of some rows; may be called from several threads.</summary>
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
            ReadOnlySpan<float> scale = groups.Scales.AsSpan((first + row) * groups.Count, groups.Count);
            ReadOnlySpan<float> zero = groups.Zeros.AsSpan((first + row) * groups.Count, groups.Count);
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
