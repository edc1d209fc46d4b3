using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using VlmSharp.Kernels.MachineCode;

namespace VlmSharp.Kernels.Quantized;

/// <summary>
/// 256 codes of four or five bits, scales and least values of six: f16[32] and f16[32], the scales of these; [8 squares][32 rows] of their
/// lower four bits, a scale's below a least value's; [4][32] of their upper two, those of squares 2 p and 2 p + 1 from below, each a
/// scale's below a least value's; then for each square <see cref="Nibbles"/> and <see cref="FifthBits"/>.
/// </summary>
/// <param name="five">Whether codes have a fifth bit.</param>
internal sealed unsafe class SuperPanelBlocks(bool five) : PanelBlocks
{
    const int PanelRows = PackedMatrix.PanelRows;
    const int LeastAt = PanelRows * sizeof(ushort);
    const int LowAt = 2 * LeastAt;
    const int HighAt = LowAt + (8 * PanelRows);
    const int SquaresAt = HighAt + (4 * PanelRows);

    readonly int squareBytes = Nibbles.Bytes + (five ? FifthBits.Bytes : 0);

    public override WeightFormat Format => five ? WeightFormat.Q5_K : WeightFormat.Q4_K;

    public override GgmlType? FileType => five ? GgmlType.Q5_K : GgmlType.Q4_K;

    public override int Columns => 256;

    public override Scaling Scaling => Scaling.Least;

    public override int MostCode => five ? 31 : 15;

    public override void Pack(byte* file, byte* block, int row)
    {
        ((ushort*)block)[row] = Unsafe.ReadUnaligned<ushort>(file);
        ((ushort*)(block + LeastAt))[row] = Unsafe.ReadUnaligned<ushort>(file + 2);
        ReadOnlySpan<byte> header = new(file, 16);
        for (int pair = 0; pair < 4; pair++)
        {
            (int scale0, int least0) = SuperBlocks.Six(header, 2 * pair);
            (int scale1, int least1) = SuperBlocks.Six(header, (2 * pair) + 1);
            block[LowAt + (2 * pair * PanelRows) + row] = (byte)((scale0 & 15) | (least0 << 4));
            block[LowAt + (((2 * pair) + 1) * PanelRows) + row] = (byte)((scale1 & 15) | (least1 << 4));
            block[HighAt + (pair * PanelRows) + row] = (byte)(
                (scale0 >> 4) | (least0 >> 4 << 2) | (scale1 >> 4 << 4) | (least1 >> 4 << 6)
            );
        }

        byte* to = block + SquaresAt;
        Vector128<byte> mask = Vector128.Create((byte)15);
        for (int square = 0; square < 8; square++, to += squareBytes)
        {
            byte* bytes = file + (five ? 48 : 16) + (square / 2 * 32);
            Vector128<byte> low = Vector128.Load(bytes);
            Vector128<byte> high = Vector128.Load(bytes + 16);
            Nibbles.Pack(
                square % 2 == 0
                    ? (low & mask) | (high.AsUInt16() << 4).AsByte() & ~mask
                    : (low.AsUInt16() >> 4).AsByte() & mask | high & ~mask,
                to,
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

                FifthBits.Pack(bits, to + Nibbles.Bytes, row);
            }
        }
    }

    [SkipLocalsInit]
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public override void Expand(byte* block, byte* squares)
    {
        float* scale = stackalloc float[PanelRows];
        float* least = stackalloc float[PanelRows];
        Square.Widen(block, (byte*)scale);
        Square.Widen(block + LeastAt, (byte*)least);
        Vector256<byte> low = Vector256.Create((byte)15);
        Vector256<byte> upper = Vector256.Create((byte)0x30);
        byte* from = block + SquaresAt;
        for (int square = 0; square < 8; square++, squares += Square.Bytes, from += squareBytes)
        {
            Nibbles.Expand(from, squares);
            if (five)
            {
                FifthBits.Expand(from + Nibbles.Bytes, squares);
            }

            Vector256<byte> both = Vector256.Load(block + LowAt + (square * PanelRows));
            Vector256<ushort> bits = Vector256.Load(block + HighAt + (square / 2 * PanelRows)).AsUInt16();
            (Vector256<ushort> a, Vector256<ushort> b) = square % 2 == 0 ? (bits << 4, bits << 2) : (bits, bits >> 2);
            Scale((both & low) | (a.AsByte() & upper), scale, (float*)(squares + Square.ScalesAt));
            Scale(
                ((both.AsUInt16() >> 4).AsByte() & low) | (b.AsByte() & upper),
                least,
                (float*)(squares + Square.SecondAt)
            );
        }
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

    public override void WriteCodes(DotWriter code, int square)
    {
        int at = SquaresAt + (square * squareBytes);
        if (five)
        {
            FifthBits.WriteLoad(code, at + Nibbles.Bytes);
        }

        Nibbles.Write(
            code,
            at,
            (quad, half, codes) =>
            {
                if (five)
                {
                    FifthBits.Write(code, quad, half, codes);
                }
            }
        );
    }

    public override void WriteScales(DotWriter code, int square)
    {
        Assembler to = code.Code;
        (Vec low, Vec high) = (code.Vectors["x"], code.Vectors["scaled"]);
        Vec upper = code.Vectors["upper"];
        bool even = square % 2 == 0;
        for (int half = 0; half < 2; half++)
        {
            (Vec scale, Vec least) = (code.Scale(half), code.Second(half));
            to.Vpmovzxbd(low, DotWriter.At(LowAt + (square * PanelRows) + (half * 16)));
            to.Vpmovzxbd(high, DotWriter.At(HighAt + (square / 2 * PanelRows) + (half * 16)));
            to.Vpandd(scale, low, code.Vectors["nibble"]);
            to.Vpsrld(least, low, 4);
            to.Vpternlogd(scale, code.Shifted(high, even ? 4 : 0), upper, Assembler.FirstOrBoth);
            to.Vpternlogd(least, code.Shifted(high, even ? 2 : -2), upper, Assembler.FirstOrBoth);
            to.Vcvtdq2ps(scale, scale);
            to.Vcvtdq2ps(least, least);
            to.Vcvtph2ps(low, DotWriter.At(half * 32));
            to.Vmulps(scale, scale, low);
            to.Vcvtph2ps(low, DotWriter.At(LeastAt + (half * 32)));
            to.Vmulps(least, least, low);
        }
    }
}

/// <summary>
/// 256 codes of six bits with 16 signed scales: f16[32], the scale of these; [16][32 rows] scales; then for each square
/// <see cref="Nibbles"/> and <see cref="UpperPairs"/>.
/// </summary>
internal sealed unsafe class SixBitPanelBlocks : PanelBlocks
{
    const int PanelRows = PackedMatrix.PanelRows;
    const int ScalesAt = PanelRows * sizeof(ushort);
    const int SquaresAt = ScalesAt + (16 * PanelRows);
    const int SquareBytes = Nibbles.Bytes + UpperPairs.Bytes;

    public override WeightFormat Format => WeightFormat.Q6_K;

    public override GgmlType? FileType => GgmlType.Q6_K;

    public override int Columns => 256;

    public override Scaling Scaling => Scaling.OffsetOfHalves;

    public override int Offset => 32;

    public override int MostCode => 63;

    [SkipLocalsInit]
    public override void Pack(byte* file, byte* block, int row)
    {
        ((ushort*)block)[row] = Unsafe.ReadUnaligned<ushort>(file + 208);
        for (int i = 0; i < 16; i++)
        {
            block[ScalesAt + (i * PanelRows) + row] = file[192 + i];
        }

        byte* codes = stackalloc byte[Square.Columns];
        Vector128<byte> mask = Vector128.Create((byte)15);
        Vector128<byte> two = Vector128.Create((byte)3);
        byte* to = block + SquaresAt;
        for (int square = 0; square < 8; square++, to += SquareBytes)
        {
            // 128 values share 64 bytes of lower and 32 of upper bits.
            byte* bytes = file + (square / 4 * 64) + (square % 2 * 32);
            Vector128<byte> low = Vector128.Load(bytes);
            Vector128<byte> high = Vector128.Load(bytes + 16);
            Nibbles.Pack(
                square / 2 % 2 == 0
                    ? (low & mask) | (high.AsUInt16() << 4).AsByte() & ~mask
                    : (low.AsUInt16() >> 4).AsByte() & mask | high & ~mask,
                to,
                row
            );
            for (int half = 0; half < 2; half++)
            {
                Vector128<byte> bits = Vector128.Load(file + 128 + (square / 4 * 32) + (half * 16));
                ((bits.AsUInt16() >> (square % 4 * 2)).AsByte() & two).Store(codes + (half * 16));
            }

            UpperPairs.Pack((uint*)codes, to + Nibbles.Bytes, row);
        }
    }

    [SkipLocalsInit]
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public override void Expand(byte* block, byte* squares)
    {
        float* scale = stackalloc float[PanelRows];
        Square.Widen(block, (byte*)scale);
        for (int square = 0; square < 8; square++, squares += Square.Bytes)
        {
            byte* from = block + SquaresAt + (square * SquareBytes);
            Nibbles.Expand(from, squares);
            UpperPairs.Expand(from + Nibbles.Bytes, squares);
            for (int half = 0; half < 2; half++)
            {
                sbyte* numbers = (sbyte*)block + ScalesAt + (((2 * square) + half) * PanelRows);
                float* to = (float*)(squares + (half == 0 ? Square.ScalesAt : Square.SecondAt));
                for (int row = 0; row < PanelRows; row += 8)
                {
                    Vector128<short> eight = Vector128.WidenLower(
                        Vector128.CreateScalarUnsafe(Unsafe.ReadUnaligned<long>(numbers + row)).AsSByte()
                    );
                    Vector256<int> wide = Vector256.Create(Vector128.WidenLower(eight), Vector128.WidenUpper(eight));
                    (Vector256.ConvertToSingle(wide) * Vector256.Load(scale + row)).Store(to + row);
                }
            }
        }
    }

    public override void WriteConstants(DotWriter code)
    {
        Nibbles.WriteConstants(code);
        code.Constant("upper", 0x3030_3030);
    }

    public override void WriteCodes(DotWriter code, int square)
    {
        int at = SquaresAt + (square * SquareBytes);
        Nibbles.Write(code, at, (quad, half, codes) => UpperPairs.Write(code, at + Nibbles.Bytes, quad, half, codes));
    }

    public override void WriteScales(DotWriter code, int square)
    {
        Assembler to = code.Code;
        Vec d = code.Vectors["x"];
        for (int half = 0; half < 2; half++)
        {
            int at = ScalesAt + (2 * square * PanelRows) + (half * 16);
            to.Vcvtph2ps(d, DotWriter.At(half * 32));
            to.Vpmovsxbd(code.Scale(half), DotWriter.At(at));
            to.Vpmovsxbd(code.Second(half), DotWriter.At(at + PanelRows));
            to.Vcvtdq2ps(code.Scale(half), code.Scale(half));
            to.Vcvtdq2ps(code.Second(half), code.Second(half));
            to.Vmulps(code.Scale(half), code.Scale(half), d);
            to.Vmulps(code.Second(half), code.Second(half), d);
        }
    }
}
