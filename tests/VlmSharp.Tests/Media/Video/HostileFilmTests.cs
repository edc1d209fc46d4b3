using System.Buffers.Binary;
using VlmSharp.Media.Images;
using VlmSharp.Media.Processes;
using VlmSharp.Media.Video;
using VlmSharp.Testing;
using Xunit;

namespace VlmSharp.Tests.Media.Video;

public sealed class HostileFilmTests
{
    [Theory]
    [InlineData("film.mp4", "")]
    [InlineData("film.mp4", "This is a text and no film at all.\n")]
    [InlineData("film.mp4", "ffconcat version 1.0\nfile whole.mp4\n")]
    [InlineData("film.ffconcat", "ffconcat version 1.0\nfile whole.mp4\n")]
    [InlineData("film.m3u8", "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nwhole.mp4\n#EXT-X-ENDLIST\n")]
    [InlineData("film.mpd", "<?xml version=\"1.0\"?><MPD xmlns=\"urn:mpeg:dash:schema:mpd:2011\"><Period/></MPD>")]
    [InlineData("film.sdp", "v=0\no=- 0 0 IN IP4 127.0.0.1\nc=IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\n")]
    [InlineData("film.srt", "1\n00:00:00,000 --> 00:00:01,000\nhello\n")]
    [InlineData("film%03d.png", "\u0089PNG\r\n")]
    public void What_is_no_film_is_refused_by_its_name(string name, string text)
    {
        using TemporaryDirectory directory = new();
        TestFilms.Make(directory["whole.mp4"], 3, "25", TestFilms.H264);
        string path = directory.Write(name, text);
        string message = Message(() => VideoFile.Open(path).Dispose());
        Assert.StartsWith(path + ": ", message, StringComparison.Ordinal);
        Assert.Contains("MP4, MOV, Matroska, WebM, AVI, MPEG-TS", message);
    }

    [Fact]
    public void Zeros_and_noise_are_refused()
    {
        byte[] noise = new byte[100_000];
        Assert.Contains("not a film", Message(() => VideoFile.Open(noise, "zeros").Dispose()));
        new Random(3).NextBytes(noise);
        Assert.Contains("not a film", Message(() => VideoFile.Open(noise, "noise").Dispose()));
        // MPEG-TS is recognised by one byte in 188.
        for (int i = 0; i < noise.Length; i += 188)
        {
            noise[i] = 0x47;
        }

        Assert.StartsWith(
            "almost: ",
            Message(() => VideoFile.Open(noise, "almost").Dispose()),
            StringComparison.Ordinal
        );
    }

    [Theory]
    [InlineData("-i: it's $(touch x) %03d; [a]=b,c\\d\"e.mp4")]
    [InlineData("http:127.0.0.1.mp4")]
    [InlineData("concat:a|b.mp4")]
    [InlineData("né\u4e2d\nnew line.mp4")]
    public void A_name_is_only_a_name(string name)
    {
        using TemporaryDirectory directory = new();
        string plain = TestFilms.Make(directory["plain.mp4"], 5, "25", TestFilms.H264);
        File.Move(plain, directory[name]);
        using VideoFile film = VideoFile.Open(directory[name]);
        Assert.Equal([2, 4], film.Read([2, 4]).Frames.Select(TestFilms.Number));
    }

    [Fact]
    public void A_film_that_is_not_there_or_no_file_is_named()
    {
        using TemporaryDirectory directory = new();
        Assert.Equal(
            $"{directory["no.mp4"]}: there is no such file",
            Message(() => VideoFile.Open(directory["no.mp4"]).Dispose())
        );
        Assert.Contains("no such file", Message(() => VideoFile.Open(directory.Path).Dispose()));
        Assert.Contains("empty", Message(() => VideoFile.Open("/dev/zero").Dispose()));
    }

    [Fact]
    public void Claimed_sizes_are_checked_before_anything_is_decoded()
    {
        using TemporaryDirectory directory = new();
        string path = TestFilms.Make(directory["a.avi"], 2, "25", ["-c:v", "rawvideo", "-pix_fmt", "bgr24"]);
        byte[] bytes = File.ReadAllBytes(path);
        int header = bytes.AsSpan().IndexOf("strf"u8) + 8;
        BinaryPrimitives.WriteInt32LittleEndian(bytes.AsSpan(header + 4), 16_000);
        BinaryPrimitives.WriteInt32LittleEndian(bytes.AsSpan(header + 8), 10_000);
        string message = Message(() => VideoFile.Open(bytes, "huge.avi").Dispose());
        Assert.Equal(
            "huge.avi: frames of 16000 x 10000 pixels, at most 67108864 in all are accepted (VideoLimits.MaxPixels)",
            message
        );
    }

    [Fact]
    public void Limits_are_named_with_what_was_found()
    {
        using TemporaryDirectory directory = new();
        string path = TestFilms.Make(directory["a.mp4"], 50, "25", TestFilms.H264);
        long bytes = new FileInfo(path).Length;
        VideoLimits exact = new(bytes, TimeSpan.FromSeconds(2), 96 * 64, 50, 3, 3 * 96 * 64, TimeSpan.FromMinutes(1));
        using (VideoFile film = VideoFile.Open(path, exact))
        {
            Assert.Equal(3, film.Read([0, 1, 2]).Frames.Count);
            Assert.Equal(
                $"{path}: 4 frames to be taken, at most 3 are accepted (VideoLimits.MaxFrames)",
                Message(() => film.Read([0, 1, 2, 3]))
            );
        }

        Refused(exact with { MaxBytes = bytes - 1 }, $"{bytes} bytes, at most {bytes - 1} are accepted");
        Refused(exact with { MaxDuration = TimeSpan.FromSeconds(1.9) }, "2 s long, at most 1.9 s are accepted");
        Refused(exact with { MaxPixels = 6143 }, "frames of 96 x 64 pixels, at most 6143 in all are accepted");
        Refused(exact with { MaxPackets = 49 }, "50 frames and more, at most 49 are accepted");
        Refused(exact with { MaxTotalPixels = 18431 }, "18432 pixels to be taken, at most 18431 are accepted");
        Refused(exact with { MaxWork = TimeSpan.FromMilliseconds(1) }, "0.001 s");

        void Refused(VideoLimits limits, string expected)
        {
            string message = Message(() =>
            {
                using VideoFile film = VideoFile.Open(path, limits);
                film.Read([0, 1, 2]);
            });
            Assert.StartsWith(path + ": ", message, StringComparison.Ordinal);
            Assert.Contains(expected, message);
        }
    }

    [Fact]
    public void Sound_alone_is_no_film_and_a_cover_picture_not_its_video()
    {
        using TemporaryDirectory directory = new();
        string sound = directory["sound.mp4"];
        Ffmpeg("-f", "lavfi", "-i", "sine=d=1", "-c:a", "aac", sound);
        Assert.Contains("without a video in it", Message(() => VideoFile.Open(sound).Dispose()));

        string film = TestFilms.Make(directory["film.mp4"], 5, "25", TestFilms.H264);
        string both = directory["both.mp4"];
        string cover = directory.Write("cover.png", TestPictures.Encode(TestPictures.Drawn(32, 32), "PNG"));
        Ffmpeg(
            "-i",
            cover,
            "-i",
            film,
            "-i",
            sound,
            "-map",
            "0",
            "-map",
            "1",
            "-map",
            "2",
            "-c",
            "copy",
            "-disposition:v:0",
            "attached_pic",
            both
        );
        using VideoFile opened = VideoFile.Open(both);
        Assert.Equal(("h264", 5), (opened.Info.Codec, opened.Info.Frames));
        Assert.Equal([1, 3], opened.Read([1, 3]).Frames.Select(TestFilms.Number));
    }

    [Fact]
    public void Reading_can_be_cancelled()
    {
        using TemporaryDirectory directory = new();
        string path = TestFilms.Make(directory["a.mp4"], 50, "25", TestFilms.H264);
        using CancellationTokenSource source = new();
        using VideoFile film = VideoFile.Open(path, cancellation: source.Token);
        source.Cancel();
        Assert.Throws<OperationCanceledException>(() => film.Read([0], cancellation: source.Token));
        Assert.Throws<OperationCanceledException>(() => VideoFile.Open(path, cancellation: source.Token).Dispose());
    }

    [Fact]
    public void Damaged_films_give_frames_or_an_error()
    {
        using TemporaryDirectory directory = new();
        byte[] whole = File.ReadAllBytes(TestFilms.Make(directory["a.mp4"], 30, "25", TestFilms.H264));
        Random random = new(7);
        for (int round = 0; round < 12; round++)
        {
            byte[] bytes = [.. whole];
            for (int i = 0; i < 20; i++)
            {
                // Mostly in the index, which comes last.
                int at = round % 2 == 0 ? random.Next(bytes.Length) : bytes.Length - 1 - random.Next(1200);
                bytes[at] = (byte)random.Next(256);
            }

            try
            {
                using VideoFile film = VideoFile.Open(bytes, "damaged");
                VideoFrames frames = film.Read([0, film.Info.Frames - 1], allowTruncated: true);
                Assert.NotEmpty(frames.Frames);
            }
            catch (MediaException e)
            {
                Assert.StartsWith("damaged: ", e.Message, StringComparison.Ordinal);
            }
        }
    }

    static void Ffmpeg(params string[] arguments) =>
        ChildProcess.Run(
            new("ffmpeg", "ffmpeg"),
            ["-v", "error", "-y", .. arguments],
            "test",
            new(TimeSpan.FromMinutes(1), 1 << 20)
        );

    static string Message(Action action) => Assert.Throws<MediaException>(action).Message;
}
