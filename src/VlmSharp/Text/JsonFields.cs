using System.Text.Json;
using VlmSharp.Formats;

namespace VlmSharp.Text;

/// <summary>An object of a tokenizer file, read with errors that name the file and the field.</summary>
/// <param name="File">Named in errors.</param>
/// <param name="Path">Where in the file the object is; empty for the whole.</param>
/// <param name="Element">A JSON object.</param>
readonly record struct JsonFields(string File, string Path, JsonElement Element)
{
    /// <summary>Parses a file that is one object. A comma after its last field is let through.</summary>
    public static JsonFields Parse(string file, ReadOnlySpan<byte> json)
    {
        try
        {
            CheckTexts(file, json);
            var reader = new Utf8JsonReader(json, new JsonReaderOptions { AllowTrailingCommas = true });
            var element = JsonElement.ParseValue(ref reader);
            return Of(file, "", element);
        }
        catch (JsonException e)
        {
            throw new CheckpointException(file, $"is not valid JSON: {e.Message}", e);
        }
    }

    /// <summary>Reads all texts and names once, so that later none can turn out not to be text.</summary>
    static void CheckTexts(string file, ReadOnlySpan<byte> json)
    {
        var reader = new Utf8JsonReader(json, new JsonReaderOptions { AllowTrailingCommas = true });
        while (reader.Read())
        {
            if (reader.TokenType is not (JsonTokenType.String or JsonTokenType.PropertyName))
            {
                continue;
            }

            try
            {
                reader.GetString();
            }
            catch (InvalidOperationException e)
            {
                throw new CheckpointException(
                    file,
                    $"the text at byte {reader.TokenStartIndex} is not valid Unicode",
                    e
                );
            }
        }
    }

    /// <summary>Takes an element that must be an object.</summary>
    public static JsonFields Of(string file, string path, JsonElement element) =>
        element.ValueKind == JsonValueKind.Object
            ? new(file, path, element)
            : throw new CheckpointException(
                file,
                $"{(path.Length == 0 ? "" : path + ": ")}is {Kind(element)}, expected an object"
            );

    /// <summary>An error about a field of this object.</summary>
    public CheckpointException Error(string field, string message) => new(File, $"{Excerpt.Of(At(field))}: {message}");

    /// <summary>Whether the field is there and not null.</summary>
    public bool Has(string field) => TryGet(field, out _);

    /// <summary>A text, or null if the field is missing or null.</summary>
    public string? String(string field)
    {
        if (!TryGet(field, out JsonElement value))
        {
            return null;
        }

        return value.ValueKind == JsonValueKind.String ? value.GetString() : throw Wrong(field, value, "a text");
    }

    /// <summary>True or false.</summary>
    public bool Bool(string field, bool? absent = null)
    {
        if (!TryGet(field, out JsonElement value))
        {
            return absent ?? throw Error(field, "is missing, expected true or false");
        }

        return value.ValueKind switch
        {
            JsonValueKind.True => true,
            JsonValueKind.False => false,
            _ => throw Wrong(field, value, "true or false"),
        };
    }

    /// <summary>A token id.</summary>
    public int Id(string field)
    {
        if (!TryGet(field, out JsonElement value))
        {
            throw Error(field, "is missing, expected a token id");
        }

        return value.ValueKind == JsonValueKind.Number && value.TryGetInt32(out int id) && id is >= 0 and < int.MaxValue
            ? id
            : throw Wrong(field, value, "a token id");
    }

    /// <summary>An object, or null if the field is missing or null.</summary>
    public JsonFields? Object(string field) => TryGet(field, out JsonElement value) ? Of(File, At(field), value) : null;

    /// <summary>The objects of an array field; none if it is missing or null.</summary>
    public IEnumerable<JsonFields> Objects(string field)
    {
        foreach ((string path, JsonElement item) in Items(field))
        {
            yield return Of(File, path, item);
        }
    }

    /// <summary>The fields of this object, which are objects themselves.</summary>
    public IEnumerable<(string Name, JsonFields Value)> Objects()
    {
        foreach (string name in Names())
        {
            yield return (name, Of(File, At(name), Element.GetProperty(name)));
        }
    }

    /// <summary>The names of the fields of this object.</summary>
    public IReadOnlyList<string> Names()
    {
        CheckNames();
        return [.. Element.EnumerateObject().Select(p => p.Name)];
    }

    /// <summary>Refuses an object that has a field twice.</summary>
    public void CheckNames()
    {
        HashSet<string> seen = [];
        foreach (JsonProperty property in Element.EnumerateObject())
        {
            if (!seen.Add(property.Name))
            {
                throw Error(property.Name, "occurs twice");
            }
        }
    }

    /// <summary>The content of a token that is given as a text or as an object with its content; null if missing.</summary>
    public string? TokenContent(string field)
    {
        return TryGet(field, out JsonElement value) ? TokenContent(At(field), value) : null;
    }

    /// <summary>The contents of an array of tokens; none if the field is missing or null.</summary>
    public IEnumerable<string> TokenContents(string field)
    {
        foreach ((string path, JsonElement item) in Items(field))
        {
            yield return TokenContent(path, item);
        }
    }

    /// <summary>Reads this object as an added token. Flags that are missing are off, except that tokens which are not special are normalised.</summary>
    public AddedToken AddedToken(int id)
    {
        string content = String("content") ?? throw Error("content", "is missing");
        CheckContent(this, "content", content);
        bool special = Bool("special", absent: false);
        return new(
            id,
            content,
            special,
            Bool("single_word", absent: false),
            Bool("lstrip", absent: false),
            Bool("rstrip", absent: false),
            Bool("normalized", absent: !special)
        );
    }

    /// <summary>Refuses contents of added tokens that cannot be looked for.</summary>
    public static void CheckContent(JsonFields at, string field, string content)
    {
        if (content.Length is 0 or > AddedTokenMatcher.MaxContentLength)
        {
            throw at.Error(
                field,
                $"has {content.Length} characters; an added token has 1 to {AddedTokenMatcher.MaxContentLength}"
            );
        }
    }

    string TokenContent(string path, JsonElement value)
    {
        return value.ValueKind == JsonValueKind.String
            ? value.GetString()!
            : Of(File, path, value).String("content")
                ?? throw new CheckpointException(File, $"{path}.content: is missing");
    }

    IEnumerable<(string Path, JsonElement Item)> Items(string field)
    {
        if (!TryGet(field, out JsonElement array))
        {
            yield break;
        }

        if (array.ValueKind != JsonValueKind.Array)
        {
            throw Wrong(field, array, "an array");
        }

        int index = 0;
        foreach (JsonElement item in array.EnumerateArray())
        {
            yield return ($"{At(field)}[{index++}]", item);
        }
    }

    bool TryGet(string field, out JsonElement value) =>
        Element.TryGetProperty(field, out value) && value.ValueKind != JsonValueKind.Null;

    string At(string field) => Path.Length == 0 ? field : $"{Path}.{field}";

    CheckpointException Wrong(string field, JsonElement value, string expected)
    {
        string raw = value.GetRawText();
        return Error(field, $"is {(raw.Length <= 40 ? raw : Kind(value))}, expected {expected}");
    }

    static string Kind(JsonElement value) =>
        value.ValueKind switch
        {
            JsonValueKind.Object => "an object",
            JsonValueKind.Array => "an array",
            JsonValueKind.String => "a text",
            JsonValueKind.Number => "a number",
            JsonValueKind.Null => "null",
            _ => "true or false",
        };
}
