using System.CommandLine;
using System.Globalization;
using System.Text.Json;
using VlmSharp.Datasets;

namespace VlmSharp.Cli.Commands;

/// <summary><c>vlm data</c>: what there is to do with files of examples.</summary>
static class DataCommand
{
    public static Command Create() =>
        new("data", "Work with files of examples for training and evaluation.") { CreateCheck() };

    static Command CreateCheck()
    {
        Argument<string[]> files = new("FILE")
        {
            Description = "JSON lines or a JSON list, in one of the formats.",
            Arity = ArgumentArity.OneOrMore,
        };
        Option<string?> format = new("--format")
        {
            Description = $"{string.Join(", ", ExampleFormats.Names)} (default: told from the first samples).",
            HelpName = "F",
        };
        Option<DirectoryInfo?> root = new("--images-root")
        {
            Description = "What paths of pictures and films are relative to (default: the directory of the file).",
            HelpName = "DIR",
        };
        Option<bool> json = new("--json") { Description = "Print the findings as JSON." };
        Command command = new(
            "check",
            "Say what is wrong with which line: JSON, roles, places of media and boxes, files that are missing. Exit code 1 when a sample is broken."
        )
        {
            files,
            format,
            root,
            json,
        };
        command.SetAction(parsed =>
            Terminal.Guard(() =>
                Check(
                    parsed.GetRequiredValue(files),
                    Format(parsed.GetValue(format)),
                    parsed.GetValue(root),
                    parsed.GetValue(json)
                )
            )
        );
        return command;
    }

    static ExampleFormat? Format(string? name) =>
        name is null
            ? null
            : ExampleFormats.Find(name)
                ?? throw new UsageException(
                    $"--format is {name}, expected one of {string.Join(", ", ExampleFormats.Names)}"
                );

    static int Check(string[] files, ExampleFormat? format, DirectoryInfo? root, bool json)
    {
        if (root is { Exists: false })
        {
            throw new UsageException($"--images-root is {root}, which does not exist");
        }

        ExampleFileOptions options = new() { Format = format, MediaRoot = root?.FullName };
        int broken = 0;
        using Stream output = json ? Console.OpenStandardOutput() : Stream.Null;
        using Utf8JsonWriter writer = new(output, new() { Indented = true });
        writer.WriteStartObject();
        writer.WriteStartArray("files");
        foreach (string path in files)
        {
            using ExampleFile file = ExampleFile.Open(path, options);
            writer.WriteStartObject();
            writer.WriteString("file", path);
            writer.WriteString("format", file.Format.Name());
            writer.WriteStartArray("findings");
            ExampleStatistics statistics = ExampleCheck.Run(
                file,
                finding =>
                {
                    Write(writer, finding);
                    if (!json)
                    {
                        Terminal.WriteFinding(
                            $"{path}:{finding.Line}: {finding.Reason}{(finding.Broken ? "" : " (warning)")}: {finding.Message}"
                        );
                    }

                    writer.Flush();
                }
            );
            writer.WriteEndArray();
            Write(writer, statistics);
            writer.WriteEndObject();
            broken += statistics.Broken;
            if (!json)
            {
                Console.Out.WriteLine(Summary(path, file.Format, statistics));
            }
        }

        writer.WriteEndArray();
        writer.WriteEndObject();
        writer.Flush();
        if (json)
        {
            Console.Out.WriteLine();
        }

        return broken > 0 ? 1 : 0;
    }

    static void Write(Utf8JsonWriter writer, ExampleFinding finding)
    {
        writer.WriteStartObject();
        writer.WriteNumber("line", finding.Line);
        writer.WriteBoolean("broken", finding.Broken);
        writer.WriteString("reason", finding.Reason);
        writer.WriteString("message", finding.Message);
        writer.WriteEndObject();
    }

    static void Write(Utf8JsonWriter writer, ExampleStatistics statistics)
    {
        writer.WriteNumber("samples", statistics.Samples);
        writer.WriteNumber("broken", statistics.Broken);
        writer.WriteNumber("messages", statistics.Messages);
        writer.WriteNumber("answers", statistics.Answers);
        writer.WriteNumber("images", statistics.Pictures);
        writer.WriteNumber("videos", statistics.Films);
        writer.WriteNumber("boxes", statistics.Boxes);
        writer.WriteStartObject("reasons");
        foreach ((string reason, int count) in statistics.Reasons)
        {
            writer.WriteNumber(reason, count);
        }

        writer.WriteEndObject();
    }

    static string Summary(string path, ExampleFormat format, ExampleStatistics statistics)
    {
        string reasons = string.Concat(statistics.Reasons.Select(pair => $"\n  {pair.Key}: {pair.Value}"));
        return string.Create(
            CultureInfo.InvariantCulture,
            $"{path}: {format.Name()}, {statistics.Samples} samples, {statistics.Broken} broken; {statistics.Answers} answers, {statistics.Pictures} pictures, {statistics.Films} videos, {statistics.Boxes} boxes{reasons}"
        );
    }
}
