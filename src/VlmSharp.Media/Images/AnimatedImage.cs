namespace VlmSharp.Media.Images;

/// <summary>The frames of an animation, each whole and composed, or the pages of a multi-page file.</summary>
/// <param name="Frames">In order of display, at least one. The frames of an animation have one size; the pages of a TIFF or HEIF may differ.</param>
/// <param name="Delays">How long each frame is shown, as the file says it, in milliseconds; zero where the file gives no time (viewers then choose one, usually 100 ms).</param>
/// <param name="LoopCount">How often the animation is played; 0 means for ever.</param>
public sealed record AnimatedImage(IReadOnlyList<RgbImage> Frames, IReadOnlyList<TimeSpan> Delays, int LoopCount);
