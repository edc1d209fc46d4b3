using System.Text.Json;
using VlmSharp.Text.Templates;

namespace VlmSharp.Datasets;

/// <summary>Samples with <c>conversations</c>: LLaVA's, those of Qwen's fine-tuning code, ShareGPT's.</summary>
/// <remarks>
/// Source: <c>preprocess_multimodal</c> and the check of roles in <c>preprocess_v1</c> of LLaVA, <c>_build_messages</c> of <c>qwen-vl-finetune</c>,
/// <c>SharegptDatasetConverter</c> of LLaMA-Factory.
/// </remarks>
/// <param name="root">What paths of media are relative to.</param>
/// <param name="needAnswers">Whether something in it must be learnt.</param>
/// <param name="format">Which of them.</param>
sealed class ConversationsReader(string root, bool needAnswers, ExampleFormat format) : SampleReader(root, needAnswers)
{
    protected override List<DraftMessage> ReadMessages(JsonElement sample, out Places places)
    {
        JsonElement[] turns = MessageList(sample, "conversations");
        List<DraftMessage> draft = [];
        if (format == ExampleFormat.ShareGpt && Field(sample, "system") is { } system)
        {
            if (system.ValueKind != JsonValueKind.String)
            {
                throw WrongContent("system", system, "a text");
            }

            draft.Add(new DraftMessage("system", [new TextPart(system.GetString()!)], false));
        }

        foreach ((int i, JsonElement turn) in turns.Index())
        {
            string field = $"conversations[{i}]";
            string role = Role(turn, field);
            JsonElement? value = Given(turn, "value");
            if (value is not { ValueKind: JsonValueKind.String })
            {
                throw WrongContent($"{field}.value", value, "a text");
            }

            CheckOrder(role, draft, field);
            draft.Add(
                new DraftMessage(role, [.. Content(role, value.Value.GetString()!)], role is "assistant" or "tool_call")
            );
        }

        if (NeedAnswers && format == ExampleFormat.ShareGpt && draft[^1].Role is not ("assistant" or "tool_call"))
        {
            throw new SampleException(FaultReason.NoAnswer, "ends without an answer");
        }

        bool lists = format == ExampleFormat.ShareGpt;
        places = new Places(
            Media(sample, lists ? "images" : "image", Image),
            Media(sample, lists ? "videos" : "video", Video)
        );
        return draft;
    }

    string Role(JsonElement turn, string field) =>
        (format, Text(turn, "from")) switch
        {
            (_, "human") => "user",
            (_, "gpt") => "assistant",
            (ExampleFormat.Qwen or ExampleFormat.ShareGpt, "assistant") => "assistant",
            (ExampleFormat.ShareGpt, "user") => "user",
            (ExampleFormat.ShareGpt, "system") => "system",
            (ExampleFormat.ShareGpt, "function_call") => "tool_call",
            (ExampleFormat.ShareGpt, "observation") => "tool",
            _ => throw WrongRole(
                turn,
                field,
                "from",
                format == ExampleFormat.ShareGpt ? "human, gpt, system, function_call or observation" : "human or gpt"
            ),
        };

    // LLaVA and LLaMA-Factory want questions and answers in turn; Qwen's code takes turns as they come.
    void CheckOrder(string role, List<DraftMessage> before, string field)
    {
        if (format == ExampleFormat.Qwen)
        {
            return;
        }

        bool question = role is "user" or "tool";
        bool expected = before is [] or [.., { Role: "system" or "assistant" or "tool_call" }];
        if (role == "system" ? before.Count > 0 : question != expected)
        {
            throw new SampleException(
                FaultReason.RoleOrder,
                $"field '{field}.from' is of the role {role}, expected {(expected ? "a question" : "an answer")}"
            );
        }
    }

    IEnumerable<ExamplePart> Content(string role, string text)
    {
        if (format == ExampleFormat.ShareGpt)
        {
            return Split(text, Placeholder.Image, Placeholder.Video);
        }

        if (format == ExampleFormat.Qwen)
        {
            return role == "assistant"
                ? [new TextPart(text)]
                : Split(text, Placeholder.Image, Placeholder.Video)
                    .Select(part => part is TextPart piece ? new TextPart(PythonText.Trim(piece.Text)) : part);
        }

        ExamplePart[] parts = [.. Split(text, Placeholder.Image, Placeholder.Video)];
        if (parts.Length == 1)
        {
            return parts;
        }

        // The places come first, then, on a line of its own, what is left of the text.
        string left = PythonText.Trim(string.Concat(parts.OfType<TextPart>().Select(part => part.Text)));
        return [.. parts.OfType<Placeholder>(), .. left.Length > 0 ? (ExamplePart[])[new TextPart("\n" + left)] : []];
    }
}
