using System.CommandLine;
using System.Diagnostics;
using System.Globalization;
using System.Runtime.InteropServices;
using Spectre.Console;
using VlmSharp.Datasets;
using VlmSharp.Kernels;
using VlmSharp.Training.Recipes;

namespace VlmSharp.Cli.Commands;

/// <summary><c>vlm train</c>: trains a model as a recipe says.</summary>
sealed class TrainCommand
{
    readonly Argument<FileInfo> recipe = new("RECIPE")
    {
        Description = "A recipe: JSON with comments, see recipes/. Paths in it are relative to the current directory.",
    };

    readonly Option<bool> resume = new("--resume")
    {
        Description = "Go on from the newest checkpoint of the recipe's output; begin where there is none.",
    };

    readonly Option<int?> steps = CommonOptions.Number<int>(
        "--steps",
        "N",
        "Do N updates and stop; the recipe's schedule stays as it is (default: until the recipe is done)."
    );

    readonly Option<string[]> set = new("--set")
    {
        Description =
            "Replace a field of the recipe: rates.vision=1e-5, data.0.source=FILE, freeze=[\"vision\"]; may be repeated.",
        HelpName = "FIELD=VALUE",
    };

    readonly CommonOptions common = new();

    public static Command Create()
    {
        TrainCommand train = new();
        Command command = new(
            "train",
            "Train a model as a recipe says; after any end, --resume computes what an undisturbed run would have."
        );
        command.Arguments.Add(train.recipe);
        foreach (Option option in (Option[])[train.resume, train.steps, train.set, train.common.Threads])
        {
            command.Options.Add(option);
        }

        command.SetAction(parsed => Terminal.Guard(() => train.Run(parsed)));
        return command;
    }

    int Run(ParseResult parsed)
    {
        int? most = parsed.GetValue(steps);
        if (most is < 1)
        {
            throw new UsageException($"--steps is {most}, expected at least 1.");
        }

        TrainingRecipe found = RecipeReader.Open(
            parsed.GetRequiredValue(recipe).FullName,
            [.. (parsed.GetValue(set) ?? []).Select(Change)]
        );
        return Train(found, common.ThreadCount(parsed), parsed.GetValue(resume), most);
    }

    /// <summary>Trains until a recipe is done, or somebody ends it.</summary>
    /// <param name="recipe">What to do.</param>
    /// <param name="threads">As the user wants; null for what the recipe says.</param>
    /// <param name="resume">Whether a run goes on.</param>
    /// <param name="most">Updates to do now.</param>
    /// <returns>The exit code.</returns>
    public static int Train(TrainingRecipe recipe, int? threads, bool resume, int? most)
    {
        using WorkerPool pool = new(threads ?? recipe.Threads ?? Environment.ProcessorCount);
        using CancellationTokenSource cancellation = new();
        using Interruption interruption = new(cancellation);
        using Host host = new();
        TrainingRun run = new(recipe, host);
        bool done = run.Run(pool, resume, most, cancellation.Token);
        host.End();
        string what = recipe.Lora is null ? "model" : "adapter";
        Terminal.Out.WriteLine(
            done
                ? $"{recipe.Output} holds the trained {what}; {run.Report} shows how it went"
                : $"{recipe.Output} holds the {what} as it is after {host.Updates} updates; --resume goes on"
        );
        return cancellation.IsCancellationRequested ? 130 : 0;
    }

    static (string, string) Change(string text)
    {
        int sign = text.IndexOf('=');
        return sign > 0
            ? (text[..sign], text[(sign + 1)..])
            : throw new UsageException($"--set is '{text}', expected FIELD=VALUE.");
    }

    /// <summary>The first Ctrl+C or termination ends the run with a checkpoint; a second one ends the program at once.</summary>
    sealed class Interruption : IDisposable
    {
        readonly PosixSignalRegistration[] signals;

        public Interruption(CancellationTokenSource cancellation) =>
            signals = [
                .. ((PosixSignal[])[PosixSignal.SIGINT, PosixSignal.SIGTERM]).Select(signal =>
                    PosixSignalRegistration.Create(
                        signal,
                        context =>
                        {
                            context.Cancel = !cancellation.IsCancellationRequested;
                            cancellation.Cancel();
                        }
                    )
                ),
            ];

        public void Dispose() => Array.ForEach(signals, signal => signal.Dispose());
    }

    /// <summary>Opens sources, and shows what goes on: one line that changes on a terminal, elsewhere a line now and then.</summary>
    sealed class Host : ITrainingHost, IDisposable
    {
        static readonly TimeSpan Interval = TimeSpan.FromSeconds(5);

        readonly bool live = !Console.IsErrorRedirected && Terminal.Error.Profile.Capabilities.Ansi;
        readonly ProgressLine progress = new();
        readonly Stopwatch watch = Stopwatch.StartNew();
        readonly ExampleSources sources = new();
        TimeSpan shown = -Interval;
        string last = "";
        double seconds;
        long tokens;
        double? begun; // share of the run that was done after the first update here, which is not counted: much is computed for the first time

        public int Updates { get; private set; }

        public IExampleSource Open(string source) => sources.Open(source);

        public void Loading(double share) => progress.Report("Loading", $"{share:P0}");

        public void Stepped(StepReport step, TrainingLoop loop)
        {
            Updates = step.Update;
            bool first = begun is null;
            begun ??= loop.Done;
            seconds += first ? 0 : step.Seconds;
            tokens += first ? 0 : step.Tokens;
            double share = loop.Done - begun.Value;
            string left = first
                ? ""
                : $"  left {TimeSpan.FromSeconds(Math.Min(1e9, seconds / share * (1 - loop.Done))):d\\.hh\\:mm\\:ss}";
            double speed = first ? step.Tokens / step.Seconds : tokens / seconds;
            string of = loop.TotalUpdates is { } total ? $"/{total}" : $" ({loop.Done:P1})";
            string level = step.LevelName.Length > 0 ? $", {step.LevelName} {step.Smoothed:f3}" : "";
            last = string.Create(
                CultureInfo.InvariantCulture,
                $"update {step.Update}{of}  loss {step.Loss:f4}{level}  norm {step.Norm:g3}  {speed:f0} tokens/s{left}"
            );
            if (live)
            {
                progress.Report("Training", last);
            }
            else if (watch.Elapsed - shown >= Interval)
            {
                Show(last);
            }
        }

        void Show(string line)
        {
            shown = watch.Elapsed;
            last = "";
            Terminal.WriteNote(line);
        }

        public void Evaluated(int update, double loss)
        {
            progress.Clear();
            Terminal.WriteNote(
                string.Create(CultureInfo.InvariantCulture, $"update {update}  held-out loss {loss:f4}")
            );
        }

        public void Noted(string text)
        {
            progress.Clear();
            Terminal.WriteNote(text);
        }

        /// <summary>Shows the last update where it was not shown.</summary>
        public void End()
        {
            progress.Clear();
            if (last.Length > 0)
            {
                Show(last);
            }
        }

        public void Dispose()
        {
            progress.Dispose();
            sources.Dispose();
        }
    }
}
