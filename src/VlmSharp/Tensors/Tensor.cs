using VlmSharp.Kernels;

namespace VlmSharp.Tensors;

/// <summary>A view of <c>[rows, width]</c> floats in memory that somebody else owns: an arena or an <see cref="AlignedBuffer"/>.</summary>
/// <remarks>
/// Rows lie <see cref="Stride"/> floats apart, so that a slice of columns (q, k and v in one product) is a view as well.
/// A tensor is a value of a few words: passing one around copies no numbers, and it is valid only as long as its owner keeps
/// the memory (an arena until the mark below it is released).
/// </remarks>
public readonly struct Tensor
{
    /// <summary>A view into a buffer.</summary>
    /// <param name="buffer">The owner of the memory.</param>
    /// <param name="offset">First element, in floats.</param>
    /// <param name="rows">Number of rows.</param>
    /// <param name="width">Floats in a row.</param>
    /// <param name="stride">Floats from one row to the next; at least <paramref name="width"/>.</param>
    public Tensor(AlignedBuffer buffer, long offset, int rows, int width, int stride)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(rows);
        ArgumentOutOfRangeException.ThrowIfLessThan(stride, width);
        Buffer = buffer;
        Offset = offset;
        Rows = rows;
        Width = width;
        Stride = stride;
    }

    internal AlignedBuffer Buffer { get; }

    internal long Offset { get; }

    /// <summary>Number of rows.</summary>
    public int Rows { get; }

    /// <summary>Floats in a row.</summary>
    public int Width { get; }

    /// <summary>Floats from one row to the next.</summary>
    public int Stride { get; }

    /// <summary>Whether the rows follow each other without a gap.</summary>
    public bool IsContiguous => Stride == Width || Rows <= 1;

    /// <summary>From the first element of the first row to the last element of the last one; rows are <see cref="Stride"/> apart.</summary>
    public Span<float> Data =>
        Rows == 0 ? [] : Buffer.Span<float>(Offset, checked((int)(((long)(Rows - 1) * Stride) + Width)));

    /// <summary>The floats of one row.</summary>
    public Span<float> Row(int row)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual((uint)row, (uint)Rows);
        return Buffer.Span<float>(Offset + ((long)row * Stride), Width);
    }

    /// <summary>The columns <c>[start, start + count)</c> of every row.</summary>
    public Tensor Columns(int start, int count)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(start);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(start + count, Width);
        return new(Buffer, Offset + start, Rows, count, Stride);
    }

    /// <summary>The rows <c>[start, start + count)</c>.</summary>
    public Tensor Slice(int start, int count)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(start);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(start + count, Rows);
        return new(Buffer, Offset + ((long)start * Stride), count, Width, Stride);
    }

    /// <summary>The same floats in rows of another width; only for contiguous tensors.</summary>
    public Tensor Reshape(int rows, int width)
    {
        if (!IsContiguous || (long)rows * width != (long)Rows * Width)
        {
            throw new ArgumentException($"[{Rows}, {Width}] (stride {Stride}) cannot be seen as [{rows}, {width}].");
        }

        return new(Buffer, Offset, rows, width, width);
    }

    /// <summary>A copy of the values: [rows, width].</summary>
    public float[] ToArray()
    {
        float[] values = new float[checked(Rows * Width)];
        for (int row = 0; row < Rows; row++)
        {
            Row(row).CopyTo(values.AsSpan(row * Width));
        }

        return values;
    }

    /// <summary>Copies the values of a tensor of the same shape into this one; the two may overlap.</summary>
    public void CopyFrom(Tensor source)
    {
        if (source.Rows != Rows || source.Width != Width)
        {
            throw new ArgumentException($"[{source.Rows}, {source.Width}] does not fit [{Rows}, {Width}].");
        }

        if (IsContiguous && source.IsContiguous)
        {
            source.Data.CopyTo(Data);
            return;
        }

        for (int row = 0; row < Rows; row++)
        {
            source.Row(row).CopyTo(Row(row));
        }
    }
}
