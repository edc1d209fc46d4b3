using VlmSharp.Media.Images;
using VlmSharp.Media.Video;
using VlmSharp.Models;
using VlmSharp.Testing;
using VlmSharp.Tests.Media;
using VlmSharp.Tests.Media.Video;
using VlmSharp.Vision;
using Xunit;

namespace VlmSharp.Tests.Vision;

public sealed class VideoReaderTests
{
    [Theory]
    [InlineData(SamplingRule.Qwen2)]
    [InlineData(SamplingRule.Utils)]
    [InlineData(SamplingRule.Qwen3)]
    public void A_film_is_sampled_by_the_rule_of_the_generation(SamplingRule rule)
    {
        using TemporaryDirectory directory = new();
        string path = TestFilms.Make(directory["a.mp4"], 101, "25", TestFilms.H264);
        VideoFrames frames = VideoReader.Read(path, new() { Rule = rule, Density = new(FramesPerSecond: 3) });
        int[] expected = rule switch
        {
            SamplingRule.Qwen2 => FrameSampling.Indices(101, 12),
            SamplingRule.Utils => FrameSampling.IndicesByUtils(0, 100, 12),
            _ => FrameSampling.IndicesByQwen3(101, 12),
        };
        Assert.Equal(expected, frames.Frames.Select(TestFilms.Number));
        Assert.Equal(expected.Select(i => i / 25.0), frames.Times.Select(t => Math.Round(t, 9)));
        Assert.Equal(25, frames.Rate);
        Assert.Equal(12 / 101.0 * 25, frames.SampledRate, 1e-9);

        MediaSource source = MediaSource.Video(frames);
        Assert.Equal(path, source.Name);
        Assert.Equal(frames.Times, source.Shape.Times);
        Assert.Equal(frames.SampledRate, source.Shape.FramesPerSecond);
    }

    [Fact]
    public void Counts_are_kept_within_their_limits_and_odd_ones_work()
    {
        using TemporaryDirectory directory = new();
        byte[] film = File.ReadAllBytes(TestFilms.Make(directory["a.mp4"], 75, "25", TestFilms.H264));
        Assert.Equal(5, Count(new(MaxFrames: 5)));
        Assert.Equal(6, Count(new()));
        Assert.Equal(7, Count(new(Frames: 7)));
        Assert.Equal(9, Count(new(FramesPerSecond: 0.1, MinFrames: 9)));
        Assert.Equal(75, Count(new(FramesPerSecond: 100)));
        Assert.Equal(1, Count(new(Frames: 1)));

        int Count(FrameSamplingOptions density) =>
            VideoReader.Read(film, "film", new() { Density = density }).Frames.Count;
    }

    [Fact]
    public void A_section_keeps_the_times_of_the_film()
    {
        using TemporaryDirectory directory = new();
        string path = TestFilms.Make(directory["a.mp4"], 250, "25", TestFilms.H264);
        VideoSampling sampling = new()
        {
            Start = 4,
            End = 6,
            Density = new(FramesPerSecond: 2),
        };
        VideoFrames frames = VideoReader.Read(path, sampling);
        Assert.Equal([100, 117, 133, 150], frames.Frames.Select(TestFilms.Number));
        Assert.Equal([4, 4.68, 5.32, 6], frames.Times.Select(t => Math.Round(t, 9)));
        Assert.Equal(10, frames.Duration, 1e-9);
        Assert.Equal(4 / 51.0 * 25, frames.SampledRate, 1e-9);
        Assert.Throws<VisionException>(() => VideoReader.Read(path, sampling with { Start = 11, End = 12 }));
    }

    [Fact]
    public void A_section_of_varying_rate_is_found_by_time_stamps()
    {
        using TemporaryDirectory directory = new();
        // Frame n is shown at 20 n + 3 n^2 milliseconds: 40 at 5.6 s, 49 at 8.183 s.
        string[] options =
        [
            .. (string[])["-vf", "settb=1/1000,setpts=N*N*3+N*20", "-fps_mode", "passthrough"],
            .. (string[])["-enc_time_base", "1/1000", .. TestFilms.H264],
        ];
        string path = TestFilms.Make(directory["a.mkv"], 50, "25", options);
        VideoSampling sampling = new()
        {
            Start = 5.6,
            End = 7,
            Density = new(FramesPerSecond: 100),
        };
        Assert.Equal([40, 41, 42, 43, 44, 45], VideoReader.Read(path, sampling).Frames.Select(TestFilms.Number));
        var e = Assert.Throws<VisionException>(() => VideoReader.Read(path, sampling with { Start = 9, End = 10 }));
        Assert.Contains("the last of 50 frames is shown at 8.183 s", e.Message);
    }

    [Theory]
    [InlineData(SamplingRule.Qwen2)]
    [InlineData(SamplingRule.Utils)]
    [InlineData(SamplingRule.Qwen3)]
    public void A_film_of_one_frame_is_shown_whole(SamplingRule rule)
    {
        using TemporaryDirectory directory = new();
        string path = TestFilms.Make(directory["a.mp4"], 1, "25", TestFilms.H264);
        Assert.Equal([0], VideoReader.Read(path, new() { Rule = rule }).Indices);
    }

    [Theory]
    [InlineData("gifsave_buffer", "dither=0")]
    [InlineData("webpsave_buffer", "lossless=true")]
    public void An_animation_has_the_times_of_its_delays(string saver, string options)
    {
        RgbImage[] drawn = [.. Enumerable.Range(0, 5).Select(i => TestPictures.Drawn(61, 47, 30 * i))];
        byte[] bytes = TestPictures.SaveFrames(drawn, [100, 40, 250, 0, 1000], loop: 0, saver, options);
        VideoFrames all = VideoReader.Read(bytes, "a", new() { Density = new(Frames: 5) });
        Assert.Equal([0, 0.1, 0.14, 0.39, 0.49], all.Times.Select(t => Math.Round(t, 9)));
        Assert.Equal(1.49, all.Duration, 1e-9);
        Assert.Equal(ImageDecoder.DecodeFrames(bytes, "a").Frames[3].Pixels, all.Frames[3].Pixels);

        using TemporaryDirectory directory = new();
        string path = directory.Write("picture", bytes);
        Assert.Equal([0, 4], VideoReader.Read(path, new() { Density = new(Frames: 2) }).Indices);
    }

    [Fact]
    public void The_pictures_of_a_directory_are_frames_at_the_rate_that_is_said()
    {
        using TemporaryDirectory directory = new();
        for (int i = 0; i < 3; i++)
        {
            directory.Write($"{i}.png", TestPictures.Encode(TestPictures.Drawn(16, 12, 30 * i), "PNG"));
        }

        VideoFrames frames = VideoReader.Read(directory.Path, new() { Density = new(FramesPerSecond: 4) });
        Assert.Equal([0, 0.25, 0.5], frames.Times);
        Assert.Equal((4, 4, 0.75), (frames.Rate, frames.SampledRate, frames.Duration));
    }

    [Fact]
    public void A_film_that_is_cut_off_is_read_when_that_is_allowed()
    {
        using TemporaryDirectory directory = new();
        string path = TestFilms.Make(directory["a.mp4"], 300, "25", [.. TestFilms.H264, "-movflags", "+faststart"]);
        byte[] bytes = File.ReadAllBytes(path)[..^(int)(new FileInfo(path).Length / 3)];
        Assert.Contains("cut off", Assert.Throws<MediaException>(() => VideoReader.Read(bytes, "film")).Message);
        VideoFrames frames = VideoReader.Read(bytes, "film", new() { AllowTruncated = true });
        Assert.Equal(frames.Indices, frames.Frames.Select(TestFilms.Number));
        Assert.InRange(frames.Frames.Count, 8, 22);
    }
}
