using System.Diagnostics.CodeAnalysis;
using BenchmarkDotNet.Attributes;
using VlmSharp.Kernels;

namespace VlmSharp.Benchmarks;

/// <summary>One layer's attention in the shapes that occur: decoder prefill and decode, vision tower, windows.</summary>
/// <remarks>GFLOP per call: 4 * heads * headDim * (query, key) pairs, which is what <see cref="Shape"/> prints.</remarks>
[MemoryDiagnoser]
[SuppressMessage("Design", "CA1001", Justification = "BenchmarkDotNet calls Cleanup instead of Dispose")]
public class AttentionBenchmarks
{
    WorkerPool pool = null!;
    AlignedBuffer pages = null!;
    float[] q = [];
    float[] y = [];
    int[] table = [];
    AttentionSequence[] sequences = [];
    AttentionKernel kernel = null!;

    public static IEnumerable<string> Variants => Attention.Variants.SupportedNames;

    public static IEnumerable<Shape> Shapes =>
        [
            new("prefill", Batch: 1, Queries: 2048, Keys: 2048, Heads: 12, KvHeads: 2, HeadDim: 128, Causal: true),
            new("vision", Batch: 1, Queries: 4096, Keys: 4096, Heads: 16, KvHeads: 16, HeadDim: 80, Causal: false),
            new("windows", Batch: 64, Queries: 64, Keys: 64, Heads: 16, KvHeads: 16, HeadDim: 80, Causal: false),
            new("decode", Batch: 1, Queries: 1, Keys: 2048, Heads: 12, KvHeads: 2, HeadDim: 128, Causal: true),
            new("decode", Batch: 16, Queries: 1, Keys: 2048, Heads: 12, KvHeads: 2, HeadDim: 128, Causal: true),
        ];

    [ParamsSource(nameof(Variants))]
    public string Variant { get; set; } = "";

    [ParamsSource(nameof(Shapes))]
    public Shape Case { get; set; } = null!;

    [ParamsAllValues]
    public KvStorage Storage { get; set; }

    [Params(1, 2)]
    public int Threads { get; set; }

    [GlobalSetup]
    public void Setup()
    {
        kernel = Attention.Variants.Supported.Single(v => v.Name == Variant).Run;
        pool = new WorkerPool(Threads);
        KvLayout layout = Layout;
        int pagesEach = (Case.Keys + KvLayout.PageTokens - 1) / KvLayout.PageTokens;
        int pageCount = Case.Batch * pagesEach;
        pages = new AlignedBuffer((long)pageCount * layout.PageBytes);
        table = [.. Enumerable.Range(0, pageCount)];
        sequences =
        [
            .. Enumerable
                .Range(0, Case.Batch)
                .Select(b => new AttentionSequence(b * Case.Queries, Case.Queries, Case.Keys, b * pagesEach)),
        ];
        var random = new Random(1);
        q = Draw(Case.Batch * Case.Queries * Case.Width);
        y = new float[q.Length];
        int kvWidth = Case.KvHeads * Case.HeadDim;
        for (int b = 0; b < Case.Batch; b++)
        {
            int[] slots = [.. Enumerable.Range(b * pagesEach * KvLayout.PageTokens, Case.Keys)];
            float[] k = Draw(Case.Keys * kvWidth);
            float[] v = Draw(Case.Keys * kvWidth);
            KeyValueStore.Write(k, kvWidth, v, kvWidth, Case.Keys, layout, Pages, slots, pool);
        }

        float[] Draw(int count) => [.. Enumerable.Range(0, count).Select(_ => (random.NextSingle() * 2) - 1)];
    }

    [Benchmark]
    public void Apply() =>
        Attention.Apply(
            kernel,
            q,
            Case.Width,
            Case.Heads,
            Layout,
            Pages,
            table,
            sequences,
            Case.Causal,
            1 / MathF.Sqrt(Case.HeadDim),
            y,
            Case.Width,
            pool,
            mayRound: true
        );

    [GlobalCleanup]
    public void Cleanup()
    {
        pool.Dispose();
        pages.Dispose();
    }

    Span<byte> Pages => pages.Span<byte>(0, table.Length * Layout.PageBytes);

    KvLayout Layout => new(Case.KvHeads, Case.HeadDim, Storage);

    /// <summary>The shape of one call.</summary>
    public sealed record Shape(
        string Name,
        int Batch,
        int Queries,
        int Keys,
        int Heads,
        int KvHeads,
        int HeadDim,
        bool Causal
    )
    {
        internal int Width => Heads * HeadDim;

        public override string ToString()
        {
            double pairs = (double)Queries * (Causal ? Keys - ((Queries - 1) / 2.0) : Keys);
            double work = 4.0 * Batch * Heads * HeadDim * pairs / 1e9;
            return $"{Name} {Batch}x{Queries}/{Keys} {Heads}/{KvHeads}x{HeadDim} {work:G3} GFLOP";
        }
    }
}
