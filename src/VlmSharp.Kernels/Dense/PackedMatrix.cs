using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace VlmSharp.Kernels;

/// <summary>A weight matrix W: [rows = outputs, columns = inputs] in the one layout every matrix product reads.</summary>
/// <remarks>
/// <para>
/// Panels of 32 rows, one after the other; inside a panel the 32 values of column 0, then those of column 1, and so on, so that a
/// product streams through memory once, whether it multiplies one vector or a thousand. The last panel is filled up with rows of
/// zeros, whose products are computed and thrown away.
/// </para>
/// <para>
/// Values of 16 bits stand in pairs: row r of the panel in the low and row r + 16 in the high half of a 32-bit word, so that both
/// halves of a 64-byte load become f32 vectors of consecutive rows with one shift or mask each.
/// </para>
/// <para>
/// Filled once by <see cref="PackRows"/> or <see cref="PackTransposed"/>, then read by any number of threads. Owns its memory, unless it
/// is a <see cref="Slice"/>.
/// </para>
/// </remarks>
public sealed unsafe partial class PackedMatrix : IDisposable
{
    /// <summary>Rows of a panel: two 512-bit vectors of f32.</summary>
    public const int PanelRows = 32;

    // Columns packed at a time: the block of the panel that is written to (8 KiB of f32) stays in the first-level cache.
    const int PackColumns = 64;

    readonly AlignedBuffer panels;
    readonly long offset; // bytes of the owner's panels before the first one of this slice
    readonly bool owned = true;

    /// <summary>A matrix of zeros.</summary>
    /// <param name="rows">Outputs of the product.</param>
    /// <param name="columns">Inputs of the product.</param>
    /// <param name="storage">How the values are stored.</param>
    public PackedMatrix(int rows, int columns, ElementType storage)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(rows);
        ArgumentOutOfRangeException.ThrowIfNegative(columns);
        Rows = rows;
        Columns = columns;
        Storage = storage;
        PanelBytes = (long)columns * PanelRows * storage.Size();
        panels = new AlignedBuffer(checked(PanelCount * PanelBytes));
    }

    PackedMatrix(PackedMatrix whole, int firstRow, int rows)
    {
        Rows = rows;
        Columns = whole.Columns;
        Storage = whole.Storage;
        PanelBytes = whole.PanelBytes;
        panels = whole.panels;
        offset = whole.offset + (firstRow / PanelRows * PanelBytes);
        owned = false;
    }

    /// <summary>Outputs of the product.</summary>
    public int Rows { get; }

    /// <summary>Inputs of the product.</summary>
    public int Columns { get; }

    /// <summary>How the values are stored.</summary>
    public ElementType Storage { get; }

    /// <summary>Size of the packed values, the zeros of the last panel included.</summary>
    public long Bytes => checked(PanelCount * PanelBytes);

    /// <summary>How many panels there are.</summary>
    internal int PanelCount => (int)(((long)Rows + PanelRows - 1) / PanelRows);

    /// <summary>Bytes from one panel to the next.</summary>
    internal long PanelBytes { get; }

    /// <summary>The first byte of panel 0. Whoever uses it keeps the matrix alive.</summary>
    internal byte* Panels => panels.Pointer + offset;

    /// <summary>Some rows as a matrix of their own, in the memory of this one: one of several matrices that are stacked.</summary>
    /// <param name="firstRow">A multiple of <see cref="PanelRows"/>.</param>
    /// <param name="rows">Number of rows.</param>
    /// <returns>A matrix that is usable until this one is disposed; disposing it frees nothing.</returns>
    public PackedMatrix Slice(int firstRow, int rows)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(firstRow);
        ArgumentOutOfRangeException.ThrowIfNegative(rows);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(firstRow, Rows - rows);
        return firstRow % PanelRows == 0
            ? new PackedMatrix(this, firstRow, rows)
            : throw new ArgumentOutOfRangeException(nameof(firstRow), $"{firstRow} is not the first row of a panel");
    }

    /// <summary>Stores rows [<paramref name="firstRow"/>, <paramref name="firstRow"/> + <paramref name="rowCount"/>).</summary>
    /// <param name="firstRow">First row to store; a matrix may be filled in pieces, in any order.</param>
    /// <param name="rowCount">Number of rows.</param>
    /// <param name="source">Row-major [rowCount, columns], little endian, at any address.</param>
    /// <param name="sourceType">Type of the source: <see cref="Storage"/> itself, or one that it holds exactly.</param>
    /// <param name="pool">Threads to share the work.</param>
    /// <exception cref="ArgumentException">The conversion would round, or the source has another size than the rows.</exception>
    public void PackRows(int firstRow, int rowCount, ReadOnlySpan<byte> source, ElementType sourceType, WorkerPool pool)
    {
        Check(firstRow, rowCount, source, sourceType, pool);
        if (source.IsEmpty)
        {
            return;
        }

        fixed (byte* first = source)
        {
            var body = new PackBody(this, first, sourceType, firstRow, firstRow + rowCount);
            pool.Run((firstRow + rowCount - 1) / PanelRows - firstRow / PanelRows + 1, ref body);
        }

        GC.KeepAlive(this);
    }

    /// <summary>Stores rows [<paramref name="firstRow"/>, <paramref name="firstRow"/> + <paramref name="rowCount"/>) that are the columns of the source: weights made for x @ W.</summary>
    /// <param name="firstRow">First row to store.</param>
    /// <param name="rowCount">Number of rows.</param>
    /// <param name="source">Row-major [columns, rowCount], little endian, at any address.</param>
    /// <param name="sourceType">As for <see cref="PackRows"/>.</param>
    /// <param name="pool">Threads to share the work.</param>
    /// <exception cref="ArgumentException">The conversion would round, or the source has another size than the rows.</exception>
    public void PackTransposed(
        int firstRow,
        int rowCount,
        ReadOnlySpan<byte> source,
        ElementType sourceType,
        WorkerPool pool
    )
    {
        Check(firstRow, rowCount, source, sourceType, pool);
        if (source.IsEmpty)
        {
            return;
        }

        fixed (byte* first = source)
        {
            var body = new TransposeBody(this, first, sourceType, firstRow, firstRow + rowCount);
            pool.Run((firstRow + rowCount - 1) / PanelRows - firstRow / PanelRows + 1, ref body);
        }

        GC.KeepAlive(this);
    }

    void Check(int firstRow, int rowCount, ReadOnlySpan<byte> source, ElementType sourceType, WorkerPool pool)
    {
        ArgumentNullException.ThrowIfNull(pool);
        if (firstRow < 0 || rowCount < 0 || firstRow > Rows - rowCount)
        {
            throw new ArgumentOutOfRangeException(
                nameof(firstRow),
                $"rows [{firstRow}, {firstRow} + {rowCount}) of a matrix of {Rows} rows"
            );
        }

        if (!sourceType.WidensTo(Storage))
        {
            throw new ArgumentException(
                $"{sourceType} values do not fit into {Storage} without rounding",
                nameof(sourceType)
            );
        }

        long expected = (long)rowCount * Columns * sourceType.Size();
        if (source.Length != expected)
        {
            throw new ArgumentException(
                $"{rowCount} rows of {Columns} {sourceType} values are {expected} bytes, the source has {source.Length}",
                nameof(source)
            );
        }
    }

    /// <summary>Reads one row back, exactly: a look-up in an embedding that is tied to the output head.</summary>
    /// <param name="row">Which row.</param>
    /// <param name="destination">[columns]</param>
    public void UnpackRow(int row, Span<float> destination)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(row);
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(row, Rows);
        if (destination.Length != Columns)
        {
            throw new ArgumentException(
                $"a row has {Columns} values, the destination {destination.Length}",
                nameof(destination)
            );
        }

        byte* value = Panels + row / PanelRows * PanelBytes + OffsetInColumn(row % PanelRows);
        int step = PanelRows * Storage.Size();
        for (int k = 0; k < destination.Length; k++, value += step)
        {
            destination[k] = Storage switch
            {
                ElementType.F32 => *(float*)value,
                ElementType.BF16 => Widen.BF16(*(ushort*)value),
                _ => Widen.F16(*(ushort*)value),
            };
        }

        GC.KeepAlive(this);
    }

    /// <summary>Frees the memory.</summary>
    public void Dispose()
    {
        if (owned)
        {
            panels.Dispose();
        }
    }

    // Bytes from the start of a column of a panel to the value of one of its 32 rows.
    int OffsetInColumn(int row) => Storage == ElementType.F32 ? row * 4 : row % 16 * 4 + row / 16 * 2;

    readonly struct PackBody(PackedMatrix matrix, byte* source, ElementType sourceType, int firstRow, int endRow)
        : IParallelBody
    {
        // One part is one panel, so that two threads never write into the same one.
        public void Run(int part, int worker)
        {
            int panel = firstRow / PanelRows + part;
            byte* target = matrix.Panels + panel * matrix.PanelBytes;
            int start = Math.Max(firstRow, panel * PanelRows);
            int end = Math.Min(endRow, panel * PanelRows + PanelRows);
            int packed = 0;
            if (Sse2.IsSupported && end - start == PanelRows && matrix.Storage != ElementType.F32)
            {
                packed = matrix.Columns / 8 * 8;
                Interleave((ushort*)source + (long)(start - firstRow) * matrix.Columns, matrix.Columns, packed, target);
            }

            for (int column = packed; column < matrix.Columns; column += PackColumns)
            {
                int count = Math.Min(PackColumns, matrix.Columns - column);
                for (int row = start; row < end; row++)
                {
                    long index = (long)(row - firstRow) * matrix.Columns + column;
                    byte* from = source + index * sourceType.Size();
                    byte* to =
                        target
                        + (long)column * PanelRows * matrix.Storage.Size()
                        + matrix.OffsetInColumn(row % PanelRows);
                    Scatter(from, to, count);
                }
            }
        }

        /// <summary>A whole panel of 16-bit values, the common case: eight columns at a time, transposed in registers.</summary>
        /// <param name="from">[32, stride]</param>
        /// <param name="stride">Values from row to row.</param>
        /// <param name="columns">A multiple of 8.</param>
        /// <param name="to">[columns][16] words: row r in the lower half of word r, row r + 16 in the upper.</param>
        [MethodImpl(MethodImplOptions.AggressiveOptimization)] // loading packs each matrix once: there is no later call
        static void Interleave(ushort* from, long stride, int columns, byte* to)
        {
            for (int column = 0; column < columns; column += 8, from += 8, to += 8 * PanelRows * sizeof(ushort))
            {
                for (int row = 0; row < 16; row += 4)
                {
                    ushort* low = from + row * stride;
                    ushort* high = low + 16 * stride;
                    Vector128<ushort> a = Vector128.Load(low);
                    Vector128<ushort> b = Vector128.Load(low + stride);
                    Vector128<ushort> c = Vector128.Load(low + 2 * stride);
                    Vector128<ushort> d = Vector128.Load(low + 3 * stride);
                    Vector128<ushort> e = Vector128.Load(high);
                    Vector128<ushort> f = Vector128.Load(high + stride);
                    Vector128<ushort> g = Vector128.Load(high + 2 * stride);
                    Vector128<ushort> h = Vector128.Load(high + 3 * stride);
                    byte* words = to + row * sizeof(uint);
                    Transpose(
                        Sse2.UnpackLow(a, e),
                        Sse2.UnpackLow(b, f),
                        Sse2.UnpackLow(c, g),
                        Sse2.UnpackLow(d, h),
                        words
                    );
                    Transpose(
                        Sse2.UnpackHigh(a, e),
                        Sse2.UnpackHigh(b, f),
                        Sse2.UnpackHigh(c, g),
                        Sse2.UnpackHigh(d, h),
                        words + 4 * PanelRows * sizeof(ushort)
                    );
                }
            }
        }

        // Four words of four columns each become four words of one column after the other.
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        static void Transpose(
            Vector128<ushort> a,
            Vector128<ushort> b,
            Vector128<ushort> c,
            Vector128<ushort> d,
            byte* to
        )
        {
            const int columnBytes = PanelRows * sizeof(ushort);
            Vector128<ulong> ab = Sse2.UnpackLow(a.AsUInt32(), b.AsUInt32()).AsUInt64();
            Vector128<ulong> cd = Sse2.UnpackLow(c.AsUInt32(), d.AsUInt32()).AsUInt64();
            Sse2.UnpackLow(ab, cd).Store((ulong*)to);
            Sse2.UnpackHigh(ab, cd).Store((ulong*)(to + columnBytes));
            ab = Sse2.UnpackHigh(a.AsUInt32(), b.AsUInt32()).AsUInt64();
            cd = Sse2.UnpackHigh(c.AsUInt32(), d.AsUInt32()).AsUInt64();
            Sse2.UnpackLow(ab, cd).Store((ulong*)(to + 2 * columnBytes));
            Sse2.UnpackHigh(ab, cd).Store((ulong*)(to + 3 * columnBytes));
        }

        // count consecutive values of a row to the same place of count consecutive columns
        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        void Scatter(byte* from, byte* to, int count)
        {
            switch (sourceType)
            {
                case ElementType.F32:
                    for (int i = 0; i < count; i++)
                    {
                        ((uint*)to)[i * PanelRows] = Unsafe.ReadUnaligned<uint>(from + i * 4);
                    }

                    break;
                case ElementType.BF16 when matrix.Storage == ElementType.F32:
                    for (int i = 0; i < count; i++)
                    {
                        ((float*)to)[i * PanelRows] = Widen.BF16(Unsafe.ReadUnaligned<ushort>(from + i * 2));
                    }

                    break;
                case ElementType.F16 when matrix.Storage == ElementType.F32:
                    for (int i = 0; i < count; i++)
                    {
                        ((float*)to)[i * PanelRows] = Widen.F16(Unsafe.ReadUnaligned<ushort>(from + i * 2));
                    }

                    break;
                default:
                    for (int i = 0; i < count; i++)
                    {
                        ((ushort*)to)[i * PanelRows] = Unsafe.ReadUnaligned<ushort>(from + i * 2);
                    }

                    break;
            }
        }
    }
}
