using System.CommandLine;
using Spectre.Console;
using VlmSharp.Calibration;
using VlmSharp.Conversion;
using VlmSharp.Engine;
using VlmSharp.Formats;
using VlmSharp.Formats.Gguf;
using VlmSharp.Kernels;
using VlmSharp.Kernels.Quantized;

namespace VlmSharp.Cli.Commands;

/// <summary><c>vlm convert</c> and <c>vlm quantize</c>: a checkpoint as a pair of GGUF files, in types of the user's choice.</summary>
sealed class ConvertCommand
{
    readonly CommonOptions common = new();
    readonly bool quantizes;

    readonly Argument<FileInfo> target = new("TARGET")
    {
        Description =
            "The language model's file, NAME.gguf; tower and merger become mmproj-NAME.gguf beside it. Or a directory: a checkpoint for this program alone, with weights packed as they lie in memory, which loads fastest.",
    };

    readonly Option<string?> type = new("--type") { HelpName = "TYPE" };

    readonly Option<string?> vision = new("--vision")
    {
        Description =
            "The same for tower and merger (default: bf16; f32 or f16 where TYPE is; as it is in a GGUF file).",
        HelpName = "TYPE",
    };

    readonly Option<FileInfo?> importance = new("--importance")
    {
        Description =
            "What errors count in each column, as llama.cpp's imatrix writes it in GGUF (default: all the same).",
        HelpName = "FILE",
    };

    readonly Option<FileSystemInfo?> calibrate = Data(
        "--calibrate",
        "Weigh errors by what each column gets when the model runs over samples, and report what quantising did to its predictions: a file of examples as vlm data check reads them, or of lines {\"text\": ...}, or a directory of pictures and .txt files."
    );

    readonly Option<FileSystemInfo?> measure = Data(
        "--measure",
        "With --calibrate: other samples to report on (default: the same)."
    );

    readonly Option<FileInfo?> saveImportance = new("--save-importance")
    {
        Description = "With --calibrate: write the importance, for --importance and llama.cpp.",
        HelpName = "FILE",
    };

    readonly Option<int?> answers = CommonOptions.Number<int>(
        "--answer-tokens",
        "N",
        "With --calibrate: compare greedy answers of at most N tokens; 0 is none (default: 32)."
    );

    readonly Option<bool> json = new("--json") { Description = "With --calibrate: print the report as JSON." };

    ConvertCommand(bool quantizes)
    {
        this.quantizes = quantizes;
        type.Required = quantizes;
        type.Description = quantizes
            ? $"What to pack weights to: {Names(true)}."
            : $"What to store weights as: {Names(false)}, or a quantised type (default: as the checkpoint has them).";
    }

    public static Command Create() =>
        new ConvertCommand(quantizes: false).Build(
            "convert",
            "Write a checkpoint of the Qwen2-VL line as a pair of GGUF files, which llama.cpp and its relatives read too, or any checkpoint packed for this program."
        );

    public static Command CreateQuantize() =>
        new ConvertCommand(quantizes: true).Build(
            "quantize",
            "Write a checkpoint, or a pair of GGUF files, with weights of four to eight bits: as a pair of GGUF files, or packed for this program."
        );

    Command Build(string name, string description)
    {
        Command command = new(name, description);
        command.Arguments.Add(common.Model);
        command.Arguments.Add(target);
        foreach (
            Option option in (Option[])[type, vision, .. quantizes ? Quantizing : [], common.Projector, common.Threads]
        )
        {
            command.Options.Add(option);
        }

        command.SetAction(parsed => Terminal.Guard(() => Run(parsed)));
        return command;
    }

    Option[] Quantizing => [importance, calibrate, measure, saveImportance, answers, json];

    static Option<FileSystemInfo?> Data(string name, string description) =>
        new(name)
        {
            Description = description,
            HelpName = "DATA",
            CustomParser = result =>
            {
                if (result.Tokens[0].Value is { Length: > 0 } path)
                {
                    return Directory.Exists(path) ? new DirectoryInfo(path) : new FileInfo(path);
                }

                result.AddError($"{name} is empty, expected a file of JSON lines or a directory.");
                return null;
            },
        };

    int Run(ParseResult parsed)
    {
        Recipe? text = Find(parsed, type);
        Recipe? tower = Find(parsed, vision);
        if (quantizes && text is { IsQuantised: false })
        {
            throw new UsageException(
                $"--type is {text}, which is not quantised: expected {Names(true)}, or vlm convert."
            );
        }

        int threads = common.ThreadCount(parsed) ?? Environment.ProcessorCount;
        using ProgressLine progress = new();
        string path = parsed.GetRequiredValue(target).FullName;
        if (!path.EndsWith(".gguf", StringComparison.OrdinalIgnoreCase))
        {
            Pack(parsed, text, path, threads, progress);
            return 0;
        }

        if (Calibration(parsed, text, tower) is { } calibration)
        {
            CalibrationReport found = CalibratedExport.Write(
                parsed.GetRequiredValue(common.Model).FullName,
                parsed.GetValue(common.Projector)?.FullName,
                path,
                parsed.GetValue(calibrate)!.FullName,
                calibration,
                threads,
                (step, share) => progress.Report(step, $"{share:P0}")
            );
            progress.Clear();
            found.Export.Notes.ToList().ForEach(Terminal.WriteNote);
            if (parsed.GetValue(json))
            {
                CalibrationOutput.WriteJson(found);
                return 0;
            }

            Write(found.Export);
            CalibrationOutput.Write(found);
            return 0;
        }

        using Checkpoint checkpoint = Checkpoint.Open(
            parsed.GetRequiredValue(common.Model).FullName,
            parsed.GetValue(common.Projector)?.FullName
        );
        Importance? columns = parsed.GetValue(importance) is { } file ? Importance.Open(file.FullName) : null;
        using WorkerPool pool = new(threads);
        GgufExportReport report = GgufExport.Write(
            checkpoint,
            path,
            new GgufExportOptions(text ?? AsStored(checkpoint), tower, columns),
            pool,
            new CommonOptions.Progress(share => progress.Report("Writing", $"{share:P0}"))
        );
        progress.Clear();
        report.Notes.ToList().ForEach(Terminal.WriteNote);
        Write(report);
        return 0;
    }

    void Pack(ParseResult parsed, Recipe? text, string path, int threads, ProgressLine progress)
    {
        if (Path.GetExtension(path) is ".bin" or ".safetensors" or ".pt" or ".pth")
        {
            throw new UsageException($"{path} does not end in .gguf, and is no name for a directory.");
        }

        Option? gguf = Array.Find(
            (Option[])[vision, importance, calibrate, measure, saveImportance, answers, json],
            option => parsed.GetResult(option) is { Implicit: false }
        );
        if (gguf is not null)
        {
            throw new UsageException($"{gguf.Name} is for GGUF files: name a TARGET that ends in .gguf.");
        }

        using Checkpoint checkpoint = Checkpoint.Open(
            parsed.GetRequiredValue(common.Model).FullName,
            parsed.GetValue(common.Projector)?.FullName
        );
        if (text is { IsQuantised: false })
        {
            throw new UsageException(
                $"--type is {text}: a packed checkpoint keeps numbers as they are, or quantises them."
            );
        }

        if (text is not null)
        {
            checkpoint.PackTo(text);
        }

        using WorkerPool pool = new(threads);
        CommonOptions.Progress share = new(done => progress.Report("Packing", $"{done:P0}"));
        var written = PackedExport.Write(checkpoint, path, pool, share);
        progress.Clear();
        Table table = InspectCommand.NewTable();
        foreach ((WeightFormat format, int matrices, long bytes) in written)
        {
            InspectCommand.Row(table, $"{format}", $"{matrices:n0} matrices, {MemoryPlan.Size(bytes)}");
        }

        Terminal.Out.Write(table);
    }

    CalibrationOptions? Calibration(ParseResult parsed, Recipe? text, Recipe? tower)
    {
        if (parsed.GetValue(calibrate) is null)
        {
            Option? alone = Array.Find(
                (Option[])[measure, saveImportance, answers, json],
                option => parsed.GetResult(option) is { Implicit: false }
            );
            return alone is null
                ? null
                : throw new UsageException($"{alone.Name} says something about --calibrate, which is not there.");
        }

        return parsed.GetValue(importance) is not null
                ? throw new UsageException("--importance and --calibrate both say what errors count; choose one.")
            : parsed.GetValue(answers) is < 0 and var tokens
                ? throw new UsageException($"--answer-tokens is {tokens}, expected 0 or more.")
            : new CalibrationOptions(
                new GgufExportOptions(text!, tower),
                parsed.GetValue(answers) ?? 32,
                parsed.GetValue(saveImportance)?.FullName,
                parsed.GetValue(measure)?.FullName
            );
    }

    // What most of the weights are.
    static Recipe AsStored(Checkpoint checkpoint)
    {
        SafetensorsType stored = checkpoint
            .Tensors.GroupBy(tensor => tensor.Type)
            .MaxBy(kind => kind.Sum(tensor => tensor.Count))!
            .Key;
        return Recipe.Find(stored.ToString())
            ?? throw new CheckpointException(checkpoint.Directory, $"has weights in {stored}: name a type (--type)");
    }

    static Recipe? Find(ParseResult parsed, Option<string?> option) =>
        parsed.GetValue(option) is not { } name
            ? null
            : Recipe.Find(name)
                ?? throw new UsageException(
                    $"{option.Name} is {name}, expected one of {string.Join(", ", Recipe.All)}."
                );

    static string Names(bool quantised) =>
        string.Join(", ", Recipe.All.Where(recipe => recipe.IsQuantised == quantised));

    static void Write(GgufExportReport report)
    {
        Table table = InspectCommand.NewTable();
        foreach (var file in report.Types.GroupBy(line => line.File))
        {
            InspectCommand.Row(table, file.Key, MemoryPlan.Size(file.Sum(line => line.Bytes)));
            foreach ((_, GgmlType kind, int tensors, long values, long bytes) in file)
            {
                InspectCommand.Row(
                    table,
                    $"  {kind}",
                    $"{tensors:n0} tensors, {values:n0} values, {MemoryPlan.Size(bytes)}"
                );
            }
        }

        Terminal.Out.Write(table);
    }
}
