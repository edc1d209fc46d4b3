using System.Text.Json;
using VlmSharp.Chat;
using VlmSharp.Engine;
using VlmSharp.Generation;
using VlmSharp.Grounding;
using VlmSharp.Media.Images;
using VlmSharp.Media.Images.Slides;
using VlmSharp.Testing;
using VlmSharp.Tests.Engine;
using VlmSharp.Tests.Media;
using VlmSharp.Tiling;
using VlmSharp.Vision;
using Xunit;

namespace VlmSharp.Tests.Tiling;

public sealed class SlideScanTests : IDisposable
{
    readonly TemporaryDirectory directory = new();

    public void Dispose() => directory.Dispose();

    /// <summary>Answers by a script; a token is a word.</summary>
    sealed class Scripted(Func<RgbImage?, string, TileReply> answer, int maxTextTokens = 10_000) : ITileModel
    {
        internal List<string> Prompts { get; } = [];

        internal List<RgbImage> Pictures { get; } = [];

        public int MaxTextTokens => maxTextTokens;

        public int CountTokens(string text) => text.Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries).Length;

        public TileReply Ask(IReadOnlyList<ChatContent> content, CancellationToken cancellation)
        {
            string prompt = string.Concat(content.OfType<ChatText>().Select(t => t.Text));
            RgbImage? picture = content.OfType<ChatMedia>().SingleOrDefault()?.Source.Frames[0];
            if (picture is null)
            {
                Prompts.Add(prompt);
                Assert.InRange(CountTokens(prompt), 1, MaxTextTokens);
            }
            else
            {
                Pictures.Add(picture);
            }

            return answer(picture, prompt);
        }
    }

    static TileReply Says(string text, params GroundedItem[] items) => new(text, FinishReason.Stop, items);

    /// <summary>White with black squares.</summary>
    LargeImage Glass(int width, int height, params (int X, int Y, int Side)[] squares)
    {
        byte[] pixels = new byte[3 * width * height];
        pixels.AsSpan().Fill(250);
        foreach ((int left, int top, int side) in squares)
        {
            for (int y = top; y < top + side; y++)
            {
                pixels.AsSpan(3 * ((y * width) + left), 3 * side).Clear();
            }
        }

        return LargeImage.Open(
            directory.Write(
                "glass.tif",
                TestPictures.Save(
                    new(width, height, pixels),
                    "tiffsave_buffer",
                    "tile=true,compression=deflate,pyramid=true"
                )
            )
        );
    }

    /// <summary>Finds the dark square on a tile by looking, and says so as Qwen2-VL would, in thousandths.</summary>
    static TileReply FindSquare(RgbImage tile)
    {
        (int left, int top, int right, int bottom) = (int.MaxValue, int.MaxValue, 0, 0);
        for (int y = 0; y < tile.Height; y++)
        {
            for (int x = 0; x < tile.Width; x++)
            {
                if (tile.Pixels[3 * ((y * tile.Width) + x)] < 128)
                {
                    (left, top) = (Math.Min(left, x), Math.Min(top, y));
                    (right, bottom) = (Math.Max(right, x + 1), Math.Max(bottom, y + 1));
                }
            }
        }

        static int Share(int value, int size) => (int)Math.Round(1000.0 * value / size);
        string text =
            right == 0
                ? "Nothing."
                : $"<|object_ref_start|>square<|object_ref_end|><|box_start|>({Share(left, tile.Width)},{Share(top, tile.Height)}),({Share(right, tile.Width)},{Share(bottom, tile.Height)})<|box_end|>";
        PictureFrame frame = new(tile.Width, tile.Height, tile.Width, tile.Height);
        return Says(text, [.. GroundingParser.Parse(text, GroundingDialect.Qwen2VL, frame).Items]);
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    public void Boxes_of_tiles_are_found_on_the_slide_once_and_to_the_pixel(double downsample)
    {
        // One in two rows, one where four tiles meet, one that a tile's edge cuts; no tile shows two.
        (int X, int Y, int Side)[] squares = [(100, 1300, 60), (3310, 860, 80), (970, 420, 60)];
        using LargeImage slide = Glass(4200, 1900, squares);
        Scripted model = new((tile, prompt) => tile is null ? Says("Three squares.") : FindSquare(tile));
        ScanResult result = SlideScan.Run(
            slide,
            new()
            {
                Question = "Where are squares?",
                TileSide = (int)(1000 / downsample),
                Downsample = downsample,
                Overlap = 0.2,
            },
            model
        );
        Assert.Equal(3, result.Items.Count);
        foreach ((int x, int y, int side) in squares)
        {
            // Thousandths of a thousand pixels, and pixels of two by two at half the scale.
            GroundedItem item = result.Items.Select(i => i.Item).MinBy(i => Math.Abs(i.Coordinates[0] - x))!;
            Assert.Equal("square", item.Label);
            double[] expected = [x, y, x + side, y + side];
            for (int i = 0; i < 4; i++)
            {
                Assert.InRange(item.Coordinates[i], expected[i] - 1, expected[i] + 1);
            }
        }

        Assert.Equal("Three squares.", result.Answer);
        Assert.Contains(
            "Counted in all tiles, each thing once: 3 x square.",
            model.Prompts[^1],
            StringComparison.Ordinal
        );
        Assert.Contains(result.Items, i => i.Tiles.Count > 1);
        // The final prompt speaks of the slide, not of tiles: the second square is at 3310 there.
        Assert.Matches(@"\(33(09|10|11), 8(59|60|61), ", model.Prompts[^1]);
    }

    [Fact]
    public void What_was_found_is_drawn_on_the_overview()
    {
        using LargeImage slide = Glass(2000, 1000, (1500, 500, 100));
        ScanResult result = SlideScan.Run(
            slide,
            new() { Question = "Where?", TileSide = 1000 },
            new Scripted((tile, _) => tile is null ? Says("There.") : FindSquare(tile))
        );
        RgbImage overview = slide.ReadOverview(400);
        RgbImage drawn = result.Draw(overview);
        Assert.Equal((400, 200), (drawn.Width, drawn.Height));
        // The box's left edge, and a place far from it.
        Assert.NotEqual(Colour(overview, 300, 110), Colour(drawn, 300, 110));
        Assert.Equal(Colour(overview, 40, 20), Colour(drawn, 40, 20));

        static int Colour(RgbImage image, int x, int y)
        {
            ReadOnlySpan<byte> pixel = image.Pixels.Slice(3 * ((y * image.Width) + x), 3);
            return pixel[0] + (256 * pixel[1]) + (65536 * pixel[2]);
        }
    }

    [Fact]
    public void Background_is_skipped_and_said_to_be()
    {
        using LargeImage slide = Glass(2000, 1000, (1500, 500, 100));
        Scripted model = new((tile, _) => Says("a square"));
        List<ScanProgress> steps = [];
        ScanResult result = SlideScan.Run(
            slide,
            new()
            {
                Question = "What?",
                TileSide = 500,
                Overlap = 0,
            },
            model,
            steps.Add
        );
        Assert.Equal(8, result.Tiles.Count);
        Assert.Equal(
            [false, false, false, false, false, false, false, true],
            result.Tiles.Select(t => t.Answer is not null)
        );
        Assert.Equal("a square", result.Answer); // one answer needs no merging
        Assert.Empty(model.Prompts);
        Assert.Equal(8, steps.Count(s => s.Step == ScanStep.TileDone));
        Assert.All(steps.Where(s => s.Step == ScanStep.TileDone), (s, i) => Assert.Same(result.Tiles[i], s.Tile));

        Assert.Equal(
            8,
            SlideScan
                .Run(
                    slide,
                    new()
                    {
                        Question = "What?",
                        TileSide = 500,
                        Overlap = 0,
                        Background = null,
                    },
                    model
                )
                .Tiles.Count(t => t.Answer is not null)
        );
    }

    [Fact]
    public void A_slide_of_nothing_but_glass_has_no_answer()
    {
        using LargeImage slide = Glass(600, 600);
        ScanResult result = SlideScan.Run(
            slide,
            new() { Question = "What?", TileSide = 200 },
            new Scripted((_, _) => throw new InvalidOperationException("nobody should ask"))
        );
        Assert.Null(result.Answer);
        Assert.Null(result.Finish);
    }

    [Fact]
    public void Answers_beyond_one_prompt_are_merged_in_levels_and_none_is_lost()
    {
        using LargeImage slide = Glass(1600, 1600);
        int asked = 0;
        Scripted model = new(
            (tile, prompt) =>
            {
                if (tile is not null)
                {
                    asked++;
                    return Says($"{string.Concat(Enumerable.Repeat("word ", 20))}fact{asked}");
                }

                // A summary keeps the facts.
                string[] facts =
                [
                    .. prompt.Split((char[]?)null).Where(w => w.StartsWith("fact", StringComparison.Ordinal)),
                ];
                return Says(string.Join(' ', facts));
            },
            maxTextTokens: 400
        );
        ScanResult result = SlideScan.Run(
            slide,
            new()
            {
                Question = "Which ones?",
                TileSide = 200,
                Overlap = 0,
                Background = null,
            },
            model
        );
        Assert.Equal(64, asked);
        Assert.Equal(Enumerable.Range(1, 64).Select(i => $"fact{i}"), result.Answer!.Split(' '));
        Assert.True(model.Prompts.Count > 5, "several prompts were needed");
        Assert.Contains("[row 1, column 1 to row ", model.Prompts[^1], StringComparison.Ordinal);
    }

    [Fact]
    public void Merging_ends_even_if_no_summary_is_shorter()
    {
        using LargeImage slide = Glass(1600, 1600);
        string endless = string.Concat(Enumerable.Repeat("blah ", 5000));
        Scripted model = new((_, _) => Says(endless), maxTextTokens: 300);
        ScanResult result = SlideScan.Run(
            slide,
            new()
            {
                Question = "What?",
                TileSide = 200,
                Overlap = 0,
                Background = null,
            },
            model
        );
        Assert.Equal(endless, result.Answer);
        Assert.InRange(model.Prompts.Count, 2, 64);
        Assert.Contains("[...]", model.Prompts[^1], StringComparison.Ordinal);
    }

    [Fact]
    public void A_question_too_long_to_be_merged_is_refused_before_the_first_tile()
    {
        using LargeImage slide = Glass(400, 400, (0, 0, 300));
        CacheFullException e = Assert.Throws<CacheFullException>(() =>
            SlideScan.Run(
                slide,
                new() { Question = string.Concat(Enumerable.Repeat("why ", 200)), TileSide = 200 },
                new Scripted((_, _) => throw new InvalidOperationException("nobody should ask"), maxTextTokens: 300)
            )
        );
        Assert.Contains("of 300", e.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_cancelled_scan_asks_no_more()
    {
        using LargeImage slide = Glass(1000, 1000, (0, 0, 900));
        using CancellationTokenSource source = new();
        int asked = 0;
        List<ScanProgress> steps = [];
        Scripted model = new(
            (_, _) =>
            {
                if (++asked == 2)
                {
                    source.Cancel();
                }

                return Says("dark");
            }
        );
        Assert.ThrowsAny<OperationCanceledException>(() =>
            SlideScan.Run(
                slide,
                new()
                {
                    Question = "What?",
                    TileSide = 250,
                    Background = null,
                },
                model,
                steps.Add,
                source.Token
            )
        );
        Assert.Equal(2, asked);
        Assert.Equal(2, steps.Count(s => s.Tile is not null)); // what was answered is not lost
    }

    [Fact]
    public void Too_many_tiles_are_refused_before_the_first()
    {
        using LargeImage slide = Glass(1000, 1000);
        Assert.Throws<VisionException>(() =>
            SlideScan.Run(
                slide,
                new()
                {
                    Question = "What?",
                    TileSide = 50,
                    MaxTiles = 99,
                },
                new Scripted((_, _) => Says(""))
            )
        );
    }

    [Fact]
    public void A_real_model_is_asked_tile_by_tile_and_then_for_all()
    {
        TestSlides.Write(directory["slide.tif"], new(2000, 1500) { Factors = [1, 2, 4] });
        using LargeImage slide = LargeImage.Open(directory["slide.tif"]);
        using ChatModel chat = TinyModel.Load();
        using Conversation conversation = new(chat, 2048);
        ConversationTileModel model = new(
            chat,
            conversation,
            chat.DefaultSampling with
            {
                Temperature = 0,
                MaxNewTokens = 6,
            },
            "Be brief."
        );
        TileSize size = TileSize.Largest(chat.Model.Info.Processor, default, 64);
        ScanResult result = SlideScan.Run(
            slide,
            new()
            {
                Question = "What?",
                TileSide = size.Side,
                Downsample = 5,
            },
            model
        );
        Assert.Equal(4, result.Tiles.Count);
        Assert.All(result.Tiles, tile => Assert.NotNull(tile.Answer));
        Assert.NotNull(result.Answer);
        // The conversation holds nothing but the last question: tiles do not pile up.
        Assert.Equal(3, conversation.Messages.Count);
        Assert.Empty(conversation.Messages[1].Content.OfType<ChatMedia>());

        // An answer depends on its tile alone.
        Tile tile = result.Tiles[2].Tile;
        using Conversation alone = new(chat, 2048);
        alone.Add(ChatMessage.System("Be brief."));
        ChatMedia picture = new(VlmSharp.Models.MediaSource.Image(tile.Read(slide)));
        Assert.Equal(
            result.Tiles[2].Answer,
            alone
                .Ask(
                    ChatMessage.User(picture, new ChatText("What?")),
                    chat.DefaultSampling with
                    {
                        Temperature = 0,
                        MaxNewTokens = 6,
                    }
                )
                .Text
        );
    }

    [Fact]
    public void Json_and_GeoJson_hold_positions_on_the_slide()
    {
        using LargeImage slide = Glass(1000, 600, (650, 100, 50));
        ScanResult result = SlideScan.Run(
            slide,
            new()
            {
                Question = "Where \"are\" squares?",
                TileSide = 600,
                Overlap = 0,
            },
            new Scripted(
                (tile, _) =>
                    Says(
                        "At 250.",
                        new GroundedItem("square", GroundedKind.Box, [250, 100, 300, 150], default, new(3, 6), 0.75),
                        new GroundedItem(null, GroundedKind.Point, [10.25, 20], default, default)
                    )
            )
        );
        using MemoryStream stream = new();
        result.WriteJson(stream);
        JsonElement json = JsonDocument.Parse(stream.ToArray()).RootElement;
        Assert.Equal(1000, json.GetProperty("picture").GetProperty("width").GetInt32());
        Assert.Equal("Where \"are\" squares?", json.GetProperty("question").GetString());
        Assert.Equal("At 650, 100, 700, 150.", json.GetProperty("answer").GetString());
        JsonElement item = json.GetProperty("items")[0];
        Assert.Equal([650, 100, 700, 150], item.GetProperty("coordinates").EnumerateArray().Select(e => e.GetInt32()));
        Assert.Equal([1], item.GetProperty("tiles").EnumerateArray().Select(e => e.GetInt32()));
        JsonElement tiles = json.GetProperty("tiles");
        Assert.Equal([true, false], tiles.EnumerateArray().Select(t => t.GetProperty("background").GetBoolean()));
        Assert.Equal("At 250.", tiles[1].GetProperty("answer").GetString());
        Assert.Equal(400, tiles[1].GetProperty("x").GetInt32());

        stream.SetLength(0);
        result.WriteGeoJson(stream);
        JsonElement features = JsonDocument.Parse(stream.ToArray()).RootElement.GetProperty("features");
        Assert.Equal(3, features.GetArrayLength());
        Assert.Equal("tile", features[0].GetProperty("properties").GetProperty("objectType").GetString());
        JsonElement box = features[1];
        Assert.Equal("annotation", box.GetProperty("properties").GetProperty("objectType").GetString());
        Assert.Equal(
            "square",
            box.GetProperty("properties").GetProperty("classification").GetProperty("name").GetString()
        );
        Assert.Equal(0.75, box.GetProperty("properties").GetProperty("measurements").GetProperty("score").GetDouble());
        double[][] ring =
        [
            .. box.GetProperty("geometry")
                .GetProperty("coordinates")[0]
                .EnumerateArray()
                .Select(p => p.EnumerateArray().Select(v => v.GetDouble()).ToArray()),
        ];
        Assert.Equal(
            [
                [650, 100],
                [700, 100],
                [700, 150],
                [650, 150],
                [650, 100],
            ],
            ring
        );
        Assert.Equal("Point", features[2].GetProperty("geometry").GetProperty("type").GetString());
        Assert.Equal(410.25, features[2].GetProperty("geometry").GetProperty("coordinates")[0].GetDouble());
    }
}
