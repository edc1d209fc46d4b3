using System.CommandLine;
using Spectre.Console;
using VlmSharp.Chat;
using VlmSharp.Engine;
using VlmSharp.Formats;
using VlmSharp.Generation;
using VlmSharp.Media.Images;
using VlmSharp.Models;
using VlmSharp.Vision;

namespace VlmSharp.Cli.Commands;

/// <summary><c>vlm chat</c>: a conversation in the terminal.</summary>
static class ChatCommand
{
    const string Help = """
        /image FILE   add a picture to the next question
        /video PATH   add a directory of frames or an animated file
        /clear        forget the conversation
        /help         this list
        /quit         leave (also Ctrl+D)
        Ctrl+C ends an answer.
        """;

    public static Command Create()
    {
        CommonOptions common = new();
        Command command = new(
            "chat",
            "Talk with a model about pictures; what was computed stays cached between turns."
        );
        common.AddModelTo(command);
        common.AddGenerationTo(command);
        command.SetAction(parsed => Terminal.Guard(() => Run(parsed, common)));
        return command;
    }

    static int Run(ParseResult parsed, CommonOptions common)
    {
        PixelLimits limits = common.Limits(parsed);
        using ProgressLine progress = new();
        using ChatModel chat = common.Load(parsed, progress);
        SamplingOptions sampling = common.Sampling(parsed, chat);
        using Conversation conversation = new(chat, common.ContextTokens(parsed, chat));
        conversation.OnStage = stage => AskCommand.Report(progress, stage);
        string? system = parsed.GetValue(common.System);
        Begin(conversation, system);

        CancellationTokenSource? answering = null;
        Console.CancelKeyPress += (_, press) =>
        {
            if (answering is { } running)
            {
                press.Cancel = true;
                running.Cancel();
            }
        };

        Terminal.Error.MarkupLineInterpolated($"[grey]{chat.Model.Info.Architecture}. /help lists the commands.[/]");
        List<ChatMedia> media = [];
        while (ReadLine(media.Count) is { } line)
        {
            try
            {
                switch (line.Trim().Split(' ', 2, StringSplitOptions.TrimEntries))
                {
                    case [""]:
                        break;
                    case ["/quit" or "/exit"]:
                        return 0;
                    case ["/help"]:
                        Terminal.Error.WriteLine(Help);
                        break;
                    case ["/clear"]:
                        conversation.Clear();
                        Begin(conversation, system);
                        media.Clear();
                        break;
                    case ["/image", { Length: > 0 } path]:
                        media.Add(Announce(chat, CommonOptions.Picture(path, limits)));
                        break;
                    case ["/video", { Length: > 0 } path]:
                        media.Add(Announce(chat, CommonOptions.Video(path, limits)));
                        break;
                    case [['/', ..], ..]:
                        Terminal.Error.MarkupLineInterpolated($"[yellow]unknown command[/]; /help lists them");
                        break;
                    default:
                        using (answering = new CancellationTokenSource())
                        {
                            Answer(conversation, [.. media, new ChatText(line)], sampling, progress, answering.Token);
                        }

                        answering = null;
                        media.Clear();
                        break;
                }
            }
            catch (Exception e)
                when (e is MediaException or VisionException or CacheFullException or IOException or CheckpointException
                )
            {
                // The conversation stands as it was; a wrong path or a full context need not end it.
                answering = null;
                progress.Clear();
                Terminal.Error.MarkupLineInterpolated($"[red]error:[/] {e.Message}");
            }
        }

        return 0;
    }

    static void Begin(Conversation conversation, string? system)
    {
        if (system is not null)
        {
            conversation.Add(ChatMessage.System(system));
        }
    }

    static string? ReadLine(int mediaCount)
    {
        Terminal.Error.Markup(mediaCount == 0 ? "[blue]>[/] " : $"[blue]({mediaCount} media) >[/] ");
        return Console.In.ReadLine();
    }

    static ChatMedia Announce(ChatModel chat, ChatMedia media)
    {
        MediaPlan plan = chat.Prompts.Plan(media);
        Terminal.Error.MarkupLineInterpolated(
            $"[grey]{media.Source.Name}: {plan.OriginalWidth}x{plan.OriginalHeight}, seen as {plan.ResizedWidth}x{plan.ResizedHeight}, {plan.Tokens} tokens[/]"
        );
        return media;
    }

    static void Answer(
        Conversation conversation,
        ChatContent[] content,
        SamplingOptions sampling,
        ProgressLine progress,
        CancellationToken cancellation
    )
    {
        ChatAnswer answer = conversation.Ask(
            ChatMessage.User(content),
            sampling,
            onText: piece =>
            {
                progress.Clear();
                Console.Out.Write(piece);
                Console.Out.Flush();
            },
            cancellation: cancellation
        );
        progress.Clear();
        Console.Out.WriteLine();
        double rate = (answer.Tokens.Count - 1) / Math.Max(1e-9, answer.Timings.Decode.TotalSeconds);
        Terminal.Error.MarkupLineInterpolated(
            $"[grey]{answer.PromptTokens} prompt tokens ({answer.CachedTokens} cached), {answer.Tokens.Count} answer tokens, {rate:f1} tokens/s {AskCommand.Explain(answer.Finish)}[/]"
        );
    }
}
