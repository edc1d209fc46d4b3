using VlmSharp.Formats;
using VlmSharp.Models;
using VlmSharp.Text;
using VlmSharp.Text.Templates;
using VlmSharp.Vision;

namespace VlmSharp.Chat;

/// <summary>A conversation as the model sees it.</summary>
/// <param name="Text">The rendered template, one placeholder for each medium.</param>
/// <param name="Tokens">Token ids, placeholders expanded.</param>
/// <param name="Media">The media in the order of their placeholders.</param>
/// <param name="Spans">Where each stands among the tokens.</param>
public sealed record Prompt(string Text, int[] Tokens, IReadOnlyList<ChatMedia> Media, MediaSpan[] Spans);

/// <summary>Messages to tokens: chat template, tokenizer, expansion of placeholders.</summary>
public sealed class PromptBuilder(ChatTemplate template, Tokenizer tokenizer, IVisionLanguageModel model)
{
    /// <summary>Renders and tokenises a conversation.</summary>
    /// <param name="messages">The turns so far.</param>
    /// <param name="options">Variables of the template besides the messages; <c>add_generation_prompt</c> is true unless given.</param>
    /// <exception cref="TemplateException">The template refuses the conversation.</exception>
    /// <exception cref="VisionException">A medium cannot be brought to a size the model takes.</exception>
    public Prompt Build(IReadOnlyList<ChatMessage> messages, IReadOnlyDictionary<string, TemplateValue>? options = null)
    {
        TemplateObject variables = new() { ["messages"] = new TemplateList(messages.Select(Describe)) };
        variables["add_generation_prompt"] = true;
        foreach ((string name, TemplateValue value) in options ?? new Dictionary<string, TemplateValue>())
        {
            variables[name] = value;
        }

        RenderedPrompt rendered = template.Render(variables);
        List<int> ids = [];
        tokenizer.Encode(rendered.Text, [.. rendered.UserText], ids);
        return Expand(rendered.Text, ids, [.. messages.SelectMany(m => m.Content).OfType<ChatMedia>()]);
    }

    static TemplateValue Describe(ChatMessage message)
    {
        TemplateValue Mark(string text) => message.FromModel ? text : TemplateValue.UserText(text);

        // A message of text alone is a string, as clients send it and as every template reads it.
        TemplateValue content = message.Content is [ChatText only]
            ? Mark(only.Text)
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
        return new TemplateObject { ["role"] = message.Role, ["content"] = content };
    }

    /// <summary>Replaces each placeholder by as many as its medium has tokens.</summary>
    Prompt Expand(string text, List<int> ids, IReadOnlyList<ChatMedia> given)
    {
        Queue<ChatMedia> images = new(given.Where(m => m.Source.Kind == MediaKind.Image));
        Queue<ChatMedia> videos = new(given.Where(m => m.Source.Kind == MediaKind.Video));
        (int imageCount, int videoCount) = (images.Count, videos.Count);
        List<int> tokens = new(ids.Count);
        List<ChatMedia> media = [];
        List<MediaSpan> spans = [];
        foreach (int id in ids)
        {
            // The tokenizer makes placeholders only of the template's own text, so each stands for a medium of the messages.
            Queue<ChatMedia>? queue =
                id == model.Info.ImageToken ? images
                : id == model.Info.VideoToken ? videos
                : null;
            if (queue is null)
            {
                tokens.Add(id);
            }
            else if (queue.TryDequeue(out ChatMedia? medium))
            {
                MediaPlan plan = Plan(medium);
                spans.Add(new MediaSpan(tokens.Count, plan.Grid, plan.MergeSize));
                media.Add(medium);
                tokens.AddRange(Enumerable.Repeat(id, plan.Tokens));
            }
            else
            {
                throw Mismatch();
            }
        }

        return images.Count + videos.Count == 0 ? new Prompt(text, [.. tokens], media, [.. spans]) : throw Mismatch();

        CheckpointException Mismatch() =>
            new(
                "chat template",
                $"it wrote {ids.Count(id => id == model.Info.ImageToken)} picture and {ids.Count(id => id == model.Info.VideoToken)} video "
                    + $"placeholders for {imageCount} pictures and {videoCount} videos"
            );
    }

    /// <summary>Sizes and tokens of a medium.</summary>
    public MediaPlan Plan(ChatMedia media)
    {
        (int width, int height) = (media.Source.Frames[0].Width, media.Source.Frames[0].Height);
        try
        {
            return model.Info.Processor.Plan(media.Source.Kind, width, height, media.Source.Frames.Count, media.Limits);
        }
        catch (VisionException e)
        {
            throw new VisionException($"{media.Source.Name}: {e.Message}");
        }
    }
}
