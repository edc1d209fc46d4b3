using System.Buffers.Binary;

namespace VlmSharp.Kernels.MachineCode;

/// <summary>Writes x86-64 machine code: the few dozen instructions that generated kernels are made of.</summary>
/// <remarks>
/// Encodings follow volume 2 of Intel's Software Developer's Manual; the tests compare every one with an independent
/// assembler. Jumps to labels always take 32 bits. Operands stand in Intel's order, the destination first.
/// </remarks>
internal sealed partial class Assembler
{
    readonly List<byte> code = [];
    readonly List<(int At, Label Target)> jumps = [];

    /// <summary>A place in the code; defined by <see cref="Bind"/>, before or after jumps to it.</summary>
    public sealed class Label
    {
        internal int Place { get; set; } = -1;
    }

    /// <summary>Bytes written so far.</summary>
    public int Length => code.Count;

    /// <summary>The finished code.</summary>
    /// <exception cref="InvalidOperationException">A jump goes to a label that was never bound.</exception>
    public byte[] ToArray()
    {
        byte[] bytes = [.. code];
        foreach ((int at, Label target) in jumps)
        {
            if (target.Place < 0)
            {
                throw new InvalidOperationException($"the jump at byte {at} goes to a label that stands nowhere");
            }

            BinaryPrimitives.WriteInt32LittleEndian(bytes.AsSpan(at), target.Place - (at + sizeof(int)));
        }

        return bytes;
    }

    /// <summary>Puts a label here.</summary>
    public void Bind(Label label) => label.Place = code.Count;

    /// <summary>A label that stands here.</summary>
    public Label Here()
    {
        Label label = new();
        Bind(label);
        return label;
    }

    /// <summary>to = from.</summary>
    public void Mov(Gpr to, Gpr from) => Rex(0x8B, to, from);

    /// <summary>to = 8 bytes at the address.</summary>
    public void Mov(Gpr to, Mem from) => Rex(0x8B, to, from);

    /// <summary>8 bytes at the address = from.</summary>
    public void Mov(Mem to, Gpr from) => Rex(0x89, from, to);

    /// <summary>to = a constant, sign-extended.</summary>
    public void Mov(Gpr to, int value)
    {
        RexRm(0xC7, 0, to);
        Int32(value);
    }

    /// <summary>to = the address itself.</summary>
    public void Lea(Gpr to, Mem address) => Rex(0x8D, to, address);

    /// <summary>to += from.</summary>
    public void Add(Gpr to, Gpr from) => Rex(0x03, to, from);

    /// <summary>to += 8 bytes at the address.</summary>
    public void Add(Gpr to, Mem from) => Rex(0x03, to, from);

    /// <summary>to += value.</summary>
    public void Add(Gpr to, int value) => Immediate(0, to, value);

    /// <summary>to -= from.</summary>
    public void Sub(Gpr to, Gpr from) => Rex(0x2B, to, from);

    /// <summary>to -= value; sets the flags.</summary>
    public void Sub(Gpr to, int value) => Immediate(5, to, value);

    /// <summary>Sets the flags of a - b.</summary>
    public void Cmp(Gpr a, Gpr b) => Rex(0x3B, a, b);

    /// <summary>Sets the flags of a - value.</summary>
    public void Cmp(Gpr a, int value) => Immediate(7, a, value);

    /// <summary>Sets the flags of a &amp; b.</summary>
    public void Test(Gpr a, Gpr b) => Rex(0x85, b, a);

    /// <summary>to = 0.</summary>
    public void Zero(Gpr to) => Rex(0x33, to, to);

    /// <summary>to &lt;&lt;= count.</summary>
    public void Shl(Gpr to, byte count)
    {
        RexRm(0xC1, 4, to);
        code.Add(count);
    }

    /// <summary>to *= from, the lower 64 bits.</summary>
    public void Imul(Gpr to, Gpr from)
    {
        code.Add(RexByte(to, from));
        code.AddRange([0x0F, 0xAF]);
        ModRm((int)to & 7, (int)from & 7);
    }

    /// <summary>Onto the stack.</summary>
    public void Push(Gpr from) => Short(0x50, from);

    /// <summary>From the stack.</summary>
    public void Pop(Gpr to) => Short(0x58, to);

    /// <summary>Back to the caller.</summary>
    public void Ret() => code.Add(0xC3);

    /// <summary>Goes on at the label.</summary>
    public void Jmp(Label target)
    {
        code.Add(0xE9);
        Jump(target);
    }

    /// <summary>Goes on at the label if the last result was not zero.</summary>
    public void Jnz(Label target) => Conditional(0x85, target);

    /// <summary>Goes on at the label if the last result was zero.</summary>
    public void Jz(Label target) => Conditional(0x84, target);

    /// <summary>Goes on at the label if a was less than b, both signed.</summary>
    public void Jl(Label target) => Conditional(0x8C, target);

    /// <summary>Goes on at the label if a was greater than or equal to b, both signed.</summary>
    public void Jge(Label target) => Conditional(0x8D, target);

    /// <summary>Goes on at the label if a was less than b, both unsigned.</summary>
    public void Jb(Label target) => Conditional(0x82, target);

    /// <summary>Asks for a cache line, into all levels.</summary>
    public void PrefetchT0(Mem address)
    {
        int rex = (High(address.Index) << 1) | High(address.Base);
        if (rex != 0)
        {
            code.Add((byte)(0x40 | rex));
        }

        code.AddRange([0x0F, 0x18]);
        Address(1, address, 1);
    }

    // opcode /r with REX.W, a register in both places
    void Rex(byte opcode, Gpr reg, Gpr rm)
    {
        code.Add(RexByte(reg, rm));
        code.Add(opcode);
        ModRm((int)reg & 7, (int)rm & 7);
    }

    // opcode /r with REX.W and memory
    void Rex(byte opcode, Gpr reg, Mem rm)
    {
        code.Add((byte)(0x48 | (High(reg) << 2) | (High(rm.Index) << 1) | High(rm.Base)));
        code.Add(opcode);
        Address((int)reg & 7, rm, 1);
    }

    // opcode /extension with REX.W and a register
    void RexRm(byte opcode, int extension, Gpr rm)
    {
        code.Add((byte)(0x48 | High(rm)));
        code.Add(opcode);
        ModRm(extension, (int)rm & 7);
    }

    void Immediate(int extension, Gpr to, int value)
    {
        if (value is >= sbyte.MinValue and <= sbyte.MaxValue)
        {
            RexRm(0x83, extension, to);
            code.Add((byte)value);
        }
        else if (to == Gpr.Rax)
        {
            // The short form that other assemblers choose, too.
            code.AddRange([0x48, (byte)((extension << 3) | 5)]);
            Int32(value);
        }
        else
        {
            RexRm(0x81, extension, to);
            Int32(value);
        }
    }

    void Short(byte opcode, Gpr register)
    {
        if (High(register) != 0)
        {
            code.Add(0x41);
        }

        code.Add((byte)(opcode | ((int)register & 7)));
    }

    void Conditional(byte opcode, Label target)
    {
        code.AddRange([0x0F, opcode]);
        Jump(target);
    }

    void Jump(Label target)
    {
        jumps.Add((code.Count, target));
        Int32(0);
    }

    static byte RexByte(Gpr reg, Gpr rm) => (byte)(0x48 | (High(reg) << 2) | High(rm));

    static int High(Gpr? register) => register is { } r ? (int)r >> 3 : 0;

    void ModRm(int reg, int rm) => code.Add((byte)(0xC0 | (reg << 3) | rm));

    // ModRM, SIB and displacement. An EVEX displacement of one byte counts units.
    void Address(int reg, Mem address, int unit)
    {
        int low = (int)address.Base & 7;
        bool sib = address.Index is not null || low == (int)Gpr.Rsp;
        int displacement = address.Displacement;
        bool none = displacement == 0 && low != (int)Gpr.Rbp; // RBP and R13 without displacement mean something else
        bool small = displacement % unit == 0 && displacement / unit is >= sbyte.MinValue and <= sbyte.MaxValue;
        int mode =
            none ? 0
            : small ? 0x40
            : 0x80;
        code.Add((byte)(mode | (reg << 3) | (sib ? 4 : low)));
        if (sib)
        {
            if (address.Index == Gpr.Rsp)
            {
                throw new ArgumentException("RSP cannot be an index");
            }

            int scale = address.Scale switch
            {
                1 => 0,
                2 => 1,
                4 => 2,
                8 => 3,
                _ => throw new ArgumentException($"an index cannot be scaled by {address.Scale}"),
            };
            int index = address.Index is { } i ? (int)i & 7 : 4;
            code.Add((byte)((scale << 6) | (index << 3) | low));
        }

        if (none)
        {
            return;
        }

        if (small)
        {
            code.Add((byte)(displacement / unit));
        }
        else
        {
            Int32(displacement);
        }
    }

    void Int32(int value)
    {
        Span<byte> bytes = stackalloc byte[sizeof(int)];
        BinaryPrimitives.WriteInt32LittleEndian(bytes, value);
        code.AddRange(bytes);
    }
}
