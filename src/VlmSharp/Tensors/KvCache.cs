using System.Runtime.InteropServices;
using VlmSharp.Kernels;

namespace VlmSharp.Tensors;

/// <summary>Keys and values of every layer, in pages of <see cref="KvLayout.PageTokens"/> tokens.</summary>
/// <remarks>Only memory: who owns which page is the engine's business. Page p of a sequence is page p in every layer.</remarks>
public sealed class KvCache : IDisposable
{
    readonly AlignedBuffer[] layers;

    /// <summary>Memory for a number of pages in every layer.</summary>
    public KvCache(int layerCount, KvLayout layout, int pageCount)
    {
        Layout = layout;
        PageCount = pageCount;
        layers = new AlignedBuffer[layerCount];
        for (int i = 0; i < layerCount; i++)
        {
            layers[i] = new AlignedBuffer((long)pageCount * layout.PageBytes);
        }
    }

    /// <summary>How keys and values lie in a page.</summary>
    public KvLayout Layout { get; }

    /// <summary>Pages in each layer.</summary>
    public int PageCount { get; }

    /// <summary>Bytes a token takes in all layers together.</summary>
    public static long BytesPerToken(int layerCount, KvLayout layout) =>
        (long)layerCount * layout.PageBytes / KvLayout.PageTokens;

    /// <summary>The pages of a layer: [pageCount, pageBytes].</summary>
    public Span<byte> Layer(int layer) => layers[layer].Span<byte>(0, checked(PageCount * Layout.PageBytes));

    /// <summary>Frees the memory.</summary>
    public void Dispose()
    {
        foreach (AlignedBuffer layer in layers)
        {
            layer.Dispose();
        }
    }
}

/// <summary>Where the packed rows of a step stand: which sequence, which slots of the cache, which pages to look at.</summary>
public sealed class KvPlacement
{
    readonly List<AttentionSequence> sequences = [];
    readonly List<int> pageTable = [];
    readonly List<int> slots = [];

    /// <summary>One entry for each sequence of the step.</summary>
    public ReadOnlySpan<AttentionSequence> Sequences => CollectionsMarshal.AsSpan(sequences);

    /// <summary>The pages of all sequences, one after the other, each in the order of its tokens.</summary>
    public ReadOnlySpan<int> PageTable => CollectionsMarshal.AsSpan(pageTable);

    /// <summary>For each row its place in the cache: page * PageTokens + offset.</summary>
    public ReadOnlySpan<int> Slots => CollectionsMarshal.AsSpan(slots);

    /// <summary>Makes room for the pages of all sequences of a step.</summary>
    public void EnsureRoom(int pageCount) => pageTable.EnsureCapacity(pageCount);

    /// <summary>Forgets all sequences; keeps the memory.</summary>
    public void Clear()
    {
        sequences.Clear();
        pageTable.Clear();
        slots.Clear();
    }

    /// <summary>Adds a sequence whose rows are the tokens <c>[keyCount - queryCount, keyCount)</c>.</summary>
    /// <param name="pages">Its pages; enough for <paramref name="keyCount"/> tokens.</param>
    /// <param name="queryCount">Rows in this step.</param>
    /// <param name="keyCount">Tokens in the cache after this step.</param>
    public void Add(ReadOnlySpan<int> pages, int queryCount, int keyCount) =>
        Add(pages, slots.Count, queryCount, keyCount - queryCount, keyCount);

    /// <summary>Adds a sequence whose queries need not be the rows of its new keys.</summary>
    /// <param name="pages">Its pages; enough for <paramref name="keyCount"/> tokens.</param>
    /// <param name="firstQuery">First row of its queries.</param>
    /// <param name="queryCount">Rows of queries.</param>
    /// <param name="firstKey">Number of keys that are in the pages already; the next rows of keys are stored behind them.</param>
    /// <param name="keyCount">Keys in the pages after that.</param>
    public void Add(ReadOnlySpan<int> pages, int firstQuery, int queryCount, int firstKey, int keyCount)
    {
        int needed = KvLayout.PagesFor(keyCount);
        ArgumentOutOfRangeException.ThrowIfLessThan(pages.Length, needed);
        sequences.Add(new AttentionSequence(firstQuery, queryCount, keyCount, pageTable.Count));
        foreach (int page in pages[..needed])
        {
            pageTable.Add(page);
        }

        for (int token = firstKey; token < keyCount; token++)
        {
            slots.Add((pages[token / KvLayout.PageTokens] * KvLayout.PageTokens) + (token % KvLayout.PageTokens));
        }
    }
}
