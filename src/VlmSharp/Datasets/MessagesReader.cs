using System.Text;
using System.Text.Json;
using VlmSharp.Formats;
using VlmSharp.Grounding;
using VlmSharp.Media.Images;
using VlmSharp.Models;

namespace VlmSharp.Datasets;

/// <summary>Samples with <c>messages</c>: ms-swift's, and OpenAI's.</summary>
/// <remarks>
/// Source: <c>StdTemplateInputs.from_dict</c>, <c>Template._add_default_tags</c>, <c>normalize_bbox</c> and <c>normalize_openai_tool_calls</c> of ms-swift, which reads both. Where it
/// goes on with a sample that contradicts itself, this is an error.
/// </remarks>
/// <param name="root">What paths of media are relative to.</param>
/// <param name="needAnswers">Whether something in it must be learnt.</param>
/// <param name="places">Whether tags in texts are places where the sample lists nothing; else they are text there.</param>
sealed class MessagesReader(string root, bool needAnswers, bool places) : SampleReader(root, needAnswers)
{
    const string Roles = "system, user, assistant, tool_call, tool_response or tool";

    protected override List<DraftMessage> ReadMessages(JsonElement sample, out Places places)
    {
        JsonElement[] messages = MessageList(sample, "messages");
        List<MediumPart> images = Media(sample, "images", Image);
        List<MediumPart> videos = Media(sample, "videos", Video);
        if (
            Field(sample, "audios") is { } audios
            && !(audios.ValueKind == JsonValueKind.Array && audios.GetArrayLength() == 0)
        )
        {
            throw WrongContent("audios", audios, "nothing: no model here hears");
        }

        JsonElement? objects = Field(sample, "objects");
        string[] tags = Tags(images.Count > 0 || videos.Count > 0, objects is not null);
        List<DraftMessage> draft = [];
        foreach ((int i, JsonElement message) in messages.Index())
        {
            ReadMessage(message, $"messages[{i}]", tags, draft);
        }

        AddMissing(draft, Placeholder.Image, images.Count);
        AddMissing(draft, Placeholder.Video, videos.Count);
        (string[] references, BoxPart[] boxes) = objects is { } found ? ReadObjects(found, draft, images) : ([], []);
        places = new Places(images, videos, references, boxes);
        return draft;
    }

    string[] Tags(bool media, bool objects) =>
        [
            .. places || media ? (string[])[Placeholder.Image, Placeholder.Video] : [],
            .. objects ? (string[])[Placeholder.Reference, Placeholder.Box] : [],
        ];

    void ReadMessage(JsonElement message, string field, string[] tags, List<DraftMessage> draft)
    {
        string role = Text(message, "role") switch
        {
            "system" or "developer" => "system",
            "user" => "user",
            "assistant" => "assistant",
            "tool_call" => "tool_call",
            "tool" or "tool_response" => "tool",
            _ => throw WrongRole(message, field, "role", Roles),
        };
        if (role == "system" && draft.Count > 0)
        {
            throw new SampleException(
                FaultReason.RoleOrder,
                $"field '{field}.role' is 'system', which comes first or not at all"
            );
        }

        bool learnt =
            role is "assistant" or "tool_call" && Counts(message, "loss", field) && Counts(message, "weight", field);
        JsonElement? calls = Field(message, "tool_calls");
        if (calls is null || Field(message, "content") is not null)
        {
            List<ExamplePart> content = [.. Content(message, field, tags)];
            if (calls is null || content.Exists(part => part is not TextPart { Text: "" }))
            {
                draft.Add(new DraftMessage(role, content, learnt));
            }
        }

        if (calls is { } list)
        {
            if (role != "assistant" || list.ValueKind != JsonValueKind.Array)
            {
                throw WrongContent($"{field}.tool_calls", list, "a list, in a message of the assistant");
            }

            draft.AddRange(
                list.EnumerateArray()
                    .Select(
                        (call, i) =>
                            new DraftMessage(
                                "tool_call",
                                [new TextPart(Call(call, $"{field}.tool_calls[{i}]"))],
                                learnt
                            )
                    )
            );
        }
    }

    // ms-swift says "loss": false, OpenAI "weight": 0.
    static bool Counts(JsonElement message, string name, string field) =>
        Field(message, name) switch
        {
            null => true,
            { ValueKind: JsonValueKind.True or JsonValueKind.False } flag => flag.GetBoolean(),
            { ValueKind: JsonValueKind.Number } number
                when number.TryGetDouble(out double weight) && weight is 0 or 1 => number.GetDouble() == 1,
            { } other => throw WrongContent($"{field}.{name}", other, "true, false, 0 or 1"),
        };

    IEnumerable<ExamplePart> Content(JsonElement message, string field, string[] tags)
    {
        JsonElement? content = Given(message, "content");
        return content switch
        {
            { ValueKind: JsonValueKind.String } text => Split(text.GetString()!, tags),
            { ValueKind: JsonValueKind.Array } list => list.EnumerateArray()
                .SelectMany((part, i) => Part(part, $"{field}.content[{i}]", tags)),
            _ => throw WrongContent($"{field}.content", content, "a text or a list of parts"),
        };
    }

    IEnumerable<ExamplePart> Part(JsonElement part, string field, string[] tags)
    {
        string? type = part.ValueKind == JsonValueKind.Object ? Text(part, "type") : null;
        JsonElement? value = type is null ? null : Field(part, type);
        return (type, value) switch
        {
            ("text", { ValueKind: JsonValueKind.String } text) => Split(text.GetString()!, tags),
            ("image" or "image_url", { } image) => [Image(image, $"{field}.{type}")],
            ("video" or "video_url", { } video) => [Video(video, $"{field}.{type}")],
            (null, _) => throw WrongContent($"{field}", part, "an object with a type"),
            ("text" or "image" or "image_url" or "video" or "video_url", _) => throw WrongContent(
                $"{field}.{type}",
                value,
                type == "text" ? "a text" : "a path"
            ),
            _ => throw WrongContent(
                $"{field}.type",
                part.GetProperty("type"),
                "text, image, image_url, video or video_url"
            ),
        };
    }

    /// <summary>A call as <c>json.dumps</c> writes its name and arguments.</summary>
    static string Call(JsonElement call, string field)
    {
        if (
            call.ValueKind != JsonValueKind.Object
            || Field(call, "function") is not { ValueKind: JsonValueKind.Object } function
            || Field(function, "name") is not { ValueKind: JsonValueKind.String } name
        )
        {
            throw WrongContent(field, call, "an object with a function that has a name");
        }

        StringBuilder text = new("{\"name\": ");
        PythonStyle(name, text);
        text.Append(", \"arguments\": ");
        PythonStyle(Arguments(Field(function, "arguments")), text);
        return text.Append('}').ToString();
    }

    // Usually JSON within a string.
    static JsonElement Arguments(JsonElement? arguments)
    {
        if (arguments is not { } given)
        {
            return JsonElement.Parse("{}"u8);
        }

        if (given.ValueKind == JsonValueKind.String)
        {
            try
            {
                return JsonElement.Parse(
                    given.GetString()!,
                    new JsonDocumentOptions { MaxDepth = JsonObjectReader.MaxDepth }
                );
            }
            catch (JsonException)
            {
                // A text that is no JSON is the argument itself.
            }
        }

        return given;
    }

    static void PythonStyle(JsonElement value, StringBuilder text)
    {
        string separator = "";
        switch (value.ValueKind)
        {
            case JsonValueKind.Object:
                text.Append('{');
                foreach (JsonProperty property in value.EnumerateObject())
                {
                    text.Append(separator).Append(Quoted(property.Name)).Append(": ");
                    PythonStyle(property.Value, text);
                    separator = ", ";
                }

                text.Append('}');
                break;
            case JsonValueKind.Array:
                text.Append('[');
                foreach (JsonElement item in value.EnumerateArray())
                {
                    text.Append(separator);
                    PythonStyle(item, text);
                    separator = ", ";
                }

                text.Append(']');
                break;
            case JsonValueKind.String:
                text.Append(Quoted(value.GetString()!));
                break;
            default:
                text.Append(value.GetRawText());
                break;
        }
    }

    static string Quoted(string text)
    {
        StringBuilder quoted = new("\"");
        foreach (char c in text)
        {
            quoted.Append(
                c switch
                {
                    '"' => "\\\"",
                    '\\' => "\\\\",
                    '\n' => "\\n",
                    '\r' => "\\r",
                    '\t' => "\\t",
                    '\b' => "\\b",
                    '\f' => "\\f",
                    < ' ' => $"\\u{(int)c:x4}",
                    _ => c.ToString(),
                }
            );
        }

        return quoted.Append('"').ToString();
    }

    // Media without a place stand before the first message that is not the system's.
    static void AddMissing(List<DraftMessage> draft, string tag, int given)
    {
        int places = draft.Sum(message => message.Content.Count(part => part is Placeholder place && place.Tag == tag));
        if (places < given && draft.Find(message => message.Role != "system") is { } first)
        {
            first.Content.InsertRange(0, Enumerable.Repeat(new Placeholder(tag), given - places));
        }
    }

    static (string[] References, BoxPart[] Boxes) ReadObjects(
        JsonElement objects,
        List<DraftMessage> draft,
        List<MediumPart> images
    )
    {
        if (objects.ValueKind != JsonValueKind.Object)
        {
            throw WrongContent("objects", objects, "an object with ref and bbox");
        }

        // Pictures in the order of the conversation: those of parts stand among those that are listed.
        Queue<MediumPart> listed = new(images);
        List<MediumPart> pictures = [];
        foreach (ExamplePart part in draft.SelectMany(message => message.Content))
        {
            if (part is Placeholder { Tag: Placeholder.Image })
            {
                if (listed.TryDequeue(out MediumPart? next))
                {
                    pictures.Add(next);
                }
            }
            else if (part is MediumPart and not FilmFile)
            {
                pictures.Add((MediumPart)part);
            }
        }

        string[] references =
        [
            .. List(objects, "ref")
                .Select(
                    (item, i) =>
                        item.ValueKind == JsonValueKind.String
                            ? item.GetString()!
                            : throw WrongContent($"objects.ref[{i}]", item, "a text")
                ),
        ];
        JsonElement[] boxes = List(objects, "bbox");
        bool fractions = Field(objects, "bbox_type") switch
        {
            null => false,
            { ValueKind: JsonValueKind.String } type when type.ValueEquals("real") => false,
            { ValueKind: JsonValueKind.String } type when type.ValueEquals("norm1") => true,
            { } other => throw new SampleException(
                FaultReason.BoxType,
                $"field 'objects.bbox_type' is {Describe(other)}, expected real (pixels) or norm1 (fractions)"
            ),
        };
        int[]? pictureIds = ImageIds(objects, boxes.Length, pictures.Count);
        Dictionary<int, MediaShape> shapes = [];
        return (
            references,
            [
                .. boxes.Select(
                    (box, i) =>
                    {
                        string field = $"objects.bbox[{i}]";
                        double[] numbers = Numbers(box, field);
                        int picture = pictureIds?[i] ?? 0;
                        if (picture >= pictures.Count)
                        {
                            throw new SampleException(
                                FaultReason.ImageId,
                                $"field '{field}' is a box, but there is no picture"
                            );
                        }

                        if (fractions)
                        {
                            Scale(numbers, Shape(picture));
                        }

                        return new BoxPart(numbers, picture);
                    }
                ),
            ]
        );

        MediaShape Shape(int picture)
        {
            if (!shapes.TryGetValue(picture, out MediaShape? shape))
            {
                try
                {
                    shape = pictures[picture].Shape();
                }
                catch (MediaException e)
                {
                    throw new SampleException(FaultReason.FileUnreadable, e.Message);
                }

                shapes.Add(picture, shape);
            }

            return shape;
        }
    }

    static void Scale(double[] fractions, MediaShape shape)
    {
        for (int i = 0; i < fractions.Length; i++)
        {
            fractions[i] *= i % 2 == 0 ? shape.Width : shape.Height;
        }
    }

    static double[] Numbers(JsonElement box, string field)
    {
        if (box.ValueKind != JsonValueKind.Array || box.GetArrayLength() is not (2 or 4))
        {
            throw new SampleException(
                FaultReason.BoxLength,
                $"field '{field}' is {Describe(box)}, expected x1, y1, x2, y2 or x, y"
            );
        }

        double[] numbers =
        [
            .. box.EnumerateArray()
                .Select(
                    (item, i) =>
                        item.ValueKind == JsonValueKind.Number
                        && item.TryGetDouble(out double number)
                        && double.IsFinite(number)
                            ? number
                            : throw new SampleException(
                                FaultReason.BoxNumber,
                                $"field '{field}[{i}]' is {Describe(item)}, expected a number"
                            )
                ),
        ];
        if (numbers.Length == 4)
        {
            GroundedItem.Order(numbers);
        }

        return numbers;
    }

    static int[]? ImageIds(JsonElement objects, int boxes, int pictures)
    {
        JsonElement[] ids = List(objects, "image_id");
        if (ids.Length == 0)
        {
            return null;
        }

        return ids.Length == boxes
            ?
            [
                .. ids.Select(
                    (id, i) =>
                        id.ValueKind == JsonValueKind.Number
                        && id.TryGetInt32(out int picture)
                        && picture >= 0
                        && picture < pictures
                            ? picture
                            : throw new SampleException(
                                FaultReason.ImageId,
                                $"field 'objects.image_id[{i}]' is {Describe(id)}, but there are {pictures} pictures, counted from 0"
                            )
                ),
            ]
            : throw new SampleException(
                FaultReason.ImageId,
                $"field 'objects.image_id' has {ids.Length} numbers for {boxes} boxes"
            );
    }

    static JsonElement[] List(JsonElement json, string field) =>
        Field(json, field) switch
        {
            null => [],
            { ValueKind: JsonValueKind.Array } list => [.. list.EnumerateArray()],
            { } other => throw WrongContent($"objects.{field}", other, "a list"),
        };
}
