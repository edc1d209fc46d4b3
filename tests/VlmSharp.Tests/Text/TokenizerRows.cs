using System.Text.Json;
using VlmSharp.Testing;
using VlmSharp.Text;

namespace VlmSharp.Tests.Text;

/// <summary>Rows of golden files with one JSON object per line, and the tokenizers they belong to.</summary>
static class TokenizerRows
{
    public static IEnumerable<JsonElement> Read(string path) =>
        File.ReadLines(path).Where(line => line.Length > 0).Select(line => JsonElement.Parse(line));

    public static int[] Ids(JsonElement row, string field) =>
        [.. row.GetProperty(field).EnumerateArray().Select(i => i.GetInt32())];

    /// <summary>The tiny tokenizer of Qwen2's form that lies in the repository.</summary>
    public static Tokenizer Tiny { get; } = Tokenizer.Load(Goldens.Local("qwen2-vl/checkpoint"));

    public static int[] Encode(this Tokenizer tokenizer, string text, AddedTokenUse use)
    {
        List<int> ids = [];
        tokenizer.Encode(text, ids, use);
        return [.. ids];
    }
}
