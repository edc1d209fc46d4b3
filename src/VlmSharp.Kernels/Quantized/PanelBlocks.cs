using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics.X86;
using VlmSharp.Kernels.MachineCode;

namespace VlmSharp.Kernels.Quantized;

/// <summary>What a code of a block stands for; every product and difference is rounded to f32.</summary>
internal enum Scaling
{
    /// <summary>scale * (code - offset), the same offset everywhere.</summary>
    Offset,

    /// <summary>As <see cref="Offset"/>, with one scale for the first 16 columns of a square and one for the others.</summary>
    OffsetOfHalves,

    /// <summary>scale * code - least.</summary>
    Least,

    /// <summary>scale * (code - zero), an integer zero of each row.</summary>
    ZeroPoint,
}

/// <summary>How the codes of a square are stored; scales stand behind them, or in the head of the block.</summary>
internal enum CodeKind
{
    /// <summary>As <see cref="Nibbles"/>.</summary>
    Nibbles,

    /// <summary><see cref="Nibbles"/> that name levels of a table.</summary>
    Levels,

    /// <summary><see cref="FifthBits"/> and then <see cref="Nibbles"/>.</summary>
    FiveBits,

    /// <summary>As <see cref="SixBits"/>.</summary>
    SixBits,

    /// <summary>[8 quads][32 rows][4] bytes.</summary>
    Bytes,
}

/// <summary>One format of blocks in a panel of 32 rows: how they are packed, read back, and unpacked in generated code.</summary>
/// <remarks>
/// <para>
/// A panel is a sequence of blocks of all its 32 rows, as many bytes as the file has for them. Codes stand in vectors of 64 bytes:
/// 16 rows, four consecutive columns of each, as dot products of bytes take them. A block's codes are unsigned.
/// </para>
/// <para>All formats expand to the same <see cref="Square"/>, which is all that loops over many rows know.</para>
/// </remarks>
internal abstract unsafe class PanelBlocks
{
    const int PanelRows = PackedMatrix.PanelRows;
    const int PrefetchBytes = 4096;

    /// <summary>Every format of blocks.</summary>
    public static readonly PanelBlocks[] All =
    [
        new BytePanelBlocks(),
        new NibblePanelBlocks(WeightFormat.Q4_0, GgmlType.Q4_0, five: false, least: false),
        new NibblePanelBlocks(WeightFormat.Q4_1, GgmlType.Q4_1, five: false, least: true),
        new NibblePanelBlocks(WeightFormat.Q5_0, GgmlType.Q5_0, five: true, least: false),
        new NibblePanelBlocks(WeightFormat.Q5_1, GgmlType.Q5_1, five: true, least: true),
        new NibblePanelBlocks(WeightFormat.IQ4_NL, GgmlType.IQ4_NL, five: false, least: false),
        new SuperPanelBlocks(five: false),
        new SuperPanelBlocks(five: true),
        new SixBitPanelBlocks(),
        new GroupPanelBlocks(WeightFormat.U4G32, 4, 32),
        new GroupPanelBlocks(WeightFormat.U4G64, 4, 64),
        new GroupPanelBlocks(WeightFormat.U4G128, 4, 128),
        new GroupPanelBlocks(WeightFormat.U8G32, 8, 32),
        new GroupPanelBlocks(WeightFormat.U8G64, 8, 64),
        new GroupPanelBlocks(WeightFormat.U8G128, 8, 128),
    ];

    /// <summary>The blocks of a format; null for plain numbers.</summary>
    /// <exception cref="ArgumentOutOfRangeException">There is no such format.</exception>
    public static PanelBlocks? Of(WeightFormat format)
    {
        foreach (PanelBlocks blocks in All)
        {
            if (blocks.Format == format)
            {
                return blocks;
            }
        }

        return Enum.IsDefined(format)
            ? null
            : throw new ArgumentOutOfRangeException(nameof(format), format, "not a format of weights");
    }

    public abstract WeightFormat Format { get; }

    /// <summary>The type of a file's blocks; null where they are made of several tensors.</summary>
    public abstract GgmlType? FileType { get; }

    /// <summary>Columns of a block, a multiple of <see cref="Square.Columns"/>.</summary>
    public virtual int Columns => Square.Columns;

    /// <summary>Bytes of the blocks of all rows of a panel.</summary>
    public virtual int PanelBytes => FileType!.Value.BlockBytes() * PanelRows;

    /// <summary>What codes stand for.</summary>
    public virtual Scaling Scaling => Scaling.Offset;

    /// <summary>The code of 0.</summary>
    public virtual int Offset => 0;

    /// <summary>No code is larger.</summary>
    public abstract int MostCode { get; }

    /// <summary>16 bytes that <see cref="DotWriter.LoadTable"/> loads, or null.</summary>
    public virtual byte* Table => null;

    /// <summary>Squares of a block.</summary>
    public int Squares => Columns / Square.Columns;

    /// <summary>Bytes of a block before its first square: what its squares have in common.</summary>
    public virtual int HeadBytes => 0;

    /// <summary>Bytes of a square: codes, and scales of its own.</summary>
    /// <remarks>
    /// Loops are over squares, whose bytes stand in the order they are read in: the processor's own prefetching follows that. Unrolled blocks of
    /// eight squares came at a half of the rate of memory, bits that are used first and stand last at four fifths, and asking ahead by
    /// instructions costs more than it gains.
    /// </remarks>
    public int SquareBytes => (PanelBytes - HeadBytes) / Squares;

    /// <summary>Whether all squares of a block have the same scales, which <see cref="WriteHead"/> loads.</summary>
    public virtual bool SharesScales => false;

    /// <summary>How codes stand in a square.</summary>
    public abstract CodeKind Codes { get; }

    /// <summary>Puts a file's block in its place.</summary>
    public abstract void Pack(byte* file, byte* block, int row);

    /// <summary>Codes of a square as bytes.</summary>
    public abstract void ExpandCodes(byte* square, byte* codes);

    /// <summary>What the squares of a block have in common, as f32[2][32].</summary>
    public virtual void ExpandHead(byte* block, float* head) { }

    /// <summary>Scales of a square, and what stands behind them in a <see cref="Square"/>.</summary>
    /// <param name="head">From <see cref="ExpandHead"/>.</param>
    /// <param name="square">Of the panel.</param>
    /// <param name="scales">f32[2][32]</param>
    public abstract void ExpandScales(float* head, byte* square, float* scales);

    /// <summary>Codes and scales of a block, square by square.</summary>
    [SkipLocalsInit]
    public void Expand(byte* block, byte* squares)
    {
        float* head = stackalloc float[2 * PanelRows];
        ExpandHead(block, head);
        (int count, int squareBytes) = (Squares, SquareBytes);
        block += HeadBytes;
        for (int square = 0; square < count; square++, block += squareBytes, squares += Square.Bytes)
        {
            ExpandCodes(block, squares);
            ExpandScales(head, block, (float*)(squares + Square.ScalesAt));
        }
    }

    /// <summary>Some blocks that follow each other, asking ahead for those behind them.</summary>
    public void Expand(byte* block, int count, byte* squares)
    {
        for (; count > 0; count--, block += PanelBytes, squares += Squares * Square.Bytes)
        {
            for (int line = 0; line < PanelBytes && Sse.IsSupported; line += 64)
            {
                Sse.Prefetch0(block + PrefetchBytes + line);
            }

            Expand(block, squares);
        }
    }

    /// <summary>Generates what is done once, before all blocks: constants in registers.</summary>
    public virtual void WriteConstants(DotWriter code) { }

    /// <summary>Generates what is done once for a block, with <see cref="DotWriter.Head"/>.</summary>
    public virtual void WriteHead(DotWriter code) { }

    /// <summary>Generates the unpacking of a square's codes and hands each four columns to <see cref="DotWriter.Dot"/>.</summary>
    public abstract void WriteCodes(DotWriter code);

    /// <summary>Generates the unpacking of its scales, and least values, to <see cref="DotWriter.Scale"/> and <see cref="DotWriter.Second"/>.</summary>
    public abstract void WriteScales(DotWriter code);
}
