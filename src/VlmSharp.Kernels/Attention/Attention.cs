namespace VlmSharp.Kernels;

/// <summary>Softmax attention of packed sequences over paged keys and values: y = softmax(scale * q k^T) v, prefill and decode alike.</summary>
/// <remarks>
/// <para>
/// Tiled with an online softmax (Dao et al., arXiv 2205.14135), f32 throughout; about 1e-6 of the largest |v| from the exact
/// result. A query's result depends, bit for bit, on that query and the keys it sees only: not on the other queries, how a
/// prefill was cut into calls, other sequences, the order of pages, or the number of threads. Unused slots of pages and keys a
/// query does not see may hold anything, NaN included.
/// </para>
/// <para>
/// Query head h reads key/value head h / (heads / kvHeads). A query that sees no key gets zeros. Finite inputs give finite
/// results as long as scores stay below 2e38, and sums of |v| over 256 keys in the range of f32. NaN in a query, or in a key
/// it sees, makes the whole result of that query and head NaN; NaN in a value it sees makes that channel NaN. An infinite
/// score makes NaN; a score of minus infinity gets weight zero unless it is the only one.
/// </para>
/// </remarks>
public static unsafe partial class Attention
{
    internal static readonly KernelTable<AttentionKernel> Variants = new(
        "attention",
        ("avx512", InstructionSets.Avx512, new AttentionKernel(AttentionTile.Run<Avx512Math>)),
        ("avx2", InstructionSets.Avx2, new AttentionKernel(AttentionTile.Run<Avx2Math>)),
        ("portable", true, new AttentionKernel(AttentionTile.Run<PortableMath>))
    );

    // Rows of one part. Every block of keys is fetched from the outer caches once per part, and 112 rows (8 tiles of 14) make
    // that cheap; more would leave the second-level cache and give fewer parts to share.
    const int PartRows = 112;

    // Multiply-adds below which sharing costs more than it gains.
    const long SharedWork = 200_000;

    /// <summary>Computes attention for every query of every sequence.</summary>
    /// <param name="q">[tokens, heads, headDim]; within a token the heads are contiguous.</param>
    /// <param name="qStride">Elements from one token of q to the next, at least heads * headDim.</param>
    /// <param name="heads">Query heads, a multiple of the key/value heads.</param>
    /// <param name="layout">Key/value heads, and how they lie in a page.</param>
    /// <param name="pages">[pageCount, layout.PageFloats], filled by <see cref="KeyValueStore"/>.</param>
    /// <param name="pageTable">Page numbers; each sequence has a run of them, in the order of its tokens.</param>
    /// <param name="sequences">The sequences; rows of q that belong to none are not touched.</param>
    /// <param name="causal">Whether a query sees only the keys up to its own position; otherwise it sees all of its sequence.</param>
    /// <param name="scale">Factor of the scores, usually 1 / sqrt(headDim).</param>
    /// <param name="y">[tokens, heads, headDim]; may be q itself.</param>
    /// <param name="yStride">Elements from one token of y to the next.</param>
    /// <param name="pool">Shares pieces of about a hundred rows.</param>
    /// <exception cref="ArgumentException">A span is too short, or a sequence names rows or pages that do not exist.</exception>
    public static void Apply(
        ReadOnlySpan<float> q,
        int qStride,
        int heads,
        KvLayout layout,
        ReadOnlySpan<float> pages,
        ReadOnlySpan<int> pageTable,
        ReadOnlySpan<AttentionSequence> sequences,
        bool causal,
        float scale,
        Span<float> y,
        int yStride,
        WorkerPool pool
    ) =>
        Apply(Variants.Active, q, qStride, heads, layout, pages, pageTable, sequences, causal, scale, y, yStride, pool);

    internal static void Apply(
        AttentionKernel kernel,
        ReadOnlySpan<float> q,
        int qStride,
        int heads,
        KvLayout layout,
        ReadOnlySpan<float> pages,
        ReadOnlySpan<int> pageTable,
        ReadOnlySpan<AttentionSequence> sequences,
        bool causal,
        float scale,
        Span<float> y,
        int yStride,
        WorkerPool pool
    )
    {
        layout.Check();
        if (heads < 1 || heads % layout.KvHeads != 0)
        {
            throw new ArgumentException($"heads: {heads} is not a multiple of the {layout.KvHeads} key/value heads");
        }

        int width = checked(heads * layout.HeadDim);
        int pageCount = pages.Length / layout.PageFloats;
        foreach (AttentionSequence sequence in sequences)
        {
            Check(sequence, pageTable, pageCount);
            int rows = checked(sequence.QueryStart + sequence.QueryCount);
            RowMatrix.Check(q.Length, qStride, rows, width);
            RowMatrix.Check(y.Length, yStride, rows, width);
        }

        AlignedBuffer buffer = pool.Rent((sequences.Length + 1L) * sizeof(int));
        try
        {
            fixed (float* qStart = q)
            fixed (float* pagesStart = pages)
            fixed (int* pageTableStart = pageTable)
            fixed (AttentionSequence* sequencesStart = sequences)
            fixed (float* yStart = y)
            {
                var body = new Body
                {
                    Kernel = kernel,
                    Pool = pool,
                    Q = qStart,
                    QStride = qStride,
                    Y = yStart,
                    YStride = yStride,
                    Pages = pagesStart,
                    PageTable = pageTableStart,
                    Sequences = sequencesStart,
                    SequenceCount = sequences.Length,
                    Layout = layout,
                    Group = heads / layout.KvHeads,
                    Causal = causal,
                    Scale = (float)(scale * 1.4426950408889634),
                    FirstPiece = (int*)buffer.Pointer,
                };
                long work = body.Plan();
                int parts = work < SharedWork ? Math.Min(1, body.Pieces) : body.Pieces;
                body.PiecesPerPart = parts == 1 ? body.Pieces : 1;
                pool.Run(parts, ref body);
            }
        }
        finally
        {
            pool.Return(buffer);
        }
    }

    static void Check(AttentionSequence sequence, ReadOnlySpan<int> pageTable, int pageCount)
    {
        if (sequence.QueryStart < 0 || sequence.QueryCount < 0 || sequence.KeyCount < 0 || sequence.PageStart < 0)
        {
            throw new ArgumentException($"sequences: {sequence} has a negative number");
        }

        int used = KvLayout.PagesFor(sequence.KeyCount);
        if (used > pageTable.Length - sequence.PageStart && used > 0)
        {
            throw new ArgumentException(
                $"sequences: {sequence} needs {used} entries of the page table, which has {pageTable.Length}"
            );
        }

        for (int i = 0; i < used; i++)
        {
            int page = pageTable[sequence.PageStart + i];
            if (page < 0 || page >= pageCount)
            {
                throw new ArgumentException(
                    $"pageTable: entry {sequence.PageStart + i} is page {page}, there are {pageCount} pages"
                );
            }
        }
    }

    struct Body : IParallelBody
    {
        internal AttentionKernel Kernel;
        internal WorkerPool Pool;
        internal float* Q;
        internal int QStride;
        internal float* Y;
        internal int YStride;
        internal float* Pages;
        internal int* PageTable;
        internal AttentionSequence* Sequences;
        internal int SequenceCount;
        internal KvLayout Layout;
        internal int Group;
        internal bool Causal;
        internal float Scale;

        /// <summary>[SequenceCount + 1]: number of the first piece of each sequence, then the number of pieces.</summary>
        internal int* FirstPiece;

        internal int PiecesPerPart;

        internal readonly int Pieces => FirstPiece[SequenceCount];

        readonly int QueriesPerPiece => Math.Max(1, PartRows / Group);

        /// <summary>Numbers the pieces and returns the multiply-adds of all of them.</summary>
        internal readonly long Plan()
        {
            long work = 0;
            int pieces = 0;
            for (int s = 0; s < SequenceCount; s++)
            {
                FirstPiece[s] = pieces;
                int spans = RowMatrix.Parts(Sequences[s].QueryCount, QueriesPerPiece);
                pieces = checked(pieces + (spans * Layout.KvHeads));
                work += (long)Sequences[s].QueryCount * Sequences[s].KeyCount;
            }

            FirstPiece[SequenceCount] = pieces;
            return work * 2 * Layout.KvHeads * Group * Layout.HeadDim;
        }

        public readonly void Run(int part, int worker)
        {
            // Backwards: under a causal mask the last queries of a sequence see most and take longest.
            int end = Pieces - (part * PiecesPerPart);
            for (int piece = end - 1; piece >= end - PiecesPerPart; piece--)
            {
                RunPiece(piece, worker);
            }
        }

        readonly void RunPiece(int piece, int worker)
        {
            int s = FindSequence(piece);
            AttentionSequence sequence = Sequences[s];
            (int span, int head) = Math.DivRem(piece - FirstPiece[s], Layout.KvHeads);
            int first = span * QueriesPerPiece;
            int queries = Math.Min(QueriesPerPiece, sequence.QueryCount - first);
            nint row = sequence.QueryStart + first;
            nint column = head * Group * Layout.HeadDim;
            var tile = new AttentionTile
            {
                Q = Q + (row * QStride) + column,
                QStride = QStride,
                Y = Y + (row * YStride) + column,
                YStride = YStride,
                Pages = Pages + ((nint)head * Layout.HeadFloats),
                PageFloats = Layout.PageFloats,
                PageTable = PageTable + sequence.PageStart,
                Layout = Layout,
                Queries = queries,
                Group = Group,
                FirstVisible = Causal ? sequence.KeyCount - sequence.QueryCount + first + 1 : sequence.KeyCount,
                VisibleStep = Causal ? 1 : 0,
                Scale = Scale,
            };
            int bytes = AttentionTile.ScratchBytes(queries * Group, Layout);
            Kernel(tile, Pool.ScratchPointer(worker, bytes));
        }

        /// <summary>The last sequence whose first piece is not behind this one.</summary>
        readonly int FindSequence(int piece)
        {
            int low = 0;
            int high = SequenceCount - 1;
            while (low < high)
            {
                int middle = (low + high + 1) / 2;
                if (FirstPiece[middle] <= piece)
                {
                    low = middle;
                }
                else
                {
                    high = middle - 1;
                }
            }

            return low;
        }
    }
}
