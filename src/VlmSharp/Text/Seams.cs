using System.Text;

namespace VlmSharp.Text;

/// <summary>Knows between which characters no token of a vocabulary reaches across.</summary>
/// <remarks>
/// <para>
/// Merging on one side of such a seam never depends on the other, so a piece may be cut there without changing its tokens. Scripts without spaces
/// have whole sentences as pieces; cut at seams they become words of few characters, most of which have been seen before.
/// </para>
/// <para>
/// Only seams between characters of three UTF-8 bytes are looked for (U+0800 to U+FFFF). Pairs that some token holds are kept in a bit set by hash:
/// a collision hides a seam, which costs time but is never wrong.
/// </para>
/// </remarks>
sealed class Seams
{
    const char FirstOfThreeBytes = '\u0800';
    const int Bits = 20;

    readonly ulong[] joined = new ulong[1 << (Bits - 6)];

    // Tokens that begin inside a character: the last byte of it (six bits) and the first of the next (four bits).
    readonly bool[] joinedBytes = new bool[1 << 10];

    /// <param name="vocabulary">All its tokens count, whether a merge makes them or not.</param>
    public Seams(Vocabulary vocabulary)
    {
        for (int id = 0; id < vocabulary.Size; id++)
        {
            Add(vocabulary.Bytes(id));
        }
    }

    /// <summary>The first index after 0 at which a piece, which is not empty, may be cut; or its length.</summary>
    public int Next(ReadOnlySpan<char> piece)
    {
        // A quick way out for most scripts; at worst a word that ends in Latin letters is not cut.
        if (piece[^1] < FirstOfThreeBytes)
        {
            return piece.Length;
        }

        for (int i = 1; i < piece.Length; i++)
        {
            char left = piece[i - 1];
            char right = piece[i];
            if (HasThreeBytes(left) && HasThreeBytes(right) && !IsJoined(left, right))
            {
                return i;
            }
        }

        return piece.Length;
    }

    static bool HasThreeBytes(char c) => c >= FirstOfThreeBytes && !char.IsSurrogate(c);

    bool IsJoined(char left, char right) =>
        Contains(left, right)
        || Contains(left, FirstByte(right))
        || joinedBytes[BytePair(LastByte(left), FirstByte(right))];

    void Add(ReadOnlySpan<byte> token)
    {
        for (int i = 1; i < token.Length; i++)
        {
            // A seam is before the first of three bytes and after the last.
            if (token[i] >> 4 != 0xE || token[i - 1] >> 6 != 0b10)
            {
                continue;
            }

            if (!TryRead(token[Math.Max(0, i - 3)..i], out char left))
            {
                joinedBytes[BytePair(token[i - 1], token[i])] = true;
            }
            else if (TryRead(token[i..Math.Min(i + 3, token.Length)], out char right))
            {
                Set(left, right);
            }
            else
            {
                Set(left, (char)token[i]);
            }
        }
    }

    static bool TryRead(ReadOnlySpan<byte> bytes, out char character)
    {
        bool whole = Rune.DecodeFromUtf8(bytes, out Rune rune, out int length) == System.Buffers.OperationStatus.Done;
        character = (char)rune.Value;
        return whole && length == 3;
    }

    static char FirstByte(char c) => (char)(0xE0 | (c >> 12));

    static char LastByte(char c) => (char)(0x80 | (c & 0x3F));

    static int BytePair(int last, int first) => ((last & 0x3F) << 4) | (first & 0xF);

    static int Hash(char left, char right) => (int)((((uint)left << 16) | right) * 0x9E3779B1 >> (32 - Bits));

    bool Contains(char left, char right)
    {
        int bit = Hash(left, right);
        return (joined[bit >> 6] >> (bit & 63) & 1) != 0;
    }

    void Set(char left, char right)
    {
        int bit = Hash(left, right);
        joined[bit >> 6] |= 1UL << (bit & 63);
    }
}
