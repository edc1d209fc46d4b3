using System.Collections.Immutable;
using System.Runtime.InteropServices;
using System.Security.Cryptography;
using System.Text.Json;
using VlmSharp.Kernels;
using VlmSharp.Kernels.Imaging;
using VlmSharp.Media.Images;
using VlmSharp.Testing;
using VlmSharp.Vision;
using Xunit;

namespace VlmSharp.Tests.Vision;

public sealed class PatchBuilderTests : IDisposable
{
    static readonly PatchConfig Qwen2 = new(
        14,
        2,
        2,
        [0.48145466f, 0.4578275f, 0.40821073f],
        [0.26862954f, 0.26130258f, 0.27577711f],
        1 / 255.0,
        3136,
        12845056
    );

    static readonly PatchConfig Qwen3 = new(
        16,
        2,
        2,
        [0.5f, 0.5f, 0.5f],
        [0.5f, 0.5f, 0.5f],
        1 / 255.0,
        65536,
        16777216
    );

    readonly WorkerPool pool = new(2);

    public void Dispose() => pool.Dispose();

    public static TheoryData<string, string> Pictures => Rows("Qwen2VLImageProcessor");

    public static TheoryData<string, string> Videos => Rows("Qwen2VLVideoProcessor", "Qwen3VLVideoProcessor");

    [Theory, MemberData(nameof(Pictures))]
    public void Pixel_values_equal_the_reference_in_every_bit(string set, string id)
    {
        JsonElement row = Row(set, id);
        (byte[] rgb, int width, int height) = Picture(set, row);
        if (row.TryGetProperty("fetch", out JsonElement fetch))
        {
            (rgb, width, height) = Fetch(row, fetch, rgb, width, height);
        }

        PatchConfig config = Config(row);
        (float[] values, GridThw grid) = Build([rgb], width, height, config);
        Assert.Equal(Grid(row.GetProperty("image_grid_thw")), grid);
        Assert.Equal($"[{grid.Patches}, {config.PatchLength}]", row.GetProperty("shape").ToString());
        Assert.Equal(row.Text("sha256_f32"), Hash(MemoryMarshal.AsBytes(values.AsSpan())));
    }

    [Theory, MemberData(nameof(Videos))]
    public void Video_frames_equal_the_reference(string set, string id)
    {
        JsonElement row = Row(set, id);
        PngReader[] frames =
        [
            .. row.GetProperty("frames")
                .EnumerateArray()
                .Select(f => PngReader.Read(VisionGoldens.Path(set, "preprocess/" + f.GetString()))),
        ];
        bool third = row.Text("class") == "Qwen3VLVideoProcessor";
        JsonElement size = row.GetProperty("config").GetProperty("size");
        PatchConfig config = (third ? Qwen3 : Qwen2) with
        {
            MinPixels = size.Int("shortest_edge"),
            MaxPixels = size.Int("longest_edge"),
            Budget = third ? PixelBudget.Video : PixelBudget.Frame,
            Arithmetic = ResampleArithmetic.Torch,
        };
        (float[] values, GridThw grid) = Build(
            [.. frames.Select(f => f.Pixels)],
            frames[0].Width,
            frames[0].Height,
            config
        );
        Assert.Equal(Grid(row.GetProperty("video_grid_thw")), grid);

        string path = VisionGoldens.Path(set, "preprocess/" + row.Text("expected"));
        float[] expected = VisionGoldens.Floats(path, "pixel_values_videos");
        Assert.Equal(expected.Length, values.Length);
        for (int i = 0; i < values.Length; i++)
        {
            // The same 8-bit levels; the reference normalises those of videos in another order of operations.
            Assert.True(Math.Abs(expected[i] - values[i]) <= 1e-6f, $"value {i}: {values[i]}, expected {expected[i]}");
        }
    }

    [Theory]
    [InlineData("qwen2-vl")]
    [InlineData("qwen3-vl")]
    public void Every_level_equals_the_reference_in_every_bit(string processor)
    {
        string path = VisionGoldens.Path("local", "preprocess/levels.safetensors");
        Assert.Equal(VisionGoldens.Floats(path, processor), (processor == "qwen2-vl" ? Qwen2 : Qwen3).Levels());
    }

    [Theory]
    [InlineData(1, 1)]
    [InlineData(24, 1)]
    [InlineData(1, 24)]
    [InlineData(24, 3)]
    public void The_smallest_pictures_become_patches_of_their_colours(int width, int height)
    {
        byte[] rgb = new byte[width * height * 3];
        for (int i = 0; i < rgb.Length; i++)
        {
            rgb[i] = (byte)(10 + i % 3 * 100);
        }

        (float[] values, GridThw grid) = Build([rgb], width, height, Qwen2);
        float[] levels = Qwen2.Levels();
        Assert.True(grid.Patches * 196 >= 3136);
        for (int i = 0; i < values.Length; i++)
        {
            int channel = i % Qwen2.PatchLength / (Qwen2.PatchLength / 3);
            Assert.Equal(levels[channel * 256 + 10 + channel * 100], values[i]);
        }
    }

    [Theory]
    [InlineData(5, 3, 2, 2)] // patch smaller than a vector, three frames to a patch
    [InlineData(7, 1, 1, 5)]
    [InlineData(14, 2, 3, 4)]
    [InlineData(33, 2, 2, 3)]
    public void Patches_lie_in_the_documented_order(int patch, int temporal, int merge, int frameCount)
    {
        (int width, int height) = (patch * merge * 3, patch * merge * 2);
        PatchConfig config = Qwen2 with
        {
            PatchSize = patch,
            TemporalPatchSize = temporal,
            MergeSize = merge,
            MinPixels = 1,
        };
        var random = new Random(patch);
        byte[][] frames =
        [
            .. Enumerable
                .Range(0, frameCount)
                .Select(_ =>
                {
                    byte[] rgb = new byte[width * height * 3];
                    random.NextBytes(rgb);
                    return rgb;
                }),
        ];
        (float[] values, GridThw grid) = Build(frames, width, height, config);
        Assert.Equal(new GridThw((frameCount + temporal - 1) / temporal, merge * 2, merge * 3), grid);

        float[] levels = config.Levels();
        int at = 0;
        for (int t = 0; t < grid.T; t++)
        for (int groupRow = 0; groupRow < 2; groupRow++)
        for (int groupColumn = 0; groupColumn < 3; groupColumn++)
        for (int row = groupRow * merge; row < (groupRow + 1) * merge; row++)
        for (int column = groupColumn * merge; column < (groupColumn + 1) * merge; column++)
        for (int c = 0; c < 3; c++)
        for (int slot = 0; slot < temporal; slot++)
        for (int y = 0; y < patch; y++)
        for (int x = 0; x < patch; x++, at++)
        {
            byte[] frame = frames[Math.Min(t * temporal + slot, frameCount - 1)];
            byte level = frame[((row * patch + y) * width + column * patch + x) * 3 + c];
            Assert.Equal(levels[c * 256 + level], values[at]);
        }

        Assert.Equal(values.Length, at);
    }

    [Fact]
    public void Patches_equal_those_of_the_resized_picture()
    {
        (int width, int height) = (611, 397);
        byte[] rgb = new byte[width * height * 3];
        new Random(5).NextBytes(rgb);
        PatchConfig config = Qwen2 with { MaxPixels = 50000 };
        (float[] expected, GridThw grid) = Build([rgb], width, height, config);
        byte[] resized = Resample.Resize(
            rgb,
            width,
            height,
            PixelLayout.Rgb,
            grid.W * 14,
            grid.H * 14,
            ResampleFilter.Bicubic,
            pool
        );
        (float[] values, GridThw again) = Build([resized], grid.W * 14, grid.H * 14, config);
        Assert.Equal(grid, again);
        Assert.Equal(expected, values);
    }

    [Fact]
    public void The_number_of_threads_changes_nothing()
    {
        byte[] rgb = new byte[801 * 603 * 3];
        new Random(6).NextBytes(rgb);
        using var one = new WorkerPool(1);
        using var five = new WorkerPool(5);
        GridThw grid = PatchBuilder.Plan(801, 603, 1, Qwen3);
        float[] expected = new float[grid.Patches * Qwen3.PatchLength];
        float[] values = new float[expected.Length];
        PatchBuilder.Build([rgb], 801, 603, Qwen3, grid, expected, one);
        PatchBuilder.Build([rgb], 801, 603, Qwen3, grid, values, five);
        Assert.Equal(expected, values);
    }

    [Fact]
    public void A_picture_too_large_for_one_array_is_refused_with_its_patches()
    {
        PatchConfig config = Qwen2 with { MaxPixels = long.MaxValue };
        var e = Assert.Throws<VisionException>(() => PatchBuilder.Plan(60000, 60000, 1, config));
        Assert.Contains("1 x 4286 x 4286 patches of 1176 values", e.Message);
    }

    [Fact]
    public void A_frame_of_the_wrong_length_is_named()
    {
        GridThw grid = PatchBuilder.Plan(60, 60, 2, Qwen2);
        float[] values = new float[grid.Patches * Qwen2.PatchLength];
        var e = Assert.Throws<ArgumentException>(() =>
            PatchBuilder.Build([new byte[10800], new byte[10799]], 60, 60, Qwen2, grid, values, pool)
        );
        Assert.Contains("frame 1 holds 10799 bytes, 60 x 60 pixels are 10800", e.Message);
    }

    [Fact]
    public void Room_of_the_wrong_length_is_refused_with_both_numbers()
    {
        GridThw grid = PatchBuilder.Plan(60, 60, 1, Qwen2);
        var e = Assert.Throws<ArgumentException>(() =>
            PatchBuilder.Build([new byte[10800]], 60, 60, Qwen2, grid, new float[7], pool)
        );
        Assert.Contains("room for 7 values; 1 x 4 x 4 patches of 1176 are 18816", e.Message);
    }

    [Theory]
    [InlineData(0, 5, 1)]
    [InlineData(5, 5, 0)]
    [InlineData(1, 500, 1)]
    public void Nothing_to_see_is_refused(int width, int height, int frames) =>
        Assert.Throws<VisionException>(() => PatchBuilder.Plan(width, height, frames, Qwen2));

    (float[] Values, GridThw Grid) Build(byte[][] frames, int width, int height, PatchConfig config)
    {
        GridThw grid = PatchBuilder.Plan(width, height, frames.Length, config);
        float[] values = new float[grid.Patches * config.PatchLength];
        Array.Fill(values, float.NaN);
        ReadOnlyMemory<byte>[] pixels = [.. frames];
        PatchBuilder.Build(pixels, width, height, config, grid, values, pool);
        return (values, grid);
    }

    // qwen-vl-utils resizes by its own rule before the processor does.
    (byte[] Rgb, int Width, int Height) Fetch(JsonElement row, JsonElement fetch, byte[] rgb, int width, int height)
    {
        PatchConfig config = Config(row);
        (int askedHeight, int askedWidth) = (height, width);
        if (fetch.TryGetProperty("resized_height", out JsonElement h))
        {
            (askedHeight, askedWidth) = (h.GetInt32(), fetch.Int("resized_width"));
        }

        int pixelsPerToken = config.Factor * config.Factor;
        double min = fetch.TryGetProperty("min_pixels", out JsonElement low) ? low.GetDouble() : 4 * pixelsPerToken;
        double max = fetch.TryGetProperty("max_pixels", out JsonElement high)
            ? high.GetDouble()
            : 16384.0 * pixelsPerToken;
        (int newHeight, int newWidth) = SmartResize.ForImageByUtils(askedHeight, askedWidth, config.Factor, min, max);
        Assert.Equal($"[{newHeight}, {newWidth}]", row.GetProperty("fetched_size").ToString());
        byte[] resized = Resample.Resize(
            rgb,
            width,
            height,
            PixelLayout.Rgb,
            newWidth,
            newHeight,
            ResampleFilter.Bicubic,
            pool
        );
        return (resized, newWidth, newHeight);
    }

    static TheoryData<string, string> Rows(params string[] classes)
    {
        var data = new TheoryData<string, string>();
        foreach (string set in VisionGoldens.Sets)
        {
            foreach (JsonElement row in VisionGoldens.Rows(set, "preprocess/cases.json"))
            {
                // The reference cannot read pictures of 1 or 3 rows by itself; real pictures stay where they are.
                bool quirk = row.TryGetProperty("note", out JsonElement note) && note.GetString()!.Contains("quirk");
                bool video = row.TryGetProperty("frames", out _);
                bool here = video
                    ? File.Exists(VisionGoldens.Path(set, "preprocess/" + row.Text("expected")))
                    : set == "shared" || !row.Text("picture").StartsWith("..");
                if (classes.Contains(row.Text("class")) && !row.TryGetProperty("error", out _) && !quirk && here)
                {
                    data.Add(set, row.Text("id"));
                }
            }
        }

        return data;
    }

    static GridThw Grid(JsonElement grids) => grids[0].Ints() is [var t, var h, var w] ? new(t, h, w) : default;

    static JsonElement Row(string set, string id) =>
        VisionGoldens.Rows(set, "preprocess/cases.json").Single(r => r.Text("id") == id);

    static PatchConfig Config(JsonElement row)
    {
        JsonElement config = row.GetProperty("config");
        JsonElement limits = row.TryGetProperty("kwargs", out JsonElement kwargs) ? kwargs : config;
        return new PatchConfig(
            config.Int("patch_size"),
            config.Int("temporal_patch_size"),
            config.Int("merge_size"),
            [.. config.GetProperty("image_mean").EnumerateArray().Select(e => e.GetSingle())],
            [.. config.GetProperty("image_std").EnumerateArray().Select(e => e.GetSingle())],
            1 / 255.0,
            limits.GetProperty("min_pixels").GetInt64(),
            limits.GetProperty("max_pixels").GetInt64()
        );
    }

    // The picture as RGB, as the row opens it: of all the ways it is stored and may be turned, the one with the golden hash.
    static (byte[] Rgb, int Width, int Height) Picture(string set, JsonElement row)
    {
        string name = row.Text("picture");
        JsonElement about = VisionGoldens.Read(set, "preprocess/cases.json").GetProperty("pictures").GetProperty(name);
        string opened = row.Text("open") switch
        {
            "PIL.Image.open" => "convert",
            "load_image" => "load_image",
            "qwen_vl_utils.fetch_image" => "qwen_vl_utils.to_rgb",
            string other => throw new InvalidDataException(other),
        };
        string hash = about.GetProperty("rgb_sha256").Text(opened);
        string file = VisionGoldens.Path(set, "preprocess/" + name);
        string decoded = VisionGoldens.Path(set, "preprocess/decoded/" + Path.GetFileName(name));
        (byte[] Rgb, int Width, int Height) picture = new[] { decoded + ".png", decoded + ".white.png", file }
            .Where(path => path.EndsWith(".png") && File.Exists(path))
            .SelectMany(path => Turned(PngReader.Read(path)))
            .FirstOrDefault(p => Hash(p.Rgb) == hash);
        if (picture.Rgb is not null)
        {
            return picture;
        }

        RgbImage decodedHere = ImageDecoder.DecodeFile(file);
        byte[] rgb = decodedHere.Pixels.ToArray();
        Assert.Equal(hash, Hash(rgb));
        return (rgb, decodedHere.Width, decodedHere.Height);
    }

    static IEnumerable<(byte[] Rgb, int Width, int Height)> Turned(PngReader png)
    {
        if (png.Channels != 3)
        {
            yield break;
        }

        for (int turn = 0; turn < 8; turn++)
        {
            bool transpose = (turn & 1) != 0;
            (int width, int height) = transpose ? (png.Height, png.Width) : (png.Width, png.Height);
            byte[] rgb = new byte[png.Pixels.Length];
            for (int y = 0; y < height; y++)
            {
                for (int x = 0; x < width; x++)
                {
                    (int fromX, int fromY) = transpose ? (y, x) : (x, y);
                    fromX = (turn & 2) != 0 ? png.Width - 1 - fromX : fromX;
                    fromY = (turn & 4) != 0 ? png.Height - 1 - fromY : fromY;
                    png.Pixels.AsSpan((fromY * png.Width + fromX) * 3, 3).CopyTo(rgb.AsSpan((y * width + x) * 3));
                }
            }

            yield return (rgb, width, height);
        }
    }

    static string Hash(ReadOnlySpan<byte> bytes) => Convert.ToHexStringLower(SHA256.HashData(bytes));
}
