using System.Text.Json;
using VlmSharp.Chat;
using VlmSharp.Chat.Replies;
using VlmSharp.Formats;
using VlmSharp.Grounding;
using VlmSharp.Models;

namespace VlmSharp.Datasets;

/// <summary>Writes examples in the words of a model: boxes in its space and with its tags, calls of tools as its template takes them.</summary>
/// <remarks>All text of an example is data; only the tags around boxes and references are markup.</remarks>
/// <param name="prompts">Plans its media.</param>
/// <param name="dialect">How it writes where things are.</param>
sealed class ExampleChat(IPromptBuilder prompts, GroundingDialect dialect)
{
    /// <summary>How boxes and references are written.</summary>
    public BoxStyle Boxes { get; set; } = dialect.Style();

    /// <summary>Messages for the prompts of the model.</summary>
    /// <param name="example">The turns.</param>
    /// <param name="open">Opens a medium.</param>
    /// <returns>The messages, and for each of those of the assistant whether it is learnt. Calls of tools belong to the answer before them.</returns>
    /// <exception cref="PromptException">A call of a tool is none, or a box is on no picture.</exception>
    public (ChatMessage[] Messages, bool[] Learnt) Write(
        IReadOnlyList<ExampleMessage> example,
        Func<MediumPart, ChatMedia> open
    )
    {
        // Boxes may stand before their picture, so pictures are opened first.
        Queue<ChatMedia> media = new(example.SelectMany(message => message.Content).OfType<MediumPart>().Select(open));
        PictureFrame[] frames =
        [
            .. media
                .Where(medium => medium.Source.Kind == MediaKind.Image)
                .Select((medium, i) => prompts.Plan(medium).Frame(i)),
        ];
        List<ChatMessage> messages = [];
        List<bool> learnt = [];
        foreach (ExampleMessage message in example)
        {
            if (message.Role == "tool_call")
            {
                ToolCall call = Call(message);
                if (messages is [.., { Role: "assistant" } answer] && learnt[^1] == message.Learnt)
                {
                    messages[^1] = answer with { ToolCalls = [.. answer.ToolCalls, call] };
                }
                else
                {
                    messages.Add(new ChatMessage("assistant", []) { ToolCalls = [call] });
                    learnt.Add(message.Learnt);
                }

                continue;
            }

            messages.Add(new ChatMessage(message.Role, [.. message.Content.SelectMany(Write)]));
            if (message.Role == "assistant")
            {
                learnt.Add(message.Learnt);
            }
        }

        return ([.. messages], [.. learnt]);

        IEnumerable<ChatContent> Write(ExamplePart part)
        {
            switch (part)
            {
                case TextPart text:
                    return [new ChatText(text.Text)];
                case MediumPart:
                    return [media.Dequeue()];
                case ReferencePart reference:
                    (string before, string after) = GroundingWriter.Reference(dialect, Boxes);
                    return [new ChatMarkup(before), new ChatText(reference.Text), new ChatMarkup(after)];
                case BoxPart box:
                    return [new ChatMarkup(GroundingWriter.Box([.. box.Coordinates], dialect, Boxes, Frame(box)))];
                default:
                    throw new ArgumentException($"An example cannot hold {part.GetType().Name}.");
            }
        }

        PictureFrame Frame(BoxPart box) =>
            box.Image >= 0 && box.Image < frames.Length
                ? frames[box.Image]
                : throw new PromptException($"a box is on picture {box.Image}, but there are {frames.Length}");
    }

    /// <summary>A call of a tool: <c>{"name": ..., "arguments": ...}</c>.</summary>
    static ToolCall Call(ExampleMessage message)
    {
        string text = string.Concat(message.Content.OfType<TextPart>().Select(part => part.Text));
        try
        {
            JsonElement json = JsonElement.Parse(
                text,
                new JsonDocumentOptions { MaxDepth = JsonObjectReader.MaxDepth }
            );
            if (
                json.ValueKind == JsonValueKind.Object
                && json.TryGetProperty("name", out JsonElement name)
                && name.ValueKind == JsonValueKind.String
                && json.TryGetProperty("arguments", out JsonElement arguments)
            )
            {
                return new ToolCall(name.GetString()!, arguments);
            }
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException or ArgumentException)
        {
            // Said below.
        }

        throw new PromptException(
            $"a tool_call is {Quote.Name(text)}, expected {{\"name\": ..., \"arguments\": ...}} as JSON"
        );
    }
}
