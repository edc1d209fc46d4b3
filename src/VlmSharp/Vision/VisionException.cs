namespace VlmSharp.Vision;

/// <summary>A picture or video that no model can be shown: no pixels, sides too different, too many patches.</summary>
/// <remarks>
/// The message is meant for whoever sent the picture and holds the numbers. Wrong calls (spans of the wrong length, impossible
/// settings) are <see cref="ArgumentException"/>s instead.
/// </remarks>
public sealed class VisionException(string message) : Exception(message);
