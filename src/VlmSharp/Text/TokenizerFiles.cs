using VlmSharp.Formats;

namespace VlmSharp.Text;

/// <summary>Picks and reads the files of a checkpoint's tokenizer.</summary>
static class TokenizerFiles
{
    /// <summary>Far above every published file, and a bound on what an unknown one may cost.</summary>
    const long LargestFile = 256 << 20;

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

    /// <inheritdoc cref="Tokenizer.Load"/>
    public static TokenizerDefinition Read(string directory)
    {
        string json = Path.Combine(directory, "tokenizer.json");
        string vocab = Path.Combine(directory, "vocab.json");
        string merges = Path.Combine(directory, "merges.txt");
        string configFile = Path.Combine(directory, ConfigName);
        JsonFields? config = File.Exists(configFile) ? JsonFields.Parse(configFile, ReadFile(configFile)) : null;
        if (File.Exists(json))
        {
            return TokenizerJson.Read(json, ReadFile(json), AddedTokensDecoder(config) ?? []);
        }

        if (!File.Exists(vocab) || !File.Exists(merges))
        {
            throw new CheckpointException(directory, "has neither tokenizer.json nor vocab.json with merges.txt");
        }

        if (config is null)
        {
            throw new CheckpointException(
                configFile,
                "is missing; without tokenizer.json it is needed to know how text is split (tokenizer_class) and which tokens are added"
            );
        }

        return ReadVocabularyAndMerges(directory, vocab, merges, config.Value);
    }

    static TokenizerDefinition ReadVocabularyAndMerges(string directory, string vocab, string merges, JsonFields config)
    {
        (SplitPattern pattern, bool nfc) = config.String("tokenizer_class") switch
        {
            "Qwen2Tokenizer" or "Qwen2TokenizerFast" => (SplitPattern.Qwen2, true),
            "GPT2Tokenizer" or "GPT2TokenizerFast" => (SplitPattern.Gpt2, false),
            var other => throw config.Error(
                "tokenizer_class",
                $"is {(other is null ? "missing" : $"'{Excerpt.Of(other)}'")}; only Qwen2Tokenizer and GPT2Tokenizer can be read from vocab.json and merges.txt. Convert to tokenizer.json, or use a checkpoint that has it"
            ),
        };
        foreach (string field in (string[])["add_prefix_space", "add_bos_token"])
        {
            if (config.Bool(field, absent: false))
            {
                throw config.Error(field, "true is not supported");
            }
        }

        byte[] vocabBytes = ReadFile(vocab);
        var builder = new Vocabulary.Builder(vocab, "vocabulary");
        TokenizerJson.ReadVocabulary(vocab, vocabBytes, builder);
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
                    $"names the special token '{Excerpt.Of(special)}', which neither vocab.json nor added_tokens.json has"
                );
            }

            added.Add(new(id, special, true, false, false, false, false));
        }

        var reader = new MergeReader(merges, "line", vocabulary);
        ReadMerges(ReadFile(merges), reader);
        return new(vocabulary, reader.Build(), ByteTokens(vocabulary, vocab), false, added, nfc, pattern);
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
    static List<AddedToken>? AddedTokensDecoder(JsonFields? config)
    {
        if (config?.Object("added_tokens_decoder") is not { } decoder)
        {
            return null;
        }

        List<AddedToken> tokens = [];
        foreach ((string key, JsonFields token) in decoder.Objects())
        {
            if (!int.TryParse(key, System.Globalization.NumberStyles.None, null, out int id) || id == int.MaxValue)
            {
                throw decoder.Error(key, "is not a token id");
            }

            tokens.Add(token.AddedToken(id));
        }

        return tokens;
    }

    static (List<AddedToken> Tokens, string File) AddedTokensJson(string directory, List<string> specials)
    {
        string file = Path.Combine(directory, "added_tokens.json");
        List<AddedToken> tokens = [];
        if (File.Exists(file))
        {
            HashSet<string> special = [.. specials];
            JsonFields json = JsonFields.Parse(file, ReadFile(file));
            foreach (string content in json.Names())
            {
                bool isSpecial = special.Contains(content);
                JsonFields.CheckContent(json, content, content);
                tokens.Add(new(json.Id(content), content, isSpecial, false, false, false, Normalized: !isSpecial));
            }
        }

        return (tokens, file);
    }

    /// <summary>The special tokens that the configuration and special_tokens_map.json name, as older checkpoints have them.</summary>
    static List<string> SpecialTokens(string directory, JsonFields config)
    {
        string mapFile = Path.Combine(directory, "special_tokens_map.json");
        List<JsonFields> sources = [config];
        if (File.Exists(mapFile))
        {
            sources.Add(JsonFields.Parse(mapFile, ReadFile(mapFile)));
        }

        List<string> tokens = [];
        foreach (JsonFields source in sources)
        {
            tokens.AddRange(SpecialFields.Select(source.TokenContent).OfType<string>());
            tokens.AddRange(source.TokenContents("additional_special_tokens"));
        }

        return [.. tokens.Distinct()];
    }

    static byte[] ReadFile(string file)
    {
        try
        {
            long length = new FileInfo(file).Length;
            if (length > LargestFile)
            {
                throw new CheckpointException(
                    file,
                    $"has {length} bytes; tokenizer files of more than {LargestFile} bytes are not read"
                );
            }

            return File.ReadAllBytes(file);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new CheckpointException(file, $"cannot be read: {e.Message}", e);
        }
    }
}
