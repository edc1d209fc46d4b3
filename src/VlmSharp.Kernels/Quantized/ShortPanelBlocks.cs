using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using VlmSharp.Kernels.MachineCode;

namespace VlmSharp.Kernels.Quantized;

/// <summary>32 bytes that are the codes, and a scale: [8 quads][32 rows][4], then f16[32].</summary>
internal sealed unsafe class Q8Blocks : PanelBlocks
{
    public override WeightFormat Format => WeightFormat.Q8_0;

    public override GgmlType? FileType => GgmlType.Q8_0;

    public override int Offset => 128;

    public override void Pack(byte* file, byte* block, int row)
    {
        ((ushort*)(block + Square.ScalesAt))[row] = Unsafe.ReadUnaligned<ushort>(file);
        for (int quad = 0; quad < Square.Quads; quad++)
        {
            uint signed = Unsafe.ReadUnaligned<uint>(file + 2 + (quad * 4));
            ((uint*)(block + (quad * Square.QuadBytes)))[row] = signed ^ 0x8080_8080;
        }
    }

    public override void Expand(byte* block, byte* squares)
    {
        Unsafe.CopyBlock(squares, block, Square.ScalesAt);
        Square.Widen(block + Square.ScalesAt, squares + Square.ScalesAt);
    }

    public override void WriteCodes(DotWriter code, int square) => code.Bytes(0);

    public override void WriteScales(DotWriter code, int square) => code.Halves(Square.ScalesAt);
}

/// <summary>
/// Codes of four bits and a scale: [4 quads][32 rows][4], the lower bits of columns 0 to 15, the upper ones of columns 16 to 31; then
/// f16[32].
/// </summary>
internal sealed unsafe class Q4Blocks : PanelBlocks
{
    const int NibbleBytes = Square.ScalesAt / 2;

    public override WeightFormat Format => WeightFormat.Q4_0;

    public override GgmlType? FileType => GgmlType.Q4_0;

    public override int Offset => 8;

    public override void Pack(byte* file, byte* block, int row)
    {
        ((ushort*)(block + NibbleBytes))[row] = Unsafe.ReadUnaligned<ushort>(file);
        for (int quad = 0; quad < Square.Quads / 2; quad++)
        {
            ((uint*)(block + (quad * Square.QuadBytes)))[row] = Unsafe.ReadUnaligned<uint>(file + 2 + (quad * 4));
        }
    }

    public override void Expand(byte* block, byte* squares)
    {
        Nibbles(block, squares);
        Square.Widen(block + NibbleBytes, squares + Square.ScalesAt);
    }

    /// <summary>The codes of a square from their nibbles.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Nibbles(byte* nibbles, byte* codes)
    {
        Vector256<byte> mask = Vector256.Create((byte)15);
        for (int i = 0; i < NibbleBytes; i += Vector256<byte>.Count)
        {
            Vector256<byte> pairs = Vector256.Load(nibbles + i);
            (pairs & mask).Store(codes + i);
            ((pairs.AsUInt16() >> 4).AsByte() & mask).Store(codes + NibbleBytes + i);
        }
    }

    public override void WriteConstants(DotWriter code) => code.Constant("nibble", 0x0F0F_0F0F);

    public override void WriteCodes(DotWriter code, int square) => code.Nibbles(0, (_, _, _) => { });

    public override void WriteScales(DotWriter code, int square) => code.Halves(NibbleBytes);
}
