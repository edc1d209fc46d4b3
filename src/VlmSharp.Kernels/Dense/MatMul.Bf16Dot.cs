using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using VlmSharp.Kernels.MachineCode;

namespace VlmSharp.Kernels;

public static unsafe partial class MatMul
{
    static void Bf16Dot(in Call call)
    {
        if (call.Rows == 0)
        {
            return;
        }

        int pairs = (call.W.Columns + 1) / 2;
        AlignedBuffer rounded = call.Pool.Rent((long)call.Rows * Math.Max(pairs, 1) * sizeof(uint));
        try
        {
            fixed (float* x = call.X)
            {
                RoundRows round = new(x, call.XStride, call.W.Columns, (uint*)rounded.Pointer, pairs);
                call.Pool.Run(call.Rows, ref round);
            }

            // A pair of bf16 is as wide as an f32.
            Steps steps = new(pairs, 1, ColumnBytes, DepthBlock, ColumnBytes);
            Drive(call, default(Bf16DotKernels), (float*)rounded.Pointer, pairs, steps);
        }
        finally
        {
            call.Pool.Return(rounded);
        }
    }

    /// <summary>Rows of f32 to pairs of bf16, to the nearest, ties to even; an odd last column gets a zero beside it.</summary>
    readonly struct RoundRows(float* x, nint stride, int columns, uint* rounded, nint pairs) : IParallelBody
    {
        public void Run(int part, int worker)
        {
            ushort* to = (ushort*)(rounded + (part * pairs));
            Narrow.ToBF16(x + (part * stride), to, columns);
            if (columns % 2 != 0)
            {
                to[columns] = 0;
            }
        }
    }

    /// <summary>Pairs of bf16 multiplied and added by vdpbf16ps, which .NET does not expose: the loops are generated at the first use.</summary>
    /// <remarks>
    /// A tile is 14 rows times a panel: 28 accumulators, two vectors of weights, two of repeated pairs of x. Each output takes its
    /// pairs in ascending order in every kernel, so that here, too, no cut of rows or columns changes a bit.
    /// </remarks>
    readonly struct Bf16DotKernels : IPanelKernels
    {
        const int PrefetchBytes = 2048;

        // What generated kernels are told; strides in bytes.
        struct Arguments
        {
            public void* X;
            public nint XStride;
            public byte* Panel;
            public nint PanelBytes;
            public nint Depth;
            public float* Sums;
            public nint SumsStride;
        }

        static readonly delegate* unmanaged[SuppressGCTransition]<void*, void> Tile14 = KernelWriter.Publish(WriteTile);

        static readonly delegate* unmanaged[SuppressGCTransition]<void*, void>[] Few =
        [
            KernelWriter.Publish(code => WriteRows(code, 1, 1)),
            KernelWriter.Publish(code => WriteRows(code, 1, 4)),
            KernelWriter.Publish(code => WriteRows(code, 2, 1)),
            KernelWriter.Publish(code => WriteRows(code, 2, 4)),
            KernelWriter.Publish(code => WriteRows(code, 4, 1)),
            KernelWriter.Publish(code => WriteRows(code, 4, 2)),
            KernelWriter.Publish(code => WriteRows(code, 8, 1)),
        ];

        /// <summary>Whether the processor has the instruction and the system allows generated code.</summary>
        public static bool Supported { get; } = InstructionSets.Avx512Bf16 && Tile14 is not null && !Missing();

        static bool Missing()
        {
            foreach (delegate* unmanaged[SuppressGCTransition]<void*, void> kernel in Few)
            {
                if (kernel is null)
                {
                    return true;
                }
            }

            return false;
        }

        public int TileRows => 14;

        public bool TilesReadUnpacked => false;

        public bool RowsReadUnpacked => false;

        public bool ReadsWeightsOnce(int rows) => rows is 1 or 2 or 4 or 8;

        public void Pack(float* x, nint stride, int columns, float* packed) =>
            default(Avx512Kernels<F32Weights>).Pack(x, stride, columns, packed);

        public void Unpack(byte* panel, int depth, byte* unpacked) =>
            throw new System.Diagnostics.UnreachableException();

        public void Tile(float* packed, byte* panel, int depth, float* sums, nint sumsStride)
        {
            Arguments arguments = new()
            {
                X = packed,
                Panel = panel,
                Depth = depth,
                Sums = sums,
                SumsStride = sumsStride * sizeof(float),
            };
            Tile14(&arguments);
        }

        public void Rows(
            float* x,
            nint stride,
            int rows,
            byte* panel,
            nint panelBytes,
            int panelCount,
            int depth,
            float* sums,
            nint sumsStride
        )
        {
            int count; // rows that go together
            for (; rows > 0; rows -= count, x += count * stride, sums += count * sumsStride)
            {
                count =
                    rows >= 8 ? 8
                    : rows >= 4 ? 4
                    : rows >= 2 ? 2
                    : 1;
                (int wide, int kernel) = count switch
                {
                    1 => (4, 0),
                    2 => (4, 2),
                    4 => (2, 4),
                    _ => (1, 6),
                };
                int width; // panels that go together
                for (int p = 0; p < panelCount; p += width)
                {
                    width = panelCount - p >= wide ? wide : 1;
                    Arguments arguments = new()
                    {
                        X = x,
                        XStride = stride * sizeof(float),
                        Panel = panel + p * panelBytes,
                        PanelBytes = panelBytes,
                        Depth = depth,
                        Sums = sums + p * PanelRows,
                        SumsStride = sumsStride * sizeof(float),
                    };
                    Few[width == wide && wide > 1 ? kernel + 1 : kernel](&arguments);
                }
            }
        }

        const Gpr X = Gpr.R8;
        const Gpr Panel = Gpr.R9;
        const Gpr Depth = Gpr.Rcx;
        const Gpr Sums = Gpr.Rdx;

        static Mem Argument(int number) => new(Gpr.Rax, number * sizeof(ulong));

        // packed [depth, 14] times a panel [depth, 32] to sums [14, 32]
        static void WriteTile(Assembler code)
        {
            const int rows = 14;
            RegisterFile vectors = new(512, 32);
            code.Mov(X, Argument(0));
            code.Mov(Panel, Argument(2));
            code.Mov(Depth, Argument(4));
            Sum(code, vectors, rows, 1, load: true);
            Assembler.Label loop = code.Here();
            code.PrefetchT0(new Mem(Panel, PrefetchBytes));
            code.PrefetchT0(new Mem(Panel, PrefetchBytes + 64));
            code.Vmovups(vectors["low"], new Mem(Panel));
            code.Vmovups(vectors["high"], new Mem(Panel, 64));
            for (int row = 0; row < rows; row++)
            {
                Vec x = vectors["x", row % 2];
                code.Vpbroadcastd(x, new Mem(X, row * sizeof(uint)));
                code.Vdpbf16ps(vectors["sum", row, 0], x, vectors["low"]);
                code.Vdpbf16ps(vectors["sum", row, 1], x, vectors["high"]);
            }

            code.Add(X, rows * sizeof(uint));
            code.Add(Panel, PanelRows * sizeof(uint));
            code.Sub(Depth, 1);
            code.Jnz(loop);
            Sum(code, vectors, rows, 1, load: false);
        }

        // x [rows, depth] times panels [depth, 32] each to sums [rows, 32 * panels]
        static void WriteRows(Assembler code, int rows, int panels)
        {
            RegisterFile vectors = new(512, 32);
            code.Mov(X, Argument(0));
            code.Mov(Panel, Argument(2));
            code.Mov(Depth, Argument(4));
            Sum(code, vectors, rows, panels, load: true);
            // Row r is X + r strides, panel p Panel + p sizes; three times each, and X + 4 strides, need registers of their own.
            (Gpr stride, Gpr stride3, Gpr x4) = (Gpr.Rsi, Gpr.Rdi, Gpr.R10);
            (Gpr size, Gpr size3) = (Gpr.Rdx, Gpr.R11);
            code.Mov(stride, Argument(1));
            code.Lea(stride3, new Mem(stride, 0, stride, 2));
            code.Lea(x4, new Mem(X, 0, stride, 4));
            code.Mov(size, Argument(3));
            code.Lea(size3, new Mem(size, 0, size, 2));
            Mem Times(Gpr start, Gpr one, Gpr three, int times) =>
                times switch
                {
                    0 => new Mem(start),
                    1 or 2 => new Mem(start, 0, one, times),
                    _ => new Mem(start, 0, three),
                };

            Assembler.Label loop = code.Here();
            if (panels == 1)
            {
                // Panels read side by side do without, see the kernels in C#.
                code.PrefetchT0(new Mem(Panel, PrefetchBytes));
                code.PrefetchT0(new Mem(Panel, PrefetchBytes + 64));
            }

            for (int row = 0; row < rows; row++)
            {
                code.Vpbroadcastd(vectors["x", row], Times(row < 4 ? X : x4, stride, stride3, row % 4));
            }

            for (int panel = 0; panel < panels; panel++)
            {
                Mem at = Times(Panel, size, size3, panel);
                for (int half = 0; half < 2; half++)
                {
                    Operand weights = at + (half * 64);
                    if (rows > 1)
                    {
                        code.Vmovups(vectors["w", half], weights);
                        weights = vectors["w", half];
                    }

                    for (int row = 0; row < rows; row++)
                    {
                        code.Vdpbf16ps(vectors["sum", row, (panel * 2) + half], vectors["x", row], weights);
                    }
                }
            }

            code.Add(X, sizeof(uint));
            if (rows > 4)
            {
                code.Add(x4, sizeof(uint));
            }

            code.Add(Panel, PanelRows * sizeof(uint));
            code.Sub(Depth, 1);
            code.Jnz(loop);
            Sum(code, vectors, rows, panels, load: false);
        }

        static void Sum(Assembler code, RegisterFile vectors, int rows, int panels, bool load)
        {
            code.Mov(Sums, Argument(5));
            for (int row = 0; row < rows; row++)
            {
                for (int half = 0; half < 2 * panels; half++)
                {
                    Mem at = new(Sums, half * 64);
                    if (load)
                    {
                        code.Vmovups(vectors["sum", row, half], at);
                    }
                    else
                    {
                        code.Vmovups(at, vectors["sum", row, half]);
                    }
                }

                code.Add(Sums, Argument(6));
            }
        }
    }
}
