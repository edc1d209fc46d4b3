using System.Text.Json;
using VlmSharp.Chat;
using VlmSharp.Formats;

namespace VlmSharp.Calibration;

/// <summary>Reads what a model is calibrated with.</summary>
/// <remarks>
/// A file of JSON lines: <c>{"messages": [{"role": "user", "content": "&lt;image&gt;Read it."}, {"role": "assistant", "content": "42"}], "images":
/// ["a.png"]}</c>, as ms-swift and others publish them, contents as OpenAI's lists of parts too, or <c>{"text": "..."}</c>; paths are relative to the file.
/// Pictures without a place stand before the first turn of the user. Or a directory of pictures, to be described, and of texts: a text named as a
/// picture is what is said of it.
/// </remarks>
public static class CalibrationData
{
    const long MaxBytes = 1L << 30;
    const int MaxTurns = 10_000;
    const string Placeholder = "<image>";
    const string Question = "Describe this image.";

    static readonly string[] Pictures = [".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff"];

    /// <summary>Reads samples.</summary>
    /// <param name="path">A file of JSON lines, or a directory.</param>
    /// <exception cref="CheckpointException">Something is missing or wrong; the message names file, line and field.</exception>
    public static IReadOnlyList<CalibrationSample> Read(string path)
    {
        List<CalibrationSample> samples = Directory.Exists(path) ? ReadDirectory(path) : ReadLines(path);
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
            List<ChatMessage> turns = [ChatMessage.User(new PictureFile(picture), new ChatText(Question))];
            string caption = Path.ChangeExtension(picture, ".txt");
            if (files.Contains(caption))
            {
                captions.Add(caption);
                turns.Add(ChatMessage.Assistant(ReadText(caption)));
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

    static List<CalibrationSample> ReadLines(string path)
    {
        List<CalibrationSample> samples = [];
        ReadOnlySpan<byte> left = CheckpointFile.Read(path, MaxBytes);
        left = left.StartsWith("\uFEFF"u8) ? left[3..] : left;
        string directory = Path.GetDirectoryName(Path.GetFullPath(path))!;
        for (int line = 1; !left.IsEmpty; line++)
        {
            int end = left.IndexOf((byte)'\n');
            ReadOnlySpan<byte> text = end < 0 ? left : left[..end];
            left = end < 0 ? [] : left[(end + 1)..];
            if (!text.Trim(" \t\r"u8).IsEmpty)
            {
                samples.Add(ReadSample(JsonObjectReader.Parse($"{path}:{line}", text), directory));
            }
        }

        return samples;
    }

    static CalibrationSample ReadSample(JsonObjectReader json, string directory)
    {
        if (json.Has("text"))
        {
            string text = json.Text("text");
            return text.Length > 0
                ? new CalibrationSample(json.File) { Text = text }
                : throw json.Error("text", "is empty");
        }

        if (json.Has("videos"))
        {
            throw json.Error("videos", "is there, but only pictures and texts are calibrated with");
        }

        Queue<PictureFile> pictures = new(Paths(json).Select(path => Picture(json, "images", path, directory)));
        JsonObjectReader[] messages = json.Objects("messages", MaxTurns);
        if (messages.Length == 0)
        {
            throw json.Error("messages", "is empty, expected at least one message");
        }

        int given = pictures.Count;
        int places = 0;
        List<ChatMessage> turns = [];
        foreach (JsonObjectReader message in messages)
        {
            string role = message.Text("role");
            if (role is not ("system" or "user" or "assistant"))
            {
                throw message.Error("role", $"is {Quote.Name(role)}, expected system, user or assistant");
            }

            turns.Add(new ChatMessage(role, [.. Content(message)]) { FromModel = role == "assistant" });
        }

        if (pictures.Count > 0)
        {
            int user = turns.FindIndex(turn => turn.Role == "user");
            if (places > 0 || user < 0)
            {
                throw json.Error(
                    "images",
                    $"has {given} pictures, the messages have {places} places for them ({Placeholder})"
                );
            }

            turns[user] = turns[user] with { Content = [.. pictures, .. turns[user].Content] };
        }

        return turns.Exists(turn => turn.Role != "system")
            ? new CalibrationSample(json.File) { Turns = turns }
            : throw json.Error("messages", "has nothing but a system prompt");

        IEnumerable<ChatContent> Content(JsonObjectReader message)
        {
            if (message.Raw("content").ValueKind == JsonValueKind.Array)
            {
                return message.Objects("content", MaxTurns).Select(Part).ToArray();
            }

            string[] texts = message.Text("content").Split(Placeholder);
            List<ChatContent> parts = [];
            foreach ((int i, string text) in texts.Index())
            {
                if (i > 0)
                {
                    places++;
                    parts.Add(
                        pictures.TryDequeue(out PictureFile? next)
                            ? next
                            : throw message.Error(
                                "content",
                                $"has a place for a picture ({Placeholder}) more than 'images', which has {given}"
                            )
                    );
                }

                if (text.Length > 0 || texts.Length == 1)
                {
                    parts.Add(new ChatText(text));
                }
            }

            return parts;
        }

        ChatContent Part(JsonObjectReader part) =>
            part.Text("type") switch
            {
                "text" => new ChatText(part.Text("text")),
                "image" => Picture(part, "image", part.Text("image"), directory),
                "image_url" => Picture(part, "image_url", part.TextOrInner("image_url", "url"), directory),
                var other => throw part.Error("type", $"is {Quote.Name(other)}, expected text, image or image_url"),
            };
    }

    static string[] Paths(JsonObjectReader json) =>
        !json.Has("images") ? []
        : json.Raw("images").ValueKind == JsonValueKind.Array ? json.Texts("images", MaxTurns)
        : [json.Text("images")];

    static PictureFile Picture(JsonObjectReader json, string field, string path, string directory)
    {
        string full = Path.Combine(directory, path);
        return File.Exists(full)
            ? new PictureFile(full)
            : throw json.Error(field, $"names {Quote.Name(path)}, but there is no such file beside the data");
    }
}
