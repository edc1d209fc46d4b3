using System.Text;
using System.Text.Json;
using VlmSharp.Testing;
using VlmSharp.Text;
using Xunit;

namespace VlmSharp.Tests.Text;

public sealed class TokenizerGoldenTests
{
    static readonly Lazy<Tokenizer> Real = new(() => Tokenizer.Load(Goldens.SharedPath("reference/qwen2.5-vl")));

    [Fact]
    public void The_published_vocabulary_gives_the_ids_and_texts_of_the_reference()
    {
        string rows = Goldens.Shared("golden/tokenizer/qwen2.jsonl");
        Goldens.Shared("reference/qwen2.5-vl");
        foreach (JsonElement row in TokenizerRows.Read(rows))
        {
            string text = row.GetProperty("text").GetString()!;
            int[] ids = TokenizerRows.Ids(row, "ids");
            int[] specialAsText = row.TryGetProperty("ids_special_as_text", out _)
                ? TokenizerRows.Ids(row, "ids_special_as_text")
                : ids;
            int[] none = row.TryGetProperty("ids_no_added_tokens", out _)
                ? TokenizerRows.Ids(row, "ids_no_added_tokens")
                : specialAsText;
            string decoded = row.GetProperty("decoded").GetString()!;
            string skipped = row.TryGetProperty("decoded_skip_special_tokens", out JsonElement s)
                ? s.GetString()!
                : decoded;

            Assert.Equal(ids, Real.Value.Encode(text, AddedTokenUse.Parse));
            Assert.Equal(specialAsText, Real.Value.Encode(text, AddedTokenUse.SpecialAsText));
            Assert.Equal(none, Real.Value.Encode(text, AddedTokenUse.None));
            Assert.Equal(decoded, Real.Value.Decode(ids));
            Assert.Equal(skipped, Real.Value.Decode(ids, skipSpecial: true));
        }
    }

    [Fact]
    public void A_stream_gives_out_what_is_certain_and_nothing_else()
    {
        string rows = Goldens.Shared("golden/tokenizer/streams.jsonl");
        Goldens.Shared("reference/qwen2.5-vl");
        foreach (JsonElement row in TokenizerRows.Read(rows))
        {
            var stream = new TokenStream(Real.Value, skipSpecial: false);
            var text = new StringBuilder();
            int[] ids = TokenizerRows.Ids(row, "ids");
            int step = 0;
            foreach (JsonElement after in row.GetProperty("text_after").EnumerateArray())
            {
                text.Append(stream.Next(ids[step++]));
                Assert.Equal(after.GetString(), text.ToString());
            }

            text.Append(stream.Finish());
            Assert.Equal(row.GetProperty("total").GetString(), text.ToString());
        }
    }

    [Fact]
    public void The_cases_of_another_project_agree()
    {
        string[] texts = File.ReadAllText(Goldens.Shared("reference/tokenizer-cases/ggml-vocab-qwen2.gguf.inp"))
            .Split("\n__ggml_vocab_test__\n")[..^1]; // the file ends with the mark
        string[] lines = File.ReadAllLines(Goldens.Shared("reference/tokenizer-cases/ggml-vocab-qwen2.gguf.out"));
        Goldens.Shared("reference/qwen2.5-vl");
        Assert.Equal(lines.Length, texts.Length);
        for (int i = 0; i < texts.Length; i++)
        {
            Assert.Equal(lines[i].Trim(), string.Join(' ', Real.Value.Encode(texts[i], AddedTokenUse.None)));
        }
    }

    [Theory]
    [InlineData("qwen2-vl/checkpoint", "tokenizer/qwen2-tiny.jsonl")]
    [InlineData("tokenizer/added-tokens", "tokenizer/added-tokens/cases.jsonl")]
    [InlineData("tokenizer/gpt2", "tokenizer/gpt2/cases.jsonl")]
    public void Tiny_vocabularies_give_the_ids_of_the_reference(string directory, string cases)
    {
        var tokenizer = Tokenizer.Load(Goldens.Local(directory));
        foreach (JsonElement row in TokenizerRows.Read(Goldens.Local(cases)))
        {
            int[] ids = TokenizerRows.Ids(row, "ids");
            Assert.Equal(ids, tokenizer.Encode(row.GetProperty("text").GetString()!, AddedTokenUse.Parse));
            if (row.TryGetProperty("decoded", out JsonElement decoded))
            {
                Assert.Equal(decoded.GetString(), tokenizer.Decode(ids));
            }
        }
    }

    [Theory]
    [InlineData("qwen2-vl")]
    [InlineData("qwen2-vl-tied-bf16")]
    [InlineData("qwen2.5-vl")]
    [InlineData("qwen2.5-omni-thinker")]
    [InlineData("qwen3-vl")]
    [InlineData("llava-onevision")]
    [InlineData("reader-ref")]
    public void Both_file_forms_of_a_checkpoint_are_the_same_tokenizer(string name)
    {
        string directory = Goldens.Shared($"golden/{name}/checkpoint");
        var json = Tokenizer.Load(directory);
        using var copy = new TemporaryDirectory();
        foreach (string file in (string[])["vocab.json", "merges.txt", "tokenizer_config.json"])
        {
            File.Copy(Path.Combine(directory, file), copy[file]);
        }

        var separate = Tokenizer.Load(copy.Path);
        Assert.Equal(json.VocabularySize, separate.VocabularySize);
        for (int id = 0; id < json.VocabularySize; id++)
        {
            Assert.Equal(json.Bytes(id), separate.Bytes(id));
            Assert.Equal(json.IsSpecial(id), separate.IsSpecial(id));
        }

        foreach (JsonElement row in TokenizerRows.Read(Goldens.Local("tokenizer/qwen2-tiny.jsonl")))
        {
            string text = row.GetProperty("text").GetString()!;
            foreach (AddedTokenUse use in Enum.GetValues<AddedTokenUse>())
            {
                Assert.Equal(json.Encode(text, use), separate.Encode(text, use));
            }
        }
    }

    [Theory]
    [InlineData("llama", "byte_fallback")]
    [InlineData("t5", "'Unigram'")]
    [InlineData("bert", "'WordPiece'")]
    public void A_kind_of_tokenizer_that_is_not_implemented_is_named(string name, string part)
    {
        string directory = Goldens.Shared($"golden/tokenizer/{name}");
        var error = Assert.Throws<VlmSharp.Formats.CheckpointException>(() => Tokenizer.Load(directory));
        Assert.Contains(part, error.Message);
        Assert.Equal("tokenizer.json", error.File);
    }
}
