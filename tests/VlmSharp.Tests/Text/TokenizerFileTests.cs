using System.Text;
using System.Text.Json.Nodes;
using VlmSharp.Formats;
using VlmSharp.Testing;
using VlmSharp.Text;
using Xunit;

namespace VlmSharp.Tests.Text;

/// <summary>Damaged, hostile and unsupported files each give one exception that names the file and the field.</summary>
public sealed class TokenizerFileTests : IDisposable
{
    static readonly string Source = Goldens.Local("qwen2-vl/checkpoint");

    readonly TemporaryDirectory directory = new();

    public void Dispose() => directory.Dispose();

    CheckpointException Fails(string file, string message)
    {
        var error = Assert.Throws<CheckpointException>(() => Tokenizer.Load(directory.Path));
        Assert.Equal(file.Length == 0 ? directory.Path : file, error.File);
        Assert.Contains(message, error.Message);
        return error;
    }

    void WriteJson(Action<JsonObject> change)
    {
        JsonObject json = JsonNode.Parse(File.ReadAllText(Path.Combine(Source, "tokenizer.json")))!.AsObject();
        change(json);
        directory.Write("tokenizer.json", json.ToJsonString());
    }

    void CopySeparateFiles()
    {
        foreach (string file in (string[])["vocab.json", "merges.txt", "tokenizer_config.json"])
        {
            File.Copy(Path.Combine(Source, file), directory[file]);
        }
    }

    void WriteConfig(Action<JsonObject> change)
    {
        JsonObject json = JsonNode.Parse(File.ReadAllText(Path.Combine(Source, "tokenizer_config.json")))!.AsObject();
        change(json);
        directory.Write("tokenizer_config.json", json.ToJsonString());
    }

    public static TheoryData<string, Action<JsonObject>, string> Changes =>
        new()
        {
            { "unigram", j => j["model"]!["type"] = "Unigram", "'model.type' is 'Unigram'" },
            {
                "unigram list",
                j => j["model"] = JsonNode.Parse("""{"type":"Unigram","vocab":[["a",0.5]]}"""),
                "'model.type' is 'Unigram'"
            },
            { "model is a text", j => j["model"] = "BPE", "'model' is the string \"BPE\", expected an object" },
            { "no model", j => j.Remove("model"), "'model' is missing" },
            { "no vocabulary", j => j["model"]!.AsObject().Remove("vocab"), "'model.vocab' is missing" },
            { "no merges", j => j["model"]!.AsObject().Remove("merges"), "'model.merges' is missing" },
            { "vocabulary of texts", j => j["model"]!["vocab"]!["!"] = "0", "model.vocab: '!' has String" },
            { "negative id", j => j["model"]!["vocab"]!["!"] = -1, "model.vocab: '!' has -1" },
            { "fraction", j => j["model"]!["vocab"]!["!"] = 0.5, "model.vocab: '!' has 0.5" },
            { "huge id", j => j["model"]!["vocab"]!["!"] = 2_000_000_000, "model.vocab: the highest id is 2000000000" },
            { "beyond int", j => j["model"]!["vocab"]!["!"] = 1L << 40, "model.vocab: '!' has 1099511627776" },
            { "same id twice", j => j["model"]!["vocab"]!["!"] = 5, "both have id 5" },
            { "byte missing", j => j["model"]!["vocab"]!.AsObject().Remove("!"), "for byte 0x21" },
            { "unknown left", j => j["model"]!["merges"]![0] = "zzz e", "model.merges, number 0: names 'zzz'" },
            {
                "unknown right",
                j => j["model"]!["merges"]![1] = new JsonArray("Ġ", "図"),
                "model.merges, number 1: names '図'"
            },
            { "unknown result", j => j["model"]!["merges"]![2] = "z z", "model.merges, number 2: makes 'zz'" },
            {
                "merge of three",
                j => j["model"]!["merges"]![2] = "a b c",
                "model.merges, number 2: 'a b c' is not two tokens"
            },
            { "merge is a number", j => j["model"]!["merges"]![2] = 3, "model.merges: found 3" },
            {
                "merge repeated",
                j => j["model"]!["merges"]![2] = j["model"]!["merges"]![1]!.DeepClone(),
                "model.merges, number 2: merges tokens"
            },
            { "byte fallback", j => j["model"]!["byte_fallback"] = true, "'model.byte_fallback' is true" },
            { "dropout", j => j["model"]!["dropout"] = 0.1, "'model.dropout' is not 0" },
            { "suffix", j => j["model"]!["end_of_word_suffix"] = "</w>", "'model.end_of_word_suffix' is '</w>'" },
            { "normalizer", j => j["normalizer"]!["type"] = "NFKC", "'normalizer.type' is 'NFKC'" },
            {
                "nested normalizer",
                j =>
                    j["normalizer"] = JsonNode.Parse(
                        """{"type":"Sequence","normalizers":[{"type":"NFC"},{"type":"Lowercase"}]}"""
                    ),
                "'normalizer.normalizers[1].type' is 'Lowercase'"
            },
            { "normalizer without type", j => j["normalizer"] = new JsonObject(), "'normalizer.type' is missing" },
            { "no pre-tokenizer", j => j["pre_tokenizer"] = null, "'pre_tokenizer' is null" },
            {
                "metaspace",
                j => j["pre_tokenizer"] = JsonNode.Parse("""{"type":"Metaspace","replacement":"_"}"""),
                "'pre_tokenizer.type' is 'Metaspace'"
            },
            {
                "unknown expression",
                j => j["pre_tokenizer"]!["pretokenizers"]![0]!["pattern"]!["Regex"] = @"\p{N}{1,3}",
                @"is '\p{N}{1,3}', not a known expression"
            },
            {
                "other behavior",
                j => j["pre_tokenizer"]!["pretokenizers"]![0]!["behavior"] = "Removed",
                "'pre_tokenizer.pretokenizers[0].behavior' is 'Removed'"
            },
            {
                "prefix space",
                j => j["pre_tokenizer"]!["pretokenizers"]![1]!["add_prefix_space"] = true,
                "pretokenizers[1].add_prefix_space' is true"
            },
            {
                "split twice",
                j => j["pre_tokenizer"]!["pretokenizers"]![1]!["use_regex"] = true,
                "pretokenizers[1].use_regex' is true"
            },
            {
                "template",
                j =>
                    j["post_processor"] = JsonNode.Parse(
                        """{"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"x","type_id":0}},{"Sequence":{"id":"A","type_id":0}}]}"""
                    ),
                "'post_processor.type' is 'TemplateProcessing'"
            },
            { "decoder", j => j["decoder"]!["type"] = "WordPiece", "'decoder.type' is 'WordPiece'" },
            {
                "added token without id",
                j => j["added_tokens"]![0]!.AsObject().Remove("id"),
                "'added_tokens[0].id' is missing"
            },
            {
                "added token on a taken id",
                j => j["added_tokens"]![0]!["id"] = 5,
                "added token '<|im_end|>' has id 5, which belongs to '&'"
            },
            {
                "added tokens on one id",
                j => j["added_tokens"]![1]!["id"] = 420,
                "added token '<|endoftext|>' has id 420"
            },
            { "added token twice", j => j["added_tokens"]![1]!["content"] = "<|im_end|>", "'<|im_end|>' occurs twice" },
            {
                "empty added token",
                j => j["added_tokens"]![0]!["content"] = "",
                "'added_tokens[0].content' has 0 characters"
            },
            {
                "endless added token",
                j => j["added_tokens"]![0]!["content"] = new string('a', 300),
                "'added_tokens[0].content' has 300 characters"
            },
            {
                "flag is a text",
                j => j["added_tokens"]![0]!["lstrip"] = "no",
                "'added_tokens[0].lstrip' is the string \"no\""
            },
            { "huge added id", j => j["added_tokens"]![0]!["id"] = 1_000_000_000, "the highest id is 1000000000" },
        };

    [Theory]
    [MemberData(nameof(Changes))]
    public void A_wrong_or_unsupported_field_is_named(string name, Action<JsonObject> change, string message)
    {
        Assert.NotEmpty(name);
        WriteJson(change);
        Fails("tokenizer.json", message);
    }

    [Fact]
    public void A_file_cut_anywhere_is_an_error_not_a_crash()
    {
        byte[] json = File.ReadAllBytes(Path.Combine(Source, "tokenizer.json"));
        for (int length = 0; length < json.Length - 1; length += 97)
        {
            directory.Write("tokenizer.json", json[..length]);
            Fails("tokenizer.json", "");
        }
    }

    [Fact]
    public void Bytes_changed_anywhere_load_or_are_an_error()
    {
        byte[] json = File.ReadAllBytes(Path.Combine(Source, "tokenizer.json"));
        var random = new Random(9);
        for (int round = 0; round < 400; round++)
        {
            byte[] changed = [.. json];
            for (int n = random.Next(1, 4); n > 0; n--)
            {
                changed[random.Next(changed.Length)] = (byte)random.Next(256);
            }

            directory.Write("tokenizer.json", changed);
            try
            {
                Tokenizer.Load(directory.Path).Encode("What is this? 图片", AddedTokenUse.Parse);
            }
            catch (CheckpointException e)
            {
                Assert.Equal("tokenizer.json", e.File);
            }
        }
    }

    [Theory]
    [InlineData("")]
    [InlineData("[]")]
    [InlineData("{}")]
    [InlineData("null")]
    [InlineData("{\"model\":{\"vocab\":{},\"merges\":[]}}{}")]
    [InlineData("{\"\\ud800\":1,\"model\":{}}")]
    [InlineData("{\"model\":{\"vocab\":{\"a\":0},\"vocab\":{\"b\":1},\"merges\":[]}}")]
    public void Other_JSON_is_an_error(string json)
    {
        directory.Write("tokenizer.json", json);
        Fails("tokenizer.json", "");
    }

    [Fact]
    public void Deep_JSON_is_an_error()
    {
        directory.Write("tokenizer.json", "{\"normalizer\":" + new string('[', 100_000));
        Fails("tokenizer.json", "is not valid JSON");
    }

    [Fact]
    public void Text_that_is_not_UTF_8_is_an_error()
    {
        byte[] json = File.ReadAllBytes(Path.Combine(Source, "tokenizer.json"));
        int at = json.AsSpan().IndexOf("\"Wha\""u8);
        json[at + 2] = 0xFF;
        directory.Write("tokenizer.json", json);
        Fails("tokenizer.json", "is not valid UTF-8");
    }

    [Fact]
    public void A_file_of_absurd_size_is_not_read()
    {
        using (FileStream file = File.Create(directory["tokenizer.json"]))
        {
            file.SetLength(1L << 33); // sparse
        }

        Fails("tokenizer.json", "has 8589934592 bytes");
    }

    [Theory]
    [InlineData("tokenizer.json")]
    [InlineData("tokenizer_config.json")]
    [InlineData("merges.txt")]
    public void A_directory_in_place_of_a_file_is_named(string name)
    {
        CopySeparateFiles();
        File.Delete(directory[name]);
        Directory.CreateDirectory(directory[name]);
        Fails(name, "is a directory, expected a file");
    }

    [Fact]
    public void Missing_files_are_named()
    {
        Fails("", "has neither tokenizer.json nor vocab.json with merges.txt");
        CopySeparateFiles();
        File.Delete(directory["tokenizer_config.json"]);
        Fails("tokenizer_config.json", "is missing");
    }

    [Fact]
    public void Separate_files_name_their_errors()
    {
        CopySeparateFiles();
        File.AppendAllText(directory["merges.txt"], "q zzz\n");
        Fails("merges.txt", "line 166: names 'zzz'");
        directory.Write("merges.txt", "#version: 0.2\nr\n");
        Fails("merges.txt", "line 2: 'r' is not two tokens");
        directory.Write("vocab.json", "{\"!\":0,\"!\":1}");
        Fails("vocab.json", "'!' occurs twice");
        directory.Write("vocab.json", "[\"!\"]");
        Fails("vocab.json", "expected StartObject");
    }

    [Fact]
    public void A_configuration_that_would_change_ids_is_refused()
    {
        CopySeparateFiles();
        WriteConfig(c => c["tokenizer_class"] = "LlamaTokenizer");
        Fails("tokenizer_config.json", "'tokenizer_class' is 'LlamaTokenizer'");
        WriteConfig(c => c["add_bos_token"] = true);
        Fails("tokenizer_config.json", "'add_bos_token' is true");
        WriteConfig(c => c["added_tokens_decoder"]!["x"] = new JsonObject());
        Fails("tokenizer_config.json", "'added_tokens_decoder.x' is not a token id");
        WriteConfig(c => c["added_tokens_decoder"]!["420"] = 3);
        Fails("tokenizer_config.json", "'added_tokens_decoder.420' is 3, expected an object");
    }

    [Fact]
    public void Older_checkpoints_list_added_tokens_in_a_file_of_their_own()
    {
        CopySeparateFiles();
        WriteConfig(c =>
        {
            c.Remove("added_tokens_decoder");
            c["additional_special_tokens"] = new JsonArray("<|im_start|>");
        });
        directory.Write(
            "added_tokens.json",
            """{"<|im_end|>":420,"<|endoftext|>":421,"<|im_start|>":422,"<tool_call>":423}"""
        );

        var tokenizer = Tokenizer.Load(directory.Path);

        Assert.Equal([422, 423, 420], tokenizer.Encode("<|im_start|><tool_call><|im_end|>", AddedTokenUse.Parse));
        Assert.True(tokenizer.IsSpecial(420) && tokenizer.IsSpecial(422));
        Assert.False(tokenizer.IsSpecial(423));

        directory.Write("added_tokens.json", """{"<|im_end|>":420}""");
        Fails("tokenizer_config.json", "names the special token '<|endoftext|>'");
    }

    [Fact]
    public void Tokens_of_the_configuration_join_those_of_tokenizer_json()
    {
        WriteJson(_ => { });
        WriteConfig(c => c["added_tokens_decoder"]!["434"] = JsonNode.Parse("""{"content":"<more>","special":true}"""));
        var tokenizer = Tokenizer.Load(directory.Path);
        Assert.Equal([434], tokenizer.Encode("<more>", AddedTokenUse.Parse));
        Assert.Equal(435, tokenizer.VocabularySize);
    }

    [Fact]
    public void Vocabularies_may_have_gaps()
    {
        WriteJson(j => j["added_tokens"]![13]!["id"] = 1000);
        var tokenizer = Tokenizer.Load(directory.Path);
        Assert.Equal(1001, tokenizer.VocabularySize);
        Assert.True(tokenizer.Bytes(999).IsEmpty);
        Assert.Equal([1000], tokenizer.Encode("<|video_pad|>", AddedTokenUse.Parse));
    }

    [Fact]
    public void Pieces_that_are_tokens_are_not_merged_where_the_file_says_so()
    {
        WriteJson(j =>
        {
            j["model"]!["ignore_merges"] = true;
            j["model"]!["vocab"]!["xyz"] = 434;
        });
        Assert.Equal([434], Tokenizer.Load(directory.Path).Encode("xyz", AddedTokenUse.None));
    }

    [Fact]
    public void Merges_are_read_as_texts_too()
    {
        WriteJson(j =>
        {
            JsonArray merges = j["model"]!["merges"]!.AsArray();
            j["model"]!["merges"] = new JsonArray([.. merges.Select(m => JsonValue.Create($"{m![0]} {m[1]}"))]);
        });
        Assert.Equal(
            TokenizerRows.Tiny.Encode("What is the answer?", AddedTokenUse.None),
            Tokenizer.Load(directory.Path).Encode("What is the answer?", AddedTokenUse.None)
        );
    }
}
