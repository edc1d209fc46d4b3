using System.Runtime.CompilerServices;
using VlmSharp.Kernels.Quantized;

namespace VlmSharp.Kernels;

public static unsafe partial class MatMul
{
    // Columns of blocks that are unpacked at a time: 64 KiB of f32, which stay in the second-level cache.
    const int UnpackedColumns = 512;

    // Rows multiplied by panels as they are: up to here expanding a panel costs as much as the tiles gain.
    const int FewRows = 64;

    /// <summary>An exact product with blocks: they are unpacked to f32, a panel at a time, for the kernels of f32.</summary>
    static void DriveUnpacked<TKernels>(in Call call)
        where TKernels : struct, IPanelKernels =>
        Drive<TKernels, BlockUnpacker>(call, new BlockUnpacker(call.W.Blocks!));

    /// <summary>The same with 8-bit floats, for which there are no instructions.</summary>
    static void DriveFloat8<TKernels>(in Call call)
        where TKernels : struct, IPanelKernels => Drive<TKernels, Float8Unpacker>(call, default);

    static void Drive<TKernels, TUnpacker>(in Call call, TUnpacker unpacker)
        where TKernels : struct, IPanelKernels
        where TUnpacker : struct, IUnpacker
    {
        Steps steps = new(
            call.W.Columns / unpacker.Columns,
            unpacker.Columns,
            unpacker.PanelBytes,
            UnpackedColumns / unpacker.Columns,
            unpacker.Columns * ColumnBytes
        );
        fixed (float* x = call.X)
        {
            Drive(call, new UnpackedKernels<TKernels, TUnpacker>(unpacker), x, call.XStride, steps);
        }
    }

    /// <summary>Turns blocks of a panel into f32.</summary>
    interface IUnpacker
    {
        /// <summary>Columns of a block.</summary>
        int Columns { get; }

        /// <summary>Bytes of the blocks of all rows of a panel.</summary>
        int PanelBytes { get; }

        /// <summary>A block as f32[columns][32].</summary>
        void Unpack(byte* block, float* values);
    }

    readonly struct BlockUnpacker(PanelBlocks blocks) : IUnpacker
    {
        public int Columns => blocks.Columns;

        public int PanelBytes => blocks.PanelBytes;

        [SkipLocalsInit]
        public void Unpack(byte* block, float* values)
        {
            byte* squares = stackalloc byte[blocks.Squares * Square.Bytes];
            blocks.Expand(block, squares);
            for (int s = 0; s < blocks.Squares; s++, values += Square.Columns * PanelRows)
            {
                Square.Values(squares + (s * Square.Bytes), blocks, values);
            }
        }
    }

    readonly struct Float8Unpacker : IUnpacker
    {
        public int Columns => Float8.Columns;

        public int PanelBytes => Float8.PanelBytes;

        public void Unpack(byte* block, float* values) => Float8.Unpack(block, values);
    }

    readonly struct UnpackedKernels<TKernels, TUnpacker>(TUnpacker unpacker) : IPanelKernels
        where TKernels : struct, IPanelKernels
        where TUnpacker : struct, IUnpacker
    {
        public int TileRows => default(TKernels).TileRows;

        public bool TilesReadUnpacked => true;

        public bool RowsReadUnpacked => true;

        public bool ReadsWeightsOnce(int rows) => true;

        public void Pack(float* x, nint stride, int words, float* packed) =>
            default(TKernels).Pack(x, stride, words, packed);

        public void Unpack(byte* panel, int depth, byte* unpacked)
        {
            for (int block = 0; block < depth; block++, panel += unpacker.PanelBytes)
            {
                unpacker.Unpack(panel, (float*)unpacked);
                unpacked += unpacker.Columns * ColumnBytes;
            }
        }

        public void Tile(float* packed, byte* panel, int depth, float* sums, nint sumsStride) =>
            default(TKernels).Tile(packed, panel, depth * unpacker.Columns, sums, sumsStride);

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
        ) =>
            default(TKernels).Rows(
                x,
                stride,
                rows,
                panel,
                panelBytes,
                panelCount,
                depth * unpacker.Columns,
                sums,
                sumsStride
            );
    }

    /// <summary>A product with blocks whose codes meet rows of x that are rounded to bytes.</summary>
    static void DriveRounded<TKernels>(in Call call, PanelBlocks blocks, TKernels kernels)
        where TKernels : struct, IPanelKernels
    {
        if (call.Rows == 0)
        {
            return;
        }

        int squares = call.W.Columns / Square.Columns;
        int stride = squares * RoundedRow.Words;
        AlignedBuffer rounded = call.Pool.Rent((long)call.Rows * Math.Max(stride, 1) * sizeof(float));
        try
        {
            fixed (float* x = call.X)
            {
                RoundBody round = new(x, call.XStride, call.W.Columns, blocks, rounded.Pointer);
                call.Pool.Run(call.Rows, ref round);
            }

            Steps steps = new(
                squares / blocks.Squares,
                blocks.Squares * RoundedRow.Words,
                blocks.PanelBytes,
                UnpackedColumns / blocks.Columns,
                blocks.Squares * Square.Bytes,
                FewRows
            );
            Drive(call, kernels, (float*)rounded.Pointer, stride, steps);
        }
        finally
        {
            call.Pool.Return(rounded);
        }
    }

    readonly struct RoundBody(float* x, nint stride, int columns, PanelBlocks blocks, byte* rounded) : IParallelBody
    {
        public void Run(int part, int worker) =>
            RoundedRow.Round(
                x + part * stride,
                columns,
                blocks,
                rounded + (long)part * columns / Square.Columns * RoundedRow.Bytes
            );
    }
}
