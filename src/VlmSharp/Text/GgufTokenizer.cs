using System.Text;
using System.Text.Unicode;
using VlmSharp.Formats;
using VlmSharp.Formats.Gguf;

namespace VlmSharp.Text;

/// <summary>Reads the tokenizer in the metadata of a GGUF file, as far as it is byte-level BPE.</summary>
/// <remarks>
/// The name in <c>tokenizer.ggml.pre</c> stands for a normaliser and a splitting pattern, which the file does not hold itself. Control and
/// user-defined tokens are the added ones; padding of the vocabulary is marked unused and left out.
/// </remarks>
static class GgufTokenizer
{
    const string Prefix = "tokenizer.ggml.";
    const string TypesKey = Prefix + "token_type";

    /// <summary>Reads it.</summary>
    /// <exception cref="CheckpointException">A key is missing or wrong, or asks for something that is not implemented.</exception>
    public static TokenizerDefinition Read(GgufFile file)
    {
        JsonObjectReader keys = file.Keys;
        if (keys.Text(Prefix + "model") is var model && model != "gpt2")
        {
            throw keys.Error(Prefix + "model", $"is {Quote.Name(model)}, only gpt2 (byte-level BPE) is supported");
        }

        (SplitPattern pattern, bool nfc) = keys.Text(Prefix + "pre") switch
        {
            "qwen2" => (SplitPattern.Qwen2, true),
            "gpt-2" => (SplitPattern.Gpt2, false),
            var other => throw keys.Error(
                Prefix + "pre",
                $"is {Quote.Name(other)}, only qwen2 and gpt-2 are supported"
            ),
        };
        foreach (string field in (string[])["add_bos_token", "add_eos_token", "add_space_prefix"])
        {
            if (keys.Bool(Prefix + field, false))
            {
                throw keys.Error(Prefix + field, "is true, which is not supported");
            }
        }

        (Vocabulary vocabulary, List<AddedToken> added) = ReadVocabulary(file);
        var merges = new MergeReader(file.Name, $"{Prefix}merges, number", vocabulary);
        file.Value(Prefix + "merges").ForEachText((place, merge) => merges.Add(merge, place));
        return new(
            vocabulary,
            merges.Build(),
            TokenizerFiles.ByteTokens(vocabulary, file.Name),
            WholePieces: false,
            added,
            nfc,
            pattern
        );
    }

    static (Vocabulary Vocabulary, List<AddedToken> Added) ReadVocabulary(GgufFile file)
    {
        GgufValue tokens = file.Value(GgufConfig.Tokens);
        int[] types = file.Value(TypesKey).Integers();
        if (types.Length != tokens.Count)
        {
            throw file.Error(TypesKey, $"has {types.Length} items, {GgufConfig.Tokens} has {tokens.Count}");
        }

        var builder = new Vocabulary.Builder(file.Name, GgufConfig.Tokens);
        List<AddedToken> added = [];
        tokens.ForEachText(
            (id, token) =>
            {
                switch ((GgufTokenType)types[id])
                {
                    case GgufTokenType.Normal:
                        builder.Add(token, id);
                        break;
                    case GgufTokenType.Control or GgufTokenType.UserDefined:
                        bool control = types[id] == (int)GgufTokenType.Control;
                        added.Add(new(id, Content(token, id), control, false, false, false, Normalized: false));
                        break;
                    case GgufTokenType.Unused:
                        break;
                    default:
                        throw file.Error(
                            TypesKey,
                            $"has type {types[id]} for token {id}, only normal (1), control (3), user-defined (4) and unused (5) ones are supported"
                        );
                }
            }
        );
        if (added.Count > TokenizerFiles.MaxAddedTokens)
        {
            throw file.Error(
                TypesKey,
                $"has {added.Count} added tokens, at most {TokenizerFiles.MaxAddedTokens} are possible"
            );
        }

        return (builder.Build(added, file.Name), added);

        string Content(ReadOnlySpan<byte> token, int id) =>
            token.Length is > 0 and <= AddedTokenMatcher.MaxContentLength && Utf8.IsValid(token)
                ? Encoding.UTF8.GetString(token)
                : throw file.Error(
                    GgufConfig.Tokens,
                    $"has {Quote.Name(token)} for the added token {id}, expected 1 to {AddedTokenMatcher.MaxContentLength} bytes of UTF-8"
                );
    }
}

/// <summary>What a token of a GGUF file is, with the numbers that files have for it.</summary>
enum GgufTokenType
{
    Normal = 1,
    Unknown = 2,
    Control = 3,
    UserDefined = 4,
    Unused = 5,
    Byte = 6,
}
