using System.Globalization;
using System.Runtime.CompilerServices;
using VlmSharp.Chat;
using VlmSharp.Documents;
using VlmSharp.Generation;
using VlmSharp.Grounding;
using VlmSharp.Media.Documents;
using VlmSharp.Media.Images;
using VlmSharp.Models;
using VlmSharp.Testing;
using VlmSharp.Tests.Engine;
using VlmSharp.Vision;
using Xunit;

namespace VlmSharp.Tests.Documents;

public sealed class DocumentParserTests : IDisposable
{
    readonly TemporaryDirectory directory = new();

    public void Dispose() => directory.Dispose();

    DocumentFile Open(PdfBuilder pdf) => DocumentFile.Open(directory.Write("document.pdf", pdf.Build()));

    static PdfBuilder ThreePages =>
        new PdfBuilder()
            .Page(PdfBuilder.Text("One two", 100, 700))
            .Page(PdfBuilder.Text("Three", 90, 300), "/Rotate 90")
            .Page(PdfBuilder.Text("Four", 120, 700), "/CropBox [50 400 400 780]");

    static PageResolution Dpi(double dpi) => new(dpi, long.MaxValue);

    /// <summary>A model that sees every word where the file has it, and writes integers, as models do.</summary>
    static PageAnswer Reader(DocumentFile document, PageImage image, GroundingDialect dialect)
    {
        (int height, int width) = SmartResize.ForImage(image.Image.Height, image.Image.Width, 28, 3136, 12845056);
        PictureFrame frame = new(image.Image.Width, image.Image.Height, width, height);
        Mapping map = frame.Map(CoordinateSpace.OriginalPixels, dialect.Space());
        IEnumerable<string> words = document
            .Words(image.Page)
            .Select(word =>
            {
                double[] box = map.Apply([
                    .. ((double[])[word.Left, word.Top, word.Right, word.Bottom]).Select(image.ToPixels),
                ]);
                string numbers = string.Join(
                    ' ',
                    box.Select(v => Math.Round(v).ToString(CultureInfo.InvariantCulture))
                );
                return $"<p data-bbox=\"{numbers}\">{word.Text}</p>";
            });
        return new($"```html\n<html><body>{string.Concat(words)}</body></html>```", FinishReason.Stop, width, height);
    }

    [Theory]
    [InlineData(GroundingDialect.Qwen25VL)]
    [InlineData(GroundingDialect.Qwen3VL)]
    public void Boxes_in_points_come_back_from_the_model_s_space_within_a_pixel(GroundingDialect dialect)
    {
        DocumentFile document = Open(ThreePages);
        foreach (double dpi in (double[])[72, 100, 133.7])
        {
            DocumentParser parser = new(
                (image, _, _) => Reader(document, image, dialect),
                dialect,
                ParsePrompt.For(dialect, DocumentFormat.Json)
            );
            List<ParsedPage> pages = [.. parser.Parse(document, PageSelection.All, _ => Dpi(dpi))];
            Assert.Equal(
                ["One", "two", "Three", "Four"],
                pages.SelectMany(p => p.Elements).Select(e => TextRuns.Plain(e.Text))
            );
            foreach ((ParsedPage page, DocumentPage known) in pages.Zip(document.Pages(PageSelection.All)))
            {
                // Half a unit of what the model writes: a pixel of what it saw, or a thousandth of the side.
                double unit =
                    dialect == GroundingDialect.Qwen25VL ? 1 : Math.Max(page.ImageWidth, page.ImageHeight) / 1000.0;
                double pixel = 72 / dpi * Math.Max(1, unit);
                foreach ((DocumentElement element, PageWord word) in page.Elements.Zip(document.Words(known)))
                {
                    Assert.InRange(Math.Abs(element.Box!.Value.Left - word.Left), 0, pixel);
                    Assert.InRange(Math.Abs(element.Box!.Value.Top - word.Top), 0, pixel);
                    Assert.InRange(Math.Abs(element.Box!.Value.Right - word.Right), 0, pixel);
                    Assert.InRange(Math.Abs(element.Box!.Value.Bottom - word.Bottom), 0, pixel);
                }

                Assert.Empty(page.Warnings);
            }
        }
    }

    [Fact]
    public void Prompts_are_the_published_ones()
    {
        ParsePrompt html = ParsePrompt.For(GroundingDialect.Qwen25VL, DocumentFormat.Markdown);
        Assert.Equal(("QwenVL HTML ", PageSyntax.Html), (html.Text, html.Syntax));
        Assert.StartsWith("You are an AI specialized in recognizing and extracting text from images.", html.System);
        Assert.Equal(
            [new(null, "qwenvl html", PageSyntax.Html), new(null, "qwenvl markdown", PageSyntax.Markdown)],
            ((DocumentFormat[])[DocumentFormat.Html, DocumentFormat.Markdown]).Select(f =>
                ParsePrompt.For(GroundingDialect.Qwen3VL, f)
            )
        );
        Assert.Equal(
            ParsePrompt.For(null, DocumentFormat.Html),
            ParsePrompt.For(GroundingDialect.Qwen2VL, DocumentFormat.Html)
        );
    }

    [Fact]
    public void Only_the_chosen_pages_are_asked_about()
    {
        List<int> asked = [];
        DocumentFile document = Open(ThreePages);
        DocumentParser parser = new(
            (image, _, _) =>
            {
                asked.Add(image.Page.Number);
                return new("<p>x</p>", FinishReason.Stop, 28, 28);
            },
            GroundingDialect.Qwen3VL,
            Pages.Html
        );
        Assert.Equal([1, 3], parser.Parse(document, PageSelection.Parse("1,3"), _ => Dpi(10)).Select(p => p.Number));
        Assert.Equal([1, 3], asked);
    }

    [Fact]
    public void A_page_that_was_cancelled_is_kept_and_is_the_last()
    {
        using CancellationTokenSource source = new();
        DocumentParser parser = new(
            (image, _, _) =>
            {
                if (image.Page.Number == 2)
                {
                    source.Cancel();
                }

                return new(
                    "<p>x</p>",
                    source.IsCancellationRequested ? FinishReason.Cancelled : FinishReason.Stop,
                    28,
                    28
                );
            },
            GroundingDialect.Qwen3VL,
            Pages.Html
        );
        List<ParsedPage> pages =
        [
            .. parser.Parse(Open(ThreePages), PageSelection.All, _ => Dpi(10), cancellation: source.Token),
        ];
        Assert.Equal([1, 2], pages.Select(p => p.Number));
        Assert.Contains("cancelled", pages[1].Warnings[0]);
    }

    [Fact]
    public void A_page_that_was_read_is_not_lost_when_the_next_one_fails()
    {
        DocumentParser parser = new(
            (image, _, _) =>
                image.Page.Number == 2
                    ? throw new MediaException("document.pdf, page 2", "broken")
                    : new("<p>x</p>", FinishReason.Stop, 28, 28),
            GroundingDialect.Qwen3VL,
            Pages.Html
        );
        List<int> read = [];
        Assert.Throws<MediaException>(() =>
        {
            foreach (ParsedPage page in parser.Parse(Open(ThreePages), PageSelection.All, _ => Dpi(10)))
            {
                read.Add(page.Number);
            }
        });
        Assert.Equal([1], read);
    }

    [Fact]
    public void A_page_s_picture_is_let_go_before_the_next_one_is_drawn()
    {
        List<WeakReference> pictures = [];
        DocumentParser parser = new(
            (image, _, _) =>
            {
                GC.Collect();
                Assert.DoesNotContain(pictures, picture => picture.IsAlive);
                Remember(pictures, image);
                return new("<p>x</p>", FinishReason.Stop, 28, 28);
            },
            GroundingDialect.Qwen3VL,
            Pages.Html
        );
        Assert.Equal(3, parser.Parse(Open(ThreePages), PageSelection.All, _ => Dpi(72)).Count());
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    static void Remember(List<WeakReference> pictures, PageImage image) => pictures.Add(new(image.Image));

    [Fact]
    public void Boxes_are_drawn_where_they_are_on_the_page_s_picture()
    {
        ParsedPage page = Pages.Read(
            "<ul data-bbox='100 100 900 300'><li data-bbox='100 100 900 200'>a</li></ul><h1 data-bbox='0 900 1000 1000'>b</h1>"
        );
        IReadOnlyList<GroundedItem> items = PageOverlay.Items(page);
        Assert.Equal(["list", "item", "heading"], items.Select(i => i.Label));
        Assert.Equal([25, 50, 225, 100], items[1].Coordinates); // of a picture of 250 x 500 pixels
        RgbImage drawn = Overlay.Draw(Pages.Blank().Image, items);
        Assert.False(Pages.Blank().Image.Pixels.SequenceEqual(drawn.Pixels));
    }

    [Fact]
    public void Pages_of_a_message_are_announced_by_their_numbers()
    {
        using ChatModel chat = ChatModel.Load(Goldens.Local("qwen2-vl/checkpoint"), threads: 1);
        IMediaProcessor processor = chat.Model.Info.Processor;
        IReadOnlyList<ChatContent> parts = DocumentContent.Parts(
            Open(ThreePages),
            PageSelection.Parse("2-"),
            processor,
            maxTokens: 20
        );
        Assert.Equal(["Page 2:", "Page 3:"], parts.OfType<ChatText>().Select(text => text.Text));
        Assert.Equal([false, true, false, true], parts.Select(part => part is ChatMedia));
        Assert.All(
            parts.OfType<ChatMedia>(),
            page => Assert.InRange(processor.Plan(page.Source.Shape, page.Limits).Tokens, 12, 20)
        );
    }

    [Fact]
    public void A_page_is_drawn_with_the_pixels_the_model_will_look_at()
    {
        using ChatModel chat = ChatModel.Load(Goldens.Local("qwen2-vl/checkpoint"), threads: 1);
        IMediaProcessor processor = chat.Model.Info.Processor;
        DocumentPage letter = new(1, 612, 792);
        foreach (long max in (long[])[50_176, 401_408])
        {
            (PageResolution resolution, PixelLimits limits) = DocumentContent.Fit(
                processor,
                letter,
                new(MinPixels: 784, MaxPixels: max)
            );
            Assert.Equal(max, limits.MaxPixels);
            double dpi = resolution.For(letter);
            (long width, long height) = PageResolution.Size(letter, dpi);
            Assert.InRange(width * height, 0.85 * max, max);
        }

        (PageResolution few, PixelLimits fewLimits) = DocumentContent.Fit(
            processor,
            letter,
            new(MinPixels: 784),
            maxTokens: 20
        );
        (int w, int h) = (
            (int)PageResolution.Size(letter, few.For(letter)).Width,
            (int)PageResolution.Size(letter, few.For(letter)).Height
        );
        Assert.InRange(processor.Plan(new(MediaKind.Image, w, h), fewLimits).Tokens, 10, 20);
        Assert.Equal(
            40,
            DocumentContent.Fit(processor, letter, new(784, 10_000_000), dpi: 40).Resolution.For(letter),
            1.0
        );

        VisionException e = Assert.Throws<VisionException>(() => DocumentContent.Fit(processor, new(7, 10, 90_000)));
        Assert.StartsWith("page 7: ", e.Message);
    }
}
