using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using VlmSharp.Kernels.MachineCode;

namespace VlmSharp.Kernels.Quantized;

/// <summary>
/// 256 codes of four or five bits, scales and least values of six: f16[32] and f16[32], the scales of these; then for each square
/// <see cref="FifthBits"/> and <see cref="Nibbles"/>, [32 rows] lower four bits of scale and least value, the scale's below, and [16] of their
/// upper two, those of row r below those of row r + 16, each a scale's below a least value's.
/// </summary>
/// <param name="five">Whether codes have a fifth bit.</param>
internal sealed unsafe class SuperPanelBlocks(bool five) : PanelBlocks
{
    const int PanelRows = PackedMatrix.PanelRows;
    const int LeastAt = PanelRows * sizeof(ushort);
    const int SquaresAt = 2 * LeastAt;

    // Of a square
    readonly int nibblesAt = five ? FifthBits.Bytes : 0;
    readonly int lowAt = Nibbles.Bytes + (five ? FifthBits.Bytes : 0);

    int HighAt => lowAt + PanelRows;

    public override WeightFormat Format => five ? WeightFormat.Q5_K : WeightFormat.Q4_K;

    public override GgmlType? FileType => five ? GgmlType.Q5_K : GgmlType.Q4_K;

    public override int Columns => 256;

    public override int HeadBytes => SquaresAt;

    public override CodeKind Codes => five ? CodeKind.FiveBits : CodeKind.Nibbles;

    public override Scaling Scaling => Scaling.Least;

    public override int MostCode => five ? 31 : 15;

    public override void Pack(byte* file, byte* block, int row)
    {
        ((ushort*)block)[row] = Unsafe.ReadUnaligned<ushort>(file);
        ((ushort*)(block + LeastAt))[row] = Unsafe.ReadUnaligned<ushort>(file + 2);
        ReadOnlySpan<byte> header = new(file, 16);
        Vector128<byte> mask = Vector128.Create((byte)15);
        byte* to = block + SquaresAt;
        for (int square = 0; square < 8; square++, to += SquareBytes)
        {
            (int scale, int least) = SuperBlocks.Six(header, square);
            to[lowAt + row] = (byte)((scale & 15) | (least << 4));
            ref byte upper = ref to[HighAt + (row % 16)];
            int shift = row / 16 * 4;
            upper = (byte)((upper & ~(15 << shift)) | (((scale >> 4) | (least >> 4 << 2)) << shift));

            byte* bytes = file + (five ? 48 : 16) + (square / 2 * 32);
            Vector128<byte> low = Vector128.Load(bytes);
            Vector128<byte> high = Vector128.Load(bytes + 16);
            Nibbles.Pack(
                square % 2 == 0
                    ? (low & mask) | (high.AsUInt16() << 4).AsByte() & ~mask
                    : (low.AsUInt16() >> 4).AsByte() & mask | high & ~mask,
                to + nibblesAt,
                row
            );
            if (five)
            {
                uint bits = 0;
                for (int half = 0; half < 2; half++)
                {
                    Vector128<ushort> moved = Vector128.Load(file + 16 + (half * 16)).AsUInt16() << (7 - square);
                    bits |= moved.AsByte().ExtractMostSignificantBits() << (16 * half);
                }

                FifthBits.Pack(bits, to, row);
            }
        }
    }

    public override void ExpandCodes(byte* square, byte* codes)
    {
        Nibbles.Expand(square + nibblesAt, codes);
        if (five)
        {
            FifthBits.Expand(square, codes);
        }
    }

    public override void ExpandHead(byte* block, float* head)
    {
        Square.Widen(block, head);
        Square.Widen(block + LeastAt, head + PanelRows);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public override void ExpandScales(float* head, byte* square, float* scales)
    {
        // Bits that cross into a neighbour are masked off.
        Vector256<byte> low = Vector256.Create((byte)15);
        Vector256<byte> upper = Vector256.Create((byte)0x30);
        Vector256<byte> both = Vector256.Load(square + lowAt);
        Vector128<ushort> bits = Vector128.Load(square + HighAt).AsUInt16();
        Vector256<byte> highOfScales = Vector256.Create((bits << 4).AsByte(), bits.AsByte());
        Vector256<byte> highOfLeasts = Vector256.Create((bits << 2).AsByte(), (bits >> 2).AsByte());
        Scale((both & low) | (highOfScales & upper), head, scales);
        Scale(((both.AsUInt16() >> 4).AsByte() & low) | (highOfLeasts & upper), head + PanelRows, scales + PanelRows);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static void Scale(Vector256<byte> numbers, float* scale, float* to)
    {
        Four(Vector256.WidenLower(numbers), scale, to);
        Four(Vector256.WidenUpper(numbers), scale + 16, to + 16);

        static void Four(Vector256<ushort> numbers, float* scale, float* to)
        {
            Vector256<int> first = Vector256.WidenLower(numbers).AsInt32();
            Vector256<int> last = Vector256.WidenUpper(numbers).AsInt32();
            (Vector256.ConvertToSingle(first) * Vector256.Load(scale)).Store(to);
            (Vector256.ConvertToSingle(last) * Vector256.Load(scale + 8)).Store(to + 8);
        }
    }

    public override void WriteConstants(DotWriter code)
    {
        Nibbles.WriteConstants(code);
        code.Constant("upper", 0x3030_3030);
        if (five)
        {
            FifthBits.WriteConstants(code);
        }
    }

    public override void WriteCodes(DotWriter code)
    {
        if (five)
        {
            FifthBits.WriteLoad(code, 0);
        }

        Nibbles.Write(
            code,
            nibblesAt,
            (quad, half, codes) =>
            {
                if (five)
                {
                    FifthBits.Write(code, quad, half, codes);
                }
            }
        );
    }

    public override void WriteHead(DotWriter code)
    {
        for (int half = 0; half < 2; half++)
        {
            code.Code.Vcvtph2ps(code.Vectors["scales", half], DotWriter.Head(half * 32));
            code.Code.Vcvtph2ps(code.Vectors["leasts", half], DotWriter.Head(LeastAt + (half * 32)));
        }
    }

    public override void WriteScales(DotWriter code)
    {
        Assembler to = code.Code;
        (Vec low, Vec high) = (code.Vectors["x"], code.Vectors["scaled"]);
        Vec upper = code.Vectors["upper"];
        to.Vpmovzxbd(high, DotWriter.At(HighAt));
        for (int half = 0; half < 2; half++)
        {
            (Vec scale, Vec least) = (code.Scale(half), code.Second(half));
            to.Vpmovzxbd(low, DotWriter.At(lowAt + (half * 16)));
            to.Vpandd(scale, low, code.Vectors["nibble"]);
            to.Vpsrld(least, low, 4);
            to.Vpternlogd(scale, code.Shifted(high, half == 0 ? 4 : 0), upper, Assembler.FirstOrBoth);
            to.Vpternlogd(least, code.Shifted(high, half == 0 ? 2 : -2), upper, Assembler.FirstOrBoth);
            to.Vcvtdq2ps(scale, scale);
            to.Vcvtdq2ps(least, least);
            to.Vmulps(scale, scale, code.Vectors["scales", half]);
            to.Vmulps(least, least, code.Vectors["leasts", half]);
        }
    }
}

/// <summary>
/// 256 codes of six bits with 16 signed scales: f16[32], the scale of these; then for each square <see cref="SixBits"/> and
/// [2][32 rows] scales.
/// </summary>
internal sealed unsafe class SixBitPanelBlocks : PanelBlocks
{
    const int PanelRows = PackedMatrix.PanelRows;
    const int SquaresAt = PanelRows * sizeof(ushort);
    const int ScalesAt = SixBits.Bytes; // of a square

    public override WeightFormat Format => WeightFormat.Q6_K;

    public override GgmlType? FileType => GgmlType.Q6_K;

    public override int Columns => 256;

    public override int HeadBytes => SquaresAt;

    public override Scaling Scaling => Scaling.OffsetOfHalves;

    public override CodeKind Codes => CodeKind.SixBits;

    public override int Offset => 32;

    public override int MostCode => 63;

    [SkipLocalsInit]
    public override void Pack(byte* file, byte* block, int row)
    {
        ((ushort*)block)[row] = Unsafe.ReadUnaligned<ushort>(file + 208);
        for (int i = 0; i < 16; i++)
        {
            block[SquaresAt + (i / 2 * SquareBytes) + ScalesAt + (i % 2 * PanelRows) + row] = file[192 + i];
        }

        byte* codes = stackalloc byte[Square.Columns];
        Vector128<byte> mask = Vector128.Create((byte)15);
        Vector128<byte> two = Vector128.Create((byte)3);
        byte* to = block + SquaresAt;
        for (int square = 0; square < 8; square++, to += SquareBytes)
        {
            // 128 values share 64 bytes of lower and 32 of upper bits.
            byte* bytes = file + (square / 4 * 64) + (square % 2 * 32);
            for (int half = 0; half < 2; half++)
            {
                Vector128<byte> low = Vector128.Load(bytes + (half * 16));
                low = (square / 2 % 2 == 0 ? low : (low.AsUInt16() >> 4).AsByte()) & mask;
                Vector128<ushort> bits = Vector128.Load(file + 128 + (square / 4 * 32) + (half * 16)).AsUInt16();
                Vector128<byte> high = (bits >> (square % 4 * 2)).AsByte() & two;
                (low | (high.AsUInt16() << 4).AsByte()).Store(codes + (half * 16));
            }

            SixBits.Pack((uint*)codes, to, row);
        }
    }

    public override void ExpandCodes(byte* square, byte* codes) => SixBits.Expand(square, codes);

    public override void ExpandHead(byte* block, float* head) => Square.Widen(block, head);

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public override void ExpandScales(float* head, byte* square, float* scales)
    {
        for (int half = 0; half < 2; half++, scales += PanelRows)
        {
            sbyte* numbers = (sbyte*)square + ScalesAt + (half * PanelRows);
            for (int row = 0; row < PanelRows; row += 8)
            {
                Vector128<short> eight = Vector128.WidenLower(
                    Vector128.CreateScalarUnsafe(Unsafe.ReadUnaligned<long>(numbers + row)).AsSByte()
                );
                Vector256<int> wide = Vector256.Create(Vector128.WidenLower(eight), Vector128.WidenUpper(eight));
                (Vector256.ConvertToSingle(wide) * Vector256.Load(head + row)).Store(scales + row);
            }
        }
    }

    public override void WriteConstants(DotWriter code) => SixBits.WriteConstants(code);

    public override void WriteCodes(DotWriter code) => SixBits.Write(code);

    public override void WriteScales(DotWriter code)
    {
        Assembler to = code.Code;
        Vec d = code.Vectors["x"];
        for (int half = 0; half < 2; half++)
        {
            int at = ScalesAt + (half * 16);
            to.Vcvtph2ps(d, DotWriter.Head(half * 32));
            to.Vpmovsxbd(code.Scale(half), DotWriter.At(at));
            to.Vpmovsxbd(code.Second(half), DotWriter.At(at + PanelRows));
            to.Vcvtdq2ps(code.Scale(half), code.Scale(half));
            to.Vcvtdq2ps(code.Second(half), code.Second(half));
            to.Vmulps(code.Scale(half), code.Scale(half), d);
            to.Vmulps(code.Second(half), code.Second(half), d);
        }
    }
}
