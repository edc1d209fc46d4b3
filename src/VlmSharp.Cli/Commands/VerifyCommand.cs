using System.CommandLine;
using Spectre.Console;
using VlmSharp.Verification;

namespace VlmSharp.Cli.Commands;

/// <summary><c>vlm verify</c>: the user's own proof that this build is exact on this machine.</summary>
static class VerifyCommand
{
    public static Command Create()
    {
        Argument<DirectoryInfo> directory = CommonOptions.Directory(
            "CASE_DIR",
            "A golden case: case.json, checkpoint, media, expected tensors."
        );
        CommonOptions common = new();
        Option<bool> quiet = new("--quiet") { Description = "Only what failed, and the last line." };
        Command command = new(
            "verify",
            "Compare this build, stage by stage, with what the reference implementation computed. Exit code 1 when out of tolerance."
        )
        {
            directory,
            common.Threads,
            quiet,
        };
        command.SetAction(parsed =>
            Terminal.Guard(() =>
                Run(parsed.GetRequiredValue(directory), common.ThreadCount(parsed), parsed.GetValue(quiet))
            )
        );
        return command;
    }

    static int Run(DirectoryInfo directory, int? threads, bool quiet)
    {
        using ProgressLine progress = new();
        CaseReport report = CaseVerifier.Run(directory.FullName, threads, id => progress.Report("Verifying", id));
        progress.Clear();

        int width = report.Checks.Select(c => c.Name.Length).DefaultIfEmpty(0).Max();
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
                    double.IsNaN(check.MaxAbsolute) && (check.Passed || check.Detail.Length > 0)
                        ? ""
                        : $"max abs {check.MaxAbsolute:0.00e+00}  max rel {check.MaxRelative:0.00e+00}  ";

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
        int requests = report.Checks.Where(c => c.Name == "answer.ids").DistinctBy(c => c.Request).Count();
        int stages = report.Checks.Where(c => c.Name == "step_logits").DistinctBy(c => c.Request).Count();
        int answers = report.Checks.Count(c => c.Name == "answer.ids");
        int equal = report.Checks.Count(c => c.Name == "answer.ids" && c.Passed);
        Console.Out.WriteLine(
            $"{(report.Passed ? "PASSED" : "FAILED")}: {report.Checks.Count - failed} of {report.Checks.Count} checks, "
                + $"{equal} of {answers} answers equal, {stages} of {requests} requests have tensors, largest relative error {worst:0.00e+00} (allowed {report.Tolerance:0e+00})"
        );
        return report.Passed ? 0 : 1;
    }
}
