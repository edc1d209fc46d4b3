using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace VlmSharp.Kernels;

public static unsafe partial class Attention
{
    /// <summary>6 rows by 16 columns: 12 accumulators, two loads and a broadcast fill 15 of 16 registers.</summary>
    readonly struct Avx2Math : IAttentionMath
    {
        const int Stride = AttentionTile.ScoreStride;

        static readonly delegate* <float*, float*, int, float*, void>[] ScoresOf =
        [
            null,
            &Scores<Rows1>,
            &Scores<Rows2>,
            &Scores<Rows3>,
            &Scores<Rows4>,
            &Scores<Rows5>,
            &Scores<Rows6>,
        ];

        static readonly delegate* <
            float*,
            float**,
            int,
            int,
            int*,
            int,
            float*,
            float*,
            float*,
            nint,
            void>[] ValuesOf =
        [
            null,
            &Values<Rows1>,
            &Values<Rows2>,
            &Values<Rows3>,
            &Values<Rows4>,
            &Values<Rows5>,
            &Values<Rows6>,
        ];

        public static int Rows => 6;

        public static KvStorage Reads => KvStorage.F32;

        public static void PackQueries(
            float** from,
            int rows,
            int headDim,
            float scale,
            float* packed,
            float* scratch
        ) => PackColumns(from, rows, headDim, scale, packed, Rows);

        public static void Scores(int rows, float* q, float* keys, int headDim, float* scores)
        {
            ScoresOf[rows](q, keys, headDim, scores);
            ScoresOf[rows](q, keys + 16, headDim, scores + 16);
        }

        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        public static float Weights(float* scores, int visible, out float max)
        {
            // The tail of the last vector reads minus infinity, whose weight is zero.
            Vector256<float> lowest = Vector256.Create(float.NegativeInfinity);
            int whole = visible & ~7;
            if (whole < visible)
            {
                Vector256<float> tail = Masks.First256(visible - whole);
                Vector256.ConditionalSelect(tail, Avx.MaskLoad(scores + whole, tail), lowest).Store(scores + whole);
                whole += 8;
            }

            Vector256<float> m = Vector256.Create(float.MinValue);
            for (int i = 0; i < whole; i += 8)
            {
                m = Avx.Max(m, Vector256.Load(scores + i));
            }

            max = Largest(m);
            m = Vector256.Create(max);
            Vector256<float> sum = Vector256<float>.Zero;
            for (int i = 0; i < whole; i += 8)
            {
                Vector256<float> weight = VectorMath.Exp2(Vector256.Load(scores + i) - m);
                weight.Store(scores + i);
                sum += weight;
            }

            return Vector256.Sum(sum);
        }

        public static void Factors(float* max, float* blockMax, float* keep, float* add)
        {
            for (int r = 0; r < AttentionTile.MaxRows; r += 8)
            {
                Vector256<float> old = Vector256.Load(max + r);
                Vector256<float> block = Vector256.Load(blockMax + r);
                Vector256<float> larger = Avx.Max(old, block);
                VectorMath.Exp2(old - larger).Store(keep + r);
                VectorMath.Exp2(block - larger).Store(add + r);
                larger.Store(max + r);
            }
        }

        public static void Values(
            int rows,
            float* weights,
            float** pages,
            int width,
            int* visible,
            float* keep,
            float* add,
            float* y,
            int yStride
        )
        {
            for (int column = 0; column < width; column += 16)
            {
                ValuesOf[rows]
                    (weights, pages, column, width, visible, visible[rows - 1], keep, add, y + column, yStride);
            }
        }

        public static void Merge(float* y, float* sums, int channels, float keep, float add)
        {
            Vector256<float> k = Vector256.Create(keep);
            Vector256<float> f = Vector256.Create(add);
            for (int i = 0; i < channels; i += 8)
            {
                Fma.MultiplyAdd(Vector256.Load(y + i), k, Vector256.Load(sums + i) * f).Store(y + i);
            }
        }

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        static float Largest(Vector256<float> v)
        {
            Vector128<float> half = Sse.Max(v.GetLower(), v.GetUpper());
            half = Sse.Max(half, Sse.MoveHighToLow(half, half));
            return Sse.MaxScalar(half, Vector128.Shuffle(half, Vector128.Create(1, 0, 0, 0))).ToScalar();
        }

        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        static void Scores<TRows>(float* q, float* keys, int headDim, float* scores)
            where TRows : struct, IRowCount
        {
            Columns256 c0 = default;
            Columns256 c1 = default;
            Columns256 c2 = default;
            Columns256 c3 = default;
            Columns256 c4 = default;
            Columns256 c5 = default;
            float* end = keys + ((nint)headDim * KvLayout.KeyPanel);
            for (; keys < end; keys += KvLayout.KeyPanel, q += 6)
            {
                Vector256<float> a = Vector256.Load(keys);
                Vector256<float> b = Vector256.Load(keys + 8);
                c0 = TRows.Count > 0 ? Columns256.MultiplyAdd(q[0], a, b, c0) : c0;
                c1 = TRows.Count > 1 ? Columns256.MultiplyAdd(q[1], a, b, c1) : c1;
                c2 = TRows.Count > 2 ? Columns256.MultiplyAdd(q[2], a, b, c2) : c2;
                c3 = TRows.Count > 3 ? Columns256.MultiplyAdd(q[3], a, b, c3) : c3;
                c4 = TRows.Count > 4 ? Columns256.MultiplyAdd(q[4], a, b, c4) : c4;
                c5 = TRows.Count > 5 ? Columns256.MultiplyAdd(q[5], a, b, c5) : c5;
            }

            if (TRows.Count > 0)
            {
                c0.Store(scores + (0 * Stride));
            }

            if (TRows.Count > 1)
            {
                c1.Store(scores + (1 * Stride));
            }

            if (TRows.Count > 2)
            {
                c2.Store(scores + (2 * Stride));
            }

            if (TRows.Count > 3)
            {
                c3.Store(scores + (3 * Stride));
            }

            if (TRows.Count > 4)
            {
                c4.Store(scores + (4 * Stride));
            }

            if (TRows.Count > 5)
            {
                c5.Store(scores + (5 * Stride));
            }
        }

        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        static void Values<TRows>(
            float* weights,
            float** pages,
            int column,
            int width,
            int* visible,
            int end,
            float* keep,
            float* add,
            float* y,
            nint stride
        )
            where TRows : struct, IRowCount
        {
            Columns256 c0 = default;
            Columns256 c1 = default;
            Columns256 c2 = default;
            Columns256 c3 = default;
            Columns256 c4 = default;
            Columns256 c5 = default;

            // Keys that every row sees.
            int common = Math.Max(0, visible[0]);
            float** page = pages;
            for (int first = 0; first < common; first += KvLayout.PageTokens, page++)
            {
                float* w = weights + first;
                float* stop = weights + Math.Min(common, first + KvLayout.PageTokens);
                for (float* v = *page + column; w < stop; w++, v += width)
                {
                    Vector256<float> a = Vector256.Load(v);
                    Vector256<float> b = Vector256.Load(v + 8);
                    c0 = TRows.Count > 0 ? Columns256.MultiplyAdd(w[0 * Stride], a, b, c0) : c0;
                    c1 = TRows.Count > 1 ? Columns256.MultiplyAdd(w[1 * Stride], a, b, c1) : c1;
                    c2 = TRows.Count > 2 ? Columns256.MultiplyAdd(w[2 * Stride], a, b, c2) : c2;
                    c3 = TRows.Count > 3 ? Columns256.MultiplyAdd(w[3 * Stride], a, b, c3) : c3;
                    c4 = TRows.Count > 4 ? Columns256.MultiplyAdd(w[4 * Stride], a, b, c4) : c4;
                    c5 = TRows.Count > 5 ? Columns256.MultiplyAdd(w[5 * Stride], a, b, c5) : c5;
                }
            }

            // Under a causal mask the rows after the first see some more.
            for (int key = common; key < end; key++)
            {
                float* v = pages[key / KvLayout.PageTokens] + (key % KvLayout.PageTokens * width) + column;
                float* w = weights + key;
                Vector256<float> a = Vector256.Load(v);
                Vector256<float> b = Vector256.Load(v + 8);
                c1 = TRows.Count > 1 && key < visible[1] ? Columns256.MultiplyAdd(w[1 * Stride], a, b, c1) : c1;
                c2 = TRows.Count > 2 && key < visible[2] ? Columns256.MultiplyAdd(w[2 * Stride], a, b, c2) : c2;
                c3 = TRows.Count > 3 && key < visible[3] ? Columns256.MultiplyAdd(w[3 * Stride], a, b, c3) : c3;
                c4 = TRows.Count > 4 && key < visible[4] ? Columns256.MultiplyAdd(w[4 * Stride], a, b, c4) : c4;
                c5 = TRows.Count > 5 && key < visible[5] ? Columns256.MultiplyAdd(w[5 * Stride], a, b, c5) : c5;
            }

            if (TRows.Count > 0 && visible[0] > 0)
            {
                c0.Merge(y + (0 * stride), keep[0], add[0]);
            }

            if (TRows.Count > 1 && visible[1] > 0)
            {
                c1.Merge(y + (1 * stride), keep[1], add[1]);
            }

            if (TRows.Count > 2 && visible[2] > 0)
            {
                c2.Merge(y + (2 * stride), keep[2], add[2]);
            }

            if (TRows.Count > 3 && visible[3] > 0)
            {
                c3.Merge(y + (3 * stride), keep[3], add[3]);
            }

            if (TRows.Count > 4 && visible[4] > 0)
            {
                c4.Merge(y + (4 * stride), keep[4], add[4]);
            }

            if (TRows.Count > 5 && visible[5] > 0)
            {
                c5.Merge(y + (5 * stride), keep[5], add[5]);
            }
        }
    }

    /// <summary>One row of accumulators.</summary>
    struct Columns256
    {
        Vector256<float> a;
        Vector256<float> b;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        internal static Columns256 MultiplyAdd(float factor, Vector256<float> a, Vector256<float> b, Columns256 sum)
        {
            Vector256<float> f = Vector256.Create(factor);
            sum.a = Fma.MultiplyAdd(f, a, sum.a);
            sum.b = Fma.MultiplyAdd(f, b, sum.b);
            return sum;
        }

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        internal readonly void Store(float* to)
        {
            a.Store(to);
            b.Store(to + 8);
        }

        /// <summary>y = y * keep + sum * add.</summary>
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        internal readonly void Merge(float* y, float keep, float add)
        {
            Vector256<float> k = Vector256.Create(keep);
            Vector256<float> f = Vector256.Create(add);
            Fma.MultiplyAdd(Vector256.Load(y), k, a * f).Store(y);
            Fma.MultiplyAdd(Vector256.Load(y + 8), k, b * f).Store(y + 8);
        }
    }
}
