using System.Text.Json;
using VlmSharp.Testing;
using VlmSharp.Text.Templates;
using Xunit;

namespace VlmSharp.Tests.Text.Templates;

/// <summary>What transformers with jinja2 3.1.6 rendered, or refused, for the same templates and conversations.</summary>
public class TemplateGoldenTests
{
    sealed class FixedClock : TimeProvider
    {
        // The time the goldens were made at: a Monday.
        public override DateTimeOffset GetUtcNow() => new(2026, 3, 9, 8, 7, 6, TimeSpan.Zero);

        public override TimeZoneInfo LocalTimeZone => TimeZoneInfo.Utc;
    }

    static readonly FixedClock Clock = new();

    [Fact]
    public void Every_small_template_renders_as_jinja2_renders_it() =>
        CheckAll(
            Goldens.Local("templates/jinja-unit.jsonl"),
            row => ChatTemplate.Parse(row.GetProperty("template").GetString()!, "unit.jinja"),
            row => (TemplateObject)TemplateValue.From(row.GetProperty("variables"), userText: false)
        );

    [Fact]
    public void Every_published_template_renders_every_conversation_as_transformers_does()
    {
        Dictionary<string, ChatTemplate> templates = [];
        CheckAll(
            Goldens.Shared("golden/templates/cases.jsonl"),
            row =>
            {
                string name = row.GetProperty("template").GetString()!;
                if (!templates.TryGetValue(name, out ChatTemplate? template))
                {
                    string source = File.ReadAllText(Goldens.Shared($"golden/templates/templates/{name}"));
                    templates[name] = template = ChatTemplate.Parse(source, name);
                }

                return template;
            },
            Variables
        );
    }

    [Fact]
    public void No_published_template_turns_user_text_into_its_own()
    {
        Dictionary<string, ChatTemplate> templates = [];
        List<string> failures = [];
        int rendered = 0;
        foreach (string line in File.ReadLines(Goldens.Shared("golden/templates/cases.jsonl")))
        {
            using JsonDocument document = JsonDocument.Parse(line);
            JsonElement row = document.RootElement;
            string name = row.GetProperty("template").GetString()!;
            if (!templates.TryGetValue(name, out ChatTemplate? template))
            {
                string source = File.ReadAllText(Goldens.Shared($"golden/templates/templates/{name}"));
                templates[name] = template = ChatTemplate.Parse(source, name);
            }

            TemplateObject inputs = Variables(row);
            inputs["messages"] = Bracketed(row.GetProperty("messages"), key: "");
            try
            {
                RenderedPrompt prompt = template.Render(inputs, clock: Clock);
                rendered++;
                if (FirstBracketOutside(prompt) is >= 0 and var at)
                {
                    failures.Add($"{name}: user text taken for the template's own: '{Excerpt(prompt.Text, at)}'");
                }
            }
            catch (TemplateException)
            {
                // Conversations that a template refuses show nothing here.
            }
        }

        Assert.True(rendered > 1000, $"only {rendered} conversations were rendered");
        Assert.True(failures.Count == 0, string.Join('\n', failures));
    }

    /// <summary>Where a bracket stands outside of what is reported as user text, or -1.</summary>
    static int FirstBracketOutside(RenderedPrompt prompt)
    {
        int trustedFrom = 0;
        foreach (Range range in prompt.UserText.Append(prompt.Text.Length..prompt.Text.Length))
        {
            int at = prompt.Text.AsSpan(trustedFrom..range.Start.Value).IndexOfAny('⟦', '⟧');
            if (at >= 0)
            {
                return trustedFrom + at;
            }

            trustedFrom = range.End.Value;
        }

        return -1;
    }

    /// <summary>The messages with every string but roles, types and identifiers as user text in brackets.</summary>
    static TemplateValue Bracketed(JsonElement value, string key) =>
        value.ValueKind switch
        {
            JsonValueKind.Array => new TemplateList(value.EnumerateArray().Select(item => Bracketed(item, key))),
            JsonValueKind.Object => value
                .EnumerateObject()
                .Aggregate(
                    new TemplateObject(),
                    (result, property) =>
                    {
                        result[property.Name] = Bracketed(property.Value, property.Name);
                        return result;
                    }
                ),
            JsonValueKind.String when key is not ("role" or "type" or "id" or "tool_call_id") => TemplateValue.UserText(
                $"⟦{value.GetString()}⟧"
            ),
            _ => TemplateValue.From(value, userText: false),
        };

    static TemplateObject Variables(JsonElement row)
    {
        TemplateObject variables = new()
        {
            ["messages"] = Value(row, "messages"),
            ["tools"] = Value(row, "tools"),
            ["documents"] = Value(row, "documents"),
            ["add_generation_prompt"] = false,
        };
        foreach (string more in (string[])["options", "variables"])
        {
            foreach (JsonProperty property in row.GetProperty(more).EnumerateObject())
            {
                if (property.Name != "continue_final_message")
                {
                    variables[property.Name] = TemplateValue.From(property.Value, userText: false);
                }
            }
        }

        return variables;
    }

    static TemplateValue Value(JsonElement row, string name) =>
        row.TryGetProperty(name, out JsonElement value)
            ? TemplateValue.From(value, userText: false)
            : TemplateValue.None;

    static void CheckAll(
        string file,
        Func<JsonElement, ChatTemplate> parse,
        Func<JsonElement, TemplateObject> variables
    )
    {
        List<string> failures = [];
        int number = 0;
        foreach (string line in File.ReadLines(file))
        {
            number++;
            using JsonDocument document = JsonDocument.Parse(line);
            if (Check(document.RootElement, parse, variables) is { } difference)
            {
                failures.Add($"{Path.GetFileName(file)}:{number}: {difference}");
            }
        }

        Assert.True(number > 0, $"{file} is empty");
        Assert.True(failures.Count == 0, $"{failures.Count} of {number} differ:\n{string.Join('\n', failures)}");
    }

    /// <summary>The first difference from the golden row, or null.</summary>
    static string? Check(
        JsonElement row,
        Func<JsonElement, ChatTemplate> parse,
        Func<JsonElement, TemplateObject> variables
    )
    {
        bool continues =
            row.TryGetProperty("options", out JsonElement options)
            && options.TryGetProperty("continue_final_message", out JsonElement option)
            && option.GetBoolean();
        RenderedPrompt prompt;
        try
        {
            ChatTemplate template = parse(row);
            TemplateObject inputs = variables(row);
            prompt = continues
                ? template.RenderContinuation(inputs, clock: Clock)
                : template.Render(inputs, clock: Clock);
        }
        catch (TemplateException e)
        {
            return CheckError(row, e);
        }

        if (!row.TryGetProperty("expected", out JsonElement expectedText))
        {
            return $"{row.GetProperty("template")}: rendered, but jinja2 says {row.GetProperty("error")}";
        }

        string expected = expectedText.GetString()!;
        if (prompt.Text != expected)
        {
            int at = prompt.Text.AsSpan().CommonPrefixLength(expected);
            return $"{row.GetProperty("template")}: at {at} expected '{Excerpt(expected, at)}', got '{Excerpt(prompt.Text, at)}'";
        }

        if (row.TryGetProperty("generation_spans", out JsonElement spans))
        {
            string wanted = string.Join(' ', spans.EnumerateArray().Select(span => $"{span[0]}..{span[1]}"));
            string got = string.Join(' ', prompt.Generation.Select(r => $"{CodePoint(r.Start)}..{CodePoint(r.End)}"));
            return wanted == got
                ? null
                : $"{row.GetProperty("template")}: expected the generation spans {wanted}, got {got}";
        }

        return null;

        int CodePoint(Index index) => prompt.Text[..index.Value].EnumerateRunes().Count();
    }

    static string? CheckError(JsonElement row, TemplateException exception)
    {
        if (!row.TryGetProperty("error", out JsonElement error))
        {
            return $"{row.GetProperty("template")}: {exception.Message}";
        }

        string message = error.GetProperty("message").GetString()!;
        return error.GetProperty("type").GetString() switch
        {
            "TemplateError" when exception.RaisedMessage != message =>
                $"expected the template's own error '{message}', got {exception.Message}",
            "UndefinedError" or "SecurityError" when !exception.Message.Contains(message, StringComparison.Ordinal) =>
                $"expected '{message}', got {exception.Message}",
            _ => null,
        };
    }

    static string Excerpt(string text, int at) => text[at..Math.Min(at + 60, text.Length)].ReplaceLineEndings("\\n");
}
