namespace VlmSharp.Kernels.Imaging;

/// <summary>How a picture is cut into patches: the layout of <c>pixel_values</c>.</summary>
/// <param name="PatchSize">side of a patch in pixels</param>
/// <param name="TemporalSize">frames per patch</param>
/// <param name="MergeSize">side of a group of patches that become one token; patches of a group are neighbours in memory</param>
/// <param name="Rows">patches from top to bottom, a multiple of <paramref name="MergeSize"/></param>
/// <param name="Columns">patches from left to right, a multiple of <paramref name="MergeSize"/></param>
public readonly record struct PatchGrid(int PatchSize, int TemporalSize, int MergeSize, int Rows, int Columns)
{
    internal const int Channels = 3;

    /// <summary>Height of the picture in pixels.</summary>
    public int Height => checked(Rows * PatchSize);

    /// <summary>Width of the picture in pixels.</summary>
    public int Width => checked(Columns * PatchSize);

    /// <summary>Values of one patch: (channel, frame, row, column).</summary>
    public int PatchLength => checked(Channels * TemporalSize * PatchSize * PatchSize);

    /// <summary>Values of all patches of one temporal step.</summary>
    public long Length => (long)Rows * Columns * PatchLength;

    /// <summary>Picture rows that one row of groups covers.</summary>
    internal int BandRows => PatchSize * MergeSize;

    /// <summary>Values of one row of groups.</summary>
    internal long BandLength => (long)MergeSize * Columns * PatchLength;
}
