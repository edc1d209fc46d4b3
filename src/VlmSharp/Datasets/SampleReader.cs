using System.Text.Json;
using VlmSharp.Chat.Replies;
using VlmSharp.Formats;
using VlmSharp.Media.Images;
using VlmSharp.Models;

namespace VlmSharp.Datasets;

/// <summary>A place in a text, until it is known what belongs there.</summary>
sealed record Placeholder(string Tag) : ExamplePart
{
    public const string Image = "<image>";
    public const string Video = "<video>";
    public const string Reference = "<ref-object>";
    public const string Box = "<bbox>";
}

/// <summary>A message whose places are not filled yet.</summary>
/// <param name="Role">As <see cref="ExampleMessage.Role"/>.</param>
/// <param name="Content">Its parts.</param>
/// <param name="Learnt">Whether the loss sees it.</param>
sealed record DraftMessage(string Role, List<ExamplePart> Content, bool Learnt);

/// <summary>Turns the JSON of a sample into an example: what the formats share.</summary>
/// <param name="root">What paths of media are relative to.</param>
/// <param name="needAnswers">Whether something in it must be learnt.</param>
abstract class SampleReader(string root, bool needAnswers)
{
    /// <summary>Whether something must be learnt.</summary>
    protected bool NeedAnswers { get; } = needAnswers;

    /// <summary>The reader of a format.</summary>
    public static SampleReader For(ExampleFormat format, string root, bool needAnswers) =>
        format switch
        {
            ExampleFormat.MsSwift or ExampleFormat.OpenAI => new MessagesReader(
                root,
                needAnswers,
                places: format == ExampleFormat.MsSwift
            ),
            _ => new ConversationsReader(root, needAnswers, format),
        };

    /// <summary>A sample.</summary>
    /// <exception cref="SampleException">It is broken.</exception>
    public Example Read(JsonElement json, string name)
    {
        if (json.ValueKind != JsonValueKind.Object)
        {
            throw new SampleException(FaultReason.NotAnObject, $"is {Describe(json)}, expected a JSON object");
        }

        List<DraftMessage> draft = ReadMessages(json, out Places places);
        if (NeedAnswers && !draft.Exists(message => message.Role is "assistant" or "tool_call"))
        {
            throw new SampleException(FaultReason.NoAnswer, "has no answer, so there is nothing to learn");
        }

        ExampleMessage[] messages =
        [
            .. draft.Select(message => new ExampleMessage(message.Role, Join(message.Content.Select(places.Fill)))
            {
                Learnt = message.Learnt,
            }),
        ];
        places.ThrowIfLeft();
        return new Example(name, messages) { Task = Text(json, "task") ?? "", Tools = ReadTools(json) };
    }

    // A list, or a text that is one; functions as OpenAI wraps them, or bare.
    static ToolDefinition[] ReadTools(JsonElement sample)
    {
        const string expected = "a list of functions, each with a name";
        if (Field(sample, "tools") is not { } tools)
        {
            return [];
        }

        try
        {
            if (tools.ValueKind == JsonValueKind.String)
            {
                string text = tools.GetString()!;
                if (text.Length == 0)
                {
                    return [];
                }

                tools = JsonElement.Parse(text, new JsonDocumentOptions { MaxDepth = JsonObjectReader.MaxDepth });
            }

            return tools.ValueKind == JsonValueKind.Array
                ? [.. tools.EnumerateArray().Select(Tool)]
                : throw WrongContent("tools", tools, expected);
        }
        catch (Exception e) when (e is JsonException or FormatException)
        {
            throw new SampleException(
                FaultReason.Content,
                $"field 'tools': {e.Message.Split(" LineNumber:")[0]}, expected {expected}"
            );
        }

        static ToolDefinition Tool(JsonElement tool) =>
            ToolDefinition.Parse(
                tool.ValueKind == JsonValueKind.Object && Field(tool, "function") is null
                    ? JsonElement.Parse($$"""{"function": {{tool.GetRawText()}}}""")
                    : tool
            );
    }

    /// <summary>The messages with places for what the sample lists.</summary>
    protected abstract List<DraftMessage> ReadMessages(JsonElement sample, out Places places);

    /// <summary>The objects of the list of messages.</summary>
    protected static JsonElement[] MessageList(JsonElement sample, string field)
    {
        if (Field(sample, field) is not { } list)
        {
            throw new SampleException(
                FaultReason.MessagesMissing,
                $"field '{field}' is missing, expected a list of messages"
            );
        }

        if (list.ValueKind != JsonValueKind.Array)
        {
            throw new SampleException(
                FaultReason.MessagesType,
                $"field '{field}' is {Describe(list)}, expected a list of messages"
            );
        }

        JsonElement[] messages = [.. list.EnumerateArray()];
        foreach ((int i, JsonElement message) in messages.Index())
        {
            if (message.ValueKind != JsonValueKind.Object)
            {
                throw new SampleException(
                    FaultReason.MessagesType,
                    $"field '{field}[{i}]' is {Describe(message)}, expected an object"
                );
            }
        }

        return messages.Length > 0
            ? messages
            : throw new SampleException(FaultReason.MessagesEmpty, $"field '{field}' is empty, expected messages");
    }

    /// <summary>A field that is there and not null.</summary>
    protected static JsonElement? Field(JsonElement json, string name) =>
        json.TryGetProperty(name, out JsonElement value) && value.ValueKind != JsonValueKind.Null ? value : null;

    /// <summary>A field that is there.</summary>
    protected static JsonElement? Given(JsonElement json, string name) =>
        json.TryGetProperty(name, out JsonElement value) ? value : null;

    /// <summary>A field that is a string; null where it is anything else.</summary>
    protected static string? Text(JsonElement json, string name) =>
        Field(json, name) is { ValueKind: JsonValueKind.String } text ? text.GetString() : null;

    /// <summary>The role of a message.</summary>
    protected static SampleException WrongRole(JsonElement message, string field, string key, string expected)
    {
        string found = Field(message, key) is { } role ? $"is {Describe(role)}" : "is missing";
        return new SampleException(FaultReason.Role, $"field '{field}.{key}' {found}, expected {expected}");
    }

    /// <summary>An error about a content.</summary>
    protected static SampleException WrongContent(string field, JsonElement? value, string expected) =>
        new(
            FaultReason.Content,
            $"field '{field}' is {(value is { } json ? Describe(json) : "missing")}, expected {expected}"
        );

    /// <summary>Paths of media: a string or a list of them.</summary>
    protected List<MediumPart> Media(JsonElement sample, string field, Func<JsonElement, string, MediumPart> read) =>
        Field(sample, field) switch
        {
            null => [],
            { ValueKind: JsonValueKind.Array } list =>
            [
                .. list.EnumerateArray().Select((item, i) => read(item, $"{field}[{i}]")),
            ],
            { } one => [read(one, field)],
        };

    /// <summary>A picture: a path, or what <c>image_url</c> has as its url.</summary>
    protected MediumPart Image(JsonElement value, string field)
    {
        string path = MediumPath(value, field);
        if (path.StartsWith("data:", StringComparison.Ordinal))
        {
            return EncodedPicture.Parse(path, field);
        }

        path = Resolve(path, field);
        return File.Exists(path)
            ? new PictureFile(path)
            : throw new SampleException(
                FaultReason.FileMissing,
                $"field '{field}' names {Quote.Name(path)}, but there is no such file"
            );
    }

    /// <summary>A film. It is not looked for before somebody opens it.</summary>
    protected MediumPart Video(JsonElement value, string field) =>
        new FilmFile(Resolve(MediumPath(value, field), field));

    static string MediumPath(JsonElement value, string field)
    {
        JsonElement? path = value.ValueKind == JsonValueKind.Object ? Field(value, "url") : value;
        return path is { ValueKind: JsonValueKind.String } text && text.GetString() is { Length: > 0 } found
            ? found
            : throw WrongContent(field, path, "a path");
    }

    string Resolve(string path, string field)
    {
        const string file = "file://";
        if (path.StartsWith(file, StringComparison.Ordinal))
        {
            path = path[file.Length..];
        }

        if (path.Contains("://", StringComparison.Ordinal))
        {
            throw new SampleException(
                FaultReason.FileMissing,
                $"field '{field}' is the address {Quote.Name(path)}; nothing is fetched: download it and name the file"
            );
        }

        if (path.Contains('\0'))
        {
            throw new SampleException(
                FaultReason.FileMissing,
                $"field '{field}' is {Quote.Name(path)}, which is no path"
            );
        }

        return Path.Combine(root, path);
    }

    /// <summary>A text, cut where the tags are.</summary>
    protected static IEnumerable<ExamplePart> Split(string text, params IReadOnlyList<string> tags)
    {
        int from = 0;
        for (int at = 0; (at = text.IndexOf('<', at)) >= 0; )
        {
            string? tag = tags.FirstOrDefault(tag => text.AsSpan(at).StartsWith(tag, StringComparison.Ordinal));
            if (tag is null)
            {
                at++;
                continue;
            }

            yield return new TextPart(text[from..at]);
            yield return new Placeholder(tag);
            from = at += tag.Length;
        }

        yield return new TextPart(text[from..]);
    }

    // Neighbouring texts become one, empty ones none.
    static List<ExamplePart> Join(IEnumerable<ExamplePart> parts)
    {
        List<ExamplePart> joined = [];
        foreach (ExamplePart part in parts)
        {
            if (part is TextPart { Text: var text })
            {
                if (text.Length == 0)
                {
                    continue;
                }

                if (joined is [.., TextPart before])
                {
                    joined[^1] = new TextPart(before.Text + text);
                    continue;
                }
            }

            joined.Add(part);
        }

        return joined;
    }

    /// <summary>A value as errors show it.</summary>
    protected static string Describe(JsonElement value) =>
        value.ValueKind switch
        {
            JsonValueKind.Object => "an object",
            JsonValueKind.Array => $"a list of {value.GetArrayLength()}",
            JsonValueKind.String => Quote.Name(value.GetString()!),
            JsonValueKind.Null => "null",
            _ => Quote.Short(value.GetRawText()),
        };

    /// <summary>What a sample lists, in the order in which places take it.</summary>
    /// <param name="images">Its pictures.</param>
    /// <param name="videos">Its films.</param>
    /// <param name="references">Names of what boxes are of.</param>
    /// <param name="boxes">Its boxes.</param>
    protected sealed class Places(
        IReadOnlyList<MediumPart> images,
        IReadOnlyList<MediumPart> videos,
        IReadOnlyList<string>? references = null,
        IReadOnlyList<BoxPart>? boxes = null
    )
    {
        int image;
        int video;
        int reference;
        int box;

        /// <summary>What belongs in a place; other parts as they are.</summary>
        public ExamplePart Fill(ExamplePart part) =>
            part is not Placeholder place
                ? part
                : place.Tag switch
                {
                    Placeholder.Image => image < images.Count
                        ? images[image++]
                        : throw Few(FaultReason.ImageCount, place.Tag, "pictures", images.Count),
                    Placeholder.Video => video < videos.Count
                        ? videos[video++]
                        : throw Few(FaultReason.VideoCount, place.Tag, "videos", videos.Count),
                    Placeholder.Reference => reference < references?.Count
                        ? new ReferencePart(references[reference++])
                        : throw Few(FaultReason.ReferenceCount, place.Tag, "references", references?.Count ?? 0),
                    _ => box < boxes?.Count
                        ? boxes[box++]
                        : throw Few(FaultReason.BoxCount, place.Tag, "boxes", boxes?.Count ?? 0),
                };

        /// <summary>Refuses what has no place.</summary>
        public void ThrowIfLeft()
        {
            Check(FaultReason.ImageCount, Placeholder.Image, "pictures", image, images.Count);
            Check(FaultReason.VideoCount, Placeholder.Video, "videos", video, videos.Count);
            Check(FaultReason.ReferenceCount, Placeholder.Reference, "references", reference, references?.Count ?? 0);
            Check(FaultReason.BoxCount, Placeholder.Box, "boxes", box, boxes?.Count ?? 0);
        }

        static void Check(string reason, string tag, string what, int used, int given)
        {
            if (used < given)
            {
                throw new SampleException(
                    reason,
                    $"lists {given} {what}, its messages have {used} places for them ({tag})"
                );
            }
        }

        static SampleException Few(string reason, string tag, string what, int given) =>
            new(reason, $"its messages have more places for {what} ({tag}) than the {given} that it lists");
    }
}

/// <summary>A picture that stands in the file itself, as a data address.</summary>
/// <param name="Name">Shown in errors.</param>
/// <param name="Bytes">As a file would have them.</param>
sealed record EncodedPicture(string Name, byte[] Bytes) : MediumPart(Name)
{
    const string Marker = ";base64,";

    public static EncodedPicture Parse(string address, string field)
    {
        int at = address.IndexOf(Marker, StringComparison.Ordinal);
        try
        {
            return at < 0
                ? throw new FormatException()
                : new EncodedPicture(field, Convert.FromBase64String(address[(at + Marker.Length)..]));
        }
        catch (FormatException)
        {
            throw new SampleException(
                FaultReason.Content,
                $"field '{field}' is {Quote.Name(address)}, expected data:image/...;base64, and the bytes of a picture"
            );
        }
    }

    /// <inheritdoc/>
    public override MediaSource Open() => MediaSource.Image(ImageDecoder.Decode(Bytes, Name), Name);

    /// <inheritdoc/>
    public override MediaShape Shape()
    {
        ImageInfo header = ImageDecoder.ReadInfo(Bytes, Name);
        return new MediaShape(MediaKind.Image, header.Width, header.Height);
    }
}
