using System.Text;
using System.Text.Json;
using VlmSharp.Chat.Replies;
using VlmSharp.Formats;
using VlmSharp.Models;
using VlmSharp.Text;
using VlmSharp.Text.Templates;
using VlmSharp.Vision;

namespace VlmSharp.Chat;

/// <summary>Messages to tokens: chat template, tokenizer, expansion of placeholders.</summary>
public sealed class PromptBuilder(ChatTemplate template, Tokenizer tokenizer, IVisionLanguageModel model)
    : IPromptBuilder
{
    /// <inheritdoc/>
    /// <remarks>Options are variables of the template; <c>add_generation_prompt</c> is true unless given.</remarks>
    public Prompt Build(
        IReadOnlyList<ChatMessage> messages,
        IReadOnlyDictionary<string, TemplateValue>? options = null,
        IReadOnlyList<ToolDefinition>? tools = null
    )
    {
        RenderedPrompt rendered = template.Render(Variables(messages, options, tools));
        if (tools?.FirstOrDefault(tool => !rendered.Text.Contains(tool.Name)) is { } unknown)
        {
            throw new TemplateException(
                template.Name,
                1,
                $"the template writes nothing about the tool '{unknown.Name}'; the model was not made to call tools, or its template is for another use"
            );
        }

        ChatMedia[] media = [.. messages.SelectMany(m => m.Content).OfType<ChatMedia>()];
        MediaPlan[] plans = [.. media.Select(Plan)];
        (string text, Range[] userText) = (rendered.Text, [.. rendered.UserText]);
        if (plans.Any(plan => plan.PatchTimes.Count > 0))
        {
            (text, userText) = TellTimes(text, userText, media, plans);
        }

        List<int> ids = [];
        tokenizer.Encode(text, userText, ids);
        return Expand(rendered.Text, ids, media, plans);
    }

    /// <summary>Writes the time of each temporal patch before it, so that a video's placeholder becomes one for each patch.</summary>
    /// <remarks>
    /// In text, not in tokens: the blank that ends the text before and the <c>&lt;</c> of the time may be one token.
    /// Source: <c>Qwen3VLProcessor.__call__</c> of transformers.
    /// </remarks>
    (string Text, Range[] UserText) TellTimes(string text, Range[] userText, ChatMedia[] media, MediaPlan[] plans)
    {
        (string start, string end) = model.Info.VideoMarks is { } marks
            ? (tokenizer.Decode([marks.Start]), tokenizer.Decode([marks.End]))
            : ("", "");
        string pad = tokenizer.Decode([model.Info.VideoToken]);
        string marked = start + pad + end;
        StringBuilder told = new(text.Length);
        Range[] moved = [.. userText];
        int from = 0; // what stands before it in the text is written
        for (int i = 0; i < media.Length; i++)
        {
            if (media[i].Source.Kind != MediaKind.Video)
            {
                continue;
            }

            int at = IndexOutside(text, marked, from, userText);
            int length = marked.Length;
            if (at < 0)
            {
                (at, length) = (IndexOutside(text, pad, from, userText), pad.Length);
            }

            if (at < 0)
            {
                break; // fewer placeholders than videos: the expansion says so
            }

            told.Append(text, from, at - from);
            foreach (double time in plans[i].PatchTimes)
            {
                told.Append(FrameTimes.Announce(time)).Append(marked);
            }

            from = at + length;
            int shift = told.Length - from;
            for (int k = 0; k < moved.Length; k++)
            {
                if (userText[k].Start.Value >= from)
                {
                    moved[k] = (userText[k].Start.Value + shift)..(userText[k].End.Value + shift);
                }
            }
        }

        return (told.Append(text, from, text.Length - from).ToString(), moved);
    }

    /// <summary>Where a text stands at or behind a place without touching what users wrote; -1 where it does not.</summary>
    static int IndexOutside(string text, string wanted, int from, Range[] userText)
    {
        for (int at = from; (at = text.IndexOf(wanted, at, StringComparison.Ordinal)) >= 0; at++)
        {
            if (!userText.Any(user => user.Start.Value < at + wanted.Length && at < user.End.Value))
            {
                return at;
            }
        }

        return -1;
    }

    /// <summary>What templates expect to find.</summary>
    internal static TemplateObject Variables(
        IReadOnlyList<ChatMessage> messages,
        IReadOnlyDictionary<string, TemplateValue>? options = null,
        IReadOnlyList<ToolDefinition>? tools = null
    )
    {
        TemplateObject variables = new()
        {
            ["messages"] = new TemplateList(messages.Select(Describe)),
            ["tools"] = tools is { Count: > 0 } ? new TemplateList(tools.Select(Describe)) : TemplateValue.None,
            ["documents"] = TemplateValue.None, // defined, as transformers has it
            ["add_generation_prompt"] = true,
        };
        foreach ((string name, TemplateValue value) in options ?? new Dictionary<string, TemplateValue>())
        {
            variables[name] = value;
        }

        return variables;
    }

    /// <summary>A tool as clients of OpenAI's interface write it. Descriptions may come from anywhere: no special token is recognised in them.</summary>
    static TemplateValue Describe(ToolDefinition tool)
    {
        TemplateObject function = new() { ["name"] = TemplateValue.UserText(tool.Name) };
        if (tool.Description is { } description)
        {
            function["description"] = TemplateValue.UserText(description);
        }

        if (tool.Parameters.ValueKind != JsonValueKind.Undefined)
        {
            function["parameters"] = TemplateValue.From(tool.Parameters, userText: true);
        }

        return new TemplateObject { ["type"] = "function", ["function"] = function };
    }

    static TemplateValue Describe(ChatMessage message)
    {
        TemplateValue Mark(string text) => message.FromModel ? text : TemplateValue.UserText(text);

        // A message of text alone is a string, as clients send it and as every template reads it; so is one without content, as an
        // answer that only calls tools is: some templates stumble over an empty list or none.
        TemplateValue content =
            message.Content is [ChatText only] ? Mark(only.Text)
            : message.Content is [] ? ""
            : new TemplateList(
                message.Content.Select(part =>
                    (TemplateValue)(
                        part switch
                        {
                            ChatText text => new TemplateObject { ["type"] = "text", ["text"] = Mark(text.Text) },
                            ChatMedia { Source.Kind: MediaKind.Image } => new TemplateObject { ["type"] = "image" },
                            ChatMedia => new TemplateObject { ["type"] = "video" },
                            _ => throw new ArgumentException($"A message cannot hold {part.GetType().Name}."),
                        }
                    )
                )
            );
        TemplateObject described = new() { ["role"] = message.Role, ["content"] = content };
        if (message.Reasoning is { } reasoning)
        {
            described["reasoning_content"] = Mark(reasoning);
        }

        if (message.ToolCalls.Count > 0)
        {
            described["tool_calls"] = new TemplateList(message.ToolCalls.Select(Call));
        }

        if (message.ToolCallId is { } callId)
        {
            described["tool_call_id"] = Mark(callId);
        }

        if (message.Name is { } tool)
        {
            described["name"] = Mark(tool);
        }

        return described;

        TemplateValue Call(ToolCall call)
        {
            TemplateObject function = new()
            {
                ["name"] = Mark(call.Name),
                ["arguments"] = TemplateValue.From(call.Arguments, userText: !message.FromModel),
            };
            TemplateObject one = new() { ["type"] = "function", ["function"] = function };
            if (call.Id is { } id)
            {
                one["id"] = Mark(id);
            }

            return one;
        }
    }

    /// <summary>Replaces each placeholder by as many as its medium has tokens.</summary>
    Prompt Expand(string text, List<int> ids, ChatMedia[] given, MediaPlan[] plans)
    {
        Queue<MediaSpan> images = new(Spans(MediaKind.Image));
        Queue<MediaSpan> videos = new(Spans(MediaKind.Video));
        int[] places = new int[given.Length]; // of each medium given, among those of the prompt
        places.AsSpan().Fill(-1);
        List<int> tokens = new(ids.Count);
        List<ChatMedia> media = [];
        List<MediaSpan> spans = [];
        foreach (int id in ids)
        {
            // The tokenizer makes placeholders only of the template's own text, so each stands for a medium of the messages.
            Queue<MediaSpan>? queue =
                id == model.Info.ImageToken ? images
                : id == model.Info.VideoToken ? videos
                : null;
            if (queue is null)
            {
                tokens.Add(id);
            }
            else if (queue.TryDequeue(out MediaSpan span))
            {
                if (places[span.Medium] < 0)
                {
                    places[span.Medium] = media.Count;
                    media.Add(given[span.Medium]);
                }

                spans.Add(span with { Start = tokens.Count, Medium = places[span.Medium] });
                tokens.AddRange(Enumerable.Repeat(id, span.Tokens));
            }
            else
            {
                throw Mismatch();
            }
        }

        return images.Count + videos.Count == 0 ? new Prompt(text, [.. tokens], media, [.. spans]) : throw Mismatch();

        IEnumerable<MediaSpan> Spans(MediaKind kind) =>
            given.Index().Where(m => m.Item.Source.Kind == kind).SelectMany(m => SpansOf(plans[m.Index], m.Index));

        CheckpointException Mismatch() =>
            new(
                "chat template",
                $"it wrote {ids.Count(id => id == model.Info.ImageToken)} picture and {ids.Count(id => id == model.Info.VideoToken)} video "
                    + $"placeholders where {Spans(MediaKind.Image).Count()} and {Spans(MediaKind.Video).Count()} are needed"
            );
    }

    /// <summary>The runs of tokens of a medium: one, or one for each temporal patch whose time the prompt tells.</summary>
    static IEnumerable<MediaSpan> SpansOf(MediaPlan plan, int medium)
    {
        MediaSpan whole = new(0, plan.Grid, plan.MergeSize, plan.SecondsPerPatch, plan.TokensPerSecond)
        {
            Medium = medium,
        };
        if (plan.PatchTimes.Count == 0)
        {
            yield return whole;
            yield break;
        }

        MediaSpan patch = whole with { Grid = plan.Grid with { T = 1 } };
        for (int t = 0; t < plan.Grid.T; t++)
        {
            yield return patch with
            {
                FirstFeature = t * patch.Tokens,
            };
        }
    }

    /// <inheritdoc/>
    public MediaPlan Plan(ChatMedia media) => media.PlanFor(model);
}
