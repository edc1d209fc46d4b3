using System.Globalization;
using System.Text.Json;
using Spectre.Console;
using VlmSharp.Cli.Commands;
using VlmSharp.Formats;
using VlmSharp.Kernels;
using VlmSharp.Models;
using VlmSharp.Training;
using VlmSharp.Training.Recipes;

namespace VlmSharp.Cli.Bench;

/// <summary>Runs a <see cref="TrainingTest"/> and shows what it found.</summary>
static class TrainingOutput
{
    /// <summary>Measures updates in f32, and in bf16 where the machine has products of it.</summary>
    public static void Run(string name, string directory, int threads, int runs, bool json, ProgressLine progress)
    {
        using WorkerPool pool = new(threads);
        using Checkpoint checkpoint = Checkpoint.Open(directory);
        TrainableModel model = TrainableModel.Load(
            checkpoint,
            pool,
            new CommonOptions.Progress(share => progress.Report("Loading", $"{share:P0}"))
        );
        ModelInfo info = model.Model.Info;
        using TrainingTest test = new(model, pool, runs);
        List<TrainingResult> results = [];
        TrainingPrecision[] precisions = MatMul.RoundsToBF16
            ? [TrainingPrecision.F32, TrainingPrecision.BF16]
            : [TrainingPrecision.F32];
        progress.Report("Measuring", "a large product");
        (double rate, double processorRate) = test.Product();
        foreach (TrainingPrecision precision in precisions)
        {
            progress.Report("Measuring", $"updates in {Name(precision)}");
            results.Add(test.Run(precision));
        }

        progress.Clear();
        long parameters = info.TextParameters + info.VisionParameters;
        if (json)
        {
            WriteJson(name, parameters, results, rate, processorRate);
        }
        else
        {
            WriteTable(name, parameters, results, rate, processorRate);
        }
    }

    static string Name(TrainingPrecision precision) => precision.ToString().ToLowerInvariant();

    static void WriteTable(
        string name,
        long parameters,
        List<TrainingResult> results,
        double rate,
        double processorRate
    )
    {
        Table table = new Table().AddColumns(
            "",
            "threads",
            "s/update",
            "processor s",
            "tokens/s",
            "patches/s",
            "GFLOP/s (6NP)",
            "share of f32 product",
            "by processor time"
        );
        foreach (TrainingResult r in results)
        {
            table.AddRow(
                Name(r.Precision),
                Text(r.Threads),
                Text(Math.Round(r.Seconds, 3)),
                Text(Math.Round(r.ProcessorSeconds, 3)),
                Text(Math.Round(r.Tokens / r.Seconds)),
                Text(Math.Round(r.Patches / r.Seconds)),
                Text(Math.Round(r.Rate / 1e9, 1)),
                Text(Math.Round(r.Rate / rate, 2)),
                Text(Math.Round(r.ProcessorRate / processorRate, 2))
            );
        }

        Terminal.Out.Write(table);
        Terminal.Out.WriteLine(
            string.Create(
                CultureInfo.InvariantCulture,
                $"{name}, {parameters / 1e6:f2} million parameters; {BenchCommand.Machine()}"
            )
        );
        Terminal.Out.WriteLine(
            string.Create(
                CultureInfo.InvariantCulture,
                $"product of f32 matrices: {rate / 1e9:f0} GFLOP/s, {processorRate / 1e9:f0} by processor time"
            )
        );
    }

    static string Text(IFormattable number) => number.ToString(null, CultureInfo.InvariantCulture);

    static void WriteJson(string name, long parameters, List<TrainingResult> results, double rate, double processorRate)
    {
        using (Stream output = Console.OpenStandardOutput())
        using (Utf8JsonWriter writer = new(output, new() { Indented = true }))
        {
            writer.WriteStartObject();
            writer.WriteString("machine", BenchCommand.Machine());
            writer.WriteString("model", name);
            writer.WriteNumber("parameters", parameters);
            writer.WriteNumber("f32_product_gflops", Math.Round(rate / 1e9, 1));
            writer.WriteNumber("f32_product_gflops_by_processor_time", Math.Round(processorRate / 1e9, 1));
            writer.WriteStartArray("results");
            foreach (TrainingResult r in results)
            {
                writer.WriteStartObject();
                writer.WriteString("precision", Name(r.Precision));
                writer.WriteNumber("threads", r.Threads);
                writer.WriteNumber("seconds", Math.Round(r.Seconds, 4));
                writer.WriteNumber("processor_seconds", Math.Round(r.ProcessorSeconds, 4));
                writer.WriteNumber("tokens_per_second", Math.Round(r.Tokens / r.Seconds, 1));
                writer.WriteNumber("patches_per_second", Math.Round(r.Patches / r.Seconds, 1));
                writer.WriteNumber("gflops", Math.Round(r.Rate / 1e9, 2));
                writer.WriteNumber("share", Math.Round(r.Rate / rate, 4));
                writer.WriteNumber("share_by_processor_time", Math.Round(r.ProcessorRate / processorRate, 4));
                writer.WriteEndObject();
            }

            writer.WriteEndArray();
            writer.WriteEndObject();
        }

        Console.Out.WriteLine();
    }
}
