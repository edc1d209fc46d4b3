using System.Globalization;
using System.Text.Encodings.Web;
using System.Text.Json;
using VlmSharp.Datasets;
using VlmSharp.Media.Images;

namespace VlmSharp.Training.Synthesis;

/// <summary>Writes examples as files: pictures as PNG and conversations as JSON lines in the format of ms-swift.</summary>
/// <remarks>
/// <c>data.jsonl</c> has <c>messages</c>, <c>images</c> (paths relative to it), <c>objects</c> with boxes in pixels, and <c>task</c>; media,
/// references and boxes are <c>&lt;image&gt;</c>, <c>&lt;ref-object&gt;</c> and <c>&lt;bbox&gt;</c> in the text. The bytes do not depend on the
/// number of threads.
/// </remarks>
public static class SwiftWriter
{
    /// <summary>The file of conversations.</summary>
    public const string FileName = "data.jsonl";

    const int Batch = 256;

    static readonly JsonWriterOptions Options = new() { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    /// <summary>Writes the first examples of a source into a directory.</summary>
    /// <param name="source">Where they come from; with pictures in memory.</param>
    /// <param name="count">How many.</param>
    /// <param name="directory">Made where it is missing; a file of conversations in it is replaced.</param>
    /// <param name="threads">Drawing at the same time.</param>
    /// <param name="progress">Hears how many are written.</param>
    public static void Write(
        IExampleSource source,
        long count,
        string directory,
        int threads,
        IProgress<long>? progress = null
    )
    {
        ArgumentNullException.ThrowIfNull(source);
        Directory.CreateDirectory(directory);
        using FileStream file = File.Create(Path.Combine(directory, FileName));
        byte[][] lines = new byte[Batch][];
        for (long start = 0; start < count; start += Batch)
        {
            int here = (int)Math.Min(Batch, count - start);
            Run(here, threads, i => lines[i] = WriteOne(source.Read(start + i), start + i, directory));
            foreach (byte[] line in lines.AsSpan(0, here))
            {
                file.Write(line);
            }

            progress?.Report(start + here);
        }
    }

    /// <summary>Calls a function for each number below a count, and passes on its first exception as it is.</summary>
    internal static void Run(int count, int threads, Action<int> body)
    {
        try
        {
            Parallel.For(0, count, new ParallelOptions { MaxDegreeOfParallelism = threads }, body);
        }
        catch (AggregateException e)
        {
            System.Runtime.ExceptionServices.ExceptionDispatchInfo.Throw(e.InnerExceptions[0]);
        }
    }

    static byte[] WriteOne(Example example, long number, string directory)
    {
        List<string> pictures = [];
        List<string[]> films = [];
        foreach (ExamplePart part in example.Messages.SelectMany(message => message.Content))
        {
            string name = string.Create(CultureInfo.InvariantCulture, $"{number:00000000}");
            switch (part)
            {
                case Picture picture:
                    pictures.Add(Save(picture.Pixels, directory, "images", $"{name}-{pictures.Count}.png"));
                    break;
                case Film film:
                    string folder = Path.Combine("videos", $"{name}-{films.Count}");
                    films.Add([.. film.Frames.Select((frame, i) => Save(frame, directory, folder, $"{i:0000}.png"))]);
                    break;
                case MediumPart other:
                    throw new ArgumentException($"{other.Name} is a file already", nameof(example));
            }
        }

        using MemoryStream line = new();
        using (Utf8JsonWriter json = new(line, Options))
        {
            json.WriteStartObject();
            json.WriteStartArray("messages");
            foreach (ExampleMessage message in example.Messages)
            {
                json.WriteStartObject();
                json.WriteString("role", message.Role);
                json.WriteString("content", string.Concat(message.Content.Select(Text)));
                json.WriteEndObject();
            }

            json.WriteEndArray();
            if (pictures.Count > 0)
            {
                json.WritePropertyName("images");
                JsonSerializer.Serialize(json, pictures);
            }

            if (films.Count > 0)
            {
                json.WritePropertyName("videos");
                JsonSerializer.Serialize(json, films);
            }

            WriteObjects(json, [.. example.Messages.SelectMany(message => message.Content)]);
            json.WriteString("task", example.Task);
            json.WriteEndObject();
        }

        line.WriteByte((byte)'\n');
        return line.ToArray();
    }

    static void WriteObjects(Utf8JsonWriter json, ExamplePart[] parts)
    {
        BoxPart[] boxes = [.. parts.OfType<BoxPart>()];
        ReferencePart[] references = [.. parts.OfType<ReferencePart>()];
        if (boxes.Length + references.Length == 0)
        {
            return;
        }

        json.WriteStartObject("objects");
        json.WriteStartArray("ref");
        foreach (ReferencePart reference in references)
        {
            json.WriteStringValue(reference.Text);
        }

        json.WriteEndArray();
        json.WritePropertyName("bbox");
        JsonSerializer.Serialize(json, boxes.Select(box => box.Coordinates));
        json.WriteString("bbox_type", "real");
        if (boxes.Any(box => box.Image != 0))
        {
            json.WritePropertyName("image_id");
            JsonSerializer.Serialize(json, boxes.Select(box => box.Image));
        }

        json.WriteEndObject();
    }

    static string Text(ExamplePart part) =>
        part switch
        {
            TextPart text => text.Text,
            ReferencePart => "<ref-object>",
            BoxPart => "<bbox>",
            Film or FilmFile => "<video>",
            _ => "<image>",
        };

    static string Save(RgbImage image, string directory, string folder, string name)
    {
        Directory.CreateDirectory(Path.Combine(directory, folder));
        File.WriteAllBytes(Path.Combine(directory, folder, name), ImageEncoder.Png(image));
        return $"{folder}/{name}";
    }
}
