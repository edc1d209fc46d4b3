using System.CommandLine;
using System.Diagnostics;
using Spectre.Console;
using VlmSharp.Chat;
using VlmSharp.Chat.Replies;
using VlmSharp.Engine;
using VlmSharp.Generation;
using VlmSharp.Grounding;
using VlmSharp.Media.Images;
using VlmSharp.Media.Video;
using VlmSharp.Models;
using VlmSharp.Vision;

namespace VlmSharp.Cli.Commands;

/// <summary><c>vlm ask</c>: one question about pictures, films and documents.</summary>
sealed class AskCommand
{
    readonly CommonOptions common = new();
    readonly MediaOptions media = new();
    readonly Argument<string> question = new("QUESTION") { Description = "What you want to know." };

    readonly Option<string?> draw = new("--draw")
    {
        Description = "Write the picture with the boxes and points of the answer drawn in: .png or .jpg.",
        HelpName = "FILE",
    };

    readonly Option<bool> json = new("--json")
    {
        Description = "Print answer, what it points at, token counts, timings, sizes and grids as JSON.",
    };

    readonly Option<int?> logProbs = CommonOptions.Number<int>(
        "--logprobs",
        "N",
        "With --json: log-probability of each token and of N alternatives."
    );

    readonly Option<string?> tools = new("--tools")
    {
        Description = "A JSON list of tools that the model may call; calls are printed as lines of JSON.",
        HelpName = "FILE",
    };

    public static Command Create()
    {
        AskCommand ask = new();
        Command command = new(
            "ask",
            "Answer a question about pictures, films and documents; they come before the question, in this order."
        );
        ask.common.AddModelTo(command);
        command.Arguments.Add(ask.question);
        ask.media.AddTo(command);
        foreach (Option option in (Option[])[ask.draw, ask.json, ask.logProbs, ask.tools])
        {
            command.Options.Add(option);
        }

        ask.common.AddGenerationTo(command);
        command.SetAction(
            (parsed, cancellation) =>
                // On another thread: so Ctrl+C also ends, after some seconds of grace, what does not look at the token.
                Task.Run(() => Terminal.Guard(() => ask.Run(parsed, cancellation)), CancellationToken.None)
        );
        return command;
    }

    int Run(ParseResult parsed, CancellationToken cancellation)
    {
        PixelLimits limits = common.Limits(parsed);
        bool asJson = parsed.GetValue(json);
        if (parsed.GetValue(logProbs) is not null && !asJson)
        {
            throw new UsageException("--logprobs needs --json, which prints them.");
        }

        string text = parsed.GetRequiredValue(question);
        if (string.IsNullOrWhiteSpace(text) && !media.Any(parsed))
        {
            throw new UsageException("QUESTION is empty, and there is nothing to look at.");
        }

        media.Check(parsed);
        string? drawing = CommonOptions.Output(parsed, draw, media.Files(parsed));
        if (drawing is not null && !media.ShowsOnePicture(parsed))
        {
            throw new UsageException("--draw needs exactly one --image, shown without --tiles and --document.");
        }

        if (drawing is not null && !IsPicture(drawing))
        {
            throw new UsageException($"--draw is {drawing}, expected a name that ends in .png, .jpg or .jpeg.");
        }

        ToolDefinition[] offered = parsed.GetValue(tools) is { } file ? CommonOptions.Tools(file) : [];
        using ProgressLine progress = new();
        Stopwatch watch = Stopwatch.StartNew();
        using ChatModel chat = common.Load(parsed, progress);
        TimeSpan load = watch.Elapsed;
        int context = common.ContextTokens(parsed, chat);

        watch.Restart();
        progress.Report("Decoding media");
        ShownMedia shown = media.Read(parsed, chat.Model.Info.Processor, limits, context, cancellation);
        TimeSpan decode = watch.Elapsed;
        // What an answer points at is in a picture only if there is just one.
        bool grounds = media.ShowsOnePicture(parsed) && (asJson || drawing is not null);
        SamplingOptions sampling = common.Sampling(parsed, chat, parsed.GetValue(logProbs) ?? (grounds ? 0 : null));
        using Conversation conversation = new(chat, context) { Tools = offered };
        if (parsed.GetValue(common.System) is { } system)
        {
            conversation.Add(ChatMessage.System(system));
        }

        conversation.OnStage = stage => Report(progress, stage, silent: asJson);
        ReplyWriter writer = new(progress, parsed.GetValue(common.HideThinking));
        ChatAnswer answer = conversation.Ask(
            ChatMessage.User([.. shown.Content, new ChatText(text)]),
            sampling,
            onDelta: asJson ? null : writer.Write,
            cancellation: cancellation
        );
        progress.Clear();
        GroundingResult? found = grounds ? Ground(answer, chat) : null;
        if (drawing is not null)
        {
            RgbImage drawn = Overlay.Draw(shown.Pictures[0], found!);
            bool png = drawing.EndsWith(".png", StringComparison.OrdinalIgnoreCase);
            File.WriteAllBytes(drawing, png ? ImageEncoder.Png(drawn) : ImageEncoder.Jpeg(drawn));
        }

        if (asJson)
        {
            AnswerJson.Write(
                answer,
                chat,
                found,
                Times(answer, chat, shown),
                parsed.GetValue(logProbs) is not null,
                load,
                decode
            );
        }
        else
        {
            writer.End();
            if (answer.Finish != FinishReason.Stop)
            {
                Terminal.Error.MarkupLineInterpolated($"[yellow]{Explain(answer.Finish)}[/]");
            }

            if (drawing is not null)
            {
                string problem =
                    found!.Error == GroundingError.None
                        ? ""
                        : $"; the answer is {found.Error.ToString().ToLowerInvariant()}";
                Terminal.WriteNote($"{found.Items.Count} drawn into {drawing}{problem}");
            }
        }

        return answer.Finish == FinishReason.Cancelled ? 130 : 0;
    }

    static bool IsPicture(string path) => Path.GetExtension(path).ToLowerInvariant() is ".png" or ".jpg" or ".jpeg";

    static GroundingResult Ground(ChatAnswer answer, ChatModel chat) =>
        answer.Ground(
            chat.Tokenizer,
            chat.Model.Info.Grounding,
            answer.Media.Single(m => m.Media.Source.Kind == MediaKind.Image).Plan.Frame()
        );

    /// <summary>When the answer says something happens, in seconds of the film: nothing unless there is just one.</summary>
    static IReadOnlyList<TimeMention> Times(ChatAnswer answer, ChatModel chat, ShownMedia shown) =>
        shown.Films is not [VideoFrames film] ? []
        : chat.Model.Info.VideoMarks is null ? VideoTimeline.Counted(film).Find(answer.Content)
        : VideoTimeline.Told(film).Find(answer.Content);

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
}
