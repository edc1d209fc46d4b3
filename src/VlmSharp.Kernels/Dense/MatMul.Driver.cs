using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace VlmSharp.Kernels;

/// <summary>The inner loops of one instruction set for one storage type; the driver does everything around them.</summary>
/// <remarks>
/// Sums are f32 rows of 32 per panel. Kernels add to them, over as many <see cref="Steps"/> as they are told, in ascending order; so
/// the driver is free to cut rows, columns and panels as caches like it, and no cut changes a bit of the result.
/// </remarks>
internal unsafe interface IPanelKernels
{
    /// <summary>Rows of x that <see cref="Tile"/> multiplies at once; fewer go to <see cref="Rows"/>.</summary>
    int TileRows { get; }

    /// <summary>Whether <see cref="Tile"/> wants panels that <see cref="Unpack"/> has prepared.</summary>
    bool TilesReadUnpacked { get; }

    /// <summary>Whether <see cref="Rows"/> wants them as well, and then one at a time.</summary>
    bool RowsReadUnpacked { get; }

    /// <summary>Whether <see cref="Rows"/> passes over the weights only once for this many rows.</summary>
    bool ReadsWeightsOnce(int rows);

    /// <summary>Copies <see cref="TileRows"/> rows of x, of so many words, into the order that <see cref="Tile"/> reads.</summary>
    void Pack(float* x, nint stride, int words, float* packed);

    /// <summary>Prepares some steps of a panel.</summary>
    void Unpack(byte* panel, int depth, byte* unpacked);

    /// <summary>Adds packed rows [depth, TileRows] times one panel [depth, 32] to sums [TileRows, 32].</summary>
    void Tile(float* packed, byte* panel, int depth, float* sums, nint sumsStride);

    /// <summary>Adds x [rows, depth] times each of <paramref name="panelCount"/> panels to sums [rows, 32 * panelCount].</summary>
    void Rows(
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

/// <summary>How the columns of a product are counted: one by one, in pairs, or in blocks that share scales.</summary>
/// <param name="Count">Steps of a whole row.</param>
/// <param name="Words">32-bit words of x in a step; what they hold is the kernels' business.</param>
/// <param name="PanelBytes">Bytes of a panel in a step.</param>
/// <param name="Block">Steps handled before the next rows and panels come, so that caches hold them.</param>
/// <param name="UnpackedBytes">Bytes of a step that <see cref="IPanelKernels.Unpack"/> prepared.</param>
/// <param name="FewRows">Products with no more rows use no tiles: unpacking would cost more than it saves.</param>
internal readonly record struct Steps(
    int Count,
    int Words,
    nint PanelBytes,
    int Block,
    int UnpackedBytes,
    int FewRows = 0
);

public static unsafe partial class MatMul
{
    const int PanelRows = PackedMatrix.PanelRows;

    // Columns handled before the next rows and panels come. A block of a panel (48 KiB of f32) stays in the second-level cache
    // while all rows of the part pass by, and a packed tile of 14 rows (21 KiB) in the first-level cache.
    const int DepthBlock = 384;

    const int ColumnBytes = PanelRows * sizeof(float); // of f32, or of a pair of 16-bit values

    // Panels of a part: their streams are read side by side, and a block of packed rows in the second-level cache serves all.
    const int PanelsPerPart = 4;

    // Rows of a part: a block of them (about 380 KiB) and their sums (126 KiB) share the second-level cache with the panels.
    const int RowsPerPart = 252;

    // Packed rows are held in the last-level cache; more rows than that are multiplied in rounds, each streaming the weights once.
    const long PackedBytes = 8 << 20;

    /// <summary>A product with plain numbers: x as it is, column by column.</summary>
    static void Drive<TKernels>(in Call call)
        where TKernels : struct, IPanelKernels
    {
        int bytes = PanelRows * call.W.Storage.ValueBytes(); // of each column where columns come in even numbers
        fixed (float* x = call.X)
        {
            Drive(
                call,
                default(TKernels),
                x,
                call.XStride,
                new Steps(call.W.Columns, 1, bytes, DepthBlock, ColumnBytes)
            );
        }
    }

    /// <summary>A product with rows of x that were made for the kernels.</summary>
    static void Drive<TKernels>(in Call call, TKernels kernels, float* x, nint xStride, Steps steps)
        where TKernels : struct, IPanelKernels
    {
        PackedMatrix w = call.W;
        if (call.Rows == 0 || w.Rows == 0)
        {
            return;
        }

        fixed (float* y = call.Y)
        fixed (float* bias = call.Bias)
        {
            var product = new Product<TKernels>
            {
                Kernels = kernels,
                X = x,
                XStride = xStride,
                Steps = steps,
                Panels = w.Panels,
                PanelBytes = (nint)w.PanelBytes,
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
        public required TKernels Kernels;
        public required float* X;
        public required nint XStride;
        public required Steps Steps;
        public bool Transposed; // x is [columns, rows], each step one column
        public required byte* Panels;
        public required nint PanelBytes;
        public required int PanelCount;
        public required int Outputs;
        public required float* Bias; // null for none
        public required float* Y;
        public required nint YStride;
        public required bool Accumulate;
        public required WorkerPool Pool;

        int tileRows; // of the kernels, or more than there are
        int rows; // of this round, starting at X and Y
        int panelsPerPart;
        int rowParts;
        float* packed; // [tiles of the round][steps, TileRows]
        nint packedTile; // elements from one tile to the next
        float* restRows; // rows that fill no tile: in x, or where they were turned to
        nint restStride;

        public void Run(int totalRows)
        {
            // A few parts for each thread even out their different speeds.
            panelsPerPart = Math.Clamp(PanelCount / (2 * Pool.Threads), 1, PanelsPerPart);
            tileRows = totalRows > Steps.FewRows ? Kernels.TileRows : int.MaxValue;
            packedTile = Math.Max((nint)Steps.Count * Steps.Words, 1) * tileRows;
            long tilesPerRound = Math.Max(PackedBytes / sizeof(float) / packedTile, 1);
            int rowsPerRound = (int)Math.Min(tilesPerRound * tileRows, totalRows);
            AlignedBuffer? buffer = null;
            if (totalRows >= tileRows || Transposed)
            {
                long tiles = rowsPerRound / tileRows * packedTile;
                long turned = Transposed ? (long)Math.Min(rowsPerRound, tileRows) * Steps.Count : 0;
                buffer = Pool.Rent((tiles + turned) * sizeof(float));
                packed = (float*)buffer.Pointer;
                restRows = packed + tiles;
            }

            try
            {
                for (int done = 0; done < totalRows; done += rowsPerRound)
                {
                    RunRound(Math.Min(rowsPerRound, totalRows - done));
                    X += Transposed ? rowsPerRound : rowsPerRound * XStride;
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
            int tiles = rows / tileRows;
            if (tiles > 0)
            {
                var pack = new PackTiles<TKernels>(
                    Kernels,
                    X,
                    XStride,
                    Transposed,
                    Steps.Count * Steps.Words,
                    packed,
                    packedTile
                );
                Pool.Run(tiles, ref pack);
            }

            int whole = tiles * tileRows;
            if (Transposed)
            {
                restStride = Steps.Count;
                var turn = new TurnRows(X + whole, XStride, Steps.Count, restRows, rows - whole);
                Pool.Run((Steps.Count + TurnRows.ColumnsPerPart - 1) / TurnRows.ColumnsPerPart, ref turn);
            }
            else
            {
                restRows = X + (whole * XStride);
                restStride = XStride;
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
            byte* scratch = Pool.ScratchPointer(worker, sumsBytes + Steps.Block * Steps.UnpackedBytes);
            float* sums = (float*)scratch; // [rowCount, panelCount * 32]
            byte* unpacked = scratch + sumsBytes; // a block of steps
            new Span<byte>(scratch, sumsBytes).Clear();

            int tileRowCount = rowCount / tileRows * tileRows;
            int rest = rowCount - tileRowCount;

            // Where nothing passes over the weights twice, whole panels make the longest streams.
            bool unpack = Kernels.RowsReadUnpacked || (Kernels.TilesReadUnpacked && tileRowCount > 0);
            bool sideBySide = rest > 0 && !Kernels.RowsReadUnpacked;
            int depthBlock =
                tileRowCount == 0 && sideBySide && Kernels.ReadsWeightsOnce(rest) ? Steps.Count : Steps.Block;
            for (int step = 0; step < Steps.Count; step += depthBlock)
            {
                int depth = Math.Min(depthBlock, Steps.Count - step);
                byte* block = Panels + firstPanel * PanelBytes + step * Steps.PanelBytes;
                nint word = (nint)step * Steps.Words;
                // Parts but the last have whole tiles only, or no part has any.
                float* restX = restRows + (firstRow + tileRowCount - (rows / tileRows * tileRows)) * restStride + word;
                float* restSums = sums + tileRowCount * sumsStride;
                for (int p = 0; p < panelCount && (tileRowCount > 0 || unpack); p++)
                {
                    byte* panel = block + p * PanelBytes;
                    if (unpack)
                    {
                        Kernels.Unpack(panel, depth, unpacked);
                        panel = unpacked;
                    }

                    for (int r = 0; r < tileRowCount; r += tileRows)
                    {
                        float* tile = packed + (firstRow + r) / tileRows * packedTile + word * tileRows;
                        Kernels.Tile(tile, panel, depth, sums + r * sumsStride + p * PanelRows, sumsStride);
                    }

                    if (rest > 0 && !sideBySide)
                    {
                        Kernels.Rows(restX, restStride, rest, panel, 0, 1, depth, restSums + p * PanelRows, sumsStride);
                    }
                }

                if (sideBySide)
                {
                    Kernels.Rows(restX, restStride, rest, block, PanelBytes, panelCount, depth, restSums, sumsStride);
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

    readonly struct PackTiles<TKernels>(
        TKernels kernels,
        float* x,
        nint stride,
        bool transposed,
        int words,
        float* packed,
        nint packedTile
    ) : IParallelBody
        where TKernels : struct, IPanelKernels
    {
        public void Run(int part, int worker)
        {
            float* to = packed + part * packedTile;
            if (transposed)
            {
                Copy(x + part * kernels.TileRows, to);
            }
            else
            {
                kernels.Pack(x + part * kernels.TileRows * stride, stride, words, to);
            }
        }

        // A column of a tile already stands side by side.
        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        void Copy(float* from, float* to)
        {
            int rows = kernels.TileRows;
            for (int column = 0; column < words; column++, from += stride, to += rows)
            {
                Unsafe.CopyBlockUnaligned(to, from, (uint)rows * sizeof(float));
            }
        }
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
