using System.Text;
using BenchmarkDotNet.Attributes;
using VlmSharp.Text;

namespace VlmSharp.Benchmarks;

/// <summary>Encoding and decoding of one long text on one thread; divide <see cref="Bytes"/> by the time for the throughput.</summary>
/// <remarks>
/// <c>VLMSHARP_TOKENIZER</c> names the directory of a tokenizer and <c>VLMSHARP_TEXTS</c> a directory of UTF-8 files, each a case of its own.
/// </remarks>
[MemoryDiagnoser]
public class TokenizerBenchmarks
{
    static readonly string Directory = Setting("VLMSHARP_TOKENIZER");
    readonly List<int> ids = [];
    Tokenizer tokenizer = null!;
    string text = "";
    int[] encoded = [];

    [ParamsSource(nameof(Texts))]
    public string Text { get; set; } = "";

    public static IEnumerable<string> Texts => System.IO.Directory.EnumerateFiles(Setting("VLMSHARP_TEXTS")).Order();

    public int Bytes => Encoding.UTF8.GetByteCount(text);

    [GlobalSetup]
    public void Setup()
    {
        tokenizer = Tokenizer.Load(Directory);
        text = File.ReadAllText(Text);
        Encode();
        encoded = [.. ids];
    }

    [Benchmark]
    public int Encode()
    {
        ids.Clear();
        tokenizer.Encode(text, ids, AddedTokenUse.Parse);
        return ids.Count;
    }

    [Benchmark]
    public string Decode() => tokenizer.Decode(encoded);

    [Benchmark]
    public int Stream()
    {
        var stream = new TokenStream(tokenizer, skipSpecial: true);
        int length = 0;
        foreach (int id in encoded)
        {
            length += stream.Next(id).Length;
        }

        return length + stream.Finish().Length;
    }

    [Benchmark]
    public int Load() => Tokenizer.Load(Directory).VocabularySize;

    static string Setting(string name) =>
        Environment.GetEnvironmentVariable(name) ?? throw new InvalidOperationException($"set {name}");
}
