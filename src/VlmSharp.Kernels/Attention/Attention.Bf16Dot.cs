using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using VlmSharp.Kernels.MachineCode;

namespace VlmSharp.Kernels;

public static unsafe partial class Attention
{
    /// <summary>14 rows by 32 columns of pairs of bf16, by vdpbf16ps, which .NET does not expose: the loops are generated at the first use.</summary>
    /// <remarks>
    /// Queries and weights are rounded to the nearest bf16; the sum of weights is that of the rounded ones, so that equal values
    /// average exactly. A row that sees one key of a pair multiplies the other by zero after both were masked; adding a zero can
    /// only change the sign of a zero, which the end of a row removes.
    /// </remarks>
    readonly struct Bf16DotMath : IAttentionMath
    {
        const int Stride = AttentionTile.ScoreStride * sizeof(float);
        const int PagePairs = KvLayout.PageTokens / 2;
        const int PrefetchBytes = 2048;

        // Rows of a tile see numbers of keys that differ by 13 at most, and the last may be the first of its pair.
        const int MostTailPairs = 8;

        // What generated kernels are told; strides in bytes.
        struct ScoreArguments
        {
            public float* Q;
            public float* Keys;
            public nint Depth;
            public float* Scores;
        }

        struct ValueArguments
        {
            public float* Weights;
            public float** Pages;
            public nint Pairs;
            public nint TailPairs;
            public uint** Tail;
            public uint* Masks;
            public float* Keep;
            public float* Add;
            public float* Y;
            public nint YStride;
        }

        // 2^f = C0 + f * (C1 + f * (C2 + f * C3)), f in [0, 1): minimax, relative error 7.5e-5, a twenty-fifth of what rounding to
        // bf16 does afterwards; which makes 2^0 exactly 1.
        struct WeightArguments
        {
            public float* Scores;
            public nint Count;
            public float* Sums;
            public float MinusMax;
            public float C3;
            public float C2;
            public float C1;
            public float C0;
            public uint OnePair;
        }

        static readonly delegate* unmanaged[SuppressGCTransition]<void*, void>[] ScoresOf = PerRows(WriteScores);

        static readonly delegate* unmanaged[SuppressGCTransition]<void*, void>[] WideValuesOf = PerRows(
            (code, rows) => WriteValues(code, rows, 2)
        );

        static readonly delegate* unmanaged[SuppressGCTransition]<void*, void>[] NarrowValuesOf = PerRows(
            (code, rows) => WriteValues(code, rows, 1)
        );

        static readonly delegate* unmanaged[SuppressGCTransition]<void*, void> WeightsOf = InstructionSets.Avx512Bf16
            ? KernelWriter.Publish(WriteWeights)
            : null;

        /// <summary>Whether the processor has the instruction and the system allows generated code.</summary>
        internal static bool Supported { get; } =
            InstructionSets.Avx512Bf16
            && WeightsOf is not null
            && AllThere(ScoresOf)
            && AllThere(WideValuesOf)
            && AllThere(NarrowValuesOf);

        /// <summary>Pieces that may round, and whose keys and values are rounded already, by dot products; others in f32.</summary>
        internal static readonly AttentionKernel Run = static (tile, scratch) =>
        {
            if (tile.MayRound && tile.Layout.Storage != KvStorage.F32)
            {
                AttentionTile.Run<Bf16DotMath>(tile, scratch);
            }
            else
            {
                AttentionTile.Run<Avx512Math>(tile, scratch);
            }
        };

        public static int Rows => 14;

        public static KvStorage Reads => KvStorage.BF16;

        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        public static void PackQueries(float** from, int rows, int headDim, float scale, float* packed, float* scratch)
        {
            int pairs = (headDim + 1) / 2;
            Vector512<float> factor = Vector512.Create(scale);
            for (int r = 0; r < rows; r++)
            {
                var to = (ushort*)(scratch + ((nint)r * pairs));
                int i = 0;
                for (; i <= headDim - 16; i += 16)
                {
                    Vector512<uint> x = Bf16.RoundUpper(Vector512.Load(from[r] + i) * factor);
                    Avx512F.ConvertToVector256UInt16(x >> 16).Store(to + i);
                }

                for (; i < 2 * pairs; i++)
                {
                    to[i] = i < headDim ? Bf16.Round(from[r][i] * scale) : (ushort)0;
                }
            }

            Avx512Math.Turn(scratch, pairs, packed);
        }

        public static void Scores(int rows, float* q, float* keys, int depth, float* scores)
        {
            ScoreArguments arguments = new()
            {
                Q = q,
                Keys = keys,
                Depth = depth,
                Scores = scores,
            };
            ScoresOf[rows](&arguments);
        }

        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        [SkipLocalsInit]
        public static float Weights(float* scores, int visible, out float max)
        {
            // The end of the last 32 reads minus infinity, whose weight is zero.
            Vector512<float> lowest = Vector512.Create(float.NegativeInfinity);
            int whole = (visible + 31) & ~31;
            for (int i = visible & ~15; i < whole; i += 16)
            {
                Vector512<float> tail = Masks.First512(visible - i);
                Avx512F.MaskLoad(scores + i, tail, lowest).Store(scores + i);
            }

            Vector512<float> m = Vector512.Create(float.MinValue);
            Vector512<float> n = m;
            for (int i = 0; i < whole; i += 32)
            {
                m = Avx512F.Max(m, Vector512.Load(scores + i));
                n = Avx512F.Max(n, Vector512.Load(scores + i + 16));
            }

            max = Avx512Math.Largest(Avx512F.Max(m, n));
            float* sums = stackalloc float[16];
            WeightArguments arguments = new()
            {
                Scores = scores,
                Count = whole / 32,
                Sums = sums,
                MinusMax = -max,
                C3 = 0.078024536f,
                C2 = 0.2260672f,
                C1 = 0.6958335f,
                C0 = 0.99992526f,
                OnePair = 0x3F803F80,
            };
            WeightsOf(&arguments);
            return Vector512.Sum(Vector512.Load(sums));
        }

        public static void Factors(float* max, float* blockMax, float* keep, float* add) =>
            Avx512Math.Factors(max, blockMax, keep, add);

        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        [SkipLocalsInit]
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
            // Pairs that every row sees, then those of which some rows see one key or none.
            uint** tail = stackalloc uint*[MostTailPairs];
            uint* masks = stackalloc uint[MostTailPairs * AttentionTile.MaxRows];
            int common = Math.Max(0, visible[0]) / 2;
            int count = ((visible[rows - 1] + 1) / 2) - common;
            for (int i = 0; i < count; i++)
            {
                int pair = common + i;
                tail[i] = (uint*)pages[pair / PagePairs] + (pair % PagePairs * width);
                for (int r = 0; r < rows; r++)
                {
                    int seen = visible[r] - (2 * pair);
                    masks[(i * AttentionTile.MaxRows) + r] =
                        seen > 1 ? uint.MaxValue
                        : seen == 1 ? 0xFFFFu
                        : 0u;
                }
            }

            ValueArguments arguments = new()
            {
                Weights = weights,
                Pages = pages,
                Pairs = common,
                TailPairs = count,
                Tail = tail,
                Masks = masks,
                Keep = keep,
                Add = add,
                Y = y,
                YStride = (nint)yStride * sizeof(float),
            };
            if (width == KvLayout.ValuePanel)
            {
                WideValuesOf[rows](&arguments);
            }
            else
            {
                NarrowValuesOf[rows](&arguments);
            }
        }

        public static void Merge(float* y, float* sums, int channels, float keep, float add) =>
            Avx512Math.Merge(y, sums, channels, keep, add);

        // One kernel per number of rows; none of zero rows.
        static delegate* unmanaged[SuppressGCTransition]<void*, void>[] PerRows(Action<Assembler, int> write)
        {
            var kernels = new delegate* unmanaged[SuppressGCTransition]<void*, void>[Rows + 1];
            for (int rows = 1; rows <= Rows && InstructionSets.Avx512Bf16; rows++)
            {
                int count = rows;
                kernels[rows] = KernelWriter.Publish(code => write(code, count));
            }

            return kernels;
        }

        static bool AllThere(delegate* unmanaged[SuppressGCTransition]<void*, void>[] kernels)
        {
            for (int rows = 1; rows < kernels.Length; rows++)
            {
                if (kernels[rows] is null)
                {
                    return false;
                }
            }

            return true;
        }

        static Mem Argument(int number) => new(Gpr.Rax, number * sizeof(ulong));

        // q [depth, 14] times a panel of keys [depth, 32] to scores [rows, 32]
        static void WriteScores(Assembler code, int rows)
        {
            (Gpr q, Gpr keys, Gpr depth, Gpr scores) = (Gpr.R8, Gpr.R9, Gpr.Rcx, Gpr.Rdx);
            RegisterFile vectors = new(512, 32);
            code.Mov(q, Argument(0));
            code.Mov(keys, Argument(1));
            code.Mov(depth, Argument(2));
            code.Mov(scores, Argument(3));
            ZeroSums(code, vectors, rows, 2);
            Assembler.Label loop = code.Here();
            code.PrefetchT0(new Mem(keys, PrefetchBytes));
            code.PrefetchT0(new Mem(keys, PrefetchBytes + 64));
            code.Vmovups(vectors["low"], new Mem(keys));
            code.Vmovups(vectors["high"], new Mem(keys, 64));
            for (int row = 0; row < rows; row++)
            {
                Vec x = vectors["x", row % 2];
                code.Vpbroadcastd(x, new Mem(q, row * sizeof(uint)));
                code.Vdpbf16ps(vectors["sum", row, 0], x, vectors["low"]);
                code.Vdpbf16ps(vectors["sum", row, 1], x, vectors["high"]);
            }

            code.Add(q, Rows * sizeof(uint));
            code.Add(keys, KvLayout.KeyPanel * sizeof(uint));
            code.Sub(depth, 1);
            code.Jnz(loop);
            for (int row = 0; row < rows; row++)
            {
                code.Vmovups(new Mem(scores, row * Stride), vectors["sum", row, 0]);
                code.Vmovups(new Mem(scores, (row * Stride) + 64), vectors["sum", row, 1]);
            }
        }

        // 32 scores at a time become 16 words of weights, which never catch up with the scores still to be read.
        static void WriteWeights(Assembler code)
        {
            (Gpr from, Gpr count, Gpr sums, Gpr to) = (Gpr.R8, Gpr.Rcx, Gpr.Rdx, Gpr.R9);
            RegisterFile vectors = new(512, 32);
            Mem constants = Argument(3);
            string[] names = ["-max", "c3", "c2", "c1", "c0", "one pair"];
            for (int i = 0; i < names.Length; i++)
            {
                code.Vpbroadcastd(vectors[names[i]], constants + (i * sizeof(float)));
            }

            code.Mov(from, Argument(0));
            code.Mov(count, Argument(1));
            code.Mov(sums, Argument(2));
            code.Mov(to, from);
            code.Vpxord(vectors["sum"], vectors["sum"], vectors["sum"]);
            Assembler.Label loop = code.Here();
            for (int half = 0; half < 2; half++)
            {
                // 2^x is 2^(x - floor x), scaled by floor x; of minus infinity 2^0, scaled to 0.
                (Vec x, Vec f, Vec p) = (vectors["x", half], vectors["f", half], vectors["p", half]);
                code.Vaddps(x, vectors["-max"], new Mem(from, half * 64));
                code.Vreduceps(f, x, 1);
                code.Vmovups(p, vectors["c3"]);
                code.Vfmadd213ps(p, f, vectors["c2"]);
                code.Vfmadd213ps(p, f, vectors["c1"]);
                code.Vfmadd213ps(p, f, vectors["c0"]);
                code.Vscalefps(p, p, x);
            }

            Vec pairs = vectors["x", 0];
            code.Vcvtne2ps2bf16(pairs, vectors["p", 1], vectors["p", 0]);
            code.Vmovups(new Mem(to), pairs);
            code.Vdpbf16ps(vectors["sum"], pairs, vectors["one pair"]);
            code.Add(from, 128);
            code.Add(to, 64);
            code.Sub(count, 1);
            code.Jnz(loop);
            code.Vmovups(new Mem(sums), vectors["sum"]);
        }

        // weights [rows, pairs] times panels of values [pairs, 16 or 32], merged into y [rows, 16 or 32]
        static void WriteValues(Assembler code, int rows, int halves)
        {
            (Gpr weights, Gpr pages, Gpr pairs, Gpr count) = (Gpr.R8, Gpr.R9, Gpr.Rcx, Gpr.Rdx);
            (Gpr values, Gpr masks) = (Gpr.Rsi, Gpr.R10);
            RegisterFile vectors = new(512, 32);
            code.Mov(weights, Argument(0));
            code.Mov(pages, Argument(1));
            code.Mov(pairs, Argument(2));
            ZeroSums(code, vectors, rows, halves);
            (Assembler.Label tail, Assembler.Label merge) = (new(), new());
            code.Test(pairs, pairs);
            code.Jz(tail);

            Assembler.Label page = code.Here();
            Assembler.Label full = new();
            code.Mov(values, new Mem(pages));
            code.Add(pages, sizeof(ulong));
            code.Mov(count, PagePairs);
            code.Cmp(pairs, count);
            code.Jge(full);
            code.Mov(count, pairs);
            code.Bind(full);
            code.Sub(pairs, count);
            Assembler.Label loop = code.Here();
            for (int half = 0; half < halves; half++)
            {
                code.PrefetchT0(new Mem(values, PrefetchBytes + (half * 64)));
                code.Vmovups(vectors["v", half], new Mem(values, half * 64));
            }

            for (int row = 0; row < rows; row++)
            {
                Vec w = vectors["w", row % 2];
                code.Vpbroadcastd(w, new Mem(weights, row * Stride));
                for (int half = 0; half < halves; half++)
                {
                    code.Vdpbf16ps(vectors["sum", row, half], w, vectors["v", half]);
                }
            }

            code.Add(weights, sizeof(uint));
            code.Add(values, halves * 64);
            code.Sub(count, 1);
            code.Jnz(loop);
            code.Test(pairs, pairs);
            code.Jnz(page);

            // Each row masks pairs as it sees them: what it does not see may be NaN, and its weights there are no numbers at all.
            code.Bind(tail);
            code.Mov(count, Argument(3));
            code.Test(count, count);
            code.Jz(merge);
            code.Mov(pages, Argument(4));
            code.Mov(masks, Argument(5));
            Assembler.Label next = code.Here();
            code.Mov(values, new Mem(pages));
            for (int row = 0; row < rows; row++)
            {
                (Vec mask, Vec w, Vec v) = (vectors["v", 0], vectors["w", 0], vectors["w", 1]);
                code.Vpbroadcastd(mask, new Mem(masks, row * sizeof(uint)));
                code.Vpandd(w, mask, new Mem(weights, row * Stride).Repeated);
                for (int half = 0; half < halves; half++)
                {
                    code.Vpandd(v, mask, new Mem(values, half * 64));
                    code.Vdpbf16ps(vectors["sum", row, half], w, v);
                }
            }

            code.Add(weights, sizeof(uint));
            code.Add(pages, sizeof(ulong));
            code.Add(masks, AttentionTile.MaxRows * sizeof(uint));
            code.Sub(count, 1);
            code.Jnz(next);

            code.Bind(merge);
            (Gpr keep, Gpr add, Gpr y, Gpr stride) = (Gpr.R8, Gpr.R9, Gpr.Rsi, Gpr.Rdx);
            code.Mov(keep, Argument(6));
            code.Mov(add, Argument(7));
            code.Mov(y, Argument(8));
            code.Mov(stride, Argument(9));
            for (int row = 0; row < rows; row++)
            {
                (Vec k, Vec a) = (vectors["w", 0], vectors["w", 1]);
                code.Vpbroadcastd(k, new Mem(keep, row * sizeof(float)));
                code.Vpbroadcastd(a, new Mem(add, row * sizeof(float)));
                for (int half = 0; half < halves; half++)
                {
                    Vec sum = vectors["sum", row, half];
                    code.Vmulps(sum, sum, a);
                    code.Vfmadd231ps(sum, k, new Mem(y, half * 64));
                    code.Vmovups(new Mem(y, half * 64), sum);
                }

                code.Add(y, stride);
            }
        }

        static void ZeroSums(Assembler code, RegisterFile vectors, int rows, int halves)
        {
            for (int row = 0; row < rows; row++)
            {
                for (int half = 0; half < halves; half++)
                {
                    Vec sum = vectors["sum", row, half];
                    code.Vpxord(sum, sum, sum);
                }
            }
        }
    }
}
