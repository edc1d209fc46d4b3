using System.Text.Json;

namespace VlmSharp.Datasets;

/// <summary>How a file writes down conversations.</summary>
public enum ExampleFormat
{
    /// <summary>
    /// ms-swift: <c>{"messages": [{"role", "content"}], "images": [..], "videos": [..], "objects": {"ref", "bbox", "bbox_type", "image_id"}}</c>, with <c>&lt;image&gt;</c>,
    /// <c>&lt;video&gt;</c>, <c>&lt;ref-object&gt;</c> and <c>&lt;bbox&gt;</c> in the texts; pictures without a place stand before the first message.
    /// </summary>
    MsSwift,

    /// <summary>LLaVA: <c>{"id", "image", "conversations": [{"from": "human" | "gpt", "value"}]}</c>; the picture goes to the front of its message.</summary>
    Llava,

    /// <summary>
    /// Qwen's <c>qwen-vl-finetune</c>: <c>image</c> and <c>video</c> are a path or a list, media stay where <c>&lt;image&gt;</c> and <c>&lt;video&gt;</c> are in turns of the
    /// user. A list of samples in place of a sample is a pack; each of them is an example of its own.
    /// </summary>
    Qwen,

    /// <summary>OpenAI: messages whose content is text or a list of parts, <c>tool_calls</c>, <c>weight</c>.</summary>
    OpenAI,

    /// <summary>ShareGPT as LLaMA-Factory has it: <c>conversations</c> with human, gpt, system, function_call and observation in turn, <c>images</c>, <c>system</c>.</summary>
    ShareGpt,
}

/// <summary>Names of formats, and how to tell them apart.</summary>
public static class ExampleFormats
{
    static readonly (ExampleFormat Format, string Name)[] All =
    [
        (ExampleFormat.MsSwift, "ms-swift"),
        (ExampleFormat.Llava, "llava"),
        (ExampleFormat.Qwen, "qwen"),
        (ExampleFormat.OpenAI, "openai"),
        (ExampleFormat.ShareGpt, "sharegpt"),
    ];

    /// <summary>What users call them.</summary>
    public static IEnumerable<string> Names => All.Select(entry => entry.Name);

    /// <summary>What users call it.</summary>
    public static string Name(this ExampleFormat format) => Array.Find(All, entry => entry.Format == format).Name;

    /// <summary>The format of a name; null where there is none.</summary>
    public static ExampleFormat? Find(string name)
    {
        int found = Array.FindIndex(All, entry => entry.Name == name);
        return found < 0 ? null : All[found].Format;
    }

    /// <summary>Tells the format from some samples of a file, by fields that only one of them has.</summary>
    /// <remarks>Samples that could be of several formats mean the same in all of them, but for the place of LLaVA's pictures: its samples have an id.</remarks>
    internal static ExampleFormat Detect(IEnumerable<JsonElement> samples)
    {
        bool conversations = false;
        bool openAI = false;
        bool picture = false;
        bool id = false;
        foreach (JsonElement sample in samples)
        {
            if (sample.ValueKind == JsonValueKind.Array)
            {
                // A pack; in a file of messages it is a broken line, and messages will follow.
                if (sample.EnumerateArray().Any(item => Has(item, "conversations")))
                {
                    return ExampleFormat.Qwen;
                }

                continue;
            }

            if (Has(sample, "messages"))
            {
                if (Has(sample, "images") || Has(sample, "videos") || Has(sample, "objects"))
                {
                    return ExampleFormat.MsSwift;
                }

                foreach (JsonElement message in Items(sample, "messages"))
                {
                    if (Has(message, "loss") || Text(message, "role") is "tool_call" or "tool_response")
                    {
                        return ExampleFormat.MsSwift;
                    }

                    openAI |=
                        Has(message, "tool_calls")
                        || Has(message, "weight")
                        || Has(message, "tool_call_id")
                        || Items(message, "content").Any(part => Text(part, "type") == "image_url");
                }
            }

            conversations |= Has(sample, "conversations");
            if (Has(sample, "conversations"))
            {
                if (Has(sample, "images") || Has(sample, "videos") || Has(sample, "system") || Has(sample, "tools"))
                {
                    return ExampleFormat.ShareGpt;
                }

                if (sample.TryGetProperty("image", out JsonElement image))
                {
                    picture = true;
                    if (image.ValueKind == JsonValueKind.Array)
                    {
                        return ExampleFormat.Qwen;
                    }
                }

                picture |= Has(sample, "video");
                id |= Has(sample, "id");
            }
        }

        return picture ? (id ? ExampleFormat.Llava : ExampleFormat.Qwen)
            : conversations ? ExampleFormat.ShareGpt
            : openAI ? ExampleFormat.OpenAI
            : ExampleFormat.MsSwift;
    }

    static bool Has(JsonElement json, string name) =>
        json.ValueKind == JsonValueKind.Object
        && json.TryGetProperty(name, out JsonElement value)
        && value.ValueKind != JsonValueKind.Null;

    static string? Text(JsonElement json, string name) =>
        Has(json, name) && json.GetProperty(name) is { ValueKind: JsonValueKind.String } text ? text.GetString() : null;

    static JsonElement[] Items(JsonElement json, string name) =>
        Has(json, name) && json.GetProperty(name) is { ValueKind: JsonValueKind.Array } list
            ? [.. list.EnumerateArray()]
            : [];
}
