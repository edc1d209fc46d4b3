using System.Diagnostics;
using Spectre.Console;
using VlmSharp.Engine;
using VlmSharp.Formats;
using VlmSharp.Media.Images;
using VlmSharp.Text.Templates;
using VlmSharp.Vision;

namespace VlmSharp.Cli;

/// <summary>What people see besides the answer: progress and errors, all on standard error.</summary>
static class Terminal
{
    /// <summary>Standard error.</summary>
    public static IAnsiConsole Error { get; } =
        AnsiConsole.Create(new AnsiConsoleSettings { Out = new AnsiConsoleOutput(Console.Error) });

    /// <summary>Standard output, for tables and reports.</summary>
    public static IAnsiConsole Out { get; } = AnsiConsole.Console;

    /// <summary>Runs a command; what a user can mend becomes one line on standard error and exit code 1.</summary>
    public static int Guard(Func<int> command)
    {
        try
        {
            return command();
        }
        catch (Exception e)
            when (e
                    is CheckpointException
                        or TemplateException
                        or MediaException
                        or VisionException
                        or CacheFullException
                        or IOException
                        or UnauthorizedAccessException
                        or UsageException
            )
        {
            Error.MarkupLineInterpolated($"[red]error:[/] {e.Message}");
            return 1;
        }
    }
}

/// <summary>Options that do not fit together or are out of range.</summary>
sealed class UsageException(string message) : Exception(message);

/// <summary>One line of progress, shown for whatever takes more than a second.</summary>
sealed class ProgressLine : IDisposable
{
    static readonly TimeSpan Patience = TimeSpan.FromSeconds(1);
    static readonly TimeSpan Interval = TimeSpan.FromMilliseconds(100);

    readonly Stopwatch sinceStart = Stopwatch.StartNew();
    readonly Stopwatch sinceShown = new();
    readonly bool live = Terminal.Error.Profile.Capabilities.Ansi && !Console.IsErrorRedirected;
    string announced = "";
    bool shown;

    /// <summary>Says what is going on.</summary>
    /// <param name="activity">Shown once where the output is not a terminal.</param>
    /// <param name="amount">How far it is; only shown on a terminal.</param>
    public void Report(string activity, string amount = "")
    {
        if (sinceStart.Elapsed < Patience || (sinceShown.IsRunning && sinceShown.Elapsed < Interval))
        {
            return;
        }

        sinceShown.Restart();
        if (live)
        {
            Console.Error.Write($"\r\e[2K{activity} {amount}");
            shown = true;
        }
        else if (activity != announced)
        {
            announced = activity;
            Console.Error.WriteLine($"{activity} ...");
        }
    }

    /// <summary>Takes the line away; whatever comes next has a second of patience again.</summary>
    public void Clear()
    {
        if (shown)
        {
            Console.Error.Write("\r\e[2K");
        }

        shown = false;
        sinceStart.Restart();
        sinceShown.Reset();
    }

    public void Dispose() => Clear();
}
