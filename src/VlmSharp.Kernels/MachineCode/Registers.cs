namespace VlmSharp.Kernels.MachineCode;

/// <summary>A 64-bit general-purpose register.</summary>
internal enum Gpr : byte
{
    Rax,
    Rcx,
    Rdx,
    Rbx,
    Rsp,
    Rbp,
    Rsi,
    Rdi,
    R8,
    R9,
    R10,
    R11,
    R12,
    R13,
    R14,
    R15,
}

/// <summary>A vector register of 128, 256 or 512 bits.</summary>
/// <param name="Index">0 to 31; 16 and above exist with EVEX encodings only.</param>
/// <param name="Bits">128, 256 or 512.</param>
internal readonly record struct Vec(byte Index, int Bits)
{
    public static Vec Xmm(int index) => new((byte)index, 128);

    public static Vec Ymm(int index) => new((byte)index, 256);

    public static Vec Zmm(int index) => new((byte)index, 512);

    /// <summary>The same register seen at another width.</summary>
    public Vec As(int bits) => this with { Bits = bits };
}

/// <summary>An address: base + index * scale + displacement.</summary>
/// <param name="Base">Always there: the kernels address nothing else.</param>
/// <param name="Displacement">Bytes.</param>
/// <param name="Index">Any register but RSP.</param>
/// <param name="Scale">1, 2, 4 or 8.</param>
/// <param name="Broadcast">Whether one element is read and repeated in every lane.</param>
internal readonly record struct Mem(
    Gpr Base,
    int Displacement = 0,
    Gpr? Index = null,
    int Scale = 1,
    bool Broadcast = false
)
{
    /// <summary>The address some bytes further on.</summary>
    public static Mem operator +(Mem address, int bytes) =>
        address with
        {
            Displacement = checked(address.Displacement + bytes),
        };

    /// <summary>The same address, of which one element is read and repeated.</summary>
    public Mem Repeated => this with { Broadcast = true };
}

/// <summary>The last operand of a vector instruction: a register or memory.</summary>
internal readonly struct Operand
{
    readonly Vec register;
    readonly Mem memory;

    Operand(Vec register, Mem memory, bool isMemory)
    {
        this.register = register;
        this.memory = memory;
        IsMemory = isMemory;
    }

    public bool IsMemory { get; }

    public Vec Register => register;

    public Mem Memory => memory;

    public static implicit operator Operand(Vec register) => new(register, default, false);

    public static implicit operator Operand(Mem memory) => new(default, memory, true);
}

/// <summary>Hands out registers by name, so that generated code reads like its formula and two values never share one.</summary>
internal sealed class RegisterFile
{
    readonly Dictionary<string, int> vectors = [];
    readonly SortedSet<int> free;
    readonly int bits;

    /// <summary>All vector registers of a width are free.</summary>
    /// <param name="bits">128, 256 or 512.</param>
    /// <param name="count">16, or 32 with EVEX.</param>
    public RegisterFile(int bits, int count)
    {
        this.bits = bits;
        free = [.. Enumerable.Range(0, count)];
    }

    /// <summary>The register of that name, taken at its first mention.</summary>
    /// <exception cref="InvalidOperationException">All are taken.</exception>
    public Vec this[string name]
    {
        get
        {
            if (!vectors.TryGetValue(name, out int index))
            {
                if (free.Count == 0)
                {
                    throw new InvalidOperationException(
                        $"no vector register is left for '{name}'; taken: {string.Join(", ", vectors.Keys)}"
                    );
                }

                index = free.Min;
                free.Remove(index);
                vectors.Add(name, index);
            }

            return new Vec((byte)index, bits);
        }
    }

    /// <summary>The register of a numbered name: <c>sum[2,1]</c>.</summary>
    public Vec this[string name, int i, int j = 0] => this[$"{name}[{i},{j}]"];

    /// <summary>Gives a register back.</summary>
    public void Free(string name)
    {
        if (vectors.Remove(name, out int index))
        {
            free.Add(index);
        }
    }
}
