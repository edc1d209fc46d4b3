using System.Globalization;
using System.Security.Cryptography;
using System.Text;

namespace VlmSharp.Testing;

/// <summary>Small PDFs whose text stands where the test says, in Helvetica, which every reader knows the widths of.</summary>
public sealed class PdfBuilder
{
    readonly List<(string Entries, string Content)> pages = [];

    /// <summary>Adds a page.</summary>
    /// <param name="content">Operators; see <see cref="Text"/> and <see cref="Rectangle"/>.</param>
    /// <param name="entries">Of the page's dictionary, such as <c>/Rotate 90</c> or <c>/CropBox [50 400 400 780]</c>.</param>
    /// <param name="mediaBox">Its size in points; US letter if not given.</param>
    public PdfBuilder Page(string content, string entries = "", string mediaBox = "0 0 612 792")
    {
        pages.Add(($"/MediaBox [{mediaBox}] {entries}", content));
        return this;
    }

    /// <summary>Operators for one line of text.</summary>
    /// <param name="text">Latin letters.</param>
    /// <param name="x">Where its baseline begins, in points from the left edge of the unturned page.</param>
    /// <param name="y">In points from its lower edge.</param>
    /// <param name="size">Of the font.</param>
    public static string Text(string text, double x, double y, double size = 12)
    {
        string escaped = text.Replace("\\", "\\\\").Replace("(", "\\(").Replace(")", "\\)");
        return Invariant($"BT /F1 {size} Tf {x} {y} Td ({escaped}) Tj ET\n");
    }

    /// <summary>Operators for a black rectangle.</summary>
    public static string Rectangle(double x, double y, double width, double height) =>
        Invariant($"{x} {y} {width} {height} re f\n");

    /// <summary>The file.</summary>
    /// <param name="password">Encrypts it (standard handler, revision 2) if not null.</param>
    public byte[] Build(string? password = null)
    {
        Encryption? encryption = password is null ? null : new(password);
        List<byte[]> objects =
        [
            Bytes("<< /Type /Catalog /Pages 2 0 R >>"),
            Bytes(
                $"<< /Type /Pages /Count {pages.Count} /Kids [{string.Join(' ', pages.Select((_, i) => $"{4 + (2 * i)} 0 R"))}] >>"
            ),
            Bytes("<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>"),
        ];
        foreach ((string entries, string content) in pages)
        {
            int number = objects.Count + 1;
            objects.Add(
                Bytes(
                    $"<< /Type /Page /Parent 2 0 R {entries} /Resources << /Font << /F1 3 0 R >> >> /Contents {number + 1} 0 R >>"
                )
            );
            byte[] stream = Bytes(content);
            stream = encryption?.Apply(stream, number + 1) ?? stream;
            objects.Add([.. Bytes($"<< /Length {stream.Length} >>\nstream\n"), .. stream, .. Bytes("\nendstream")]);
        }

        if (encryption is not null)
        {
            objects.Add(Bytes(encryption.Dictionary));
        }

        using MemoryStream file = new();
        file.Write("%PDF-1.4\n"u8);
        List<long> offsets = [];
        for (int i = 0; i < objects.Count; i++)
        {
            offsets.Add(file.Length);
            file.Write(Bytes($"{i + 1} 0 obj\n"));
            file.Write(objects[i]);
            file.Write("\nendobj\n"u8);
        }

        long table = file.Length;
        file.Write(Bytes($"xref\n0 {objects.Count + 1}\n0000000000 65535 f \n"));
        foreach (long offset in offsets)
        {
            file.Write(Bytes($"{offset:0000000000} 00000 n \n"));
        }

        string encrypt = encryption is null
            ? ""
            : $" /Encrypt {objects.Count} 0 R /ID [<{Encryption.FileId}> <{Encryption.FileId}>]";
        file.Write(Bytes($"trailer << /Size {objects.Count + 1} /Root 1 0 R{encrypt} >>\nstartxref\n{table}\n%%EOF\n"));
        return file.ToArray();
    }

    static byte[] Bytes(string text) => Encoding.Latin1.GetBytes(text);

    static string Invariant(FormattableString text) => text.ToString(CultureInfo.InvariantCulture);

    /// <summary>40-bit RC4 as PDF 1.1 has it (ISO 32000-1, 7.6.3): weak, and the least that readers accept.</summary>
    sealed class Encryption
    {
        internal const string FileId = "00112233445566778899AABBCCDDEEFF";
        const int Permissions = -4;

        static readonly byte[] Padding = Convert.FromHexString(
            "28BF4E5E4E758A4164004E56FFFA01082E2E00B6D0683E802F0CA9FE6453697A"
        );

        readonly byte[] key;

        internal Encryption(string password)
        {
            byte[] padded = [.. Bytes(password).Concat(Padding).Take(32)];
            byte[] owner = Rc4(Hash(padded)[..5], padded);
            key = Hash([.. padded, .. owner, .. BitConverter.GetBytes(Permissions), .. Convert.FromHexString(FileId)])[
                ..5
            ];
            string user = Convert.ToHexString(Rc4(key, Padding));
            Dictionary =
                $"<< /Filter /Standard /V 1 /R 2 /P {Permissions} /O <{Convert.ToHexString(owner)}> /U <{user}> >>";
        }

        internal string Dictionary { get; }

        internal byte[] Apply(byte[] data, int number) =>
            Rc4(Hash([.. key, (byte)number, (byte)(number >> 8), (byte)(number >> 16), 0, 0])[..10], data);

#pragma warning disable CA5351 // The format asks for it; nothing here is secret.
        static byte[] Hash(byte[] data) => MD5.HashData(data);
#pragma warning restore CA5351

        static byte[] Rc4(byte[] key, byte[] data)
        {
            byte[] state = [.. Enumerable.Range(0, 256).Select(i => (byte)i)];
            for (int i = 0, j = 0; i < 256; i++)
            {
                j = (j + state[i] + key[i % key.Length]) & 255;
                (state[i], state[j]) = (state[j], state[i]);
            }

            byte[] result = new byte[data.Length];
            for (int n = 0, i = 0, j = 0; n < data.Length; n++)
            {
                i = (i + 1) & 255;
                j = (j + state[i]) & 255;
                (state[i], state[j]) = (state[j], state[i]);
                result[n] = (byte)(data[n] ^ state[(state[i] + state[j]) & 255]);
            }

            return result;
        }
    }
}
