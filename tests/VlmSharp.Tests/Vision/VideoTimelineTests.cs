using VlmSharp.Media.Images;
using VlmSharp.Media.Video;
using VlmSharp.Vision;
using Xunit;

namespace VlmSharp.Tests.Vision;

public sealed class VideoTimelineTests
{
    [Theory]
    [InlineData("<12.5 seconds>", "12.5")]
    [InlineData("at 12.5s, then at 3 s.", "12.5 3")]
    [InlineData("The cup falls at 00:12.", "12")]
    [InlineData("[01:02:03.5]", "3723.5")]
    [InlineData("It takes 2 minutes and 5 seconds", "125")]
    [InlineData("1h2m3s", "3723")]
    [InlineData("2m5s", "125")]
    [InlineData("after 500 ms", "0.5")]
    [InlineData("from 3 to 5 seconds", "3-5")]
    [InlineData("3-5 s", "3-5")]
    [InlineData("1 - 2.5 minutes", "60-150")]
    [InlineData("<3.0 seconds> to <5.0 seconds>", "3-5")]
    [InlineData("<3.0 seconds>-<5.0 seconds>", "3-5")]
    [InlineData("between 0:03 and 0:05 he waves", "3-5")]
    [InlineData("at 0:03 and 0:05 he waves", "3 5")]
    [InlineData("00:10 \u2013 00:07", "7-10")]
    [InlineData("{\"start\": \"00:03\", \"end\": \"00:05\"}", "3 5")]
    [InlineData("From 12 Seconds until 1 Minute", "12-60")]
    [InlineData("1:30, 2:45", "90 165")]
    [InlineData("75:30", "4530")]
    [InlineData("in 3.25 sec", "3.25")]
    // No times.
    [InlineData("3 people and 12 dogs", "")]
    [InlineData("a pole of 5 m, 16:9, version 1.2.3, 3:45 pm, $5 s", "")]
    [InlineData("in the 1990s", "")]
    [InlineData("00:75", "")]
    [InlineData("12seconds99", "12")]
    [InlineData("x12 s", "")]
    [InlineData("", "")]
    [InlineData("between", "")]
    [InlineData("3 to", "")]
    public void Times_are_found_in_an_answer(string text, string expected)
    {
        IReadOnlyList<TimeMention> found = TimeMention.Find(text);
        Assert.Equal(
            expected,
            string.Join(' ', found.Select(m => m.Start == m.End ? $"{m.Start}" : $"{m.Start}-{m.End}"))
        );
        Assert.All(found, m => Assert.True(char.IsAsciiDigit(text[m.Offset]) && m.Offset + m.Length <= text.Length));
    }

    [Theory]
    [InlineData("12.5", 12.5, 12.5)]
    [InlineData(" <12.5 seconds>", 12.5, 12.5)]
    [InlineData("12.5-15", 12.5, 15.0)]
    [InlineData("[3, 5]", null, null)]
    [InlineData("[0:03 - 0:05].", 3.0, 5.0)]
    [InlineData("12 dogs", null, null)]
    [InlineData("at 12 s", null, null)]
    [InlineData("-12", null, null)]
    [InlineData("", null, null)]
    public void A_text_that_is_a_time_is_read_without_a_unit(string text, double? start, double? end)
    {
        Assert.Equal(start is not null, TimeMention.TryParse(text, out TimeMention mention));
        if (start is not null)
        {
            Assert.Equal((start, end), (mention.Start, mention.End));
        }
    }

    [Fact]
    public void Text_of_any_kind_is_read_without_an_error()
    {
        const string Alphabet = "0123456789:.,-<>() smhinutescabetwd\u2013";
        Random random = new(1);
        for (int i = 0; i < 20_000; i++)
        {
            string text = string.Concat(
                Enumerable.Range(0, random.Next(24)).Select(_ => Alphabet[random.Next(Alphabet.Length)])
            );
            Assert.All(TimeMention.Find(text), m => Assert.True(m.Start <= m.End && m.Length > 0));
            Assert.True(!TimeMention.TryParse(text, out TimeMention whole) || whole.Start <= whole.End);
        }

        Assert.Empty(TimeMention.Find(new string('9', 100_000)));
    }

    [Fact]
    public void Told_times_are_those_of_the_film()
    {
        VideoTimeline timeline = VideoTimeline.Told(Frames([4, 4.68, 5.32, 6], sampledRate: 2, duration: 10));
        Assert.Equal(5, timeline.ToFilm(5), 1e-12);
        Assert.Equal(2, timeline.ToFilm(2), 1e-12);
        Assert.Equal(10, timeline.ToFilm(99), 1e-12);
        Assert.Equal(2, timeline.NearestFrame(5.1));
        TimeMention mention = Assert.Single(timeline.Find("from <4.5 seconds> to <5.5 seconds>"));
        Assert.Equal((4.5, 5.5), (Math.Round(mention.Start, 9), Math.Round(mention.End, 9)));
    }

    [Fact]
    public void Counted_times_go_back_through_the_frames_that_were_shown()
    {
        // A section from 60 s on, two frames a second, and then a gap.
        VideoTimeline timeline = VideoTimeline.Counted(Frames([60, 60.5, 61, 65], sampledRate: 2, duration: 100));
        Assert.Equal(60, timeline.ToFilm(0), 1e-12);
        Assert.Equal(60.75, timeline.ToFilm(0.75), 1e-12);
        Assert.Equal(63, timeline.ToFilm(1.25), 1e-12);
        Assert.Equal(65.5, timeline.ToFilm(2), 1e-12);
        Assert.Equal(100, timeline.ToFilm(1000), 1e-12);
        Assert.Equal(65, Assert.Single(timeline.Find("at 1.5s")).Start, 1e-12);
    }

    static VideoFrames Frames(double[] times, double sampledRate, double duration)
    {
        RgbImage picture = new(1, 1, new byte[3]);
        return new(
            "film",
            [.. times.Select(_ => picture)],
            times,
            [.. Enumerable.Range(0, times.Length)],
            25,
            sampledRate,
            duration
        );
    }
}
