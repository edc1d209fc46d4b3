using System.Diagnostics;
using System.Globalization;
using System.Text;
using VlmSharp.Kernels.MachineCode;
using VlmSharp.Testing;
using Xunit;

namespace VlmSharp.Tests.Kernels.MachineCode;

/// <summary>Every instruction, with random operands, against the bytes of GNU as (Debian's binutils).</summary>
public sealed class AssemblerTests
{
    const int Slot = 32; // bytes for each instruction; none is longer than 15

    sealed record Emitted(string Text, byte[] Bytes);

    static readonly Random Random = new(1);

    static readonly string[] Gprs =
    [
        "rax",
        "rcx",
        "rdx",
        "rbx",
        "rsp",
        "rbp",
        "rsi",
        "rdi",
        "r8",
        "r9",
        "r10",
        "r11",
        "r12",
        "r13",
        "r14",
        "r15",
    ];

    static Emitted Emit(string text, Action<Assembler> write)
    {
        Assembler assembler = new();
        write(assembler);
        return new Emitted(text, assembler.ToArray());
    }

    static Gpr AnyGpr() => (Gpr)Random.Next(16);

    static Gpr AnyIndex() => Random.Next(15) is var n && n >= (int)Gpr.Rsp ? (Gpr)(n + 1) : (Gpr)n;

    static Mem AnyAddress()
    {
        int[] displacements = [0, 1, 4, 64, -64, 127, 128, -128, -129, 512, 4096, 8128, -8192, 32, 16, 100_000];
        int displacement = displacements[Random.Next(displacements.Length)];
        return Random.Next(2) == 0
            ? new Mem(AnyGpr(), displacement)
            : new Mem(AnyGpr(), displacement, AnyIndex(), 1 << Random.Next(4));
    }

    static Vec AnyVector(int bits) => new((byte)Random.Next(32), bits);

    static string Name(Gpr register) => Gprs[(int)register];

    static string Name(Vec vector) => $"{vector.Bits switch { 128 => "xmm", 256 => "ymm", _ => "zmm" }}{vector.Index}";

    static string Name(Mem memory)
    {
        string index = memory.Index is { } i ? $"+{Name(i)}*{memory.Scale}" : "";
        string displacement = memory.Displacement.ToString("+0;-0;+0", CultureInfo.InvariantCulture);
        return $"[{Name(memory.Base)}{index}{displacement}]";
    }

    static string Name(Operand operand, int bits, int element = 4) =>
        !operand.IsMemory ? Name(operand.Register)
        : operand.Memory.Broadcast ? $"{Name(operand.Memory)}{{1to{bits / 8 / element}}}"
        : Name(operand.Memory);

    delegate void Three(Assembler assembler, Vec to, Vec a, Operand b);

    delegate void Two(Assembler assembler, Vec to, Operand from);

    static IEnumerable<Emitted> Threes(string name, Three write, bool broadcasts)
    {
        for (int i = 0; i < 12; i++)
        {
            int bits = 128 << (i % 3);
            (Vec to, Vec a) = (AnyVector(bits), AnyVector(bits));
            Operand b =
                i < 6 ? AnyVector(bits)
                : i < 9 || !broadcasts ? AnyAddress()
                : AnyAddress().Repeated;
            yield return Emit(
                $"{{evex}} {name} {Name(to)}, {Name(a)}, {Name(b, bits)}",
                assembler => write(assembler, to, a, b)
            );
        }
    }

    static IEnumerable<Emitted> Twos(string name, Two write, int narrower = 1, bool registers = true)
    {
        for (int i = 0; i < 12; i++)
        {
            int bits = 128 << (i % 3);
            Vec to = AnyVector(bits);
            Operand from = registers && i < 6 ? AnyVector(Math.Max(128, bits / narrower)) : AnyAddress();
            yield return Emit($"{{evex}} {name} {Name(to)}, {Name(from, bits)}", a => write(a, to, from));
        }
    }

    static IEnumerable<Emitted> Shifts(string name, Action<Assembler, Vec, Operand, byte> write)
    {
        for (int i = 0; i < 12; i++)
        {
            int bits = 128 << (i % 3);
            Vec to = AnyVector(bits);
            Operand from = i < 8 ? AnyVector(bits) : AnyAddress();
            byte count = (byte)Random.Next(1, 16);
            // Without a width the size of memory would be a guess.
            string width = bits switch
            {
                128 => "xmmword",
                256 => "ymmword",
                _ => "zmmword",
            };
            string source = from.IsMemory ? $"{width} ptr {Name(from, bits)}" : Name(from, bits);
            yield return Emit($"{{evex}} {name} {Name(to)}, {source}, {count}", a => write(a, to, from, count));
        }
    }

    static IEnumerable<Emitted> Stores(string name, Action<Assembler, Mem, Vec> write)
    {
        for (int i = 0; i < 9; i++)
        {
            Vec from = AnyVector(128 << (i % 3));
            Mem to = AnyAddress();
            yield return Emit($"{{evex}} {name} {Name(to)}, {Name(from)}", a => write(a, to, from));
        }
    }

    static readonly int[] Numbers = [0, 1, -1, 127, -128, 128, 4096, -100_000];

    static IEnumerable<Emitted> General()
    {
        for (int i = 0; i < 24; i++)
        {
            (Gpr a, Gpr b) = (AnyGpr(), AnyGpr());
            Mem memory = AnyAddress();
            int number = Numbers[i % Numbers.Length];
            byte count = (byte)Random.Next(2, 8);
            yield return Emit($"{{load}} mov {Name(a)}, {Name(b)}", x => x.Mov(a, b));
            yield return Emit($"mov {Name(a)}, {Name(memory)}", x => x.Mov(a, memory));
            yield return Emit($"mov {Name(memory)}, {Name(a)}", x => x.Mov(memory, a));
            yield return Emit($"mov {Name(a)}, {number}", x => x.Mov(a, number));
            yield return Emit($"lea {Name(a)}, {Name(memory)}", x => x.Lea(a, memory));
            yield return Emit($"{{load}} add {Name(a)}, {Name(b)}", x => x.Add(a, b));
            yield return Emit($"add {Name(a)}, {Name(memory)}", x => x.Add(a, memory));
            yield return Emit($"add {Name(a)}, {number}", x => x.Add(a, number));
            yield return Emit($"{{load}} sub {Name(a)}, {Name(b)}", x => x.Sub(a, b));
            yield return Emit($"sub {Name(a)}, {number}", x => x.Sub(a, number));
            yield return Emit($"{{load}} cmp {Name(a)}, {Name(b)}", x => x.Cmp(a, b));
            yield return Emit($"cmp {Name(a)}, {number}", x => x.Cmp(a, number));
            yield return Emit($"test {Name(a)}, {Name(b)}", x => x.Test(a, b));
            yield return Emit($"{{load}} xor {Name(a)}, {Name(a)}", x => x.Zero(a));
            yield return Emit($"shl {Name(a)}, {count}", x => x.Shl(a, count));
            yield return Emit($"imul {Name(a)}, {Name(b)}", x => x.Imul(a, b));
            yield return Emit($"push {Name(a)}", x => x.Push(a));
            yield return Emit($"pop {Name(a)}", x => x.Pop(a));
            yield return Emit($"prefetcht0 {Name(memory)}", x => x.PrefetchT0(memory));
        }

        yield return Emit("ret", x => x.Ret());
        yield return Emit("vzeroupper", x => x.Vzeroupper());
    }

    static List<Emitted> All() =>
        [
            .. General(),
            .. Enumerable
                .Range(0, 32)
                .Select(i =>
                    Emit(
                        $"vpbroadcastd zmm{i}, {((string[])["eax", "ecx", "edx", "ebx", "esp", "ebp", "esi", "edi"]).Concat(Enumerable.Range(8, 8).Select(n => $"r{n}d")).ElementAt(i % 16)}",
                        x => x.Vpbroadcastd(Vec.Zmm(i), (Gpr)(i % 16))
                    )
                ),
            .. Twos("vmovups", (x, to, from) => x.Vmovups(to, from)),
            .. Twos("vmovdqu32", (x, to, from) => x.Vmovdqu32(to, from)),
            .. Stores("vmovups", (x, to, from) => x.Vmovups(to, from)),
            .. Stores("vmovdqu32", (x, to, from) => x.Vmovdqu32(to, from)),
            .. Twos("vbroadcastss", (x, to, from) => x.Vbroadcastss(to, from.Memory), registers: false),
            .. Twos("vpbroadcastd", (x, to, from) => x.Vpbroadcastd(to, from.Memory), registers: false),
            .. Twos("vpbroadcastw", (x, to, from) => x.Vpbroadcastw(to, from.Memory), registers: false),
            .. Twos("vbroadcasti32x4", (x, to, from) => x.Vbroadcasti32x4(to, from.Memory), registers: false)
                .Where(e => !e.Text.Contains("xmm")), // there is no such instruction of 128 bits
            .. Threes("vfmadd231ps", (x, to, a, b) => x.Vfmadd231ps(to, a, b), true),
            .. Threes("vfnmadd231ps", (x, to, a, b) => x.Vfnmadd231ps(to, a, b), true),
            .. Threes("vfmadd213ps", (x, to, a, b) => x.Vfmadd213ps(to, a, b), true),
            .. Threes("vsubps", (x, to, a, b) => x.Vsubps(to, a, b), true),
            .. Threes("vscalefps", (x, to, a, b) => x.Vscalefps(to, a, b), true),
            .. Shifts("vreduceps", (x, to, from, n) => x.Vreduceps(to, from, n)),
            .. Threes("vaddps", (x, to, a, b) => x.Vaddps(to, a, b), true),
            .. Threes("vmulps", (x, to, a, b) => x.Vmulps(to, a, b), true),
            .. Threes("vmaxps", (x, to, a, b) => x.Vmaxps(to, a, b), true),
            .. Twos("vcvtdq2ps", (x, to, from) => x.Vcvtdq2ps(to, from)),
            .. Twos("vcvtph2ps", (x, to, from) => x.Vcvtph2ps(to, from), 2),
            .. Threes("vdpbf16ps", (x, to, a, b) => x.Vdpbf16ps(to, a, b), true),
            .. Threes("vcvtne2ps2bf16", (x, to, a, b) => x.Vcvtne2ps2bf16(to, a, b), true),
            Emit("vcvtneps2bf16 ymm19, zmm30", x => x.Vcvtneps2bf16(Vec.Ymm(19), Vec.Zmm(30))),
            Emit("vcvtneps2bf16 xmm9, ymm3", x => x.Vcvtneps2bf16(Vec.Xmm(9), Vec.Ymm(3))),
            .. Threes("vpdpbusd", (x, to, a, b) => x.Vpdpbusd(to, a, b), true),
            .. Threes("vpdpwssd", (x, to, a, b) => x.Vpdpwssd(to, a, b), true),
            .. Threes("vpmaddubsw", (x, to, a, b) => x.Vpmaddubsw(to, a, b), false),
            .. Threes("vpmaddwd", (x, to, a, b) => x.Vpmaddwd(to, a, b), false),
            .. Threes("vpaddd", (x, to, a, b) => x.Vpaddd(to, a, b), true),
            .. Threes("vpsubd", (x, to, a, b) => x.Vpsubd(to, a, b), true),
            .. Threes("vpmulld", (x, to, a, b) => x.Vpmulld(to, a, b), true),
            .. Threes("vpsubb", (x, to, a, b) => x.Vpsubb(to, a, b), false),
            .. Threes("vpandd", (x, to, a, b) => x.Vpandd(to, a, b), true),
            .. Threes("vpord", (x, to, a, b) => x.Vpord(to, a, b), true),
            .. Threes("vpxord", (x, to, a, b) => x.Vpxord(to, a, b), true),
            .. Threes("vpshufb", (x, to, a, b) => x.Vpshufb(to, a, b), false),
            .. Threes("vpternlogd", (x, to, a, b) => x.Vpternlogd(to, a, b, Assembler.FirstOrBoth), true)
                .Select(e => e with { Text = $"{e.Text}, {Assembler.FirstOrBoth}" }),
            .. Shifts("vpslld", (x, to, from, n) => x.Vpslld(to, from, n)),
            .. Shifts("vpsrld", (x, to, from, n) => x.Vpsrld(to, from, n)),
            .. Shifts("vpsrad", (x, to, from, n) => x.Vpsrad(to, from, n)),
            .. Shifts("vpsrlw", (x, to, from, n) => x.Vpsrlw(to, from, n)),
            .. Twos("vpmovsxbw", (x, to, from) => x.Vpmovsxbw(to, from), 2),
            .. Twos("vpmovsxbd", (x, to, from) => x.Vpmovsxbd(to, from), 4),
            .. Twos("vpmovzxbd", (x, to, from) => x.Vpmovzxbd(to, from), 4),
            .. Twos("vpmovzxwd", (x, to, from) => x.Vpmovzxwd(to, from), 2),
        ];

    [Fact]
    public void Every_instruction_has_the_bytes_of_an_independent_assembler()
    {
        Assert.SkipUnless(OperatingSystem.IsLinux(), "needs GNU as");
        List<Emitted> all = All();
        StringBuilder source = new(".intel_syntax noprefix\n");
        for (int i = 0; i < all.Count; i++)
        {
            source.Append(CultureInfo.InvariantCulture, $".org {i * Slot}\n{all[i].Text}\n");
        }

        source.Append(CultureInfo.InvariantCulture, $".org {all.Count * Slot}\n");
        byte[] expected = Assemble(source.ToString());
        List<string> wrong = [];
        for (int i = 0; i < all.Count; i++)
        {
            byte[] slot = expected[(i * Slot)..((i + 1) * Slot)];
            byte[] ours = [.. all[i].Bytes, .. new byte[Slot - all[i].Bytes.Length]];
            if (!slot.AsSpan().SequenceEqual(ours))
            {
                wrong.Add(
                    $"{all[i].Text}: {Convert.ToHexString(all[i].Bytes)}, expected {Convert.ToHexString(slot).TrimEnd('0')}"
                );
            }
        }

        Assert.True(wrong.Count == 0, string.Join('\n', wrong.Take(40)));
        Assert.True(all.Count > 600);
    }

    [Fact]
    public void Jumps_reach_labels_before_and_behind_them()
    {
        Assert.SkipUnless(OperatingSystem.IsLinux(), "needs GNU as");
        Assembler assembler = new();
        Assembler.Label end = new();
        Assembler.Label start = assembler.Here();
        assembler.Sub(Gpr.Rax, 1);
        assembler.Jz(end);
        assembler.Cmp(Gpr.Rax, Gpr.Rcx);
        assembler.Jl(start);
        assembler.Jge(end);
        assembler.Jb(end);
        assembler.Jnz(start);
        assembler.Jmp(start);
        assembler.Bind(end);
        assembler.Ret();

        // .d32 asks for the long form, which labels always get here.
        byte[] expected = Assemble(
            """
            .intel_syntax noprefix
            start: sub rax, 1
            {disp32} jz end
            {load} cmp rax, rcx
            {disp32} jl start
            {disp32} jge end
            {disp32} jb end
            {disp32} jnz start
            {disp32} jmp start
            end: ret
            """ + "\n"
        );
        Assert.Equal(Convert.ToHexString(expected), Convert.ToHexString(assembler.ToArray()));
    }

    [Fact]
    public void A_label_that_stands_nowhere_is_an_error()
    {
        Assembler assembler = new();
        assembler.Jmp(new Assembler.Label());
        Assert.Throws<InvalidOperationException>(() => assembler.ToArray());
    }

    [Fact]
    public void What_has_no_encoding_is_refused()
    {
        Assembler assembler = new();
        Assert.Throws<ArgumentException>(() => assembler.Vpmaddwd(Vec.Zmm(0), Vec.Zmm(1), new Mem(Gpr.Rax).Repeated));
        Assert.Throws<ArgumentException>(() => assembler.Mov(Gpr.Rax, new Mem(Gpr.Rax, 0, Gpr.Rsp)));
        Assert.Throws<ArgumentException>(() => assembler.Mov(Gpr.Rax, new Mem(Gpr.Rax, 0, Gpr.Rcx, 3)));
    }

    static byte[] Assemble(string source)
    {
        using TemporaryDirectory directory = new();
        string text = Path.Combine(directory.Path, "a.s");
        File.WriteAllText(text, source);
        Run("as", "--64", "-o", Path.Combine(directory.Path, "a.o"), text);
        string binary = Path.Combine(directory.Path, "a.bin");
        Run("objcopy", "-O", "binary", "-j", ".text", Path.Combine(directory.Path, "a.o"), binary);
        return File.ReadAllBytes(binary);
    }

    static void Run(string program, params string[] arguments)
    {
        using Process process = Process.Start(
            new ProcessStartInfo(program, arguments) { RedirectStandardError = true, UseShellExecute = false }
        )!;
        string errors = process.StandardError.ReadToEnd();
        process.WaitForExit();
        Assert.True(process.ExitCode == 0, $"{program}: {errors}");
    }
}
