using System.Text.Json;
using VlmSharp.Testing;
using VlmSharp.Vision;
using Xunit;

namespace VlmSharp.Tests.Vision;

public sealed class FrameSamplingTests
{
    const int Temporal = 2;

    [Fact]
    public void Frames_and_sizes_equal_transformers()
    {
        int compared = 0;
        foreach ((JsonElement row, JsonElement expected) in Rows("transformers_qwen2_vl"))
        {
            int total = row.Int("total_frames");
            FrameSamplingOptions options = Options(row);
            if (expected.TryGetProperty("error", out _))
            {
                Assert.Throws<VisionException>(() => FrameSampling.Count(total, Rate(row), options, Temporal));
                continue;
            }

            compared++;
            int[] indices = FrameSampling.Indices(total, FrameSampling.Count(total, Rate(row), options, Temporal));
            Assert.Equal(expected.GetProperty("indices").Ints(), indices);

            var config = new PatchConfig(
                14,
                Temporal,
                2,
                [0, 0, 0],
                [1, 1, 1],
                1,
                expected.GetProperty("min_pixels").GetInt64(),
                expected.GetProperty("max_pixels").GetInt64()
            );
            GridThw grid = PatchBuilder.Plan(row.Int("width"), row.Int("height"), indices.Length, config);
            Assert.Equal($"[{grid.T}, {grid.H}, {grid.W}]", expected.GetProperty("video_grid_thw").ToString());
        }

        Assert.True(compared > 90, $"{compared} rows");
    }

    [Theory]
    [InlineData("qwen_vl_utils_patch14", 28)]
    [InlineData("qwen_vl_utils_patch16", 32)]
    public void Frames_and_sizes_equal_qwen_vl_utils(string column, int factor)
    {
        int compared = 0;
        foreach ((JsonElement row, JsonElement expected) in Rows(column))
        {
            if (expected.TryGetProperty("error", out _))
            {
                Assert.Throws<VisionException>(() => UtilsIndices(row));
                continue;
            }

            compared++;
            int[] indices = UtilsIndices(row);
            Assert.Equal(expected.GetProperty("indices").Ints(), indices);
            double rate = FrameSampling.SampledRate(indices.Length, Section(row).Count, Rate(row));
            Assert.Equal(expected.GetProperty("sample_fps").GetDouble(), rate);

            JsonElement options = row.GetProperty("options");
            (int Height, int Width) size;
            if (options.TryGetProperty("resized_height", out JsonElement height))
            {
                int width = options.Int("resized_width");
                size = SmartResize.ForImageByUtils(height.GetInt32(), width, factor, 4 * 28 * 28, 16384 * 28 * 28);
            }
            else
            {
                double unit = factor * factor;
                double min = Option(options, "min_pixels", 128 * unit);
                double total = Option(options, "total_pixels", 128000 * unit * 0.9);
                double max = FrameSampling.MaxPixelsByUtils(indices.Length, Temporal, min, 768 * unit, total);
                max = Math.Min(max, Option(options, "max_pixels", max));
                Assert.Equal(expected.GetProperty("max_pixels").GetDouble(), max);
                size = SmartResize.ForImageByUtils(row.Int("height"), row.Int("width"), factor, min, max);
            }

            Assert.Equal($"[{size.Height}, {size.Width}]", expected.GetProperty("size").ToString());
        }

        Assert.True(compared > 100, $"{compared} rows");
    }

    [Fact]
    public void Frames_sizes_and_times_equal_transformers_of_the_third_generation()
    {
        int compared = 0;
        foreach ((JsonElement row, JsonElement expected) in Rows("transformers_qwen3_vl"))
        {
            int total = row.Int("total_frames");
            double rate = Rate(row);
            // Without a rate in the options the golden asks for two frames a second, as this does.
            int[] indices = FrameSampling.IndicesByQwen3(total, FrameSampling.CountByQwen3(total, rate, Options(row)));
            Assert.Equal(expected.GetProperty("indices").Ints(), indices);

            double[] times = FrameTimes.OfPatches([.. indices.Select(i => i / rate)], Temporal);
            Assert.Equal(expected.Text("text"), string.Concat(times.Select(time => FrameTimes.Announce(time) + "*")));
            compared++;
        }

        Assert.True(compared > 100, $"{compared} rows");
    }

    [Fact]
    public void Awkward_counts_equal_the_references_single_precision()
    {
        JsonElement all = VideoSampling();
        foreach (JsonElement row in all.GetProperty("qwen2_vl_arange").EnumerateArray())
        {
            int[] indices = FrameSampling.Indices(row.Int("total_frames"), row.Int("num_frames"));
            Assert.Equal(row.GetProperty("indices").Ints(), indices);
        }

        foreach (JsonElement row in all.GetProperty("utils_linspace").EnumerateArray())
        {
            int[] indices = FrameSampling.IndicesByUtils(0, row.Int("total_frames") - 1, row.Int("nframes"));
            Assert.Equal(row.GetProperty("indices").Ints(), indices);
        }
    }

    [Fact]
    public void Two_frames_a_second_of_a_ten_second_clip_are_twenty()
    {
        Assert.Equal(20, FrameSampling.Count(300, 30, new FrameSamplingOptions(), Temporal));
        Assert.Equal([0, 15, 30], FrameSampling.Indices(300, 20)[..3]);
        Assert.Equal([0, 16, 31], FrameSampling.IndicesByUtils(0, 299, 20)[..3]);
        Assert.Equal(299, FrameSampling.IndicesByUtils(0, 299, 20)[^1]);
    }

    [Fact]
    public void Asking_for_more_frames_than_there_are_names_both_numbers()
    {
        var options = new FrameSamplingOptions(Frames: 50);
        var e = Assert.Throws<VisionException>(() => FrameSampling.Count(9, 30, options, Temporal));
        Assert.Contains("50 frames would be taken of a video of 9", e.Message);
    }

    static int[] UtilsIndices(JsonElement row)
    {
        (int first, int count) = Section(row);
        int taken = FrameSampling.CountByUtils(count, Rate(row), Options(row), Temporal);
        return FrameSampling.IndicesByUtils(first, first + count - 1, taken);
    }

    static (int First, int Count) Section(JsonElement row)
    {
        JsonElement options = row.GetProperty("options");
        double? start = options.TryGetProperty("video_start", out JsonElement s) ? s.GetDouble() : null;
        double? end = options.TryGetProperty("video_end", out JsonElement e) ? e.GetDouble() : null;
        (int first, int last) = FrameSampling.SectionByUtils(row.Int("total_frames"), Rate(row), start, end);
        return (first, last - first + 1);
    }

    static JsonElement VideoSampling()
    {
        using var document = JsonDocument.Parse(File.ReadAllText(Goldens.Shared("golden/vision/video_sampling.json")));
        return document.RootElement.Clone();
    }

    static IEnumerable<(JsonElement Row, JsonElement Expected)> Rows(string column)
    {
        foreach (JsonElement row in VideoSampling().GetProperty("rows").EnumerateArray())
        {
            if (row.TryGetProperty(column, out JsonElement expected))
            {
                yield return (row, expected);
            }
        }
    }

    static double Rate(JsonElement row) => row.GetProperty("source_fps").GetDouble();

    static FrameSamplingOptions Options(JsonElement row)
    {
        JsonElement options = row.GetProperty("options");
        return new FrameSamplingOptions(
            Option(options, "fps", 2),
            (int)Option(options, "min_frames", 4),
            (int)Option(options, "max_frames", 768),
            options.TryGetProperty("nframes", out JsonElement n) ? n.GetInt32() : null
        );
    }

    static double Option(JsonElement options, string name, double otherwise) =>
        options.TryGetProperty(name, out JsonElement value) ? value.GetDouble() : otherwise;
}
