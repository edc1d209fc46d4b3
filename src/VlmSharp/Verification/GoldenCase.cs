using System.Text.Json;
using VlmSharp.Chat;
using VlmSharp.Chat.Replies;
using VlmSharp.Formats;
using VlmSharp.Media.Images;
using VlmSharp.Models;
using VlmSharp.Text.Templates;
using VlmSharp.Vision;

namespace VlmSharp.Verification;

/// <summary>A golden case: requests to a tiny checkpoint and what the reference implementation answered.</summary>
/// <remarks>The layout is described in <c>docs/golden-cases.md</c>.</remarks>
public sealed class GoldenCase
{
    /// <summary>One request.</summary>
    public sealed record Request
    {
        /// <summary>Its name.</summary>
        public required string Id { get; init; }

        /// <summary>What it is there to catch.</summary>
        public required string Shows { get; init; }

        /// <summary>The conversation; media are read from their files.</summary>
        public required IReadOnlyList<ChatMessage> Messages { get; init; }

        /// <summary>Variables of the template.</summary>
        public required IReadOnlyDictionary<string, TemplateValue> TemplateOptions { get; init; }

        /// <summary>The rendered template.</summary>
        public required string Prompt { get; init; }

        /// <summary>Allowed difference of preprocessed pixels, in 8-bit levels.</summary>
        public required int PixelLevels { get; init; }

        /// <summary>Length limit of the answer; 0 where there is none and only the prompt is compared.</summary>
        public required int MaxNewTokens { get; init; }

        /// <summary>Greedy tokens, with the end token where one was produced.</summary>
        public required int[] AnswerIds { get; init; }

        /// <summary>Their text, without the end token; some cases leave out other special tokens (boxes) too.</summary>
        public required string Answer { get; init; }

        /// <summary>File of expected tensors; null where only the answer is compared.</summary>
        public required string? Expected { get; init; }
    }

    GoldenCase(string directory, JsonObjectReader json)
    {
        Directory = directory;
        json.Int("format", 1, 1);
        if (json.Has("kind"))
        {
            throw json.Error(
                "kind",
                $"is '{json.Text("kind")}'; this build verifies cases without a kind: answers of a model"
            );
        }

        string architecture = json.Text("architecture");
        if (!ModelRegistry.Supports(architecture))
        {
            throw json.Error(
                "architecture",
                $"is '{architecture}'; this build supports {string.Join(", ", ModelRegistry.Names)}"
            );
        }

        Checkpoint = Path.GetFullPath(Path.Combine(directory, json.Text("checkpoint")));
        ChatTemplate = json.Has("chat_template") ? Path.Combine(directory, json.Text("chat_template")) : null;
        Tolerance = json.Number("tolerance", 0, 1);
        Requests = [.. json.Objects("requests", 10_000).Select(ReadRequest)];
        Batches = json.Has("batches") ? ReadBatches(json) : [];
    }

    /// <summary>Reads <c>case.json</c>.</summary>
    /// <exception cref="CheckpointException">It is missing, damaged, or of a kind or architecture this build does not support.</exception>
    public static GoldenCase Open(string directory) =>
        new(directory, JsonObjectReader.Open(Path.Combine(directory, "case.json"), 256L << 20));

    /// <summary>Where the case lies.</summary>
    public string Directory { get; }

    /// <summary>The checkpoint's directory.</summary>
    public string Checkpoint { get; }

    /// <summary>A template that replaces the checkpoint's; null where its own is meant.</summary>
    public string? ChatTemplate { get; }

    /// <summary>Allowed max |a - b| / max |b| of a tensor.</summary>
    public double Tolerance { get; }

    /// <summary>The requests.</summary>
    public IReadOnlyList<Request> Requests { get; }

    /// <summary>Ids of requests that, computed together, must answer as they do alone.</summary>
    public IReadOnlyList<string[]> Batches { get; }

    Request ReadRequest(JsonObjectReader json)
    {
        string id = json.Text("id");
        string expected = Path.Combine(Directory, "expected", $"{id}.safetensors");
        Dictionary<string, TemplateValue> options = [];
        if (json.OptionalObject("template_options") is { } given)
        {
            foreach (string name in given.Names)
            {
                options[name] = TemplateValue.From(given.Raw(name), userText: false);
            }
        }

        return new Request
        {
            Id = id,
            Shows = json.Text("shows", ""),
            Messages = [.. json.Objects("messages", 1000).Select(ReadMessage)],
            TemplateOptions = options,
            Prompt = json.Text("prompt"),
            PixelLevels = json.Int("pixel_levels", 0, 255, 0),
            MaxNewTokens = json.Int("max_new_tokens", 0, 1 << 20, 0),
            AnswerIds = json.Has("answer_ids") ? json.Ints("answer_ids", 1 << 20, 0) : [],
            Answer = json.Text("answer", ""),
            Expected = File.Exists(expected) ? expected : null,
        };
    }

    ChatMessage ReadMessage(JsonObjectReader json)
    {
        bool calls = json.Has("tool_calls");
        // The reference tokenises whole conversations with special tokens on, so all of a case's text counts as trusted.
        return new ChatMessage(json.Text("role"), ReadContent(json, mayBeAbsent: calls))
        {
            FromModel = true,
            Reasoning = json.Has("reasoning_content") ? json.Text("reasoning_content") : null,
            ToolCalls = calls ? [.. json.Objects("tool_calls", 1000).Select(ReadCall)] : [],
            ToolCallId = json.Has("tool_call_id") ? json.Text("tool_call_id") : null,
            Name = json.Has("name") ? json.Text("name") : null,
        };
    }

    ChatContent[] ReadContent(JsonObjectReader json, bool mayBeAbsent) =>
        mayBeAbsent && !json.Has("content") ? []
        : json.Raw("content").ValueKind == JsonValueKind.String ? [new ChatText(json.Text("content"))]
        : [.. json.Objects("content", 1000).Select(ReadPart)];

    static ToolCall ReadCall(JsonObjectReader json)
    {
        JsonObjectReader function = json.Object("function");
        return new ToolCall(function.Text("name"), function.Raw("arguments"), json.Has("id") ? json.Text("id") : null);
    }

    ChatContent ReadPart(JsonObjectReader json)
    {
        string type = json.Text("type");
        PixelLimits limits = new(
            json.Has("min_pixels") ? json.Long("min_pixels", 1, long.MaxValue) : null,
            json.Has("max_pixels") ? json.Long("max_pixels", 1, long.MaxValue) : null
        );
        switch (type)
        {
            case "text":
                return new ChatText(json.Text("text"));
            case "image":
                string file = json.Text("image");
                return new ChatMedia(MediaSource.Image(Decode(file), file), limits);
            case "video":
                string[] frames = json.Texts("frames", 10_000);
                double? rate = json.Has("fps") ? json.Number("fps", 0, 1e6) : null;
                // With indices the rate is that of the film the frames were taken from.
                double[]? times = json.Has("frame_indices")
                    ? [.. json.Ints("frame_indices", 10_000, 0).Select(i => i / (rate ?? FrameTimes.DefaultRate))]
                    : null;
                return new ChatMedia(MediaSource.Video([.. frames.Select(Decode)], rate, frames[0], times), limits);
            default:
                throw json.Error("type", $"is '{type}', expected text, image or video");
        }
    }

    RgbImage Decode(string file) => ImageDecoder.DecodeFile(Path.Combine(Directory, file));

    static List<string[]> ReadBatches(JsonObjectReader json)
    {
        List<string[]> batches = [];
        JsonElement all = json.Raw("batches");
        if (all.ValueKind != JsonValueKind.Array)
        {
            throw json.Error("batches", "is not a list");
        }

        foreach (JsonElement batch in all.EnumerateArray())
        {
            if (
                batch.ValueKind != JsonValueKind.Array
                || batch.EnumerateArray().Any(e => e.ValueKind != JsonValueKind.String)
            )
            {
                throw json.Error("batches", "holds something that is not a list of request ids");
            }

            batches.Add([.. batch.EnumerateArray().Select(e => e.GetString()!)]);
        }

        return batches;
    }
}
