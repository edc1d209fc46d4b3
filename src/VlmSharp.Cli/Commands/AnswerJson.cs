using System.Text.Json;
using VlmSharp.Chat;
using VlmSharp.Chat.Replies;
using VlmSharp.Engine;
using VlmSharp.Generation;
using VlmSharp.Grounding;
using VlmSharp.Models;
using VlmSharp.Vision;

namespace VlmSharp.Cli.Commands;

/// <summary>An answer of <c>vlm ask</c> as JSON.</summary>
static class AnswerJson
{
    /// <summary>Writes an answer to standard output.</summary>
    /// <param name="answer">The answer.</param>
    /// <param name="chat">The model that gave it.</param>
    /// <param name="found">What it points at; null where there is not just one picture.</param>
    /// <param name="times">Times it names, in seconds of the film.</param>
    /// <param name="logProbs">Whether to write log-probabilities.</param>
    /// <param name="load">What loading the model took.</param>
    /// <param name="decode">What decoding the media took.</param>
    public static void Write(
        ChatAnswer answer,
        ChatModel chat,
        GroundingResult? found,
        IReadOnlyList<TimeMention> times,
        bool logProbs,
        TimeSpan load,
        TimeSpan decode
    )
    {
        using MemoryStream stream = new();
        using (
            Utf8JsonWriter json = new(
                stream,
                new()
                {
                    Indented = true,
                    Encoder = System.Text.Encodings.Web.JavaScriptEncoder.UnsafeRelaxedJsonEscaping,
                }
            )
        )
        {
            json.WriteStartObject();
            json.WriteString("answer", answer.Content);
            if (answer.Reasoning.Length > 0)
            {
                json.WriteString("reasoning", answer.Reasoning);
            }

            if (answer.ToolCalls.Count > 0)
            {
                json.WriteStartArray("tool_calls");
                foreach (ToolCall call in answer.ToolCalls)
                {
                    ReplyWriter.WriteCall(json, call);
                }

                json.WriteEndArray();
            }

            if (found is not null)
            {
                WriteGrounding(json, found);
            }

            if (times.Count > 0)
            {
                WriteTimes(json, times, answer.Content);
            }

            json.WriteString("finish_reason", answer.Finish.ToString().ToLowerInvariant());
            WriteNumbers(json, "answer_ids", answer.Tokens);
            json.WriteStartObject("tokens");
            json.WriteNumber("prompt", answer.PromptTokens);
            json.WriteNumber("media", answer.Media.Sum(m => m.Plan.Tokens));
            json.WriteNumber("answer", answer.Tokens.Count);
            json.WriteEndObject();
            json.WriteStartArray("media");
            foreach ((ChatMedia media, MediaPlan plan) in answer.Media)
            {
                json.WriteStartObject();
                json.WriteString("kind", media.Source.Kind.ToString().ToLowerInvariant());
                json.WriteString("name", media.Source.Name);
                json.WriteNumber("frames", media.Source.Frames.Count);
                WriteSize(json, "original_size", plan.OriginalWidth, plan.OriginalHeight);
                WriteSize(json, "resized_size", plan.ResizedWidth, plan.ResizedHeight);
                WriteNumbers(json, "grid_thw", [plan.Grid.T, plan.Grid.H, plan.Grid.W]);
                json.WriteNumber("tokens", plan.Tokens);
                json.WriteEndObject();
            }

            json.WriteEndArray();
            json.WriteStartObject("timings_ms");
            foreach (
                (string name, TimeSpan time) in (ReadOnlySpan<(string, TimeSpan)>)
                    [
                        ("load", load),
                        ("decode_media", decode),
                        ("prepare", answer.Timings.Prepare),
                        ("encode", answer.Timings.Encode),
                        ("prefill", answer.Timings.Prefill),
                        ("generate", answer.Timings.Decode),
                    ]
            )
            {
                json.WriteNumber(name, Math.Round(time.TotalMilliseconds, 2));
            }

            json.WriteEndObject();
            if (logProbs)
            {
                WriteLogProbs(json, answer, chat);
            }

            json.WriteEndObject();
        }

        Console.Out.WriteLine(System.Text.Encoding.UTF8.GetString(stream.ToArray()));
    }

    static void WriteGrounding(Utf8JsonWriter json, GroundingResult found)
    {
        json.WriteStartObject("grounding");
        json.WriteString(
            "error",
            found.Error == GroundingError.None ? null : found.Error.ToString().ToLowerInvariant()
        );
        json.WriteStartArray("items");
        foreach (GroundedItem item in found.Items)
        {
            json.WriteStartObject();
            json.WriteString("label", item.Label);
            json.WriteString("kind", item.Kind.ToString().ToLowerInvariant());
            json.WriteStartArray("coordinates"); // x, y, x, y, ... in pixels of the original picture
            foreach (double coordinate in item.Coordinates)
            {
                json.WriteNumberValue(Math.Round(coordinate, 3));
            }

            json.WriteEndArray();
            if (item.Score is { } score)
            {
                json.WriteNumber("score", Math.Round(score, 6));
            }

            json.WriteEndObject();
        }

        json.WriteEndArray();
        json.WriteEndObject();
    }

    static void WriteTimes(Utf8JsonWriter json, IReadOnlyList<TimeMention> times, string text)
    {
        json.WriteStartArray("times");
        foreach (TimeMention time in times)
        {
            json.WriteStartObject();
            json.WriteString("text", text.AsSpan(time.Offset, time.Length));
            json.WriteNumber("start_seconds", Math.Round(time.Start, 3));
            json.WriteNumber("end_seconds", Math.Round(time.End, 3));
            json.WriteEndObject();
        }

        json.WriteEndArray();
    }

    static void WriteSize(Utf8JsonWriter json, string name, int width, int height)
    {
        json.WriteStartObject(name);
        json.WriteNumber("width", width);
        json.WriteNumber("height", height);
        json.WriteEndObject();
    }

    static void WriteNumbers(Utf8JsonWriter json, string name, IEnumerable<int> numbers)
    {
        json.WriteStartArray(name);
        foreach (int number in numbers)
        {
            json.WriteNumberValue(number);
        }

        json.WriteEndArray();
    }

    static void WriteLogProbs(Utf8JsonWriter json, ChatAnswer answer, ChatModel chat)
    {
        json.WriteStartArray("logprobs");
        foreach (AnswerLogProbs token in answer.LogProbs)
        {
            json.WriteStartObject();
            WriteToken(json, chat, token.Chosen);
            json.WriteNumber("rank", token.Rank);
            json.WriteStartArray("top");
            foreach (TokenLogProb other in token.Top)
            {
                json.WriteStartObject();
                WriteToken(json, chat, other);
                json.WriteEndObject();
            }

            json.WriteEndArray();
            json.WriteEndObject();
        }

        json.WriteEndArray();
    }

    static void WriteToken(Utf8JsonWriter json, ChatModel chat, TokenLogProb token)
    {
        json.WriteNumber("id", token.Token);
        json.WriteString("text", chat.Tokenizer.Decode([token.Token]));
        json.WriteNumber("logprob", Math.Round(token.LogProb, 6));
    }
}
