using VlmSharp.Testing;
using VlmSharp.Text;
using Xunit;

namespace VlmSharp.Tests.Text;

/// <summary>Learning a vocabulary, and writing it so that it is read back.</summary>
public class BytePairTrainerTests
{
    [Fact]
    public void The_most_frequent_pairs_become_tokens_in_their_order()
    {
        // Pieces: "low" 5 times, "er" 2 times after it, as in Sennrich et al.
        BytePairs pairs = BytePairTrainer.Train(["low low low lower lower"], 256 + 5);
        Assert.Equal([("l", "o"), ("lo", "w"), ("Ġ", "low"), ("e", "r"), ("Ġlow", "er")], pairs.Merges);
        Assert.Equal("Ġlower", pairs.Tokens[^1]);
        Assert.Equal("A", pairs.Tokens['A']);
    }

    [Fact]
    public void Pairs_do_not_reach_over_pieces_and_digits_stay_alone()
    {
        BytePairs pairs = BytePairTrainer.Train(["12 12 12 12, a1 a1 a1"], 1000);
        Assert.DoesNotContain(pairs.Tokens.Skip(256), token => token.Any(char.IsAsciiDigit));
    }

    [Fact]
    public void Pairs_that_occur_once_become_no_tokens() =>
        Assert.Equal(256, BytePairTrainer.Train(["abcdefg"], 1000).Tokens.Count);

    [Fact]
    public void A_pair_of_equal_halves_is_merged_from_the_left()
    {
        BytePairs pairs = BytePairTrainer.Train(["aaaaa", "aaaaa"], 256 + 2);
        Assert.Equal([("a", "a"), ("aa", "a")], pairs.Merges);
    }

    [Fact]
    public void What_is_written_is_read_back_and_encodes_as_it_was_learnt()
    {
        string[] texts =
        [
            "What is in the picture? What is it?",
            "图片里有什么？图片里有几个圆？",
            "the red circle is left of the red square",
        ];
        BytePairs pairs = BytePairTrainer.Train(texts, 300);
        using TemporaryDirectory directory = new();
        TokenizerWriter.Write(directory.Path, pairs, ["<|endoftext|>", "<|im_end|>"], "{{ messages }}");
        Tokenizer whole = Tokenizer.Load(directory.Path);
        Assert.Equal(pairs.Tokens.Count + 2, whole.VocabularySize);
        File.Delete(directory["tokenizer.json"]);
        Tokenizer parts = Tokenizer.Load(directory.Path);
        foreach (string text in texts.Append("never seen: ü 7 <|im_end|>"))
        {
            int[] ids = Encode(whole, text);
            Assert.Equal(ids, Encode(parts, text));
            Assert.Equal(text, whole.Decode(ids));
        }

        Assert.Equal([pairs.Tokens.Count + 1], Encode(whole, "<|im_end|>"));
        Assert.True(Encode(whole, texts[0]).Length < texts[0].Length);
    }

    static int[] Encode(Tokenizer tokenizer, string text)
    {
        List<int> ids = [];
        tokenizer.Encode(text, ids, AddedTokenUse.Parse);
        return [.. ids];
    }
}
