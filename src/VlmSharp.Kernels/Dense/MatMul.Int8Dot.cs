using System.Runtime.CompilerServices;
using VlmSharp.Kernels.MachineCode;
using VlmSharp.Kernels.Quantized;

namespace VlmSharp.Kernels;

public static unsafe partial class MatMul
{
    /// <summary>Whatever dot products the processor has for the storage of the weights, by generated code.</summary>
    static void Avx512Dot(in Call call)
    {
        PackedMatrix w = call.W;
        if (call.MayRound && w.Storage == WeightFormat.BF16 && Bf16DotKernels.Supported)
        {
            Bf16Dot(call);
        }
        else if (call.MayRound && w.Blocks is { } blocks && Int8DotKernels.Of(blocks, w.Columns) is { } kernels)
        {
            DriveRounded(call, blocks, kernels);
        }
        else
        {
            Avx512(call);
        }
    }

    /// <summary>Unsigned codes times signed bytes by vpdpbusd, which .NET does not expose: the loops are generated at the first use of a format.</summary>
    readonly struct Int8DotKernels : IPanelKernels
    {
        /// <summary>The kernels of one format.</summary>
        sealed class Code(PanelBlocks blocks, int tileRows)
        {
            public readonly int TileRows = tileRows;

            public readonly delegate* unmanaged[SuppressGCTransition]<void*, void> Tile = KernelWriter.Publish(code =>
                DotWriter.WriteTile(code, blocks, tileRows)
            );

            public readonly delegate* unmanaged[SuppressGCTransition]<void*, void> One = KernelWriter.Publish(code =>
                DotWriter.WriteRows(code, blocks, 1)
            );

            public readonly delegate* unmanaged[SuppressGCTransition]<void*, void> Two = KernelWriter.Publish(code =>
                DotWriter.WriteRows(code, blocks, 2)
            );

            public readonly delegate* unmanaged[SuppressGCTransition]<void*, void> Four = KernelWriter.Publish(code =>
                DotWriter.WriteRows(code, blocks, 4)
            );

            public bool Complete => Tile is not null && One is not null && Two is not null && Four is not null;
        }

        static readonly Code?[] Codes = new Code?[Enum.GetValues<WeightFormat>().Length];

        readonly PanelBlocks blocks;
        readonly Code code;
        readonly int columns;

        Int8DotKernels(PanelBlocks blocks, Code code, int columns)
        {
            this.blocks = blocks;
            this.code = code;
            this.columns = columns;
        }

        /// <summary>Whether the processor has the instruction and the system allows generated code.</summary>
        public static bool Supported { get; } = InstructionSets.Avx512Vnni && Of(PanelBlocks.All[0], 0) is not null;

        /// <summary>The kernels for a matrix of this format; null where they cannot be had.</summary>
        public static Int8DotKernels? Of(PanelBlocks blocks, int columns)
        {
            if (!InstructionSets.Avx512Vnni)
            {
                return null;
            }

            ref Code? place = ref Codes[(int)blocks.Format];
            if (place is not { } code)
            {
                // Two threads may both generate them; one set is used and the other forgotten.
                code = new Code(blocks, blocks.Scaling == Scaling.OffsetOfHalves ? 4 : 6);
                code = Interlocked.CompareExchange(ref place, code, null) ?? code;
            }

            return code.Complete ? new Int8DotKernels(blocks, code, columns) : null;
        }

        public int TileRows => code.TileRows;

        public bool TilesReadUnpacked => true;

        public bool RowsReadUnpacked => false;

        public bool ReadsWeightsOnce(int rows) => rows is 1 or 2 or 4;

        // [squares, TileRows] records
        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        public void Pack(float* x, nint stride, int words, float* packed)
        {
            int rows = TileRows;
            for (int word = 0; word < words; word += RoundedRow.Words)
            {
                for (int row = 0; row < rows; row++, packed += RoundedRow.Words)
                {
                    Unsafe.CopyBlock(packed, x + (row * stride) + word, RoundedRow.Bytes);
                }
            }
        }

        public void Unpack(byte* panel, int depth, byte* unpacked) => blocks.Expand(panel, depth, unpacked);

        public void Tile(float* packed, byte* panel, int depth, float* sums, nint sumsStride)
        {
            DotWriter.Arguments arguments = new()
            {
                X = packed,
                Panel = panel,
                Depth = depth * blocks.Squares,
                Sums = sums,
                SumsStride = sumsStride * sizeof(float),
                NextX = (nint)columns / Square.Columns * RoundedRow.Bytes * TileRows,
            };
            code.Tile(&arguments);
        }

        public void Rows(
            float* x,
            nint stride,
            int rows,
            byte* panel,
            nint panelBytes,
            int panelCount,
            int depth,
            float* sums,
            nint sumsStride
        )
        {
            int count; // rows that go together
            for (; rows > 0; rows -= count, x += count * stride, sums += count * sumsStride)
            {
                count =
                    rows >= 4 ? 4
                    : rows >= 2 ? 2
                    : 1;
                delegate* unmanaged[SuppressGCTransition]<void*, void> kernel =
                    count == 4 ? code.Four
                    : count == 2 ? code.Two
                    : code.One;
                for (int p = 0; p < panelCount; p++)
                {
                    DotWriter.Arguments arguments = new()
                    {
                        X = x,
                        XStride = stride * sizeof(float),
                        Panel = panel + (p * panelBytes),
                        Depth = depth,
                        Sums = sums + (p * PanelRows),
                        SumsStride = sumsStride * sizeof(float),
                        Table = blocks.Table,
                    };
                    kernel(&arguments);
                }
            }
        }
    }
}
