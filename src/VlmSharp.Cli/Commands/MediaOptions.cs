using System.CommandLine;
using VlmSharp.Chat;
using VlmSharp.Documents;
using VlmSharp.Grounding;
using VlmSharp.Media.Documents;
using VlmSharp.Media.Images;
using VlmSharp.Media.Images.Slides;
using VlmSharp.Media.Video;
using VlmSharp.Models;
using VlmSharp.Tiling;
using VlmSharp.Vision;

namespace VlmSharp.Cli.Commands;

/// <summary>The options that say what a question is about.</summary>
sealed class MediaOptions
{
    const double MaxSeconds = 1e6; // more than any film has

    readonly Option<string[]> images = new("--image")
    {
        Description = "A picture; may be repeated.",
        HelpName = "FILE",
    };

    readonly Option<string[]> videos = new("--video")
    {
        Description = "A film, an animated GIF/WebP or a directory of frames; may be repeated.",
        HelpName = "PATH",
    };

    readonly Option<string[]> documents = new("--document")
    {
        Description = "A PDF, TIFF or picture, each page announced by its number; may be repeated.",
        HelpName = "FILE",
    };

    readonly Option<string?> pages = new("--pages")
    {
        Description = "Which pages of documents: 1-3,7 (default: all).",
        HelpName = "LIST",
    };

    readonly Option<string?> password = CommonOptions.Password();

    readonly Option<string[]> marks = new("--mark")
    {
        Description =
            "Draw on the picture before asking: \"circle 120,80,40\", \"box x1,y1,x2,y2\", \"arrow x1,y1,x2,y2\", "
            + "\"point x,y\", \"text x,y,WORDS\", then a colour and a label if you like; may be repeated.",
        HelpName = "MARK",
    };

    readonly Option<int?> tiles = CommonOptions.Number<int>(
        "--tiles",
        "N",
        "Show each picture as an overview and up to N tiles with more detail (default: 0, as one picture)."
    );

    readonly Option<double?> rate = CommonOptions.Number<double>(
        "--fps",
        "X",
        "Frames to look at for each second of a film; rate of a directory of frames (default: the checkpoint's, or 2)."
    );

    readonly Option<int?> frames = CommonOptions.Number<int>(
        "--frames",
        "N",
        "Frames to look at in all, evenly, in place of --fps."
    );

    readonly Option<int?> maxFrames = CommonOptions.Number<int>(
        "--max-frames",
        "N",
        "Frames to look at in all at most (default: the checkpoint's, and what --media-tokens hold)."
    );

    readonly Option<double?> start = CommonOptions.Number<double>("--from", "S", "Begin at this second of a film.");

    readonly Option<double?> end = CommonOptions.Number<double>("--to", "S", "End at this second of a film.");

    readonly Option<bool> truncated = new("--allow-truncated")
    {
        Description = "Take what is there of a film that is cut off or damaged.",
    };

    readonly Option<int?> mediaTokens = CommonOptions.Number<int>(
        "--media-tokens",
        "N",
        "Tokens that all films, all pages and the tiles of a picture may take, each of the three, unless --max-pixels says otherwise (default: half of the context)."
    );

    public void AddTo(Command command)
    {
        foreach (
            Option option in (Option[])
                [
                    images,
                    videos,
                    documents,
                    pages,
                    password,
                    marks,
                    tiles,
                    rate,
                    frames,
                    maxFrames,
                    start,
                    end,
                    truncated,
                    mediaTokens,
                ]
        )
        {
            command.Options.Add(option);
        }
    }

    /// <summary>Whether there is anything to look at.</summary>
    public bool Any(ParseResult parsed) =>
        ((Option<string[]>[])[images, videos, documents]).Any(option => parsed.GetValue(option) is { Length: > 0 });

    /// <summary>Everything that is read.</summary>
    public IEnumerable<string> Files(ParseResult parsed) =>
        ((Option<string[]>[])[images, videos, documents]).SelectMany(option => parsed.GetValue(option) ?? []);

    /// <summary>Whether there is one picture, so that an answer's boxes can only be in that.</summary>
    public bool ShowsOnePicture(ParseResult parsed) =>
        parsed.GetValue(images) is { Length: 1 }
        && parsed.GetValue(documents) is null or { Length: 0 }
        && parsed.GetValue(tiles) is null or 0;

    /// <summary>Refuses options that do not fit together, before a model is loaded.</summary>
    public void Check(ParseResult parsed)
    {
        foreach (string path in Files(parsed))
        {
            CommonOptions.Named(path);
        }

        Needs(videos, rate, frames, maxFrames, start, end, truncated);
        Needs(documents, pages, password);
        Needs(images, tiles);
        if (parsed.GetValue(marks) is { Length: > 0 } && parsed.GetValue(images) is not { Length: 1 })
        {
            throw new UsageException("--mark needs exactly one --image to draw on.");
        }

        if (parsed.GetValue(tiles) is < 0 or > 1024)
        {
            throw new UsageException($"--tiles is {parsed.GetValue(tiles)}, expected 0 .. 1024.");
        }

        if (parsed.GetValue(tiles) > 0 && parsed.GetValue(marks) is { Length: > 0 })
        {
            throw new UsageException("--mark draws on a picture that is shown as one; leave --tiles away.");
        }

        foreach (string mark in parsed.GetValue(marks) ?? [])
        {
            ParseMark(mark);
        }

        ParsePages(parsed.GetValue(pages));
        CheckSampling(parsed);
        if (parsed.GetValue(mediaTokens) is { } most)
        {
            if (!Given(videos) && !Given(documents) && parsed.GetValue(tiles) is not > 0)
            {
                throw new UsageException("--media-tokens needs a --video, a --document or --tiles.");
            }

            if (most < 1)
            {
                throw new UsageException($"--media-tokens is {most}, expected at least 1.");
            }
        }

        bool Given(Option option) => parsed.GetResult(option) is { Implicit: false };

        void Needs(Option medium, params Option[] options)
        {
            if (!Given(medium) && options.FirstOrDefault(Given) is { } lonely)
            {
                throw new UsageException($"{lonely.Name} needs a {medium.Name}.");
            }
        }
    }

    void CheckSampling(ParseResult parsed)
    {
        if (parsed.GetValue(rate) is { } given && !(given is > 0 and <= 1000))
        {
            throw new UsageException($"--fps is {given}, expected more than 0 and at most 1000.");
        }

        foreach (Option<int?> option in (Option<int?>[])[frames, maxFrames])
        {
            if (parsed.GetValue(option) is < 1)
            {
                throw new UsageException($"{option.Name} is {parsed.GetValue(option)}, expected at least 1.");
            }
        }

        if (parsed.GetValue(frames) is not null)
        {
            foreach (Option option in (Option[])[rate, maxFrames])
            {
                if (parsed.GetResult(option) is { Implicit: false })
                {
                    throw new UsageException(
                        $"{option.Name} and --frames both say how many frames to look at, give one of them."
                    );
                }
            }
        }

        (double? from, double? to) = (parsed.GetValue(start), parsed.GetValue(end));
        if (from is { } first && !(first is >= 0 and <= MaxSeconds))
        {
            throw new UsageException($"--from is {first}, expected 0 .. {MaxSeconds} seconds.");
        }

        if (to is { } last && !(last is > 0 and <= MaxSeconds))
        {
            throw new UsageException($"--to is {last}, expected more than 0 and at most {MaxSeconds} seconds.");
        }

        if (from >= to)
        {
            throw new UsageException($"--from is {from}, expected less than --to, {to}.");
        }

        if (
            (parsed.GetValue(videos) ?? []).FirstOrDefault(Directory.Exists) is { } directory
            && ((Option[])[frames, maxFrames, start, end]).FirstOrDefault(option =>
                parsed.GetResult(option) is { Implicit: false }
            )
                is { } choice
        )
        {
            throw new UsageException(
                $"{choice.Name} chooses frames of a film; {directory} is a directory of frames, and all of them are shown."
            );
        }
    }

    /// <summary>Decodes everything: pictures first, then films, then pages.</summary>
    /// <param name="parsed">The command line.</param>
    /// <param name="processor">Of the model.</param>
    /// <param name="limits">Pixel limits from the command line.</param>
    /// <param name="context">Tokens of the context; half of it may be taken by films, pages and tiles, each kind on its own, if not said otherwise.</param>
    /// <param name="cancellation">Ends the work.</param>
    public ShownMedia Read(
        ParseResult parsed,
        IMediaProcessor processor,
        PixelLimits limits,
        int context,
        CancellationToken cancellation
    )
    {
        int tokens = parsed.GetValue(mediaTokens) ?? context / 2;
        if (tokens > context)
        {
            throw new UsageException($"--media-tokens is {tokens}, expected at most {context}, the context.");
        }

        List<ChatContent> content = [];
        List<RgbImage> pictures = [];
        List<VideoFrames> films = [];
        Mark[] drawn = [.. (parsed.GetValue(marks) ?? []).Select(ParseMark)];
        foreach (string path in parsed.GetValue(images) ?? [])
        {
            if (parsed.GetValue(tiles) is > 0 and int most)
            {
                using LargeImage large = LargeImage.Open(CommonOptions.PictureFile(path));
                content.AddRange(AnyRes.Show(large, processor, most, tokens, limits, cancellation));
                continue;
            }

            RgbImage picture = ImageDecoder.DecodeFile(CommonOptions.PictureFile(path));
            picture = drawn.Length > 0 ? Marked(picture, drawn) : picture;
            pictures.Add(picture);
            content.Add(new ChatMedia(MediaSource.Image(picture, path), limits));
        }

        string[] paths = parsed.GetValue(videos) ?? [];
        foreach (string path in paths)
        {
            VideoFrames film = Film(
                path,
                processor,
                tokens / paths.Length,
                sampling => Chosen(parsed, sampling),
                cancellation
            );
            films.Add(film);
            content.Add(Film(film, processor, limits, tokens / paths.Length));
        }

        PageSelection selection = ParsePages(parsed.GetValue(pages));
        paths = parsed.GetValue(documents) ?? [];
        foreach (string path in paths)
        {
            content.AddRange(
                Pages(
                    path,
                    selection,
                    processor,
                    limits,
                    tokens / paths.Length,
                    parsed.GetValue(password),
                    cancellation
                )
            );
        }

        return new ShownMedia(content, pictures, films);
    }

    static RgbImage Marked(RgbImage picture, Mark[] marks)
    {
        try
        {
            return Marks.Draw(picture, marks);
        }
        catch (ArgumentException e)
        {
            throw new UsageException($"--mark: {e.Message.Replace($" (Parameter '{e.ParamName}')", "")}.");
        }
    }

    static Mark ParseMark(string text)
    {
        try
        {
            return Mark.Parse(text);
        }
        catch (FormatException e)
        {
            throw new UsageException($"--mark: {e.Message}");
        }
    }

    /// <summary>The frames of a film that a model is shown.</summary>
    /// <param name="path">A film, an animation or a directory of frames.</param>
    /// <param name="processor">Of the model.</param>
    /// <param name="tokens">About so many it may take.</param>
    /// <param name="choose">Changes what the model's generation takes.</param>
    /// <param name="cancellation">Ends the work.</param>
    public static VideoFrames Film(
        string path,
        IMediaProcessor processor,
        int tokens,
        Func<VideoSampling, VideoSampling>? choose = null,
        CancellationToken cancellation = default
    )
    {
        VideoSampling sampling = processor.Sampling(tokens);
        return VideoReader.Read(path, choose?.Invoke(sampling) ?? sampling, cancellation: cancellation);
    }

    /// <summary>A film as part of a message.</summary>
    public static ChatMedia Film(VideoFrames film, IMediaProcessor processor, PixelLimits limits, int tokens) =>
        new(MediaSource.Video(film), limits == default ? processor.VideoLimits(film.Frames.Count, tokens) : limits);

    VideoSampling Chosen(ParseResult parsed, VideoSampling sampling)
    {
        FrameSamplingOptions density = sampling.Density;
        int most = parsed.GetValue(maxFrames) ?? density.MaxFrames;
        return sampling with
        {
            Density = density with
            {
                FramesPerSecond = parsed.GetValue(rate) ?? density.FramesPerSecond,
                Frames = parsed.GetValue(frames),
                MinFrames = Math.Min(density.MinFrames, most),
                MaxFrames = most,
            },
            Start = parsed.GetValue(start),
            End = parsed.GetValue(end),
            AllowTruncated = parsed.GetValue(truncated),
        };
    }

    static PageSelection ParsePages(string? list)
    {
        try
        {
            return list is null ? PageSelection.All : PageSelection.Parse(list);
        }
        catch (FormatException e)
        {
            throw new UsageException($"--pages: {e.Message}.");
        }
    }

    /// <summary>Pages of a document as parts of a message.</summary>
    /// <param name="path">The file.</param>
    /// <param name="selection">Which pages.</param>
    /// <param name="processor">Of the model.</param>
    /// <param name="limits">Pixel limits of a page.</param>
    /// <param name="tokens">About so many all pages may take together.</param>
    /// <param name="password">Of an encrypted PDF.</param>
    /// <param name="cancellation">Ends the work.</param>
    public static IReadOnlyList<ChatContent> Pages(
        string path,
        PageSelection selection,
        IMediaProcessor processor,
        PixelLimits limits,
        int tokens,
        string? password = null,
        CancellationToken cancellation = default
    )
    {
        DocumentFile document = DocumentFile.Open(path, password: password, cancellation: cancellation);
        int count = document.Pages(selection, cancellation).Count;
        return DocumentContent.Parts(document, selection, processor, limits, tokens / count, cancellation);
    }
}

/// <summary>What a question is about, decoded.</summary>
/// <param name="Content">Parts of the message, in their order.</param>
/// <param name="Pictures">Those that are shown as one each.</param>
/// <param name="Films">Frames of each film.</param>
sealed record ShownMedia(
    IReadOnlyList<ChatContent> Content,
    IReadOnlyList<RgbImage> Pictures,
    IReadOnlyList<VideoFrames> Films
);
