using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using VlmSharp.Kernels.MachineCode;

namespace VlmSharp.Kernels.Quantized;

/// <summary>The lower four bits of a square's codes: [4 quads][32 rows][4], columns 0 to 15 below columns 16 to 31.</summary>
internal static unsafe class Nibbles
{
    public const int Bytes = Square.ScalesAt / 2;

    /// <summary>Puts the pairs of a row in their places.</summary>
    public static void Pack(Vector128<byte> pairs, byte* to, int row)
    {
        for (int quad = 0; quad < Square.Quads / 2; quad++)
        {
            ((uint*)(to + (quad * Square.QuadBytes)))[row] = pairs.AsUInt32()[quad];
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Expand(byte* pairs, byte* codes)
    {
        Vector256<byte> mask = Vector256.Create((byte)15);
        for (int i = 0; i < Bytes; i += Vector256<byte>.Count)
        {
            Vector256<byte> two = Vector256.Load(pairs + i);
            (two & mask).Store(codes + i);
            ((two.AsUInt16() >> 4).AsByte() & mask).Store(codes + Bytes + i);
        }
    }

    public static void WriteConstants(DotWriter code)
    {
        code.Constant("nibble", 0x0F0F_0F0F);
        if (code.HighInPlace)
        {
            code.Constant("high nibble", unchecked((int)0xF0F0_F0F0));
        }
    }

    /// <summary>Generates the codes of a square, four columns after the other.</summary>
    /// <param name="code">Where to.</param>
    /// <param name="offset">Place of the nibbles in the block.</param>
    /// <param name="complete">Writes what else makes up the codes of a quad and a half of the rows, in that register.</param>
    public static void Write(DotWriter code, int offset, Action<int, int, Vec> complete)
    {
        const int quads = Square.Quads / 2;
        Vec mask = code.Vectors["nibble"];
        for (int quad = 0; quad < quads; quad++)
        {
            for (int half = 0; half < 2; half++)
            {
                (Vec low, Vec high) = (code.Low(half), code.High(half));
                code.Code.Vmovdqu32(low, DotWriter.At(offset + (quad * Square.QuadBytes) + (half * 64)));
                if (code.HighInPlace)
                {
                    code.Code.Vpandd(high, low, code.Vectors["high nibble"]);
                }
                else
                {
                    code.Code.Vpsrlw(high, low, 4);
                    code.Code.Vpandd(high, high, mask);
                }

                code.Code.Vpandd(low, low, mask);
                complete(quad, half, low);
                complete(quad + quads, half, high);
            }

            code.Dot(quad, code.Low(0), code.Low(1));
            code.Dot(quad + quads, code.High(0), code.High(1));
        }
    }
}

/// <summary>The fifth bits of a square's codes: [32 rows][4], bit q of byte i is that of column 4 q + i.</summary>
internal static unsafe class FifthBits
{
    public const int Bytes = Square.QuadBytes;

    /// <summary>Puts the bits of a row in their places.</summary>
    /// <param name="bits">Bit c is that of column c.</param>
    /// <param name="to">The square's bits.</param>
    /// <param name="row">Which.</param>
    public static void Pack(uint bits, byte* to, int row)
    {
        for (int i = 0; i < 4; i++)
        {
            to[(row * 4) + i] = (byte)EveryFourth(bits >> i);
        }
    }

    // Bits 0, 4, 8, ... to bits 0, 1, 2, ...
    static uint EveryFourth(uint bits)
    {
        if (Bmi2.IsSupported)
        {
            return Bmi2.ParallelBitExtract(bits, 0x1111_1111);
        }

        uint gathered = 0;
        for (int quad = 0; quad < Square.Quads; quad++)
        {
            gathered |= ((bits >> (4 * quad)) & 1) << quad;
        }

        return gathered;
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Expand(byte* bits, byte* codes)
    {
        for (int i = 0; i < Bytes; i += Vector256<byte>.Count)
        {
            // Bits that cross into a neighbour are masked off.
            byte* to = codes + i;
            Vector256<ushort> all = Vector256.Load(bits + i).AsUInt16();
            Add(all << 4, to);
            Add(all << 3, to + Square.QuadBytes);
            Add(all << 2, to + (2 * Square.QuadBytes));
            Add(all << 1, to + (3 * Square.QuadBytes));
            Add(all, to + (4 * Square.QuadBytes));
            Add(all >> 1, to + (5 * Square.QuadBytes));
            Add(all >> 2, to + (6 * Square.QuadBytes));
            Add(all >> 3, to + (7 * Square.QuadBytes));
        }

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        static void Add(Vector256<ushort> bits, byte* to) =>
            (Vector256.Load(to) | (bits.AsByte() & Vector256.Create((byte)16))).Store(to);
    }

    public static void WriteConstants(DotWriter code) => code.Constant("fifth", 0x1010_1010);

    /// <summary>Generates the loading of a square's bits, from this place of the block.</summary>
    public static void WriteLoad(DotWriter code, int offset)
    {
        for (int half = 0; half < 2; half++)
        {
            code.Code.Vmovdqu32(code.Vectors["bits", half], DotWriter.At(offset + (half * 64)));
        }
    }

    /// <summary>Generates their addition to the codes of a quad and half.</summary>
    public static void Write(DotWriter code, int quad, int half, Vec codes)
    {
        Vec bits = code.Vectors["bits", half];
        Vec moved = code.Shifted(bits, 4 - quad);
        code.Code.Vpternlogd(codes, moved, code.Vectors["fifth"], Assembler.FirstOrBoth);
    }
}

/// <summary>
/// The codes of six bits of a square: [2][3][32 rows][4], columns 16 h + 4 q + i in the lower bits of vector q of three, and those of the fourth
/// quad in the upper bits of all, bits 5 and 4 above the first quad's.
/// </summary>
internal static unsafe class SixBits
{
    public const int Bytes = 6 * Square.QuadBytes;

    const int Quads = Square.Quads / 2;
    const int First = unchecked((int)0xC0C0_C0C0);
    const int FirstTwo = unchecked((int)0xF0F0_F0F0);

    /// <summary>Puts the codes of a row in their places.</summary>
    /// <param name="codes">[32]</param>
    /// <param name="to">The square's.</param>
    /// <param name="row">Which.</param>
    public static void Pack(uint* codes, byte* to, int row)
    {
        for (int half = 0; half < 2; half++, codes += Quads)
        {
            uint last = codes[3];
            for (int quad = 0; quad < Quads - 1; quad++, to += Square.QuadBytes)
            {
                uint two = (last >> (4 - (2 * quad))) & 0x0303_0303;
                ((uint*)to)[row] = codes[quad] | (two << 6);
            }
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Expand(byte* bits, byte* codes)
    {
        const int quad = Square.QuadBytes;
        Vector256<byte> six = Vector256.Create((byte)0x3F);
        Vector256<byte> upper = Vector256.Create((byte)0xC0);
        for (int half = 0; half < 2; half++, bits += (Quads - 1) * quad, codes += Quads * quad)
        {
            for (int i = 0; i < quad; i += Vector256<byte>.Count)
            {
                Vector256<byte> a = Vector256.Load(bits + i);
                Vector256<byte> b = Vector256.Load(bits + quad + i);
                Vector256<byte> c = Vector256.Load(bits + (2 * quad) + i);
                (a & six).Store(codes + i);
                (b & six).Store(codes + quad + i);
                (c & six).Store(codes + (2 * quad) + i);
                Vector256<ushort> last =
                    ((a & upper).AsUInt16() >> 2) | ((b & upper).AsUInt16() >> 4) | ((c & upper).AsUInt16() >> 6);
                last.AsByte().Store(codes + (3 * quad) + i);
            }
        }
    }

    public static void WriteConstants(DotWriter code)
    {
        code.Constant("six", 0x3F3F_3F3F);
        code.Constant("first", First);
        code.Constant("first two", FirstTwo);
    }

    /// <summary>Generates the codes of a square at the start of the section: 16 rows of four quads after the other.</summary>
    public static void Write(DotWriter code)
    {
        Assembler to = code.Code;
        (Vec a, Vec b, Vec c, Vec last) = (code.Low(0), code.Low(1), code.High(0), code.High(1));
        (Vec six, Vec moved) = (code.Vectors["six"], code.Vectors["x"]);
        for (int half = 0; half < 2; half++)
        {
            for (int rows = 0; rows < 2; rows++)
            {
                Mem at = DotWriter.At((half * (Quads - 1) * Square.QuadBytes) + (rows * 64));
                to.Vmovdqu32(a, at);
                to.Vmovdqu32(b, at + Square.QuadBytes);
                to.Vmovdqu32(c, at + (2 * Square.QuadBytes));
                to.Vpsrlw(last, b, 2);
                to.Vpsrlw(moved, c, 4);
                to.Vpternlogd(last, code.Vectors["first"], a, Assembler.LastWhereSecond);
                to.Vpternlogd(last, code.Vectors["first two"], moved, Assembler.FirstWhereSecond);
                to.Vpsrlw(last, last, 2);
                to.Vpandd(a, a, six);
                to.Vpandd(b, b, six);
                to.Vpandd(c, c, six);
                to.Vpandd(last, last, six);
                code.DotHalf(Quads * half, rows, a);
                code.DotHalf((Quads * half) + 1, rows, b);
                code.DotHalf((Quads * half) + 2, rows, c);
                code.DotHalf((Quads * half) + 3, rows, last);
            }
        }
    }
}
