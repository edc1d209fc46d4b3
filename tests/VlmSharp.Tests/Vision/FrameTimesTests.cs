using System.Text.Json;
using VlmSharp.Testing;
using VlmSharp.Vision;
using Xunit;

namespace VlmSharp.Tests.Vision;

public class FrameTimesTests
{
    [Fact]
    public void Times_before_frames_are_written_as_the_reference_writes_them()
    {
        using JsonDocument golden = JsonDocument.Parse(
            File.ReadAllBytes(Goldens.Shared("golden/vision/video_sampling.json"))
        );
        int rows = 0;
        foreach (JsonElement row in golden.RootElement.GetProperty("timestamps").EnumerateArray())
        {
            double rate = row.GetProperty("fps").GetDouble();
            double[] frames = [.. row.GetProperty("frames_indices").EnumerateArray().Select(i => i.GetInt32() / rate)];
            string text = string.Concat(FrameTimes.OfPatches(frames, 2).Select(t => FrameTimes.Announce(t) + "*"));
            Assert.Equal(row.GetProperty("text").GetString(), text);
            rows++;
        }

        Assert.True(rows > 100);
    }

    [Theory]
    [InlineData(0.25, "<0.2 seconds>")]
    [InlineData(0.75, "<0.8 seconds>")]
    [InlineData(1.75, "<1.8 seconds>")]
    [InlineData(0.35, "<0.3 seconds>")] // 0.34999999999999997...
    [InlineData((0.7 + 1.4) / 2, "<1.0 seconds>")] // 1.0499999999999998
    [InlineData(86399.95, "<86399.9 seconds>")] // 86399.94999999999709
    [InlineData(0, "<0.0 seconds>")]
    public void A_tie_goes_to_the_even_digit_of_the_exact_binary_value(double seconds, string text) =>
        Assert.Equal(text, FrameTimes.Announce(seconds));
}
