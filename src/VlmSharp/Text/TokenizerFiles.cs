using VlmSharp.Formats;

namespace VlmSharp.Text;

/// <summary>Picks and reads the files of a checkpoint's tokenizer.</summary>
static class TokenizerFiles
{
    /// <summary>Far above every published file, and a bound on what an unknown one may cost.</summary>
    const long LargestFile = 256 << 20;

    /// <summary>Added tokens in one file; published ones have some thousands at most.</summary>
    public const int MaxAddedTokens = 1 << 16;

    /// <summary>Ids are rows of a table, whose height is an integer too.</summary>
    public const int MaxId = int.MaxValue - 1;

    const string ConfigName = "tokenizer_config.json";

    static readonly string[] SpecialFields =
    [
        "bos_token",
        "eos_token",
        "unk_token",
        "sep_token",
        "pad_token",
        "cls_token",
        "mask_token",
    ];

    /// <inheritdoc cref="Tokenizer.Load(string)"/>
    public static TokenizerDefinition Read(string directory)
    {
        string json = Path.Combine(directory, "tokenizer.json");
        string vocab = Path.Combine(directory, "vocab.json");
        string merges = Path.Combine(directory, "merges.txt");
        JsonObjectReader? config = JsonObjectReader.OpenOptional(directory, ConfigName);
        if (Path.Exists(json))
        {
            return TokenizerJson.Read(
                CheckpointFile.Name(json),
                CheckpointFile.Read(json, LargestFile),
                AddedTokensDecoder(config) ?? []
            );
        }

        if (!Path.Exists(vocab) || !Path.Exists(merges))
        {
            string ranks = Path.Combine(directory, TiktokenFile.Name);
            if (!Path.Exists(ranks))
            {
                throw new CheckpointException(
                    directory,
                    $"has neither tokenizer.json nor vocab.json with merges.txt nor {TiktokenFile.Name}"
                );
            }

            string name = config?.Text("tokenizer_class", TiktokenFile.TokenizerClass) ?? TiktokenFile.TokenizerClass;
            return name == TiktokenFile.TokenizerClass
                ? TiktokenFile.Read(ranks)
                : throw config!.Error(
                    "tokenizer_class",
                    $"is {Quote.Name(name)}; {TiktokenFile.Name} is read for {TiktokenFile.TokenizerClass}"
                );
        }

        if (config is null)
        {
            throw new CheckpointException(
                ConfigName,
                "is missing; without tokenizer.json it is needed to know how text is split (tokenizer_class) and which tokens are added"
            );
        }

        return ReadVocabularyAndMerges(directory, vocab, merges, config);
    }

    static TokenizerDefinition ReadVocabularyAndMerges(
        string directory,
        string vocab,
        string merges,
        JsonObjectReader config
    )
    {
        (SplitPattern pattern, bool nfc) = config.Text("tokenizer_class") switch
        {
            "Qwen2Tokenizer" or "Qwen2TokenizerFast" => (SplitPattern.Qwen2, true),
            "GPT2Tokenizer" or "GPT2TokenizerFast" => (SplitPattern.Gpt2, false),
            var other => throw config.Error(
                "tokenizer_class",
                $"is {Quote.Name(other)}; only Qwen2Tokenizer and GPT2Tokenizer can be read from vocab.json and merges.txt. Convert to tokenizer.json, or use a checkpoint that has it"
            ),
        };
        foreach (string field in (string[])["add_prefix_space", "add_bos_token"])
        {
            if (config.Bool(field, false))
            {
                throw config.Error(field, "is true, which is not supported");
            }
        }

        string vocabFile = CheckpointFile.Name(vocab);
        var builder = new Vocabulary.Builder(vocabFile, "vocabulary");
        TokenizerJson.ReadVocabulary(vocabFile, CheckpointFile.Read(vocab, LargestFile), builder);
        List<AddedToken>? added = AddedTokensDecoder(config);
        string addedFile = config.File;
        List<string> specials = [];
        if (added is null)
        {
            specials = SpecialTokens(directory, config);
            (added, addedFile) = AddedTokensJson(directory, specials);
        }

        Vocabulary vocabulary = builder.Build(added, addedFile);
        foreach (string special in specials.Where(s => added.TrueForAll(t => t.Content != s)))
        {
            if (!vocabulary.TryGetId(special, out int id))
            {
                throw new CheckpointException(
                    config.File,
                    $"names the special token {Quote.Name(special)}, which neither vocab.json nor added_tokens.json has"
                );
            }

            added.Add(new(id, special, true, false, false, false, false));
        }

        var reader = new MergeReader(CheckpointFile.Name(merges), "line", vocabulary);
        ReadMerges(CheckpointFile.Read(merges, LargestFile), reader);
        return new(vocabulary, reader.Build(), ByteTokens(vocabulary, vocabFile), false, added, nfc, pattern);
    }

    /// <summary>The token of each byte.</summary>
    /// <exception cref="CheckpointException">A byte that text can have is not in the vocabulary.</exception>
    public static int[] ByteTokens(Vocabulary vocabulary, string file)
    {
        var tokens = new int[256];
        for (int b = 0; b < tokens.Length; b++)
        {
            byte[] single = [(byte)b];
            bool neverInUtf8 = b is 0xC0 or 0xC1 or >= 0xF5;
            if (!vocabulary.TryGetId(single, out tokens[b]) && !neverInUtf8)
            {
                throw new CheckpointException(
                    file,
                    $"the vocabulary has no entry '{ByteLevelAlphabet.Encode(single)}' for byte 0x{b:X2}; a byte-level vocabulary has all bytes"
                );
            }
        }

        return tokens;
    }

    static void ReadMerges(ReadOnlySpan<byte> text, MergeReader reader)
    {
        int line = 0;
        while (!text.IsEmpty)
        {
            int end = text.IndexOf((byte)'\n');
            ReadOnlySpan<byte> merge = (end < 0 ? text : text[..end]).Trim(" \t\r"u8);
            text = end < 0 ? [] : text[(end + 1)..];
            line++;
            if (!merge.IsEmpty && !(line == 1 && merge.StartsWith("#version:"u8)))
            {
                reader.Add(merge, line);
            }
        }
    }

    /// <summary>The added tokens of the configuration, or null if it has no such field.</summary>
    static List<AddedToken>? AddedTokensDecoder(JsonObjectReader? config)
    {
        if (config?.OptionalObject("added_tokens_decoder") is not { } decoder)
        {
            return null;
        }

        List<AddedToken> tokens = [];
        foreach (string key in decoder.Names)
        {
            if (!int.TryParse(key, System.Globalization.NumberStyles.None, null, out int id) || id > MaxId)
            {
                throw decoder.Error(key, "is not a token id");
            }

            tokens.Add(AddedToken.Read(decoder.Object(key), id));
        }

        return tokens;
    }

    static (List<AddedToken> Tokens, string File) AddedTokensJson(string directory, List<string> specials)
    {
        const string Name = "added_tokens.json";
        List<AddedToken> tokens = [];
        if (JsonObjectReader.OpenOptional(directory, Name) is { } json)
        {
            HashSet<string> special = [.. specials];
            foreach (string content in json.Names)
            {
                bool isSpecial = special.Contains(content);
                string found = AddedToken.Checked(json, content, content);
                tokens.Add(
                    new(json.Int(content, 0, MaxId), found, isSpecial, false, false, false, Normalized: !isSpecial)
                );
            }
        }

        return (tokens, Name);
    }

    /// <summary>The special tokens that the configuration and special_tokens_map.json name, as older checkpoints have them.</summary>
    static List<string> SpecialTokens(string directory, JsonObjectReader config)
    {
        const string Additional = "additional_special_tokens";
        List<string> tokens = [];
        JsonObjectReader? map = JsonObjectReader.OpenOptional(directory, "special_tokens_map.json");
        foreach (JsonObjectReader source in map is null ? [config] : (JsonObjectReader[])[config, map])
        {
            tokens.AddRange(SpecialFields.Where(source.Has).Select(field => source.TextOrInner(field, "content")));
            if (source.Has(Additional))
            {
                tokens.AddRange(source.TextsOrInner(Additional, MaxAddedTokens, "content"));
            }
        }

        return [.. tokens.Distinct()];
    }
}
