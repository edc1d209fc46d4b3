using System.CommandLine;
using System.Diagnostics;
using System.Text.Json;
using Spectre.Console;
using VlmSharp.Chat;
using VlmSharp.Chat.Replies;
using VlmSharp.Engine;
using VlmSharp.Generation;
using VlmSharp.Models;

namespace VlmSharp.Cli.Commands;

/// <summary><c>vlm ask</c>: one question about pictures and videos.</summary>
static class AskCommand
{
    public static Command Create()
    {
        CommonOptions common = new();
        Argument<string> question = new("QUESTION") { Description = "What you want to know." };
        Option<string[]> images = new("--image") { Description = "A picture; may be repeated.", HelpName = "FILE" };
        Option<string[]> videos = new("--video")
        {
            Description = "A directory of frames or an animated GIF/WebP; may be repeated.",
            HelpName = "PATH",
        };
        Option<bool> json = new("--json")
        {
            Description = "Print answer, token counts, timings, sizes and grids as JSON.",
        };
        Option<int?> logProbs = CommonOptions.Number<int>(
            "--logprobs",
            "N",
            "With --json: log-probability of each token and of N alternatives."
        );
        Option<string?> tools = new("--tools")
        {
            Description = "A JSON list of tools that the model may call; calls are printed as lines of JSON.",
            HelpName = "FILE",
        };
        Command command = new(
            "ask",
            "Answer a question about pictures and videos; media come before the question, pictures first."
        );
        common.AddModelTo(command);
        command.Arguments.Add(question);
        foreach (Option option in (Option[])[images, videos, json, logProbs, tools])
        {
            command.Options.Add(option);
        }

        common.AddGenerationTo(command);
        command.SetAction(
            (parsed, cancellation) =>
                // On another thread: so Ctrl+C also ends, after some seconds of grace, what does not look at the token.
                Task.Run(
                    () =>
                        Terminal.Guard(() =>
                            Run(
                                parsed,
                                common,
                                parsed.GetRequiredValue(question),
                                parsed.GetValue(images) ?? [],
                                parsed.GetValue(videos) ?? [],
                                parsed.GetValue(json),
                                parsed.GetValue(logProbs),
                                parsed.GetValue(tools),
                                cancellation
                            )
                        ),
                    CancellationToken.None
                )
        );
        return command;
    }

    static int Run(
        ParseResult parsed,
        CommonOptions common,
        string question,
        string[] images,
        string[] videos,
        bool json,
        int? logProbs,
        string? tools,
        CancellationToken cancellation
    )
    {
        PixelLimits limits = common.Limits(parsed);
        if (logProbs is not null && !json)
        {
            throw new UsageException("--logprobs needs --json, which prints them.");
        }

        if (string.IsNullOrWhiteSpace(question) && images.Length + videos.Length == 0)
        {
            throw new UsageException("QUESTION is empty, and there is nothing to look at.");
        }

        ToolDefinition[] offered = tools is null ? [] : CommonOptions.Tools(tools);
        using ProgressLine progress = new();
        Stopwatch watch = Stopwatch.StartNew();
        using ChatModel chat = common.Load(parsed, progress);
        TimeSpan load = watch.Elapsed;

        watch.Restart();
        progress.Report("Decoding media");
        ChatMedia[] media =
        [
            .. images.Select(path => CommonOptions.Picture(path, limits)),
            .. videos.Select(path => CommonOptions.Video(path, limits)),
        ];
        TimeSpan decode = watch.Elapsed;

        SamplingOptions sampling = common.Sampling(parsed, chat, logProbs);
        using Conversation conversation = new(chat, common.ContextTokens(parsed, chat)) { Tools = offered };
        if (parsed.GetValue(common.System) is { } system)
        {
            conversation.Add(ChatMessage.System(system));
        }

        conversation.OnStage = stage => Report(progress, stage, silent: json);
        ReplyWriter writer = new(progress, parsed.GetValue(common.HideThinking));
        ChatAnswer answer = conversation.Ask(
            ChatMessage.User([.. media, new ChatText(question)]),
            sampling,
            onDelta: json ? null : writer.Write,
            cancellation: cancellation
        );
        progress.Clear();
        if (json)
        {
            WriteJson(answer, chat, load, decode);
        }
        else
        {
            writer.End();
            if (answer.Finish != FinishReason.Stop)
            {
                Terminal.Error.MarkupLineInterpolated($"[yellow]{Explain(answer.Finish)}[/]");
            }
        }

        return answer.Finish == FinishReason.Cancelled ? 130 : 0;
    }

    /// <summary>Shows what a conversation is doing.</summary>
    /// <param name="progress">Where.</param>
    /// <param name="stage">What.</param>
    /// <param name="silent">Whether the answer is not streamed, so that it needs progress of its own.</param>
    public static void Report(ProgressLine progress, ConversationStage stage, bool silent = false)
    {
        switch (stage.Step)
        {
            case ConversationStep.LookingAtMedia:
                progress.Report($"Looking at medium {stage.Done + 1}");
                break;
            case ConversationStep.ReadingPrompt:
                progress.Report("Reading the prompt", $"{stage.Done} of {stage.Total} tokens");
                break;
            default:
                if (silent)
                {
                    progress.Report("Answering", $"{stage.Done} tokens");
                }

                break;
        }
    }

    /// <summary>Why an answer is not complete.</summary>
    public static string Explain(FinishReason reason) =>
        reason switch
        {
            FinishReason.Length => "(cut off: the limit on tokens was reached)",
            FinishReason.Repetition => "(cut off: the answer repeated itself endlessly)",
            FinishReason.Cancelled => "(cancelled)",
            _ => "",
        };

    static void WriteJson(ChatAnswer answer, ChatModel chat, TimeSpan load, TimeSpan decode)
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
            if (answer.LogProbs.Count > 0)
            {
                WriteLogProbs(json, answer, chat);
            }

            json.WriteEndObject();
        }

        Console.Out.WriteLine(System.Text.Encoding.UTF8.GetString(stream.ToArray()));
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
