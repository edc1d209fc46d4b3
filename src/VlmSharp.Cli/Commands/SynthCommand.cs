using System.CommandLine;
using System.Diagnostics;
using System.Text;
using VlmSharp.Training.Synthesis;

namespace VlmSharp.Cli.Commands;

/// <summary><c>vlm synth</c>: pictures whose labels are known because they are drawn, with questions and answers.</summary>
sealed class SynthCommand
{
    const int SheetExamples = 500;

    readonly CommonOptions common = new();

    readonly Argument<string> recipe = new("RECIPE")
    {
        Description = "What is drawn and asked: a JSON file; recipes/synth has some, docs/synthesis.md the fields.",
    };

    readonly Option<long?> count = CommonOptions.Number<long>("--count", "N", "How many examples (default: 100).");

    readonly Option<ulong?> seed = CommonOptions.Number<ulong>(
        "--seed",
        "S",
        "Which ones: the same seed gives the same bytes (default: 0)."
    );

    readonly Option<string?> output = new("--out")
    {
        Description = "Write pictures, and conversations as ms-swift has them (data.jsonl), into this directory.",
        HelpName = "DIR",
    };

    readonly Option<string?> preview = new("--preview")
    {
        Description = $"Write a web page that shows the examples, at most the first {SheetExamples}.",
        HelpName = "FILE",
    };

    readonly Option<bool> heldOut = new("--held-out")
    {
        Description = "For evaluation: only fonts that are never learnt from.",
    };

    public static Command Create() => new SynthCommand().Build();

    Command Build()
    {
        Command command = new("synth", "Make training data: drawn pictures with questions and true answers.");
        command.Arguments.Add(recipe);
        foreach (Option option in (Option[])[count, seed, output, preview, heldOut, common.Threads])
        {
            command.Options.Add(option);
        }

        command.SetAction(parsed => Terminal.Guard(() => Run(parsed)));
        return command;
    }

    int Run(ParseResult parsed)
    {
        long wanted = parsed.GetValue(count) ?? 100;
        if (wanted is < 1 or > 100_000_000)
        {
            throw new UsageException($"--count is {wanted}, expected 1 .. 100000000.");
        }

        string path = CommonOptions.Named(parsed.GetRequiredValue(recipe));
        string? directory = parsed.GetValue(output) is { } given ? CommonOptions.Named(given) : null;
        string? page = CommonOptions.Output(parsed, preview, path);
        if (directory is null && page is null)
        {
            throw new UsageException("Nothing would be written: expected --out DIR, --preview FILE, or both.");
        }

        int threads = common.ThreadCount(parsed) ?? Environment.ProcessorCount;
        SyntheticSource source = new(SynthesisRecipe.Open(path), parsed.GetValue(seed) ?? 0, parsed.GetValue(heldOut));
        using ProgressLine progress = new();
        if (directory is not null)
        {
            Stopwatch watch = Stopwatch.StartNew();
            SwiftWriter.Write(
                source,
                wanted,
                directory,
                threads,
                new Written(done => progress.Report("Drawing", $"{done} of {wanted}"))
            );
            progress.Clear();
            Terminal.WriteNote(
                $"{wanted} examples in {directory}, {wanted / watch.Elapsed.TotalSeconds:f0} a second ({source.Name})"
            );
        }

        if (page is not null)
        {
            progress.Report("Making the page");
            File.WriteAllText(
                page,
                ContactSheet.Make(source, (int)Math.Min(wanted, SheetExamples), threads),
                Encoding.UTF8
            );
            progress.Clear();
        }

        return 0;
    }

    sealed class Written(Action<long> report) : IProgress<long>
    {
        public void Report(long value) => report(value);
    }
}
