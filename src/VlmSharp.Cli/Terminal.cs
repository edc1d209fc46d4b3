using System.Diagnostics;
using Spectre.Console;
using VlmSharp.Chat;
using VlmSharp.Engine;
using VlmSharp.Formats;
using VlmSharp.Kernels;
using VlmSharp.Media.Images;
using VlmSharp.Text.Templates;
using VlmSharp.Vision;

namespace VlmSharp.Cli;

/// <summary>What people see besides the answer: progress and errors, all on standard error.</summary>
static class Terminal
{
    // Nothing here is laid out in columns that a narrow terminal could break: it wraps long lines itself.
    const int Unwrapped = 1 << 16;

    /// <summary>Standard error. In a file or a pipe there are no control codes.</summary>
    public static IAnsiConsole Error { get; } = Create(Console.Error, Console.IsErrorRedirected, wrapped: false);

    /// <summary>Standard output, for tables and reports. In a file or a pipe there are no control codes and no line breaks.</summary>
    public static IAnsiConsole Out { get; } =
        Create(Console.Out, Console.IsOutputRedirected, wrapped: !Console.IsOutputRedirected);

    static IAnsiConsole Create(TextWriter writer, bool redirected, bool wrapped)
    {
        IAnsiConsole console = AnsiConsole.Create(
            new AnsiConsoleSettings
            {
                Out = new AnsiConsoleOutput(writer),
                Ansi = redirected ? AnsiSupport.No : AnsiSupport.Detect,
            }
        );
        console.Profile.Width = wrapped ? console.Profile.Width : Unwrapped;
        return console;
    }

    /// <summary>Whether this is an error that a user can mend: its message says how, a stack trace would only hide it.</summary>
    public static bool CanBeMended(Exception e) =>
        e
            is CheckpointException
                or TemplateException
                or PromptException
                or MediaException
                or VisionException
                or CacheFullException
                or IOException
                or UnauthorizedAccessException
                or UsageException;

    /// <summary>An error, on one line.</summary>
    public static void WriteError(string message) => Error.MarkupLineInterpolated($"[red]error:[/] {OneLine(message)}");

    /// <summary>Something to know besides the answer, on one line.</summary>
    public static void WriteNote(string message) => Error.MarkupLineInterpolated($"[grey]{OneLine(message)}[/]");

    /// <summary>A line of a report that quotes what files say, on standard output.</summary>
    public static void WriteFinding(string message) => Console.Out.WriteLine(OneLine(message));

    /// <summary>Messages quote names and contents of files, which are not trusted: no line breaks, no control codes.</summary>
    static string OneLine(string text) =>
        string.Create(
            text.Length,
            text,
            (line, source) =>
            {
                for (int i = 0; i < line.Length; i++)
                {
                    line[i] = char.IsControl(source[i]) ? ' ' : source[i];
                }
            }
        );

    /// <summary>Runs a command; what a user can mend becomes one line on standard error and exit code 1.</summary>
    public static int Guard(Func<int> command)
    {
        try
        {
            CheckKernels();
            return command();
        }
        catch (OperationCanceledException)
        {
            WriteNote("(cancelled)");
            return 130; // as after Ctrl+C
        }
        catch (Exception e) when (CanBeMended(e))
        {
            WriteError(e.Message);
            return 1;
        }
    }

    /// <summary>The kernels read their environment variable at their first use; a mistake in it should not wait for that.</summary>
    static void CheckKernels()
    {
        try
        {
            _ = KernelTables.All[0].ActiveName;
        }
        catch (InvalidOperationException e)
        {
            throw new UsageException(e.Message);
        }
    }
}

/// <summary>Options that do not fit together or are out of range.</summary>
sealed class UsageException(string message) : Exception(message);

/// <summary>One line of progress, shown for whatever takes more than a second; only on a terminal, because a log has no line to replace.</summary>
sealed class ProgressLine : IDisposable
{
    static readonly TimeSpan Patience = TimeSpan.FromSeconds(1);
    static readonly TimeSpan Interval = TimeSpan.FromMilliseconds(200);

    readonly bool live = Terminal.Error.Profile.Capabilities.Ansi && !Console.IsErrorRedirected;
    readonly Stopwatch sinceStart = Stopwatch.StartNew();
    readonly Lock gate = new(); // reports come from the working thread, the line is written by the timer's
    readonly Timer? timer;
    string? activity;
    string amount = "";
    bool shown;

    public ProgressLine() => timer = live ? new Timer(_ => Show(), null, Interval, Interval) : null;

    /// <summary>Says what is going on until the next report; a step that reports nothing more still shows its time.</summary>
    /// <param name="what">The step.</param>
    /// <param name="howMuch">How far it is.</param>
    public void Report(string what, string howMuch = "")
    {
        lock (gate)
        {
            (activity, amount) = (what, howMuch);
        }
    }

    void Show()
    {
        lock (gate)
        {
            if (activity is null || sinceStart.Elapsed < Patience)
            {
                return;
            }

            Console.Error.Write($"\r\e[2K{activity} {amount} ({sinceStart.Elapsed.TotalSeconds:f0} s)");
            shown = true;
        }
    }

    /// <summary>Takes the line away; whatever comes next has a second of patience again.</summary>
    public void Clear()
    {
        lock (gate)
        {
            if (shown)
            {
                Console.Error.Write("\r\e[2K");
            }

            (activity, shown) = (null, false);
            sinceStart.Restart();
        }
    }

    public void Dispose()
    {
        timer?.Dispose();
        Clear();
    }
}
