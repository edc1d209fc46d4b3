using System.Runtime.CompilerServices;

namespace VlmSharp.Kernels;

/// <summary>Consecutive tokens of one head, stored into one page; the code under <see cref="KeyValueStore"/>.</summary>
/// <param name="k">[tokens, headDim], rows kStride apart</param>
/// <param name="kStride">Elements from one row of k to the next.</param>
/// <param name="v">[tokens, headDim], rows vStride apart</param>
/// <param name="vStride">Elements from one row of v to the next.</param>
/// <param name="tokens">How many, at least 1.</param>
/// <param name="layout">How the head lies in the page.</param>
/// <param name="head">The head's first byte in the page.</param>
/// <param name="first">Place of the first token in the page.</param>
internal unsafe delegate void KeyValueKernel(
    float* k,
    nint kStride,
    float* v,
    nint vStride,
    int tokens,
    KvLayout layout,
    byte* head,
    int first
);

/// <summary>Writes keys and values into the pages that <see cref="Attention"/> reads.</summary>
/// <remarks>
/// <para>What is stored is the same, bit for bit, in every variant and however the tokens are cut into calls.</para>
/// <para>
/// bf16: beyond 3.39e38 numbers become infinite. q8: with a number that is infinite or NaN all 32 that share its factor are NaN.
/// </para>
/// </remarks>
public static unsafe partial class KeyValueStore
{
    internal static readonly KernelTable<KeyValueKernel> Variants = new(
        "kv_write",
        ("avx512", InstructionSets.Avx512, Avx512),
        ("portable", true, Portable)
    );

    /// <summary>Stores row r of k and v as the token at slots[r].</summary>
    /// <param name="k">[rows, kvHeads, headDim]; within a row the heads are contiguous.</param>
    /// <param name="kStride">Elements from one row of k to the next, at least kvHeads * headDim.</param>
    /// <param name="v">[rows, kvHeads, headDim]</param>
    /// <param name="vStride">Elements from one row of v to the next.</param>
    /// <param name="rows">Number of tokens; 0 is allowed.</param>
    /// <param name="layout">Heads, and how they lie in a page.</param>
    /// <param name="pages">[pageCount, layout.PageBytes]</param>
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
        Span<byte> pages,
        ReadOnlySpan<int> slots,
        WorkerPool pool
    ) => Write(Variants.Active, k, kStride, v, vStride, rows, layout, pages, slots, pool);

    internal static void Write(
        KeyValueKernel kernel,
        ReadOnlySpan<float> k,
        int kStride,
        ReadOnlySpan<float> v,
        int vStride,
        int rows,
        KvLayout layout,
        Span<byte> pages,
        ReadOnlySpan<int> slots,
        WorkerPool pool
    )
    {
        layout.Check();
        int width = checked(layout.KvHeads * layout.HeadDim);
        RowMatrix.Check(k.Length, kStride, rows, width);
        RowMatrix.Check(v.Length, vStride, rows, width);
        RowMatrix.CheckVector(slots.Length, rows);
        long slotCount = (long)(pages.Length / layout.PageBytes) * KvLayout.PageTokens;
        foreach (int slot in slots)
        {
            if (slot < 0 || slot >= slotCount)
            {
                throw new ArgumentException($"slots: {slot} is not in [0, {slotCount})");
            }
        }

        // Whole pages, as long as rows begin with one: their panels are filled by full vectors.
        int pagesPerPart = RowMatrix.Parts(RowMatrix.RowsPerPart(width), KvLayout.PageTokens);
        fixed (float* kStart = k)
        fixed (float* vStart = v)
        fixed (byte* pagesStart = pages)
        fixed (int* slotsStart = slots)
        {
            var body = new Body
            {
                Kernel = kernel,
                K = kStart,
                V = vStart,
                Pages = pagesStart,
                Slots = slotsStart,
                KStride = kStride,
                VStride = vStride,
                Rows = rows,
                RowsPerPart = pagesPerPart * KvLayout.PageTokens,
                Layout = layout,
            };
            pool.Run(RowMatrix.Parts(rows, body.RowsPerPart), ref body);
        }
    }

    struct Body : IParallelBody
    {
        internal KeyValueKernel Kernel;
        internal float* K;
        internal float* V;
        internal byte* Pages;
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
            int pageBytes = Layout.PageBytes;
            int headBytes = Layout.HeadBytes;
            int count; // of rows that follow each other in one page
            for (nint r = first; r < end; r += count)
            {
                (int page, int token) = Math.DivRem(Slots[r], KvLayout.PageTokens);
                count = 1;
                while (r + count < end && token + count < KvLayout.PageTokens && Slots[r + count] == Slots[r] + count)
                {
                    count++;
                }

                for (int h = 0; h < Layout.KvHeads; h++)
                {
                    int column = h * Layout.HeadDim;
                    byte* head = Pages + ((nint)page * pageBytes) + ((nint)h * headBytes);
                    float* k = K + (r * KStride) + column;
                    float* v = V + (r * VStride) + column;
                    Kernel(k, KStride, v, VStride, count, Layout, head, token);
                }
            }
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    static void Portable(
        float* k,
        nint kStride,
        float* v,
        nint vStride,
        int tokens,
        KvLayout layout,
        byte* head,
        int first
    )
    {
        for (int token = first; token < first + tokens; token++, k += kStride, v += vStride)
        {
            switch (layout.Storage)
            {
                case KvStorage.F32:
                    WriteF32(k, v, layout, head, token);
                    break;
                case KvStorage.BF16:
                    WriteBF16(k, v, layout, head, token);
                    break;
                default:
                    WriteQ8(k, v, layout, head, token);
                    break;
            }
        }
    }

    static void WriteF32(float* k, float* v, KvLayout layout, byte* head, int token)
    {
        float* key = (float*)head + KeyPlace(layout, token);
        for (int i = 0; i < layout.HeadDim; i++)
        {
            key[i * KvLayout.KeyPanel] = k[i];
        }

        for (int i = 0; i < layout.ValueChannels; i += KvLayout.ValuePanel)
        {
            int width = layout.PanelWidth(i);
            int filled = Math.Min(width, layout.HeadDim - i);
            float* panel = (float*)(head + layout.ValueOffset) + (i * KvLayout.PageTokens);
            var to = new Span<float>(panel + (token * width), width);
            new ReadOnlySpan<float>(v + i, filled).CopyTo(to);
            to[filled..].Clear();
        }
    }

    // Two threads may write the two tokens of a pair: each stores its own 16 bits.
    static void WriteBF16(float* k, float* v, KvLayout layout, byte* head, int token)
    {
        ushort* key = (ushort*)head + KeyPlace(layout, token);
        for (int i = 0; i < layout.Channels; i++)
        {
            key[ChannelPlace(i)] = i < layout.HeadDim ? Bf16.Round(k[i]) : (ushort)0;
        }

        for (int i = 0; i < layout.ValueChannels; i++)
        {
            ushort* value = (ushort*)(head + layout.ValueOffset) + ValuePlace(layout, i, token);
            *value = i < layout.HeadDim ? Bf16.Round(v[i]) : (ushort)0;
        }
    }

    static void WriteQ8(float* k, float* v, KvLayout layout, byte* head, int token)
    {
        sbyte* key = (sbyte*)head + KeyPlace(layout, token);
        ushort* factors = (ushort*)(head + layout.FactorOffset);
        for (int group = 0; group < layout.Groups; group++)
        {
            int start = group * KvLayout.ValuePanel;
            int end = Math.Min(start + KvLayout.ValuePanel, layout.HeadDim);
            float factor = Factor(k + start, end - start, out ushort bits);
            factors[KeyFactorPlace(layout, group, token)] = bits;
            for (int i = start; i < end; i++)
            {
                key[ChannelPlace(i)] = Quantize(k[i], factor);
            }

            factor = Factor(v + start, end - start, out bits);
            factors[(layout.FactorBytes / sizeof(ushort)) + (group * KvLayout.PageTokens) + token] = bits;
            for (int i = start; i < start + layout.PanelWidth(start); i++)
            {
                sbyte* value = (sbyte*)(head + layout.ValueOffset) + ValuePlace(layout, i, token);
                *value = i < end ? Quantize(v[i], factor) : (sbyte)0;
            }
        }

        if (layout.HeadDim % 2 != 0)
        {
            key[ChannelPlace(layout.HeadDim)] = 0;
        }
    }

    /// <summary>The smallest bf16 by which none of these numbers is more than 127; NaN if one is infinite or NaN.</summary>
    static float Factor(float* x, int count, out ushort bits)
    {
        uint largest = 0;
        for (int i = 0; i < count; i++)
        {
            largest = Math.Max(largest, BitConverter.SingleToUInt32Bits(x[i]) & int.MaxValue);
        }

        bits = Factor(largest);
        return Widen.BF16(bits);
    }

    static ushort Factor(uint largest)
    {
        uint factor = BitConverter.SingleToUInt32Bits(BitConverter.UInt32BitsToSingle(largest) / 127);
        return largest >= Bf16.Infinity ? (ushort)(Bf16.QuietNaN >> 16) : (ushort)((factor + 0xFFFF) >> 16);
    }

    static sbyte Quantize(float x, float factor) =>
        factor > 0 ? (sbyte)MathF.Round(x / factor, MidpointRounding.ToEven) : (sbyte)0;

    /// <summary>Elements from the beginning of the keys to a token's first channel.</summary>
    static int KeyPlace(KvLayout layout, int token)
    {
        (int panel, int column) = Math.DivRem(token, KvLayout.KeyPanel);
        return (panel * KvLayout.KeyPanel * layout.Channels) + (layout.Storage == KvStorage.F32 ? column : column * 2);
    }

    /// <summary>Elements from a token's first channel to another, in panels of pairs.</summary>
    static int ChannelPlace(int channel) => (channel / 2 * KvLayout.KeyPanel * 2) + (channel % 2);

    /// <summary>Elements from the beginning of the values to one of them, in panels of pairs.</summary>
    static int ValuePlace(KvLayout layout, int channel, int token)
    {
        int start = channel / KvLayout.ValuePanel * KvLayout.ValuePanel;
        return (start * KvLayout.PageTokens)
            + (((token / 2 * layout.PanelWidth(start)) + channel - start) * 2)
            + (token % 2);
    }

    static int KeyFactorPlace(KvLayout layout, int group, int token) =>
        (((token / KvLayout.KeyPanel * layout.Groups) + group) * KvLayout.KeyPanel) + (token % KvLayout.KeyPanel);
}
