using System.Text.Json;
using VlmSharp.Testing;
using Xunit;

namespace VlmSharp.Hosting.Tests;

public sealed class DataTests
{
    static readonly string Root = Goldens.Local("data");

    [Fact]
    public void A_check_says_what_is_wrong_with_which_line_and_goes_on()
    {
        string broken = Path.Combine(Root, "ms-swift", "broken.jsonl");
        string valid = Path.Combine(Root, "ms-swift", "valid.jsonl");
        VlmProcess.Result result = VlmProcess.Run("data", "check", broken, valid, "--images-root", Root);
        Assert.Equal(1, result.ExitCode);
        Assert.Contains($"{broken}:5: role: field 'messages[1].role' is 'narrator', expected system", result.Output);
        Assert.Contains($"{broken}:23: image-count: ", result.Output);
        Assert.Contains($"{broken}: ms-swift, 23 samples, 16 broken;", result.Output);
        Assert.Contains($"{valid}:10: video-missing (warning): ", result.Output);
        Assert.Contains($"{valid}: ms-swift, 11 samples, 0 broken;", result.Output);
        Assert.Equal(0, VlmProcess.Run("data", "check", valid, "--images-root", Root).ExitCode);
    }

    [Fact]
    public void The_same_as_json()
    {
        string file = Path.Combine(Root, "llava", "broken.json");
        VlmProcess.Result result = VlmProcess.Run(
            "data",
            "check",
            file,
            "--format",
            "llava",
            "--images-root",
            Root,
            "--json"
        );
        Assert.Equal(1, result.ExitCode);
        JsonElement report = JsonElement.Parse(result.Output).GetProperty("files")[0];
        Assert.Equal("llava", report.GetProperty("format").GetString());
        Assert.Equal(7, report.GetProperty("broken").GetInt32());
        Assert.Equal(2, report.GetProperty("reasons").GetProperty("image-count").GetInt32());
        Assert.Equal(
            [2, 15, 19, 36, 49, 62, 66],
            report.GetProperty("findings").EnumerateArray().Select(finding => finding.GetProperty("line").GetInt32())
        );
    }

    [Fact]
    public void Wrong_arguments_are_refused_by_name()
    {
        string file = Path.Combine(Root, "llava", "valid.json");
        foreach (
            (string[] arguments, string message) in ((string[], string)[])
                [
                    (["data", "check", file, "--format", "coco"], "--format is coco, expected one of ms-swift"),
                    (["data", "check", file, "--images-root", "/nowhere"], "--images-root is /nowhere"),
                    (["data", "check", "nowhere.json"], "nowhere.json: does not exist"),
                    (["data", "check"], "FILE"),
                ]
        )
        {
            VlmProcess.Result result = VlmProcess.Run(arguments);
            Assert.Equal(1, result.ExitCode);
            Assert.Contains(message, result.Error);
        }
    }
}
