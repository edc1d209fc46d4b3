using VlmSharp.Media.Images;
using VlmSharp.Media.Video;
using VlmSharp.Testing;
using Xunit;

namespace VlmSharp.Tests.Media.Video;

public sealed class VideoFileTests
{
    [Theory]
    [InlineData("a.mp4", "25", 25.0)]
    [InlineData("a.mp4", "30000/1001", 30000 / 1001.0)]
    [InlineData("a.mov", "24", 24.0)]
    [InlineData("a.mkv", "30000/1001", 30000 / 1001.0)]
    [InlineData("a.mkv", "60", 60.0)]
    [InlineData("a.avi", "25", 25.0)]
    [InlineData("a.ts", "25", 25.0)]
    [InlineData("a.flv", "25", 25.0)]
    [InlineData("a.nut", "25", 25.0)]
    public void Frames_are_the_ones_that_were_asked_for(string name, string rate, double expectedRate)
    {
        using TemporaryDirectory directory = new();
        using VideoFile film = VideoFile.Open(TestFilms.Make(directory[name], 131, rate, TestFilms.H264));

        Assert.Equal(("h264", 96, 64, 0, 131), Shape(film.Info));
        Assert.Equal(expectedRate, film.Info.Rate, 1e-9);
        Assert.False(film.Info.IsVariableRate);
        Assert.Equal(131 / expectedRate, film.Info.Duration, 2e-2);
        Assert.Null(film.Info.Truncation);

        int[] indices = [0, 1, 24, 25, 26, 63, 63, 100, 129, 130];
        VideoFrames frames = film.Read(indices);
        Assert.Equal(indices, frames.Frames.Select(TestFilms.Number));
        Assert.Equal(indices, frames.Indices);
        for (int i = 0; i < indices.Length; i++)
        {
            // Matroska and FLV count milliseconds.
            Assert.Equal(indices[i] / expectedRate, frames.Times[i], 1.1e-3);
            Assert.Equal(film.Time(indices[i]), frames.Times[i]);
        }

        Assert.Equal(film.Info.Rate * 10 / 131, frames.SampledRate, 1e-9);
    }

    [Theory]
    [InlineData("a.webm", "-c:v libvpx -crf 10 -b:v 1M -g 60 -auto-alt-ref 1 -lag-in-frames 16")]
    [InlineData("a.webm", "-c:v libvpx-vp9 -crf 10 -b:v 0 -g 60 -auto-alt-ref 1 -lag-in-frames 16")]
    [InlineData("a.avi", "-c:v mpeg4 -q:v 2 -g 30 -bf 2")]
    [InlineData("a.mpg", "-c:v mpeg2video -q:v 2 -g 15 -bf 2")]
    [InlineData("a.wmv", "-c:v wmv2 -q:v 2")]
    [InlineData("a.ogv", "-c:v libtheora -q:v 9")]
    [InlineData("a.mkv", "-c:v ffv1")]
    [InlineData("a.mp4", "-c:v libx265 -crf 10 -x265-params log-level=none:keyint=30:bframes=3 -pix_fmt yuv420p")]
    [InlineData("a.mp4", "-c:v libx264 -crf 10 -bf 3 -movflags frag_keyframe+empty_moov -pix_fmt yuv420p -g 25")]
    [InlineData("a.mp4", "-c:v libx264 -crf 10 -pix_fmt yuv444p -g 250")]
    public void Codecs_of_other_kinds_give_the_frames_that_were_asked_for(string name, string options)
    {
        using TemporaryDirectory directory = new();
        string path = TestFilms.Make(directory[name], 101, "25", options.Split(' '));
        using VideoFile film = VideoFile.Open(path);
        int[] indices = [0, 7, 33, 34, 77, 100];
        VideoFrames frames = film.Read(indices);
        Assert.Equal(101, film.Info.Frames);
        Assert.Equal(indices, frames.Frames.Select(TestFilms.Number));
        Assert.Equal(3.08, frames.Times[4], 2e-3);
    }

    [Theory]
    [InlineData("a.mp4", "keyint=30:bframes=3")]
    [InlineData("a.mp4", "keyint=30:bframes=3:open-gop=1")]
    [InlineData("a.mkv", "keyint=30:bframes=5:open-gop=1:b-pyramid=normal")]
    [InlineData("a.mkv", "keyint=40:intra-refresh=1")]
    [InlineData("a.mkv", "keyint=infinite")]
    public void Jumping_gives_the_same_bytes_as_decoding_everything(string name, string options)
    {
        using TemporaryDirectory directory = new();
        string[] coding = ["-c:v", "libx264", "-crf", "20", "-x264-params", options, "-pix_fmt", "yuv420p"];
        using VideoFile film = VideoFile.Open(TestFilms.Make(directory[name], 800, "25", coding));
        VideoFrames all = film.Read([.. Enumerable.Range(0, 800)]);
        Assert.Equal(Enumerable.Range(0, 800), all.Frames.Select(TestFilms.Number));

        foreach (
            int[] indices in (int[][])
                [
                    [0, 299, 300, 799],
                    [58],
                    [59, 61, 403],
                    [119, 239, 240, 241, 520, 798],
                ]
        )
        {
            VideoFrames some = film.Read(indices);
            Assert.Equal(indices, some.Frames.Select(TestFilms.Number));
            Assert.All(indices, (index, i) => Assert.Equal(all.Frames[index].Pixels, some.Frames[i].Pixels));
        }
    }

    [Theory]
    [InlineData("a.mkv")]
    [InlineData("a.mp4")]
    public void Irregular_times_are_those_of_the_time_stamps(string name)
    {
        using TemporaryDirectory directory = new();
        // Milliseconds 0, 23, 52, 87, ...: the steps grow by 6.
        string[] options =
        [
            .. (string[])["-vf", "settb=1/1000,setpts=N*N*3+N*20", "-fps_mode", "passthrough"],
            .. (string[])["-enc_time_base", "1/1000", .. TestFilms.H264],
        ];
        using VideoFile film = VideoFile.Open(TestFilms.Make(directory[name], 50, "25", options));
        Assert.True(film.Info.IsVariableRate);
        Assert.Equal(50, film.Info.Frames);
        int[] indices = [0, 1, 2, 17, 48, 49];
        VideoFrames frames = film.Read(indices);
        Assert.Equal(indices, frames.Frames.Select(TestFilms.Number));
        Assert.All(
            indices,
            (index, i) => Assert.Equal((index * index * 3 + index * 20) / 1000.0, frames.Times[i], 1e-9)
        );
        Assert.Equal(50 / film.Info.Duration, film.Info.Rate, 1e-9);
    }

    [Theory]
    [InlineData("a.mkv", "7.25", 0)]
    [InlineData("a.mp4", "7.25", 0)]
    // MP4 has no times below zero: its edit list hides the frames that would have them.
    [InlineData("a.mp4", "-0.4", 10)]
    public void Time_starts_at_the_first_frame_that_is_shown(string name, string offset, int hidden)
    {
        using TemporaryDirectory directory = new();
        string[] options = ["-output_ts_offset", offset, "-avoid_negative_ts", "disabled", .. TestFilms.H264];
        using VideoFile film = VideoFile.Open(TestFilms.Make(directory[name], 40, "25", options));
        Assert.Equal(40 - hidden, film.Info.Frames);
        VideoFrames frames = film.Read([0, 5, 29]);
        Assert.Equal([hidden, hidden + 5, hidden + 29], frames.Frames.Select(TestFilms.Number));
        Assert.Equal([0, 0.2, 1.16], frames.Times.Select(t => Math.Round(t, 9)));
    }

    [Theory]
    [InlineData(90, 64, 96)]
    [InlineData(180, 96, 64)]
    [InlineData(270, 64, 96)]
    public void Frames_are_upright(int degrees, int width, int height)
    {
        using TemporaryDirectory directory = new();
        string path = TestFilms.Make(directory["a.mp4"], 60, "25", TestFilms.H264);
        int[] indices = [3, 59];
        IReadOnlyList<RgbImage> stored;
        using (VideoFile film = VideoFile.Open(path))
        {
            stored = film.Read(indices).Frames;
        }

        TestFilms.SetRotation(path, degrees);
        using VideoFile turned = VideoFile.Open(path);
        Assert.Equal((width, height), (turned.Info.Width, turned.Info.Height));
        Assert.Equal((360 - degrees) % 360, turned.Info.Rotation);
        IReadOnlyList<RgbImage> frames = turned.Read(indices).Frames;
        for (int i = 0; i < indices.Length; i++)
        {
            Assert.Equal((width, height), (frames[i].Width, frames[i].Height));
            RgbImage back = TestFilms.Turn(frames[i], 360 - degrees);
            Assert.Equal(indices[i], TestFilms.Number(back));
            // Chroma is widened along the other axis, so bytes may differ a little.
            Assert.InRange(TestPictures.MeanDifference(stored[i], back), 0, 3);
        }
    }

    [Fact]
    public void One_frame_is_a_film()
    {
        using TemporaryDirectory directory = new();
        using VideoFile film = VideoFile.Open(TestFilms.Make(directory["a.mp4"], 1, "25", TestFilms.H264));
        Assert.Equal(1, film.Info.Frames);
        Assert.Equal(0.04, film.Info.Duration, 1e-9);
        Assert.Equal(0, TestFilms.Number(Assert.Single(film.Read([0]).Frames)));
    }

    [Fact]
    public void Frames_can_be_scaled_down_while_they_are_decoded()
    {
        using TemporaryDirectory directory = new();
        using VideoFile film = VideoFile.Open(TestFilms.Make(directory["a.mp4"], 5, "25", TestFilms.H264));
        RgbImage frame = film.Read([2], maxFramePixels: 96 * 64 / 4).Frames[0];
        Assert.Equal((48, 32), (frame.Width, frame.Height));
        Assert.Equal(96, film.Read([2], maxFramePixels: 96 * 64).Frames[0].Width);
    }

    [Theory]
    [InlineData("a.mp4", "-movflags +faststart", "its box 'mdat' ends at byte", "of 300 expected are there")]
    [InlineData("a.mkv", "-f matroska", "its segment ends at byte", "of 300 expected are there")]
    [InlineData("a.avi", "-f avi", "its RIFF chunk ends at byte", "expected are there")]
    public void A_film_that_is_cut_off_says_how_many_frames_are_there(
        string name,
        string options,
        string reason,
        string counts
    )
    {
        using TemporaryDirectory directory = new();
        string path = TestFilms.Make(directory[name], 300, "25", [.. TestFilms.H264, .. options.Split(' ')]);
        byte[] bytes = File.ReadAllBytes(path);
        File.WriteAllBytes(path, bytes[..(bytes.Length * 6 / 10)]);

        using VideoFile film = VideoFile.Open(path);
        Assert.InRange(film.Info.Frames, 100, 250);
        string message = Message(() => film.Read([0]));
        Assert.StartsWith($"{path}: the film is cut off: {reason}", message, StringComparison.Ordinal);
        Assert.Contains(counts, message);
        Assert.Contains($"{film.Info.Frames} frames of ", message);

        VideoFrames frames = film.Read([0, 50, 100], allowTruncated: true);
        Assert.Equal([0, 50, 100], frames.Frames.Select(TestFilms.Number));
        // The last packet may be half a frame; what decodes is what is given.
        VideoFrames all = film.Read([.. Enumerable.Range(0, film.Info.Frames)], allowTruncated: true);
        Assert.Equal(all.Indices.Count, all.Frames.Count);
        Assert.InRange(all.Frames.Count, film.Info.Frames - 4, film.Info.Frames);
    }

    [Fact]
    public void A_film_whose_index_is_cut_off_says_so()
    {
        using TemporaryDirectory directory = new();
        string path = TestFilms.Make(directory["a.mp4"], 50, "25", TestFilms.H264);
        byte[] bytes = File.ReadAllBytes(path);
        File.WriteAllBytes(path, bytes[..(bytes.Length / 2)]);
        string message = Message(() => VideoFile.Open(path).Dispose());
        Assert.StartsWith($"{path}: not a film that can be read; MP4, MOV, ", message, StringComparison.Ordinal);
        Assert.Contains("moov atom not found", message);
    }

    [Fact]
    public void Frames_that_cannot_be_decoded_are_counted()
    {
        using TemporaryDirectory directory = new();
        string path = TestFilms.Make(directory["a.mkv"], 60, "25", ["-c:v", "ffv1", "-g", "1", "-slicecrc", "1"]);
        using VideoFile film = VideoFile.Open(path);
        // Overwrite the middle of the file, in which only frames are.
        byte[] bytes = File.ReadAllBytes(path);
        bytes.AsSpan(bytes.Length / 2, 600).Clear();
        File.WriteAllBytes(path, bytes);

        int[] all = [.. Enumerable.Range(0, 60)];
        VideoFrames left = film.Read(all, allowTruncated: true);
        Assert.InRange(left.Frames.Count, 40, 60);
        if (left.Frames.Count < 60)
        {
            string message = Message(() => film.Read(all));
            Assert.Contains($"{left.Frames.Count} of 60 frames could be decoded, the one at ", message);
        }
    }

    static (string, int, int, int, int) Shape(VideoInfo info) =>
        (info.Codec, info.Width, info.Height, info.Rotation, info.Frames);

    static string Message(Action action) => Assert.Throws<MediaException>(action).Message;
}
