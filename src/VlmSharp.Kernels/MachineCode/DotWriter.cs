using VlmSharp.Kernels.Quantized;

namespace VlmSharp.Kernels.MachineCode;

/// <summary>Generates loops that multiply rounded rows of x by blocks of a panel with vpdpbusd.</summary>
/// <remarks>
/// <para>
/// For each square of 32 rows and columns the dot products of bytes are exact integers; then they become f32, and one addition to the
/// row's 32 sums follows. What it adds is formed in the same order by every kernel, so results have the same bits.
/// </para>
/// <para>
/// At most 255 * 127 * 32 stands in a 32-bit sum, and as much again when it starts at minus the offset times the sum of x: no overflow.
/// </para>
/// </remarks>
internal sealed class DotWriter
{
    /// <summary>What generated kernels are told; strides in bytes.</summary>
    public unsafe struct Arguments
    {
        public void* X;
        public nint XStride;
        public void* Panel;
        public nint Depth; // blocks
        public float* Sums;
        public nint SumsStride;
        public nint NextX; // from a packed tile to the one that comes next
        public void* Table;
    }

    const Gpr Panel = Gpr.R9;
    const Gpr Depth = Gpr.Rcx;
    const Gpr Sums = Gpr.Rdx;
    const Gpr HeadOfBlock = Gpr.Rdx; // while sums are in registers
    const Gpr Spare = Gpr.Rdi;
    const Gpr Squares = Gpr.Rdi; // left to do in a block
    static readonly Gpr[] X = [Gpr.R8, Gpr.R10, Gpr.R11, Gpr.Rsi];

    readonly Assembler code;
    readonly RegisterFile vectors = new(512, 32);
    readonly PanelBlocks blocks;
    readonly int rows;
    readonly bool packed; // rows of x are packed into a tile, and blocks are expanded

    DotWriter(Assembler code, PanelBlocks blocks, int rows, bool packed)
    {
        this.code = code;
        this.blocks = blocks;
        this.rows = rows;
        this.packed = packed;
    }

    /// <summary>The code that is written.</summary>
    public Assembler Code => code;

    /// <summary>Its vector registers, by name.</summary>
    public RegisterFile Vectors => vectors;

    /// <summary>Codes of 16 rows and four columns.</summary>
    public Vec Low(int half) => vectors["low", half];

    /// <summary>Codes of 16 rows and four columns further on.</summary>
    public Vec High(int half) => vectors["high", half];

    /// <summary>f32 scales of 16 rows of a square; its codes are not needed any more.</summary>
    public Vec Scale(int half) => SharedScales ? vectors["scale", half] : Low(half);

    /// <summary>Least values, or the scales of the last 16 columns, of 16 rows of a square.</summary>
    public Vec Second(int half) => SharedScales ? vectors["second", half] : High(half);

    /// <summary>Bytes of the current square.</summary>
    public static Mem At(int offset) => new(Panel, offset);

    /// <summary>Bytes of the current block, from its head on.</summary>
    public static Mem Head(int offset) => new(HeadOfBlock, offset);

    /// <summary>Whether the upper nibbles of a square are multiplied where they stand, and their sum is divided by 16.</summary>
    public bool HighInPlace => TwoChains && blocks.Codes == CodeKind.Nibbles;

    /// <summary>A constant of 32 bits in every lane.</summary>
    public Vec Constant(string name, int value)
    {
        code.Mov(Spare, value);
        code.Vpbroadcastd(vectors[name], Spare);
        return vectors[name];
    }

    /// <summary>The 16 bytes of <see cref="PanelBlocks.Table"/>, repeated.</summary>
    public void LoadTable(string name)
    {
        code.Mov(Spare, Argument(7));
        code.Vbroadcasti32x4(vectors[name], new Mem(Spare));
    }

    /// <summary>Bits moved to the left, or right, within 32.</summary>
    /// <returns>The register itself where they stay, otherwise "moved".</returns>
    public Vec Shifted(Vec bits, int left)
    {
        if (left == 0)
        {
            return bits;
        }

        Vec moved = vectors["moved"];
        if (left > 0)
        {
            code.Vpslld(moved, bits, (byte)left);
        }
        else
        {
            code.Vpsrld(moved, bits, (byte)-left);
        }

        return moved;
    }

    /// <summary>A kernel for a few rows of x, each at its place, and a panel as it is stored.</summary>
    /// <param name="code">Where to.</param>
    /// <param name="blocks">Their format.</param>
    /// <param name="rows">1 to 4.</param>
    public static void WriteRows(Assembler code, PanelBlocks blocks, int rows)
    {
        DotWriter writer = new(code, blocks, rows, packed: false);
        writer.Write(
            () => blocks.WriteConstants(writer),
            () => blocks.WriteHead(writer),
            () => writer.WriteSquare(() => blocks.WriteCodes(writer), () => blocks.WriteScales(writer))
        );
    }

    /// <summary>A kernel for a tile of packed rows [squares, rows] and expanded squares; its depth counts squares.</summary>
    public static void WriteTile(Assembler code, PanelBlocks blocks, int rows)
    {
        DotWriter writer = new(code, blocks, rows, packed: true);
        writer.Write(
            () => { },
            () => { },
            () =>
                writer.WriteSquare(
                    () => writer.Bytes(0),
                    () =>
                    {
                        for (int half = 0; half < 2; half++)
                        {
                            code.Vmovups(writer.Scale(half), At(Square.ScalesAt + (half * 64)));
                            if (blocks.Scaling != Scaling.Offset)
                            {
                                code.Vmovups(writer.Second(half), At(Square.SecondAt + (half * 64)));
                            }

                            if (blocks.Scaling == Scaling.ZeroPoint)
                            {
                                code.Vmulps(writer.Second(half), writer.Second(half), writer.Scale(half));
                            }
                        }
                    }
                )
        );
    }

    void Write(Action constants, Action head, Action square)
    {
        code.Mov(X[0], Argument(0));
        code.Mov(Spare, Argument(1));
        for (int row = 1; row < rows && !packed; row++)
        {
            code.Lea(X[row], new Mem(X[row - 1], 0, Spare));
        }

        code.Mov(Panel, Argument(2));
        code.Mov(Depth, Argument(3));
        Sum(Argument(4), Argument(5), load: true);
        constants();
        if (packed)
        {
            code.Mov(Spare, Argument(6));
        }

        Assembler.Label loop = code.Here();
        Assembler.Label inner = loop;
        int squares = packed ? 1 : blocks.Squares;
        if (!packed && blocks.HeadBytes > 0)
        {
            code.Mov(HeadOfBlock, Panel);
            head();
            code.Add(Panel, blocks.HeadBytes);
            if (squares > 1)
            {
                code.Mov(Squares, squares);
                inner = code.Here();
            }
        }

        square();
        for (int row = 0; row < (packed ? 1 : rows); row++)
        {
            code.Add(X[row], packed ? rows * RoundedRow.Bytes : RoundedRow.Bytes);
        }

        code.Add(Panel, packed ? Square.Bytes : blocks.SquareBytes);
        if (squares > 1)
        {
            code.Sub(Squares, 1);
            code.Jnz(inner);
        }

        code.Sub(Depth, 1);
        code.Jnz(loop);
        Sum(Argument(4), Argument(5), load: false);
    }

    static Mem Argument(int number) => new(Gpr.Rax, number * sizeof(ulong));

    Mem XAt(int row, int offset) => packed ? new Mem(X[0], (row * RoundedRow.Bytes) + offset) : new Mem(X[row], offset);

    // A zero point is a least value once it is scaled.
    bool HasLeast => blocks.Scaling is Scaling.Least or Scaling.ZeroPoint;

    // Sums of the first and of the last 16 columns, of scales of their own.
    bool TwoSums => blocks.Scaling == Scaling.OffsetOfHalves;

    // The same with few rows, until they are added: additions to a single sum would wait for each other.
    bool TwoChains => !packed && rows <= 2 && !TwoSums;

    bool SharedScales => !packed && blocks.SharesScales;

    void WriteSquare(Action codes, Action scales)
    {
        if (packed)
        {
            PrefetchRows();
        }

        for (int row = 0; row < rows; row++)
        {
            for (int part = 0; part < (TwoSums || TwoChains ? 2 : 1); part++)
            {
                Vec first = vectors[$"dot{part}", row, 0];
                Vec second = vectors[$"dot{part}", row, 1];
                if (HasLeast || (TwoChains && part > 0))
                {
                    code.Vpxord(first, first, first);
                    code.Vpxord(second, second, second);
                }
                else
                {
                    code.Vpbroadcastd(first, XAt(row, RoundedRow.SumAt + (part * sizeof(int))));
                    code.Vmovdqu32(second, first);
                }
            }
        }

        codes();
        scales();
        for (int row = 0; row < rows; row++)
        {
            Vec x = vectors["x"];
            code.Vbroadcastss(x, XAt(row, RoundedRow.ScaleAt));
            for (int half = 0; half < 2; half++)
            {
                Vec dot = vectors["dot0", row, half];
                Vec sum = vectors["sum", row, half];
                if (TwoChains)
                {
                    Vec last = vectors["dot1", row, half];
                    if (HighInPlace)
                    {
                        code.Vpsrad(last, last, 4);
                    }

                    code.Vpaddd(dot, dot, last);
                }

                code.Vcvtdq2ps(dot, dot);
                if (TwoSums)
                {
                    Vec last = vectors["dot1", row, half];
                    code.Vcvtdq2ps(last, last);
                    code.Vmulps(dot, dot, Scale(half));
                    code.Vfmadd231ps(dot, last, Second(half));
                    code.Vfmadd231ps(sum, dot, x);
                    continue;
                }

                code.Vmulps(vectors["scaled"], x, Scale(half));
                code.Vfmadd231ps(sum, dot, vectors["scaled"]);
                if (HasLeast)
                {
                    code.Vfnmadd231ps(sum, Second(half), XAt(row, RoundedRow.SumAt).Repeated);
                }
            }
        }
    }

    // Expanded squares stay in the first-level cache, rows come from the second: those of the next tile are asked for, a little with each
    // square, as more lines at once than the first-level cache waits for would hold up the loads behind them.
    void PrefetchRows()
    {
        for (int line = 0; line < rows * RoundedRow.Bytes; line += 64)
        {
            code.PrefetchT0(new Mem(X[0], line, Spare));
        }
    }

    /// <summary>Adds the products of four columns.</summary>
    /// <param name="quad">Which.</param>
    /// <param name="low">Codes of rows 0 to 15.</param>
    /// <param name="high">Codes of rows 16 to 31.</param>
    public void Dot(int quad, Vec low, Vec high)
    {
        if (rows == 1)
        {
            DotHalf(quad, 0, low);
            DotHalf(quad, 1, high);
            return;
        }

        for (int row = 0; row < rows; row++)
        {
            Vec x = vectors["x"];
            code.Vpbroadcastd(x, XAt(row, quad * 4));
            code.Vpdpbusd(DotOf(quad, row, 0), low, x);
            code.Vpdpbusd(DotOf(quad, row, 1), high, x);
        }
    }

    /// <summary>Adds the products of four columns and one half of the panel's rows.</summary>
    public void DotHalf(int quad, int half, Vec codes)
    {
        for (int row = 0; row < rows; row++)
        {
            code.Vpdpbusd(DotOf(quad, row, half), codes, XAt(row, quad * 4).Repeated);
        }
    }

    Vec DotOf(int quad, int row, int half) =>
        vectors[(TwoSums || TwoChains) && quad >= Square.Quads / 2 ? "dot1" : "dot0", row, half];

    /// <summary>A square of codes that are bytes, at this place of the block.</summary>
    public void Bytes(int offset)
    {
        (Vec low, Vec high) = (Low(0), Low(1));
        for (int quad = 0; quad < Square.Quads; quad++)
        {
            Mem at = At(offset + (quad * Square.QuadBytes));
            code.Vmovdqu32(low, at);
            code.Vmovdqu32(high, at + 64);
            Dot(quad, low, high);
        }
    }

    /// <summary>Numbers that are f16[32] at this place of the block.</summary>
    public void Halves(Func<int, Vec> to, int offset)
    {
        for (int half = 0; half < 2; half++)
        {
            code.Vcvtph2ps(to(half), At(offset + (half * 32)));
        }
    }

    void Sum(Mem sums, Mem stride, bool load)
    {
        code.Mov(Sums, sums);
        for (int row = 0; row < rows; row++)
        {
            for (int half = 0; half < 2; half++)
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

            code.Add(Sums, stride);
        }
    }
}
