using System.Text;

namespace VlmSharp.Text;

/// <summary>The spelling of bytes in byte-level vocabularies: one visible character per byte, as GPT-2 introduced it.</summary>
/// <remarks>Printable Latin-1 characters stand for themselves, the other 68 bytes for U+0100 and up, in order.</remarks>
public static class ByteLevelAlphabet
{
    static readonly char[] Spelling = BuildSpelling();
    static readonly short[] Meaning = BuildMeaning();

    /// <summary>The bytes a spelled token stands for, or -1 if some character is not of the alphabet.</summary>
    /// <param name="spelled">UTF-8</param>
    /// <param name="bytes">At least as long as <paramref name="spelled"/>.</param>
    /// <returns>The number of bytes written.</returns>
    public static int Decode(ReadOnlySpan<byte> spelled, Span<byte> bytes)
    {
        int length = 0;
        for (int i = 0; i < spelled.Length; i++)
        {
            int c = spelled[i];
            if (c >= 0x80)
            {
                // All characters of the alphabet beyond ASCII take two bytes.
                if (c >> 5 != 0b110 || i + 1 == spelled.Length || spelled[i + 1] >> 6 != 0b10)
                {
                    return -1;
                }

                c = ((c & 0x1F) << 6) | (spelled[++i] & 0x3F);
            }

            if (c >= Meaning.Length || Meaning[c] < 0)
            {
                return -1;
            }

            bytes[length++] = (byte)Meaning[c];
        }

        return length;
    }

    /// <summary>The spelling of some bytes.</summary>
    public static string Encode(ReadOnlySpan<byte> bytes)
    {
        var text = new StringBuilder(bytes.Length);
        foreach (byte b in bytes)
        {
            text.Append(Spelling[b]);
        }

        return text.ToString();
    }

    static char[] BuildSpelling()
    {
        var spelling = new char[256];
        char next = '\u0100';
        for (int b = 0; b < spelling.Length; b++)
        {
            bool visible = b is (>= 0x21 and <= 0x7E) or (>= 0xA1 and <= 0xAC) or >= 0xAE;
            spelling[b] = visible ? (char)b : next++;
        }

        return spelling;
    }

    static short[] BuildMeaning()
    {
        var meaning = new short[Spelling.Max() + 1];
        Array.Fill(meaning, (short)-1);
        for (int b = 0; b < Spelling.Length; b++)
        {
            meaning[Spelling[b]] = (short)b;
        }

        return meaning;
    }
}
