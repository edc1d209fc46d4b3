using VlmSharp.Calibration;
using VlmSharp.Datasets;
using VlmSharp.Formats;
using VlmSharp.Testing;
using Xunit;

namespace VlmSharp.Tests.Calibration;

public sealed class CalibrationDataTests
{
    [Fact]
    public void Lines_become_conversations_and_texts_with_pictures_in_their_places()
    {
        using TemporaryDirectory directory = new();
        directory.Write("a.png", [1]);
        directory.Write("b.png", [1]);
        string path = directory.Write(
            "data.jsonl",
            "\uFEFF"
                + """
                {"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "<image>or<image>?"}, {"role": "assistant", "content": "a"}], "images": ["a.png", "b.png"]}

                {"text": "Only words."}
                {"messages": [{"role": "user", "content": "What is it?"}], "images": "b.png"}
                {"messages": [{"role": "user", "content": [{"type": "text", "text": "See "}, {"type": "image_url", "image_url": {"url": "b.png"}}, {"type": "image", "image": "a.png"}]}, {"role": "assistant", "content": ""}]}
                """.ReplaceLineEndings("\r\n")
        );
        IReadOnlyList<CalibrationSample> samples = CalibrationData.Read(path);
        Assert.Equal([$"{path}:1", $"{path}:3", $"{path}:4", $"{path}:5"], samples.Select(sample => sample.Name));
        Assert.Equal("system: Be brief.|user: [a.png]or[b.png]?|assistant: a", Shown(samples[0]));
        Assert.Equal("Only words.", samples[1].Text);
        Assert.Equal("user: [b.png]What is it?", Shown(samples[2]));
        Assert.Equal("user: See [b.png][a.png]|assistant: ", Shown(samples[3]));
        Assert.Equal([true, false, false, true], samples.Select(sample => sample.HasAnswer));
        Assert.Equal([false, false, true], samples[0].Turns.Select(turn => turn.Learnt));
    }

    [Fact]
    public void A_directory_holds_pictures_texts_and_what_is_said_of_pictures()
    {
        using TemporaryDirectory directory = new();
        directory.Write("b.JPG", [1]);
        directory.Write("a.png", [1]);
        directory.Write("a.txt", " A circle.\n");
        directory.Write("c.txt", "Only words.");
        directory.Write("other.json", "{}");
        IReadOnlyList<CalibrationSample> samples = CalibrationData.Read(directory.Path);
        Assert.Equal(["a.png", "b.JPG", "c.txt"], samples.Select(sample => Path.GetFileName(sample.Name)));
        Assert.Equal("user: [a.png]Describe this image.|assistant: A circle.", Shown(samples[0]));
        Assert.Equal("user: [b.JPG]Describe this image.", Shown(samples[1]));
        Assert.Equal("Only words.", samples[2].Text);
    }

    [Theory]
    [InlineData("{", "is not valid JSON")]
    [InlineData("[]", "expected a JSON object")]
    [InlineData("{}", "field 'messages' is missing")]
    [InlineData("""{"messages": "x"}""", "field 'messages'")]
    [InlineData("""{"messages": []}""", "field 'messages' is empty")]
    [InlineData("""{"messages": [{"role": "system", "content": "x"}]}""", "has nothing but a system prompt")]
    [InlineData("""{"messages": [{"role": "narrator", "content": "x"}]}""", "field 'messages[0].role' is 'narrator'")]
    [InlineData("""{"messages": [{"role": "user"}]}""", "field 'messages[0].content' is missing")]
    [InlineData("""{"messages": [{"role": "user", "content": null}]}""", "field 'messages[0].content' is null")]
    [InlineData(
        """{"messages": [{"role": "user", "content": "<image>"}]}""",
        "more places for pictures (<image>) than the 0 that it lists"
    )]
    [InlineData(
        """{"messages": [{"role": "user", "content": "<image> or <image>"}], "images": ["a.png"]}""",
        "more places for pictures (<image>) than the 1 that it lists"
    )]
    [InlineData("""{"messages": [{"role": "user", "content": "x"}], "images": ["no.png"]}""", "no such file")]
    [InlineData("""{"messages": [{"role": "user", "content": [{"type": "audio"}]}]}""", "is 'audio', expected text")]
    [InlineData("""{"messages": [{"role": "user", "content": "x"}], "videos": ["a.mp4"]}""", "only pictures and texts")]
    [InlineData("""{"text": ""}""", "field 'text' is empty")]
    public void Broken_lines_are_refused_with_file_line_and_field(string line, string message)
    {
        using TemporaryDirectory directory = new();
        directory.Write("a.png", [1]);
        string path = directory.Write("data.jsonl", $"{{\"text\": \"fine\"}}\n\n{line}\n");
        string found = Assert.Throws<CheckpointException>(() => CalibrationData.Read(path)).Message;
        Assert.StartsWith($"{path}:3: ", found);
        Assert.Contains(message, found);
    }

    [Fact]
    public void Data_without_samples_is_refused()
    {
        using TemporaryDirectory directory = new();
        Assert.Contains("neither pictures nor .txt files", Message(directory.Path));
        Assert.Contains("does not exist", Message(directory["none.jsonl"]));
        Assert.Contains("has no samples", Message(directory.Write("empty.jsonl", "\n \n")));
        Assert.Contains("is not UTF-8", Message(directory.Write("bytes.jsonl", [0x7B, 0xFF, 0x7D])));
        directory.Write("blank.txt", " \n");
        Assert.Contains("blank.txt: is empty", Message(directory.Path));
    }

    static string Message(string path) => Assert.Throws<CheckpointException>(() => CalibrationData.Read(path)).Message;

    static string Shown(CalibrationSample sample) =>
        string.Join(
            '|',
            sample.Turns.Select(turn =>
                $"{turn.Role}: "
                + string.Concat(
                    turn.Content.Select(part =>
                        part is PictureFile picture
                            ? $"[{Path.GetFileName(picture.Path)}]"
                            : Assert.IsType<TextPart>(part).Text
                    )
                )
            )
        );
}
