using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using VlmSharp.Kernels.MachineCode;

namespace VlmSharp.Kernels.Quantized;

/// <summary>32 bytes that are the codes, and a scale: [8 quads][32 rows][4], then f16[32].</summary>
internal sealed unsafe class BytePanelBlocks : PanelBlocks
{
    public override WeightFormat Format => WeightFormat.Q8_0;

    public override GgmlType? FileType => GgmlType.Q8_0;

    public override CodeKind Codes => CodeKind.Bytes;

    public override int Offset => 128;

    public override int MostCode => 255;

    public override void Pack(byte* file, byte* block, int row)
    {
        ((ushort*)(block + Square.ScalesAt))[row] = Unsafe.ReadUnaligned<ushort>(file);
        for (int quad = 0; quad < Square.Quads; quad++)
        {
            uint signed = Unsafe.ReadUnaligned<uint>(file + 2 + (quad * 4));
            ((uint*)(block + (quad * Square.QuadBytes)))[row] = signed ^ 0x8080_8080;
        }
    }

    public override void ExpandCodes(byte* square, byte* codes) => Unsafe.CopyBlock(codes, square, Square.ScalesAt);

    public override void ExpandScales(float* head, byte* square, float* scales) =>
        Square.Widen(square + Square.ScalesAt, scales);

    public override void WriteCodes(DotWriter code) => code.Bytes(0);

    public override void WriteScales(DotWriter code) => code.Halves(code.Scale, Square.ScalesAt);
}

/// <summary>
/// Codes of four or five bits with a scale, and in some a least value or uneven levels: the <see cref="FifthBits"/> where there are any,
/// the <see cref="Nibbles"/>, f16[32] of scales, f16[32] of least values where there are any.
/// </summary>
/// <param name="format">Which.</param>
/// <param name="type">The type of the file's blocks.</param>
/// <param name="five">Whether codes have a fifth bit.</param>
/// <param name="least">Whether there are least values.</param>
internal sealed unsafe class NibblePanelBlocks(WeightFormat format, GgmlType type, bool five, bool least) : PanelBlocks
{
    readonly int nibblesAt = five ? FifthBits.Bytes : 0;
    readonly int scalesAt = Nibbles.Bytes + (five ? FifthBits.Bytes : 0);

    public override WeightFormat Format => format;

    public override GgmlType? FileType => type;

    public override Scaling Scaling => least ? Scaling.Least : Scaling.Offset;

    public override int Offset =>
        least ? 0
        : Uneven ? 128
        : five ? 16
        : 8;

    public override int MostCode =>
        Uneven ? 255
        : five ? 31
        : 15;

    public override CodeKind Codes =>
        Uneven ? CodeKind.Levels
        : five ? CodeKind.FiveBits
        : CodeKind.Nibbles;

    bool Uneven => type == GgmlType.IQ4_NL;

    int LeastAt => scalesAt + (PackedMatrix.PanelRows * sizeof(ushort));

    public override byte* Table => Uneven ? LevelBlocks.UnsignedLevels : null;

    public override void Pack(byte* file, byte* block, int row)
    {
        ((ushort*)(block + scalesAt))[row] = Unsafe.ReadUnaligned<ushort>(file);
        file += sizeof(ushort);
        if (least)
        {
            // What the file adds is taken off here.
            ((ushort*)(block + LeastAt))[row] = (ushort)(Unsafe.ReadUnaligned<ushort>(file) ^ 0x8000);
            file += sizeof(ushort);
        }

        if (five)
        {
            FifthBits.Pack(Unsafe.ReadUnaligned<uint>(file), block, row);
            file += sizeof(uint);
        }

        Nibbles.Pack(Vector128.Load(file), block + nibblesAt, row);
    }

    public override void ExpandCodes(byte* square, byte* codes)
    {
        Nibbles.Expand(square + nibblesAt, codes);
        if (five)
        {
            FifthBits.Expand(square, codes);
        }

        if (Uneven)
        {
            LevelBlocks.Look(codes, Square.ScalesAt);
        }
    }

    public override void ExpandScales(float* head, byte* square, float* scales)
    {
        Square.Widen(square + scalesAt, scales);
        if (least)
        {
            Square.Widen(square + LeastAt, scales + PackedMatrix.PanelRows);
        }
    }

    public override void WriteConstants(DotWriter code)
    {
        Nibbles.WriteConstants(code);
        if (five)
        {
            FifthBits.WriteConstants(code);
        }

        if (Uneven)
        {
            code.LoadTable("levels");
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

                if (Uneven)
                {
                    code.Code.Vpshufb(codes, code.Vectors["levels"], codes);
                }
            }
        );
    }

    public override void WriteScales(DotWriter code)
    {
        code.Halves(code.Scale, scalesAt);
        if (least)
        {
            code.Halves(code.Second, LeastAt);
        }
    }
}
