using System.Text;
using System.Text.Json;
using VlmSharp.Formats;
using VlmSharp.Testing;
using VlmSharp.Text;
using Xunit;

namespace VlmSharp.Tests.Text;

public sealed class TiktokenFileTests : IDisposable
{
    const int First = TinyQwenVL.FirstSpecial;

    readonly TemporaryDirectory directory = new();

    public TiktokenFileTests() => TinyQwenVL.Write(directory.Path);

    public void Dispose() => directory.Dispose();

    Tokenizer Load() => Tokenizer.Load(directory.Path);

    string Ranks => directory["qwen.tiktoken"];

    [Fact]
    public void The_published_ranks_give_the_ids_and_texts_of_the_reference()
    {
        string rows = Goldens.Shared("golden/tokenizer/qwen2.jsonl");
        var published = Tokenizer.Load(Goldens.Shared("reference/qwen-vl"));
        int count = 0;
        foreach (JsonElement row in TokenizerRows.Read(rows))
        {
            // Later tokenizers have other added tokens; without them the vocabularies agree but where a row says otherwise.
            string field = ((string[])["ids_by_tiktoken", "ids_no_added_tokens", "ids_special_as_text", "ids"]).First(
                f => row.TryGetProperty(f, out _)
            );
            string text = row.GetProperty("text").GetString()!;
            int[] expected = TokenizerRows.Ids(row, field);
            Assert.Equal(expected, published.Encode(text, AddedTokenUse.None));
            if (field == "ids")
            {
                Assert.Equal(row.GetProperty("decoded").GetString(), published.Decode(expected));
            }

            count++;
        }

        Assert.True(count > 400, $"{count} rows");
        Assert.Equal(151643 + 217, published.VocabularySize);
        Assert.True(published.TryGetId("<img>", out int image));
        Assert.Equal(151857, image);
    }

    [Fact]
    public void Special_tokens_follow_the_ranks()
    {
        Tokenizer tokenizer = Load();
        (string, int)[] expected =
        [
            ("<|endoftext|>", 0),
            ("<|im_start|>", 1),
            ("<|im_end|>", 2),
            ("<|extra_0|>", 3),
            ("<|extra_204|>", 207),
            ("<ref>", 208),
            ("</ref>", 209),
            ("<box>", 210),
            ("</box>", 211),
            ("<quad>", 212),
            ("</quad>", 213),
            ("<img>", 214),
            ("</img>", 215),
            ("<imgpad>", 216),
        ];
        foreach ((string token, int offset) in expected)
        {
            Assert.Equal([First + offset], tokenizer.Encode(token, AddedTokenUse.Parse));
            Assert.Equal(token, tokenizer.Decode([First + offset]));
        }

        Assert.Equal(First + 217, tokenizer.VocabularySize);
    }

    [Fact]
    public void Neighbours_merge_where_the_vocabulary_has_both_together_the_lowest_rank_first()
    {
        Tokenizer tokenizer = Load();
        Assert.Equal([' ', 256, 'a'], tokenizer.Encode(" tha", AddedTokenUse.None)); // "th" before " t"
        Assert.Equal([258, 'a'], tokenizer.Encode(" ta", AddedTokenUse.None));
        Assert.Equal([259, 'n'], tokenizer.Encode(" then", AddedTokenUse.None));
        Assert.Equal([261], tokenizer.Encode("图", AddedTokenUse.None));
    }

    [Fact]
    public void Only_tags_of_answers_are_parsed_when_special_tokens_are_text()
    {
        Tokenizer tokenizer = Load();
        const string text = "<ref>a</ref><img><|im_end|>";
        int[] tags = [First + 208, 'a', First + 209];
        Assert.Equal([.. tags, First + 214, First + 2], tokenizer.Encode(text, AddedTokenUse.Parse));
        int[] partly = tokenizer.Encode(text, AddedTokenUse.SpecialAsText);
        Assert.Equal(tags, partly[..3]);
        Assert.DoesNotContain(partly[3..], id => id >= First);
        Assert.DoesNotContain(tokenizer.Encode(text, AddedTokenUse.None), id => id >= First);
        Assert.Equal("<ref>a</ref>", tokenizer.Decode([.. tags, First + 214], skipSpecial: true));
    }

    [Fact]
    public void Special_tokens_are_looked_for_in_composed_text()
    {
        // A combining solidus turns the closing bracket into another character before tags are looked for.
        int[] ids = Load().Encode("<ref>\u0338", AddedTokenUse.Parse);
        Assert.DoesNotContain(ids, id => id >= First);
        Assert.Equal("<ref\u226F", Load().Decode(ids));
    }

    [Fact]
    public void Tags_that_a_model_leaves_open_or_fills_with_anything_decode_to_their_text()
    {
        Tokenizer tokenizer = Load();
        int[] ids = [First + 214, 'a', First + 2, 'b', First + 210, 0xFF];
        Assert.Equal("<img>a<|im_end|>b<box>\uFFFD", tokenizer.Decode(ids));
    }

    [Fact]
    public void Order_of_lines_and_kind_of_line_breaks_do_not_matter()
    {
        Tokenizer expected = Load();
        string[] lines = File.ReadAllLines(Ranks);
        Array.Reverse(lines);
        File.WriteAllText(Ranks, string.Join("\r\n", lines) + "\r\n\r\n");
        Tokenizer actual = Load();
        Assert.Equal(expected.VocabularySize, actual.VocabularySize);
        for (int id = 0; id < expected.VocabularySize; id++)
        {
            Assert.Equal(expected.Bytes(id), actual.Bytes(id));
        }
    }

    public static TheoryData<string, Func<string, string>, string> Damages =>
        new()
        {
            { "no rank", text => text.Replace("IQ== 33\n", "IQ==\n"), "line 34 is not a token in base64, a space" },
            { "no base64", text => text.Replace("IQ== 33\n", "I Q== 33\n"), "line 34 'I' is not a token in base64" },
            { "cut", text => text[..^5], "line 262" },
            { "no token", text => text.Replace("IQ== 33\n", " 33\n"), "line 34 '' is not a token in base64" },
            { "letters", text => text.Replace("IQ== 33\n", "IQ== 3x\n"), "line 34 '3x' is not a rank" },
            { "negative", text => text.Replace("IQ== 33\n", "IQ== -33\n"), "line 34 '-33' is not a rank" },
            { "huge", text => text.Replace("IQ== 33\n", "IQ== 99999999999\n"), "line 34 '99999999999' is not a rank" },
            { "a gap", text => text.Replace("IQ== 33\n", ""), "has 261 tokens, but ranks up to 261" },
            { "far", text => text.Replace("IQ== 33\n", "IQ== 2000000000\n"), "ranks up to 2000000000" },
            { "rank twice", text => text.Replace("IQ== 33\n", "IQ== 34\n"), "both have id 34" },
            { "token twice", text => text.Replace("IQ== 33\n", "Ig== 33\n"), "occurs twice, with ids" },
            { "byte missing", text => text.Replace("IQ== 33\n", "dGhhdA== 33\n"), "for byte 0x21" },
            {
                "long token",
                text => text + Convert.ToBase64String(new byte[257]) + " 262\n",
                "line 263 has a token of more than 256 bytes"
            },
            { "prose", _ => "Entry not found", "line 1 'Entry' is not a token in base64" },
        };

    [Theory]
    [MemberData(nameof(Damages))]
    public void A_damaged_file_is_a_named_error(string what, Func<string, string> damage, string message)
    {
        Assert.NotEmpty(what);
        File.WriteAllText(Ranks, damage(File.ReadAllText(Ranks)));
        var error = Assert.Throws<CheckpointException>(Load);
        Assert.Equal("qwen.tiktoken", error.File);
        Assert.Contains(message, error.Message);
    }

    [Fact]
    public void Files_that_are_no_such_file_are_named_errors()
    {
        foreach (
            byte[] bytes in (byte[][])
                [
                    [],
                    [0xFF, 0xFE, 0],
                    Encoding.Unicode.GetBytes(File.ReadAllText(Ranks)),
                ]
        )
        {
            File.WriteAllBytes(Ranks, bytes);
            Assert.Equal("qwen.tiktoken", Assert.Throws<CheckpointException>(Load).File);
        }

        directory.Write("tokenizer_config.json", """{ "tokenizer_class": "LlamaTokenizer" }""");
        var error = Assert.Throws<CheckpointException>(Load);
        Assert.Contains("'tokenizer_class' is 'LlamaTokenizer'", error.Message);
    }
}
