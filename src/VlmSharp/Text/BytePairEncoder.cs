using System.Runtime.InteropServices;
using System.Text;

namespace VlmSharp.Text;

/// <summary>Merges the bytes of pieces into tokens: always the merge of lowest rank, the leftmost of equals.</summary>
/// <remarks>
/// One instance serves one thread at a time. Short pieces go through a cache; on a miss a scan over the pairs finds the next
/// merge. Long pieces take a linked list and a heap instead, so that no piece costs more than n log n.
/// </remarks>
sealed class BytePairEncoder
{
    /// <summary>Up to this many bytes the scan is quicker than the heap.</summary>
    const int ScanLimit = 128;

    // The cache is direct-mapped. An entry is one cache line: 15 UTF-16 units of the piece, a unit with its length and the
    // number of tokens, 8 tokens. A piece that does not fit is not kept.
    const int CacheEntries = 1 << 15;
    const int EntrySize = 16;
    const int KeyUnits = 15;
    const int KeptTokens = 8;

    readonly TokenizerDefinition definition;
    readonly MergeTable merges;
    readonly int[] cache = new int[CacheEntries * EntrySize];

    byte[] bytes = new byte[ScanLimit * 3];
    int[] symbols = new int[ScanLimit];
    long[] pairs = new long[ScanLimit]; // pairs[i]: the merge of symbols i and the one after it
    int[] next = [];
    int[] previous = [];
    ulong[] heap = [];
    int heapLength;

    public BytePairEncoder(TokenizerDefinition definition)
    {
        this.definition = definition;
        merges = definition.Merges;
    }

    /// <summary>Steps of the merging so far: comparisons of the scan, moves in the heap. Tests bound the work by it.</summary>
    public long Steps { get; private set; }

    /// <summary>Appends the tokens of a piece of well-formed text.</summary>
    public void Encode(ReadOnlySpan<char> piece, List<int> ids)
    {
        while (true)
        {
            int end = definition.Seams.Next(piece);
            EncodePart(piece[..end], ids);
            if (end == piece.Length)
            {
                break;
            }

            piece = piece[end..];
        }
    }

    void EncodePart(ReadOnlySpan<char> piece, List<int> ids)
    {
        if (piece.Length > KeyUnits)
        {
            Merge(piece, ids);
            return;
        }

        Span<int> entry = cache.AsSpan((int)(Hash(piece) % CacheEntries) * EntrySize, EntrySize);
        Span<char> key = MemoryMarshal.Cast<int, char>(entry);
        int kept = key[KeyUnits];
        if ((kept & 0xFF) == piece.Length && key[..piece.Length].SequenceEqual(piece))
        {
            foreach (int id in entry.Slice(EntrySize - KeptTokens, kept >> 8))
            {
                ids.Add(id);
            }

            return;
        }

        int before = ids.Count;
        Merge(piece, ids);
        ReadOnlySpan<int> tokens = CollectionsMarshal.AsSpan(ids)[before..];
        if (tokens.Length <= KeptTokens)
        {
            piece.CopyTo(key);
            key[KeyUnits] = (char)(piece.Length | (tokens.Length << 8));
            tokens.CopyTo(entry[(EntrySize - KeptTokens)..]);
        }
    }

    /// <summary>Gives up buffers that an unusually long piece made large.</summary>
    public void Trim()
    {
        if (bytes.Length > 1 << 20)
        {
            bytes = new byte[ScanLimit * 3];
            symbols = new int[ScanLimit];
            pairs = new long[ScanLimit];
            next = previous = [];
            heap = [];
        }
    }

    static uint Hash(ReadOnlySpan<char> piece)
    {
        // The units as numbers of up to 64 bits, which overlap where the length is not a multiple.
        ReadOnlySpan<byte> data = MemoryMarshal.AsBytes(piece);
        ulong hash = (uint)piece.Length;
        if (data.Length >= 8)
        {
            for (int i = 0; i < data.Length - 8; i += 8)
            {
                hash = (hash ^ MemoryMarshal.Read<ulong>(data[i..])) * 0x9E3779B97F4A7C15;
                hash ^= hash >> 32;
            }

            hash ^= MemoryMarshal.Read<ulong>(data[^8..]);
        }
        else
        {
            foreach (char c in piece)
            {
                hash = (hash << 16) ^ c;
            }
        }

        return (uint)((hash * 0x9E3779B97F4A7C15) >> 40);
    }

    void Merge(ReadOnlySpan<char> piece, List<int> ids)
    {
        if (bytes.Length < piece.Length * 3)
        {
            bytes = new byte[piece.Length * 3];
        }

        int length = Encoding.UTF8.GetBytes(piece, bytes);
        if (definition.WholePieces && definition.Vocabulary.TryGetId(bytes.AsSpan(0, length), out int whole))
        {
            ids.Add(whole);
            return;
        }

        if (symbols.Length < length)
        {
            symbols = new int[length];
            pairs = new long[length];
        }

        for (int i = 0; i < length; i++)
        {
            symbols[i] = definition.ByteTokens[bytes[i]];
        }

        for (int i = 0; i + 1 < length; i++)
        {
            pairs[i] = merges.Find(symbols[i], symbols[i + 1]);
        }

        pairs[length - 1] = MergeTable.None;
        length = length <= ScanLimit ? MergeByScan(length) : MergeByHeap(length);
        ids.AddRange(symbols.AsSpan(0, length));
    }

    /// <summary>Leaves the tokens at the front of <see cref="symbols"/> and returns their number.</summary>
    int MergeByScan(int length)
    {
        Span<int> symbol = symbols;
        Span<long> pair = pairs;
        while (true)
        {
            Steps += length;
            int at = 0;
            long lowest = MergeTable.None;
            for (int i = 0; i < length - 1; i++)
            {
                if (pair[i] < lowest)
                {
                    (lowest, at) = (pair[i], i);
                }
            }

            if (lowest == MergeTable.None)
            {
                return length;
            }

            symbol[at] = (int)lowest;
            length--;
            symbol[(at + 2)..(length + 1)].CopyTo(symbol[(at + 1)..]);
            pair[(at + 1)..(length + 1)].CopyTo(pair[at..]);
            pair[at] = at + 1 < length ? merges.Find(symbol[at], symbol[at + 1]) : MergeTable.None;
            if (at > 0)
            {
                pair[at - 1] = merges.Find(symbol[at - 1], symbol[at]);
            }
        }
    }

    /// <inheritdoc cref="MergeByScan"/>
    int MergeByHeap(int length)
    {
        if (next.Length < length)
        {
            next = new int[symbols.Length];
            previous = new int[symbols.Length];
            heap = new ulong[symbols.Length];
        }

        heapLength = 0;
        for (int i = 0; i < length; i++)
        {
            previous[i] = i - 1;
            next[i] = i + 1;
            if (pairs[i] != MergeTable.None)
            {
                heap[heapLength++] = HeapKey(i);
            }
        }

        for (int i = (heapLength / 2) - 1; i >= 0; i--)
        {
            SiftDown(i);
        }

        while (heapLength > 0)
        {
            // An entry is stale when its pair is gone or has changed; keys sort by rank, then by place.
            ulong key = heap[0];
            int at = (int)(uint)key;
            if (key != HeapKey(at))
            {
                heap[0] = heap[--heapLength];
                SiftDown(0);
                continue;
            }

            int gone = next[at];
            int after = next[gone];
            symbols[at] = (int)pairs[at];
            next[at] = after;
            pairs[gone] = MergeTable.None;
            pairs[at] = MergeTable.None;
            if (after < length)
            {
                previous[after] = at;
                pairs[at] = merges.Find(symbols[at], symbols[after]);
            }

            heap[0] = pairs[at] != MergeTable.None ? HeapKey(at) : heap[--heapLength];
            SiftDown(0);
            int before = previous[at];
            if (before >= 0)
            {
                pairs[before] = merges.Find(symbols[before], symbols[at]);
                if (pairs[before] != MergeTable.None)
                {
                    Push(HeapKey(before));
                }
            }
        }

        int count = 0;
        for (int i = 0; i < length; i = next[i])
        {
            symbols[count++] = symbols[i];
        }

        return count;
    }

    ulong HeapKey(int at) => ((ulong)pairs[at] & 0xFFFFFFFF00000000) | (uint)at;

    void Push(ulong key)
    {
        if (heapLength == heap.Length)
        {
            Array.Resize(ref heap, heap.Length * 2);
        }

        int i = heapLength++;
        while (i > 0 && heap[(i - 1) / 2] > key)
        {
            heap[i] = heap[(i - 1) / 2];
            i = (i - 1) / 2;
            Steps++;
        }

        heap[i] = key;
    }

    void SiftDown(int i)
    {
        if (i >= heapLength)
        {
            return;
        }

        ulong key = heap[i];
        while (true)
        {
            int child = (2 * i) + 1;
            if (child >= heapLength)
            {
                break;
            }

            if (child + 1 < heapLength && heap[child + 1] < heap[child])
            {
                child++;
            }

            if (heap[child] >= key)
            {
                break;
            }

            heap[i] = heap[child];
            i = child;
            Steps++;
        }

        heap[i] = key;
    }
}
