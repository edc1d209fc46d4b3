namespace VlmSharp.Vision;

/// <summary>A medium cut into patches: <c>image_grid_thw</c>, <c>video_grid_thw</c>.</summary>
/// <param name="T">temporal patches; 1 for a picture</param>
/// <param name="H">patches from top to bottom</param>
/// <param name="W">patches from left to right</param>
public readonly record struct GridThw(int T, int H, int W)
{
    /// <summary>All patches: the rows of <c>pixel_values</c>.</summary>
    public int Patches => checked(T * H * W);

    /// <summary>Tokens after <paramref name="merge"/> x <paramref name="merge"/> patches were merged into one.</summary>
    public int MergedTokens(int merge) => Patches / (merge * merge);

    /// <inheritdoc/>
    public override string ToString() => $"{T} x {H} x {W}";
}
