using System.Text.Json;
using VlmSharp.Kernels;
using VlmSharp.Kernels.Imaging;
using VlmSharp.Testing;
using VlmSharp.Vision;
using Xunit;

namespace VlmSharp.Tests.Vision;

public sealed class ResampleTests : IDisposable
{
    readonly WorkerPool pool = new(2);

    public void Dispose() => pool.Dispose();

    // set, row, expected file
    public static TheoryData<string, int, string> Cases
    {
        get
        {
            var data = new TheoryData<string, int, string>();
            foreach (string set in VisionGoldens.Sets)
            {
                JsonElement[] rows = [.. VisionGoldens.Rows(set, "bicubic/cases.json")];
                for (int i = 0; i < rows.Length; i++)
                {
                    string expected = rows[i].Text("expected");
                    if (set != "local" || File.Exists(VisionGoldens.Path(set, "bicubic/" + expected)))
                    {
                        data.Add(set, i, expected);
                    }
                }
            }

            return data;
        }
    }

    [Theory, MemberData(nameof(Cases))]
    public void Every_byte_equals_Pillows(string set, int index, string file)
    {
        JsonElement row = VisionGoldens.Rows(set, "bicubic/cases.json").ElementAt(index);
        PngReader source = PngReader.Read(VisionGoldens.Path(set, "bicubic/" + row.Text("source")));
        PngReader expected = PngReader.Read(VisionGoldens.Path(set, "bicubic/" + file));
        Assert.Equal(expected.Channels, source.Channels);
        Assert.Equal(expected.Pixels, Apply(row, source));
    }

    [Fact]
    public void The_number_of_threads_changes_nothing()
    {
        byte[] picture = new byte[301 * 203 * 3];
        new Random(1).NextBytes(picture);
        byte[] expected = Resize(1);
        Assert.Equal(expected, Resize(2));
        Assert.Equal(expected, Resize(5));

        byte[] Resize(int threads)
        {
            using var some = new WorkerPool(threads);
            return Resample.Resize(picture, 301, 203, PixelLayout.Rgb, 57, 311, ResampleFilter.Bicubic, some);
        }
    }

    [Fact]
    public void The_same_size_copies_also_with_alpha()
    {
        byte[] picture = [200, 100, 50, 3];
        Assert.Equal(picture, Resample.Resize(picture, 1, 1, PixelLayout.Rgba, 1, 1, ResampleFilter.Bicubic, pool));
    }

    [Fact]
    public void A_wrong_number_of_bytes_names_both_numbers()
    {
        var e = Assert.Throws<ArgumentException>(() =>
            Resample.Resize(new byte[11], 2, 2, PixelLayout.Rgb, 1, 1, ResampleFilter.Bicubic, pool)
        );
        Assert.Contains("11 bytes are not 2 x 2 pixels", e.Message);
    }

    [Fact]
    public void A_box_outside_the_picture_is_refused()
    {
        var box = new ResampleBox(1, 0, 5, 4);
        Assert.Throws<ArgumentOutOfRangeException>(() =>
            Resample.Resize(new byte[48], 4, 4, PixelLayout.Rgb, 2, 2, ResampleFilter.Bicubic, pool, box)
        );
        Assert.Throws<ArgumentException>(() => Resample.Nearest(new byte[48], 4, 4, PixelLayout.Rgb, 2, 2, box));
    }

    byte[] Apply(JsonElement row, PngReader source)
    {
        var layout = (PixelLayout)source.Channels;
        if (row.Text("operation") == "reduce")
        {
            int[] factor = row.GetProperty("factor").Ints();
            return Resample.Reduce(source.Pixels, source.Width, source.Height, layout, factor[0], factor[1]);
        }

        (int width, int height) = (row.Int("width"), row.Int("height"));
        ResampleBox? box = null;
        if (row.TryGetProperty("box", out JsonElement edges))
        {
            float[] e = [.. edges.EnumerateArray().Select(x => (float)x.GetDouble())];
            box = new ResampleBox(e[0], e[1], e[2], e[3]);
        }

        if (row.Text("filter") == "nearest")
        {
            return Resample.Nearest(source.Pixels, source.Width, source.Height, layout, width, height, box);
        }

        double? gap = row.TryGetProperty("reducing_gap", out JsonElement g) ? g.GetDouble() : null;
        var filter = Enum.Parse<ResampleFilter>(row.Text("filter"), ignoreCase: true);
        return Resample.Resize(
            source.Pixels,
            source.Width,
            source.Height,
            layout,
            width,
            height,
            filter,
            pool,
            box,
            gap
        );
    }
}
