using System.Text;
using VlmSharp.Formats;
using VlmSharp.Formats.Gguf;

namespace VlmSharp.Text;

/// <summary>Writes a byte-level BPE tokenizer into the metadata of a GGUF file; what <see cref="GgufTokenizer"/> reads back.</summary>
static class GgufTokenizerWriter
{
    /// <summary>Adds model, tokens with their types, and merges.</summary>
    /// <param name="writer">Receives the keys.</param>
    /// <param name="tokenizer">What to write.</param>
    /// <param name="rows">Rows of the embedding; ids without a token are padding, marked unused.</param>
    /// <param name="source">Named in errors.</param>
    /// <exception cref="CheckpointException">The format has no place for something that would change ids.</exception>
    public static void Write(GgufWriter writer, TokenizerDefinition tokenizer, int rows, string source)
    {
        string pre = (tokenizer.Pattern, tokenizer.Nfc) switch
        {
            (SplitPattern.Qwen2, true) => "qwen2",
            (SplitPattern.Gpt2, false) => "gpt-2",
            var (pattern, nfc) => throw new CheckpointException(
                source,
                $"the tokenizer splits as {pattern} {(nfc ? "with" : "without")} normalisation, for which GGUF files have no name"
            ),
        };
        if (tokenizer.WholePieces)
        {
            throw new CheckpointException(
                source,
                "the tokenizer takes whole pieces (ignore_merges), which GGUF files cannot say"
            );
        }

        Vocabulary vocabulary = tokenizer.Vocabulary;
        if (vocabulary.Size > rows)
        {
            throw new CheckpointException(
                source,
                $"the tokenizer has ids up to {vocabulary.Size - 1}, the embedding has {rows} rows"
            );
        }

        string[] tokens = new string[rows];
        int[] types = new int[rows];
        for (int id = 0; id < rows; id++)
        {
            (tokens[id], types[id]) = Token(vocabulary, id);
        }

        foreach (AddedToken token in tokenizer.AddedTokens)
        {
            if (token.SingleWord || token.LeftStrip || token.RightStrip)
            {
                throw new CheckpointException(
                    source,
                    $"the added token {Quote.Name(token.Content)} is recognised depending on its neighbours, which GGUF files cannot say"
                );
            }

            tokens[token.Id] = token.Content;
            types[token.Id] = (int)(token.Special ? GgufTokenType.Control : GgufTokenType.UserDefined);
        }

        writer
            .Add("tokenizer.ggml.model", "gpt2")
            .Add("tokenizer.ggml.pre", pre)
            .Add("tokenizer.ggml.tokens", tokens)
            .Add("tokenizer.ggml.token_type", types)
            .Add(
                "tokenizer.ggml.merges",
                [.. tokenizer.Merges.InOrder().Select(pair => $"{Spelled(pair.Left)} {Spelled(pair.Right)}")]
            );

        string Spelled(int id) => ByteLevelAlphabet.Encode(vocabulary.Bytes(id));
    }

    static (string Text, int Type) Token(Vocabulary vocabulary, int id)
    {
        ReadOnlySpan<byte> bytes = vocabulary.Bytes(id);
        if (bytes.IsEmpty)
        {
            return ($"[PAD{id}]", (int)GgufTokenType.Unused);
        }

        // Entries that are not spelled in the alphabet of bytes stand in the file as they are.
        bool byteLevel = vocabulary.TryGetId(bytes, out int found) && found == id;
        return (
            byteLevel ? ByteLevelAlphabet.Encode(bytes) : Encoding.UTF8.GetString(bytes),
            (int)GgufTokenType.Normal
        );
    }
}
