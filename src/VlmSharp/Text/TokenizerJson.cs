using System.Buffers;
using System.Text.Json;
using VlmSharp.Formats;

namespace VlmSharp.Text;

/// <summary>Reads <c>tokenizer.json</c>, the format of the <c>tokenizers</c> library, as far as it is byte-level BPE.</summary>
/// <remarks>
/// Vocabulary and merges, megabytes of them, are streamed; the small parts are read as documents. What would change ids or decoded text
/// and is not implemented is refused by name. <c>truncation</c> and <c>padding</c> are left to the caller, as the transformers library does.
/// </remarks>
static class TokenizerJson
{
    const int MaxSteps = 64; // of a normalizer, a pre-tokenizer, a post-processor

    /// <summary>Reads a whole file.</summary>
    /// <param name="file">Named in errors.</param>
    /// <param name="json">Its content.</param>
    /// <param name="configured">Tokens that tokenizer_config.json adds; where the two differ in flags, these count.</param>
    public static TokenizerDefinition Read(string file, byte[] json, List<AddedToken> configured)
    {
        try
        {
            return ReadChecked(file, json, configured);
        }
        catch (JsonException e)
        {
            throw CheckpointFile.InvalidJson(file, "is", e);
        }
    }

    /// <summary>Reads an object of tokens and ids, as vocab.json is.</summary>
    public static void ReadVocabulary(string file, byte[] json, Vocabulary.Builder builder)
    {
        try
        {
            var reader = new Utf8JsonReader(json);
            reader.Read();
            ReadVocabulary(file, "vocabulary", ref reader, builder);
            if (reader.Read())
            {
                throw new CheckpointException(file, "has more than one JSON value");
            }
        }
        catch (JsonException e)
        {
            throw CheckpointFile.InvalidJson(file, "is", e);
        }
    }

    static TokenizerDefinition ReadChecked(string file, byte[] json, List<AddedToken> configured)
    {
        var reader = new Utf8JsonReader(json);
        reader.Read();
        Expect(file, "the file", ref reader, JsonTokenType.StartObject);
        var builder = new Vocabulary.Builder(file, "model.vocab");
        var small = new ArrayBufferWriter<byte>(); // the same object without vocabulary and merges
        var merges = default(Utf8JsonReader);
        bool hasVocabulary = false;
        bool hasMerges = false;
        small.Write("{"u8);
        while (NextProperty(ref reader, out int start))
        {
            if (!IsProperty(json, start, "model"u8) || reader.TokenType != JsonTokenType.StartObject)
            {
                Copy(json, start, ref reader, small);
                continue;
            }

            Separate(small);
            small.Write("\"model\":{"u8);
            while (NextProperty(ref reader, out start))
            {
                // Other kinds of models have lists for vocabularies; their type is refused below.
                if (
                    IsProperty(json, start, "vocab"u8)
                    && reader.TokenType == JsonTokenType.StartObject
                    && !hasVocabulary
                )
                {
                    ReadVocabulary(file, "model.vocab", ref reader, builder);
                    hasVocabulary = true;
                }
                else if (
                    IsProperty(json, start, "merges"u8)
                    && reader.TokenType == JsonTokenType.StartArray
                    && !hasMerges
                )
                {
                    // Read when the vocabulary is complete.
                    merges = reader;
                    hasMerges = true;
                    reader.Skip();
                }
                else
                {
                    Copy(json, start, ref reader, small);
                }
            }

            small.Write("}"u8);
        }

        if (reader.Read())
        {
            throw new CheckpointException(file, "has more than one JSON value");
        }

        small.Write("}"u8);
        var root = JsonObjectReader.Parse(file, small.WrittenSpan);
        JsonObjectReader model = root.Object("model");
        bool wholePieces = CheckModel(model, hasVocabulary, hasMerges);
        bool nfc = ReadNormalizer(root.OptionalObject("normalizer"));
        SplitPattern pattern = ReadPreTokenizer(root);
        CheckPostProcessor(root.OptionalObject("post_processor"));
        CheckDecoder(root);
        JsonObjectReader[] own = root.Has("added_tokens")
            ? root.Objects("added_tokens", TokenizerFiles.MaxAddedTokens)
            : [];
        List<AddedToken> added = Combine(
            [.. own.Select(token => AddedToken.Read(token, token.Int("id", 0, TokenizerFiles.MaxId)))],
            configured,
            file
        );
        Vocabulary vocabulary = builder.Build(added, file);
        var mergeReader = new MergeReader(file, "model.merges, number", vocabulary);
        ReadMerges(file, ref merges, mergeReader);
        return new(
            vocabulary,
            mergeReader.Build(),
            TokenizerFiles.ByteTokens(vocabulary, file),
            wholePieces,
            added,
            nfc,
            pattern
        );
    }

    static void ReadVocabulary(string file, string field, ref Utf8JsonReader reader, Vocabulary.Builder builder)
    {
        Expect(file, field, ref reader, JsonTokenType.StartObject);
        byte[] unescaped = new byte[256];
        while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
        {
            ReadOnlySpan<byte> token = Unescape(file, field, ref reader, ref unescaped);
            reader.Read();
            if (
                reader.TokenType != JsonTokenType.Number
                || !reader.TryGetInt32(out int id)
                || id is < 0 or > TokenizerFiles.MaxId
            )
            {
                throw new CheckpointException(
                    file,
                    $"{field}: {Quote.Name(token)} has {Describe(ref reader)}, expected a token id"
                );
            }

            builder.Add(token, id);
        }
    }

    static void ReadMerges(string file, ref Utf8JsonReader reader, MergeReader merges)
    {
        byte[] left = new byte[256];
        byte[] right = new byte[256];
        for (int place = 0; reader.Read() && reader.TokenType != JsonTokenType.EndArray; place++)
        {
            string field = "model.merges";
            if (reader.TokenType == JsonTokenType.String)
            {
                merges.Add(Unescape(file, field, ref reader, ref left), place);
                continue;
            }

            // The newer form: two texts in an array.
            Expect(file, field, ref reader, JsonTokenType.StartArray);
            reader.Read();
            Expect(file, field, ref reader, JsonTokenType.String);
            ReadOnlySpan<byte> first = Unescape(file, field, ref reader, ref left);
            reader.Read();
            Expect(file, field, ref reader, JsonTokenType.String);
            ReadOnlySpan<byte> second = Unescape(file, field, ref reader, ref right);
            reader.Read();
            Expect(file, field, ref reader, JsonTokenType.EndArray);
            merges.Add(first, second, place);
        }
    }

    /// <summary>Refuses what is not plain byte-level BPE; true if pieces that are tokens are not merged.</summary>
    static bool CheckModel(JsonObjectReader model, bool hasVocabulary, bool hasMerges)
    {
        string type = model.Text("type", "BPE"); // old files do not say
        if (type != "BPE")
        {
            throw model.Error("type", $"is {Quote.Name(type)}, only byte-level BPE is supported");
        }

        foreach (string read in (string[])["vocab", "merges"])
        {
            if (model.Has(read) && (read == "vocab" ? hasVocabulary : hasMerges))
            {
                throw model.Error(read, "occurs twice");
            }
        }

        if (!hasVocabulary || !hasMerges)
        {
            throw model.Error(hasVocabulary ? "merges" : "vocab", "is missing or not what BPE has there");
        }

        if (model.Bool("byte_fallback", false))
        {
            throw model.Error(
                "byte_fallback",
                "is true: that belongs to SentencePiece vocabularies, only byte-level BPE is supported"
            );
        }

        foreach (string affix in (string[])["continuing_subword_prefix", "end_of_word_suffix"])
        {
            if (model.Text(affix, "") is { Length: > 0 } text)
            {
                throw model.Error(affix, $"is {Quote.Name(text)}, which is not supported");
            }
        }

        if (model.Number("dropout", 0, 1, 0) != 0)
        {
            throw model.Error("dropout", "is not 0, which is not supported: ids would be random");
        }

        return model.Bool("ignore_merges", false);
    }

    static bool ReadNormalizer(JsonObjectReader? normalizer) =>
        normalizer?.Text("type") switch
        {
            null => false,
            "NFC" => true,
            "Sequence" => Array.ConvertAll(normalizer.Objects("normalizers", MaxSteps), ReadNormalizer).Contains(true),
            var type => throw normalizer.Error("type", $"is {Quote.Name(type)}, only NFC or none is supported"),
        };

    static SplitPattern ReadPreTokenizer(JsonObjectReader root)
    {
        JsonObjectReader found = root.Object("pre_tokenizer");
        SplitPattern? pattern = null;
        bool byteLevel = false;
        foreach (
            JsonObjectReader step in found.Text("type") == "Sequence"
                ? found.Objects("pretokenizers", MaxSteps)
                : [found]
        )
        {
            string type = step.Text("type");
            switch (type)
            {
                case "Split" when pattern is null && !byteLevel:
                    pattern = ReadSplit(step);
                    break;
                case "ByteLevel" when !byteLevel:
                    byteLevel = true;
                    bool splits = step.Bool("use_regex", true);
                    if (step.Bool("add_prefix_space"))
                    {
                        throw step.Error("add_prefix_space", "is true, which is not supported");
                    }

                    if (splits && pattern is not null)
                    {
                        throw step.Error("use_regex", "is true after another split, which is not supported");
                    }

                    pattern = splits ? SplitPattern.Gpt2 : pattern;
                    break;
                default:
                    throw step.Error(
                        "type",
                        $"is {Quote.Name(type)}, which is not supported here; known are ByteLevel alone, and Split followed by ByteLevel"
                    );
            }
        }

        return byteLevel && pattern is { } known
            ? known
            : throw found.Error(
                "type",
                "does not split into byte-level pieces; known are ByteLevel alone, and Split followed by ByteLevel"
            );
    }

    static SplitPattern ReadSplit(JsonObjectReader split)
    {
        string behavior = split.Text("behavior");
        if (behavior != "Isolated" || split.Bool("invert", false))
        {
            throw split.Error("behavior", $"is {Quote.Name(behavior)}, only Isolated and not inverted is supported");
        }

        string expression = split.Object("pattern").Text("Regex");
        return PieceSplitter.Recognise(expression)
            ?? throw split.Error(
                "pattern",
                $"is {Quote.Name(expression)}, not a known expression; known are those of Qwen2 and GPT-2"
            );
    }

    static void CheckPostProcessor(JsonObjectReader? processor)
    {
        switch (processor?.Text("type"))
        {
            case null or "ByteLevel": // moves offsets only
                return;
            case "Sequence":
                Array.ForEach(processor.Objects("processors", MaxSteps), CheckPostProcessor);
                return;
            case "TemplateProcessing"
                when !Array.Exists(processor.Objects("single", MaxSteps), part => part.Has("SpecialToken")):
                return;
            case var type:
                throw processor.Error(
                    "type",
                    $"is {Quote.Name(type)}, which is not supported: it adds tokens to every text"
                );
        }
    }

    static void CheckDecoder(JsonObjectReader root)
    {
        JsonObjectReader decoder = root.Object("decoder");
        string type = decoder.Text("type");
        if (type != "ByteLevel")
        {
            throw decoder.Error("type", $"is {Quote.Name(type)}, only ByteLevel is supported");
        }
    }

    /// <summary>Adds the tokens of tokenizer_config.json to those of tokenizer.json.</summary>
    static List<AddedToken> Combine(List<AddedToken> own, List<AddedToken> configured, string file)
    {
        Dictionary<string, int> places = [];
        for (int i = 0; i < own.Count; i++)
        {
            if (!places.TryAdd(own[i].Content, i))
            {
                throw new CheckpointException(file, $"added_tokens: {Quote.Name(own[i].Content)} occurs twice");
            }
        }

        foreach (AddedToken token in configured)
        {
            if (!places.TryGetValue(token.Content, out int place))
            {
                own.Add(token);
            }
            else if (own[place].Id != token.Id)
            {
                throw new CheckpointException(
                    file,
                    $"added_tokens: {Quote.Name(token.Content)} has id {own[place].Id}, tokenizer_config.json says {token.Id}"
                );
            }
            else
            {
                own[place] = token;
            }
        }

        return own;
    }

    /// <summary>Moves to the value of the next property, whose name starts at <paramref name="start"/>; false at the end of the object.</summary>
    static bool NextProperty(ref Utf8JsonReader reader, out int start)
    {
        reader.Read();
        start = (int)reader.TokenStartIndex;
        return reader.TokenType == JsonTokenType.PropertyName && reader.Read();
    }

    /// <summary>Whether the property name at <paramref name="start"/> is this one, in its plain spelling.</summary>
    static bool IsProperty(ReadOnlySpan<byte> json, int start, ReadOnlySpan<byte> name) =>
        json[(start + 1)..].StartsWith(name) && json[start + 1 + name.Length] == (byte)'"';

    /// <summary>Copies a property, whose value the reader is at.</summary>
    static void Copy(ReadOnlySpan<byte> json, int start, ref Utf8JsonReader reader, ArrayBufferWriter<byte> target)
    {
        reader.Skip();
        Separate(target);
        target.Write(json[start..(int)reader.BytesConsumed]);
    }

    /// <summary>Writes a comma, unless the next property is the object's first.</summary>
    static void Separate(ArrayBufferWriter<byte> target)
    {
        if (target.WrittenSpan[^1] != (byte)'{')
        {
            target.Write(","u8);
        }
    }

    static void Expect(string file, string field, ref Utf8JsonReader reader, JsonTokenType type)
    {
        if (reader.TokenType != type)
        {
            throw new CheckpointException(file, $"{field}: found {Describe(ref reader)}, expected {type}");
        }
    }

    /// <summary>The text at the reader in UTF-8, which is checked where it is used.</summary>
    static ReadOnlySpan<byte> Unescape(string file, string field, ref Utf8JsonReader reader, ref byte[] buffer)
    {
        if (!reader.ValueIsEscaped)
        {
            return reader.ValueSpan;
        }

        if (buffer.Length < reader.ValueSpan.Length)
        {
            buffer = new byte[reader.ValueSpan.Length];
        }

        try
        {
            return buffer.AsSpan(0, reader.CopyString(buffer));
        }
        catch (InvalidOperationException e)
        {
            throw new CheckpointException(file, $"{field}: a text is not valid UTF-8 or UTF-16", e);
        }
    }

    static string Describe(ref Utf8JsonReader reader) =>
        reader.TokenType is JsonTokenType.Number ? Quote.Short(reader.ValueSpan) : reader.TokenType.ToString();
}
