using System.CommandLine;
using System.Diagnostics;
using System.Globalization;
using System.Text.Json;
using Spectre.Console;
using VlmSharp.Cli.Bench;
using VlmSharp.Formats;
using VlmSharp.Kernels;
using VlmSharp.Models;
using VlmSharp.Tensors;
using VlmSharp.Training.Scratch;

namespace VlmSharp.Cli.Commands;

/// <summary><c>vlm bench</c>: speed of a model on this machine, beside what the machine can do.</summary>
sealed class BenchCommand
{
    static readonly string[] Parts = ["load", "prefill", "decode", "encode"];

    readonly CommonOptions common = new();

    readonly Option<DirectoryInfo?> model = new("--model")
    {
        Description = "A checkpoint directory in Hugging Face layout, or the language model of a pair of GGUF files.",
        HelpName = "DIR",
    };

    readonly Option<string?> shape = new("--shape")
    {
        Description =
            $"In place of --model: random bf16 weights in the shapes of {string.Join(", ", ModelShape.All.Select(s => s.Name))}; written to a temporary directory.",
        HelpName = "NAME",
    };

    readonly Option<DirectoryInfo?> write = new("--write")
    {
        Description =
            "With --shape: write the checkpoint to this new directory, with a made-up tokenizer, and measure nothing; vlm convert and vlm quantize take it.",
        HelpName = "DIR",
    };

    readonly Option<string?> only = new("--only")
    {
        Description = $"Measure one thing: {string.Join(", ", Parts)}.",
        HelpName = "PART",
    };

    readonly Option<int?> runs = CommonOptions.Number<int>(
        "--runs",
        "N",
        "Runs of which the median is taken (default: 3)."
    );

    readonly Option<bool> train = new("--train")
    {
        Description =
            $"Measure training instead: updates of {string.Join(" or ", ModelShape.Readers.Select(s => s.Name))} (--shape) or of --model, beside a large product of f32 matrices.",
    };

    readonly Option<bool> json = new("--json") { Description = "Print the results as JSON." };

    public static Command Create()
    {
        BenchCommand bench = new();
        Command command = new(
            "bench",
            "Measure loading, reading a prompt, answering and looking at pictures, beside the limits of this machine in the same run."
        );
        foreach (
            Option option in (Option[])
                [
                    bench.model,
                    bench.shape,
                    bench.write,
                    bench.only,
                    bench.runs,
                    bench.train,
                    bench.json,
                    bench.common.Quant,
                    bench.common.Threads,
                    bench.common.Exact,
                    bench.common.Cache,
                ]
        )
        {
            command.Options.Add(option);
        }

        command.SetAction(parsed => Terminal.Guard(() => bench.Run(parsed)));
        return command;
    }

    int Run(ParseResult parsed)
    {
        string? part = parsed.GetValue(only);
        if (part is not null && !Parts.Contains(part))
        {
            throw new UsageException($"--only is {part}, expected one of {string.Join(", ", Parts)}.");
        }

        if (parsed.GetValue(runs) is < 1 or > 1000)
        {
            throw new UsageException($"--runs is {parsed.GetValue(runs)}, expected 1 .. 1000.");
        }

        DirectoryInfo? given = parsed.GetValue(model);
        string? name = parsed.GetValue(shape);
        if (given is null == name is null)
        {
            throw new UsageException("bench needs either --model DIR or --shape NAME.");
        }

        string? kept = parsed.GetValue(write)?.FullName;
        if (kept is not null && name is null)
        {
            throw new UsageException("--write needs --shape: it writes random weights.");
        }

        int? threads = common.ThreadCount(parsed);
        using ProgressLine progress = new();
        using RandomCheckpoint? random = name is null ? null : Write(name, kept, progress);
        if (kept is not null)
        {
            progress.Clear();
            Terminal.Out.WriteLine($"{kept} holds random weights in the shape of {name}");
            return 0;
        }

        string directory = random?.Path ?? given!.FullName;
        if (parsed.GetValue(train))
        {
            TrainingOutput.Run(
                name ?? directory,
                directory,
                threads ?? Environment.ProcessorCount,
                parsed.GetValue(runs) ?? 5,
                parsed.GetValue(json),
                progress
            );
            return 0;
        }

        using WorkerPool pool = new(threads ?? Environment.ProcessorCount);
        using CpuOps ops = common.Operations(parsed, pool);
        using Checkpoint checkpoint = Checkpoint.Open(directory);
        if (common.Packing(parsed) is { } packing)
        {
            checkpoint.PackTo(packing);
        }

        SpeedTest.ForgetPeak();
        Stopwatch watch = Stopwatch.StartNew();
        using IVisionLanguageModel loaded = ModelRegistry.Load(
            checkpoint,
            pool,
            new CommonOptions.Progress(share => progress.Report("Loading", $"{share:P0}"))
        );
        TimeSpan load = watch.Elapsed;
        long peak = SpeedTest.Peak();

        SpeedTest test = new(
            loaded,
            checkpoint,
            ops,
            parsed.GetValue(runs) ?? 3,
            what => progress.Report("Measuring", what)
        );
        List<SpeedResult> results = [];
        if (part is null or "load")
        {
            results.Add(test.Load(load, peak));
        }

        if (part is null or "prefill")
        {
            results.AddRange(((int[])[128, 512, 2048]).Select(test.Prefill));
        }

        if (part is null or "decode")
        {
            results.AddRange(((int[])[0, 2048]).Select(depth => test.Decode(depth, tokens: 64)));
        }

        if (part is null or "encode")
        {
            results.AddRange(
                (((int, int)[])[(448, 448), (1024, 1024), (1920, 1080)]).Select(size =>
                    test.Encode(size.Item1, size.Item2)
                )
            );
        }

        progress.Report("Measuring", "limits of the machine");
        Limits limits = new(
            MachineLimits.Stream(pool),
            MachineLimits.MultiplyAdd(pool),
            MachineLimits.Bf16Dot(pool),
            MachineLimits.Int8Dot(pool)
        );
        progress.Clear();
        if (parsed.GetValue(json))
        {
            WriteJson(results, limits, name ?? directory, ops.CacheStorage);
        }
        else
        {
            WriteTable(results, limits, ops.CacheStorage);
        }

        return 0;
    }

    /// <summary>What the machine can do at best, all threads together.</summary>
    /// <param name="Stream">Bytes read per second.</param>
    /// <param name="MultiplyAdd">f32 operations per second.</param>
    /// <param name="Bf16Dot">bf16 operations per second; 0 where there are none.</param>
    /// <param name="Int8Dot">Operations on bytes per second; 0 where there are none.</param>
    sealed record Limits(double Stream, double MultiplyAdd, double Bf16Dot, double Int8Dot);

    static RandomCheckpoint Write(string name, string? directory, ProgressLine progress)
    {
        ModelShape found =
            ModelShape.All.FirstOrDefault(s => s.Name == name)
            ?? throw new UsageException(
                $"--shape is {name}, expected one of {string.Join(", ", ModelShape.All.Select(s => s.Name))}."
            );
        return new RandomCheckpoint(
            found,
            directory,
            share => progress.Report("Writing random weights", $"{share:P0}")
        );
    }

    static void WriteTable(List<SpeedResult> results, Limits limits, KvStorage cache)
    {
        Table table = new Table().AddColumns(
            "",
            "weights",
            "tokens",
            "depth",
            "threads",
            "seconds",
            "tokens/s",
            "limit",
            "share",
            "MB"
        );
        foreach (SpeedResult result in results)
        {
            table.AddRow(
                result.What,
                result.Weights,
                Text(result.Tokens),
                Text(result.Depth),
                Text(result.Threads),
                Text(Math.Round(result.Seconds, 3)),
                Text(Math.Round(result.TokensPerSecond, 2)),
                result.Limit ?? "",
                result.Share is { } share ? share.ToString("P0", CultureInfo.InvariantCulture) : "",
                Text(result.MemoryBytes >> 20)
            );
        }

        Terminal.Out.Write(table);
        Terminal.Out.WriteLine($"{Machine()}, cache {CommonOptions.Name(cache)}");
        Terminal.Out.WriteLine(
            string.Create(
                CultureInfo.InvariantCulture,
                $"limits: stream {limits.Stream / 1e9:f1} GB/s, fma {limits.MultiplyAdd / 1e9:f0} GFLOP/s, bf16dot {limits.Bf16Dot / 1e9:f0} GFLOP/s, int8dot {limits.Int8Dot / 1e9:f0} GOP/s"
            )
        );
    }

    static string Text(IFormattable number) => number.ToString(null, CultureInfo.InvariantCulture);

    static void WriteJson(List<SpeedResult> results, Limits limits, string model, KvStorage cache)
    {
        using (Stream output = Console.OpenStandardOutput())
        using (Utf8JsonWriter writer = new(output, new() { Indented = true }))
        {
            writer.WriteStartObject();
            writer.WriteString("machine", Machine());
            writer.WriteString("model", model);
            writer.WriteString("kv_cache", CommonOptions.Name(cache));
            writer.WriteStartObject("limits");
            writer.WriteNumber("stream_gb_per_second", Math.Round(limits.Stream / 1e9, 2));
            writer.WriteNumber("fma_gflops", Math.Round(limits.MultiplyAdd / 1e9, 1));
            writer.WriteNumber("bf16dot_gflops", Math.Round(limits.Bf16Dot / 1e9, 1));
            writer.WriteNumber("int8dot_gops", Math.Round(limits.Int8Dot / 1e9, 1));
            writer.WriteEndObject();
            writer.WriteStartArray("results");
            foreach (SpeedResult result in results)
            {
                writer.WriteStartObject();
                writer.WriteString("name", result.Name);
                writer.WriteString("weights", result.Weights);
                writer.WriteNumber("tokens", result.Tokens);
                writer.WriteNumber("depth", result.Depth);
                writer.WriteNumber("threads", result.Threads);
                if (result.Picture is { } picture)
                {
                    writer.WriteString("picture", picture);
                }

                writer.WriteNumber("seconds", Math.Round(result.Seconds, 4));
                writer.WriteNumber("tokens_per_second", Math.Round(result.TokensPerSecond, 3));
                if (result.Limit is not null)
                {
                    writer.WriteString("limit", result.Limit);
                    writer.WriteNumber("share", Math.Round(result.Share!.Value, 4));
                }

                writer.WriteNumber("memory_mb", result.MemoryBytes >> 20);
                writer.WriteEndObject();
            }

            writer.WriteEndArray();
            writer.WriteEndObject();
        }

        Console.Out.WriteLine();
    }

    /// <summary>Processor, threads of it, and which kernels run.</summary>
    internal static string Machine()
    {
        string processor = "unknown processor";
        if (File.Exists("/proc/cpuinfo"))
        {
            string? line = File.ReadLines("/proc/cpuinfo")
                .FirstOrDefault(l => l.StartsWith("model name", StringComparison.Ordinal));
            processor = line?[(line.IndexOf(':') + 1)..].Trim() ?? processor;
        }

        string matmul = KernelTables.All.First(t => t.Name == "matmul").ActiveName;
        return $"{processor}, {Environment.ProcessorCount} processors, .NET {Environment.Version}, kernels {matmul}";
    }
}
