namespace VlmSharp.Kernels;

/// <summary>Writes keys and values into the pages that <see cref="Attention"/> reads.</summary>
public static unsafe class KeyValueStore
{
    /// <summary>Stores row r of k and v as the token at slots[r].</summary>
    /// <param name="k">[rows, kvHeads, headDim]; within a row the heads are contiguous.</param>
    /// <param name="kStride">Elements from one row of k to the next, at least kvHeads * headDim.</param>
    /// <param name="v">[rows, kvHeads, headDim]</param>
    /// <param name="vStride">Elements from one row of v to the next.</param>
    /// <param name="rows">Number of tokens; 0 is allowed.</param>
    /// <param name="layout">Heads, and how they lie in a page.</param>
    /// <param name="pages">[pageCount, layout.PageFloats]</param>
    /// <param name="slots">[rows]: page * <see cref="KvLayout.PageTokens"/> + offset, all different.</param>
    /// <param name="pool">Shares the rows when there are enough.</param>
    /// <exception cref="ArgumentException">A span is too short, rows overlap, or a slot lies outside the pages.</exception>
    public static void Write(
        ReadOnlySpan<float> k,
        int kStride,
        ReadOnlySpan<float> v,
        int vStride,
        int rows,
        KvLayout layout,
        Span<float> pages,
        ReadOnlySpan<int> slots,
        WorkerPool pool
    )
    {
        layout.Check();
        int width = checked(layout.KvHeads * layout.HeadDim);
        RowMatrix.Check(k.Length, kStride, rows, width);
        RowMatrix.Check(v.Length, vStride, rows, width);
        RowMatrix.CheckVector(slots.Length, rows);
        long slotCount = (long)(pages.Length / layout.PageFloats) * KvLayout.PageTokens;
        foreach (int slot in slots)
        {
            if (slot < 0 || slot >= slotCount)
            {
                throw new ArgumentException($"slots: {slot} is not in [0, {slotCount})");
            }
        }

        int rowsPerPart = Math.Max(RowMatrix.RowsPerPart(width), KvLayout.KeyPanel);
        fixed (float* kStart = k)
        fixed (float* vStart = v)
        fixed (float* pagesStart = pages)
        fixed (int* slotsStart = slots)
        {
            var body = new Body
            {
                K = kStart,
                V = vStart,
                Pages = pagesStart,
                Slots = slotsStart,
                KStride = kStride,
                VStride = vStride,
                Rows = rows,
                RowsPerPart = rowsPerPart,
                Layout = layout,
            };
            pool.Run(RowMatrix.Parts(rows, rowsPerPart), ref body);
        }
    }

    struct Body : IParallelBody
    {
        internal float* K;
        internal float* V;
        internal float* Pages;
        internal int* Slots;
        internal int KStride;
        internal int VStride;
        internal int Rows;
        internal int RowsPerPart;
        internal KvLayout Layout;

        public readonly void Run(int part, int worker)
        {
            int first = part * RowsPerPart;
            int end = Math.Min(Rows, first + RowsPerPart);
            // Heads outermost: the panel of keys that consecutive tokens fill, a column each, stays in the first-level cache.
            for (int h = 0; h < Layout.KvHeads; h++)
            {
                int column = h * Layout.HeadDim;
                float* pages = Pages + ((nint)h * Layout.HeadFloats);
                for (nint r = first; r < end; r++)
                {
                    (int page, int token) = Math.DivRem(Slots[r], KvLayout.PageTokens);
                    float* keys = pages + ((nint)page * Layout.PageFloats);
                    WriteKey(K + (r * KStride) + column, keys, token);
                    WriteValue(V + (r * VStride) + column, keys + Layout.ValueOffset, token);
                }
            }
        }

        readonly void WriteKey(float* k, float* keys, int token)
        {
            (int panel, int column) = Math.DivRem(token, KvLayout.KeyPanel);
            float* to = keys + (panel * KvLayout.KeyPanel * Layout.HeadDim) + column;
            for (int i = 0; i < Layout.HeadDim; i++, to += KvLayout.KeyPanel)
            {
                *to = k[i];
            }
        }

        readonly void WriteValue(float* v, float* values, int token)
        {
            for (int i = 0; i < Layout.ValueChannels; i += KvLayout.ValuePanel)
            {
                int width = Math.Min(KvLayout.ValuePanel, Layout.ValueChannels - i);
                int filled = Math.Min(width, Layout.HeadDim - i);
                var to = new Span<float>(values + (token * width), width);
                new ReadOnlySpan<float>(v + i, filled).CopyTo(to);
                to[filled..].Clear();
                values += KvLayout.PageTokens * width;
            }
        }
    }
}
