using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using VlmSharp.Kernels.MachineCode;

namespace VlmSharp.Kernels.Quantized;

/// <summary>
/// Codes of four or eight bits, with a scale and an integer zero point for a group of columns: f16[32] of scales and 32 bytes of zero
/// points, then for each square <see cref="Nibbles"/> or bytes.
/// </summary>
/// <param name="format">Which.</param>
/// <param name="bits">4 or 8.</param>
/// <param name="columns">Columns of a group.</param>
internal sealed unsafe class GroupPanelBlocks(WeightFormat format, int bits, int columns) : PanelBlocks
{
    const int PanelRows = PackedMatrix.PanelRows;
    const int ZerosAt = PanelRows * sizeof(ushort);
    const int SquaresAt = ZerosAt + PanelRows;

    readonly int squareBytes = bits == 4 ? Nibbles.Bytes : Square.ScalesAt;

    public override WeightFormat Format => format;

    public override GgmlType? FileType => null;

    public override int Columns => columns;

    public override int PanelBytes => SquaresAt + (Squares * squareBytes);

    public override int HeadBytes => SquaresAt;

    public override bool SharesScales => true;

    public override CodeKind Codes => bits == 4 ? CodeKind.Nibbles : CodeKind.Bytes;

    public override Scaling Scaling => Scaling.ZeroPoint;

    public override int MostCode => (1 << bits) - 1;

    /// <summary>Puts a row's group in its place.</summary>
    /// <param name="file">A code in each byte.</param>
    /// <param name="block">Of the panel.</param>
    /// <param name="row">Which.</param>
    public override void Pack(byte* file, byte* block, int row)
    {
        block += SquaresAt;
        for (int square = 0; square < Squares; square++, file += Square.Columns, block += squareBytes)
        {
            if (bits == 4)
            {
                Vector128<byte> high = (Vector128.Load(file + 16).AsUInt16() << 4).AsByte();
                Nibbles.Pack(Vector128.Load(file) | high, block, row);
                continue;
            }

            for (int quad = 0; quad < Square.Quads; quad++)
            {
                ((uint*)(block + (quad * Square.QuadBytes)))[row] = Unsafe.ReadUnaligned<uint>(file + (quad * 4));
            }
        }
    }

    /// <summary>Puts a row's scale and zero point in their places.</summary>
    public void PackScale(Half scale, byte zero, byte* block, int row)
    {
        ((Half*)block)[row] = scale;
        block[ZerosAt + row] = zero;
    }

    public override void ExpandCodes(byte* square, byte* codes)
    {
        if (bits == 4)
        {
            Nibbles.Expand(square, codes);
        }
        else
        {
            Unsafe.CopyBlock(codes, square, Square.ScalesAt);
        }
    }

    public override void ExpandHead(byte* block, float* head)
    {
        Square.Widen(block, head);
        Square.WidenBytes(block + ZerosAt, head + PanelRows);
    }

    public override void ExpandScales(float* head, byte* square, float* scales) =>
        Unsafe.CopyBlock(scales, head, 2 * PanelRows * sizeof(float));

    public override void WriteConstants(DotWriter code)
    {
        if (bits == 4)
        {
            Nibbles.WriteConstants(code);
        }
    }

    public override void WriteCodes(DotWriter code)
    {
        if (bits == 4)
        {
            Nibbles.Write(code, 0, (_, _, _) => { });
        }
        else
        {
            code.Bytes(0);
        }
    }

    public override void WriteScales(DotWriter code) { }

    public override void WriteHead(DotWriter code)
    {
        for (int half = 0; half < 2; half++)
        {
            (Vec scale, Vec zero) = (code.Scale(half), code.Second(half));
            code.Code.Vcvtph2ps(scale, DotWriter.Head(half * 32));
            code.Code.Vpmovzxbd(zero, DotWriter.Head(ZerosAt + (half * 16)));
            code.Code.Vcvtdq2ps(zero, zero);
            code.Code.Vmulps(zero, zero, scale);
        }
    }
}
