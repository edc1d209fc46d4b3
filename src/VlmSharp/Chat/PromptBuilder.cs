using System.Runtime.InteropServices;
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
    static readonly Dictionary<string, TemplateValue> Closed = new() { ["add_generation_prompt"] = false };

    AnswerMarks? marks; // found when the first example is written

    /// <inheritdoc/>
    /// <remarks>Options are variables of the template; <c>add_generation_prompt</c> is true unless given.</remarks>
    public Prompt Build(
        IReadOnlyList<ChatMessage> messages,
        IReadOnlyDictionary<string, TemplateValue>? options = null,
        IReadOnlyList<ToolDefinition>? tools = null
    )
    {
        return Write(Render(messages, options, tools), messages, []);
    }

    RenderedPrompt Render(
        IReadOnlyList<ChatMessage> messages,
        IReadOnlyDictionary<string, TemplateValue>? options,
        IReadOnlyList<ToolDefinition>? tools
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

        return rendered;
    }

    /// <inheritdoc/>
    public Prompt BuildAnswered(IReadOnlyList<ChatMessage> messages, IReadOnlyList<ToolDefinition>? tools = null)
    {
        if (
            messages.Any(message => message.ToolCalls.Count > 0)
            && !template.Source.Contains("tool_calls", StringComparison.Ordinal)
        )
        {
            throw new TemplateException(template.Name, 1, "the template writes nothing about calls of tools");
        }

        RenderedPrompt rendered = Render(messages, Closed, tools);
        Range[] answers = [.. (marks ??= FindMarks()).Answers(rendered)];
        int expected = messages.Count(message => message.Role == "assistant");
        return answers.Length == expected
            ? Write(rendered, messages, answers)
            : throw new CheckpointException(
                "chat template",
                $"it wrote {answers.Length} turns of the assistant where {expected} are given"
            );
    }

    /// <summary>Finds out what the template writes around answers, by showing it one.</summary>
    AnswerMarks FindMarks()
    {
        ChatMessage question = ChatMessage.User(new ChatText("?"));
        string closed = Render([question], Closed, null).Text;
        string opened = Render([question], null, null).Text;
        RenderedPrompt answered = Render([question, new("assistant", [new ChatText("!")])], Closed, null);
        return
            opened.Length > closed.Length
            && opened.StartsWith(closed, StringComparison.Ordinal)
            && answered.UserText is [.., var answer]
            && answered.Text[answer] == "!"
            && answered.Text.Length > answer.End.Value
            ? new AnswerMarks(opened[closed.Length..], answered.Text[answer.End.Value..])
            : throw new CheckpointException(
                "chat template",
                "it does not write where an answer begins (add_generation_prompt) or ends, so nobody can tell what is to be learnt"
            );
    }

    /// <summary>Tokens of what the template wrote, cut where ranges of its text begin and end.</summary>
    Prompt Write(RenderedPrompt rendered, IReadOnlyList<ChatMessage> messages, Range[] answers)
    {
        ChatMedia[] media = [.. messages.SelectMany(m => m.Content).OfType<ChatMedia>()];
        MediaPlan[] plans = [.. media.Select(Plan)];
        (string text, Range[] userText) = (rendered.Text, [.. rendered.UserText]);
        int[] cuts = [.. answers.SelectMany(answer => (int[])[answer.Start.Value, answer.End.Value])];
        if (plans.Any(plan => plan.PatchTimes.Count > 0))
        {
            (text, userText) = TellTimes(text, userText, cuts, media, plans);
        }

        List<int> ids = [];
        int from = 0;
        int user = 0; // the first range that ends behind the last cut
        for (int i = 0; i < cuts.Length; i++)
        {
            int to = cuts[i];
            Encode(to);
            cuts[i] = ids.Count;
            from = to;
        }

        Encode(text.Length);
        return Expand(rendered.Text, ids, media, plans, cuts);

        void Encode(int to)
        {
            List<Range> literal = [];
            for (; user < userText.Length && userText[user].Start.Value < to; user++)
            {
                int end = userText[user].End.Value;
                literal.Add((Math.Max(userText[user].Start.Value, from) - from)..(Math.Min(end, to) - from));
                if (end > to)
                {
                    break; // its other part belongs to the next piece
                }
            }

            tokenizer.Encode(text.AsSpan(from, to - from), CollectionsMarshal.AsSpan(literal), ids);
        }
    }

    /// <summary>Writes the time of each temporal patch before it, so that a video's placeholder becomes one for each patch.</summary>
    /// <remarks>
    /// In text, not in tokens: the blank that ends the text before and the <c>&lt;</c> of the time may be one token.
    /// Source: <c>Qwen3VLProcessor.__call__</c> of transformers.
    /// </remarks>
    /// <param name="text">What the template wrote.</param>
    /// <param name="userText">Where users wrote it.</param>
    /// <param name="cuts">Positions in the text, none of them within a placeholder; they are moved with it.</param>
    /// <param name="media">All media.</param>
    /// <param name="plans">What becomes of them.</param>
    (string Text, Range[] UserText) TellTimes(
        string text,
        Range[] userText,
        int[] cuts,
        ChatMedia[] media,
        MediaPlan[] plans
    )
    {
        int[] places = [.. cuts];
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
            for (int k = 0; k < cuts.Length; k++)
            {
                if (places[k] >= from)
                {
                    cuts[k] = places[k] + shift;
                }
            }

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
    internal static int IndexOutside(string text, string wanted, int from, IReadOnlyList<Range> userText)
    {
        for (int at = from; (at = text.IndexOf(wanted, at, StringComparison.Ordinal)) >= 0; at++)
        {
            if (IsOutside(at, wanted.Length, userText))
            {
                return at;
            }
        }

        return -1;
    }

    /// <summary>Whether users wrote nothing of a part of the text.</summary>
    internal static bool IsOutside(int at, int length, IReadOnlyList<Range> userText)
    {
        (int low, int high) = (0, userText.Count); // the first range that ends behind the place
        while (low < high)
        {
            int middle = (low + high) / 2;
            (low, high) = userText[middle].End.Value <= at ? (middle + 1, high) : (low, middle);
        }

        return low == userText.Count || userText[low].Start.Value >= at + length;
    }

    static TextValue Join(TextValue first, TextValue second) =>
        TextValue.Create(
            first.Text + second.Text,
            UserSpans.Concat(first.Spans, first.Text.Length, second.Spans, second.Text.Length)
        );

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
        TextValue Mark(string text) => TextValue.Create(text, message.FromModel ? default : UserSpans.Whole);

        // A message of text alone is a string, as clients send it and as every template reads it; so is one without content, as an
        // answer that only calls tools is: some templates stumble over an empty list or none.
        List<TemplateValue> parts = [];
        foreach (ChatContent part in message.Content)
        {
            TextValue? text = part switch
            {
                ChatText written => Mark(written.Text),
                ChatMarkup markup => TextValue.Create(markup.Text),
                ChatMedia => null,
                _ => throw new ArgumentException($"A message cannot hold {part.GetType().Name}."),
            };
            if (text is null)
            {
                parts.Add(
                    new TemplateObject
                    {
                        ["type"] = part is ChatMedia { Source.Kind: MediaKind.Image } ? "image" : "video",
                    }
                );
            }
            else if (part is ChatMarkup or ChatText && parts is [.., TextValue before])
            {
                parts[^1] = Join(before, text);
            }
            else
            {
                parts.Add(text);
            }
        }

        TemplateValue content =
            parts is [TextValue only] ? only
            : parts is [] ? ""
            : new TemplateList(
                parts.Select(part =>
                    part is TextValue ? new TemplateObject { ["type"] = "text", ["text"] = part } : part
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
    /// <param name="text">What the template wrote.</param>
    /// <param name="ids">Its tokens.</param>
    /// <param name="given">The media of the messages.</param>
    /// <param name="plans">What becomes of them.</param>
    /// <param name="bounds">Where each answer begins and ends among the tokens, ascending.</param>
    Prompt Expand(string text, List<int> ids, ChatMedia[] given, MediaPlan[] plans, int[] bounds)
    {
        int bound = 0;
        Queue<MediaSpan> images = new(Spans(MediaKind.Image));
        Queue<MediaSpan> videos = new(Spans(MediaKind.Video));
        int[] places = new int[given.Length]; // of each medium given, among those of the prompt
        places.AsSpan().Fill(-1);
        List<int> tokens = new(ids.Count);
        List<ChatMedia> media = [];
        List<MediaSpan> spans = [];
        foreach ((int i, int id) in ids.Index())
        {
            Move(i);

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

        Move(ids.Count);
        return images.Count + videos.Count == 0
            ? new Prompt(text, [.. tokens], media, [.. spans])
            {
                Answers = [.. bounds.Chunk(2).Select(answer => answer[0]..answer[1])],
            }
            : throw Mismatch();

        void Move(int place)
        {
            for (; bound < bounds.Length && bounds[bound] == place; bound++)
            {
                bounds[bound] = tokens.Count;
            }
        }

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
