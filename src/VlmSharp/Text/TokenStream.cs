using System.Buffers;
using System.Diagnostics.CodeAnalysis;
using System.Text;

namespace VlmSharp.Text;

/// <summary>Decodes ids one at a time, without ever giving out a part of a character.</summary>
/// <remarks>
/// Bytes that could still become a character wait for the next id; bytes that cannot become one are U+FFFD at once, one for each
/// maximal part as the Unicode Standard recommends. All pieces together are what <see cref="Tokenizer.Decode"/> gives for all ids.
/// </remarks>
/// <param name="tokenizer">The tokenizer that the ids belong to.</param>
/// <param name="skipSpecial">Leaves special tokens out.</param>
[SuppressMessage("Naming", "CA1711", Justification = "A stream of tokens, not of bytes.")]
public sealed class TokenStream(Tokenizer tokenizer, bool skipSpecial)
{
    const int LongestPart = 3;

    readonly byte[] pending = new byte[LongestPart];
    int pendingLength;

    /// <summary>Takes the next id.</summary>
    /// <returns>The text that became certain with it; empty, without an allocation, where none did.</returns>
    public string Next(int id)
    {
        ReadOnlySpan<byte> token = tokenizer.Bytes(id);
        if (token.IsEmpty || (skipSpecial && tokenizer.IsSpecial(id)))
        {
            return "";
        }

        int length = pendingLength + token.Length;
        byte[]? rented = null;
        Span<byte> bytes = length <= 256 ? stackalloc byte[256] : rented = ArrayPool<byte>.Shared.Rent(length);
        bytes = bytes[..length];
        pending.AsSpan(0, pendingLength).CopyTo(bytes);
        token.CopyTo(bytes[pendingLength..]);

        int certain = length - IncompleteTail(bytes);
        bytes[certain..].CopyTo(pending);
        pendingLength = length - certain;
        string text = Encoding.UTF8.GetString(bytes[..certain]);
        if (rented is not null)
        {
            ArrayPool<byte>.Shared.Return(rented);
        }

        return text;
    }

    /// <summary>Ends the text: an incomplete character at the end is one U+FFFD. The stream may be used for another text afterwards.</summary>
    public string Finish()
    {
        string text = Encoding.UTF8.GetString(pending.AsSpan(0, pendingLength));
        pendingLength = 0;
        return text;
    }

    /// <summary>The length of the longest end of the bytes that is the beginning of a character and no more.</summary>
    /// <remarks>
    /// As CPython's incremental decoder has it, that includes the first two bytes of an encoded surrogate, though they are beyond hope.
    /// </remarks>
    static int IncompleteTail(ReadOnlySpan<byte> bytes)
    {
        for (int length = Math.Min(LongestPart, bytes.Length); length > 0; length--)
        {
            ReadOnlySpan<byte> tail = bytes[^length..];
            bool surrogate = tail is [0xED, >= 0xA0 and <= 0xBF];
            bool startsCharacter = tail[0] >= 0xC0;
            if (
                surrogate
                || (startsCharacter && Rune.DecodeFromUtf8(tail, out _, out _) == OperationStatus.NeedMoreData)
            )
            {
                return length;
            }
        }

        return 0;
    }
}
