using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace VlmSharp.Kernels;

/// <summary>The inner loops of one instruction set for one storage type; the driver does everything around them.</summary>
/// <remarks>
/// Sums are f32 rows of 32 per panel. Kernels add to them, over as many columns as they are told, in ascending order; so the
/// driver is free to cut rows, columns and panels as caches like it, and no cut changes a bit of the result.
/// </remarks>
internal unsafe interface IPanelKernels
{
    /// <summary>Rows of x that <see cref="Tile"/> multiplies at once; fewer go to <see cref="Rows"/>.</summary>
    static abstract int TileRows { get; }

    /// <summary>Whether <see cref="Tile"/> wants panels that <see cref="Unpack"/> has widened to f32.</summary>
    static abstract bool TilesReadF32 { get; }

    /// <summary>Whether <see cref="Rows"/> passes over the weights only once for this many rows.</summary>
    static abstract bool ReadsWeightsOnce(int rows);

    /// <summary>Copies <see cref="TileRows"/> rows of x to [columns, TileRows].</summary>
    static abstract void Pack(float* x, nint stride, int columns, float* packed);

    /// <summary>Widens [depth, 32] values of a panel.</summary>
    static abstract void Unpack(byte* panel, int depth, float* unpacked);

    /// <summary>Adds packed [depth, TileRows] times one panel [depth, 32] to sums [TileRows, 32].</summary>
    static abstract void Tile(float* packed, byte* panel, int depth, float* sums, nint sumsStride);

    /// <summary>Adds x [rows, depth] times each of <paramref name="panelCount"/> panels to sums [rows, 32 * panelCount].</summary>
    static abstract void Rows(
        float* x,
        nint stride,
        int rows,
        byte* panel,
        nint panelBytes,
        int panelCount,
        int depth,
        float* sums,
        nint sumsStride
    );
}

public static unsafe partial class MatMul
{
    const int PanelRows = PackedMatrix.PanelRows;

    // Columns handled before the next rows and panels come. A block of a panel (48 KiB of f32) stays in the second-level cache
    // while all rows of the part pass by, and a packed tile of 14 rows (21 KiB) in the first-level cache.
    const int DepthBlock = 384;

    // Panels of a part: their streams are read side by side, and a block of packed rows in the second-level cache serves all.
    const int PanelsPerPart = 4;

    // Rows of a part: a block of them (about 380 KiB) and their sums (126 KiB) share the second-level cache with the panels.
    const int RowsPerPart = 252;

    // Packed rows are held in the last-level cache; more rows than that are multiplied in rounds, each streaming the weights once.
    const long PackedBytes = 8 << 20;

    static void Drive<TKernels>(in Call call)
        where TKernels : struct, IPanelKernels
    {
        PackedMatrix w = call.W;
        if (call.Rows == 0 || w.Rows == 0)
        {
            return;
        }

        fixed (float* x = call.X)
        fixed (float* y = call.Y)
        fixed (float* bias = call.Bias)
        {
            var product = new Product<TKernels>
            {
                X = x,
                XStride = call.XStride,
                Columns = w.Columns,
                Panels = w.Panels,
                PanelBytes = (nint)w.PanelBytes,
                ColumnBytes = PanelRows * w.Storage.Size(),
                PanelCount = w.PanelCount,
                Outputs = w.Rows,
                Bias = bias, // null when empty
                Y = y,
                YStride = call.YStride,
                Accumulate = call.Accumulate,
                Pool = call.Pool,
            };
            product.Run(call.Rows);
        }

        GC.KeepAlive(w);
    }

    struct Product<TKernels> : IParallelBody
        where TKernels : struct, IPanelKernels
    {
        public required float* X;
        public required nint XStride;
        public required int Columns;
        public required byte* Panels;
        public required nint PanelBytes;
        public required nint ColumnBytes; // of each column where columns come in even numbers
        public required int PanelCount;
        public required int Outputs;
        public required float* Bias; // null for none
        public required float* Y;
        public required nint YStride;
        public required bool Accumulate;
        public required WorkerPool Pool;

        int rows; // of this round, starting at X and Y
        int panelsPerPart;
        int rowParts;
        float* packed; // [tiles of the round][columns, TileRows]
        nint packedTile; // elements from one tile to the next

        public void Run(int totalRows)
        {
            // A few parts for each thread even out their different speeds.
            panelsPerPart = Math.Clamp(PanelCount / (2 * Pool.Threads), 1, PanelsPerPart);
            packedTile = (nint)Math.Max(Columns, 1) * TKernels.TileRows;
            long tilesPerRound = Math.Max(PackedBytes / sizeof(float) / packedTile, 1);
            int rowsPerRound = (int)Math.Min(tilesPerRound * TKernels.TileRows, totalRows);
            AlignedBuffer? buffer = null;
            if (totalRows >= TKernels.TileRows)
            {
                buffer = Pool.Rent(rowsPerRound / TKernels.TileRows * packedTile * sizeof(float));
                packed = (float*)buffer.Pointer;
            }

            try
            {
                for (int done = 0; done < totalRows; done += rowsPerRound)
                {
                    RunRound(Math.Min(rowsPerRound, totalRows - done));
                    X += rowsPerRound * XStride;
                    Y += rowsPerRound * YStride;
                }
            }
            finally
            {
                if (buffer is not null)
                {
                    Pool.Return(buffer);
                }
            }
        }

        void RunRound(int count)
        {
            rows = count;
            int tiles = rows / TKernels.TileRows;
            if (tiles > 0)
            {
                var pack = new PackTiles<TKernels>(X, XStride, Columns, packed, packedTile);
                Pool.Run(tiles, ref pack);
            }

            rowParts = (rows + RowsPerPart - 1) / RowsPerPart;
            int panelParts = (PanelCount + panelsPerPart - 1) / panelsPerPart;
            Pool.Run(checked(rowParts * panelParts), ref this);
        }

        /// <summary>One part: some panels times some rows. Parts that share panels follow each other.</summary>
        [SkipLocalsInit]
        public readonly void Run(int part, int worker)
        {
            int firstPanel = part / rowParts * panelsPerPart;
            int panelCount = Math.Min(panelsPerPart, PanelCount - firstPanel);
            int firstRow = part % rowParts * RowsPerPart;
            int rowCount = Math.Min(RowsPerPart, rows - firstRow);

            nint sumsStride = panelCount * PanelRows;
            int sumsBytes = rowCount * panelCount * PanelRows * sizeof(float);
            byte* scratch = Pool.ScratchPointer(worker, sumsBytes + DepthBlock * PanelRows * sizeof(float));
            float* sums = (float*)scratch; // [rowCount, panelCount * 32]
            float* unpacked = (float*)(scratch + sumsBytes); // [DepthBlock, 32]
            new Span<byte>(scratch, sumsBytes).Clear();

            int tileRowCount = rowCount / TKernels.TileRows * TKernels.TileRows;
            int rest = rowCount - tileRowCount;

            // Where nothing passes over the weights twice, whole panels make the longest streams.
            int depthBlock = tileRowCount == 0 && TKernels.ReadsWeightsOnce(rest) ? Columns : DepthBlock;
            for (int column = 0; column < Columns; column += depthBlock)
            {
                int depth = Math.Min(depthBlock, Columns - column);
                byte* block = Panels + firstPanel * PanelBytes + column * ColumnBytes;
                for (int p = 0; p < panelCount && tileRowCount > 0; p++)
                {
                    byte* panel = block + p * PanelBytes;
                    if (TKernels.TilesReadF32)
                    {
                        TKernels.Unpack(panel, depth, unpacked);
                        panel = (byte*)unpacked;
                    }

                    for (int r = 0; r < tileRowCount; r += TKernels.TileRows)
                    {
                        float* tile =
                            packed + (firstRow + r) / TKernels.TileRows * packedTile + column * TKernels.TileRows;
                        TKernels.Tile(tile, panel, depth, sums + r * sumsStride + p * PanelRows, sumsStride);
                    }
                }

                if (rest > 0)
                {
                    float* from = X + (firstRow + tileRowCount) * XStride + column;
                    float* to = sums + tileRowCount * sumsStride;
                    TKernels.Rows(from, XStride, rest, block, PanelBytes, panelCount, depth, to, sumsStride);
                }
            }

            int firstOutput = firstPanel * PanelRows;
            int outputs = Math.Min(panelCount * PanelRows, Outputs - firstOutput);
            float* bias = Bias is null ? null : Bias + firstOutput;
            for (int r = 0; r < rowCount; r++)
            {
                Finish(sums + r * sumsStride, bias, Y + (firstRow + r) * YStride + firstOutput, outputs, Accumulate);
            }
        }
    }

    readonly struct PackTiles<TKernels>(float* x, nint stride, int columns, float* packed, nint packedTile)
        : IParallelBody
        where TKernels : struct, IPanelKernels
    {
        public void Run(int part, int worker) =>
            TKernels.Pack(x + part * TKernels.TileRows * stride, stride, columns, packed + part * packedTile);
    }

    // y = sums (+ bias) (+ y), in this order
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    static void Finish(float* sums, float* bias, float* y, int count, bool accumulate)
    {
        int i = 0;
        if (Vector256.IsHardwareAccelerated)
        {
            for (; i <= count - Vector256<float>.Count; i += Vector256<float>.Count)
            {
                Vector256<float> sum = Vector256.Load(sums + i);
                sum = bias is null ? sum : sum + Vector256.Load(bias + i);
                sum = accumulate ? sum + Vector256.Load(y + i) : sum;
                sum.Store(y + i);
            }
        }

        for (; i < count; i++)
        {
            float sum = sums[i];
            sum = bias is null ? sum : sum + bias[i];
            y[i] = accumulate ? sum + y[i] : sum;
        }
    }
}
