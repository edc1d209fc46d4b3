using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using VlmSharp.Kernels.Quantized;

namespace VlmSharp.Kernels;

/// <summary>A weight matrix W: [rows = outputs, columns = inputs] in the one layout every matrix product reads.</summary>
/// <remarks>
/// <para>
/// Panels of 32 rows, one after the other; inside a panel the 32 values of column 0, then those of column 1, and so on, so that a
/// product streams through memory once, whether it multiplies one vector or a thousand. The last panel is filled up with rows of
/// zeros, whose products are computed and thrown away.
/// </para>
/// <para>
/// Values of 16 bits stand in pairs: columns 2j and 2j + 1 of a row in the low and the high half of a 32-bit word, as dot products of
/// pairs take them. Either half becomes an f32 with one mask, the low one when the word is read from two bytes before. A
/// last column without a neighbour has zeros beside it.
/// </para>
/// <para>
/// Formats of blocks keep their codes and scales, a block of columns of all 32 rows after the other, in no more bytes than the file
/// has for them: see <see cref="PanelBlocks"/>.
/// </para>
/// <para>
/// Filled once by <see cref="PackRows"/>, <see cref="PackTransposed"/>, <see cref="PackBlocks"/> or <see cref="PackFloat8"/>, then read by any number of threads. Owns its memory, unless it
/// is a <see cref="Slice"/>.
/// </para>
/// </remarks>
public sealed unsafe partial class PackedMatrix : IDisposable
{
    /// <summary>Rows of a panel: two 512-bit vectors of f32.</summary>
    public const int PanelRows = 32;

    // Columns packed at a time: the block of the panel that is written to (8 KiB of f32) stays in the first-level cache.
    const int PackColumns = 64;

    // Before the first panel: reading the first column of 16-bit values begins two bytes early.
    const int LeadBytes = 64;

    readonly AlignedBuffer panels;
    readonly long offset; // bytes of the owner's panels before the first one of this slice
    readonly bool owned = true;

    /// <summary>A matrix of zeros.</summary>
    /// <param name="rows">Outputs of the product.</param>
    /// <param name="columns">Inputs of the product.</param>
    /// <param name="storage">How the values are stored.</param>
    public PackedMatrix(int rows, int columns, ElementType storage)
        : this(rows, columns, storage.Format()) { }

    /// <summary>A matrix whose weights are plain zeros, or have zero for scale.</summary>
    /// <param name="rows">Outputs of the product.</param>
    /// <param name="columns">Inputs of the product.</param>
    /// <param name="storage">How the values are stored.</param>
    /// <exception cref="ArgumentException">The columns are no multiple of <see cref="WeightFormats.BlockColumns"/>.</exception>
    public PackedMatrix(int rows, int columns, WeightFormat storage)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(rows);
        ArgumentOutOfRangeException.ThrowIfNegative(columns);
        Rows = rows;
        Columns = columns;
        Storage = storage;
        Blocks = PanelBlocks.Of(storage);
        PanelBytes =
            columns % storage.BlockColumns() == 0
                ? BytesOfPanel(columns, storage)
                : throw new ArgumentException(
                    $"{columns} columns are no multiple of the {storage.BlockColumns()} of a block of {storage}",
                    nameof(columns)
                );
        panels = new AlignedBuffer(checked(LeadBytes + (PanelCount * PanelBytes)));
    }

    PackedMatrix(PackedMatrix whole, int firstRow, int rows)
    {
        Rows = rows;
        Columns = whole.Columns;
        Storage = whole.Storage;
        Blocks = whole.Blocks;
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
    public WeightFormat Storage { get; }

    /// <summary>Size of the packed values, the zeros of the last panel included.</summary>
    public long Bytes => checked(PanelCount * PanelBytes);

    /// <summary>The blocks of integers of <see cref="Storage"/>; null for floats.</summary>
    internal PanelBlocks? Blocks { get; }

    /// <summary>How many panels there are.</summary>
    internal int PanelCount => (int)PanelsOf(Rows);

    /// <summary>Bytes from one panel to the next.</summary>
    internal long PanelBytes { get; }

    /// <summary>The first byte of panel 0. Whoever uses it keeps the matrix alive.</summary>
    internal byte* Panels => panels.Pointer + LeadBytes + offset;

    static long PanelsOf(int rows) => ((long)rows + PanelRows - 1) / PanelRows;

    static long BytesOfPanel(int columns, WeightFormat storage) =>
        PanelBlocks.Of(storage) is { } blocks ? (long)columns / blocks.Columns * blocks.PanelBytes
        : storage == WeightFormat.F8 ? (long)columns / Float8.Columns * Float8.PanelBytes
        : storage == WeightFormat.F32 ? (long)columns * PanelRows * storage.ValueBytes()
        : (columns + 1L) / 2 * 2 * PanelRows * storage.ValueBytes();

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
            RunPanels(firstRow, rowCount, pool, ref body);
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
            RunPanels(firstRow, rowCount, pool, ref body);
        }

        GC.KeepAlive(this);
    }

    // A part for each panel that some of the rows lie in: two threads never write into the same one.
    static void RunPanels<TBody>(int firstRow, int rowCount, WorkerPool pool, ref TBody body)
        where TBody : struct, IParallelBody =>
        pool.Run((firstRow + rowCount - 1) / PanelRows - firstRow / PanelRows + 1, ref body);

    void Check(int firstRow, int rowCount, ReadOnlySpan<byte> source, ElementType sourceType, WorkerPool pool)
    {
        if (sourceType.Format() != Storage && Storage != WeightFormat.F32)
        {
            throw new ArgumentException(
                $"{sourceType} values do not fit into {Storage} without rounding",
                nameof(sourceType)
            );
        }

        CheckRows(firstRow, rowCount, pool);
        CheckSize(rowCount, source, (long)rowCount * Columns * sourceType.Size(), $"{sourceType} values");
    }

    void CheckRows(int firstRow, int rowCount, WorkerPool pool)
    {
        ArgumentNullException.ThrowIfNull(pool);
        if (firstRow < 0 || rowCount < 0 || firstRow > Rows - rowCount)
        {
            throw new ArgumentOutOfRangeException(
                nameof(firstRow),
                $"rows [{firstRow}, {firstRow} + {rowCount}) of a matrix of {Rows} rows"
            );
        }
    }

    void CheckSize(int rowCount, ReadOnlySpan<byte> source, long expected, string what)
    {
        if (source.Length != expected)
        {
            throw new ArgumentException(
                $"{rowCount} rows of {Columns} {what} are {expected} bytes, the source has {source.Length}",
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

        byte* panel = Panels + row / PanelRows * PanelBytes;
        if (Blocks is not null)
        {
            UnpackRow(Blocks, panel, row % PanelRows, destination);
            GC.KeepAlive(this);
            return;
        }

        for (int k = 0; k < destination.Length; k++)
        {
            byte* value = panel + OffsetInPanel(row % PanelRows, k);
            destination[k] = Storage switch
            {
                WeightFormat.F8 => Float8.Value(
                    panel + (k / Float8.Columns * Float8.PanelBytes),
                    row % PanelRows,
                    k % Float8.Columns
                ),
                WeightFormat.F32 => *(float*)value,
                WeightFormat.BF16 => Widen.BF16(*(ushort*)value),
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

    // Bytes from the start of a panel to the value of a row in a column.
    nint OffsetInPanel(int row, nint column) =>
        Storage == WeightFormat.F32
            ? (column * PanelRows + row) * sizeof(float)
            : ((column / 2 * PanelRows + row) * 2 + column % 2) * sizeof(ushort);

    readonly struct PackBody(PackedMatrix matrix, byte* source, ElementType sourceType, int firstRow, int endRow)
        : IParallelBody
    {
        public void Run(int part, int worker)
        {
            int panel = firstRow / PanelRows + part;
            byte* target = matrix.Panels + panel * matrix.PanelBytes;
            int start = Math.Max(firstRow, panel * PanelRows);
            int end = Math.Min(endRow, panel * PanelRows + PanelRows);
            int packed = 0;
            if (Sse2.IsSupported && end - start == PanelRows && matrix.Storage != WeightFormat.F32)
            {
                packed = matrix.Columns / 8 * 8;
                Transpose((ushort*)source + (long)(start - firstRow) * matrix.Columns, matrix.Columns, packed, target);
            }

            for (int column = packed; column < matrix.Columns; column += PackColumns)
            {
                int count = Math.Min(PackColumns, matrix.Columns - column);
                for (int row = start; row < end; row++)
                {
                    long index = (long)(row - firstRow) * matrix.Columns + column;
                    byte* from = source + index * sourceType.Size();
                    Scatter(from, target + matrix.OffsetInPanel(row % PanelRows, column), count);
                }
            }
        }

        /// <summary>A whole panel of 16-bit values, the common case: eight columns at a time, transposed in registers.</summary>
        /// <param name="from">[32, stride]</param>
        /// <param name="stride">Values from row to row.</param>
        /// <param name="columns">A multiple of 8.</param>
        /// <param name="to">[columns / 2][32] words: an even column in the lower half, the odd one after it in the upper.</param>
        [MethodImpl(MethodImplOptions.AggressiveOptimization)] // loading packs each matrix once: there is no later call
        static void Transpose(ushort* from, long stride, int columns, byte* to)
        {
            const int pairBytes = PanelRows * sizeof(uint);
            for (int column = 0; column < columns; column += 8, from += 8, to += 4 * pairBytes)
            {
                for (int row = 0; row < PanelRows; row += 4)
                {
                    // Four words, each two columns, of four rows become four rows of each word.
                    ushort* rows = from + row * stride;
                    Vector128<uint> a = Vector128.Load((uint*)rows);
                    Vector128<uint> b = Vector128.Load((uint*)(rows + stride));
                    Vector128<uint> c = Vector128.Load((uint*)(rows + 2 * stride));
                    Vector128<uint> d = Vector128.Load((uint*)(rows + 3 * stride));
                    byte* words = to + row * sizeof(uint);
                    Vector128<ulong> ab = Sse2.UnpackLow(a, b).AsUInt64();
                    Vector128<ulong> cd = Sse2.UnpackLow(c, d).AsUInt64();
                    Sse2.UnpackLow(ab, cd).Store((ulong*)words);
                    Sse2.UnpackHigh(ab, cd).Store((ulong*)(words + pairBytes));
                    ab = Sse2.UnpackHigh(a, b).AsUInt64();
                    cd = Sse2.UnpackHigh(c, d).AsUInt64();
                    Sse2.UnpackLow(ab, cd).Store((ulong*)(words + 2 * pairBytes));
                    Sse2.UnpackHigh(ab, cd).Store((ulong*)(words + 3 * pairBytes));
                }
            }
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
                case ElementType.BF16 when matrix.Storage == WeightFormat.F32:
                    for (int i = 0; i < count; i++)
                    {
                        ((float*)to)[i * PanelRows] = Widen.BF16(Unsafe.ReadUnaligned<ushort>(from + i * 2));
                    }

                    break;
                case ElementType.F16 when matrix.Storage == WeightFormat.F32:
                    for (int i = 0; i < count; i++)
                    {
                        ((float*)to)[i * PanelRows] = Widen.F16(Unsafe.ReadUnaligned<ushort>(from + i * 2));
                    }

                    break;
                default:
                    // The first column of a block is an even one.
                    for (int i = 0; i < count; i++)
                    {
                        ((ushort*)to)[(i / 2 * PanelRows * 2) + (i % 2)] = Unsafe.ReadUnaligned<ushort>(from + i * 2);
                    }

                    break;
            }
        }
    }
}
