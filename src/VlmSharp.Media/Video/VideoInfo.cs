namespace VlmSharp.Media.Video;

/// <summary>A unit of time: numerator / denominator seconds.</summary>
/// <param name="Numerator">At least 1.</param>
/// <param name="Denominator">At least 1.</param>
public readonly record struct TimeBase(int Numerator, int Denominator)
{
    /// <summary>Seconds of a number of units.</summary>
    public double Seconds(long units) => (double)units * Numerator / Denominator;
}

/// <summary>What a film's container and the list of its frames say; no pixel is decoded to learn it.</summary>
/// <param name="Container">As ffprobe calls it: <c>mov,mp4,m4a,3gp,3g2,mj2</c>, <c>matroska,webm</c>.</param>
/// <param name="Codec">As ffprobe calls it: <c>h264</c>.</param>
/// <param name="CodedWidth">Pixels in a row as stored.</param>
/// <param name="CodedHeight">Rows as stored.</param>
/// <param name="Rotation">Degrees by which the container has the frames turned, 0 to 359, counterclockwise; frames are read upright.</param>
/// <param name="TimeBase">Unit of the frames' time stamps.</param>
/// <param name="NominalRate">Frames per second as the container says it; 0 where it does not.</param>
public sealed record VideoInfo(
    string Container,
    string Codec,
    int CodedWidth,
    int CodedHeight,
    int Rotation,
    TimeBase TimeBase,
    double NominalRate
)
{
    /// <summary>Pixels in a row, upright. Pixels count as square, whatever aspect ratio the container asks players for.</summary>
    public int Width => IsTurned ? CodedHeight : CodedWidth;

    /// <summary>Rows, upright.</summary>
    public int Height => IsTurned ? CodedWidth : CodedHeight;

    /// <summary>Frames that are there.</summary>
    public int Frames { get; internal init; }

    /// <summary>Seconds from the beginning of the first frame to the end of the last one.</summary>
    public double Duration { get; internal init; }

    /// <summary>Average frames per second: the nominal rate where the frames bear it out, otherwise frames / duration.</summary>
    public double Rate { get; internal init; }

    /// <summary>Whether the time from frame to frame varies by more than the time base's rounding.</summary>
    public bool IsVariableRate { get; internal init; }

    /// <summary>What shows that the file is cut off; null for a whole one. Containers without a total size (MPEG-TS, FLV, Ogg) cannot show it.</summary>
    public string? Truncation { get; internal init; }

    /// <summary>Frames the whole film should have: counted by MP4, by duration and rate elsewhere; null where nothing says it.</summary>
    public int? ExpectedFrames { get; internal init; }

    bool IsTurned => (Rotation + 45) % 180 >= 90;
}
