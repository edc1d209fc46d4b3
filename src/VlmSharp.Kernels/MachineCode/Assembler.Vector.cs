namespace VlmSharp.Kernels.MachineCode;

internal sealed partial class Assembler
{
    enum Prefix : byte
    {
        None = 0,
        P66 = 1,
        PF3 = 2,
        PF2 = 3,
    }

    enum Map : byte
    {
        M0F = 1,
        M0F38 = 2,
        M0F3A = 3,
    }

    // How much memory an instruction touches: the unit of a one-byte displacement.
    enum Tuple : byte
    {
        Full, // a whole vector, or one element that is repeated
        Half, // half a vector
        Quarter, // a quarter of a vector
        Scalar, // one element
    }

    readonly record struct Code(
        Prefix Prefix,
        Map Map,
        byte Opcode,
        bool Wide,
        int Element = 4,
        Tuple Tuple = Tuple.Full
    );

    // ---- moves

    /// <summary>to = a vector of f32 from memory or a register; memory need not be aligned.</summary>
    public void Vmovups(Vec to, Operand from) => Evex(new(Prefix.None, Map.M0F, 0x10, false), to, 0, from);

    /// <summary>Memory = a vector; need not be aligned.</summary>
    public void Vmovups(Mem to, Vec from) => Evex(new(Prefix.None, Map.M0F, 0x11, false), from, 0, to);

    /// <summary>to = a vector of 32-bit integers.</summary>
    public void Vmovdqu32(Vec to, Operand from) => Evex(new(Prefix.PF3, Map.M0F, 0x6F, false), to, 0, from);

    /// <summary>Memory = a vector of 32-bit integers.</summary>
    public void Vmovdqu32(Mem to, Vec from) => Evex(new(Prefix.PF3, Map.M0F, 0x7F, false), from, 0, to);

    /// <summary>Every lane = one f32 from memory.</summary>
    public void Vbroadcastss(Vec to, Mem from) =>
        Evex(new(Prefix.P66, Map.M0F38, 0x18, false, 4, Tuple.Scalar), to, 0, from);

    /// <summary>Every lane = one 32-bit integer from memory.</summary>
    public void Vpbroadcastd(Vec to, Mem from) =>
        Evex(new(Prefix.P66, Map.M0F38, 0x58, false, 4, Tuple.Scalar), to, 0, from);

    /// <summary>Every lane = a general-purpose register's lower 32 bits.</summary>
    public void Vpbroadcastd(Vec to, Gpr from) =>
        Evex(new(Prefix.P66, Map.M0F38, 0x7C, false), to, 0, new Vec((byte)from, 128));

    /// <summary>Every lane = one 16-bit integer from memory.</summary>
    public void Vpbroadcastw(Vec to, Mem from) =>
        Evex(new(Prefix.P66, Map.M0F38, 0x79, false, 2, Tuple.Scalar), to, 0, from);

    /// <summary>Four lanes of 32 bits from memory, repeated.</summary>
    public void Vbroadcasti32x4(Vec to, Mem from) =>
        Evex(new(Prefix.P66, Map.M0F38, 0x5A, false, 16, Tuple.Scalar), to, 0, from);

    // ---- f32

    /// <summary>to += a * b, rounded once.</summary>
    public void Vfmadd231ps(Vec to, Vec a, Operand b) => Evex(new(Prefix.P66, Map.M0F38, 0xB8, false), to, a.Index, b);

    /// <summary>to -= a * b, rounded once.</summary>
    public void Vfnmadd231ps(Vec to, Vec a, Operand b) => Evex(new(Prefix.P66, Map.M0F38, 0xBC, false), to, a.Index, b);

    /// <summary>to = a + b.</summary>
    public void Vaddps(Vec to, Vec a, Operand b) => Evex(new(Prefix.None, Map.M0F, 0x58, false), to, a.Index, b);

    /// <summary>to = a * to + b, rounded once.</summary>
    public void Vfmadd213ps(Vec to, Vec a, Operand b) => Evex(new(Prefix.P66, Map.M0F38, 0xA8, false), to, a.Index, b);

    /// <summary>to = a - b.</summary>
    public void Vsubps(Vec to, Vec a, Operand b) => Evex(new(Prefix.None, Map.M0F, 0x5C, false), to, a.Index, b);

    /// <summary>to = a * 2^floor(b).</summary>
    public void Vscalefps(Vec to, Vec a, Operand b) => Evex(new(Prefix.P66, Map.M0F38, 0x2C, false), to, a.Index, b);

    /// <summary>to = from without the whole number it rounds to (AVX512-DQ): 0 to the nearest even, 1 down, 2 up, 3 towards zero. Infinities give 0.</summary>
    public void Vreduceps(Vec to, Operand from, byte mode)
    {
        Evex(new(Prefix.P66, Map.M0F3A, 0x56, false), to, 0, from);
        code.Add(mode);
    }

    /// <summary>to = a * b.</summary>
    public void Vmulps(Vec to, Vec a, Operand b) => Evex(new(Prefix.None, Map.M0F, 0x59, false), to, a.Index, b);

    /// <summary>to = max(a, b).</summary>
    public void Vmaxps(Vec to, Vec a, Operand b) => Evex(new(Prefix.None, Map.M0F, 0x5F, false), to, a.Index, b);

    /// <summary>32-bit integers to f32.</summary>
    public void Vcvtdq2ps(Vec to, Operand from) => Evex(new(Prefix.None, Map.M0F, 0x5B, false), to, 0, from);

    /// <summary>f16 to f32; memory holds half a vector.</summary>
    public void Vcvtph2ps(Vec to, Operand from) =>
        Evex(new(Prefix.P66, Map.M0F38, 0x13, false, 2, Tuple.Half), to, 0, Narrow(from));

    // ---- bf16

    /// <summary>Each f32 of to += the products of two pairs of bf16 (AVX512-BF16).</summary>
    /// <remarks>Subnormals count as zero; each product is added with a rounding of its own, to even, whatever MXCSR says.</remarks>
    public void Vdpbf16ps(Vec to, Vec a, Operand b) => Evex(new(Prefix.PF3, Map.M0F38, 0x52, false), to, a.Index, b);

    /// <summary>f32 to bf16, nearest even, into the lower half of the register's width (AVX512-BF16).</summary>
    public void Vcvtneps2bf16(Vec to, Vec from) =>
        Evex(new(Prefix.PF3, Map.M0F38, 0x72, false), to.As(from.Bits), 0, from);

    /// <summary>Two vectors of f32 to one of bf16: b to the lower half, a to the upper (AVX512-BF16).</summary>
    public void Vcvtne2ps2bf16(Vec to, Vec a, Operand b) =>
        Evex(new(Prefix.PF2, Map.M0F38, 0x72, false), to, a.Index, b);

    // ---- integers

    /// <summary>Each 32-bit lane of to += four products of unsigned bytes of a and signed bytes of b (AVX512-VNNI).</summary>
    public void Vpdpbusd(Vec to, Vec a, Operand b) => Evex(new(Prefix.P66, Map.M0F38, 0x50, false), to, a.Index, b);

    /// <summary>Each 32-bit lane of to += two products of signed 16-bit numbers (AVX512-VNNI).</summary>
    public void Vpdpwssd(Vec to, Vec a, Operand b) => Evex(new(Prefix.P66, Map.M0F38, 0x52, false), to, a.Index, b);

    /// <summary>Sums of two products of unsigned bytes of a and signed bytes of b, saturated to 16 bits.</summary>
    public void Vpmaddubsw(Vec to, Vec a, Operand b) =>
        Evex(new(Prefix.P66, Map.M0F38, 0x04, false, 1), to, a.Index, b);

    /// <summary>Sums of two products of signed 16-bit numbers.</summary>
    public void Vpmaddwd(Vec to, Vec a, Operand b) => Evex(new(Prefix.P66, Map.M0F, 0xF5, false, 1), to, a.Index, b);

    /// <summary>to = a + b, 32 bits.</summary>
    public void Vpaddd(Vec to, Vec a, Operand b) => Evex(new(Prefix.P66, Map.M0F, 0xFE, false), to, a.Index, b);

    /// <summary>to = a - b, 32 bits.</summary>
    public void Vpsubd(Vec to, Vec a, Operand b) => Evex(new(Prefix.P66, Map.M0F, 0xFA, false), to, a.Index, b);

    /// <summary>to = the lower 32 bits of a * b.</summary>
    public void Vpmulld(Vec to, Vec a, Operand b) => Evex(new(Prefix.P66, Map.M0F38, 0x40, false), to, a.Index, b);

    /// <summary>to = a - b, bytes.</summary>
    public void Vpsubb(Vec to, Vec a, Operand b) => Evex(new(Prefix.P66, Map.M0F, 0xF8, false, 1), to, a.Index, b);

    /// <summary>to = a &amp; b.</summary>
    public void Vpandd(Vec to, Vec a, Operand b) => Evex(new(Prefix.P66, Map.M0F, 0xDB, false), to, a.Index, b);

    /// <summary>to = a | b.</summary>
    public void Vpord(Vec to, Vec a, Operand b) => Evex(new(Prefix.P66, Map.M0F, 0xEB, false), to, a.Index, b);

    /// <summary>to = a ^ b.</summary>
    public void Vpxord(Vec to, Vec a, Operand b) => Evex(new(Prefix.P66, Map.M0F, 0xEF, false), to, a.Index, b);

    /// <summary>A truth table of <see cref="Vpternlogd"/>: to | a &amp; b.</summary>
    public const byte FirstOrBoth = 0xF8;

    /// <summary>Another: a ? b : to.</summary>
    public const byte LastWhereSecond = 0xB8;

    /// <summary>Another: a ? to : b.</summary>
    public const byte FirstWhereSecond = 0xE2;

    /// <summary>to = a function of the bits of to, a and b: bit 4 to + 2 a + b of the table.</summary>
    public void Vpternlogd(Vec to, Vec a, Operand b, byte table)
    {
        Evex(new(Prefix.P66, Map.M0F3A, 0x25, false), to, a.Index, b);
        code.Add(table);
    }

    /// <summary>to = from &lt;&lt; count, 32-bit lanes.</summary>
    public void Vpslld(Vec to, Operand from, byte count) => Shift(0x72, 6, to, from, count, 4);

    /// <summary>to = from &gt;&gt; count, unsigned 32-bit lanes.</summary>
    public void Vpsrld(Vec to, Operand from, byte count) => Shift(0x72, 2, to, from, count, 4);

    /// <summary>to = from &gt;&gt; count, signed 32-bit lanes.</summary>
    public void Vpsrad(Vec to, Operand from, byte count) => Shift(0x72, 4, to, from, count, 4);

    /// <summary>to = from &gt;&gt; count, unsigned 16-bit lanes.</summary>
    public void Vpsrlw(Vec to, Operand from, byte count) => Shift(0x71, 2, to, from, count, 1);

    /// <summary>Bytes of to = table bytes chosen by the lower four bits of b, within each 128 bits.</summary>
    public void Vpshufb(Vec to, Vec table, Operand b) =>
        Evex(new(Prefix.P66, Map.M0F38, 0x00, false, 1), to, table.Index, b);

    /// <summary>Signed bytes to 16 bits; memory holds half a vector.</summary>
    public void Vpmovsxbw(Vec to, Operand from) =>
        Evex(new(Prefix.P66, Map.M0F38, 0x20, false, 1, Tuple.Half), to, 0, Narrow(from));

    /// <summary>Signed bytes to 32 bits; memory holds a quarter of a vector.</summary>
    public void Vpmovsxbd(Vec to, Operand from) =>
        Evex(new(Prefix.P66, Map.M0F38, 0x21, false, 1, Tuple.Quarter), to, 0, Narrow(from));

    /// <summary>Unsigned bytes to 32 bits; memory holds a quarter of a vector.</summary>
    public void Vpmovzxbd(Vec to, Operand from) =>
        Evex(new(Prefix.P66, Map.M0F38, 0x31, false, 1, Tuple.Quarter), to, 0, Narrow(from));

    /// <summary>Unsigned 16-bit numbers to 32 bits; memory holds half a vector.</summary>
    public void Vpmovzxwd(Vec to, Operand from) =>
        Evex(new(Prefix.P66, Map.M0F38, 0x33, false, 2, Tuple.Half), to, 0, Narrow(from));

    /// <summary>Clears the upper halves of all registers, so that SSE code after this does not wait for them.</summary>
    public void Vzeroupper() => code.AddRange([0xC5, 0xF8, 0x77]);

    // A narrower register has the same number; only the width of the result is encoded.
    static Operand Narrow(Operand from) => from;

    void Shift(byte opcode, int extension, Vec to, Operand from, byte count, int element)
    {
        // The destination stands in vvvv, the kind of shift in ModRM.reg.
        Evex(new(Prefix.P66, Map.M0F, opcode, false, element), new Vec((byte)extension, to.Bits), to.Index, from);
        code.Add(count);
    }

    // EVEX.<bits>.<prefix>.<map>.W<wide> opcode /r: reg = destination, second = vvvv, last = register or memory.
    void Evex(Code instruction, Vec reg, int second, Operand last)
    {
        bool memory = last.IsMemory;
        Mem address = last.Memory;
        bool broadcast = memory && address.Broadcast;
        if (broadcast && (instruction.Tuple != Tuple.Full || instruction.Element < 4))
        {
            throw new ArgumentException("this instruction cannot repeat one element of memory");
        }

        int b = memory ? (int)address.Base >> 3 : (last.Register.Index >> 3) & 1;
        int x = memory ? High(address.Index) : last.Register.Index >> 4;
        int length = reg.Bits switch
        {
            128 => 0,
            256 => 1,
            512 => 2,
            _ => throw new ArgumentException($"there are no vectors of {reg.Bits} bits"),
        };
        // R, X, B, R' and vvvv, V' are stored inverted.
        code.Add(0x62);
        code.Add(
            (byte)(
                ((~(reg.Index >> 3) & 1) << 7)
                | ((~x & 1) << 6)
                | ((~b & 1) << 5)
                | ((~(reg.Index >> 4) & 1) << 4)
                | (int)instruction.Map
            )
        );
        code.Add((byte)((instruction.Wide ? 0x80 : 0) | ((~second & 15) << 3) | 4 | (int)instruction.Prefix));
        code.Add((byte)((length << 5) | (broadcast ? 0x10 : 0) | ((~(second >> 4) & 1) << 3)));
        code.Add(instruction.Opcode);
        if (!memory)
        {
            ModRm(reg.Index & 7, last.Register.Index & 7);
            return;
        }

        int vector = reg.Bits / 8;
        int unit = instruction.Tuple switch
        {
            Tuple.Full => broadcast ? instruction.Element : vector,
            Tuple.Half => vector / 2,
            Tuple.Quarter => vector / 4,
            _ => instruction.Element,
        };
        Address(reg.Index & 7, address, unit);
    }
}
