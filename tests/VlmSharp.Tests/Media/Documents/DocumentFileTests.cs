using VlmSharp.Media.Documents;
using VlmSharp.Media.Images;
using VlmSharp.Testing;
using Xunit;

namespace VlmSharp.Tests.Media.Documents;

public sealed class DocumentFileTests : IDisposable
{
    static readonly PageResolution Coarse = new(72, long.MaxValue);

    readonly TemporaryDirectory directory = new();

    public void Dispose() => directory.Dispose();

    string Write(PdfBuilder pdf, string? password = null) => directory.Write("document.pdf", pdf.Build(password));

    static PdfBuilder Hello => new PdfBuilder().Page(PdfBuilder.Text("Hello", 100, 700));

    [Fact]
    public void Sizes_are_those_of_the_cropped_and_turned_page()
    {
        string crop = "/CropBox [50 400 400 780]";
        string path = Write(
            new PdfBuilder()
                .Page("")
                .Page("", "/Rotate 90")
                .Page("", crop)
                .Page("", crop + " /Rotate 270")
                .Page("", mediaBox: "0 0 100.5 200.25")
        );
        DocumentFile document = DocumentFile.Open(path);
        Assert.True(document.IsScalable);
        Assert.Equal(
            [
                new(1, 612, 792),
                new(2, 792, 612),
                new(3, 350, 380),
                new(4, 380, 350),
                new DocumentPage(5, 100.5, 200.25),
            ],
            document.Pages(PageSelection.All)
        );
        Assert.Equal([2, 4, 5], document.Pages(PageSelection.Parse("2,4-")).Select(p => p.Number));
    }

    // In points of the unturned page; the picture's are counted from the upper left corner of the turned and cropped one.
    [Theory]
    [InlineData("", 100, 172, 150, 192)]
    [InlineData("/Rotate 90", 600, 100, 620, 150)]
    [InlineData("/Rotate 180", 462, 600, 512, 620)]
    [InlineData("/Rotate 270", 172, 462, 192, 512)]
    [InlineData("/CropBox [50 400 400 780]", 50, 160, 100, 180)]
    [InlineData("/CropBox [50 400 400 780] /Rotate 90", 200, 50, 220, 100)]
    [InlineData("/UserUnit 2", 100, 172, 150, 192)]
    public void Points_of_a_page_are_where_its_picture_shows_them(
        string entries,
        double left,
        double top,
        double right,
        double bottom
    )
    {
        DocumentFile document = DocumentFile.Open(
            Write(new PdfBuilder().Page(PdfBuilder.Rectangle(100, 600, 50, 20), entries))
        );
        DocumentPage page = document.Pages(PageSelection.All)[0];
        foreach (double dpi in (double[])[72, 101.7, 200])
        {
            PageImage drawn = document.Draw(page, new(dpi, long.MaxValue));
            Assert.Equal(dpi, drawn.Dpi, 1e-6);
            (int x0, int y0, int x1, int y1) = DarkBox(drawn.Image);
            Assert.InRange(Math.Abs(drawn.ToPoints(x0) - left), 0, drawn.ToPoints(1));
            Assert.InRange(Math.Abs(drawn.ToPoints(y0) - top), 0, drawn.ToPoints(1));
            Assert.InRange(Math.Abs(drawn.ToPoints(x1) - right), 0, drawn.ToPoints(1));
            Assert.InRange(Math.Abs(drawn.ToPoints(y1) - bottom), 0, drawn.ToPoints(1));
        }
    }

    static (int Left, int Top, int Right, int Bottom) DarkBox(RgbImage image)
    {
        (int left, int top, int right, int bottom) = (int.MaxValue, int.MaxValue, 0, 0);
        for (int i = 0; i < image.Width * image.Height; i++)
        {
            if (image.Pixels[3 * i] < 128)
            {
                (int y, int x) = Math.DivRem(i, image.Width);
                (left, right) = (Math.Min(left, x), Math.Max(right, x + 1));
                (top, bottom) = (Math.Min(top, y), Math.Max(bottom, y + 1));
            }
        }

        return (left, top, right, bottom);
    }

    [Theory]
    [InlineData("", 100, 92)]
    [InlineData("/Rotate 90", 700, 100)]
    [InlineData("/Rotate 270", 92, 512)]
    [InlineData("/CropBox [50 400 400 780]", 50, 80)]
    public void Words_stand_where_their_baseline_begins(string entries, double x, double y)
    {
        DocumentFile document = DocumentFile.Open(
            Write(new PdfBuilder().Page(PdfBuilder.Text("Hello (a < b)", 100, 700), entries))
        );
        DocumentPage page = document.Pages(PageSelection.All)[0];
        IReadOnlyList<PageWord> words = document.Words(page);
        Assert.Equal(["Hello", "(a", "<", "b)"], words.Select(w => w.Text));
        PageWord first = words[0];
        Assert.True(first.Left - 0.01 <= x && x <= first.Right + 0.01, first.ToString());
        Assert.True(first.Top - 0.01 <= y && y <= first.Bottom + 0.01, first.ToString());
        // Helvetica: H 722, e 556, l 222, l 222, o 556 thousandths of the size, whichever way they run.
        double length = Math.Max(first.Right - first.Left, first.Bottom - first.Top);
        Assert.Equal(12 * 2.278, length, 0.01);
    }

    [Fact]
    public void The_resolution_is_what_meets_the_budget_and_no_finer_than_wished()
    {
        DocumentPage page = new(1, 612, 792);
        Assert.Equal(150, new PageResolution(150, 10_000_000).For(page));
        foreach (long budget in (long[])[1, 2, 100, 200_704, 1_605_632, 12_845_056])
        {
            double dpi = new PageResolution(1000, budget).For(page);
            (long width, long height) = PageResolution.Size(page, dpi);
            Assert.InRange(width * height, 1, budget);
            Assert.True(budget < 1000 || width * height > 0.98 * budget, $"{width} x {height} of {budget}");
        }

        DocumentFile document = DocumentFile.Open(Write(Hello));
        PageImage drawn = document.Draw(document.Pages(PageSelection.All)[0], new(300, 200_704));
        Assert.InRange(drawn.Image.Width * drawn.Image.Height, 195_000, 200_704);
    }

    [Fact]
    public void A_limit_that_is_reached_is_named()
    {
        string path = Write(Hello.Page("").Page(""));
        AssertNames("MaxBytes", () => DocumentFile.Open(path, DocumentLimits.Default with { MaxBytes = 100 }));

        DocumentFile few = DocumentFile.Open(path, DocumentLimits.Default with { MaxPages = 2 });
        AssertNames("MaxPages", () => few.Pages(PageSelection.All));
        Assert.Equal(2, few.Pages(PageSelection.Parse("1,3")).Count);

        DocumentFile small = DocumentFile.Open(path, DocumentLimits.Default with { MaxPagePixels = 100_000 });
        DocumentPage page = small.Pages(PageSelection.All)[1];
        AssertNames("MaxPagePixels", () => small.Draw(page, Coarse));
        AssertNames("page 2", () => small.Draw(page, Coarse));

        AssertNames(
            "limit for this work",
            () => DocumentFile.Open(path, DocumentLimits.Default with { TimePerPage = TimeSpan.FromTicks(1) })
        );
        AssertNames("page 4 is asked for, there are 3", () => few.Pages(PageSelection.Parse("4")));
    }

    static void AssertNames(string expected, Func<object> action)
    {
        MediaException e = Assert.Throws<MediaException>(action);
        Assert.Contains(expected, e.Message);
        Assert.Contains("document.pdf", e.Message);
    }

    [Fact]
    public void A_page_as_large_as_a_field_is_drawn_within_the_budget_and_refused_without()
    {
        DocumentFile document = DocumentFile.Open(
            Write(new PdfBuilder().Page("", mediaBox: "0 0 1000000000 1000000000").Page("", mediaBox: "0 0 1000000 1"))
        );
        IReadOnlyList<DocumentPage> pages = document.Pages(PageSelection.All);
        AssertNames("MaxPagePixels", () => document.Draw(pages[0], Coarse));
        Assert.InRange(document.Draw(pages[0], new(300, 10_000)).Image.Width, 90, 100);
        Assert.InRange(document.Draw(pages[1], new(300, 10_000)).Image.Width, 1, 10_000);
    }

    [Fact]
    public void An_encrypted_file_opens_with_its_password_only()
    {
        string path = Write(Hello, "open sesame");
        AssertNames("encrypted and opens only with its password", () => DocumentFile.Open(path));
        AssertNames("the password is not the right one", () => DocumentFile.Open(path, password: "wrong"));
        DocumentFile document = DocumentFile.Open(path, password: "open sesame");
        DocumentPage page = document.Pages(PageSelection.All)[0];
        Assert.Equal("Hello", Assert.Single(document.Words(page)).Text);
        Assert.NotEqual(int.MaxValue, DarkBox(document.Draw(page, Coarse).Image).Left);
    }

    [Fact]
    public void A_file_that_is_cut_off_anywhere_or_damaged_gives_pages_or_a_named_error()
    {
        byte[] whole = Hello.Page(PdfBuilder.Rectangle(1, 1, 5, 5)).Build();
        Random random = new(7);
        for (int i = 0; i < 24; i++)
        {
            byte[] bytes = whole[..(whole.Length - (i % 2 == 0 ? random.Next(whole.Length - 10) : 0))];
            if (i % 2 == 1)
            {
                random.NextBytes(bytes.AsSpan(random.Next(9, bytes.Length - 8), 8));
            }

            string path = directory.Write("document.pdf", bytes);
            try
            {
                DocumentFile document = DocumentFile.Open(path);
                foreach (DocumentPage page in document.Pages(PageSelection.All))
                {
                    document.Draw(page, new(20, 100_000));
                }
            }
            catch (MediaException e)
            {
                Assert.StartsWith(path, e.Message);
            }
        }
    }

    [Fact]
    public void Errors_name_the_file_and_what_is_wrong_with_it()
    {
        string path = directory.Write("document.pdf", "%PDF-1.4 and nothing more");
        AssertNames("damaged or cut off", () => DocumentFile.Open(path));
        AssertNames("not a picture", () => DocumentFile.Open(directory.Write("document.pdf", "text")));
        AssertNames("the file is empty", () => DocumentFile.Open(directory.Write("document.pdf", "")));
        AssertNames("cannot be read", () => DocumentFile.Open(directory["no.document.pdf"]));
        Assert.Contains(
            "is a directory",
            Assert.Throws<MediaException>(() => DocumentFile.Open(directory.Path)).Message
        );
    }

    [Fact]
    public void A_name_that_looks_like_an_option_is_a_file_like_any_other()
    {
        string path = directory.Write("-h fd;touch x.pdf", Hello.Build());
        Assert.Equal(1, DocumentFile.Open(path).PageCount);
    }

    [Fact]
    public void A_picture_is_a_document_of_one_page_with_a_point_for_each_pixel()
    {
        RgbImage picture = TestPictures.Drawn(40, 30);
        DocumentFile document = DocumentFile.Open(directory.Write("scan", ImageEncoder.Png(picture)));
        Assert.False(document.IsScalable);
        DocumentPage page = Assert.Single(document.Pages(PageSelection.All));
        Assert.Equal(new(1, 40, 30), page);
        PageImage drawn = document.Draw(page, new(10, 5));
        Assert.Equal(picture.Pixels, drawn.Image.Pixels);
        Assert.Equal(7.5, drawn.ToPoints(7.5));
        Assert.Empty(document.Words(page));
    }

    [Fact]
    public void The_pages_of_a_TIFF_are_pages_and_the_frames_of_an_animation_are_not()
    {
        RgbImage[] drawn = [.. Enumerable.Range(0, 3).Select(i => TestPictures.Drawn(20, 10, 40 * i))];
        byte[] tiff = TestPictures.SaveFrames(drawn, [0, 0, 0], 0, "tiffsave_buffer", "compression=lzw");
        DocumentFile document = DocumentFile.Open(directory.Write("scan.tif", tiff));
        IReadOnlyList<DocumentPage> pages = document.Pages(PageSelection.Parse("2-"));
        Assert.Equal([new(2, 20, 10), new DocumentPage(3, 20, 10)], pages);
        Assert.Equal(drawn[2].Pixels, document.Draw(pages[1], Coarse).Image.Pixels);

        byte[] gif = TestPictures.SaveFrames(drawn, [100, 100, 100], 0, "gifsave_buffer", "");
        Assert.Equal(1, DocumentFile.Open(directory.Write("film.gif", gif)).PageCount);
    }

    [Fact]
    public void Cancelling_ends_the_work()
    {
        using CancellationTokenSource source = new();
        source.Cancel();
        string path = Write(Hello);
        Assert.Throws<OperationCanceledException>(() => DocumentFile.Open(path, cancellation: source.Token));
    }
}
