using VlmSharp.Formats;
using VlmSharp.Media.Images;
using VlmSharp.Models;

namespace VlmSharp.Datasets;

/// <summary>Something found in a file of examples.</summary>
/// <param name="Line">From 1.</param>
/// <param name="Broken">Whether the sample cannot be used; else it is a warning.</param>
/// <param name="Reason">One of <see cref="FaultReason"/>, or of <see cref="ExampleCheck"/>.</param>
/// <param name="Message">What was found and what was expected.</param>
public sealed record ExampleFinding(int Line, bool Broken, string Reason, string Message);

/// <summary>What a file of examples has.</summary>
/// <param name="Samples">All of them.</param>
/// <param name="Broken">Those that cannot be used.</param>
/// <param name="Messages">Messages of the others.</param>
/// <param name="Answers">How many of these are learnt.</param>
/// <param name="Pictures">Pictures in the others.</param>
/// <param name="Films">Films in the others.</param>
/// <param name="Boxes">Boxes and points in the others.</param>
/// <param name="Reasons">Findings by reason.</param>
public sealed record ExampleStatistics(
    int Samples,
    int Broken,
    long Messages,
    long Answers,
    long Pictures,
    long Films,
    long Boxes,
    IReadOnlyDictionary<string, int> Reasons
);

/// <summary>Goes through a file of examples and says what is wrong with which line. Headers of pictures are read, pixels are not.</summary>
public static class ExampleCheck
{
    /// <summary>A film is not there.</summary>
    public const string FilmMissing = "video-missing";

    /// <summary>A picture's header cannot be read.</summary>
    public const string PictureUnreadable = "image-unreadable";

    /// <summary>A box or a point is not wholly on its picture.</summary>
    public const string BoxOutside = "box-outside";

    const int KeptShapes = 100_000;

    /// <summary>Checks every sample.</summary>
    /// <param name="file">The file.</param>
    /// <param name="found">Told each finding as it comes, in the order of the file.</param>
    /// <exception cref="CheckpointException">The file cannot be read any more.</exception>
    public static ExampleStatistics Run(ExampleFile file, Action<ExampleFinding> found)
    {
        ArgumentNullException.ThrowIfNull(file);
        ArgumentNullException.ThrowIfNull(found);
        SortedDictionary<string, int> reasons = new(StringComparer.Ordinal);
        Dictionary<string, (MediaShape? Shape, string? Error)> shapes = new(StringComparer.Ordinal);
        int broken = 0;
        (long messages, long answers, long pictures, long films, long boxes) = (0, 0, 0, 0, 0);
        for (int i = 0; i < file.Samples; i++)
        {
            Example? example = file.TryRead(i, out ExampleFault? wrong);
            if (example is null)
            {
                broken++;
                Tell(wrong!.Line, true, wrong.Reason, wrong.Message);
                continue;
            }

            messages += example.Messages.Count;
            answers += example.Messages.Count(message => message.Learnt);
            Check(example, file.Line(i));
        }

        return new ExampleStatistics(file.Samples, broken, messages, answers, pictures, films, boxes, reasons);

        void Tell(int line, bool isBroken, string reason, string message)
        {
            reasons[reason] = reasons.GetValueOrDefault(reason) + 1;
            found(new ExampleFinding(line, isBroken, reason, message));
        }

        void Check(Example example, int line)
        {
            ExamplePart[] parts = [.. example.Messages.SelectMany(message => message.Content)];
            List<MediaShape?> shown = [];
            foreach (MediumPart medium in parts.OfType<MediumPart>())
            {
                if (medium is FilmFile film)
                {
                    films++;
                    if (!Path.Exists(film.Path))
                    {
                        Tell(line, false, FilmMissing, $"{film.Path} does not exist");
                    }

                    continue;
                }

                pictures++;
                (MediaShape? shape, string? error) = Shape(medium);
                shown.Add(shape);
                if (error is not null)
                {
                    Tell(line, false, PictureUnreadable, error);
                }
            }

            foreach (BoxPart box in parts.OfType<BoxPart>())
            {
                boxes++;
                if (shown.ElementAtOrDefault(box.Image) is { } shape && !IsInside(box.Coordinates, shape))
                {
                    Tell(
                        line,
                        false,
                        BoxOutside,
                        $"the box {string.Join(", ", box.Coordinates.Select(x => x.ToString("R", null)))} is not on its picture of {shape.Width} x {shape.Height} pixels"
                    );
                }
            }
        }

        // Many questions are about the same picture.
        (MediaShape? Shape, string? Error) Shape(MediumPart medium)
        {
            if (medium is PictureFile && shapes.TryGetValue(medium.Name, out (MediaShape?, string?) known))
            {
                return known;
            }

            (MediaShape? Shape, string? Error) read;
            try
            {
                read = (medium.Shape(), null);
            }
            catch (MediaException e)
            {
                read = (null, e.Message);
            }

            if (medium is PictureFile)
            {
                if (shapes.Count == KeptShapes)
                {
                    shapes.Clear();
                }

                shapes.Add(medium.Name, read);
            }

            return read;
        }
    }

    static bool IsInside(IReadOnlyList<double> coordinates, MediaShape shape) =>
        coordinates.Index().All(c => c.Item >= 0 && c.Item <= (c.Index % 2 == 0 ? shape.Width : shape.Height));
}
