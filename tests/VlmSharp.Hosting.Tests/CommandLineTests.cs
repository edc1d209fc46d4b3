using System.Text.Json;
using VlmSharp.Testing;
using Xunit;

namespace VlmSharp.Hosting.Tests;

public sealed class CommandLineTests
{
    static readonly string Reader = Goldens.Local("reader-ref/checkpoint");

    static string Media(string name) => Goldens.Local($"reader-ref/media/{name}");

    [Fact]
    public void Ask_prints_the_answer_alone_on_standard_output()
    {
        VlmProcess.Result result = VlmProcess.Run("ask", Reader, "--image", Media("t028.png"), "Read the text.");
        Assert.Equal("450\n", result.Output);
        Assert.Equal("", result.Error);
        Assert.Equal(0, result.ExitCode);
    }

    [Fact]
    public void Ask_json_tells_tokens_times_sizes_and_grids()
    {
        VlmProcess.Result result = VlmProcess.Run(
            "ask",
            Reader,
            "--json",
            "--logprobs",
            "2",
            "--image",
            Media("t028.png"),
            "Read the text."
        );
        Assert.Equal(0, result.ExitCode);
        JsonElement json = JsonDocument.Parse(result.Output).RootElement;
        Assert.Equal("450", json.GetProperty("answer").GetString());
        Assert.Equal("stop", json.GetProperty("finish_reason").GetString());
        JsonElement medium = json.GetProperty("media")[0];
        int[] grid = [.. medium.GetProperty("grid_thw").EnumerateArray().Select(e => e.GetInt32())];
        Assert.Equal(medium.GetProperty("resized_size").GetProperty("width").GetInt32(), grid[2] * 14);
        Assert.Equal(medium.GetProperty("tokens").GetInt32(), grid[1] * grid[2] / 4);
        JsonElement tokens = json.GetProperty("tokens");
        Assert.Equal(tokens.GetProperty("answer").GetInt32(), json.GetProperty("logprobs").GetArrayLength());
        Assert.True(tokens.GetProperty("prompt").GetInt32() > medium.GetProperty("tokens").GetInt32());
        Assert.True(json.GetProperty("timings_ms").GetProperty("encode").GetDouble() > 0);
    }

    [Fact]
    public void Thoughts_are_shown_beside_the_answer_unless_they_are_hidden_or_forbidden()
    {
        using CheckpointCopy thinking = new(Goldens.Local("qwen2-vl/checkpoint"));
        thinking.Json("chat_template.json", json => json["chat_template"] = "{{ messages[0].content }}<think>\n");
        VlmProcess.Result Ask(params string[] more) =>
            VlmProcess.Run(["ask", thinking.Path, "Hi", "--max-tokens", "40", "--temperature", "0", .. more]);

        VlmProcess.Result shown = Ask("--think-budget", "12");
        VlmProcess.Result hidden = Ask("--think-budget", "12", "--hide-thinking");
        Assert.Equal(shown.Output, hidden.Output);
        Assert.NotEqual("\n", shown.Output);

        JsonElement json = JsonDocument.Parse(Ask("--think-budget", "12", "--json").Output).RootElement;
        Assert.Equal(shown.Output, json.GetProperty("answer").GetString() + "\n");
        string reasoning = json.GetProperty("reasoning").GetString()!;
        Assert.Contains(reasoning + "\n\n", shown.Error);
        Assert.DoesNotContain(reasoning, hidden.Error);
        json = JsonDocument.Parse(Ask("--think-budget", "0", "--json").Output).RootElement;
        Assert.False(json.TryGetProperty("reasoning", out _));
    }

    [Fact]
    public void Ask_takes_a_directory_of_frames_as_a_video()
    {
        VlmProcess.Result result = VlmProcess.Run(
            "ask",
            Goldens.Local("qwen2-vl/checkpoint"),
            "--json",
            "--max-tokens",
            "4",
            "--video",
            Goldens.Local("qwen2-vl/media/clip3-56x56"),
            "What happens?"
        );
        Assert.Equal("", result.Error);
        JsonElement medium = JsonDocument.Parse(result.Output).RootElement.GetProperty("media")[0];
        Assert.Equal("video", medium.GetProperty("kind").GetString());
        Assert.Equal(3, medium.GetProperty("frames").GetInt32());
        Assert.Equal(2, medium.GetProperty("grid_thw")[0].GetInt32()); // three frames: the last is repeated
    }

    [Fact]
    public void Ask_takes_a_picture_and_a_document_at_once_and_looks_for_boxes_in_neither()
    {
        string[] arguments =
        [
            "ask",
            Goldens.Local("qwen2-vl/checkpoint"),
            "--json",
            "--max-tokens",
            "4",
            "--image",
            Media("t028.png"),
            "What is it?",
        ];
        JsonElement one = JsonDocument.Parse(VlmProcess.Run(arguments).Output).RootElement;
        Assert.True(one.TryGetProperty("grounding", out _));
        VlmProcess.Result both = VlmProcess.Run([.. arguments, "--document", Media("t028.png")]);
        Assert.Equal(("", 0), (both.Error, both.ExitCode));
        JsonElement two = JsonDocument.Parse(both.Output).RootElement;
        Assert.Equal(2, two.GetProperty("media").GetArrayLength());
        Assert.False(two.TryGetProperty("grounding", out _));
    }

    [Theory]
    [InlineData("--media-tokens", "64")]
    [InlineData("--context", "128")]
    public void Pages_take_no_more_than_the_tokens_that_media_may_take(string option, string value)
    {
        using TemporaryDirectory directory = new();
        PdfBuilder pdf = new();
        for (int i = 0; i < 4; i++)
        {
            pdf.Page(PdfBuilder.Text("Hello", 20, 40), mediaBox: "0 0 600 800");
        }

        string file = directory.Write("a.pdf", pdf.Build(password: "secret"));
        string[] arguments =
        [
            "ask",
            Goldens.Local("qwen3-vl-tied-bf16/checkpoint"),
            "--json",
            "--max-tokens",
            "2",
            "--document",
            file,
            "Which page?",
        ];
        VlmProcess.Result locked = VlmProcess.Run(arguments);
        Assert.Equal(1, locked.ExitCode);
        Assert.Contains("encrypted and opens only with its password", locked.Error);

        JsonElement wide = JsonDocument
            .Parse(VlmProcess.Run([.. arguments, "--password", "secret"]).Output)
            .RootElement;
        VlmProcess.Result result = VlmProcess.Run([.. arguments, "--password", "secret", option, value]);
        Assert.Equal(("", 0), (result.Error, result.ExitCode));
        JsonElement narrow = JsonDocument.Parse(result.Output).RootElement;
        Assert.InRange(narrow.GetProperty("tokens").GetProperty("media").GetInt32(), 4, 64);
        Assert.True(wide.GetProperty("tokens").GetProperty("media").GetInt32() > 64);
    }

    [Fact]
    public void Chat_keeps_the_cache_between_turns()
    {
        VlmProcess.Result result = VlmProcess.RunWithInput(
            $"/image {Media("t028.png")}\nRead the text.\nRead the text.\n/nonsense\n/image missing.png\n/quit\n",
            "chat",
            Reader
        );
        Assert.Equal(0, result.ExitCode);
        Assert.StartsWith("450\n", result.Output);
        Assert.Contains("(0 cached)", result.Error);
        Assert.Matches(@"\([1-9]\d* cached\)", result.Error);
        Assert.Contains("unknown command", result.Error);
        Assert.Contains("missing.png", result.Error);
    }

    [Theory]
    [InlineData("html", "<section id=\"page-3\"", "</html>\n")]
    [InlineData("markdown", "<!-- page 3 -->", "\n")]
    [InlineData("json", "\"page\": 3", "}")]
    public void Parse_turns_pages_into_a_document_and_says_what_is_missing(string format, string expected, string end)
    {
        using TemporaryDirectory directory = new();
        PdfBuilder pdf = new();
        for (int i = 0; i < 3; i++)
        {
            pdf.Page("20 10 50 30 re f", mediaBox: "0 0 100 60"); // no text: fonts differ between machines
        }

        VlmProcess.Result result = VlmProcess.Run(
            "parse",
            directory.Write("a.pdf", pdf.Build()),
            "--model",
            Goldens.Local("qwen2-vl/checkpoint"),
            "--to",
            format,
            "--pages",
            "1,3",
            "--max-tokens",
            "8",
            "--temperature",
            "0"
        );
        // Random weights answer nothing sensible; the document around it is whole all the same.
        Assert.Equal(0, result.ExitCode);
        Assert.Contains(expected, result.Output);
        Assert.DoesNotContain("page 2", result.Output);
        Assert.EndsWith(end, result.Output);
        Assert.Contains("a.pdf, page 1: the answer was cut off at the limit on tokens (--max-tokens)", result.Error);
        Assert.Contains("a.pdf, page 3: ", result.Error);
    }

    [Fact]
    public void Parse_reads_a_picture_and_writes_to_a_file()
    {
        using TemporaryDirectory directory = new();
        string file = directory["page.md"];
        VlmProcess.Result result = VlmProcess.Run(
            "parse",
            Media("t028.png"),
            "--model",
            Reader,
            "--out",
            file,
            "--overlay",
            directory["boxes"]
        );
        Assert.Equal(("", 0), (result.Output, result.ExitCode));
        Assert.True(File.Exists(Path.Combine(directory["boxes"], "page-1.png")));
        Assert.StartsWith("<!-- page 1 -->\n\n", File.ReadAllText(file));
    }

    [Fact]
    public void Parse_that_fails_before_its_first_page_leaves_the_file_as_it_was()
    {
        using TemporaryDirectory directory = new();
        string file = directory.Write("page.md", "old"u8.ToArray());
        string[] arguments = ["parse", Media("t028.png"), "--model", Reader, "--context", "20", "--out"];
        VlmProcess.Result result = VlmProcess.Run([.. arguments, file]);
        Assert.Equal(1, result.ExitCode);
        Assert.Contains("the context holds 20", result.Error);
        Assert.Equal("old", File.ReadAllText(file));
        VlmProcess.Run([.. arguments, directory["new.md"]]);
        Assert.False(File.Exists(directory["new.md"]));
    }

    [Fact]
    public void Inspect_shows_model_and_picture()
    {
        VlmProcess.Result result = VlmProcess.Run("inspect", Reader, "--image", Media("t028.png"));
        Assert.Equal(0, result.ExitCode);
        Assert.Contains("Qwen2VLForConditionalGeneration", result.Output);
        Assert.Contains("visual tokens", result.Output);
        Assert.Contains("GFLOP/s", result.Output);
    }

    [Fact]
    public void Inspect_says_when_a_picture_has_more_tokens_than_the_model_has_positions()
    {
        VlmProcess.Result result = VlmProcess.Run(
            "inspect",
            Reader,
            "--image",
            Media("t028.png"),
            "--min-pixels",
            "4000000",
            "--max-pixels",
            "5000000"
        );
        Assert.Equal(0, result.ExitCode);
        Assert.Contains("only 4,096 positions", result.Output);
    }

    [Fact]
    public void Scan_looks_at_a_slide_tile_by_tile()
    {
        using TemporaryDirectory directory = new();
        TestSlides.Write(directory["slide.tif"], new(20_000, 15_000) { Factors = [1, 4, 16, 64] });
        string[] arguments =
        [
            "scan",
            Goldens.Local("qwen2-vl/checkpoint"),
            directory["slide.tif"],
            "What is there?",
            "--downsample",
            "50",
            "--tile-tokens",
            "64",
            "--max-tokens",
            "3",
            "--geojson",
            directory["slide.geojson"],
            "--overlay",
            directory["slide.png"],
        ];
        VlmProcess.Result json = VlmProcess.Run([.. arguments, "--json"]);
        Assert.Equal(0, json.ExitCode);
        JsonElement result = JsonDocument.Parse(json.Output).RootElement;
        Assert.Equal(20_000, result.GetProperty("picture").GetProperty("width").GetInt32());
        Assert.Equal(4, result.GetProperty("tiles").GetArrayLength());
        Assert.NotNull(result.GetProperty("answer").GetString());
        JsonElement features = JsonDocument.Parse(File.ReadAllText(directory["slide.geojson"])).RootElement;
        Assert.InRange(features.GetProperty("features").GetArrayLength(), 4, 100);

        Assert.True(File.ReadAllBytes(directory["slide.png"]).AsSpan().StartsWith<byte>([0x89, 0x50, 0x4E, 0x47]));

        VlmProcess.Result text = VlmProcess.Run(arguments);
        Assert.Equal(result.GetProperty("answer").GetString(), text.Output.TrimEnd('\n'));
        Assert.Contains("row 2, column 1: x 0-", text.Error);

        VlmProcess.Result refused = VlmProcess.Run([.. arguments, "--max-tiles", "3"]);
        Assert.Equal(1, refused.ExitCode);
        Assert.Contains("4 tiles (2 rows of 2), at most 3 are allowed", refused.Error);
    }

    [Fact]
    public void Verify_passes_on_a_true_case_and_fails_on_a_false_one()
    {
        VlmProcess.Result good = VlmProcess.Run("verify", Goldens.Local("qwen2-vl-tied-bf16"));
        Assert.Contains("PASSED", good.Output);
        Assert.Equal(0, good.ExitCode);

        using TemporaryDirectory copy = TemporaryDirectory.CopyOf(Goldens.Local("qwen2-vl-tied-bf16"));
        string file = copy["case.json"];
        File.WriteAllText(file, File.ReadAllText(file).Replace("\"answer_ids\": [", "\"answer_ids\": [1, "));
        VlmProcess.Result bad = VlmProcess.Run("verify", copy.Path, "--quiet");
        Assert.Contains("FAIL answer.ids", bad.Output);
        Assert.Equal(1, bad.ExitCode);
    }

    [Theory]
    [InlineData("--from is -1, expected 0", "--video", "x.mp4", "--from", "-1")]
    [InlineData("--to is NaN, expected more than 0", "--video", "x.mp4", "--to", "nan")]
    [InlineData("--from is 4, expected less than --to, 2", "--video", "x.mp4", "--from", "4", "--to", "2")]
    [InlineData("--fps and --frames both", "--video", "x.mp4", "--fps", "1", "--frames", "4")]
    [InlineData("--max-frames and --frames both", "--video", "x.mp4", "--max-frames", "1", "--frames", "4")]
    [InlineData("--to chooses frames of a film", "--video", "{frames}", "--to", "2")]
    [InlineData("--max-frames chooses frames of a film", "--video", "{frames}", "--max-frames", "2")]
    [InlineData("--allow-truncated needs a --video", "--image", "{picture}", "--allow-truncated")]
    [InlineData("--pages needs a --document", "--image", "{picture}", "--pages", "1")]
    [InlineData("--tiles needs a --image", "--video", "x.mp4", "--tiles", "2")]
    [InlineData("--media-tokens is 0, expected at least 1", "--video", "{frames}", "--media-tokens", "0")]
    [InlineData("--media-tokens is 99999, expected at most 4096", "--video", "{frames}", "--media-tokens", "99999")]
    [InlineData("--media-tokens needs", "--image", "{picture}", "--media-tokens", "10")]
    [InlineData("lies outside the picture", "--image", "{picture}", "--mark", "circle 5000,5000,10")]
    [InlineData("a mark is one of", "--image", "{picture}", "--mark", "blob 1,2")]
    [InlineData("--draw is {picture}, which is read", "--image", "{picture}", "--draw", "{picture}")]
    [InlineData("--draw is /no/x.png, whose directory", "--image", "{picture}", "--draw", "/no/x.png")]
    [InlineData("exactly one --image", "--image", "{picture}", "--document", "{picture}", "--draw", "x.png")]
    [InlineData("exactly one --image", "--video", "{frames}", "--draw", "x.png")]
    [InlineData("name of a file is empty", "--video", "")]
    [InlineData("name of a file is empty", "--tools", "")]
    public void Ask_says_which_options_do_not_fit(string expected, params string[] options) =>
        What_a_user_can_mend_is_one_line_and_exit_code_1(expected, ["ask", "{reader}", "Hi", .. options]);

    [Theory]
    [InlineData("no such directory", "ask", "/no/such/model", "Hi")]
    [InlineData("temperature", "ask", "{reader}", "Hi", "--temperature", "-1")]
    [InlineData("missing.png", "ask", "{reader}", "Hi", "--image", "missing.png")]
    [InlineData("max-pixels", "ask", "{reader}", "Hi", "--max-pixels", "0")]
    [InlineData("case.json", "verify", "{reader}")]
    [InlineData("MODEL is empty", "ask", "", "Hi")]
    [InlineData("is a directory, expected a picture", "ask", "{reader}", "Hi", "--image", "{reader}")]
    [InlineData("--top-k is -1", "ask", "{reader}", "Hi", "--top-k", "-1")]
    [InlineData("--temperature is 'warm', expected a number", "ask", "{reader}", "Hi", "--temperature", "warm")]
    [InlineData("--think-budget is -1", "ask", "{reader}", "Hi", "--think-budget", "-1")]
    [InlineData("no list", "ask", "{reader}", "Hi", "--tools", "{reader}/config.json")]
    [InlineData("merges.txt", "ask", "{reader}", "Hi", "--tools", "{reader}/merges.txt")]
    [InlineData("--seed is '-1', expected a whole number from 0", "ask", "{reader}", "Hi", "--seed", "-1")]
    [InlineData("--stop is empty", "ask", "{reader}", "Hi", "--stop", "")]
    [InlineData("--logprobs needs --json", "ask", "{reader}", "Hi", "--logprobs", "2")]
    [InlineData("--logprobs is 9999999", "ask", "{reader}", "Hi", "--json", "--logprobs", "9999999")]
    [InlineData("more than --max-pixels", "ask", "{reader}", "Hi", "--min-pixels", "20", "--max-pixels", "10")]
    [InlineData("QUESTION is empty", "ask", "{reader}", " ")]
    [InlineData("--threads is 0", "ask", "{reader}", "Hi", "--threads", "0")]
    [InlineData("--kv-cache is f64, expected f32, bf16, q8", "ask", "{reader}", "Hi", "--kv-cache", "f64")]
    [InlineData("--threads is 0", "inspect", "{reader}", "--threads", "0")]
    [InlineData("--threads is 0", "verify", "{reader}", "--threads", "0")]
    [InlineData(
        "--to is 'pdf', expected html, markdown or json",
        "parse",
        "x.pdf",
        "--model",
        "{reader}",
        "--to",
        "pdf"
    )]
    [InlineData("--pages: '3-1' is no selection", "parse", "x.pdf", "--model", "{reader}", "--pages", "3-1")]
    [InlineData("--dpi is 0", "parse", "x.pdf", "--model", "{reader}", "--dpi", "0")]
    [InlineData("x.pdf: the file cannot be read", "parse", "x.pdf", "--model", "{reader}")]
    [InlineData("page 2 is asked for, there are 1", "parse", "{picture}", "--model", "{reader}", "--pages", "2")]
    [InlineData("--out is {picture}, which is read", "parse", "{picture}", "--model", "{reader}", "--out", "{picture}")]
    [InlineData("--out is /no/x.md, whose directory", "parse", "x.pdf", "--model", "{reader}", "--out", "/no/x.md")]
    [InlineData("--overlay is {picture}, a file", "parse", "x.pdf", "--model", "{reader}", "--overlay", "{picture}")]
    [InlineData("name of a file is empty", "parse", "", "--model", "{reader}")]
    [InlineData("name of a file is empty", "scan", "{reader}", "", "Hi")]
    [InlineData("QUESTION is empty", "scan", "{reader}", "{picture}", " ")]
    [InlineData(
        "--overlay is {picture}, which is read",
        "scan",
        "{reader}",
        "{picture}",
        "Hi",
        "--overlay",
        "{picture}"
    )]
    [InlineData("--geojson is {reader}, a directory", "scan", "{reader}", "{picture}", "Hi", "--geojson", "{reader}")]
    [InlineData("a b [red].png", "ask", "{reader}", "Hi", "--image", "a\nb\u001b[red].png")]
    public void What_a_user_can_mend_is_one_line_and_exit_code_1(string expected, params string[] arguments)
    {
        static string Filled(string text) =>
            text.Replace("{reader}", Reader)
                .Replace("{picture}", Media("t028.png"))
                .Replace("{frames}", Goldens.Local("qwen2-vl/media/clip3-56x56"));

        VlmProcess.Result result = VlmProcess.Run([.. arguments.Select(Filled)]);
        Assert.Equal(1, result.ExitCode);
        Assert.Equal("", result.Output);
        Assert.Contains(Filled(expected), result.Error, StringComparison.OrdinalIgnoreCase);
        Assert.DoesNotContain("   at ", result.Error);
        Assert.DoesNotContain('\e', result.Error);
        string line = Assert.Single(result.Error.TrimEnd('\n').Split('\n'), l => !l.Contains("--help lists"));
        Assert.StartsWith("error: ", line);
    }

    [Fact]
    public void A_wrong_choice_of_kernels_is_one_line_that_lists_the_right_ones()
    {
        VlmProcess.Result result = VlmProcess.RunWith(new() { ["VLM_ISA"] = "matmul=quick" }, "", "inspect", Reader);
        Assert.Equal(1, result.ExitCode);
        Assert.Equal("", result.Output);
        Assert.StartsWith("error: VLM_ISA=matmul=quick: kernel 'matmul' has no variant 'quick'", result.Error);
        Assert.Contains("portable", result.Error);
        Assert.Single(result.Error, '\n');
    }

    [Fact]
    public void Redirected_output_has_no_control_codes_even_where_the_terminal_knows_them()
    {
        VlmProcess.Result result = VlmProcess.RunWith(
            new() { ["TERM"] = "xterm-256color" },
            $"/image {Media("t028.png")}\nRead the text.\n",
            "chat",
            Reader
        );
        Assert.Equal("450\n", result.Output);
        Assert.DoesNotContain('\e', result.Error);
        Assert.DoesNotContain(">", result.Error); // no prompts either: nobody is there to read them
    }

    [Fact]
    public void Chat_takes_quoted_paths_and_drops_the_media_of_a_question_that_failed()
    {
        string tooLong = string.Concat(Enumerable.Repeat("word ", 5000));
        VlmProcess.Result result = VlmProcess.RunWithInput(
            $"/image \"{Media("t028.png")}\"\n{tooLong}\n/image '{Media("t028.png")}'\nRead the text.", // no line end
            "chat",
            Reader
        );
        Assert.Equal(0, result.ExitCode);
        Assert.Equal("450\n", result.Output); // one picture, not two
        Assert.Contains("the context holds", result.Error);
        Assert.Contains("dropped", result.Error);
    }

    [Fact]
    public void Verify_reports_a_case_of_another_size_instead_of_failing_itself()
    {
        using TemporaryDirectory copy = TemporaryDirectory.CopyOf(Goldens.Local("qwen2-vl-tied-bf16"));
        string file = copy["case.json"];
        string[] pictures = [.. Directory.GetFiles(copy["media"], "*.png")];
        foreach (string picture in pictures)
        {
            File.Copy(Goldens.Local("reader-ref/media/t028.png"), picture, overwrite: true);
        }

        VlmProcess.Result other = VlmProcess.Run("verify", copy.Path, "--quiet");
        Assert.Equal(1, other.ExitCode);
        Assert.Equal("", other.Error);
        Assert.Contains("FAIL pixel_values", other.Output);

        File.WriteAllText(file, File.ReadAllText(file).Replace("\"answer_ids\": [", "\"answer_ids\": [9999999, "));
        VlmProcess.Result wild = VlmProcess.Run("verify", copy.Path, "--quiet");
        Assert.Equal(1, wild.ExitCode);
        Assert.Contains("'answer_ids' of", wild.Error);
    }
}
