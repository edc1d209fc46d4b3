using System.CommandLine;
using VlmSharp.Chat;
using VlmSharp.Generation;
using VlmSharp.Media.Images;
using VlmSharp.Media.Images.Slides;
using VlmSharp.Models;
using VlmSharp.Tiling;

namespace VlmSharp.Cli.Commands;

/// <summary><c>vlm scan</c>: one question about a picture of any size, asked tile by tile.</summary>
sealed class ScanCommand
{
    // As many as a square of a thousand pixels takes with most models.
    const int DefaultTileTokens = 1280;

    // Of the picture that --overlay writes.
    const int OverlaySide = 2048;

    readonly CommonOptions common = new();

    readonly Argument<string> file = new("FILE")
    {
        Description = "A picture of any size: tiled TIFF, slides (SVS, NDPI, MRXS, ...), or any picture.",
    };

    readonly Argument<string> question = new("QUESTION") { Description = "Asked about each tile, answered for all." };

    readonly Option<int?> tileTokens = CommonOptions.Number<int>(
        "--tile-tokens",
        "N",
        $"Visual tokens of a tile at most (default: {DefaultTileTokens}, or half the context)."
    );

    readonly Option<double?> downsample = CommonOptions.Number<double>(
        "--downsample",
        "X",
        "Pixels of the picture to one that the model sees, in each direction (default: 1, every detail)."
    );

    readonly Option<double?> microns = CommonOptions.Number<double>(
        "--mpp",
        "UM",
        "In place of --downsample: micrometres to a pixel, for slides that tell theirs."
    );

    readonly Option<double?> overlap = CommonOptions.Number<double>(
        "--overlap",
        "P",
        "Share of a tile that the next one shows again, 0 to 0.9 (default: 0.125)."
    );

    readonly Option<int?> maxTiles = CommonOptions.Number<int>(
        "--max-tiles",
        "N",
        "Refuse to look at more tiles (default: 256)."
    );

    readonly Option<bool> background = new("--background")
    {
        Description = "Ask about empty tiles, too; else those of nearly one colour are skipped.",
    };

    readonly Option<bool> json = new("--json") { Description = "Print tiles, answers and positions as JSON." };

    readonly Option<string?> geoJson = new("--geojson")
    {
        Description = "Write tiles and what was found as GeoJSON, which QuPath imports.",
        HelpName = "FILE",
    };

    readonly Option<string?> overlay = new("--overlay")
    {
        Description = "Write a PNG of the whole with what was found drawn on it.",
        HelpName = "FILE",
    };

    public static Command Create()
    {
        ScanCommand scan = new();
        Command command = new(
            "scan",
            "Answer a question about a picture too large to be seen at once: tile by tile, then for the whole."
        );
        scan.common.AddModelTo(command);
        command.Arguments.Add(scan.file);
        command.Arguments.Add(scan.question);
        foreach (
            Option option in (Option[])
                [
                    scan.tileTokens,
                    scan.downsample,
                    scan.microns,
                    scan.overlap,
                    scan.maxTiles,
                    scan.background,
                    scan.json,
                    scan.geoJson,
                    scan.overlay,
                ]
        )
        {
            command.Options.Add(option);
        }

        scan.common.AddGenerationTo(command);
        command.SetAction(
            (parsed, cancellation) =>
                // On another thread: so Ctrl+C also ends, after some seconds of grace, what does not look at the token.
                Task.Run(() => Terminal.Guard(() => scan.Run(parsed, cancellation)), CancellationToken.None)
        );
        return command;
    }

    int Run(ParseResult parsed, CancellationToken cancellation)
    {
        string path = CommonOptions.PictureFile(parsed.GetRequiredValue(file));
        PixelLimits limits = common.Limits(parsed);
        string text = parsed.GetRequiredValue(question);
        if (string.IsNullOrWhiteSpace(text))
        {
            throw new UsageException("QUESTION is empty.");
        }

        double share = Within(parsed, overlap, 0, 0.9) ?? 0.125;
        int most = (int)(Within(parsed, maxTiles, 1, 1_000_000) ?? 256);
        using LargeImage image = LargeImage.Open(path);
        double scale = Scale(parsed, image);
        string? features = CommonOptions.Output(parsed, geoJson, path);
        string? drawing = CommonOptions.Output(parsed, overlay, path);

        using ProgressLine progress = new();
        using ChatModel chat = common.Load(parsed, progress);
        using Conversation conversation = new(chat, common.ContextTokens(parsed, chat));
        int tokens = (int)(
            Within(parsed, tileTokens, 1, conversation.ContextTokens)
            ?? Math.Min(DefaultTileTokens, conversation.ContextTokens / 2)
        );
        ConversationTileModel model = new(
            chat,
            conversation,
            common.Sampling(parsed, chat),
            parsed.GetValue(common.System)
        );
        ScanOptions options = new()
        {
            Question = text,
            TileSide = TileSize.Largest(chat.Model.Info.Processor, limits, tokens).Side,
            Downsample = scale,
            Overlap = share,
            MaxTiles = most,
            Background = parsed.GetValue(background) ? null : new(),
            Limits = limits,
        };
        ScanResult result = SlideScan.Run(image, options, model, p => Report(progress, p), cancellation);
        progress.Clear();
        Print(result, parsed.GetValue(json));
        if (features is not null)
        {
            using FileStream stream = File.Create(features);
            result.WriteGeoJson(stream);
        }

        if (drawing is not null)
        {
            File.WriteAllBytes(drawing, ImageEncoder.Png(result.Draw(image.ReadOverview(OverlaySide, cancellation))));
        }

        return 0;
    }

    static void Print(ScanResult result, bool asJson)
    {
        if (asJson)
        {
            using Stream output = Console.OpenStandardOutput();
            result.WriteJson(output);
            output.Write("\n"u8);
        }
        else if (result.Answer is null)
        {
            Terminal.WriteNote(
                $"{result.Name} is nothing but background: none of its {result.Tiles.Count} tiles was asked about (--background asks)."
            );
        }
        else
        {
            Console.Out.WriteLine(result.Answer);
            if (result.Finish is { } finish and not FinishReason.Stop)
            {
                Terminal.WriteNote(AskCommand.Explain(finish));
            }
        }
    }

    double Scale(ParseResult parsed, LargeImage image)
    {
        if (Within(parsed, microns, 1e-6, 1e6) is not { } wanted)
        {
            return Within(parsed, downsample, 1, int.MaxValue) ?? 1;
        }

        if (parsed.GetValue(downsample) is not null)
        {
            throw new UsageException("--mpp and --downsample both set the scale, give one of them.");
        }

        return image.MicronsPerPixel is not { } own
                ? throw new UsageException(
                    $"--mpp needs a file that tells its scale, {image.Name} does not; give --downsample."
                )
            : wanted < own
                ? throw new UsageException($"--mpp is {wanted}, {image.Name} has only {own} micrometres to a pixel.")
            : wanted / own;
    }

    static double? Within<T>(ParseResult parsed, Option<T?> option, double least, double most)
        where T : struct, IConvertible
    {
        double? value = parsed.GetValue(option)?.ToDouble(null);
        return value is null || (value >= least && value <= most)
            ? value
            : throw new UsageException($"{option.Name} is {value}, expected {least} .. {most}.");
    }

    static void Report(ProgressLine progress, ScanProgress at)
    {
        switch (at.Step)
        {
            case ScanStep.Tile:
                progress.Report("Looking at tiles", $"{at.Done + 1} of {at.Total}");
                break;
            case ScanStep.TileDone:
                if (at.Tile is { Answer: not null } tile)
                {
                    progress.Clear();
                    Terminal.WriteNote($"{tile.Tile.Position}: {tile.AnswerInPicture}");
                }

                break;
            default:
                progress.Report("Merging the answers", $"prompt {at.Done + 1}");
                break;
        }
    }
}
