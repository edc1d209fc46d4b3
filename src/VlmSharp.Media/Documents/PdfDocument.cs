using System.Globalization;
using System.Text;
using System.Xml;
using VlmSharp.Media.Images;
using VlmSharp.Media.Processes;

namespace VlmSharp.Media.Documents;

/// <summary>PDF, through the programs of poppler, each run in a process of its own.</summary>
/// <remarks>
/// A page is its crop box, turned as its <c>Rotate</c> says; this is what <c>pdfinfo</c> measures, <c>pdftoppm -cropbox</c> draws
/// and <c>pdftotext -cropbox</c> counts from. Poppler passes over <c>UserUnit</c>.
/// </remarks>
sealed class PdfDocument : DocumentFile
{
    const string Package = "poppler-utils";
    const long MemoryBytes = 4L << 30;

    // A row of pdfinfo is about forty bytes; the words of a page about a hundred each.
    const long TextBytes = 1L << 26;

    static readonly ExternalProgram Info = new("pdfinfo", Package);
    static readonly ExternalProgram ToPixels = new("pdftoppm", Package);
    static readonly ExternalProgram ToText = new("pdftotext", Package);

    // Absolute, so that no path looks like an option or like poppler's names for standard input.
    readonly string file;
    readonly string[] passwords;

    internal PdfDocument(string path, DocumentLimits limits, string? password, CancellationToken cancellation)
        : base(path, limits)
    {
        file = Path.GetFullPath(path);
        passwords = password is null ? [] : ["-upw", password];
        string info = Encoding.UTF8.GetString(Run(Info, path, TextBytes, ["-enc", "UTF-8"], cancellation));
        string? count = Field(info, "Pages:");
        PageCount =
            int.TryParse(count, CultureInfo.InvariantCulture, out int pages) && pages > 0
                ? pages
                : throw new MediaException(path, "this PDF has no pages");
    }

    public override bool IsScalable => true;

    private protected override IReadOnlyList<DocumentPage> Describe(
        IReadOnlyList<int> numbers,
        CancellationToken cancellation
    )
    {
        // One call for each run of pages: a document may have many that nobody asked for.
        List<DocumentPage> pages = new(numbers.Count);
        for (int i = 0; i < numbers.Count; )
        {
            int end = i + 1;
            while (end < numbers.Count && numbers[end] == numbers[end - 1] + 1)
            {
                end++;
            }

            string[] range = ["-f", Text(numbers[i]), "-l", Text(numbers[end - 1])];
            string info = Encoding.UTF8.GetString(Run(Info, Name, TextBytes, range, cancellation));
            for (; i < end; i++)
            {
                pages.Add(Measure(info, numbers[i]));
            }
        }

        return pages;
    }

    /// <summary>Reads <c>Page    3 size:  612 x 792 pts (letter)</c> and <c>Page    3 rot:   90</c>.</summary>
    DocumentPage Measure(string info, int number)
    {
        string prefix = $"Page {number, 4} ";
        string[] size = (Field(info, prefix + "size:") ?? "").Split(' ', StringSplitOptions.RemoveEmptyEntries);
        string? rotation = Field(info, prefix + "rot:");
        if (
            size.Length >= 3
            && double.TryParse(size[0], CultureInfo.InvariantCulture, out double width)
            && double.TryParse(size[2], CultureInfo.InvariantCulture, out double height)
            && width > 0
            && height > 0
            && double.IsFinite(width * height)
        )
        {
            return rotation is "90" or "270" ? new(number, height, width) : new(number, width, height);
        }

        throw new MediaException(
            $"{Name}, page {number}",
            "this page is damaged or has no size: pdfinfo does not describe it"
        );
    }

    static string? Field(string info, string name)
    {
        foreach (ReadOnlySpan<char> line in info.AsSpan().EnumerateLines())
        {
            if (line.StartsWith(name))
            {
                return line[name.Length..].Trim().ToString();
            }
        }

        return null;
    }

    public override PageImage Draw(
        DocumentPage page,
        PageResolution resolution,
        CancellationToken cancellation = default
    )
    {
        // As text and back, so that what is computed with it later is what pdftoppm was told.
        string dpi = resolution.For(page).ToString("0.######", CultureInfo.InvariantCulture);
        double exact = double.Parse(dpi, CultureInfo.InvariantCulture);
        string name = PageName(page);
        if (exact <= 0)
        {
            throw new MediaException(
                name,
                $"the page measures {page.Width:0} x {page.Height:0} points, which cannot be drawn within {resolution.MaxPixels} pixels"
            );
        }

        (long width, long height) = PageResolution.Size(page, exact);
        Limits.CheckPixels(name, width, height);
        // Rounding may add a column or a row; the rest is the header.
        long most = 3 * (width + 1) * (height + 1) + 64;
        string[] arguments = ["-f", Text(page.Number), "-l", Text(page.Number), "-r", dpi, "-cropbox"];
        using ChildProcess child = Start(ToPixels, name, most, arguments, cancellation);
        RgbImage? image = Ppm.Read(child.Output, width + 1, height + 1);
        Finish(child, ToPixels, name);
        return image is null
            ? throw new MediaException(name, Said(child, ToPixels, "this page cannot be drawn"))
            : new(page, image, exact);
    }

    public override IReadOnlyList<PageWord> Words(DocumentPage page, CancellationToken cancellation = default)
    {
        string name = PageName(page);
        string[] arguments =
        [
            "-f",
            Text(page.Number),
            "-l",
            Text(page.Number),
            "-bbox-layout",
            "-cropbox",
            "-enc",
            "UTF-8",
        ];
        byte[] xml = Run(ToText, name, TextBytes, arguments, cancellation);
        List<PageWord> words = [];
        try
        {
            // Nothing outside of the text is loaded. Control characters in words are not checked: they come through as they are.
            using XmlReader reader = XmlReader.Create(
                new MemoryStream(xml),
                new()
                {
                    DtdProcessing = DtdProcessing.Ignore,
                    XmlResolver = null,
                    CheckCharacters = false,
                }
            );
            while (reader.ReadToFollowing("word"))
            {
                words.Add(
                    new(
                        Text: "",
                        Attribute(reader, "xMin"),
                        Attribute(reader, "yMin"),
                        Attribute(reader, "xMax"),
                        Attribute(reader, "yMax")
                    )
                );
                words[^1] = words[^1] with { Text = reader.ReadElementContentAsString() };
            }
        }
        catch (Exception e) when (e is XmlException or FormatException or ArgumentNullException)
        {
            throw new MediaException(name, $"the text of this page cannot be read: {e.Message}", e);
        }

        return words;

        static double Attribute(XmlReader reader, string attribute) =>
            double.Parse(reader.GetAttribute(attribute)!, CultureInfo.InvariantCulture);
    }

    byte[] Run(
        ExternalProgram program,
        string name,
        long outputBytes,
        IEnumerable<string> arguments,
        CancellationToken cancellation
    )
    {
        bool writesToFile = program == ToText;
        using ChildProcess child = Start(
            program,
            name,
            outputBytes,
            arguments,
            cancellation,
            writesToFile ? ["-"] : []
        );
        using MemoryStream bytes = new();
        child.Output.CopyTo(bytes);
        Finish(child, program, name);
        return bytes.ToArray();
    }

    ChildProcess Start(
        ExternalProgram program,
        string name,
        long outputBytes,
        IEnumerable<string> arguments,
        CancellationToken cancellation,
        params string[] last
    ) =>
        ChildProcess.Start(
            program,
            [.. arguments, .. passwords, file, .. last],
            name,
            new ProcessLimits(Limits.TimePerPage, outputBytes, MemoryBytes),
            cancellation: cancellation
        );

    /// <summary>Waits for the end; what poppler says on its way is no error as long as it says it was one.</summary>
    void Finish(ChildProcess child, ExternalProgram program, string name)
    {
        if (child.WaitForExit() == 0)
        {
            return;
        }

        string said = child.ErrorText();
        throw new MediaException(
            name,
            !said.Contains("Incorrect password", StringComparison.Ordinal)
                    ? Said(child, program, "this PDF is damaged or cut off")
                : passwords.Length == 0 ? "this PDF is encrypted and opens only with its password"
                : "this PDF is encrypted, and the password is not the right one"
        );
    }

    static string Said(ChildProcess child, ExternalProgram program, string problem)
    {
        // The last line is the one that made it give up.
        string said = child.ErrorText();
        string last = said[(said.LastIndexOf('\n') + 1)..];
        return last.Length > 0 ? $"{problem} ({program.Name}: {last})" : problem;
    }

    static string Text(int number) => number.ToString(CultureInfo.InvariantCulture);
}
