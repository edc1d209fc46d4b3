using System.Text.Json;
using VlmSharp.Vision;
using Xunit;

namespace VlmSharp.Tests.Vision;

public sealed class MRopeTests
{
    const int Merge = 2;

    [Theory]
    [InlineData("qwen2-vl", 20)]
    [InlineData("qwen2.5-vl", 35)]
    [InlineData("qwen3-vl", 23)]
    public void Every_position_equals_the_reference(string family, int count)
    {
        JsonElement[] rows = [.. VisionGoldens.Rows("local", "mrope.json").Where(r => r.Text("family") == family)];
        Assert.Equal(count, rows.Length);
        foreach (JsonElement row in rows)
        {
            JsonElement ids = row.GetProperty("input_ids");
            for (int sequence = 0; sequence < ids.GetArrayLength(); sequence++)
            {
                Compare(row, sequence);
            }
        }
    }

    [Fact]
    public void What_a_token_is_called_does_not_matter_only_where_the_media_are()
    {
        int[] positions = new int[3 * 4];
        Assert.Equal(0, MRope.Positions(4, [], positions));
        Assert.Equal([0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3], positions);
    }

    [Fact]
    public void A_medium_outside_the_prompt_names_its_tokens()
    {
        var span = new MediaSpan(3, new GridThw(1, 4, 4), Merge);
        var e = Assert.Throws<ArgumentException>(() => MRope.Positions(6, [span], new int[18]));
        Assert.Contains("takes the tokens [3, 7); the ones from 0 to 6 are free", e.Message);
    }

    [Fact]
    public void Media_must_not_overlap()
    {
        MediaSpan[] spans = [new(0, new GridThw(1, 4, 4), Merge), new(3, new GridThw(1, 2, 2), Merge)];
        Assert.Throws<ArgumentException>(() => MRope.Positions(9, spans, new int[27]));
    }

    [Fact]
    public void A_grid_that_does_not_divide_is_refused()
    {
        var span = new MediaSpan(0, new GridThw(1, 3, 4), Merge);
        Assert.Throws<ArgumentException>(() => MRope.Positions(9, [span], new int[27]));
    }

    static void Compare(JsonElement row, int sequence)
    {
        int[] ids = row.GetProperty("input_ids")[sequence].Ints();
        JsonElement mask = row.GetProperty("attention_mask");
        int padding = mask.ValueKind == JsonValueKind.Null ? 0 : mask[sequence].Ints().Count(m => m == 0);
        int tokens = ids.Length - padding;
        MediaSpan[] media = Spans(row, sequence, ids, padding);

        int[] positions = new int[3 * tokens];
        int delta = MRope.Positions(tokens, media, positions);

        // The reference counts the delta of a padded sequence against the padded length.
        string what = $"{row.Text("family")}, {row.Text("why")}, sequence {sequence}";
        Assert.True(row.GetProperty("rope_deltas").Ints()[sequence] == delta - padding, what);
        for (int axis = 0; axis < 3; axis++)
        {
            int[] expected = row.GetProperty("position_ids")[axis][sequence].Ints();
            Assert.Equal(expected[padding..], positions.AsSpan(axis * tokens, tokens).ToArray());
        }
    }

    // The runs of picture and video ids, matched with the segments the row was made of.
    static MediaSpan[] Spans(JsonElement row, int sequence, int[] ids, int padding)
    {
        (int image, int video) = (151655, 151656);
        bool timed =
            row.TryGetProperty("second_per_grid_ts", out JsonElement given) && given.ValueKind != JsonValueKind.Null;
        float tokensPerSecond = row.TryGetProperty("tokens_per_second", out JsonElement t) ? t.GetSingle() : 1;
        bool framesApart = row.Text("family") == "qwen3-vl";
        var spans = new List<MediaSpan>();
        int at = padding;
        foreach (JsonElement segment in row.GetProperty("batch")[sequence].EnumerateArray())
        {
            if (segment.Text("kind") == "text")
            {
                continue;
            }

            int pad = segment.Text("kind") == "image" ? image : video;
            int[] grid = segment.GetProperty("grid_thw").Ints();
            float seconds = pad == video && timed ? segment.GetProperty("second_per_grid").GetSingle() : 1;
            int parts = framesApart ? grid[0] : 1;
            for (int part = 0; part < parts; part++)
            {
                at = Array.IndexOf(ids, pad, at);
                var thw = new GridThw(grid[0] / parts, grid[1], grid[2]);
                spans.Add(new MediaSpan(at - padding, thw, Merge, seconds, tokensPerSecond));
                at += spans[^1].Tokens;
            }
        }

        return [.. spans];
    }
}
