using System.CommandLine;
using Spectre.Console;
using VlmSharp.Verification;

namespace VlmSharp.Cli.Commands;

/// <summary><c>vlm verify</c>: the user's own proof that this build is exact on this machine.</summary>
static class VerifyCommand
{
    public static Command Create()
    {
        Argument<DirectoryInfo> directory = new("CASE_DIR")
        {
            Description = "A golden case: case.json, checkpoint, media, expected tensors.",
        };
        Option<int?> threads = new("--threads") { Description = "Threads to compute on.", HelpName = "N" };
        Option<bool> quiet = new("--quiet") { Description = "Only what failed, and the last line." };
        Command command = new(
            "verify",
            "Compare this build, stage by stage, with what the reference implementation computed. Exit code 1 when out of tolerance."
        )
        {
            directory,
            threads,
            quiet,
        };
        command.SetAction(parsed =>
            Terminal.Guard(() =>
                Run(parsed.GetRequiredValue(directory), parsed.GetValue(threads), parsed.GetValue(quiet))
            )
        );
        return command;
    }

    static int Run(DirectoryInfo directory, int? threads, bool quiet)
    {
        using ProgressLine progress = new();
        CaseReport report = CaseVerifier.Run(directory.FullName, threads, id => progress.Report("Verifying", id));
        progress.Clear();

        int width = report.Checks.Max(c => c.Name.Length);
        foreach (IGrouping<string, Check> request in report.Checks.GroupBy(c => c.Request))
        {
            Check[] shown = [.. request.Where(c => !quiet || !c.Passed)];
            if (shown.Length == 0)
            {
                continue;
            }

            Console.Out.WriteLine(request.Key);
            foreach (Check check in shown)
            {
                string numbers =
                    double.IsNaN(check.MaxAbsolute) && check.Passed
                        ? ""
                        : $"max abs {check.MaxAbsolute:e2}  max rel {check.MaxRelative:e2}  ";
                if (double.IsNaN(check.MaxAbsolute) && check.Detail.Length > 0)
                {
                    numbers = "";
                }

                Console.Out.WriteLine(
                    $"  {(check.Passed ? "ok  " : "FAIL")} {check.Name.PadRight(width)}  {numbers}{check.Detail}".TrimEnd()
                );
            }
        }

        int failed = report.Checks.Count(c => !c.Passed);
        double worst = report
            .Checks.Where(c => !double.IsNaN(c.MaxRelative) && !c.Name.StartsWith("pixel_values"))
            .Select(c => c.MaxRelative)
            .DefaultIfEmpty(0)
            .Max();
        int answers = report.Checks.Count(c => c.Name == "answer.ids");
        int equal = report.Checks.Count(c => c.Name == "answer.ids" && c.Passed);
        Console.Out.WriteLine(
            $"{(report.Passed ? "PASSED" : "FAILED")}: {report.Checks.Count - failed} of {report.Checks.Count} checks, "
                + $"{equal} of {answers} answers equal, largest relative error {worst:e2} (allowed {report.Tolerance:e0})"
        );
        return report.Passed ? 0 : 1;
    }
}
