namespace VlmSharp.Kernels.Imaging;

/// <summary>Separable resampling of 8-bit pictures, bit-identical to Pillow's, on all threads of a pool.</summary>
/// <remarks>
/// Horizontal pass first, then the vertical one, with 8 bits in between, as in Pillow up to version 12. Work is divided into bands
/// of target rows whose source rows are resampled horizontally just before they are needed, so the intermediate stays in the
/// second-level cache. Neither the division nor the number of threads changes a bit of the result.
/// </remarks>
public static class Resampling
{
    // Target rows of a band where the caller does not care: enough for the overlap of neighbouring bands not to matter.
    const int DefaultBandRows = 32;

    // Parts per thread: a few, so that a slower thread can take fewer; not many, as parts repeat the rows they share.
    const int PartsPerThread = 4;

    // Bytes of a row that the vertical pass takes at once: their source rows then fit the first-level cache.
    const int StripBytes = 256;

    /// <summary>Resizes an interleaved picture.</summary>
    /// <param name="source">[rows.SourceSize, columns.SourceSize, channels]</param>
    /// <param name="channels">1 to 4; each is resampled on its own</param>
    /// <param name="columns">weights along the rows</param>
    /// <param name="rows">weights along the columns</param>
    /// <param name="target">[rows.TargetSize, columns.TargetSize, channels]</param>
    /// <param name="pool">the threads</param>
    /// <exception cref="ArgumentException">a span's length does not fit the sizes</exception>
    public static void Resize(
        ReadOnlySpan<byte> source,
        int channels,
        ResampleWeights columns,
        ResampleWeights rows,
        Span<byte> target,
        WorkerPool pool
    )
    {
        if (channels is < 1 or > 4)
        {
            throw new ArgumentOutOfRangeException(nameof(channels), channels, "1 to 4 channels");
        }

        long needed = (long)rows.TargetSize * columns.TargetSize * channels;
        if (target.Length != needed)
        {
            throw new ArgumentException($"the target holds {target.Length} bytes, the resized picture {needed}");
        }

        Run(source, channels, columns, rows, DefaultBandRows, new InterleavedBands(target, rows.TargetSize), pool);
    }

    /// <summary>Resizes an RGB picture and writes it as patches of normalised floats, without the picture in between.</summary>
    /// <param name="source">[rows.SourceSize, columns.SourceSize, 3]</param>
    /// <param name="columns">weights along the rows, to <c>grid.Width</c></param>
    /// <param name="rows">weights along the columns, to <c>grid.Height</c></param>
    /// <param name="grid">the cut into patches</param>
    /// <param name="levels">[3, 256]: what each 8-bit level becomes in each channel</param>
    /// <param name="firstFrame">the picture fills the frame slots [firstFrame, endFrame) of every patch; the others stay as they are</param>
    /// <param name="endFrame">one past the last slot</param>
    /// <param name="patches">
    /// [rows / merge, columns / merge, merge, merge, 3, temporal, patch, patch]: <c>pixel_values</c> of one temporal step
    /// </param>
    /// <param name="pool">the threads</param>
    /// <exception cref="ArgumentException">a span's length or a size does not fit the grid</exception>
    public static void ResizeToPatches(
        ReadOnlySpan<byte> source,
        ResampleWeights columns,
        ResampleWeights rows,
        PatchGrid grid,
        ReadOnlySpan<float> levels,
        int firstFrame,
        int endFrame,
        Span<float> patches,
        WorkerPool pool
    )
    {
        if (
            grid.PatchSize < 1
            || grid.TemporalSize < 1
            || grid.MergeSize < 1
            || grid.Rows % grid.MergeSize != 0
            || grid.Columns % grid.MergeSize != 0
        )
        {
            throw new ArgumentException($"{grid}: sizes start at 1, rows and columns are multiples of the merge size");
        }

        if (columns.TargetSize != grid.Width || rows.TargetSize != grid.Height)
        {
            throw new ArgumentException(
                $"weights for {columns.TargetSize} x {rows.TargetSize} pixels; {grid} has {grid.Width} x {grid.Height}"
            );
        }

        if (patches.Length != grid.Length)
        {
            throw new ArgumentException($"room for {patches.Length} values, {grid} has {grid.Length}");
        }

        var bands = new PatchBands(grid, levels, firstFrame, endFrame, patches);
        Run(source, PatchGrid.Channels, columns, rows, grid.BandRows, bands, pool);
    }

    static void Run<TBands>(
        ReadOnlySpan<byte> source,
        int channels,
        ResampleWeights columns,
        ResampleWeights rows,
        int bandRows,
        TBands bands,
        WorkerPool pool
    )
        where TBands : struct, IBands, allows ref struct
    {
        ArgumentNullException.ThrowIfNull(columns);
        ArgumentNullException.ThrowIfNull(rows);
        ArgumentNullException.ThrowIfNull(pool);
        long needed = (long)rows.SourceSize * columns.SourceSize * channels;
        if (source.Length != needed)
        {
            throw new ArgumentException(
                $"the source holds {source.Length} bytes; {columns.SourceSize} x {rows.SourceSize} pixels of {channels} channels are {needed}"
            );
        }

        int bandCount = (rows.TargetSize + bandRows - 1) / bandRows;
        int parts = pool.Threads == 1 ? 1 : Math.Min(bandCount, pool.Threads * PartsPerThread);
        var body = new Passes<TBands>(
            source,
            new HorizontalPlan(columns, channels),
            rows,
            bandRows,
            parts,
            bands,
            pool
        );
        pool.Run(parts, ref body);
    }

    /// <summary>Where finished rows go.</summary>
    interface IBands
    {
        void Take(int firstRow, int count, ReadOnlySpan<byte> rows, PlanarRows layout);
    }

    /// <summary>Both passes over one share of the bands.</summary>
    readonly ref struct Passes<TBands> : IParallelBody
        where TBands : struct, IBands, allows ref struct
    {
        readonly ReadOnlySpan<byte> source;
        readonly HorizontalPlan plan;
        readonly ResampleWeights rows;
        readonly int bandRows;
        readonly int bandCount;
        readonly int parts;
        readonly TBands bands;
        readonly WorkerPool pool;
        readonly PlanarRows layout;
        readonly int heldRows;

        public Passes(
            ReadOnlySpan<byte> source,
            HorizontalPlan plan,
            ResampleWeights rows,
            int bandRows,
            int parts,
            TBands bands,
            WorkerPool pool
        )
        {
            this.source = source;
            this.plan = plan;
            this.rows = rows;
            this.bandRows = bandRows;
            this.parts = parts;
            this.bands = bands;
            this.pool = pool;
            layout = new PlanarRows(plan.Weights.TargetSize, plan.Channels);
            bandCount = (rows.TargetSize + bandRows - 1) / bandRows;
            for (int band = 0; band < bandCount; band++)
            {
                (int first, int end) = Needed(band, band + 1);
                heldRows = Math.Max(heldRows, end - first);
            }

            // Rows are made 16 at a time, ahead of need; and what follows the last one may be overwritten up to the next 16.
            heldRows = checked(heldRows + 2 * HorizontalPlan.BlockRows);
        }

        public void Run(int part, int worker)
        {
            int from = (int)((long)bandCount * part / parts);
            int to = (int)((long)bandCount * (part + 1) / parts);
            int heldBytes = checked(heldRows * layout.RowStride);
            int doneBytes = checked(bandRows * layout.RowStride);
            Span<byte> memory = pool.Scratch(worker, checked(heldBytes + doneBytes + plan.ScratchBytes));
            Span<byte> held = memory[..heldBytes];
            Span<byte> done = memory.Slice(heldBytes, doneBytes);
            Span<byte> scratch = memory[(heldBytes + doneBytes)..];

            int last = Needed(from, to).End;
            int heldFrom = 0; // held: the source rows [heldFrom, heldEnd), resampled horizontally
            int heldEnd = 0;
            for (int band = from; band < to; band++)
            {
                (int first, int end) = Needed(band, band + 1);
                if (first >= heldEnd || first < heldFrom)
                {
                    heldFrom = heldEnd = first;
                }
                else
                {
                    held[((first - heldFrom) * layout.RowStride)..((heldEnd - heldFrom) * layout.RowStride)]
                        .CopyTo(held);
                    heldFrom = first;
                }

                if (end > heldEnd)
                {
                    int blocks = (end - heldEnd + HorizontalPlan.BlockRows - 1) / HorizontalPlan.BlockRows;
                    int count = Math.Min(blocks * HorizontalPlan.BlockRows, last - heldEnd);
                    HorizontalPass.Apply(
                        SourceRows(heldEnd, count),
                        count,
                        plan,
                        held[((heldEnd - heldFrom) * layout.RowStride)..],
                        layout,
                        scratch
                    );
                    heldEnd += count;
                }

                int firstRow = band * bandRows;
                int rowCount = Math.Min(bandRows, rows.TargetSize - firstRow);
                for (int at = 0; at < layout.RowStride; at += StripBytes)
                {
                    int strip = Math.Min(StripBytes, layout.RowStride - at);
                    for (int y = 0; y < rowCount; y++)
                    {
                        VerticalPass.Apply(
                            held[at..],
                            layout.RowStride,
                            heldFrom,
                            rows,
                            firstRow + y,
                            done.Slice(y * layout.RowStride + at, strip)
                        );
                    }
                }

                bands.Take(firstRow, rowCount, done, layout);
            }
        }

        // The source rows that the target rows of the bands [from, to) read.
        (int First, int End) Needed(int from, int to) =>
            rows.Range(from * bandRows, Math.Min(to * bandRows, rows.TargetSize));

        ReadOnlySpan<byte> SourceRows(int first, int count)
        {
            int stride = plan.Weights.SourceSize * plan.Channels;
            return source.Slice(first * stride, count * stride);
        }
    }

    readonly ref struct InterleavedBands(Span<byte> target, int rows) : IBands
    {
        readonly Span<byte> target = target;
        readonly int stride = target.Length / rows;

        public void Take(int firstRow, int count, ReadOnlySpan<byte> rows, PlanarRows layout)
        {
            int channels = layout.Channels;
            for (int y = 0; y < count; y++)
            {
                Span<byte> row = target.Slice((firstRow + y) * stride, stride);
                for (int c = 0; c < channels; c++)
                {
                    ReadOnlySpan<byte> plane = rows.Slice(y * layout.RowStride + c * layout.PlaneStride, layout.Width);
                    for (int x = 0; x < plane.Length; x++)
                    {
                        row[x * channels + c] = plane[x];
                    }
                }
            }
        }
    }

    readonly ref struct PatchBands(
        PatchGrid grid,
        ReadOnlySpan<float> levels,
        int firstFrame,
        int endFrame,
        Span<float> patches
    ) : IBands
    {
        readonly PatchGrid grid = grid;
        readonly ReadOnlySpan<float> levels = levels;
        readonly int firstFrame = firstFrame;
        readonly int endFrame = endFrame;
        readonly Span<float> patches = patches;

        public void Take(int firstRow, int count, ReadOnlySpan<byte> rows, PlanarRows layout)
        {
            int band = firstRow / grid.BandRows;
            int length = (int)grid.BandLength;
            Span<float> group = patches.Slice(band * length, length);
            PatchRows.Write(rows, layout, grid, levels, firstFrame, endFrame, group);
        }
    }
}
