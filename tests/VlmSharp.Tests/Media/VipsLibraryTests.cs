using System.Text;
using VlmSharp.Media.Images;
using VlmSharp.Media.Images.Vips;
using Xunit;

namespace VlmSharp.Tests.Media;

/// <summary>Tests that read what libvips keeps for the whole process run alone.</summary>
[CollectionDefinition(nameof(VipsProcessState), DisableParallelization = true)]
public sealed class VipsProcessState;

[Collection(nameof(VipsProcessState))]
public sealed class VipsLibraryTests
{
    const string OnePage =
        "%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n2 0 obj<</Type/Pages/Kids[3 0 R]/Count 1>>endobj\n"
        + "3 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 9 9]>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF\n";

    [Theory]
    [InlineData("svgload_buffer", "<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>")]
    [InlineData("pdfload_buffer", OnePage)]
    [InlineData("magickload_buffer", "P3 1 1 255 1 2 3")]
    [InlineData("jp2kload_buffer", "....")]
    [InlineData("jxlload_buffer", "....")]
    [InlineData("radload_buffer", "#?RADIANCE\n")]
    public void Other_loaders_of_libvips_are_blocked(string loader, string content)
    {
        VipsLibrary.EnsureLoaded();
        VipsLibrary.TakeError();
        Assert.Null(VipsImage.Open(loader, Encoding.ASCII.GetBytes(content), ""));

        // Builds of libvips without this loader do not know it at all.
        string error = VipsLibrary.TakeError();
        Assert.True(
            error.Contains("blocked", StringComparison.Ordinal)
                || error.Contains("not found", StringComparison.Ordinal),
            error
        );
    }

    [Theory]
    [InlineData("pngload")]
    [InlineData("jpegload")]
    [InlineData("gifload")]
    [InlineData("tiffload")]
    [InlineData("vipsload")]
    [InlineData("analyzeload")]
    [InlineData("rawload", ",width=1,height=1,bands=1")]
    public void Loaders_that_open_files_are_blocked(string loader, string options = "")
    {
        string path = Path.GetTempFileName();
        try
        {
            File.WriteAllBytes(path, TestPictures.Encode(TestPictures.Drawn(8, 8), "PNG"));
            nint operation = Native.vips_operation_new(loader);
            if (operation == 0)
            {
                // Not in this build of libvips.
                return;
            }

            Assert.Equal(0, Native.vips_object_set_from_string(operation, $"filename={path}{options}"));
            VipsLibrary.TakeError();
            Assert.NotEqual(0, Native.vips_cache_operation_buildp(ref operation));
            Assert.Contains("blocked", VipsLibrary.TakeError(), StringComparison.Ordinal);
            Native.g_object_unref(operation);
        }
        finally
        {
            File.Delete(path);
        }
    }

    [Fact]
    public void Decoding_and_failing_return_all_memory()
    {
        byte[][] files =
        [
            .. TestPictures.Formats.Select(format => TestPictures.Encode(TestPictures.Drawn(301, 200), format)),
            TestPictures.SaveFrames(
                [TestPictures.Drawn(90, 70), TestPictures.Drawn(90, 70, 50)],
                [10, 10],
                0,
                "webpsave_buffer",
                ""
            ),
        ];
        nuint before = 0;
        for (int round = 0; round < 15; round++)
        {
            foreach (byte[] file in files)
            {
                ImageDecoder.Decode(file, "p");
                ImageDecoder.DecodeFrames(file, "p");
                ImageDecoder.ReadInfo(file, "p");
                foreach (int length in new[] { 30, file.Length / 3, file.Length - 20 })
                {
                    try
                    {
                        ImageDecoder.Decode(file[..length], "p", acceptTruncated: round % 2 is 0);
                    }
                    catch (MediaException)
                    {
                        // Either way nothing may be kept.
                    }
                }
            }

            // What is allocated once and kept is there after the first round.
            if (round is 0)
            {
                Thread.Sleep(50);
                before = Native.vips_tracked_get_mem();
            }
        }

        // Threads of libvips that a decoder used give their buffers back when they end, a moment later.
        SpinWait.SpinUntil(() => Native.vips_tracked_get_mem() <= before, TimeSpan.FromSeconds(10));
        Assert.InRange((long)Native.vips_tracked_get_mem(), 0, (long)before);
    }

    [Fact]
    public void A_missing_library_is_reported_with_the_package_and_the_command()
    {
        VipsLibrary.LibraryNames names = new("libvips-absent.so.42", "libgobject-2.0.so.0", "libglib-2.0.so.0", []);
        string message = Assert.Throws<MediaException>(() => VipsLibrary.Load(null, names)).Message;
        Assert.StartsWith("libvips: libvips-absent.so.42 is not on this machine", message, StringComparison.Ordinal);
        Assert.Contains("sudo apt-get install libvips42", message, StringComparison.Ordinal);
        Assert.Contains("VLM_LIBVIPS", message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("/no/such/libvips.so")]
    [InlineData("libc.so.6")]
    public void A_library_named_by_the_environment_that_is_no_libvips_is_named(string path)
    {
        MediaException e = Assert.Throws<MediaException>(() => VipsLibrary.Load(path, VipsLibrary.SystemNames()));
        Assert.StartsWith($"libvips: VLM_LIBVIPS names {path},", e.Message, StringComparison.Ordinal);
    }
}
