namespace VlmSharp.Kernels.Imaging;

/// <summary>How rows of 8-bit pixels lie between the two passes: channel after channel, padded so that whole vectors may be written.</summary>
/// <remarks>Row r of channel c starts at <c>r * RowStride + c * PlaneStride</c>. Padding is undefined and never read as pixels.</remarks>
readonly record struct PlanarRows
{
    /// <summary>Rows and columns come in blocks of 16; two blocks of columns are written at once.</summary>
    public const int ColumnBlock = 32;

    const int CacheLine = 64;

    public PlanarRows(int width, int channels)
    {
        Width = width;
        Channels = channels;
        PlaneStride = checked((width + ColumnBlock - 1) / ColumnBlock * ColumnBlock);

        // An odd number of cache lines: the rows of one column strip fall into different cache sets.
        int lines = checked(PlaneStride * channels + CacheLine - 1) / CacheLine;
        RowStride = checked((lines | 1) * CacheLine);
    }

    public int Width { get; }
    public int Channels { get; }

    /// <summary>Bytes from one channel of a row to the next.</summary>
    public int PlaneStride { get; }

    /// <summary>Bytes from one row to the next.</summary>
    public int RowStride { get; }
}
