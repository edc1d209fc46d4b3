using VlmSharp.Chat.Replies;
using VlmSharp.Media.Images;
using VlmSharp.Media.Video;
using VlmSharp.Models;
using VlmSharp.Vision;

namespace VlmSharp.Datasets;

/// <summary>A conversation to learn from or to be asked.</summary>
/// <param name="Name">Where it stands: a file and its line, or a recipe and its number.</param>
/// <param name="Messages">In their order.</param>
public sealed record Example(string Name, IReadOnlyList<ExampleMessage> Messages)
{
    /// <summary>What kind of question it is, for tables of an evaluation; empty where nobody said.</summary>
    public string Task { get; init; } = "";

    /// <summary>Tools that answers may call.</summary>
    public IReadOnlyList<ToolDefinition> Tools { get; init; } = [];
}

/// <summary>A turn of an <see cref="Example"/>.</summary>
/// <param name="Role">system, user, assistant, tool_call or tool.</param>
/// <param name="Content">Text, media and boxes in their order.</param>
public sealed record ExampleMessage(string Role, IReadOnlyList<ExamplePart> Content)
{
    /// <summary>Whether the loss sees it.</summary>
    public bool Learnt { get; init; }
}

/// <summary>A part of a message.</summary>
public abstract record ExamplePart;

/// <summary>Text.</summary>
public sealed record TextPart(string Text) : ExamplePart;

/// <summary>What a box is of. Each architecture writes it its own way.</summary>
public sealed record ReferencePart(string Text) : ExamplePart;

/// <summary>A place in a picture. Each architecture writes it in its own space.</summary>
/// <param name="Coordinates">x1, y1, x2, y2 in pixels of the original picture, or x, y of a point.</param>
/// <param name="Image">Which picture of the conversation, from 0.</param>
public sealed record BoxPart(IReadOnlyList<double> Coordinates, int Image = 0) : ExamplePart;

/// <summary>A picture or a film.</summary>
/// <param name="Name">Shown in errors.</param>
public abstract record MediumPart(string Name) : ExamplePart
{
    /// <summary>Decodes it.</summary>
    /// <exception cref="MediaException">It cannot be read.</exception>
    public abstract MediaSource Open();

    /// <summary>Its sizes, without decoding it where they are known before.</summary>
    /// <exception cref="MediaException">It cannot be read.</exception>
    public virtual MediaShape Shape() => Open().Shape;
}

/// <summary>A picture in a file.</summary>
public sealed record PictureFile(string Path) : MediumPart(Path)
{
    /// <inheritdoc/>
    public override MediaSource Open() => MediaSource.Image(ImageDecoder.DecodeFile(Path), Path);

    /// <inheritdoc/>
    /// <remarks>From the header.</remarks>
    public override MediaShape Shape()
    {
        ImageInfo header = ImageDecoder.ReadFileInfo(Path);
        return new MediaShape(MediaKind.Image, header.Width, header.Height);
    }
}

/// <summary>A picture in memory.</summary>
public sealed record Picture(string Name, RgbImage Pixels) : MediumPart(Name)
{
    /// <inheritdoc/>
    public override MediaSource Open() => MediaSource.Image(Pixels, Name);
}

/// <summary>A film in a file, or a directory of its frames.</summary>
public sealed record FilmFile(string Path) : MediumPart(Path)
{
    /// <summary>Which frames are taken; as <see cref="VideoReader.Read(string, VideoSampling?, VideoLimits?, CancellationToken)"/> where not given.</summary>
    public VideoSampling? Sampling { get; init; }

    /// <inheritdoc/>
    public override MediaSource Open() => MediaSource.Video(VideoReader.Read(Path, Sampling));
}

/// <summary>A film in memory.</summary>
/// <param name="Name">Shown in errors.</param>
/// <param name="Frames">Of one size.</param>
/// <param name="Times">[frames]: seconds of each, ascending.</param>
public sealed record Film(string Name, IReadOnlyList<RgbImage> Frames, IReadOnlyList<double> Times) : MediumPart(Name)
{
    /// <inheritdoc/>
    public override MediaSource Open() => MediaSource.Video(Frames, name: Name, times: Times);
}
