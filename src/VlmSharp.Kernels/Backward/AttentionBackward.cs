using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace VlmSharp.Kernels;

/// <summary>One sequence of a packed batch: its queries and its keys, each consecutive rows.</summary>
/// <param name="QueryStart">Row of its first query.</param>
/// <param name="QueryCount">Number of queries; under a causal mask the last one stands beside the last key.</param>
/// <param name="KeyStart">Row of its first key.</param>
/// <param name="KeyCount">Number of keys.</param>
public readonly record struct PackedSequence(int QueryStart, int QueryCount, int KeyStart, int KeyCount);

/// <summary>What <see cref="Attention"/> hands back, for packed sequences whose keys and values lie in rows: the gradients of q, k and v.</summary>
/// <remarks>
/// With p = softmax(scale * q k^T): dv = p^T dy; ds = p * (dp - sum over keys of p * dp) * scale with dp = dy v^T; dq = ds k, dk = ds^T q
/// (Dao et al., arXiv 2205.14135). The probabilities of some rows at a time are computed again: memory grows with the
/// length of a sequence and not with its square. All query heads of a key/value head are one piece of work, in a fixed order; the queries of a
/// long sequence are several, whose gradients of keys and values are added up in their order. So no bit depends on the threads.
/// </remarks>
public static unsafe partial class AttentionBackward
{
    // Query rows at a time: enough to make fetching the keys cheap; fewer where their scores would leave the second-level cache.
    const int MostRows = 64;
    const int LeastRows = 8;
    const int ScoreFloats = 64 << 10;

    // Queries of a piece of work: as many pieces as a large machine has threads, but no fewer queries than make fetching the keys cheap.
    const int LeastPieceRows = 512;
    const int MostPieces = 32;

    /// <summary>Adds the gradients to dq, dk and dv.</summary>
    /// <param name="q">[queries, heads, headDim]; within a row the heads are contiguous.</param>
    /// <param name="qStride">Elements from one row of q to the next.</param>
    /// <param name="k">[keys, kvHeads, headDim]</param>
    /// <param name="kStride">Elements from one row of k to the next.</param>
    /// <param name="v">[keys, kvHeads, headDim]</param>
    /// <param name="vStride">Elements from one row of v to the next.</param>
    /// <param name="dy">[queries, heads, headDim]</param>
    /// <param name="dyStride">Elements from one row of dy to the next.</param>
    /// <param name="dq">[queries, heads, headDim], added to.</param>
    /// <param name="dqStride">Elements from one row of dq to the next.</param>
    /// <param name="dk">[keys, kvHeads, headDim], added to.</param>
    /// <param name="dkStride">Elements from one row of dk to the next.</param>
    /// <param name="dv">[keys, kvHeads, headDim], added to.</param>
    /// <param name="dvStride">Elements from one row of dv to the next.</param>
    /// <param name="heads">Query heads, a multiple of the key/value heads.</param>
    /// <param name="kvHeads">Key/value heads.</param>
    /// <param name="headDim">Channels per head.</param>
    /// <param name="sequences">The sequences; no row belongs to two.</param>
    /// <param name="causal">Whether a query sees only the keys up to its own position.</param>
    /// <param name="scale">Factor of the scores.</param>
    /// <param name="pool">Shares sequences and heads.</param>
    /// <exception cref="ArgumentException">A span is too short, or a sequence names rows that do not exist.</exception>
    public static void Apply(
        ReadOnlySpan<float> q,
        int qStride,
        ReadOnlySpan<float> k,
        int kStride,
        ReadOnlySpan<float> v,
        int vStride,
        ReadOnlySpan<float> dy,
        int dyStride,
        Span<float> dq,
        int dqStride,
        Span<float> dk,
        int dkStride,
        Span<float> dv,
        int dvStride,
        int heads,
        int kvHeads,
        int headDim,
        ReadOnlySpan<PackedSequence> sequences,
        bool causal,
        float scale,
        WorkerPool pool
    )
    {
        ArgumentNullException.ThrowIfNull(pool);
        if (headDim < 1 || kvHeads < 1 || heads < 1 || heads % kvHeads != 0)
        {
            throw new ArgumentException($"heads: {heads} queries, {kvHeads} keys and values of {headDim} channels");
        }

        int width = checked(heads * headDim);
        int kvWidth = kvHeads * headDim;
        foreach (PackedSequence s in sequences)
        {
            if (s.QueryStart < 0 || s.QueryCount < 0 || s.KeyStart < 0 || s.KeyCount < 0)
            {
                throw new ArgumentException($"sequences: {s} has a negative number");
            }

            int queries = checked(s.QueryStart + s.QueryCount);
            int keys = checked(s.KeyStart + s.KeyCount);
            RowMatrix.Check(q.Length, qStride, queries, width);
            RowMatrix.Check(dy.Length, dyStride, queries, width);
            RowMatrix.Check(dq.Length, dqStride, queries, width);
            RowMatrix.Check(k.Length, kStride, keys, kvWidth);
            RowMatrix.Check(v.Length, vStride, keys, kvWidth);
            RowMatrix.Check(dk.Length, dkStride, keys, kvWidth);
            RowMatrix.Check(dv.Length, dvStride, keys, kvWidth);
        }

        fixed (float* qStart = q)
        fixed (float* kStart = k)
        fixed (float* vStart = v)
        fixed (float* dyStart = dy)
        fixed (float* dqStart = dq)
        fixed (float* dkStart = dk)
        fixed (float* dvStart = dv)
        fixed (PackedSequence* sequenceStart = sequences)
        {
            var body = new Body
            {
                Product = TileProduct.Variants.Active,
                Pool = pool,
                Q = qStart,
                K = kStart,
                V = vStart,
                Dy = dyStart,
                Dq = dqStart,
                Dk = dkStart,
                Dv = dvStart,
                QStride = qStride,
                KStride = kStride,
                VStride = vStride,
                DyStride = dyStride,
                DqStride = dqStride,
                DkStride = dkStride,
                DvStride = dvStride,
                Group = heads / kvHeads,
                KvHeads = kvHeads,
                HeadDim = headDim,
                Sequences = sequenceStart,
                Causal = causal,
                Scale = scale,
            };
            RunPieces(body, sequences, pool);
        }
    }

    struct Body : IParallelBody
    {
        internal TileProductKernel Product;
        internal WorkerPool Pool;
        internal float* Q;
        internal float* K;
        internal float* V;
        internal float* Dy;
        internal float* Dq;
        internal float* Dk;
        internal float* Dv;
        internal nint QStride;
        internal nint KStride;
        internal nint VStride;
        internal nint DyStride;
        internal nint DqStride;
        internal nint DkStride;
        internal nint DvStride;
        internal int Group;
        internal int KvHeads;
        internal int HeadDim;
        internal PackedSequence* Sequences;
        internal bool Causal;
        internal float Scale;
        internal Piece* Pieces;
        internal float* Partials; // gradients of keys and values that belong to one of several pieces

        public readonly void Run(int part, int worker)
        {
            Piece piece = Pieces[part];
            PackedSequence s = Sequences[piece.Sequence];
            int head = piece.Head;
            int keyStride = (s.KeyCount + 15) & ~15;
            int blockRows = Math.Clamp(ScoreFloats / keyStride, LeastRows, MostRows);
            long turned = (long)HeadDim * keyStride;
            long scores = (long)blockRows * keyStride;
            byte* scratch = Pool.ScratchPointer(worker, checked((int)(2 * (turned + scores) * sizeof(float))));
            float* kTurned = (float*)scratch; // [headDim, keys]
            float* vTurned = kTurned + turned;
            float* p = vTurned + turned; // [blockRows, keys]
            float* dp = p + scores;

            nint keyColumn = (nint)head * HeadDim;
            float* k = K + (s.KeyStart * KStride) + keyColumn;
            float* v = V + (s.KeyStart * VStride) + keyColumn;
            float* dk = Dk + (s.KeyStart * DkStride) + keyColumn;
            float* dv = Dv + (s.KeyStart * DvStride) + keyColumn;
            (nint dkStride, nint dvStride) = (DkStride, DvStride);
            if (piece.Partial >= 0)
            {
                long size = (long)s.KeyCount * HeadDim;
                dk = Partials + piece.Partial;
                dv = dk + size;
                dkStride = dvStride = HeadDim;
                new Span<float>(dk, checked((int)size)).Clear();
                new Span<float>(dv, (int)size).Clear();
            }

            Turn(k, KStride, s.KeyCount, HeadDim, kTurned, keyStride);
            Turn(v, VStride, s.KeyCount, HeadDim, vTurned, keyStride);

            for (int member = 0; member < Group; member++)
            {
                nint column = (((nint)head * Group) + member) * HeadDim;
                int end = piece.FirstRow + piece.Rows;
                for (int first = piece.FirstRow; first < end; first += blockRows)
                {
                    int rows = Math.Min(blockRows, end - first);
                    // How many keys the first row sees, and the last one.
                    int seen = Causal ? s.KeyCount - s.QueryCount + first + 1 : s.KeyCount;
                    int step = Causal ? 1 : 0;
                    int keys = Math.Min(s.KeyCount, seen + ((rows - 1) * step));
                    if (keys <= 0)
                    {
                        continue;
                    }

                    nint row = s.QueryStart + first;
                    float* q = Q + (row * QStride) + column;
                    float* dy = Dy + (row * DyStride) + column;
                    float* dq = Dq + (row * DqStride) + column;
                    Multiply(q, QStride, 1, kTurned, keyStride, p, keyStride, rows, keys, HeadDim, false);
                    Multiply(dy, DyStride, 1, vTurned, keyStride, dp, keyStride, rows, keys, HeadDim, false);
                    for (int r = 0; r < rows; r++)
                    {
                        float* pRow = p + ((nint)r * keyStride);
                        float* dpRow = dp + ((nint)r * keyStride);
                        Probabilities(pRow, dpRow, Math.Clamp(seen + (r * step), 0, keys), keys, Scale);
                    }

                    Multiply(p, 1, keyStride, dy, DyStride, dv, dvStride, keys, HeadDim, rows, true);
                    Multiply(dp, keyStride, 1, k, KStride, dq, DqStride, rows, HeadDim, keys, true);
                    Multiply(dp, 1, keyStride, q, QStride, dk, dkStride, keys, HeadDim, rows, true);
                }
            }
        }

        readonly void Multiply(
            float* a,
            nint aRow,
            nint aColumn,
            float* b,
            nint bRow,
            float* c,
            nint cRow,
            int rows,
            int columns,
            int depth,
            bool accumulate
        ) =>
            Product(
                new TileOperands
                {
                    A = a,
                    ARow = aRow,
                    AColumn = aColumn,
                    B = b,
                    BRow = bRow,
                    C = c,
                    CRow = cRow,
                    Rows = rows,
                    Columns = columns,
                    Depth = depth,
                    Accumulate = accumulate,
                }
            );
    }

    // [rows, width] to [width, rows]
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    static void Turn(float* from, nint stride, int rows, int width, float* to, int toStride)
    {
        for (int first = 0; first < rows; first += 16)
        {
            int end = Math.Min(rows, first + 16);
            for (int i = 0; i < width; i++)
            {
                for (int row = first; row < end; row++)
                {
                    to[((nint)i * toStride) + row] = from[(row * stride) + i];
                }
            }
        }
    }

    /// <summary>A row of scores becomes probabilities, dp the gradient of the unscaled scores; both are zero behind what the row sees.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    static void Probabilities(float* p, float* dp, int seen, int keys, float scale)
    {
        new Span<float>(p + seen, keys - seen).Clear();
        new Span<float>(dp + seen, keys - seen).Clear();
        if (seen == 0)
        {
            return;
        }

        float max = float.NegativeInfinity;
        int i = 0;
        if (seen >= 8)
        {
            Vector256<float> most = Vector256.Load(p);
            for (i = 8; i <= seen - 8; i += 8)
            {
                most = Vector256.Max(most, Vector256.Load(p + i));
            }

            for (int lane = 0; lane < 8; lane++)
            {
                max = Math.Max(max, most[lane]);
            }
        }

        for (; i < seen; i++)
        {
            max = Math.Max(max, p[i]);
        }

        Vector256<float> sums = default;
        Vector256<float> products = default;
        i = 0;
        if (InstructionSets.Avx2)
        {
            Vector256<float> top = Vector256.Create(max);
            Vector256<float> scales = Vector256.Create(scale);
            for (; i <= seen - 8; i += 8)
            {
                Vector256<float> e = VectorMath.Exp((Vector256.Load(p + i) - top) * scales);
                e.Store(p + i);
                sums += e;
                products = Vector256.FusedMultiplyAdd(e, Vector256.Load(dp + i), products);
            }
        }

        float sum = Vector256.Sum(sums);
        float product = Vector256.Sum(products);
        for (; i < seen; i++)
        {
            p[i] = (float)Math.Exp((p[i] - (double)max) * scale);
            sum += p[i];
            product += p[i] * dp[i];
        }

        float share = 1 / sum;
        float mean = product * share;
        Vector256<float> shares = Vector256.Create(share);
        Vector256<float> means = Vector256.Create(mean);
        Vector256<float> factors = Vector256.Create(scale);
        for (i = 0; i <= seen - 8; i += 8)
        {
            Vector256<float> weight = Vector256.Load(p + i) * shares;
            weight.Store(p + i);
            (weight * (Vector256.Load(dp + i) - means) * factors).Store(dp + i);
        }

        for (; i < seen; i++)
        {
            p[i] *= share;
            dp[i] = p[i] * (dp[i] - mean) * scale;
        }
    }
}
