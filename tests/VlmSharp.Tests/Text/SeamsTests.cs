using System.Text;
using VlmSharp.Testing;
using VlmSharp.Text;
using Xunit;

namespace VlmSharp.Tests.Text;

public sealed class SeamsTests
{
    static readonly TokenizerDefinition Tiny = TokenizerFiles.Read(Goldens.Local("qwen2-vl/checkpoint"));

    static List<string> Cut(string piece)
    {
        List<string> parts = [];
        while (piece.Length > 0)
        {
            int end = Tiny.Seams.Next(piece);
            parts.Add(piece[..end]);
            piece = piece[end..];
        }

        return parts;
    }

    [Fact]
    public void A_piece_is_cut_where_no_token_reaches_across()
    {
        Assert.Equal(["木", "水", "火"], Cut("木水火"));
        Assert.Equal(["word"], Cut("word"));
    }

    [Fact]
    public void No_token_of_the_vocabulary_is_cut()
    {
        int tokensOfTwo = 0;
        for (int id = 0; id < Tiny.Vocabulary.Size; id++)
        {
            string token = Encoding.UTF8.GetString(Tiny.Vocabulary.Bytes(id));
            if (token.Length > 1 && !token.Contains('\uFFFD'))
            {
                tokensOfTwo++;
                Assert.Equal([token], Cut(token));
            }
        }

        Assert.InRange(tokensOfTwo, 100, Tiny.Vocabulary.Size);
    }

    [Fact]
    public void A_token_that_holds_only_a_part_of_a_character_joins_it_to_its_neighbours()
    {
        // The tiny vocabulary has tokens as "¼ł": the end of one character and the beginning of the next.
        int checkedTokens = 0;
        for (int id = 0; id < Tiny.Vocabulary.Size; id++)
        {
            ReadOnlySpan<byte> bytes = Tiny.Vocabulary.Bytes(id);
            if (bytes is [>= 0x80 and < 0xC0, >= 0xE0 and < 0xF0])
            {
                string left = Encoding.UTF8.GetString([0xE4, 0xB8, bytes[0]]);
                string right = Encoding.UTF8.GetString([bytes[1], 0xA4, 0xA5]);
                Assert.Equal([left + right], Cut(left + right));
                checkedTokens++;
            }
        }

        Assert.True(checkedTokens > 0);
    }
}
