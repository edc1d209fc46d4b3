using System.Globalization;
using System.Text;
using VlmSharp.Media.Processes;

namespace VlmSharp.Media.Images;

/// <summary>A font of the machine that text can be set in.</summary>
/// <param name="Family">As fontconfig names it: <c>DejaVu Sans</c>.</param>
/// <param name="Weight">As fontconfig counts: 50 light, 80 regular, 200 bold.</param>
/// <param name="Slant">As fontconfig counts: 0 upright, 100 italic, 110 oblique.</param>
/// <param name="Width">As fontconfig counts: 75 condensed, 100 normal.</param>
public sealed record FontFace(string Family, int Weight, int Slant, int Width)
{
    /// <summary>The machine's own choice of a sans serif.</summary>
    public static readonly FontFace Default = new("sans", 80, 0, 100);

    static readonly ExternalProgram Lister = new("fc-list", "fontconfig");

    /// <summary>The fonts that fontconfig finds for a language, each face once, ordered by family and style.</summary>
    /// <param name="language">As fontconfig writes it: <c>en</c>, <c>zh-cn</c>. A font is listed that has every letter of it.</param>
    /// <exception cref="MediaException">fc-list is not on the machine, or fails.</exception>
    public static IReadOnlyList<FontFace> Installed(string language)
    {
        ArgumentNullException.ThrowIfNull(language);
        // Type 1 fonts are listed, but Pango sets no text in them.
        byte[] lines = ChildProcess.Run(
            Lister,
            ["--format", "%{fontformat}\t%{family[0]}\t%{weight}\t%{slant}\t%{width}\n", $":lang={language}"],
            "the list of fonts",
            new ProcessLimits(TimeSpan.FromMinutes(2), 16 << 20)
        );
        HashSet<FontFace> faces = [];
        foreach (string line in Encoding.UTF8.GetString(lines).Split('\n'))
        {
            string[] fields = line.Split('\t');
            if (
                fields is ["TrueType" or "CFF", { Length: > 0 } family, _, _, _]
                && int.TryParse(fields[2], CultureInfo.InvariantCulture, out int weight)
                && int.TryParse(fields[3], CultureInfo.InvariantCulture, out int slant)
                && int.TryParse(fields[4], CultureInfo.InvariantCulture, out int width)
            )
            {
                faces.Add(new(family, weight, slant, width));
            }
        }

        return
        [
            .. faces
                .OrderBy(face => face.Family, StringComparer.Ordinal)
                .ThenBy(face => (face.Weight, face.Slant, face.Width)),
        ];
    }

    /// <summary>As Pango writes it: <c>DejaVu Sans, Bold Oblique Condensed 20</c>. The comma ends the family, whose last word may look like a style.</summary>
    internal string Describe(double size)
    {
        string weight = Weight switch
        {
            < 20 => "Thin ",
            < 45 => "Ultra-Light ",
            < 53 => "Light ",
            < 65 => "Semi-Light ",
            < 78 => "Book ",
            < 90 => "",
            < 140 => "Medium ",
            < 190 => "Semi-Bold ",
            < 203 => "Bold ",
            < 208 => "Ultra-Bold ",
            _ => "Heavy ",
        };
        string slant = Slant switch
        {
            < 50 => "",
            < 105 => "Italic ",
            _ => "Oblique ",
        };
        string width = Width switch
        {
            < 69 => "Extra-Condensed ",
            < 81 => "Condensed ",
            < 94 => "Semi-Condensed ",
            < 107 => "",
            < 119 => "Semi-Expanded ",
            _ => "Expanded ",
        };
        return string.Create(CultureInfo.InvariantCulture, $"{Family}, {weight}{slant}{width}{size:0.##}");
    }
}
