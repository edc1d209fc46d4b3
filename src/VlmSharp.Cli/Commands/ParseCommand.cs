using System.CommandLine;
using VlmSharp.Chat;
using VlmSharp.Documents;
using VlmSharp.Engine;
using VlmSharp.Generation;
using VlmSharp.Grounding;
using VlmSharp.Media.Documents;
using VlmSharp.Media.Images;
using VlmSharp.Models;

namespace VlmSharp.Cli.Commands;

/// <summary><c>vlm parse</c>: documents to HTML, Markdown or JSON.</summary>
static class ParseCommand
{
    // The published notebook gives a page at most so many tokens; more only where somebody asks for more pixels.
    const int PageTokens = 2048;

    public static Command Create()
    {
        CommonOptions common = new();
        Argument<string> file = new("FILE") { Description = "A PDF, a TIFF or a picture." };
        Option<FileSystemInfo> model = new("--model")
        {
            Description = common.Model.Description,
            HelpName = "MODEL",
            Required = true,
            CustomParser = CommonOptions.ModelPath,
        };
        Option<DocumentFormat> format = new("--to")
        {
            Description = "What to write: html, markdown or json.",
            HelpName = "FORMAT",
            DefaultValueFactory = _ => DocumentFormat.Markdown,
            CustomParser = result =>
            {
                string name = result.Tokens[^1].Value;
                if (
                    Enum.TryParse(name, ignoreCase: true, out DocumentFormat known)
                    && Enum.IsDefined(known)
                    && char.IsAsciiLetter(name[0])
                )
                {
                    return known;
                }

                result.AddError($"--to is '{name}', expected html, markdown or json.");
                return default;
            },
        };
        Option<string?> pages = new("--pages")
        {
            Description = "Which pages, such as 1-3,7 (default: all).",
            HelpName = "PAGES",
        };
        Option<double?> dpi = CommonOptions.Number<double>(
            "--dpi",
            "N",
            "Draw pages of a PDF no finer than this (default: as the model's pixels need it, 300 at most)."
        );
        Option<string?> output = new("--out")
        {
            Description = "Write there instead of to standard output.",
            HelpName = "FILE",
        };
        Option<string?> overlay = new("--overlay")
        {
            Description = "Also write the pages there with their boxes drawn in, as page-1.png, page-2.png, ...",
            HelpName = "DIR",
        };
        Option<string?> password = CommonOptions.Password();
        common.MaxTokens.Description = "Longest answer about a page in tokens (default: what the context holds).";
        Command command = new("parse", "Turn a document into HTML, Markdown or JSON, page by page.");
        command.Arguments.Add(file);
        foreach (
            Option option in (Option[])
                [model, format, pages, dpi, output, overlay, password, common.Projector, common.Threads]
        )
        {
            command.Options.Add(option);
        }

        common.AddGenerationTo(command);
        command.SetAction(
            (parsed, cancellation) =>
                Task.Run(
                    () =>
                        Terminal.Guard(() =>
                            Run(
                                parsed,
                                common,
                                new(
                                    CommonOptions.Named(parsed.GetRequiredValue(file)),
                                    parsed.GetRequiredValue(model),
                                    parsed.GetValue(format),
                                    Pages(parsed.GetValue(pages)),
                                    Dpi(parsed.GetValue(dpi)),
                                    CommonOptions.Output(parsed, output, parsed.GetRequiredValue(file)),
                                    Directory(parsed.GetValue(overlay)),
                                    parsed.GetValue(password)
                                ),
                                cancellation
                            )
                        ),
                    CancellationToken.None
                )
        );
        return command;
    }

    sealed record Options(
        string File,
        FileSystemInfo Model,
        DocumentFormat Format,
        PageSelection Pages,
        double Dpi,
        string? Output,
        string? Overlay,
        string? Password
    );

    static PageSelection Pages(string? text)
    {
        try
        {
            return text is null ? PageSelection.All : PageSelection.Parse(text);
        }
        catch (FormatException e)
        {
            throw new UsageException($"--pages: {e.Message}.");
        }
    }

    static string? Directory(string? overlay) =>
        overlay is "" ? throw new UsageException("--overlay is empty, expected a directory.")
        : File.Exists(overlay) ? throw new UsageException($"--overlay is {overlay}, a file, expected a directory.")
        : overlay;

    static double Dpi(double? given) =>
        given is null or (>= 1 and <= 2400)
            ? given ?? PageResolution.Fine
            : throw new UsageException($"--dpi is {given}, expected 1 .. 2400.");

    static int Run(ParseResult parsed, CommonOptions common, Options options, CancellationToken cancellation)
    {
        PixelLimits limits = common.Limits(parsed);
        using ProgressLine progress = new();
        // Before the model is loaded: what is wrong with the file should not wait for gigabytes of weights.
        DocumentFile document = DocumentFile.Open(options.File, password: options.Password, cancellation: cancellation);
        int count = document.Pages(options.Pages, cancellation).Count;
        using ChatModel chat = common.Load(parsed, options.Model, progress);
        int context = common.ContextTokens(parsed, chat);
        SamplingOptions sampling = common.Sampling(parsed, chat);
        if (parsed.GetValue(common.MaxTokens) is null)
        {
            // A page takes as many tokens as it takes; the context is the limit.
            sampling = sampling with
            {
                MaxNewTokens = context,
            };
        }

        using Conversation conversation = new(chat, context);
        GroundingDialect dialect = chat.Model.Info.Grounding;
        ParsePrompt prompt = ParsePrompt.For(dialect, options.Format);
        prompt = prompt with { System = parsed.GetValue(common.System) ?? prompt.System };
        PixelLimits pageLimits = limits;
        int done = 0;
        conversation.OnStage = stage =>
            progress.Report($"Page {done + 1} of {count}", stage.Done > 0 ? $"{stage.Step}, {stage.Done} tokens" : "");
        DocumentParser parser = new(Ask, dialect, prompt);

        string directory = Path.GetDirectoryName(Path.GetFullPath(options.Output ?? "x"))!;
        DocumentSource source = new(
            Path.GetFileName(options.File),
            Path.GetRelativePath(directory, Path.GetFullPath(options.File)).Replace('\\', '/'),
            document.IsScalable
        );
        // Created when there is something to write: a failure before that leaves no empty file, and an old one as it was.
        Stream? output = null;
        DocumentWriter? writer = null;
        try
        {
            foreach (
                ParsedPage page in parser.Parse(
                    document,
                    options.Pages,
                    page =>
                    {
                        (PageResolution resolution, pageLimits) = DocumentContent.Fit(
                            chat.Model.Info.Processor,
                            page,
                            limits,
                            options.Dpi,
                            PageTokens
                        );
                        return resolution;
                    },
                    (image, page) =>
                    {
                        done++;
                        Draw(options.Overlay, image, page);
                    },
                    cancellation
                )
            )
            {
                progress.Clear();
                output ??= options.Output is null ? Console.OpenStandardOutput() : File.Create(options.Output);
                writer ??= DocumentWriter.Create(options.Format, output, source);
                writer.Write(page);
                foreach (string warning in page.Warnings)
                {
                    Terminal.WriteNote($"{options.File}, page {page.Number}: {warning}");
                }
            }
        }
        finally
        {
            writer?.Dispose();
            output?.Dispose();
        }

        return cancellation.IsCancellationRequested ? 130 : 0;

        PageAnswer Ask(PageImage image, ParsePrompt question, CancellationToken cancel)
        {
            if (question.System is { } system)
            {
                conversation.Add(ChatMessage.System(system));
            }

            ChatMedia media = new(
                MediaSource.Image(image.Image, $"{options.File}, page {image.Page.Number}"),
                pageLimits
            );
            ChatAnswer answer = conversation.Ask(
                ChatMessage.User(media, new ChatText(question.Text)),
                sampling,
                cancellation: cancel
            );
            conversation.Clear(); // the picture, too
            MediaPlan plan = answer.Media[0].Plan;
            return new(answer.Content, answer.Finish, plan.ResizedWidth, plan.ResizedHeight);
        }
    }

    static void Draw(string? directory, PageImage image, ParsedPage page)
    {
        if (directory is not null)
        {
            System.IO.Directory.CreateDirectory(directory);
            RgbImage drawn = Overlay.Draw(image.Image, PageOverlay.Items(page));
            File.WriteAllBytes(Path.Combine(directory, $"page-{page.Number}.png"), ImageEncoder.Png(drawn));
        }
    }
}
