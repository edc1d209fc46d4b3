using System.Text;
using BenchmarkDotNet.Attributes;
using VlmSharp.Text;

namespace VlmSharp.Benchmarks;

/// <summary>Encoding and decoding of one long text on one thread.</summary>
/// <remarks>
/// The vocabulary is Qwen2.5-VL's where <c>../shared/reference</c> has it, else the small one of the golden reader, which needs more
/// merges for a text. <c>VLMSHARP_TOKENIZER</c> names another directory. The texts are about 4 MB: C# as this repository has it, and
/// prose in Latin, Greek, Cyrillic, Han, kana, Hangul, Arabic, Hindi and emoji in turn.
/// </remarks>
[MemoryDiagnoser]
[MedianColumn]
public class TokenizerBenchmarks
{
    const int TextBytes = 4 << 20;

    static readonly string[] Prose =
    [
        "The reader looks at a page, finds the table and adds up its third column. ",
        "Ο αναγνώστης κοιτάζει τη σελίδα και βρίσκει τον πίνακα. ",
        "Читатель смотрит на страницу, находит таблицу и складывает числа. ",
        "读者看着这一页,找到表格,把第三列的数字加起来。",
        "読者はページを見て、表を見つけ、三列目を合計します。",
        "독자는 페이지를 보고 표를 찾아 세 번째 열을 더합니다. ",
        "ينظر القارئ إلى الصفحة ويجد الجدول ويجمع العمود الثالث. ",
        "पाठक पृष्ठ को देखता है और तालिका खोजता है। ",
        "😀 12,345.67 € – naïve café (2nd edition) 🧮\n",
    ];

    readonly List<int> ids = [];
    Tokenizer tokenizer = null!;
    string text = "";
    int[] encoded = [];

    /// <summary>What kind of text.</summary>
    [Params("code", "mixed")]
    public string Text { get; set; } = "";

    /// <summary>Loads the vocabulary and makes the text.</summary>
    [GlobalSetup]
    public void Setup()
    {
        tokenizer = Tokenizer.Load(Vocabulary);
        text = Text == "code" ? Code() : Mixed();
        Console.WriteLine($"// {Text}: {Encoding.UTF8.GetByteCount(text) / 1e6:f2} MB, vocabulary {Vocabulary}");
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
    public int Load() => Tokenizer.Load(Vocabulary).VocabularySize;

    static string Vocabulary
    {
        get
        {
            string full = Path.Combine(Repository, "..", "shared", "reference", "qwen2.5-vl");
            return Environment.GetEnvironmentVariable("VLMSHARP_TOKENIZER")
                ?? (
                    Directory.Exists(full)
                        ? full
                        : Path.Combine(Repository, "tests", "goldens", "reader-ref", "checkpoint")
                );
        }
    }

    static string Repository
    {
        get
        {
            DirectoryInfo? at = new(AppContext.BaseDirectory);
            while (at is not null && !File.Exists(Path.Combine(at.FullName, "VlmSharp.slnx")))
            {
                at = at.Parent;
            }

            return at?.FullName ?? throw new DirectoryNotFoundException("run it from inside the repository");
        }
    }

    static string Code() =>
        Repeat([
            .. Directory
                .EnumerateFiles(Path.Combine(Repository, "src"), "*.cs", SearchOption.AllDirectories)
                .Where(file => !file.Contains("/obj/"))
                .Order()
                .Select(File.ReadAllText),
        ]);

    static string Mixed() => Repeat(Prose);

    static string Repeat(string[] parts)
    {
        StringBuilder all = new();
        for (int bytes = 0, i = 0; bytes < TextBytes; i = (i + 1) % parts.Length)
        {
            all.Append(parts[i]);
            bytes += Encoding.UTF8.GetByteCount(parts[i]);
        }

        return all.ToString();
    }
}
