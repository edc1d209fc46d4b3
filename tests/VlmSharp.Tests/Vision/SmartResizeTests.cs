using System.Text.Json;
using VlmSharp.Testing;
using VlmSharp.Vision;
using Xunit;

namespace VlmSharp.Tests.Vision;

public sealed class SmartResizeTests
{
    delegate (int Height, int Width) Rule(int height, int width, int factor, double minPixels, double maxPixels);

    [Fact]
    public void Every_size_equals_transformers() => Compare("transformers", SmartResize.ForImage);

    [Fact]
    public void Every_size_equals_qwen_vl_utils() => Compare("qwen_vl_utils", SmartResize.ForImageByUtils);

    [Fact]
    public void Every_video_size_equals_transformers_for_Qwen3()
    {
        string path = Goldens.Shared("golden/vision/video_sampling.json");
        using var document = JsonDocument.Parse(File.ReadAllText(path));
        int compared = 0;
        foreach (JsonElement row in document.RootElement.GetProperty("qwen3_smart_resize").EnumerateArray())
        {
            compared++;
            Expect(
                row,
                row.GetProperty("size"),
                () =>
                    SmartResize.ForVideo(
                        row.Int("num_frames"),
                        row.Int("height"),
                        row.Int("width"),
                        row.Int("temporal_factor"),
                        row.Int("factor"),
                        row.GetProperty("min_pixels").GetDouble(),
                        row.GetProperty("max_pixels").GetDouble()
                    )
            );
        }

        Assert.Equal(80, compared);
    }

    [Theory]
    [InlineData(1, 201, "201 x 1 pixels: one side is 201 times the other, at most 200")]
    [InlineData(601, 3, "3 x 601 pixels: one side is 200.33 times the other, at most 200")]
    [InlineData(0, 10, "10 x 0 pixels")]
    public void A_picture_no_model_can_be_shown_is_refused_with_its_size(int height, int width, string message)
    {
        var e = Assert.Throws<VisionException>(() => SmartResize.ForImage(height, width, 28, 3136, 12845056));
        Assert.Contains(message, e.Message);
    }

    [Fact]
    public void A_video_no_model_can_be_shown_is_refused_with_its_size()
    {
        var few = Assert.Throws<VisionException>(() => SmartResize.ForVideo(1, 64, 64, 2, 32, 4096, 1 << 20));
        Assert.Contains("1 frames; this model needs at least 2", few.Message);
        var small = Assert.Throws<VisionException>(() => SmartResize.ForVideo(4, 64, 31, 2, 32, 4096, 1 << 20));
        Assert.Contains("31 x 64 pixels; this model needs at least 32 x 32", small.Message);
    }

    static void Compare(string column, Rule rule)
    {
        JsonElement[] rows = [.. VisionGoldens.Rows("local", "smart_resize.json")];
        Assert.Equal(372, rows.Length);
        foreach (JsonElement row in rows)
        {
            Expect(
                row,
                row.GetProperty(column),
                () =>
                    rule(
                        row.Int("height"),
                        row.Int("width"),
                        row.Int("factor"),
                        row.GetProperty("min_pixels").GetDouble(),
                        row.GetProperty("max_pixels").GetDouble()
                    )
            );
        }
    }

    static void Expect(JsonElement row, JsonElement expected, Func<(int Height, int Width)> size)
    {
        if (expected.ValueKind == JsonValueKind.Object)
        {
            Exception? e = Record.Exception(() => size());
            Assert.True(e is VisionException or ArgumentException, row.ToString());
            return;
        }

        (int height, int width) = size();
        Assert.True(expected.Ints() is [var h, var w] && (h, w) == (height, width), $"{row}: ({height}, {width})");
    }
}
