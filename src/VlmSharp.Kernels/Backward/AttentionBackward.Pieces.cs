using System.Runtime.InteropServices;

namespace VlmSharp.Kernels;

public static unsafe partial class AttentionBackward
{
    // Partial gradients held at a time: 64 MB.
    const long MostPartialFloats = 16 << 20;

    const int KeysPerMerge = 256;

    /// <summary>Some queries of a sequence, for the query heads of one key/value head.</summary>
    /// <param name="Sequence">Which sequence.</param>
    /// <param name="Head">Which key/value head.</param>
    /// <param name="FirstRow">First query.</param>
    /// <param name="Rows">Number of queries.</param>
    /// <param name="Partial">Where its gradients of keys and values begin; -1 where it is the only piece, and adds to the result.</param>
    readonly record struct Piece(int Sequence, int Head, int FirstRow, int Rows, long Partial);

    // The length of a sequence alone decides how it is cut: company and threads change no bit.
    static int PieceRows(int queries) => Math.Max(LeastPieceRows, (queries + MostPieces - 1) / MostPieces);

    static void RunPieces(Body body, ReadOnlySpan<PackedSequence> sequences, WorkerPool pool)
    {
        List<Piece> pieces = [];
        long floats = 0;
        for (int i = 0; i < sequences.Length; i++)
        {
            PackedSequence s = sequences[i];
            if (s.QueryCount == 0 || s.KeyCount == 0)
            {
                continue;
            }

            int pieceRows = PieceRows(s.QueryCount);
            int count = (s.QueryCount + pieceRows - 1) / pieceRows;
            long size = 2L * s.KeyCount * body.HeadDim;
            for (int head = 0; head < body.KvHeads; head++)
            {
                if (count > 1 && floats > 0 && floats + (count * size) > MostPartialFloats)
                {
                    RunRound(ref body, pieces, floats, pool);
                    floats = 0;
                }

                for (int first = 0; first < s.QueryCount; first += pieceRows)
                {
                    int rows = Math.Min(pieceRows, s.QueryCount - first);
                    pieces.Add(new Piece(i, head, first, rows, count > 1 ? floats : -1));
                    floats += count > 1 ? size : 0;
                }
            }
        }

        RunRound(ref body, pieces, floats, pool);
    }

    static void RunRound(ref Body body, List<Piece> pieces, long floats, WorkerPool pool)
    {
        AlignedBuffer partials = pool.Rent(floats * sizeof(float));
        try
        {
            fixed (Piece* start = CollectionsMarshal.AsSpan(pieces))
            {
                body.Pieces = start;
                body.Partials = (float*)partials.Pointer;
                pool.Run(pieces.Count, ref body);
            }

            for (int first = 0; first < pieces.Count && floats > 0; )
            {
                int count = 1;
                while (first + count < pieces.Count && pieces[first + count].FirstRow > 0)
                {
                    count++;
                }

                if (count > 1)
                {
                    Merge(body, pieces[first], count, pool);
                }

                first += count;
            }
        }
        finally
        {
            pool.Return(partials);
        }

        pieces.Clear();
    }

    static void Merge(Body body, Piece piece, int count, WorkerPool pool)
    {
        PackedSequence s = body.Sequences[piece.Sequence];
        nint column = (nint)piece.Head * body.HeadDim;
        MergeBody merge = new(
            body.Partials + piece.Partial,
            count,
            s.KeyCount,
            body.HeadDim,
            body.Dk + (s.KeyStart * body.DkStride) + column,
            body.DkStride,
            body.Dv + (s.KeyStart * body.DvStride) + column,
            body.DvStride
        );
        pool.Run((s.KeyCount + KeysPerMerge - 1) / KeysPerMerge, ref merge);
    }

    readonly struct MergeBody(
        float* partials,
        int count,
        int keys,
        int headDim,
        float* dk,
        nint dkStride,
        float* dv,
        nint dvStride
    ) : IParallelBody
    {
        public void Run(int part, int worker)
        {
            int end = Math.Min(keys, (part + 1) * KeysPerMerge);
            long size = (long)keys * headDim;
            for (int i = 0; i < count; i++)
            {
                float* from = partials + (2 * i * size);
                for (int key = part * KeysPerMerge; key < end; key++)
                {
                    Sum(from + ((long)key * headDim), dk + (key * dkStride), headDim);
                    Sum(from + size + ((long)key * headDim), dv + (key * dvStride), headDim);
                }
            }
        }

        static void Sum(float* from, float* to, int count)
        {
            for (int i = 0; i < count; i++)
            {
                to[i] += from[i];
            }
        }
    }
}
