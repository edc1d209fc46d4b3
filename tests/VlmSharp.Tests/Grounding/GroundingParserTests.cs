using System.Text.Json;
using VlmSharp.Grounding;
using VlmSharp.Testing;
using Xunit;

namespace VlmSharp.Tests.Grounding;

public sealed class GroundingParserTests
{
    static readonly PictureFrame Frame = new(640, 480, 644, 476);

    static readonly Lazy<GoldenCase[]> Cases = new(() =>
        [.. File.ReadLines(Goldens.Local("grounding/cases.jsonl")).Select(GoldenCase.Read)]
    );

    public static TheoryData<int> CaseNumbers => [.. Enumerable.Range(0, Cases.Value.Length)];

    [Theory, MemberData(nameof(CaseNumbers))]
    public void Every_published_answer_is_read_as_expected(int number) => Cases.Value[number].Check();

    [Fact]
    public void The_full_set_is_read_as_expected()
    {
        foreach (string line in File.ReadLines(Goldens.Shared("golden/grounding/cases.jsonl")))
        {
            GoldenCase.Read(line).Check();
        }
    }

    // [1, 2, 3, 4] of the resized picture unless said otherwise; all of Qwen2.5-VL.
    [Theory]
    [InlineData("citation [1], then [{\"bbox_2d\": [1, 2, 3, 4], \"label\": \"a\"}], see [2", "a", GroundingError.None)]
    [InlineData("it's {here}: [{\"bbox_2d\": [1, 2, 3, 4], \"label\": \"a\"}]", "a", GroundingError.None)]
    [InlineData("[0, 1) holds [{\"bbox_2d\": [1, 2, 3, 4], \"label\": \"a\"}]", "a", GroundingError.None)]
    [InlineData("[{\"bbox_2d\": [1, 2, 3, 4], \"label\": \"5\" screen\"}]", "5\" screen", GroundingError.None)]
    [InlineData("[{'bbox_2d': (1, 2, 3, 4), 'label': 'dog's bowl'}]", "dog's bowl", GroundingError.None)]
    [InlineData(
        "[{\"bbox_2d\": [1, 2, 3, 4] \"label\": \"a\"} {\"bbox_2d\": [1, 2, 3, 4]}]",
        "a|",
        GroundingError.None
    )]
    [InlineData("{\"bbox_2d\": [1, 2, 3, 4], \"label\": 7}", "7", GroundingError.None)]
    [InlineData("{\"bbox_2d\": [1, 2, 3, 4], \"label\": null, \"text_content\": \"t\"}", "t", GroundingError.None)]
    [InlineData(
        "{\"bbox_2d\": [1, 2, 3, 4], \"label\": \"\\u732b \\ud83d\\ude00 \\ud83d \\x41\"}",
        "猫 😀 \ufffd A",
        GroundingError.None
    )]
    [InlineData("{\"bbox_2d\": [1, 2, 3, 4], \"label\": \"two\nlines\"}", "two\nlines", GroundingError.None)]
    [InlineData(
        "{\"a\": {\"bbox_2d\": [1, 2, 3, 4], \"label\": \"in\", \"part\": {\"bbox_2d\": [1, 2, 3, 4], \"label\": \"deep\"}}}",
        "in|deep",
        GroundingError.None
    )]
    [InlineData(
        "[{\"bbox_2d\": [1, 2, 3, 4}, {\"bbox_2d\": [1, 2, 3, 4], \"label\": \"b\"}]",
        "b",
        GroundingError.Malformed
    )]
    [InlineData(
        "[{\"bbox_2d\": [1, 2, 3, 4], label: \"a\"}, {\"bbox_2d\": [1, 2, 3, 4], \"label\": \"b\"}]",
        "b",
        GroundingError.Malformed
    )]
    [InlineData(
        "[{\"bbox_2d\": [1 2 3 4], \"label\": \"a\"}, {\"bbox_2d\": [1, 2, 3, 4], \"label\": \"b\"}]",
        "b",
        GroundingError.Malformed
    )]
    [InlineData("[{\"bbox_2d\": [1, 2, 3, 1e999], \"label\": \"a\"}]", "", GroundingError.Malformed)]
    [InlineData("[{\"bbox_2d\": [1, 2, 3, NaN], \"label\": \"a\"}]", "", GroundingError.Malformed)]
    [InlineData(
        "```json\n[{\"bbox_2d\": [1, 2, 3, 4], \"label\": \"a\"}, {\"bbox_2d\": [1, 2\n```\nor [{\"bbox_2d\": [1, 2, 3, 4], \"label\": \"b\"}]",
        "a|b",
        GroundingError.Malformed
    )]
    [InlineData("[{\"bbox_2d\": [1, 2, 3], \"label\": \"a\"}, {\"bb", "", GroundingError.Truncated)]
    [InlineData("```json\n[", "", GroundingError.Truncated)]
    [InlineData("<think> [{\"bbox_2d\": [1, 2, 3, 4]}] and so", "", GroundingError.Truncated)]
    [InlineData("<points x1=\"1\" y1=\"2\" x2=\"3\" alt=\"c\">c</points>", "c", GroundingError.Malformed)]
    [InlineData("<points x1=\"1\" y1=\"2\" alt=\"c\"></points>", "", GroundingError.None)]
    [InlineData("<points x1=\"1\" y1=\"2\" alt=\"c\">c", "", GroundingError.Truncated)]
    [InlineData("<points alt=\"c\">c</points>", "", GroundingError.Malformed)]
    [InlineData("<p data-bbox=\"1 2 3 4\">a</p><p data-bbox=\"1 2 3 4\">b", "a", GroundingError.Truncated)]
    [InlineData("<html><body><p data-bbox=\"1 2 3 4\">a</p>", "a", GroundingError.Truncated)]
    [InlineData("<html><body><p data-bbox=\"1 2 3 4\">a</body></html>", "a", GroundingError.None)]
    [InlineData("<p data-polygon=\"1 2 3 4\">a</p>", "", GroundingError.Malformed)]
    [InlineData(
        "<p data-bbox=\"1 2 3 4\">{\"bbox_2d\": [1, 2, 3, 4], \"label\": \"x\"} {\"a\": </p>",
        "{\"bbox_2d\": [1, 2, 3, 4], \"label\": \"x\"} {\"a\":",
        GroundingError.None
    )]
    [InlineData(
        "[{\"bbox_2d\": [1, 2, 3, 4], \"label\": \"<p data-bbox='1 2 3 4'>x</p>\"}]",
        "<p data-bbox='1 2 3 4'>x</p>",
        GroundingError.None
    )]
    [InlineData("if a <b then [{\"bbox_2d\": [1, 2, 3, 4], \"label\": \"c\"}]", "c", GroundingError.None)]
    [InlineData("<ref>a</ref><box>(1,2),(3,4)</box><|box_start|>(1,2),(3,4)<|box_end|>", "", GroundingError.None)]
    public void Imperfect_answers_keep_what_can_be_read(string text, string labels, GroundingError error)
    {
        GroundingResult result = GroundingParser.Parse(text, GroundingDialect.Qwen25VL, Frame);
        Assert.Equal(labels, string.Join('|', result.Items.Select(item => item.Label)));
        Assert.Equal(error, result.Error);
    }

    [Theory]
    [InlineData("<ref>a<box>(1,2),(3,4)</box>", "null", GroundingError.None)]
    [InlineData("<box>(1,2),(3,4)<box>(1,2),(3,4)</box>", "null", GroundingError.Malformed)]
    [InlineData("<ref>a</ref><box>(1,2)</box><quad>(1,2),(3,4),(5,6),(7,8)</quad>", "a a", GroundingError.None)]
    [InlineData("<ref>a</ref><box>(1,2)(3,4)</box>", "", GroundingError.Malformed)]
    [InlineData("</box></ref><box>(1.5,-2),(3,4)</box>", "null", GroundingError.None)]
    [InlineData("<quad>(1,2),(3,4)</quad>", "", GroundingError.Malformed)]
    public void Tags_out_of_place_do_no_harm_to_others(string text, string labels, GroundingError error)
    {
        GroundingResult result = GroundingParser.Parse(text, GroundingDialect.QwenVL, Frame);
        Assert.Equal(labels, string.Join(' ', result.Items.Select(item => item.Label ?? "null")));
        Assert.Equal(error, result.Error);
    }

    [Fact]
    public void Html_of_Qwen3_VL_is_in_thousandths()
    {
        GroundedItem item = Assert.Single(
            GroundingParser.Parse("<p data-bbox=\"0 500 1000 1000\">a</p>", GroundingDialect.Qwen3VL, Frame).Items
        );
        Assert.Equal([0, 240, 640, 480], item.Coordinates);
    }

    [Theory]
    [InlineData(
        GroundingDialect.Qwen25VL,
        "x [{'bbox_2d': [1, 22, 3, 4], 'label': 'a'}]",
        "{'bbox_2d': [1, 22, 3, 4], 'label': 'a'}",
        "1, 22, 3, 4"
    )]
    [InlineData(
        GroundingDialect.Qwen25VL,
        "x <points x1=\"1\" y1=\"22\">a</points>",
        "<points x1=\"1\" y1=\"22\">a</points>",
        "1\" y1=\"22"
    )]
    [InlineData(
        GroundingDialect.Qwen25VL,
        "x <p data-bbox=\" 1 2 3 4 \">a</p>",
        "<p data-bbox=\" 1 2 3 4 \">a</p>",
        "1 2 3 4"
    )]
    [InlineData(
        GroundingDialect.QwenVL,
        "</think><ref>a</ref><box>( 1,2),(3,4) </box>",
        "<box>( 1,2),(3,4) </box>",
        "1,2),(3,4"
    )]
    public void Items_say_where_in_the_answer_they_stand(
        GroundingDialect dialect,
        string text,
        string range,
        string coordinates
    )
    {
        GroundedItem item = Assert.Single(GroundingParser.Parse(text, dialect, Frame).Items);
        Assert.Equal(range, item.Range.Of(text));
        Assert.Equal(coordinates, item.CoordinateRange.Of(text));
    }

    [Theory]
    [InlineData("[")]
    [InlineData("{")]
    [InlineData("[{")]
    [InlineData("[1,")]
    [InlineData("[(")]
    [InlineData("[\"")]
    [InlineData("[\"a\"")]
    [InlineData("{\"a\":")]
    [InlineData("{\"a\": x")]
    [InlineData("{\"bbox_2d\":[1,2,3,4],")]
    [InlineData("{\"bbox_2d\":[1,2,3,4]}")]
    [InlineData("[{\"bbox_2d\": [1, 2 ```")]
    [InlineData("\"a \"")]
    [InlineData("{\"a\": \"b \" ")]
    [InlineData("]}")]
    [InlineData("[}")]
    [InlineData("{]")]
    [InlineData("<box>")]
    [InlineData("<ref>")]
    [InlineData("<ref>a</ref>")]
    [InlineData("<box>(1,2)")]
    [InlineData("<|box_start|>")]
    [InlineData("<|")]
    [InlineData("<points ")]
    [InlineData("<points x1=\"1\" y1=\"2\">")]
    [InlineData("x1=1 y1=1 ")]
    [InlineData("<p data-bbox=\"1 2 3 4\">a")]
    [InlineData("<p data-bbox=\"1 2 3 4\">{\"bbox_2d\":[1,2,3,4]}</p>")]
    [InlineData("</think>")]
    [InlineData("```")]
    public void Endless_repetition_is_read_in_linear_time(string part)
    {
        // A quadratic reader takes a minute here.
        string text = string.Concat(Enumerable.Repeat(part, 250_000 / part.Length));
        foreach (GroundingDialect dialect in Enum.GetValues<GroundingDialect>())
        {
            Assert.True(GroundingParser.Parse(text, dialect, Frame).Items.Count <= text.Length);
            GroundingParser.Parse("<points " + text, dialect, Frame);
            GroundingParser.Parse("[{\"bbox_2d\": " + text, dialect, Frame);
        }
    }

    [Fact]
    public void Mutated_answers_are_read_without_failing()
    {
        Random random = new(7);
        string[] texts = [.. Cases.Value.Select(c => c.Text).Where(t => t.Length > 0)];
        string[] parts =
        [
            "[",
            "]",
            "{",
            "}",
            "(",
            ")",
            "\"",
            "'",
            "\\",
            "\\u",
            "<",
            ">",
            "</",
            "```",
            "</think>",
            "<box>",
            "</box>",
            "<|box_end|>",
            "bbox_2d",
            "data-bbox=",
            "<points ",
            "x1=",
            ",",
            ":",
            "NaN",
            "-",
            "1e308",
            "\ud800",
            "\0",
            "&#",
            "&",
        ];
        for (int i = 0; i < 20_000; i++)
        {
            string text = random.GetItems(texts, 1)[0];
            for (int edits = random.Next(1, 6); edits > 0; edits--)
            {
                int from = random.Next(text.Length + 1);
                int to = random.Next(from, Math.Min(text.Length, from + 12) + 1);
                string insert = random.Next(3) switch
                {
                    0 => "",
                    1 => random.GetItems(parts, 1)[0],
                    _ => text[random.Next(text.Length + 1)..] is { Length: > 20 } tail ? tail[..20] : "",
                };
                text = text[..from] + insert + text[to..];
            }

            foreach (GroundingDialect dialect in Enum.GetValues<GroundingDialect>())
            {
                GroundingResult result = GroundingParser.Parse(text, dialect, Frame);
                int last = 0;
                foreach (GroundedItem item in result.Items)
                {
                    Assert.All(item.Corners, c => Assert.Equal(c, Frame.Clip(c)));
                    Assert.InRange(item.CoordinateRange.Start, item.Range.Start, item.CoordinateRange.End - 1);
                    Assert.InRange(item.CoordinateRange.End, 1, item.Range.End);
                    Assert.InRange(item.Range.End, 1, text.Length);
                    Assert.InRange(item.CoordinateRange.Start, last, text.Length);
                    last = item.CoordinateRange.Start;
                }
            }
        }
    }

    sealed record GoldenCase(
        string Text,
        GroundingDialect Dialect,
        PictureFrame Frame,
        JsonElement Expected,
        GroundingError Error
    )
    {
        internal static GoldenCase Read(string line)
        {
            JsonElement json = JsonDocument.Parse(line).RootElement;
            int[] original = json.GetProperty("original").Deserialize<int[]>()!;
            int[] resized = json.GetProperty("resized").Deserialize<int[]>()!;
            return new(
                json.GetProperty("text").GetString()!,
                json.GetProperty("generation").GetString() switch
                {
                    "qwen-vl" => GroundingDialect.QwenVL,
                    "qwen2-vl" => GroundingDialect.Qwen2VL,
                    "qwen2.5-vl" => GroundingDialect.Qwen25VL,
                    "qwen3-vl" => GroundingDialect.Qwen3VL,
                    var other => throw new InvalidDataException(other),
                },
                new(original[0], original[1], resized[0], resized[1]),
                json.GetProperty("expected"),
                json.GetProperty("error").GetString() switch
                {
                    null => GroundingError.None,
                    "truncated" => GroundingError.Truncated,
                    "malformed" => GroundingError.Malformed,
                    var other => throw new InvalidDataException(other),
                }
            );
        }

        internal void Check()
        {
            GroundingResult result = GroundingParser.Parse(Text, Dialect, Frame);
            Assert.Equal(Error, result.Error);
            Assert.Equal(Expected.GetArrayLength(), result.Items.Count);
            foreach ((GroundedItem item, JsonElement expected) in result.Items.Zip(Expected.EnumerateArray()))
            {
                Assert.Equal(expected.GetProperty("label").GetString(), item.Label);
                Assert.Equal(expected.GetProperty("kind").GetString(), item.Kind.ToString().ToLowerInvariant());
                double[] coordinates = expected.GetProperty("coordinates").Deserialize<double[]>()!;
                Assert.Equal(coordinates.Length, item.Coordinates.Count);
                Assert.All(coordinates, (value, i) => Assert.Equal(value, item.Coordinates[i], 1e-6));
                Assert.True(
                    item.Range.Start <= item.CoordinateRange.Start && item.CoordinateRange.End <= item.Range.End
                );
            }
        }
    }
}
