using System.CommandLine;
using Spectre.Console;
using VlmSharp.Chat;
using VlmSharp.Engine;
using VlmSharp.Formats;
using VlmSharp.Generation;
using VlmSharp.Media.Documents;
using VlmSharp.Media.Images;
using VlmSharp.Models;
using VlmSharp.Vision;

namespace VlmSharp.Cli.Commands;

/// <summary><c>vlm chat</c>: a conversation in the terminal.</summary>
static class ChatCommand
{
    const string Help = """
        /image FILE     add a picture to the next question
        /video PATH     add a film, an animation or a directory of frames
        /document FILE  add the pages of a PDF or TIFF
        /clear          forget the conversation
        /help           this list
        /quit           leave (also Ctrl+D)
        Ctrl+C ends an answer, twice the program.
        """;

    public static Command Create()
    {
        CommonOptions common = new();
        Command command = new(
            "chat",
            "Talk with a model about pictures, films and documents; what was computed stays cached between turns."
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
        int context = common.ContextTokens(parsed, chat);
        using Conversation conversation = new(chat, context);
        conversation.OnStage = stage => AskCommand.Report(progress, stage);
        string? system = parsed.GetValue(common.System);
        Begin(conversation, system);

        CancellationTokenSource? answering = null;
        Console.CancelKeyPress += (_, press) =>
        {
            // The second one ends the program: looking at a large picture does not stop at the first.
            if (answering is { IsCancellationRequested: false } running)
            {
                press.Cancel = true;
                running.Cancel();
            }
        };

        Terminal.WriteNote($"{chat.Model.Info.Architecture}. /help lists the commands.");
        List<ChatContent> media = [];
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
                        media.Add(Announce(chat, CommonOptions.Picture(Unquote(path), limits)));
                        break;
                    case ["/video", { Length: > 0 } path]:
                        media.Add(Announce(chat, Film(chat, Unquote(path), limits, context / 2)));
                        break;
                    case ["/document", { Length: > 0 } path]:
                        media.AddRange(Pages(chat, Unquote(path), limits, context / 2));
                        break;
                    case ["/image" or "/video" or "/document"]:
                        Terminal.WriteError("a file name is missing behind the command");
                        break;
                    case [['/', ..] unknown, ..]:
                        Terminal.WriteError($"unknown command {unknown}; /help lists the commands");
                        break;
                    default:
                        answering = new CancellationTokenSource(); // not disposed: Ctrl+C may still be about to use it
                        ReplyWriter writer = new(progress, parsed.GetValue(common.HideThinking));
                        Answer(conversation, [.. media, new ChatText(line)], sampling, writer, answering.Token);
                        media.Clear();
                        break;
                }
            }
            catch (OperationCanceledException) when (answering is not null)
            {
                progress.Clear();
                Terminal.WriteNote("(cancelled; ask again, the media are kept)");
            }
            catch (Exception e) when (Terminal.CanBeMended(e))
            {
                // The conversation stands as it was; a wrong path or a full context need not end it.
                progress.Clear();
                Terminal.WriteError(e.Message);
                if (answering is not null && media.Count > 0)
                {
                    // They may be what did not fit, and would stand before every later question.
                    Terminal.WriteNote("The media of this question are dropped.");
                    media.Clear();
                }
            }
            finally
            {
                answering = null;
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
        if (!Console.IsInputRedirected)
        {
            Terminal.Error.Markup(mediaCount == 0 ? "[blue]>[/] " : $"[blue]({mediaCount} media) >[/] ");
        }

        return Console.In.ReadLine();
    }

    /// <summary>Paths with spaces need no quotes here, but terminals and habit put them.</summary>
    static string Unquote(string path) =>
        path is ['"', .., '"'] or ['\'', .., '\''] && path.Length > 2 && !Path.Exists(path) ? path[1..^1] : path;

    static ChatMedia Film(ChatModel chat, string path, PixelLimits limits, int tokens)
    {
        IMediaProcessor processor = chat.Model.Info.Processor;
        return MediaOptions.Film(MediaOptions.Film(path, processor, tokens), processor, limits, tokens);
    }

    static IEnumerable<ChatContent> Pages(ChatModel chat, string path, PixelLimits limits, int tokens)
    {
        IReadOnlyList<ChatContent> parts = MediaOptions.Pages(
            path,
            PageSelection.All,
            chat.Model.Info.Processor,
            limits,
            tokens
        );
        ChatMedia[] pages = [.. parts.OfType<ChatMedia>()];
        int total = pages.Sum(page => chat.Prompts.Plan(page).Tokens);
        Terminal.WriteNote($"{path}: {pages.Length} {(pages.Length == 1 ? "page" : "pages")}, {total} tokens");
        return parts;
    }

    static ChatMedia Announce(ChatModel chat, ChatMedia media)
    {
        MediaPlan plan = chat.Prompts.Plan(media);
        Terminal.WriteNote(
            $"{media.Source.Name}: {plan.OriginalWidth}x{plan.OriginalHeight}, seen as {plan.ResizedWidth}x{plan.ResizedHeight}, {plan.Tokens} tokens"
        );
        return media;
    }

    static void Answer(
        Conversation conversation,
        ChatContent[] content,
        SamplingOptions sampling,
        ReplyWriter writer,
        CancellationToken cancellation
    )
    {
        ChatAnswer answer = conversation.Ask(
            ChatMessage.User(content),
            sampling,
            onDelta: writer.Write,
            cancellation: cancellation
        );
        writer.End();
        string rate =
            answer.Tokens.Count > 1
                ? $", {(answer.Tokens.Count - 1) / Math.Max(1e-9, answer.Timings.Decode.TotalSeconds):f1} tokens/s"
                : ""; // the first token belongs to the prompt
        Terminal.WriteNote(
            $"{answer.PromptTokens} prompt tokens ({answer.CachedTokens} cached), {answer.Tokens.Count} answer tokens{rate} {AskCommand.Explain(answer.Finish)}".TrimEnd()
        );
    }
}
