using System.Text.Json;
using VlmSharp.Text.Templates;

namespace VlmSharp.Chat.Replies;

/// <summary>A call of a tool that the model asks for.</summary>
/// <param name="Name">The tool. A model may also name one that was not offered.</param>
/// <param name="Arguments">Usually an object. What the model wrote: text and null stay what they are.</param>
/// <param name="Id">What the result of the call refers to, where the application numbers calls; models do not.</param>
public sealed record ToolCall(string Name, JsonElement Arguments, string? Id = null);

/// <summary>A tool that a model may call.</summary>
public sealed record ToolDefinition
{
    /// <summary>A tool.</summary>
    /// <param name="name">Its name; without blanks, quotes, backslashes and angle brackets, which the formats of calls use themselves.</param>
    /// <param name="description">When and how to use it.</param>
    /// <param name="parameters">A JSON schema of the arguments; left out where it is <see langword="default"/>.</param>
    /// <exception cref="ArgumentException">The name is empty or has a character it cannot have.</exception>
    public ToolDefinition(string name, string? description = null, JsonElement parameters = default)
    {
        if (name.Length == 0 || name.Any(c => char.IsControl(c) || c is ' ' or '"' or '\\' or '<' or '>'))
        {
            throw new ArgumentException(
                $"The tool's name is '{name}', expected at least one character, and no blank, quote, backslash or angle bracket.",
                nameof(name)
            );
        }

        (Name, Description, Parameters) = (name, description, parameters);
    }

    /// <summary>Its name.</summary>
    public string Name { get; }

    /// <summary>When and how to use it.</summary>
    public string? Description { get; }

    /// <summary>A JSON schema of the arguments; undefined where there is none.</summary>
    public JsonElement Parameters { get; }

    /// <summary>Reads a tool as clients of OpenAI's interface write it: <c>{"type": "function", "function": {"name", "description", "parameters"}}</c>.</summary>
    /// <exception cref="FormatException">
    /// It is not of that shape, the name has a character it cannot have, or there is something a template cannot read (<see cref="TemplateValue.From(JsonElement, bool)"/>).
    /// </exception>
    public static ToolDefinition Parse(JsonElement json)
    {
        _ = TemplateValue.From(json, userText: true); // what no template can read is refused here
        if (
            json.ValueKind != JsonValueKind.Object
            || !json.TryGetProperty("function", out JsonElement function)
            || function.ValueKind != JsonValueKind.Object
            || !function.TryGetProperty("name", out JsonElement name)
            || name.ValueKind != JsonValueKind.String
        )
        {
            throw new FormatException(
                """a tool has no function with a name, expected {"type": "function", "function": {"name": ...}}"""
            );
        }

        bool described = function.TryGetProperty("description", out JsonElement description);
        if (described && description.ValueKind is not (JsonValueKind.String or JsonValueKind.Null))
        {
            throw new FormatException($"the description of the tool {name} is not a string");
        }

        function.TryGetProperty("parameters", out JsonElement parameters);
        if (parameters.ValueKind is not (JsonValueKind.Undefined or JsonValueKind.Object))
        {
            throw new FormatException($"the parameters of the tool {name} are not an object, expected a JSON schema");
        }

        try
        {
            return new ToolDefinition(name.GetString()!, described ? description.GetString() : null, parameters);
        }
        catch (ArgumentException e)
        {
            throw new FormatException($"the tool {name.GetRawText()} cannot be offered: {e.Message}", e);
        }
    }
}
