using System.Text.Json;
using VlmSharp.Datasets;
using VlmSharp.Formats;

namespace VlmSharp.Calibration;

/// <summary>Reads what a model is calibrated with.</summary>
/// <remarks>
/// A file of examples in any format of <see cref="ExampleFile"/>, whose samples may also be <c>{"text": "..."}</c>. Or a directory of pictures, to be described,
/// and of texts: a text named as a picture is what is said of it.
/// </remarks>
public static class CalibrationData
{
    const long MaxBytes = 1L << 30;
    const string Question = "Describe this image.";

    static readonly string[] Pictures = [".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff"];

    /// <summary>Reads samples.</summary>
    /// <param name="path">A file of examples and texts, or a directory.</param>
    /// <exception cref="CheckpointException">Something is missing or wrong; the message names file, line and field.</exception>
    public static IReadOnlyList<CalibrationSample> Read(string path)
    {
        List<CalibrationSample> samples = Directory.Exists(path) ? ReadDirectory(path) : ReadFile(path);
        return samples.Count > 0
            ? samples
            : throw new CheckpointException(
                path,
                Directory.Exists(path) ? "has neither pictures nor .txt files" : "has no samples"
            );
    }

    static List<CalibrationSample> ReadDirectory(string directory)
    {
        string[] files = [.. Directory.GetFiles(directory).Order(StringComparer.Ordinal)];
        HashSet<string> captions = new(StringComparer.Ordinal);
        List<CalibrationSample> samples = [];
        foreach (
            string picture in files.Where(file =>
                Pictures.Contains(Path.GetExtension(file), StringComparer.OrdinalIgnoreCase)
            )
        )
        {
            List<ExampleMessage> turns = [new("user", [new PictureFile(picture), new TextPart(Question)])];
            string caption = Path.ChangeExtension(picture, ".txt");
            if (files.Contains(caption))
            {
                captions.Add(caption);
                turns.Add(new("assistant", [new TextPart(ReadText(caption))]));
            }

            samples.Add(new CalibrationSample(picture) { Turns = turns });
        }

        foreach (
            string file in files.Where(file =>
                Path.GetExtension(file).Equals(".txt", StringComparison.OrdinalIgnoreCase)
            )
        )
        {
            if (!captions.Contains(file))
            {
                samples.Add(new CalibrationSample(file) { Text = ReadText(file) });
            }
        }

        return samples;
    }

    static string ReadText(string file)
    {
        try
        {
            string text = new System.Text.UTF8Encoding(false, true)
                .GetString(CheckpointFile.Read(file, MaxBytes))
                .Trim();
            return text.Length > 0 ? text : throw new CheckpointException(file, "is empty, expected a text");
        }
        catch (System.Text.DecoderFallbackException)
        {
            throw new CheckpointException(file, "is not UTF-8 text");
        }
    }

    static List<CalibrationSample> ReadFile(string path)
    {
        using ExampleFile file = ExampleFile.Open(path, new ExampleFileOptions { NeedAnswers = false });
        List<CalibrationSample> samples = [];
        for (int i = 0; i < file.Samples; i++)
        {
            samples.Add(
                file.TryRead(i, ReadSample, out ExampleFault? wrong)
                    ?? throw new CheckpointException($"{path}:{wrong!.Line}", wrong.Message)
            );
        }

        return samples;

        CalibrationSample ReadSample(JsonElement json, string name)
        {
            if (json.ValueKind == JsonValueKind.Object && json.TryGetProperty("text", out JsonElement text))
            {
                return text.ValueKind == JsonValueKind.String && text.GetString() is { Length: > 0 } written
                    ? new CalibrationSample(name) { Text = written }
                    : throw new SampleException(FaultReason.Content, "field 'text' is empty or no text");
            }

            Example example = file.ReadSample(json, name);
            if (example.Messages.Any(message => message.Content.Any(part => part is FilmFile)))
            {
                throw new SampleException(
                    FaultReason.Content,
                    "has a video, but only pictures and texts are calibrated with"
                );
            }

            return example.Messages.Any(message => message.Role != "system")
                ? new CalibrationSample(name) { Turns = example.Messages }
                : throw new SampleException(FaultReason.NoAnswer, "has nothing but a system prompt");
        }
    }
}
