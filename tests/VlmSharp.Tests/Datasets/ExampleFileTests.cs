using System.Text;
using VlmSharp.Chat.Replies;
using VlmSharp.Datasets;
using VlmSharp.Formats;
using VlmSharp.Media.Images;
using VlmSharp.Testing;
using Xunit;

namespace VlmSharp.Tests.Datasets;

public sealed class ExampleFileTests
{
    const string Fine = """{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}""";

    [Fact]
    public void Mutated_files_give_examples_or_named_errors()
    {
        using TemporaryDirectory directory = new();
        string[] sources =
        [
            .. Directory
                .GetFiles(Goldens.Local("data"), "*.json*", SearchOption.AllDirectories)
                .Where(file => Path.GetFileName(file) != "expected.json"),
        ];
        string[] values =
        [
            "null",
            "[]",
            "{}",
            "0",
            "-1",
            "1e999",
            "true",
            "\"\"",
            "\"\\ud800\"",
            "\"\\u0000\"",
            "[[1]]",
        ];
        Random random = new(20250);
        int broken = 0;
        int read = 0;
        for (int round = 0; round < 600; round++)
        {
            byte[] bytes = File.ReadAllBytes(sources[random.Next(sources.Length)]);
            switch (random.Next(5))
            {
                case 0:
                    bytes = bytes[..random.Next(bytes.Length)];
                    break;
                case 1:
                    bytes[random.Next(bytes.Length)] = (byte)random.Next(256);
                    break;
                case 2:
                    int from = random.Next(bytes.Length);
                    bytes = [.. bytes[..from], .. bytes[random.Next(from, bytes.Length)..]];
                    break;
                case 3:
                    int at = random.Next(bytes.Length);
                    byte[] deep = new byte[random.Next(1, 3000)];
                    deep.AsSpan().Fill((byte)"[{"[random.Next(2)]);
                    bytes = [.. bytes[..at], .. deep, .. bytes[at..]];
                    break;
                default:
                    // Another value where one stands.
                    string text = Encoding.Latin1.GetString(bytes);
                    int colon = text.IndexOf(": ", random.Next(text.Length), StringComparison.Ordinal);
                    if (colon >= 0)
                    {
                        int end = text.AsSpan(colon + 2).IndexOfAny(",]}\n");
                        bytes = Encoding.Latin1.GetBytes(
                            text[..(colon + 2)]
                                + values[random.Next(values.Length)]
                                + (end < 0 ? "" : text[(colon + 2 + end)..])
                        );
                    }

                    break;
            }

            string path = directory.Write($"{round}.json", bytes);
            ExampleFormat? format = random.Next(6) is var f && f < 5 ? (ExampleFormat)f : null;
            if (bytes.Length == 0)
            {
                Assert.Throws<CheckpointException>(() => ExampleFile.Open(path));
                continue;
            }

            using ExampleFile file = ExampleFile.Open(
                path,
                new() { Format = format, MediaRoot = Goldens.Local("data") }
            );
            for (int i = 0; i < file.Samples; i++)
            {
                Example? example = file.TryRead(i, out ExampleFault? wrong);
                Assert.True(example is null != wrong is null);
                read += example is null ? 0 : 1;
                broken += example is null ? 1 : 0;
                if (wrong is not null)
                {
                    Assert.NotEmpty(wrong.Message);
                    Assert.InRange(wrong.Line, 1, 1 + bytes.Count(b => b == '\n'));
                    Assert.StartsWith(
                        $"{path}:{wrong.Line}: ",
                        Assert.Throws<CheckpointException>(() => file.Read(i)).Message
                    );
                }
            }
        }

        Assert.True(broken > 300 && read > 300, $"{broken} broken, {read} read");
    }

    [Theory]
    [InlineData("""{"messages": [{"role": "user", "content": "x"}], "a": 1, "a": 2}""", FaultReason.Json)]
    [InlineData("""{"messages": [{"role": "user", "content": "x"}, 3]}""", FaultReason.MessagesType)]
    [InlineData("""{"messages": null}""", FaultReason.MessagesMissing)]
    [InlineData("""{"messages": [{"role": ["user"], "content": "x"}]}""", FaultReason.Role)]
    [InlineData("""{"messages": [{"role": "assistant", "content": "\ud800"}]}""", FaultReason.Json)]
    [InlineData(
        """{"messages": [{"role": "user", "content": "x"}, {"role": "system", "content": "x"}]}""",
        FaultReason.RoleOrder
    )]
    [InlineData("""{"messages": [{"role": "assistant", "content": "x", "loss": "no"}]}""", FaultReason.Content)]
    [InlineData(
        """{"messages": [{"role": "assistant", "content": "x"}], "videos": [["a.png"]]}""",
        FaultReason.Content
    )]
    [InlineData(
        """{"messages": [{"role": "assistant", "content": "<video>"}], "images": []}""",
        FaultReason.VideoCount
    )]
    [InlineData(
        """{"messages": [{"role": "assistant", "content": "x"}], "images": ["https://a.b/c.png"]}""",
        FaultReason.FileMissing
    )]
    [InlineData(
        """{"messages": [{"role": "assistant", "content": "x"}], "images": ["data:image/png;base64,?"]}""",
        FaultReason.Content
    )]
    [InlineData(
        """{"messages": [{"role": "assistant", "content": "x"}], "objects": {"bbox": [[1, 2]]}}""",
        FaultReason.ImageId
    )]
    [InlineData(
        """{"messages": [{"role": "assistant", "content": "<bbox>"}], "images": "noise.png", "objects": {"bbox": [[1e999, 2]]}}""",
        FaultReason.BoxNumber
    )]
    [InlineData(
        """{"messages": [{"role": "assistant", "content": "x"}], "images": "noise.png", "objects": {"bbox": [[1, 2]]}}""",
        FaultReason.BoxCount
    )]
    [InlineData(
        """{"messages": [{"role": "assistant", "content": "x"}], "images": "noise.png", "objects": {"ref": ["a"]}}""",
        FaultReason.ReferenceCount
    )]
    [InlineData(
        """{"messages": [{"role": "assistant", "content": "<bbox>"}], "images": "noise.png", "objects": {"bbox": [[0.1, 0.2]], "bbox_type": "norm1"}}""",
        FaultReason.FileUnreadable
    )]
    [InlineData(
        """{"messages": [{"role": "assistant", "content": "<bbox>"}], "images": "noise.png", "objects": {"bbox": [[1, 2]], "image_id": [0, 0]}}""",
        FaultReason.ImageId
    )]
    public void Samples_that_contradict_themselves_are_refused(string line, string reason)
    {
        using TemporaryDirectory directory = new();
        directory.Write("noise.png", [1, 2, 3]);
        using ExampleFile file = ExampleFile.Open(
            directory.Write("data.jsonl", Fine + "\n" + line),
            new() { Format = ExampleFormat.MsSwift }
        );
        Assert.NotNull(file.TryRead(0, out _));
        Assert.Null(file.TryRead(1, out ExampleFault? wrong));
        Assert.Equal((reason, 2), (wrong!.Reason, wrong.Line));
    }

    [Fact]
    public void A_list_that_is_damaged_still_gives_the_samples_that_are_whole()
    {
        using TemporaryDirectory directory = new();
        Assert.Equal(["a", "a", "json 4"], Read($"[\n{Fine},\n{Fine}\n"));
        Assert.Equal(["a", "json 2"], Read($"[{Fine}]\nmore"));
        Assert.Equal(["a", "json 1"], Read($"[{Fine},]"));
        Assert.Equal(["a", "json 1"], Read($"[,{Fine}]"));
        Assert.Equal(["json 1", "a"], Read($"[{Fine}}}, {Fine}]"));
        Assert.Equal(["a", "json 2"], Read($"[{Fine}, {{\n\"x\": \"\n]"));
        Assert.Equal([], Read(" [ ] "));
        Assert.Equal(["a", "not-an-object 2"], Read($"{Fine}\n[{Fine}]\n"));

        string[] Read(string text)
        {
            using ExampleFile file = ExampleFile.Open(
                directory.Write("data.json", text),
                new() { Format = ExampleFormat.MsSwift }
            );
            return
            [
                .. Enumerable
                    .Range(0, file.Samples)
                    .Select(i =>
                        file.TryRead(i, out ExampleFault? wrong) is { } example
                            ? Assert.IsType<TextPart>(example.Messages[0].Content[0]).Text
                            : $"{wrong!.Reason} {wrong.Line}"
                    ),
            ];
        }
    }

    [Fact]
    public void Samples_are_found_wherever_they_cross_the_pieces_a_file_is_read_in()
    {
        using TemporaryDirectory directory = new();
        Random random = new(7);
        string[] texts =
        [
            .. Enumerable.Range(0, 400).Select(i => new string("x\"\\[{\u00e9"[i % 6], random.Next(20_000))),
        ];
        string[] lines =
        [
            .. texts.Select(text =>
                $$"""{"task": "t", "messages": [{"role": "assistant", "content": {{System.Text.Json.JsonSerializer.Serialize(text)}}}]}"""
            ),
        ];
        foreach (
            string path in (string[])
                [
                    directory.Write("a.jsonl", "\uFEFF" + string.Join("\r\n\r\n", lines)),
                    directory.Write("a.json", "[" + string.Join(",\n\n", lines) + "]\n"),
                ]
        )
        {
            using ExampleFile file = ExampleFile.Open(path);
            Assert.True(new FileInfo(path).Length > 3 << 20);
            Assert.Equal(texts.Length, file.Count);
            for (int i = 0; i < texts.Length; i++)
            {
                Example example = file.Read(i);
                Assert.Equal(
                    texts[i],
                    string.Concat(example.Messages[0].Content.Cast<TextPart>().Select(part => part.Text))
                );
                Assert.Equal("t", example.Task);
                Assert.Equal(1 + (2 * i), file.Line(i));
            }
        }
    }

    [Fact]
    public void Packs_on_lines_are_read_and_pictures_may_stand_in_the_file()
    {
        using TemporaryDirectory directory = new();
        const string Turns =
            """ "conversations": [{"from": "human", "value": "<image>a"}, {"from": "gpt", "value": "b"}]""";
        string picture =
            $"data:image/png;base64,{Convert.ToBase64String(File.ReadAllBytes(Goldens.Local("data/media/a.png")))}";
        string sample = $$"""{"image": ["{{picture}}"],{{Turns}}}""";
        using ExampleFile file = ExampleFile.Open(
            directory.Write("packs.jsonl", $"[{sample}, {sample}]\n[{sample}]\n")
        );
        Assert.Equal((ExampleFormat.Qwen, 3), (file.Format, file.Samples));
        Assert.Equal([0, 0, 1], Enumerable.Range(0, 3).Select(i => file.Pack(i)));
        MediumPart medium = Assert.IsAssignableFrom<MediumPart>(file.Read(2).Messages[0].Content[0]);
        RgbImage expected = ImageDecoder.DecodeFile(Goldens.Local("data/media/a.png"));
        Assert.Equal(expected.Pixels.ToArray(), medium.Open().Frames[0].Pixels.ToArray());
        Assert.Equal((expected.Width, expected.Height), (medium.Shape().Width, medium.Shape().Height));
    }

    [Theory]
    [InlineData("""[{"type": "function", "function": {"name": "count", "description": "d"}}]""")]
    [InlineData("""[{"name": "count", "description": "d"}]""")]
    [InlineData("\"[{\\\"name\\\": \\\"count\\\", \\\"description\\\": \\\"d\\\"}]\"")]
    public void Tools_are_a_list_or_a_text_that_is_one(string tools)
    {
        using TemporaryDirectory directory = new();
        using ExampleFile file = ExampleFile.Open(
            directory.Write("data.jsonl", Fine[..^1] + $", \"tools\": {tools}}}\n{Fine[..^1]}, \"tools\": [{{}}]}}")
        );
        ToolDefinition tool = Assert.Single(file.Read(0).Tools);
        Assert.Equal(("count", "d"), (tool.Name, tool.Description));
        Assert.Null(file.TryRead(1, out ExampleFault? wrong));
        Assert.Equal((FaultReason.Content, 2), (wrong!.Reason, wrong.Line));
    }

    [Fact]
    public void A_check_counts_reasons_and_warns_of_media_and_boxes()
    {
        using TemporaryDirectory directory = new();
        directory.Write("noise.png", [1, 2, 3]);
        File.Copy(Goldens.Local("data/media/a.png"), directory["a.png"]);
        string Sample(string image, string box) =>
            $$$"""{"messages": [{"role": "user", "content": "<image>"}, {"role": "assistant", "content": "<bbox>"}], "images": ["{{{image}}}"], "objects": {"bbox": [{{{box}}}]}}""";
        string path = directory.Write(
            "data.jsonl",
            string.Join(
                '\n',
                Sample("a.png", "[0, 0, 333, 250]"),
                Sample("a.png", "[0, 0, 334, 250]"),
                Sample("noise.png", "[0, 0]"),
                Sample("none.png", "[0, 0]"),
                "{",
                """{"messages": [{"role": "user", "content": "<video>"}, {"role": "assistant", "content": "x"}], "videos": "f.mp4"}"""
            )
        );
        using ExampleFile file = ExampleFile.Open(path);
        List<ExampleFinding> found = [];
        ExampleStatistics statistics = ExampleCheck.Run(file, found.Add);
        Assert.Equal(
            [
                (2, false, ExampleCheck.BoxOutside),
                (3, false, ExampleCheck.PictureUnreadable),
                (4, true, FaultReason.FileMissing),
                (5, true, FaultReason.Json),
                (6, false, ExampleCheck.FilmMissing),
            ],
            found.Select(finding => (finding.Line, finding.Broken, finding.Reason))
        );
        Assert.Equal((6, 2, 8, 4), (statistics.Samples, statistics.Broken, statistics.Messages, statistics.Answers));
        Assert.Equal((3, 1, 3), (statistics.Pictures, statistics.Films, statistics.Boxes));
        Assert.All(statistics.Reasons, pair => Assert.Equal(1, pair.Value));
    }
}
