using System.Diagnostics;
using VlmSharp.Testing;

namespace VlmSharp.Hosting.Tests;

/// <summary>Runs the command as a user would: a process with arguments, standard input and an exit code.</summary>
static class VlmProcess
{
    public sealed record Result(int ExitCode, string Output, string Error);

    static readonly string Program = Path.Combine(
        Goldens.Repository,
        "src",
        "VlmSharp.Cli",
        "bin",
        new DirectoryInfo(AppContext.BaseDirectory).Parent!.Name, // Debug or Release, as these tests
        "net10.0",
        "vlm"
    );

    public static Result Run(params string[] arguments) => RunWithInput("", arguments);

    public static Result RunWithInput(string input, params string[] arguments) => RunWith([], input, arguments);

    /// <summary>A process that the caller ends; nobody reads what little it writes.</summary>
    public static Process Start(params string[] arguments) => Process.Start(Information(arguments))!;

    static ProcessStartInfo Information(string[] arguments) =>
        new(Program, arguments)
        {
            UseShellExecute = false,
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            StandardInputEncoding = new System.Text.UTF8Encoding(false),
        };

    public static Result RunWith(Dictionary<string, string> environment, string input, params string[] arguments)
    {
        ProcessStartInfo start = Information(arguments);
        foreach ((string name, string value) in environment)
        {
            start.Environment[name] = value;
        }

        using Process process = Process.Start(start)!;
        Task<string> output = process.StandardOutput.ReadToEndAsync();
        Task<string> error = process.StandardError.ReadToEndAsync();
        process.StandardInput.Write(input);
        process.StandardInput.Close();
        if (!process.WaitForExit(TimeSpan.FromMinutes(3)))
        {
            process.Kill(entireProcessTree: true);
            throw new TimeoutException($"vlm {string.Join(' ', arguments)} did not end.");
        }

        return new Result(process.ExitCode, output.Result, error.Result);
    }
}
