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
        where TKernels : struct, IPanelKernels
    {
        PanelBlocks blocks = call.W.Blocks!;
        Steps steps = new(
            call.W.Columns / blocks.Columns,
            blocks.Columns,
            blocks.PanelBytes,
            UnpackedColumns / blocks.Columns,
            blocks.Columns * ColumnBytes
        );
        fixed (float* x = call.X)
        {
            Drive(call, new UnpackedKernels<TKernels>(blocks), x, call.XStride, steps);
        }
    }

    readonly struct UnpackedKernels<TKernels>(PanelBlocks blocks) : IPanelKernels
        where TKernels : struct, IPanelKernels
    {
        public int TileRows => default(TKernels).TileRows;

        public bool TilesReadUnpacked => true;

        public bool RowsReadUnpacked => true;

        public bool ReadsWeightsOnce(int rows) => true;

        public void Pack(float* x, nint stride, int words, float* packed) =>
            default(TKernels).Pack(x, stride, words, packed);

        [SkipLocalsInit]
        public void Unpack(byte* panel, int depth, byte* unpacked)
        {
            byte* squares = stackalloc byte[blocks.Squares * Square.Bytes];
            for (int block = 0; block < depth; block++, panel += blocks.PanelBytes)
            {
                blocks.Expand(panel, squares);
                for (int s = 0; s < blocks.Squares; s++, unpacked += Square.Columns * ColumnBytes)
                {
                    Square.Values(squares + (s * Square.Bytes), blocks, (float*)unpacked);
                }
            }
        }

        public void Tile(float* packed, byte* panel, int depth, float* sums, nint sumsStride) =>
            default(TKernels).Tile(packed, panel, depth * blocks.Columns, sums, sumsStride);

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
                depth * blocks.Columns,
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
