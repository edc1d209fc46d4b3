using System.Buffers;
using System.Buffers.Text;
using VlmSharp.Formats;

namespace VlmSharp.Text;

/// <summary>Reads <c>qwen.tiktoken</c>, the vocabulary of the first Qwen-VL: a token's bytes in base64 and its rank on each line.</summary>
/// <remarks>
/// <para>
/// There is no list of merges: two neighbours merge wherever the vocabulary has the bytes of both together, and the rank of
/// that token is the rank of the merge. A rank is the id as well. The special tokens stand in no file: the published
/// <c>tokenization_qwen.py</c> numbers them on from the last rank.
/// </para>
/// <para>
/// As there, text is brought to form C before special tokens are looked for. The tags of answers (<c>&lt;ref&gt;</c>,
/// <c>&lt;box&gt;</c>, <c>&lt;quad&gt;</c>) are not marked special: they belong to the text a model writes and reads again.
/// </para>
/// </remarks>
static class TiktokenFile
{
    /// <summary>Its name in a checkpoint.</summary>
    public const string Name = "qwen.tiktoken";

    /// <summary>The tokenizer class that <c>tokenizer_config.json</c> names beside it.</summary>
    public const string TokenizerClass = "QWenTokenizer";

    // Six times the published file. Looking for all divisions of its tokens stays a matter of seconds.
    const long LargestFile = 16 << 20;

    // Published ones have 128 bytes at most.
    const int LongestToken = 256;

    const int Extras = 205;

    static readonly string[] Controls = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"];
    static readonly string[] AnswerTags = ["<ref>", "</ref>", "<box>", "</box>", "<quad>", "</quad>"];
    static readonly string[] PictureTags = ["<img>", "</img>", "<imgpad>"];

    /// <summary>Reads the file at a path.</summary>
    /// <exception cref="CheckpointException">A line is not a token and its rank, or the ranks are not 0, 1, 2, ... each once.</exception>
    public static TokenizerDefinition Read(string path)
    {
        string file = CheckpointFile.Name(path);
        var builder = new Vocabulary.Builder(file, "ranks");
        int ranks = ReadRanks(file, CheckpointFile.Read(path, LargestFile), builder);
        AddedToken[] added = [.. SpecialTokens(ranks)];
        Vocabulary vocabulary = builder.Build(added, file);
        return new(
            vocabulary,
            FindMerges(vocabulary, ranks),
            TokenizerFiles.ByteTokens(vocabulary, file),
            WholePieces: true,
            added,
            Nfc: true,
            SplitPattern.Qwen2
        );
    }

    static int ReadRanks(string file, ReadOnlySpan<byte> text, Vocabulary.Builder builder)
    {
        Span<byte> token = stackalloc byte[LongestToken];
        int line = 0;
        int count = 0;
        int highest = -1;
        while (!text.IsEmpty)
        {
            int end = text.IndexOfAny("\r\n"u8);
            ReadOnlySpan<byte> row = end < 0 ? text : text[..end];
            text = end < 0 ? [] : text[(text[end..].StartsWith("\r\n"u8) ? end + 2 : end + 1)..];
            line++;
            if (row.IsEmpty)
            {
                continue;
            }

            int space = row.IndexOf((byte)' ');
            if (space < 0)
            {
                throw Error("is not a token in base64, a space and its rank");
            }

            OperationStatus status = Base64.DecodeFromUtf8(row[..space], token, out _, out int length);
            if (status == OperationStatus.DestinationTooSmall)
            {
                throw Error($"has a token of more than {LongestToken} bytes");
            }

            if (status != OperationStatus.Done || length == 0)
            {
                throw Error($"{Quote.Name(row[..space])} is not a token in base64");
            }

            ReadOnlySpan<byte> number = row[(space + 1)..];
            if (
                !Utf8Parser.TryParse(number, out int rank, out int digits)
                || digits != number.Length
                || rank is < 0 or > TokenizerFiles.MaxId
            )
            {
                throw Error($"{Quote.Name(number)} is not a rank");
            }

            builder.AddBytes(token[..length], rank);
            highest = Math.Max(highest, rank);
            count++;
        }

        // Two tokens of one rank are found when the vocabulary is built.
        return highest == count - 1
            ? count
            : throw new CheckpointException(
                file,
                $"has {count} tokens, but ranks up to {highest}; expected 0 .. {count - 1}, each once, because the ids of special tokens follow them"
            );

        CheckpointException Error(string message) => new(file, $"line {line} {message}");
    }

    static IEnumerable<AddedToken> SpecialTokens(int first)
    {
        IEnumerable<(string Content, bool Special)> all =
        [
            .. Controls.Select(c => (c, true)),
            .. Enumerable.Range(0, Extras).Select(i => ($"<|extra_{i}|>", true)),
            .. AnswerTags.Select(c => (c, false)),
            .. PictureTags.Select(c => (c, true)),
        ];
        return all.Select(token => new AddedToken(first++, token.Content, token.Special, false, false, false, true));
    }

    /// <summary>Every division of every token into two others is a merge.</summary>
    static MergeTable FindMerges(Vocabulary vocabulary, int ranks)
    {
        List<(int Left, int Right, int Merged)> merges = [];
        for (int id = 0; id < ranks; id++)
        {
            ReadOnlySpan<byte> token = vocabulary.Bytes(id);
            for (int cut = 1; cut < token.Length; cut++)
            {
                if (vocabulary.TryGetId(token[..cut], out int left) && vocabulary.TryGetId(token[cut..], out int right))
                {
                    merges.Add((left, right, id));
                }
            }
        }

        var table = new MergeTable(merges.Count);
        foreach ((int left, int right, int merged) in merges)
        {
            table.TryAdd(left, right, rank: merged, merged);
        }

        return table;
    }
}
