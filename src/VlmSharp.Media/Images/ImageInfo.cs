namespace VlmSharp.Media.Images;

/// <summary>What the header of a picture says; no pixel is decoded to learn it.</summary>
/// <param name="Format">"JPEG", "PNG", "WebP", "GIF", "TIFF", "HEIF" or "AVIF", told from the content.</param>
/// <param name="Width">Pixels in a row, after orientation.</param>
/// <param name="Height">Rows of one frame, after orientation.</param>
/// <param name="Orientation">The EXIF orientation, 1 to 8; 1 is upright. HEIF and AVIF are turned by their own properties while decoding, and say 1.</param>
/// <param name="Frames">Frames of the animation, or pages.</param>
/// <param name="HasAlpha">Whether decoding lays it over white.</param>
public sealed record ImageInfo(string Format, int Width, int Height, int Orientation, int Frames, bool HasAlpha);
