using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace VlmSharp.Kernels;

public static unsafe partial class Attention
{
    /// <summary>14 rows by 32 columns: 28 accumulators, two loads and a broadcast fill the 32 registers.</summary>
    readonly struct Avx512Math : IAttentionMath
    {
        const int Stride = AttentionTile.ScoreStride;

        // One instantiation per number of rows: unused accumulators and their instructions disappear at compile time.
        static readonly delegate* <float*, float*, int, float*, void>[] ScoresOf =
        [
            null,
            &Scores<Rows1>,
            &Scores<Rows2>,
            &Scores<Rows3>,
            &Scores<Rows4>,
            &Scores<Rows5>,
            &Scores<Rows6>,
            &Scores<Rows7>,
            &Scores<Rows8>,
            &Scores<Rows9>,
            &Scores<Rows10>,
            &Scores<Rows11>,
            &Scores<Rows12>,
            &Scores<Rows13>,
            &Scores<Rows14>,
        ];

        static readonly delegate* <float*, float**, int*, int, float*, float*, float*, nint, void>[] WideValuesOf =
        [
            null,
            &Values<Rows1, Two>,
            &Values<Rows2, Two>,
            &Values<Rows3, Two>,
            &Values<Rows4, Two>,
            &Values<Rows5, Two>,
            &Values<Rows6, Two>,
            &Values<Rows7, Two>,
            &Values<Rows8, Two>,
            &Values<Rows9, Two>,
            &Values<Rows10, Two>,
            &Values<Rows11, Two>,
            &Values<Rows12, Two>,
            &Values<Rows13, Two>,
            &Values<Rows14, Two>,
        ];

        static readonly delegate* <float*, float**, int*, int, float*, float*, float*, nint, void>[] NarrowValuesOf =
        [
            null,
            &Values<Rows1, One>,
            &Values<Rows2, One>,
            &Values<Rows3, One>,
            &Values<Rows4, One>,
            &Values<Rows5, One>,
            &Values<Rows6, One>,
            &Values<Rows7, One>,
            &Values<Rows8, One>,
            &Values<Rows9, One>,
            &Values<Rows10, One>,
            &Values<Rows11, One>,
            &Values<Rows12, One>,
            &Values<Rows13, One>,
            &Values<Rows14, One>,
        ];

        public static int Rows => 14;

        public static KvStorage Reads => KvStorage.F32;

        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        public static void PackQueries(float** from, int rows, int headDim, float scale, float* packed, float* scratch)
        {
            Vector512<float> factor = Vector512.Create(scale);
            for (int r = 0; r < rows; r++)
            {
                float* to = scratch + ((nint)r * headDim);
                for (int i = 0; i < headDim; i += 16)
                {
                    Vector512<float> mask = Masks.First512(headDim - i);
                    Vector512<float> x = Avx512F.MaskLoad(from[r] + i, mask, Vector512<float>.Zero);
                    Avx512F.MaskStore(to + i, mask, x * factor);
                }
            }

            Turn(scratch, headDim, packed);
        }

        /// <summary>[14, depth] words to [depth, 14].</summary>
        internal static void Turn(float* rows, int depth, float* packed)
        {
            for (int i = 0; i < depth; i += Square16.Size)
            {
                int count = Math.Min(Square16.Size, depth - i);
                uint* to = (uint*)packed + ((nint)i * Rows);
                Square16.Transpose((uint*)rows + i, depth, to, Rows, count, lanes: Rows);
            }
        }

        public static void Scores(int rows, float* q, float* keys, int headDim, float* scores) =>
            ScoresOf[rows](q, keys, headDim, scores);

        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        public static float Weights(float* scores, int visible, out float max)
        {
            // The tail of the last vector reads minus infinity, whose weight is zero.
            Vector512<float> lowest = Vector512.Create(float.NegativeInfinity);
            int whole = visible & ~15;
            if (whole < visible)
            {
                Vector512<float> tail = Masks.First512(visible - whole);
                Avx512F.MaskLoad(scores + whole, tail, lowest).Store(scores + whole);
                whole += 16;
            }

            Vector512<float> m = Vector512.Create(float.MinValue);
            for (int i = 0; i < whole; i += 16)
            {
                m = Avx512F.Max(m, Vector512.Load(scores + i));
            }

            max = Largest(m);
            m = Vector512.Create(max);
            Vector512<float> sum = Vector512<float>.Zero;
            for (int i = 0; i < whole; i += 16)
            {
                Vector512<float> weight = VectorMath.Exp2(Vector512.Load(scores + i) - m);
                weight.Store(scores + i);
                sum += weight;
            }

            return Vector512.Sum(sum);
        }

        public static void Factors(float* max, float* blockMax, float* keep, float* add)
        {
            Vector512<float> old = Vector512.Load(max);
            Vector512<float> block = Vector512.Load(blockMax);
            Vector512<float> larger = Avx512F.Max(old, block);
            VectorMath.Exp2(old - larger).Store(keep);
            VectorMath.Exp2(block - larger).Store(add);
            larger.Store(max);
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
            delegate* <float*, float**, int*, int, float*, float*, float*, nint, void>[] kernels =
                width == KvLayout.ValuePanel ? WideValuesOf : NarrowValuesOf;
            kernels[rows](weights, pages, visible, visible[rows - 1], keep, add, y, yStride);
        }

        public static void Merge(float* y, float* sums, int channels, float keep, float add)
        {
            Vector512<float> k = Vector512.Create(keep);
            Vector512<float> f = Vector512.Create(add);
            for (int i = 0; i < channels; i += 16)
            {
                Avx512F.FusedMultiplyAdd(Vector512.Load(y + i), k, Vector512.Load(sums + i) * f).Store(y + i);
            }
        }

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        internal static float Largest(Vector512<float> v)
        {
            Vector256<float> half = Avx.Max(v.GetLower(), v.GetUpper());
            Vector128<float> quarter = Sse.Max(half.GetLower(), half.GetUpper());
            quarter = Sse.Max(quarter, Sse.MoveHighToLow(quarter, quarter));
            return Sse.MaxScalar(quarter, Vector128.Shuffle(quarter, Vector128.Create(1, 0, 0, 0))).ToScalar();
        }

        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        static void Scores<TRows>(float* q, float* keys, int headDim, float* scores)
            where TRows : struct, IRowCount
        {
            Columns512 c0 = default;
            Columns512 c1 = default;
            Columns512 c2 = default;
            Columns512 c3 = default;
            Columns512 c4 = default;
            Columns512 c5 = default;
            Columns512 c6 = default;
            Columns512 c7 = default;
            Columns512 c8 = default;
            Columns512 c9 = default;
            Columns512 c10 = default;
            Columns512 c11 = default;
            Columns512 c12 = default;
            Columns512 c13 = default;
            float* end = keys + ((nint)headDim * KvLayout.KeyPanel);
            for (; keys < end; keys += KvLayout.KeyPanel, q += 14)
            {
                Vector512<float> a = Vector512.Load(keys);
                Vector512<float> b = Vector512.Load(keys + 16);
                c0 = TRows.Count > 0 ? Columns512.MultiplyAdd(q[0], a, b, c0) : c0;
                c1 = TRows.Count > 1 ? Columns512.MultiplyAdd(q[1], a, b, c1) : c1;
                c2 = TRows.Count > 2 ? Columns512.MultiplyAdd(q[2], a, b, c2) : c2;
                c3 = TRows.Count > 3 ? Columns512.MultiplyAdd(q[3], a, b, c3) : c3;
                c4 = TRows.Count > 4 ? Columns512.MultiplyAdd(q[4], a, b, c4) : c4;
                c5 = TRows.Count > 5 ? Columns512.MultiplyAdd(q[5], a, b, c5) : c5;
                c6 = TRows.Count > 6 ? Columns512.MultiplyAdd(q[6], a, b, c6) : c6;
                c7 = TRows.Count > 7 ? Columns512.MultiplyAdd(q[7], a, b, c7) : c7;
                c8 = TRows.Count > 8 ? Columns512.MultiplyAdd(q[8], a, b, c8) : c8;
                c9 = TRows.Count > 9 ? Columns512.MultiplyAdd(q[9], a, b, c9) : c9;
                c10 = TRows.Count > 10 ? Columns512.MultiplyAdd(q[10], a, b, c10) : c10;
                c11 = TRows.Count > 11 ? Columns512.MultiplyAdd(q[11], a, b, c11) : c11;
                c12 = TRows.Count > 12 ? Columns512.MultiplyAdd(q[12], a, b, c12) : c12;
                c13 = TRows.Count > 13 ? Columns512.MultiplyAdd(q[13], a, b, c13) : c13;
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

            if (TRows.Count > 6)
            {
                c6.Store(scores + (6 * Stride));
            }

            if (TRows.Count > 7)
            {
                c7.Store(scores + (7 * Stride));
            }

            if (TRows.Count > 8)
            {
                c8.Store(scores + (8 * Stride));
            }

            if (TRows.Count > 9)
            {
                c9.Store(scores + (9 * Stride));
            }

            if (TRows.Count > 10)
            {
                c10.Store(scores + (10 * Stride));
            }

            if (TRows.Count > 11)
            {
                c11.Store(scores + (11 * Stride));
            }

            if (TRows.Count > 12)
            {
                c12.Store(scores + (12 * Stride));
            }

            if (TRows.Count > 13)
            {
                c13.Store(scores + (13 * Stride));
            }
        }

        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        static void Values<TRows, TColumns>(
            float* weights,
            float** pages,
            int* visible,
            int end,
            float* keep,
            float* add,
            float* y,
            nint stride
        )
            where TRows : struct, IRowCount
            where TColumns : struct, IColumnCount
        {
            Columns512 c0 = default;
            Columns512 c1 = default;
            Columns512 c2 = default;
            Columns512 c3 = default;
            Columns512 c4 = default;
            Columns512 c5 = default;
            Columns512 c6 = default;
            Columns512 c7 = default;
            Columns512 c8 = default;
            Columns512 c9 = default;
            Columns512 c10 = default;
            Columns512 c11 = default;
            Columns512 c12 = default;
            Columns512 c13 = default;

            // Keys that every row sees.
            int common = Math.Max(0, visible[0]);
            float** page = pages;
            for (int first = 0; first < common; first += KvLayout.PageTokens, page++)
            {
                float* w = weights + first;
                float* stop = weights + Math.Min(common, first + KvLayout.PageTokens);
                for (float* v = *page; w < stop; w++, v += (TColumns.Both ? 32 : 16))
                {
                    Vector512<float> a = Vector512.Load(v);
                    Vector512<float> b = TColumns.Both ? Vector512.Load(v + 16) : default;
                    c0 = TRows.Count > 0 ? Columns512.MultiplyAdd(w[0 * Stride], a, b, c0) : c0;
                    c1 = TRows.Count > 1 ? Columns512.MultiplyAdd(w[1 * Stride], a, b, c1) : c1;
                    c2 = TRows.Count > 2 ? Columns512.MultiplyAdd(w[2 * Stride], a, b, c2) : c2;
                    c3 = TRows.Count > 3 ? Columns512.MultiplyAdd(w[3 * Stride], a, b, c3) : c3;
                    c4 = TRows.Count > 4 ? Columns512.MultiplyAdd(w[4 * Stride], a, b, c4) : c4;
                    c5 = TRows.Count > 5 ? Columns512.MultiplyAdd(w[5 * Stride], a, b, c5) : c5;
                    c6 = TRows.Count > 6 ? Columns512.MultiplyAdd(w[6 * Stride], a, b, c6) : c6;
                    c7 = TRows.Count > 7 ? Columns512.MultiplyAdd(w[7 * Stride], a, b, c7) : c7;
                    c8 = TRows.Count > 8 ? Columns512.MultiplyAdd(w[8 * Stride], a, b, c8) : c8;
                    c9 = TRows.Count > 9 ? Columns512.MultiplyAdd(w[9 * Stride], a, b, c9) : c9;
                    c10 = TRows.Count > 10 ? Columns512.MultiplyAdd(w[10 * Stride], a, b, c10) : c10;
                    c11 = TRows.Count > 11 ? Columns512.MultiplyAdd(w[11 * Stride], a, b, c11) : c11;
                    c12 = TRows.Count > 12 ? Columns512.MultiplyAdd(w[12 * Stride], a, b, c12) : c12;
                    c13 = TRows.Count > 13 ? Columns512.MultiplyAdd(w[13 * Stride], a, b, c13) : c13;
                }
            }

            // Under a causal mask the rows after the first see some more.
            for (int key = common; key < end; key++)
            {
                float* v = pages[key / KvLayout.PageTokens] + (key % KvLayout.PageTokens * (TColumns.Both ? 32 : 16));
                float* w = weights + key;
                Vector512<float> a = Vector512.Load(v);
                Vector512<float> b = TColumns.Both ? Vector512.Load(v + 16) : default;
                c1 = TRows.Count > 1 && key < visible[1] ? Columns512.MultiplyAdd(w[1 * Stride], a, b, c1) : c1;
                c2 = TRows.Count > 2 && key < visible[2] ? Columns512.MultiplyAdd(w[2 * Stride], a, b, c2) : c2;
                c3 = TRows.Count > 3 && key < visible[3] ? Columns512.MultiplyAdd(w[3 * Stride], a, b, c3) : c3;
                c4 = TRows.Count > 4 && key < visible[4] ? Columns512.MultiplyAdd(w[4 * Stride], a, b, c4) : c4;
                c5 = TRows.Count > 5 && key < visible[5] ? Columns512.MultiplyAdd(w[5 * Stride], a, b, c5) : c5;
                c6 = TRows.Count > 6 && key < visible[6] ? Columns512.MultiplyAdd(w[6 * Stride], a, b, c6) : c6;
                c7 = TRows.Count > 7 && key < visible[7] ? Columns512.MultiplyAdd(w[7 * Stride], a, b, c7) : c7;
                c8 = TRows.Count > 8 && key < visible[8] ? Columns512.MultiplyAdd(w[8 * Stride], a, b, c8) : c8;
                c9 = TRows.Count > 9 && key < visible[9] ? Columns512.MultiplyAdd(w[9 * Stride], a, b, c9) : c9;
                c10 = TRows.Count > 10 && key < visible[10] ? Columns512.MultiplyAdd(w[10 * Stride], a, b, c10) : c10;
                c11 = TRows.Count > 11 && key < visible[11] ? Columns512.MultiplyAdd(w[11 * Stride], a, b, c11) : c11;
                c12 = TRows.Count > 12 && key < visible[12] ? Columns512.MultiplyAdd(w[12 * Stride], a, b, c12) : c12;
                c13 = TRows.Count > 13 && key < visible[13] ? Columns512.MultiplyAdd(w[13 * Stride], a, b, c13) : c13;
            }

            if (TRows.Count > 0 && visible[0] > 0)
            {
                c0.Merge<TColumns>(y + (0 * stride), keep[0], add[0]);
            }

            if (TRows.Count > 1 && visible[1] > 0)
            {
                c1.Merge<TColumns>(y + (1 * stride), keep[1], add[1]);
            }

            if (TRows.Count > 2 && visible[2] > 0)
            {
                c2.Merge<TColumns>(y + (2 * stride), keep[2], add[2]);
            }

            if (TRows.Count > 3 && visible[3] > 0)
            {
                c3.Merge<TColumns>(y + (3 * stride), keep[3], add[3]);
            }

            if (TRows.Count > 4 && visible[4] > 0)
            {
                c4.Merge<TColumns>(y + (4 * stride), keep[4], add[4]);
            }

            if (TRows.Count > 5 && visible[5] > 0)
            {
                c5.Merge<TColumns>(y + (5 * stride), keep[5], add[5]);
            }

            if (TRows.Count > 6 && visible[6] > 0)
            {
                c6.Merge<TColumns>(y + (6 * stride), keep[6], add[6]);
            }

            if (TRows.Count > 7 && visible[7] > 0)
            {
                c7.Merge<TColumns>(y + (7 * stride), keep[7], add[7]);
            }

            if (TRows.Count > 8 && visible[8] > 0)
            {
                c8.Merge<TColumns>(y + (8 * stride), keep[8], add[8]);
            }

            if (TRows.Count > 9 && visible[9] > 0)
            {
                c9.Merge<TColumns>(y + (9 * stride), keep[9], add[9]);
            }

            if (TRows.Count > 10 && visible[10] > 0)
            {
                c10.Merge<TColumns>(y + (10 * stride), keep[10], add[10]);
            }

            if (TRows.Count > 11 && visible[11] > 0)
            {
                c11.Merge<TColumns>(y + (11 * stride), keep[11], add[11]);
            }

            if (TRows.Count > 12 && visible[12] > 0)
            {
                c12.Merge<TColumns>(y + (12 * stride), keep[12], add[12]);
            }

            if (TRows.Count > 13 && visible[13] > 0)
            {
                c13.Merge<TColumns>(y + (13 * stride), keep[13], add[13]);
            }
        }
    }

    /// <summary>One row of accumulators.</summary>
    struct Columns512
    {
        Vector512<float> a;
        Vector512<float> b;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        internal static Columns512 MultiplyAdd(float factor, Vector512<float> a, Vector512<float> b, Columns512 sum)
        {
            Vector512<float> f = Vector512.Create(factor);
            sum.a = Avx512F.FusedMultiplyAdd(f, a, sum.a);
            sum.b = Avx512F.FusedMultiplyAdd(f, b, sum.b);
            return sum;
        }

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        internal readonly void Store(float* to)
        {
            a.Store(to);
            b.Store(to + 16);
        }

        /// <summary>y = y * keep + sum * add.</summary>
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        internal readonly void Merge<TColumns>(float* y, float keep, float add)
            where TColumns : struct, IColumnCount
        {
            Vector512<float> k = Vector512.Create(keep);
            Vector512<float> f = Vector512.Create(add);
            Avx512F.FusedMultiplyAdd(Vector512.Load(y), k, a * f).Store(y);
            if (TColumns.Both)
            {
                Avx512F.FusedMultiplyAdd(Vector512.Load(y + 16), k, b * f).Store(y + 16);
            }
        }
    }

    /// <summary>Whether a panel of values has 32 columns or 16.</summary>
    interface IColumnCount
    {
        static abstract bool Both { get; }
    }

    readonly struct Two : IColumnCount
    {
        public static bool Both => true;
    }

    readonly struct One : IColumnCount
    {
        public static bool Both => false;
    }
}
