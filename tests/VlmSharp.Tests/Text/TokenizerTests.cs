using System.Text;
using VlmSharp.Testing;
using VlmSharp.Text;
using Xunit;

namespace VlmSharp.Tests.Text;

public sealed class TokenizerTests
{
    static readonly Tokenizer Tiny = TokenizerRows.Tiny;

    [Fact]
    public void Tokens_are_found_by_content_or_by_spelling()
    {
        Assert.True(Tiny.TryGetId("<|im_end|>", out int imEnd));
        Assert.Equal(420, imEnd);
        Assert.True(Tiny.IsSpecial(imEnd));
        Assert.Equal("<|im_end|>", Encoding.UTF8.GetString(Tiny.Bytes(imEnd)));
        Assert.True(Tiny.TryGetId("Ġthe", out int the));
        Assert.Equal(" the", Encoding.UTF8.GetString(Tiny.Bytes(the)));
        Assert.False(Tiny.IsSpecial(the));
        Assert.False(Tiny.TryGetId(" the", out _));
        Assert.False(Tiny.TryGetId("no such token", out _));
        Assert.Equal(434, Tiny.VocabularySize);
    }

    [Fact]
    public void Text_of_users_is_encoded_without_added_tokens_by_default()
    {
        List<int> ids = [];
        Tiny.Encode("<|im_end|>", ids);
        Assert.DoesNotContain(420, ids);
        Assert.Equal("<|im_end|>", Tiny.Decode([.. ids]));
    }

    [Theory]
    [InlineData("a\uD800b")]
    [InlineData("\uDC00")]
    [InlineData("x\uD83D")]
    [InlineData("\uD83D\uD83D\uDE00")]
    public void Lone_surrogates_become_replacement_characters(string text)
    {
        string expected = Encoding.UTF8.GetString(Encoding.UTF8.GetBytes(text));
        Assert.Equal(expected, Tiny.Decode(Tiny.Encode(text, AddedTokenUse.Parse)));
    }

    [Fact]
    public void Nothing_is_nothing()
    {
        Assert.Empty(Tiny.Encode("", AddedTokenUse.Parse));
        Assert.Equal("", Tiny.Decode([]));
    }

    [Fact]
    public void Ids_are_appended()
    {
        List<int> ids = [7];
        Tiny.Encode("a", ids);
        Tiny.Encode("a", ids);
        Assert.Equal([7, 64, 64], ids);
    }

    [Fact]
    public void Merging_follows_the_ranks_however_long_a_piece_is()
    {
        var merges = new List<(string Left, string Right)>();
        foreach (string line in File.ReadLines(Goldens.Local("qwen2-vl/checkpoint/merges.txt")).Skip(1))
        {
            string[] parts = line.Split(' ');
            merges.Add((parts[0], parts[1]));
        }

        Dictionary<(string, string), int> ranks = merges.Index().ToDictionary(m => m.Item, m => m.Index);
        string[] words =
        [
            "the",
            "and",
            "answer",
            "square",
            "image",
            "video",
            "red",
            "what",
            "ess",
            "t",
            "h",
            "e",
            "sw",
            "assist",
            "ant",
            "circ",
            "les",
            "图",
            "片",
            "这",
            "是",
            "中",
            "\u3042",
        ];
        var random = new Random(11);
        foreach (int length in (int[])[1, 2, 3, 10, 20, 30, 60, 300])
        {
            for (int round = 0; round < 20; round++)
            {
                string piece = string.Concat(Enumerable.Range(0, length).Select(_ => words[random.Next(words.Length)]));
                List<string> symbols =
                [
                    .. ByteLevelAlphabet.Encode(Encoding.UTF8.GetBytes(piece)).Select(c => c.ToString()),
                ];
                while (true)
                {
                    // The rule itself: of all pairs the one of lowest rank, of equals the leftmost.
                    int best = Enumerable
                        .Range(0, symbols.Count - 1)
                        .Where(i => ranks.ContainsKey((symbols[i], symbols[i + 1])))
                        .DefaultIfEmpty(-1)
                        .MinBy(i => i < 0 ? int.MaxValue : ranks[(symbols[i], symbols[i + 1])]);
                    if (best < 0)
                    {
                        break;
                    }

                    symbols[best] += symbols[best + 1];
                    symbols.RemoveAt(best + 1);
                }

                Assert.Equal(
                    symbols,
                    Tiny.Encode(piece, AddedTokenUse.None).Select(id => ByteLevelAlphabet.Encode(Tiny.Bytes(id)))
                );
            }
        }
    }

    [Theory]
    [InlineData("a")]
    [InlineData(" ")]
    [InlineData("the")]
    [InlineData("7")]
    [InlineData("!?")]
    [InlineData("的")]
    [InlineData(" \n")]
    [InlineData("\u0301")]
    [InlineData("<|im_start")]
    [InlineData("answerassistant")]
    public void Work_grows_hardly_faster_than_text(string unit)
    {
        long Steps(int length)
        {
            string text = string.Concat(Enumerable.Repeat(unit, length / unit.Length));
            List<int> ids = [];
            long steps = Tiny.CountSteps(text, ids);
            Assert.Equal(text, Tiny.Decode([.. ids]));
            return steps;
        }

        // Sixteen times the text may take sixteen times the work and the logarithm's share; quadratic work would be 256 times.
        long small = Steps(1 << 16);
        long large = Steps(1 << 20);
        Assert.InRange(large, 0, (small * 24) + 1000);
    }

    [Fact]
    public void A_text_of_a_million_added_tokens_or_their_beginnings_is_read_once()
    {
        string text = string.Concat(Enumerable.Repeat("<|im_start<|im_end|>", 50_000));
        int[] ids = Tiny.Encode(text, AddedTokenUse.Parse);
        Assert.Equal(50_000, ids.Count(i => i == 420));
        Assert.Equal(text, Tiny.Decode(ids));
    }

    [Fact]
    public void Encoding_again_allocates_nothing()
    {
        const string text =
            "<|im_start|>user\nWhat is in the image? 图片 e\u0301 a_long_identifier_that_is_not_cached<|im_end|>";
        var tokenizer = Tokenizer.Load(Goldens.Local("qwen2-vl/checkpoint"));
        List<int> ids = [];
        long allocated = long.MaxValue;

        // The framework's span helpers box their arguments until the runtime has optimised the callers, a while after the first calls.
        for (int i = 0; i < 1000 && allocated > 0; i++)
        {
            ids.Clear();
            long before = GC.GetAllocatedBytesForCurrentThread();
            tokenizer.Encode(text, ids, AddedTokenUse.Parse);
            allocated = GC.GetAllocatedBytesForCurrentThread() - before;
            Thread.Sleep(i / 30);
        }

        Assert.Equal(0, allocated);
    }

    [Fact]
    public void One_tokenizer_serves_many_threads()
    {
        string[] texts =
        [
            .. TokenizerRows
                .Read(Goldens.Local("tokenizer/qwen2-tiny.jsonl"))
                .Select(r => r.GetProperty("text").GetString()!),
        ];
        int[][] expected = [.. texts.Select(t => Tiny.Encode(t, AddedTokenUse.Parse))];
        Parallel.For(
            0,
            texts.Length * 8,
            i => Assert.Equal(expected[i % texts.Length], Tiny.Encode(texts[i % texts.Length], AddedTokenUse.Parse))
        );
    }
}
