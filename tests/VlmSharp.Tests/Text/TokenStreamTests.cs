using System.Text;
using VlmSharp.Text;
using Xunit;

namespace VlmSharp.Tests.Text;

public sealed class TokenStreamTests
{
    static readonly Tokenizer Tiny = TokenizerRows.Tiny;

    [Theory]
    [InlineData("plain text")]
    [InlineData("é 图片 👨‍👩‍👧 \U00020000")]
    [InlineData("<|im_start|>user\nx<|im_end|>")]
    public void Pieces_add_up_to_the_decoded_text(string text)
    {
        foreach (bool skip in (bool[])[false, true])
        {
            int[] ids = Tiny.Encode(text, AddedTokenUse.Parse);
            var stream = new TokenStream(Tiny, skip);
            string streamed = string.Concat(ids.Select(stream.Next)) + stream.Finish();
            Assert.Equal(Tiny.Decode(ids, skip), streamed);
        }
    }

    [Fact]
    public void Random_bytes_add_up_to_the_decoded_text_and_are_never_split()
    {
        int[] byteIds =
        [
            .. Enumerable.Range(0, 256).Select(b => Tiny.Encode(((char)b).ToString(), AddedTokenUse.None)[^1]),
        ];
        // Bytes beyond ASCII: find their tokens by content.
        for (int b = 0x80; b < 0x100; b++)
        {
            byteIds[b] = Enumerable.Range(0, Tiny.VocabularySize).First(id => Tiny.Bytes(id).SequenceEqual([(byte)b]));
        }

        var random = new Random(5);
        byte[] likely = [0x41, 0x80, 0xA0, 0xBF, 0xC3, 0xE0, 0xE4, 0xED, 0xEF, 0xF0, 0xF4, 0xFF, 0x9F];
        for (int round = 0; round < 2000; round++)
        {
            int[] ids = [.. Enumerable.Range(0, 12).Select(_ => byteIds[likely[random.Next(likely.Length)]])];
            var stream = new TokenStream(Tiny, skipSpecial: false);
            var text = new StringBuilder();
            foreach (int id in ids)
            {
                string piece = stream.Next(id);
                Assert.True(piece.Length == 0 || !char.IsHighSurrogate(piece[^1]));
                text.Append(piece);
            }

            Assert.Equal(Tiny.Decode(ids), text.Append(stream.Finish()).ToString());
        }
    }

    [Fact]
    public void Waiting_for_the_rest_of_a_character_allocates_nothing()
    {
        int[] ids = Tiny.Encode("\U0001F999", AddedTokenUse.None);
        Assert.Equal(4, ids.Length);
        var stream = new TokenStream(Tiny, skipSpecial: false);
        stream.Next(ids[0]);
        stream.Finish();

        long before = GC.GetAllocatedBytesForCurrentThread();
        string first = stream.Next(ids[0]);
        string second = stream.Next(ids[1]);
        string third = stream.Next(ids[2]);
        long allocated = GC.GetAllocatedBytesForCurrentThread() - before;

        Assert.Equal("", first + second + third);
        Assert.Equal(0, allocated);
        Assert.Equal("\U0001F999", stream.Next(ids[3]));
        Assert.Equal("", stream.Finish());
    }

    [Fact]
    public void An_incomplete_end_is_one_replacement_character()
    {
        int[] ids = Tiny.Encode("\U0001F999", AddedTokenUse.None);
        var stream = new TokenStream(Tiny, skipSpecial: false);
        Assert.Equal("", stream.Next(ids[0]) + stream.Next(ids[1]) + stream.Next(ids[2]));
        Assert.Equal("\uFFFD", stream.Finish());
        Assert.Equal("", stream.Finish());
    }

    [Fact]
    public void Ids_without_a_token_are_silent()
    {
        var stream = new TokenStream(Tiny, skipSpecial: false);
        Assert.Equal("", stream.Next(-1) + stream.Next(Tiny.VocabularySize) + stream.Next(int.MaxValue));
        Assert.True(Tiny.Bytes(Tiny.VocabularySize).IsEmpty);
        Assert.Equal("", Tiny.Decode([Tiny.VocabularySize, -5]));
    }
}
