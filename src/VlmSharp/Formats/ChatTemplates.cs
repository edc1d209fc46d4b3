using System.Text;
using System.Text.Json;
using System.Text.Unicode;

namespace VlmSharp.Formats;

/// <summary>Finds a checkpoint's chat template.</summary>
/// <remarks>
/// In the order of transformers: <c>chat_template.jinja</c>, then <c>chat_template.json</c>, then the <c>chat_template</c> of
/// <c>tokenizer_config.json</c>. In JSON it is one string, a list of <c>{name, template}</c> or an object of names, of which <c>default</c> counts.
/// </remarks>
static class ChatTemplates
{
    /// <summary>The longest published templates have about 20 KB.</summary>
    const int MaxBytes = 1 << 20;

    const int MaxTemplates = 64;

    /// <summary>The template and the name of the file it stands in, or nulls when there is none.</summary>
    public static (string? Text, string? File) Find(string directory)
    {
        string jinja = Path.Combine(directory, "chat_template.jinja");
        if (Path.Exists(jinja))
        {
            byte[] bytes = CheckpointFile.Read(jinja, MaxBytes);
            string name = CheckpointFile.Name(jinja);
            return Utf8.IsValid(bytes)
                ? (Encoding.UTF8.GetString(bytes), name)
                : throw new CheckpointException(name, "is not UTF-8 text");
        }

        if (JsonObjectReader.OpenOptional(directory, "chat_template.json") is { } json)
        {
            return (Read(json), json.File);
        }

        JsonObjectReader? config = JsonObjectReader.OpenOptional(directory, "tokenizer_config.json");
        return config?.Has("chat_template") == true ? (Read(config), config.File) : (null, null);
    }

    static string Read(JsonObjectReader json)
    {
        const string Field = "chat_template";
        string text;
        switch (json.Raw(Field).ValueKind)
        {
            case JsonValueKind.Array:
                JsonObjectReader[] templates = json.Objects(Field, MaxTemplates);
                JsonObjectReader? standard = Array.Find(templates, template => template.Text("name") == "default");
                text = (
                    standard
                    ?? throw json.Error(Field, $"has {templates.Length} named templates, none of them 'default'")
                ).Text("template");
                break;
            case JsonValueKind.Object:
                text = json.Object(Field).Text("default");
                break;
            default:
                text = json.Text(Field);
                break;
        }

        return text.Length is > 0 and <= MaxBytes
            ? text
            : throw json.Error(Field, $"has {text.Length} characters, expected 1 .. {MaxBytes}");
    }
}
