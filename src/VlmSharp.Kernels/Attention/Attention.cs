namespace VlmSharp.Kernels;

/// <summary>Softmax attention of packed sequences over paged keys and values: y = softmax(scale * q k^T) v, prefill and decode alike.</summary>
/// <remarks>
/// <para>
/// Tiled with an online softmax (Dao et al., arXiv 2205.14135), f32 throughout; about 1e-6 of the largest |v| from the exact
/// result for the keys and values that are stored. Where rounding is allowed and the processor multiplies pairs of bf16, scaled
/// queries and the weights of the softmax are rounded to bf16, too (values stored as q8 as well); all sums stay f32, and so does
/// the softmax. Each rounding is within 2^-9 of the number; a score that moves
/// by 0.01 moves its weight by 0.7 percent.
/// </para>
/// <para>
/// A query's result depends, bit for bit, on that query and the keys it sees only: not on the other queries, how a
/// prefill was cut into calls, other sequences, the order of pages, or the number of threads. Unused slots of pages and keys a
/// query does not see may hold anything, NaN included.
/// </para>
/// <para>
/// Query head h reads key/value head h / (heads / kvHeads). A query that sees no key gets zeros. Finite inputs give finite
/// results as long as scores stay below 2e38, and sums of |v| over 256 keys in the range of f32. NaN in a query, or in a key
/// it sees, makes the whole result of that query and head NaN; NaN in a value it sees makes that channel NaN. An infinite
/// score makes NaN; a score of minus infinity gets weight zero unless it is the only one. What <see cref="KeyValueStore"/> says of
/// numbers that do not fit a storage comes first.
/// </para>
/// </remarks>
public static unsafe partial class Attention
{
    internal static readonly KernelTable<AttentionKernel> Variants = new(
        "attention",
        ("avx512bf16", Bf16DotMath.Supported, Bf16DotMath.Run),
        ("avx512", InstructionSets.Avx512, new AttentionKernel(AttentionTile.Run<Avx512Math>)),
        ("avx2", InstructionSets.Avx2, new AttentionKernel(AttentionTile.Run<Avx2Math>)),
        ("portable", true, new AttentionKernel(AttentionTile.Run<PortableMath>))
    );

    // Rows of one part. Every block of keys is fetched from the outer caches once per part, and 112 rows (8 tiles of 14) make
    // that cheap; more would leave the second-level cache and give fewer parts to share.
    const int PartRows = 112;

    // Multiply-adds below which sharing costs more than it gains.
    const long SharedWork = 200_000;

    // Results of single blocks may take so much, that of a prefill over hundreds of blocks would be too much.
    const long MostPartialBytes = 32 << 20;

    /// <summary>The storage in which attention is fastest over keys and values that are used once.</summary>
    /// <param name="mayRound">Whether they, queries and weights may be rounded to bf16.</param>
    public static KvStorage FastestStorage(bool mayRound) =>
        mayRound && Variants.Active == Bf16DotMath.Run ? KvStorage.BF16 : KvStorage.F32;

    /// <summary>Computes attention for every query of every sequence.</summary>
    /// <param name="q">[tokens, heads, headDim]; within a token the heads are contiguous.</param>
    /// <param name="qStride">Elements from one token of q to the next, at least heads * headDim.</param>
    /// <param name="heads">Query heads, a multiple of the key/value heads.</param>
    /// <param name="layout">Key/value heads, and how they lie in a page.</param>
    /// <param name="pages">[pageCount, layout.PageBytes], filled by <see cref="KeyValueStore"/>.</param>
    /// <param name="pageTable">Page numbers; each sequence has a run of them, in the order of its tokens.</param>
    /// <param name="sequences">The sequences; rows of q that belong to none are not touched.</param>
    /// <param name="causal">Whether a query sees only the keys up to its own position; otherwise it sees all of its sequence.</param>
    /// <param name="scale">Factor of the scores, usually 1 / sqrt(headDim).</param>
    /// <param name="y">[tokens, heads, headDim]; may be q itself.</param>
    /// <param name="yStride">Elements from one token of y to the next.</param>
    /// <param name="pool">Shares pieces of about a hundred rows, or blocks of 256 keys where those are few.</param>
    /// <param name="mayRound">
    /// Lets a variant that is faster so round queries and weights to bf16, if keys and values are not stored as f32.
    /// </param>
    /// <exception cref="ArgumentException">A span is too short, or a sequence names rows or pages that do not exist.</exception>
    public static void Apply(
        ReadOnlySpan<float> q,
        int qStride,
        int heads,
        KvLayout layout,
        ReadOnlySpan<byte> pages,
        ReadOnlySpan<int> pageTable,
        ReadOnlySpan<AttentionSequence> sequences,
        bool causal,
        float scale,
        Span<float> y,
        int yStride,
        WorkerPool pool,
        bool mayRound = false
    ) =>
        Apply(
            Variants.Active,
            q,
            qStride,
            heads,
            layout,
            pages,
            pageTable,
            sequences,
            causal,
            scale,
            y,
            yStride,
            pool,
            mayRound
        );

    internal static void Apply(
        AttentionKernel kernel,
        ReadOnlySpan<float> q,
        int qStride,
        int heads,
        KvLayout layout,
        ReadOnlySpan<byte> pages,
        ReadOnlySpan<int> pageTable,
        ReadOnlySpan<AttentionSequence> sequences,
        bool causal,
        float scale,
        Span<float> y,
        int yStride,
        WorkerPool pool,
        bool mayRound = false
    )
    {
        layout.Check();
        if (heads < 1 || heads % layout.KvHeads != 0)
        {
            throw new ArgumentException($"heads: {heads} is not a multiple of the {layout.KvHeads} key/value heads");
        }

        int width = checked(heads * layout.HeadDim);
        int pageCount = pages.Length / layout.PageBytes;
        foreach (AttentionSequence sequence in sequences)
        {
            Check(sequence, pageTable, pageCount);
            int rows = checked(sequence.QueryStart + sequence.QueryCount);
            RowMatrix.Check(q.Length, qStride, rows, width);
            RowMatrix.Check(y.Length, yStride, rows, width);
        }

        AlignedBuffer starts = pool.Rent((sequences.Length + 1L) * sizeof(int));
        try
        {
            fixed (float* qStart = q)
            fixed (byte* pagesStart = pages)
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
                    MayRound = mayRound,
                    FirstPart = (int*)starts.Pointer,
                    PartsEach = 1,
                };
                Run(ref body);
            }
        }
        finally
        {
            pool.Return(starts);
        }
    }

    static void Run(ref Body body)
    {
        WorkerPool pool = body.Pool;
        long work = body.Plan(AttentionPhase.Whole);
        int pieces = body.Parts;
        if (work < SharedWork)
        {
            body.PartsEach = pieces;
            pool.Run(Math.Min(1, pieces), ref body);
            return;
        }

        // Too few pieces for the threads, as when one sequence with few key/value heads goes on: their blocks are shared out.
        if (pieces % pool.Threads != 0 && pieces < 2 * pool.Threads)
        {
            _ = body.Plan(AttentionPhase.Block);
            long bytes = body.Parts * body.PartialFloats * sizeof(float);
            if (body.Parts > pieces && bytes <= MostPartialBytes)
            {
                AlignedBuffer partials = pool.Rent(bytes);
                try
                {
                    body.Partials = (float*)partials.Pointer;
                    pool.Run(body.Parts, ref body);
                    body.Phase = AttentionPhase.Merge;
                    pool.Run(pieces, ref body);
                }
                finally
                {
                    pool.Return(partials);
                }

                return;
            }

            _ = body.Plan(AttentionPhase.Whole);
        }

        pool.Run(pieces, ref body);
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
        internal byte* Pages;
        internal int* PageTable;
        internal AttentionSequence* Sequences;
        internal int SequenceCount;
        internal KvLayout Layout;
        internal int Group;
        internal bool Causal;
        internal float Scale;
        internal bool MayRound;

        /// <summary>[SequenceCount + 1]: number of the first part of each sequence, then the number of parts; a part is a piece, or a block of one.</summary>
        internal int* FirstPart;

        /// <summary>How many parts a call of <see cref="Run"/> does.</summary>
        internal int PartsEach;

        internal AttentionPhase Phase;

        /// <summary>Results of all blocks: those of a piece follow each other.</summary>
        internal float* Partials;

        /// <summary>Room for the result of a block, whichever the piece.</summary>
        internal long PartialFloats;

        internal readonly int Parts => FirstPart[SequenceCount];

        readonly int QueriesPerPiece => Math.Max(1, PartRows / Group);

        /// <summary>Numbers the parts and returns the multiply-adds of all of them.</summary>
        internal long Plan(AttentionPhase phase)
        {
            Phase = phase;
            long work = 0;
            int parts = 0;
            int mostRows = 0;
            for (int s = 0; s < SequenceCount; s++)
            {
                FirstPart[s] = parts;
                parts = checked(parts + (Pieces(Sequences[s]) * BlocksEach(Sequences[s])));
                work += (long)Sequences[s].QueryCount * Sequences[s].KeyCount;
                mostRows = Math.Max(mostRows, Math.Min(Sequences[s].QueryCount, QueriesPerPiece) * Group);
            }

            FirstPart[SequenceCount] = parts;
            PartialFloats = AttentionTile.PartialFloats(mostRows, Layout);
            return work * 2 * Layout.KvHeads * Group * Layout.HeadDim;
        }

        readonly int Pieces(AttentionSequence sequence) =>
            RowMatrix.Parts(sequence.QueryCount, QueriesPerPiece) * Layout.KvHeads;

        /// <summary>Parts of a piece. A sequence without keys has one, too, that writes zeros.</summary>
        readonly int BlocksEach(AttentionSequence sequence) =>
            Phase == AttentionPhase.Whole
                ? 1
                : Math.Max(1, RowMatrix.Parts(sequence.KeyCount, AttentionTile.BlockKeys));

        public readonly void Run(int part, int worker)
        {
            if (Phase == AttentionPhase.Merge)
            {
                MergePiece(part, worker);
                return;
            }

            // Backwards: under a causal mask the last queries of a sequence see most and take longest.
            int end = Parts - (part * PartsEach);
            for (int number = end - 1; number >= end - PartsEach; number--)
            {
                int s = FindSequence(number);
                (int piece, int block) = Math.DivRem(number - FirstPart[s], BlocksEach(Sequences[s]));
                RunPiece(s, piece, block, Partials + (number * PartialFloats), worker);
            }
        }

        readonly void MergePiece(int piece, int worker)
        {
            int s = 0;
            for (; piece >= Pieces(Sequences[s]); s++)
            {
                piece -= Pieces(Sequences[s]);
            }

            int first = FirstPart[s] + (piece * BlocksEach(Sequences[s]));
            RunPiece(s, piece, 0, Partials + (first * PartialFloats), worker);
        }

        readonly void RunPiece(int s, int piece, int block, float* partials, int worker)
        {
            AttentionSequence sequence = Sequences[s];
            (int span, int head) = Math.DivRem(piece, Layout.KvHeads);
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
                Pages = Pages + ((nint)head * Layout.HeadBytes),
                PageTable = PageTable + sequence.PageStart,
                Layout = Layout,
                Queries = queries,
                Group = Group,
                FirstVisible = Causal ? sequence.KeyCount - sequence.QueryCount + first + 1 : sequence.KeyCount,
                VisibleStep = Causal ? 1 : 0,
                Scale = Scale,
                MayRound = MayRound,
                Phase = Phase,
                Block = block,
                Partials = partials,
                PartialStride = PartialFloats,
            };
            int bytes = AttentionTile.ScratchBytes(queries * Group, Layout);
            Kernel(tile, Pool.ScratchPointer(worker, bytes));
        }

        /// <summary>The last sequence whose first part is not behind this one.</summary>
        readonly int FindSequence(int part)
        {
            int low = 0;
            int high = SequenceCount - 1;
            while (low < high)
            {
                int middle = (low + high + 1) / 2;
                if (FirstPart[middle] <= part)
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

    /// <summary>Scaled rows as columns of packed[headDim, stride], number by number.</summary>
    static void PackColumns(float** from, int rows, int headDim, float scale, float* packed, int stride)
    {
        for (int r = 0; r < rows; r++)
        {
            float* row = from[r];
            float* to = packed + r;
            for (int i = 0; i < headDim; i++, to += stride)
            {
                *to = row[i] * scale;
            }
        }
    }
}
