using System.Globalization;
using System.Text.Json;
using System.Text.Unicode;

namespace VlmSharp.Formats;

/// <summary>
/// A typed view of one JSON object of a checkpoint file whose errors name the file, the field, what was found and what was expected:
/// <c>config.json: field 'vision_config.depth' is -3, expected 1 .. 1024</c>.
/// </summary>
/// <remarks>
/// Nothing is read without a range: a number from a file decides about memory later. A field that is <c>null</c> counts as absent, as the
/// published configs use it. Reading is strict RFC 8259: no comments unless they are asked for, no trailing commas, no <c>NaN</c>, no name
/// twice in an object, UTF-8 throughout, at most <see cref="MaxDepth"/> levels and <see cref="MaxNames"/> names.
/// </remarks>
public sealed class JsonObjectReader
{
    /// <summary>Objects and arrays nest at most this deep.</summary>
    public const int MaxDepth = 64;

    /// <summary>
    /// A file has at most this many field names in all, three times the largest published index: each costs many times its size in memory.
    /// </summary>
    public const int MaxNames = 300_000;

    /// <summary>The size limit of <see cref="Open"/> unless told: 8 MiB, many times the largest published config.</summary>
    public const long DefaultMaxBytes = 8 << 20;

    readonly Dictionary<string, JsonElement> fields;

    JsonObjectReader(string file, string path, JsonElement element)
    {
        File = file;
        Path = path;
        fields = new(element.GetPropertyCount(), StringComparer.Ordinal);
        foreach (JsonProperty property in element.EnumerateObject())
        {
            fields.Add(property.Name, property.Value);
        }
    }

    /// <summary>The file's name, as it appears in messages.</summary>
    public string File { get; }

    /// <summary>Where in the file this object stands, dotted: empty for the whole file, <c>vision_config</c>, <c>text_config.rope_scaling</c>.</summary>
    public string Path { get; }

    /// <summary>The names of all fields, in the file's order, those that are null too.</summary>
    public IEnumerable<string> Names => fields.Keys;

    /// <summary>Opens a file that holds one JSON object.</summary>
    /// <param name="path">The file.</param>
    /// <param name="maxBytes">Larger files are refused unread.</param>
    /// <param name="comments">Whether comments are allowed: in files that people write.</param>
    /// <exception cref="CheckpointException">The file is missing, too large, not UTF-8, not JSON, not an object, or names a field twice.</exception>
    public static JsonObjectReader Open(string path, long maxBytes = DefaultMaxBytes, bool comments = false) =>
        Parse(CheckpointFile.Name(path), CheckpointFile.Read(path, maxBytes), comments);

    /// <summary>As <see cref="Open"/>, or null where the directory has nothing of this name.</summary>
    internal static JsonObjectReader? OpenOptional(string directory, string name)
    {
        string path = System.IO.Path.Combine(directory, name);
        return System.IO.Path.Exists(path) ? Open(path) : null;
    }

    /// <summary>Reads one JSON object from memory.</summary>
    /// <param name="file">The name under which messages speak of it.</param>
    /// <param name="utf8">The JSON text.</param>
    /// <param name="comments">As for <see cref="Open"/>.</param>
    /// <exception cref="CheckpointException">As for <see cref="Open"/>.</exception>
    public static JsonObjectReader Parse(string file, ReadOnlySpan<byte> utf8, bool comments = false)
    {
        if (!Utf8.IsValid(utf8))
        {
            throw new CheckpointException(file, "is not UTF-8 text");
        }

        try
        {
            JsonCommentHandling handling = comments ? JsonCommentHandling.Skip : JsonCommentHandling.Disallow;
            Check(file, utf8, handling);
            JsonElement root = JsonElement.Parse(
                utf8,
                new JsonDocumentOptions
                {
                    MaxDepth = MaxDepth,
                    AllowDuplicateProperties = false,
                    CommentHandling = handling,
                }
            );
            return root.ValueKind == JsonValueKind.Object
                ? new JsonObjectReader(file, "", root)
                : throw new CheckpointException(file, $"holds {Describe(root)}, expected a JSON object");
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException)
        {
            throw CheckpointFile.InvalidJson(file, "is", e);
        }
    }

    /// <summary>Whether the field is there and not null.</summary>
    public bool Has(string name) =>
        fields.TryGetValue(name, out JsonElement value) && value.ValueKind != JsonValueKind.Null;

    /// <summary>An integer in [<paramref name="min"/>, <paramref name="max"/>], both inclusive.</summary>
    /// <exception cref="CheckpointException">The field is absent, no integer, or outside the range. So for all readers below.</exception>
    public int Int(string name, int min, int max) => (int)Long(name, min, max);

    /// <summary>An integer in [<paramref name="min"/>, <paramref name="max"/>], or the fallback when absent.</summary>
    public int Int(string name, int min, int max, int fallback) => Has(name) ? Int(name, min, max) : fallback;

    /// <summary>A 64-bit integer in [<paramref name="min"/>, <paramref name="max"/>].</summary>
    public long Long(string name, long min, long max) =>
        Integer(name, Required(name, $"an integer {min} .. {max}"), min, max);

    /// <summary>A 64-bit integer in [<paramref name="min"/>, <paramref name="max"/>], or the fallback when absent.</summary>
    public long Long(string name, long min, long max, long fallback) => Has(name) ? Long(name, min, max) : fallback;

    /// <summary>A finite number in [<paramref name="min"/>, <paramref name="max"/>].</summary>
    public double Number(string name, double min, double max) =>
        Real(name, Required(name, $"a number {Format(min)} .. {Format(max)}"), min, max);

    /// <summary>A finite number in [<paramref name="min"/>, <paramref name="max"/>], or the fallback when absent.</summary>
    public double Number(string name, double min, double max, double fallback) =>
        Has(name) ? Number(name, min, max) : fallback;

    /// <summary>A boolean.</summary>
    public bool Bool(string name)
    {
        JsonElement value = Required(name, "true or false");
        return value.ValueKind switch
        {
            JsonValueKind.True => true,
            JsonValueKind.False => false,
            _ => throw Unexpected(name, value, "true or false"),
        };
    }

    /// <summary>A boolean, or the fallback when absent.</summary>
    public bool Bool(string name, bool fallback) => Has(name) ? Bool(name) : fallback;

    /// <summary>A string.</summary>
    public string Text(string name) => String(name, Required(name, "a string"));

    /// <summary>A string, or the fallback when absent.</summary>
    public string Text(string name, string fallback) => Has(name) ? Text(name) : fallback;

    /// <summary>A nested object.</summary>
    public JsonObjectReader Object(string name) => Object(name, Required(name, "an object"));

    /// <summary>A nested object, or null when absent.</summary>
    public JsonObjectReader? OptionalObject(string name) => Has(name) ? Object(name) : null;

    /// <summary>A list of at most <paramref name="maxCount"/> objects.</summary>
    public JsonObjectReader[] Objects(string name, int maxCount) => List(name, maxCount, "objects", Object);

    /// <summary>A list of at most <paramref name="maxCount"/> integers, each in [<paramref name="min"/>, <paramref name="max"/>].</summary>
    public int[] Ints(string name, int maxCount, int min = int.MinValue, int max = int.MaxValue) =>
        List(name, maxCount, "integers", (item, value) => (int)Integer(item, value, min, max));

    /// <summary>One integer or a list of them, as in <c>eos_token_id</c>; one integer becomes a list of one.</summary>
    public int[] IntOrInts(string name, int maxCount, int min = int.MinValue, int max = int.MaxValue)
    {
        JsonElement value = Required(name, $"an integer {min} .. {max} or a list of them");
        return value.ValueKind == JsonValueKind.Array
            ? Ints(name, maxCount, min, max)
            : [(int)Integer(name, value, min, max)];
    }

    /// <summary>A list of at most <paramref name="maxCount"/> finite numbers, each in [<paramref name="min"/>, <paramref name="max"/>].</summary>
    public double[] Numbers(string name, int maxCount, double min = double.MinValue, double max = double.MaxValue) =>
        List(name, maxCount, "numbers", (item, value) => Real(item, value, min, max));

    /// <summary>A list of at most <paramref name="maxCount"/> strings.</summary>
    public string[] Texts(string name, int maxCount) => List(name, maxCount, "strings", String);

    /// <summary>A string, or the string that an object has as <paramref name="inner"/>: the two ways in which configs name a token.</summary>
    internal string TextOrInner(string name, string inner) =>
        TextOrInner(name, Required(name, "a string or an object"), inner);

    /// <summary>A list of at most <paramref name="maxCount"/> of what <see cref="TextOrInner(string, string)"/> reads.</summary>
    internal string[] TextsOrInner(string name, int maxCount, string inner) =>
        List(name, maxCount, "strings or objects", (item, value) => TextOrInner(item, value, inner));

    /// <summary>The field as it is, for shapes no method here has. Its strings are known to be well-formed.</summary>
    public JsonElement Raw(string name) => Required(name, "a value");

    /// <summary>Refuses a string field that is there and is none of those implemented.</summary>
    public void Require(string name, params ReadOnlySpan<string> known)
    {
        if (Has(name) && !known.Contains(Text(name)))
        {
            throw Error(name, $"is '{Text(name)}', only {string.Join(" or ", known!)} is implemented");
        }
    }

    /// <summary>Refuses fields of other names: in a file that people write, a misspelt one would change nothing in silence.</summary>
    public void AllowOnly(params ReadOnlySpan<string> known)
    {
        foreach (string name in Names)
        {
            if (!known.Contains(name))
            {
                throw Error(name, $"is unknown, expected one of {string.Join(", ", known!)}");
            }
        }
    }

    /// <summary>An error about a field, for checks of the caller: <c>file: field 'path.name' message</c>.</summary>
    /// <param name="name">The field, without this object's path.</param>
    /// <param name="message">Continues the sentence: <c>is 7, expected a divisor of hidden_size 48</c>.</param>
    public CheckpointException Error(string name, string message) =>
        new(File, $"field {Quote.Name(Full(name))} {message}");

    string Full(string name) => Path.Length == 0 ? name : $"{Path}.{name}";

    JsonElement Required(string name, string expected)
    {
        if (!fields.TryGetValue(name, out JsonElement value))
        {
            throw Error(name, $"is missing, expected {expected}");
        }

        return value.ValueKind != JsonValueKind.Null ? value : throw Error(name, $"is null, expected {expected}");
    }

    long Integer(string name, JsonElement value, long min, long max)
    {
        if (value.ValueKind != JsonValueKind.Number)
        {
            throw Unexpected(name, value, $"an integer {min} .. {max}");
        }

        // An integer too large for 64 bits fails here too and is outside every range.
        bool whole = value.TryGetInt64(out long result);
        return whole && result >= min && result <= max
            ? result
            : throw Unexpected(name, value, whole ? $"{min} .. {max}" : $"an integer {min} .. {max}");
    }

    double Real(string name, JsonElement value, double min, double max)
    {
        if (value.ValueKind != JsonValueKind.Number)
        {
            throw Unexpected(name, value, $"a number {Format(min)} .. {Format(max)}");
        }

        // 1e999 is valid JSON and reads as infinity.
        return value.TryGetDouble(out double result) && double.IsFinite(result) && result >= min && result <= max
            ? result
            : throw Unexpected(name, value, $"{Format(min)} .. {Format(max)}");
    }

    string String(string name, JsonElement value) =>
        value.ValueKind == JsonValueKind.String ? value.GetString()! : throw Unexpected(name, value, "a string");

    string TextOrInner(string name, JsonElement value, string inner) =>
        value.ValueKind == JsonValueKind.Object ? Object(name, value).Text(inner) : String(name, value);

    JsonObjectReader Object(string name, JsonElement value) =>
        value.ValueKind == JsonValueKind.Object
            ? new JsonObjectReader(File, Full(name), value)
            : throw Unexpected(name, value, "an object");

    T[] List<T>(string name, int maxCount, string items, Func<string, JsonElement, T> read)
    {
        string expected = $"a list of at most {maxCount} {items}";
        JsonElement value = Required(name, expected);
        if (value.ValueKind != JsonValueKind.Array)
        {
            throw Unexpected(name, value, expected);
        }

        int count = value.GetArrayLength();
        if (count > maxCount)
        {
            throw Error(name, $"has {count} items, expected at most {maxCount}");
        }

        T[] result = new T[count];
        int i = 0;
        foreach (JsonElement item in value.EnumerateArray())
        {
            result[i] = read($"{name}[{i}]", item);
            i++;
        }

        return result;
    }

    CheckpointException Unexpected(string name, JsonElement value, string expected) =>
        Error(name, $"is {Describe(value)}, expected {expected}");

    static string Format(double value) => value.ToString("R", CultureInfo.InvariantCulture);

    static string Describe(JsonElement value) =>
        value.ValueKind switch
        {
            JsonValueKind.Object => "an object",
            JsonValueKind.Array => $"a list of {value.GetArrayLength()}",
            JsonValueKind.String => $"the string {Short(value.GetRawText())}",
            JsonValueKind.Null => "null",
            _ => Short(value.GetRawText()),
        };

    static string Short(string text) => text.Length <= 60 ? text : text[..57] + "...";

    // Two things the document reader leaves for later or does not limit: escapes such as \ud800 that are no text (they would throw when
    // a string is fetched, long after this file was opened), and the number of names.
    static void Check(string file, ReadOnlySpan<byte> utf8, JsonCommentHandling comments)
    {
        Utf8JsonReader reader = new(utf8, new JsonReaderOptions { MaxDepth = MaxDepth, CommentHandling = comments });
        int names = 0;
        while (reader.Read())
        {
            if (reader.TokenType == JsonTokenType.PropertyName && ++names > MaxNames)
            {
                throw new CheckpointException(file, $"has more than {MaxNames} field names");
            }

            if (reader.TokenType is JsonTokenType.PropertyName or JsonTokenType.String && reader.ValueIsEscaped)
            {
                reader.GetString();
            }
        }
    }
}
